//! `/v1/turn`: where media goes that finds no way from peer to peer.
//!
//! # Source
//!
//! Time-limited credentials as TURN servers know them: draft-uberti-behave-turn-rest, and coturn's `use-auth-secret`.

use data_encoding::BASE64;
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::own::endpoint_spoken_for;
use super::{Broker, Caller};
use crate::clock::Timestamp;
use crate::id::{AppId, EndpointId};
use crate::refusal::Refusal;
use crate::secret::Secret;

/// The port of STUN and TURN, RFC 8489.
const STUN_PORT: u16 = 3_478;
/// Where STUN is said to be when not even the request says which host it reached. No list of servers may be empty.
const NO_HOST: &str = "localhost";

/// The servers that help media along.
#[derive(Clone, Debug)]
pub struct Relays {
    /// TURN servers, and the secret shared with them.
    pub turn: Option<(Vec<String>, Secret)>,
    /// STUN servers; none: the host that the request reached.
    pub stun_uris: Vec<String>,
    /// How long credentials are good, in seconds.
    pub ttl_secs: u32,
}

/// What a client is told of them.
#[derive(Clone, Debug)]
pub struct RelayAccess {
    /// User name and password; none: these are STUN servers, which ask for none.
    pub credentials: Option<(String, Secret)>,
    /// For how many seconds this is good.
    pub ttl_secs: u32,
    /// The servers, at least one.
    pub uris: Vec<String>,
}

impl Broker {
    /// TURN credentials for who may relay media, STUN servers for everybody else. `host` is where the request came to.
    ///
    /// # Errors
    ///
    /// As [`Broker::rights`]; [`Refusal::Forbidden`] for an App-Token of another endpoint; [`Refusal::Invalid`].
    pub async fn relay_access(
        &self,
        caller: &Caller,
        app: Option<AppId>,
        endpoint: Option<&str>,
        relays: &Relays,
        host: Option<&str>,
    ) -> Result<RelayAccess, Refusal> {
        let rights = self.rights(caller).await?;
        let app = self.app_within(caller, app).await?;
        let endpoint = endpoint_spoken_for(caller, endpoint)?;
        let ttl_secs = relays.ttl_secs;
        if let (true, Some((uris, secret))) = (rights.may_relay_media(), &relays.turn) {
            let expires_at = self.now().plus_secs(i64::from(ttl_secs));
            let username = username(app.id, endpoint.as_ref(), expires_at);
            let password = password(secret, &username);
            return Ok(RelayAccess { credentials: Some((username, password)), ttl_secs, uris: uris.clone() });
        }
        let uris = if relays.stun_uris.is_empty() {
            vec![format!("stun:{}:{STUN_PORT}", host.and_then(host_name).unwrap_or(NO_HOST))]
        } else {
            relays.stun_uris.clone()
        };
        Ok(RelayAccess { credentials: None, ttl_secs, uris })
    }
}

/// `<expiry>:<app><endpoint>.<expiry>`: coturn takes the digits before the separator for the expiry if there are only
/// digits, else what follows it. So it is found with coturn's own separator, `:`, and with the `.` that the recorded
/// names have.
///
/// The endpoint is told by a UUID made of its name, so that a relay can count by endpoint and learns no names.
fn username(app: AppId, endpoint: Option<&EndpointId>, expires_at: Timestamp) -> String {
    let expiry = expires_at.secs();
    let endpoint = endpoint.map_or(Uuid::nil(), |endpoint| pseudonym(app, endpoint));
    let mut buffers = (Uuid::encode_buffer(), Uuid::encode_buffer());
    let app = app.uuid().hyphenated().encode_upper(&mut buffers.0);
    let endpoint = endpoint.hyphenated().encode_upper(&mut buffers.1);
    format!("{expiry}:{app}{endpoint}.{expiry}")
}

fn pseudonym(app: AppId, endpoint: &EndpointId) -> Uuid {
    let digest = Sha256::new().chain_update(app.uuid()).chain_update(endpoint.as_str()).finalize();
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest[..16]);
    uuid::Builder::from_random_bytes(bytes).into_uuid()
}

fn password(secret: &Secret, username: &str) -> Secret {
    let mut mac = Hmac::<Sha1>::new_from_slice(secret.expose().as_bytes()).expect("HMAC takes a key of any length");
    mac.update(username.as_bytes());
    Secret::new(BASE64.encode(&mac.finalize().into_bytes()))
}

/// The host of a `Host` header, without its port; none if it is no host.
fn host_name(host: &str) -> Option<&str> {
    let name = match host.strip_prefix('[') {
        // An IPv6 address keeps its brackets.
        Some(rest) => &host[..rest.find(']')? + 2],
        None => host.split(':').next().unwrap_or_default(),
    };
    let sound = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:[]".contains(&byte);
    (!name.is_empty() && name.len() <= 255 && name.bytes().all(sound)).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_password_is_the_hmac_of_the_name() {
        // RFC 2202, test case 2.
        let password = password(&Secret::new("Jefe".to_owned()), "what do ya want for nothing?");
        let digest = BASE64.decode(password.expose().as_bytes()).unwrap();
        assert_eq!(data_encoding::HEXLOWER.encode(&digest), "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79");
    }

    /// What coturn reads as the expiry, with `separator` as its setting.
    fn expiry_by_coturn(username: &str, separator: char) -> u64 {
        let (before, after) = username.split_once(separator).unwrap();
        let part = if before.bytes().all(|byte| byte.is_ascii_digit()) { before } else { after };
        part.parse().unwrap()
    }

    #[test]
    fn the_name_tells_its_expiry_and_whose_it_is() {
        let app = AppId::parse("7c5f10a4-3f1e-4b6e-9a30-5d3f6cf0a001").unwrap();
        let [alice, bob] = ["alice", "bob"].map(|name| EndpointId::parse(name).unwrap());
        let name = |endpoint| username(app, endpoint, Timestamp::from_secs(1_800_000_060));
        for separator in [':', '.'] {
            assert_eq!(expiry_by_coturn(&name(Some(&alice)), separator), 1_800_000_060);
        }
        assert!(name(None).starts_with("1800000060:7C5F10A4-3F1E-4B6E-9A30-5D3F6CF0A001"));
        assert_eq!(name(Some(&alice)).len(), 10 + 1 + 72 + 1 + 10);
        assert_eq!(name(Some(&alice)), name(Some(&alice)));
        assert_ne!(name(Some(&alice)), name(Some(&bob)));
        assert_ne!(pseudonym(app, &alice), pseudonym(AppId::random(), &alice));
    }

    #[test]
    fn a_host_is_taken_without_its_port() {
        for (header, host) in [
            ("example.com", Some("example.com")),
            ("example.com:8080", Some("example.com")),
            ("192.0.2.1:80", Some("192.0.2.1")),
            ("[2001:db8::1]:443", Some("[2001:db8::1]")),
            ("[::1]", Some("[::1]")),
            ("[::1", None),
            ("", None),
            (":80", None),
            ("a b", None),
            ("exämple.com", None),
        ] {
            assert_eq!(host_name(header), host, "{header}");
        }
    }
}
