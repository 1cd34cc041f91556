//! Apps, their settings, and the records of their App-Secrets.

use serde::{Deserialize, Serialize};

pub use crate::app_limits::{Limits, LimitsPatch, Rate, Rates};
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

    /// Whether who asks from a page of `origin` (as browsers send it: scheme, host, port) may use the app. Who says no origin
    /// is no page, and may.
    #[must_use]
    pub fn permits_origin(&self, origin: Option<&str>) -> bool {
        let (Some(domains), Some(origin)) = (&self.permitted_domains, origin) else { return true };
        origin::permits(domains.iter().map(String::as_str), origin)
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
        self.limits.apply(&mut settings.limits);
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

/// What revoking a secret does to the tokens and sessions it minted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Revocation {
    /// It ends them.
    EndsMinted,
    /// They live on.
    SparesMinted,
}

impl Revocation {
    /// Whether they live on.
    #[must_use]
    pub const fn spares_minted(self) -> bool {
        match self {
            Self::EndsMinted => false,
            Self::SparesMinted => true,
        }
    }
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
        assert!(settings.permits_origin(Some("https://anywhere.test")));
        settings.permitted_domains = Some(vec!["example.com".into(), "*.example.org".into()]);
        assert!(settings.permits_origin(Some("https://example.com")));
        assert!(settings.permits_origin(Some("http://EXAMPLE.com:8080")));
        assert!(settings.permits_origin(Some("https://a.example.org")));
        for origin in [
            "https://evil-example.com",
            "https://example.org",
            "https://example.com.evil.test",
            "null",
            "https://xexample.org",
        ] {
            assert!(!settings.permits_origin(Some(origin)), "{origin}");
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
