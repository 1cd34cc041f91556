//! How a node gets to its NATS servers.

use std::hash::{Hash as _, Hasher as _};
use std::path::PathBuf;
use std::time::Duration;

use async_nats::rustls::RootCertStore;
use async_nats::rustls::pki_types::CertificateDer;
use async_nats::rustls::pki_types::pem::PemObject as _;
use async_nats::{ConnectOptions, ServerAddr};
use respoke_core::ports::{Node, NodeId};
use siphasher::sip::SipHasher13;

use super::credentials::{NatsCredentials, not_in_file};
use super::error::NatsError;
use super::files::read;

/// How often a connection that is silent is asked for an answer. The third time that none came it is given up, so after 4.5
/// seconds at the latest: what was sent is kept for 5.
const PING_EVERY: Duration = Duration::from_millis(1_500);
/// How long a server may take to let a node in.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Between two attempts to get a connection back, at most.
const AGAIN_AFTER_MAX: Duration = Duration::from_secs(2);
/// Before the first.
const AGAIN_AFTER: Duration = Duration::from_millis(20);
/// Messages that wait for the connection. What waits before them is packed the tighter.
const WAITING_MESSAGES_MAX: usize = 16;
/// Messages that came and wait for the task that looks at them, which takes microseconds for each: 64 MiB of the long ones that
/// nodes send.
const ARRIVED_MESSAGES_MAX: usize = 1_024;

/// How a node gets to its NATS servers, and who it is there.
#[derive(Clone, Debug)]
pub struct NatsOptions {
    /// Where they are.
    pub servers: NatsServers,
    /// As whom it signs in, which is read for each connection. None: nobody in particular.
    pub credentials: Option<NatsCredentials>,
    /// Whom it trusts to vouch for the servers, as a PEM file, in place of all whom the machine trusts. Given this, nothing goes
    /// there without TLS.
    pub root_certificate: Option<PathBuf>,
    /// The id of its cluster.
    pub cluster: [u8; 16],
    /// Who it is.
    pub node: Node,
}

/// Addresses of NATS servers: `nats://host:4222`, or `tls://host:4222` for one that is not to be spoken to without TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NatsServers(Vec<ServerAddr>);

impl NatsServers {
    /// Reads addresses that have commas between them.
    ///
    /// # Errors
    ///
    /// [`NatsError::Address`].
    pub fn parse(text: &str) -> Result<Self, NatsError> {
        let parse = |(number, address): (usize, &str)| {
            let wrong = |why| NatsError::Address { number, why };
            let address: ServerAddr = address.trim().parse().map_err(|_| wrong("it is no address"))?;
            if address.username().is_some() || address.password().is_some() {
                return Err(wrong("it holds a name or a password, which go into a file of credentials"));
            }
            if !matches!(address.scheme(), "nats" | "tls") {
                return Err(wrong("it begins with neither nats:// nor tls://"));
            }
            if address.host().is_empty() {
                return Err(wrong("it names no host"));
            }
            Ok(address)
        };
        (1..).zip(text.split(',')).map(parse).collect::<Result<_, _>>().map(Self)
    }

    pub(super) fn addresses(&self) -> &[ServerAddr] {
        &self.0
    }
}

impl std::fmt::Display for NatsServers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (nth, address) in self.0.iter().enumerate() {
            let comma = if nth == 0 { "" } else { ", " };
            write!(f, "{comma}{}:{}", address.host(), address.port())?;
        }
        Ok(())
    }
}

impl NatsOptions {
    /// Reads the files, and says how a connection is made.
    pub(super) fn connect_options(&self) -> Result<ConnectOptions, NatsError> {
        let mut options = match &self.credentials {
            None => ConnectOptions::new(),
            Some(credentials) => credentials.connect_options()?,
        };
        if let Some(path) = &self.root_certificate {
            let text = read(path)?;
            if !holds_certificates(&text) {
                return Err(not_in_file(path, "certificate"));
            }
            options = options.add_root_certificates(path.clone()).require_tls(true);
        }
        if self.servers.0.iter().any(ServerAddr::tls_required) {
            // So that it holds for those too that a server tells of.
            options = options.require_tls(true);
        }
        let node = self.node;
        Ok(options
            .name(format!("respoked node {}", node.id.0))
            .ping_interval(PING_EVERY)
            .connection_timeout(CONNECT_TIMEOUT)
            .reconnect_delay_callback(move |attempt| again_after(node, attempt))
            .client_capacity(WAITING_MESSAGES_MAX)
            .subscription_capacity(ARRIVED_MESSAGES_MAX))
    }
}

/// Whether there are certificates in a PEM file and nothing that is none. Of a file without any the library would say nothing, and
/// trust nobody.
fn holds_certificates(text: &str) -> bool {
    let mut trusted = RootCertStore::empty();
    let all = CertificateDer::pem_slice_iter(text.as_bytes())
        .all(|certificate| certificate.is_ok_and(|certificate| trusted.add(certificate).is_ok()));
    all && !trusted.is_empty()
}

/// How long a node waits before an attempt to get its connection back. Each node waits for another time, so that a server
/// that is back does not meet them all at once.
fn again_after(node: Node, attempt: usize) -> Duration {
    let doubled = u32::try_from(attempt.saturating_sub(1)).unwrap_or(u32::MAX).min(16);
    let most = (AGAIN_AFTER * (1 << doubled)).min(AGAIN_AFTER_MAX);
    let mut hasher = SipHasher13::new();
    (node.id.0, node.incarnation.0, attempt).hash(&mut hasher);
    let of_a_thousand = u32::try_from(hasher.finish() % 1_000).unwrap_or(0);
    most / 2 + most / 2 * of_a_thousand / 1_000
}

/// The subject by which a node is reached.
pub(super) fn subject(cluster: &[u8; 16], node: NodeId) -> String {
    format!("{}.{}", prefix(cluster), node.0)
}

fn prefix(cluster: &[u8; 16]) -> String {
    format!("respoked.{}", data_encoding::HEXLOWER.encode(cluster))
}

/// What the user of a cluster's nodes has to be permitted at a NATS server, and needs no more, as its configuration says it.
#[must_use]
pub fn nats_permissions(cluster: &[u8; 16]) -> String {
    let all = prefix(cluster);
    format!("permissions: {{ publish: \"{all}.*\", subscribe: \"{all}.*\" }}")
}

#[cfg(test)]
mod tests;
