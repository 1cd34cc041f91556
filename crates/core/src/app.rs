//! Apps, their settings, and the records of their App-Secrets.

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::grant::Marks;
use crate::id::{AccountId, AppId, SecretId};
use crate::origin;
use crate::secret::SecretHash;

/// An app as it is kept.
#[derive(Clone, Debug)]
pub struct App {
    /// Its id.
    pub id: AppId,
    /// Who owns it.
    pub account_id: AccountId,
    /// Its name and settings.
    pub settings: AppSettings,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
    /// What of it has been ended.
    pub marks: Marks,
}

/// What an owner can change about an app.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppSettings {
    /// 1 to 128 characters.
    pub name: String,
    /// At most 1,024 characters.
    pub description: String,
    /// Whether tokens are minted without a credential.
    pub development_mode: bool,
    /// Pages of which domains may use the app, as [`origin::domain`] writes them; none: all.
    pub permitted_domains: Option<Vec<String>>,
    /// Longest life of a session, in seconds.
    pub ttl_secs_max: u64,
    /// How long a tokenId waits to be redeemed, in seconds.
    pub activation_secs: u64,
    /// What becomes of a session's open sockets when its time is over.
    pub session_expiry: SessionExpiry,
    /// How often things may be done, and how much may be open at once.
    pub limits: Limits,
}

/// What becomes of the sockets of a session whose time is over. One that is ended by name always takes them along.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SessionExpiry {
    /// They are closed.
    #[default]
    End,
    /// They stay until they drop by themselves.
    Keep,
}

impl AppSettings {
    /// Longest life of a session unless the app says otherwise, in seconds.
    pub const TTL_SECS_MAX_DEFAULT: u64 = 86_400;
    /// The most an app may allow: 30 days, in seconds.
    pub const TTL_SECS_CEILING: u64 = 30 * 86_400;
    /// How long a tokenId waits unless the app says otherwise, in seconds.
    pub const ACTIVATION_SECS_DEFAULT: u64 = 300;

    /// Settings of a new app called `name`.
    #[must_use]
    pub fn named(name: String) -> Self {
        Self {
            name,
            description: String::new(),
            development_mode: false,
            permitted_domains: None,
            ttl_secs_max: Self::TTL_SECS_MAX_DEFAULT,
            activation_secs: Self::ACTIVATION_SECS_DEFAULT,
            session_expiry: SessionExpiry::default(),
            limits: Limits::default(),
        }
    }

    /// Whether a page of `origin` (as browsers send it: scheme, host, port) may use the app.
    #[must_use]
    pub fn permits_origin(&self, origin: &str) -> bool {
        let domains = self.permitted_domains.as_ref();
        domains.is_none_or(|domains| origin::permits(domains.iter().map(String::as_str), origin))
    }
}

/// A change of settings; what is absent stays.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AppPatch {
    /// See [`AppSettings::name`].
    pub name: Option<String>,
    /// See [`AppSettings::description`].
    pub description: Option<String>,
    /// See [`AppSettings::development_mode`].
    pub development_mode: Option<bool>,
    /// See [`AppSettings::permitted_domains`].
    pub permitted_domains: Option<Option<Vec<String>>>,
    /// See [`AppSettings::ttl_secs_max`].
    pub ttl_secs_max: Option<u64>,
    /// See [`AppSettings::activation_secs`].
    pub activation_secs: Option<u64>,
    /// See [`AppSettings::session_expiry`].
    pub session_expiry: Option<SessionExpiry>,
    /// Each limit that is named changes; `Some(None)` switches it off.
    pub limits: LimitsPatch,
}

