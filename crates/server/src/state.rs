//! What every operation has at hand, however it is asked for.

mod readiness;

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use respoke_core::admin::KnownAddress;
use respoke_core::clock::Timestamp;
use respoke_core::ops::{Broker, Caller, Relays};
use respoke_core::ports::{Counted, Load, Node, NodeRecord, NodeState, StoreError};
use respoke_core::refusal::Refusal;
use respoke_core::seal::{NUMBER_END, SealKind, Sealer};
use respoke_hub::{Hub, HubView};
use respoke_wire::bus::VERSIONS;

use readiness::Readiness;

use crate::cluster::Among;
use crate::config::PublicUrl;
use crate::limits::{Accounts, Limits};
use crate::metrics::Metrics;
use crate::throttle::Throttle;
use crate::transport::Places;
use crate::turns::{Party, Turn, Turns};
use crate::watch::Watch;

/// What handlers have at hand.
pub(crate) struct Api {
    pub(crate) broker: Arc<Broker>,
    pub(crate) hub: Arc<Hub>,
    /// This node among others. None: it is alone.
    pub(crate) among: Option<Arc<Among>>,
    /// What operators call this node.
    name: String,
    address: Option<SocketAddr>,
    began: Timestamp,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) watch: Arc<Watch>,
    pub(crate) places: Arc<Places>,
    pub(crate) limits: Arc<Limits>,
    /// What requests make others receive, and long answers.
    pub(crate) accounts: Arc<Accounts>,
    pub(crate) throttle: Throttle,
    /// What `/v1/turn` tells of.
    pub(crate) relays: Relays,
    /// By which URL others reach the server, if it was said.
    pub(crate) public_url: Option<PublicUrl>,
    /// The description of the API, once it was asked for.
    pub(crate) described: OnceLock<Described>,
    pub(crate) readiness: Readiness,
    /// Turns at making an answer that may be long.
    pub(crate) long_answers: Arc<Turns>,
    /// The same at putting logs of requests together. Other nodes are waited for in them, and who makes an answer of what is
    /// here does not wait for that.
    pages_of_logs: Arc<Turns>,
    /// Mixed into what is derived from an `Idempotency-Key`, so that a database with another key derives otherwise.
    pub(crate) idempotency_salt: [u8; 32],
}

impl Api {
    pub(crate) fn new(
        broker: Arc<Broker>,
        hub: Arc<Hub>,
        watch: Arc<Watch>,
        places: Arc<Places>,
        limits: Limits,
        throttle: Throttle,
        relays: Relays,
    ) -> Self {
        let idempotency_salt = salt(&broker.store().sealer());
        let (metrics, began) = (watch.metrics.clone(), broker.now());
        let accounts = Accounts::new(broker.clock().clone());
        let (limits, accounts, throttle) = shared(&hub, idempotency_salt, (limits, accounts, throttle));
        Self {
            broker,
            hub,
            among: None,
            name: String::new(),
            address: None,
            began,
            metrics,
            watch,
            places,
            limits: Arc::new(limits),
            accounts: Arc::new(accounts),
            throttle,
            relays,
            public_url: None,
            described: OnceLock::new(),
            readiness: Readiness::default(),
            long_answers: Turns::new(LONG_ANSWERS, LONG_ANSWERS_OF_APP),
            pages_of_logs: Turns::new(LONG_ANSWERS, LONG_ANSWERS_OF_APP),
            idempotency_salt,
        }
    }

    /// The same, called so by operators.
    pub(crate) fn called(self, name: String, address: SocketAddr) -> Self {
        Self { name, address: Some(address), ..self }
    }