/// A change of limits; see [`AppPatch::limits`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LimitsPatch {
    /// See [`Limits::app`].
    pub app: Option<Option<Rate>>,
    /// See [`Limits::endpoint`].
    pub endpoint: Option<Option<Rate>>,
    /// See [`Limits::address`].
    pub address: Option<Option<Rate>>,
    /// See [`Limits::connects`].
    pub connects: Option<Option<Rate>>,
    /// See [`Limits::endpoint_connects`].
    pub endpoint_connects: Option<Option<Rate>>,
    /// See [`Limits::address_connects`].
    pub address_connects: Option<Option<Rate>>,
    /// See [`Limits::messages`].
    pub messages: Option<Option<Rate>>,
    /// See [`Limits::endpoint_messages`].
    pub endpoint_messages: Option<Option<Rate>>,
    /// See [`Limits::address_messages`].
    pub address_messages: Option<Option<Rate>>,
    /// See [`Limits::deliveries`].
    pub deliveries: Option<Option<Rate>>,
    /// See [`Limits::endpoint_deliveries`].
    pub endpoint_deliveries: Option<Option<Rate>>,
    /// See [`Limits::address_deliveries`].
    pub address_deliveries: Option<Option<Rate>>,
    /// See [`Limits::kilobytes`].
    pub kilobytes: Option<Option<Rate>>,
    /// See [`Limits::endpoint_kilobytes`].
    pub endpoint_kilobytes: Option<Option<Rate>>,
    /// See [`Limits::address_kilobytes`].
    pub address_kilobytes: Option<Option<Rate>>,
    /// See [`Limits::connections`].
    pub connections: Option<Option<u32>>,
    /// See [`Limits::endpoint_connections`].
    pub endpoint_connections: Option<Option<u32>>,
    /// See [`Limits::groups_per_connection`].
    pub groups_per_connection: Option<Option<u32>>,
    /// See [`Limits::members_per_group`].
    pub members_per_group: Option<Option<u32>>,
    /// See [`Limits::kept_megabytes`].
    pub kept_megabytes: Option<Option<u32>>,
}

impl AppPatch {
    /// Applies the change.
    pub fn apply(self, settings: &mut AppSettings) {
        fn set<T>(field: &mut T, change: Option<T>) {
            if let Some(value) = change {
                *field = value;
            }
        }
        set(&mut settings.name, self.name);
        set(&mut settings.description, self.description);
        set(&mut settings.development_mode, self.development_mode);
        set(&mut settings.permitted_domains, self.permitted_domains);
        set(&mut settings.ttl_secs_max, self.ttl_secs_max);
        set(&mut settings.activation_secs, self.activation_secs);
        set(&mut settings.session_expiry, self.session_expiry);
        let limits = &mut settings.limits;
        set(&mut limits.app, self.limits.app);
        set(&mut limits.endpoint, self.limits.endpoint);
        set(&mut limits.address, self.limits.address);
        set(&mut limits.connects, self.limits.connects);
        set(&mut limits.endpoint_connects, self.limits.endpoint_connects);
        set(&mut limits.address_connects, self.limits.address_connects);
        set(&mut limits.messages, self.limits.messages);
        set(&mut limits.endpoint_messages, self.limits.endpoint_messages);
        set(&mut limits.address_messages, self.limits.address_messages);
        set(&mut limits.deliveries, self.limits.deliveries);
        set(&mut limits.endpoint_deliveries, self.limits.endpoint_deliveries);
        set(&mut limits.address_deliveries, self.limits.address_deliveries);
        set(&mut limits.kilobytes, self.limits.kilobytes);
        set(&mut limits.endpoint_kilobytes, self.limits.endpoint_kilobytes);
        set(&mut limits.address_kilobytes, self.limits.address_kilobytes);
        set(&mut limits.connections, self.limits.connections);
        set(&mut limits.endpoint_connections, self.limits.endpoint_connections);
        set(&mut limits.groups_per_connection, self.limits.groups_per_connection);
        set(&mut limits.members_per_group, self.limits.members_per_group);
        set(&mut limits.kept_megabytes, self.limits.kept_megabytes);
    }
}

/// Token buckets of an app, and how much of it may be open at once; `None` is no limit.
///
/// What a stored row does not name, because it was written by an older program, is the default.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Limits {
    /// All requests of the app together.
    pub app: Option<Rate>,
    /// Requests of one endpoint, and mints for it.
    pub endpoint: Option<Rate>,
    /// Requests of one address with the app's App-Tokens, or with no credential.
    pub address: Option<Rate>,
    /// Sockets opened for the app together, as a rate; how many may be open is [`Limits::connections`].
    pub connects: Option<Rate>,
    /// Sockets opened by one endpoint.
    pub endpoint_connects: Option<Rate>,
    /// Sockets opened from one address with the app's App-Tokens.
    pub address_connects: Option<Rate>,
    /// What is said in the app together: messages, publications, signals and changes of presence.
    pub messages: Option<Rate>,
    /// What one endpoint says.
    pub endpoint_messages: Option<Rate>,
    /// What is said from one address with the app's App-Tokens.
    pub address_messages: Option<Rate>,
    /// Frames that requests in the app make others receive, together: a publication to a hundred members is a hundred.
    pub deliveries: Option<Rate>,
    /// Those that the requests of one endpoint make others receive.
    pub endpoint_deliveries: Option<Rate>,
    /// Those that requests from one address with the app's App-Tokens do.
    pub address_deliveries: Option<Rate>,
    /// What goes out because of requests in the app, in units of 1,024 bytes: those frames, and long answers.
    pub kilobytes: Option<Rate>,
    /// What goes out because of one endpoint's requests.
    pub endpoint_kilobytes: Option<Rate>,
    /// What goes out because of requests from one address with the app's App-Tokens.
    pub address_kilobytes: Option<Rate>,
    /// Connections of the app together; 1 to [`Limits::COUNT_MAX`], like the four that follow.
    pub connections: Option<u32>,
    /// Connections of one endpoint.
    pub endpoint_connections: Option<u32>,
    /// Groups that one connection may be in.
    pub groups_per_connection: Option<u32>,
    /// Connections that may be in one group.
    pub members_per_group: Option<u32>,
    /// What may be kept of what the app's clients say, in units of 1,048,576 bytes; none: as much as the server's setting
    /// `kept_bytes_per_app_max` says.
    pub kept_megabytes: Option<u32>,
}

impl Limits {
    /// The largest number of connections, groups or members that a limit takes.
    pub const COUNT_MAX: u32 = 10_000_000;

    /// What may be kept, in bytes, if the app says it itself.
    #[must_use]
    pub fn kept_bytes(&self) -> Option<u64> {
        self.kept_megabytes.map(|megabytes| u64::from(megabytes) << 20)
    }

    /// Rates of all requests.
    #[must_use]
    pub fn of_requests(&self) -> Rates {
        Rates { app: self.app, endpoint: self.endpoint, address: self.address }
    }

    /// Rates of opening sockets.
    #[must_use]
    pub fn of_connects(&self) -> Rates {
        Rates { app: self.connects, endpoint: self.endpoint_connects, address: self.address_connects }
    }

    /// Rates of what clients say to each other.
    #[must_use]
    pub fn of_messages(&self) -> Rates {
        Rates { app: self.messages, endpoint: self.endpoint_messages, address: self.address_messages }
    }

    /// Rates of the frames that others receive.
    #[must_use]
    pub fn of_deliveries(&self) -> Rates {
        Rates { app: self.deliveries, endpoint: self.endpoint_deliveries, address: self.address_deliveries }
    }

    /// Rates of the kilobytes that go out.
    #[must_use]
    pub fn of_kilobytes(&self) -> Rates {
        Rates { app: self.kilobytes, endpoint: self.endpoint_kilobytes, address: self.address_kilobytes }
    }
}

/// Token buckets of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rates {
    /// Of the app together.
    pub app: Option<Rate>,
    /// Of one endpoint.
    pub endpoint: Option<Rate>,
    /// Of one address.
    pub address: Option<Rate>,
}

/// A token bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rate {
    /// How many a second can go on for ever; 1 to 1,000,000.
    pub per_second: u32,
    /// How many may come at once; 1 to 1,000,000.
    pub burst: u32,
}

impl Rate {
    /// The largest number either field takes.
    pub const MAX: u32 = 1_000_000;
}