    /// What there is to tell of a node that is alone.
    pub(crate) fn this_node(&self) -> NodeRecord {
        NodeRecord {
            node: Node::ALONE,
            name: self.name.clone(),
            address: self.address.map(|address| address.to_string()).unwrap_or_default(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            codec: VERSIONS,
            since: self.began,
            beat_at: self.broker.now(),
            state: NodeState::Serving,
            is_to_drain: false,
            load: load(&self.hub),
        }
    }

    /// The same of a node among others.
    pub(crate) fn among(self, among: Option<Arc<Among>>) -> Self {
        Self { among, ..self }
    }

    /// Fails unless this node may go by what it knows.
    ///
    /// # Errors
    ///
    /// [`Refusal::Isolated`].
    pub(crate) fn check_standing(&self) -> Result<(), Refusal> {
        match &self.among {
            Some(among) if !among.fence().holds() => Err(Refusal::Isolated),
            Some(_) | None => Ok(()),
        }
    }

    /// The same, said to be reached by `public_url`.
    pub(crate) fn reached_by(self, public_url: Option<PublicUrl>) -> Self {
        Self { public_url, ..self }
    }
}

/// Makes what is counted known to the other nodes, if there may be some. `key` is theirs in common.
fn shared(
    hub: &Arc<Hub>,
    key: [u8; 32],
    (limits, accounts, throttle): (Limits, Accounts, Throttle),
) -> (Limits, Accounts, Throttle) {
    if !hub.is_among_others() {
        return (limits, accounts, throttle);
    }
    let telling = hub.clone();
    let throttle = throttle.among_others(key, move |tried| telling.tell_counted(Counted::Tried(tried)));
    (limits.among_others(), accounts.among_others(), throttle)
}

/// Long answers that are made at once. Until one is handed out it is counted nowhere, rows of the store and all.
const LONG_ANSWERS: usize = 4;
/// Of them, those of one app: the others' do not wait for it, and have processors left.
const LONG_ANSWERS_OF_APP: usize = 2;

impl Api {
    /// Takes up from which addresses admins signed in lately: there strangers make them wait for nothing.
    pub(crate) async fn take_up_known_addresses(&self) -> Result<(), StoreError> {
        let (now, instant) = (self.broker.now(), self.monotonic());
        let known = self.broker.store().known_addresses(now.plus_secs(-KnownAddress::KNOWN_SECS)).await?;
        for KnownAddress { username, address, at } in known {
            let ago = u64::try_from(now.millis() - at.millis()).unwrap_or(0);
            self.throttle.came_in(address, &username, Duration::from_millis(ago), instant);
        }
        Ok(())
    }

    /// The present instant, by which the throttle measures.
    pub(crate) fn monotonic(&self) -> Instant {
        self.broker.clock().monotonic()
    }

    /// Forgets of those who came and went what a newcomer would have as well.
    pub(crate) fn forget(&self) {
        self.limits.sweep();
        self.accounts.sweep();
        self.throttle.sweep(self.monotonic());
        self.broker.sweep();
    }

    /// A turn at making an answer that may be long, to be kept until it is made.
    ///
    /// # Errors
    ///
    /// As [`Turns::take`].
    pub(crate) async fn long_answer(&self, caller: &Caller) -> Result<Turn, Refusal> {
        self.long_answers.take(Party::of(caller)).await
    }

    /// A turn at putting the logs of all nodes together, to be kept until they are.
    ///
    /// # Errors
    ///
    /// As [`Turns::take`].
    pub(crate) async fn page_of_logs(&self, caller: &Caller) -> Result<Turn, Refusal> {
        self.pages_of_logs.take(Party::of(caller)).await
    }
}

impl std::fmt::Debug for Api {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Api").finish_non_exhaustive()
    }
}

/// Key material that the database's key decides: the public names of numbers that no token or session will ever have.
fn salt(sealer: &Sealer) -> [u8; 32] {
    let mut salt = [0; 32];
    salt[..16].copy_from_slice(sealer.name(SealKind::TokenName, NUMBER_END - 1).as_bytes());
    salt[16..].copy_from_slice(sealer.name(SealKind::SessionName, NUMBER_END - 1).as_bytes());
    salt
}

/// The description of the API as this server tells it.
pub(crate) struct Described {
    pub(crate) json: Bytes,
    /// The same for people.
    pub(crate) page: Bytes,
}

/// What a node tells of itself.
pub(crate) fn load(hub: &Hub) -> Load {
    let HubView { sockets, counts, feed_age, .. } = hub.view();
    let count = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
    let feed_age_millis = u64::try_from(feed_age.as_millis()).unwrap_or(u64::MAX);
    Load { sockets: count(sockets), connections: count(counts.connections), feed_age_millis, ..Load::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_salt_is_the_databases_own() {
        assert_eq!(salt(&Sealer::new([1; 16])), salt(&Sealer::new([1; 16])));
        assert_ne!(salt(&Sealer::new([1; 16])), salt(&Sealer::new([2; 16])));
    }
}