impl Default for Limits {
    /// Far above what an honest app does, far below what hurts the others. The recorded 10 a second would starve a
    /// backend that logs its users in again after a restart.
    fn default() -> Self {
        Self {
            app: Some(Rate { per_second: 2_000, burst: 10_000 }),
            endpoint: Some(Rate { per_second: 50, burst: 200 }),
            address: Some(Rate { per_second: 500, burst: 2_000 }),
            // All clients of an app come back at once after a restart, perhaps by one proxy or from one office.
            connects: None,
            endpoint_connects: Some(Rate { per_second: 10, burst: 100 }),
            address_connects: None,
            // What is said is requested too, and bounded by those rates already.
            messages: None,
            endpoint_messages: Some(Rate { per_second: 200, burst: 1_000 }),
            address_messages: None,
            // A backend tells ten thousand members something a few times a second, and ten thousand clients that come
            // back at once each join a handful of small groups.
            deliveries: Some(Rate { per_second: 200_000, burst: 1_000_000 }),
            // A lively group of hundreds; a group of ten thousand every other second.
            endpoint_deliveries: Some(Rate { per_second: 5_000, burst: 50_000 }),
            address_deliveries: None,
            // A third of what one core of a small server writes to sockets.
            kilobytes: Some(Rate { per_second: 65_536, burst: 524_288 }),
            // A dozen and more whole pages of history at once.
            endpoint_kilobytes: Some(Rate { per_second: 4_096, burst: 16_384 }),
            address_kilobytes: None,
            connections: Some(100_000),
            endpoint_connections: Some(100),
            groups_per_connection: Some(1_000),
            members_per_group: Some(10_000),
            kept_megabytes: None,
        }
    }
}

/// An App-Secret's record. Its text is not kept.
#[derive(Clone, Debug)]
pub struct SecretRecord {
    /// Its id.
    pub id: SecretId,
    /// The app it opens.
    pub app_id: AppId,
    /// What its owner calls it.
    pub name: String,
    /// The last four symbols of its text.
    pub hint: String,
    /// SHA-256 of its text.
    pub hash: SecretHash,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last used, to the minute.
    pub last_used_at: Option<Timestamp>,
    /// When it ceases to be taken; none: never.
    pub expires_at: Option<Timestamp>,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
    /// Whether, when revoked, it left what it had minted alive.
    pub keep_sessions: bool,
}

impl SecretRecord {
    /// Whether the secret is taken at `now`.
    #[must_use]
    pub fn usable(&self, now: Timestamp) -> bool {
        self.revoked_at.is_none() && self.expires_at.is_none_or(|at| now < at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_held_against_the_permitted_domains() {
        let mut settings = AppSettings::named("x".into());
        assert!(settings.permits_origin("https://anywhere.test"));
        settings.permitted_domains = Some(vec!["example.com".into(), "*.example.org".into()]);
        assert!(settings.permits_origin("https://example.com"));
        assert!(settings.permits_origin("http://EXAMPLE.com:8080"));
        assert!(settings.permits_origin("https://a.example.org"));
        for origin in [
            "https://evil-example.com",
            "https://example.org",
            "https://example.com.evil.test",
            "null",
            "https://xexample.org",
        ] {
            assert!(!settings.permits_origin(origin), "{origin}");
        }
    }

    #[test]
    fn limits_stored_by_an_older_program_have_the_newer_ones_at_their_defaults() {
        let limits: Limits =
            serde_json::from_str(r#"{"app":null,"endpoint":{"perSecond":5,"burst":9},"address":null}"#).unwrap();
        assert_eq!((limits.app, limits.endpoint.unwrap().burst), (None, 9));
        assert_eq!((limits.connections, limits.members_per_group), (Some(100_000), Some(10_000)));
        let default = Limits::default();
        assert_eq!((limits.of_connects(), limits.of_messages()), (default.of_connects(), default.of_messages()));
        // What was switched off stays off.
        let limits = Limits { connections: None, endpoint_messages: None, ..limits };
        let text = serde_json::to_string(&limits).unwrap();
        assert!(text.contains(r#""connections":null,"endpointConnections":100"#), "{text}");
        assert_eq!(serde_json::from_str::<Limits>(&text).unwrap(), limits);
    }
}
