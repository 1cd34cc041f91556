//! `/v1/apps`.

use respoke_core::app::{App, AppPatch, Limits, LimitsPatch, Rate, SessionExpiry};
use respoke_core::clock::Timestamp;
use respoke_core::each_limit;
use respoke_core::id::{AccountId, AppId};
use respoke_core::ops::CreatedSecret;
use respoke_core::secret::Secret;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{REDACTED, iso, nullable, nullable_u64, reveal};
use crate::lenient::{optional_bool, optional_u64};

/// What `POST /v1/apps`, `PUT` and `PATCH /v1/apps/{id}` take; what is absent stays, or is the default of a new app.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct WriteApp {
    /// What it is called; a new app needs it.
    #[schema(nullable, min_length = 1, max_length = 128)]
    pub name: Option<String>,
    /// What it is for.
    #[schema(nullable, max_length = 1024)]
    pub description: Option<String>,
    /// Whether tokens are minted without a credential.
    #[serde(default, deserialize_with = "optional_bool")]
    #[schema(nullable)]
    pub development_mode: Option<bool>,
    /// Pages of which domains may use the app; `null`: all. `*.example.com` covers every subdomain, `.example.com` the
    /// domain as well, `example.com:8100` one port; with a scheme before it only pages of that; `*` every page.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<Vec<String>>)]
    pub permitted_domains: Option<Option<Vec<String>>>,
    /// The longest life of a session, in seconds.
    #[serde(default, deserialize_with = "optional_u64")]
    #[schema(nullable, minimum = 60, maximum = 2_592_000)]
    pub max_ttl: Option<u64>,
    /// How long a tokenId waits to be redeemed, in seconds.
    #[serde(default, deserialize_with = "optional_u64")]
    #[schema(nullable, minimum = 10, maximum = 86400)]
    pub activation_window: Option<u64>,
    /// What becomes of a session's open sockets when its time is over: `end` closes them, `keep` leaves them until they
    /// drop.
    #[schema(value_type = Option<SessionExpiryShape>)]
    pub session_expiry: Option<SessionExpiry>,
    /// How often things may be done, and how much may be open at once; each that is named changes, `null` switches it off.
    pub limits: Option<WriteLimits>,
}

macro_rules! bodies_of_limits {
    (
        rates { $(($rate:ident $rate_name:tt $rate_flag:tt $rate_label:tt $rate_default:tt $rate_doc:tt))* }
        counts { $(($count:ident $count_name:tt $count_flag:tt $count_label:tt $count_default:tt $count_doc:tt))* }
    ) => {
        /// Limits to set.
        #[derive(Clone, Debug, Default, Deserialize, ToSchema)]
        #[serde(rename_all = "camelCase")]
        pub struct WriteLimits {
            $(
                #[doc = $rate_doc]
                #[serde(default, deserialize_with = "nullable")]
                #[schema(value_type = Option<WriteRate>)]
                pub $rate: Option<Option<WriteRate>>,
            )*
            $(
                #[doc = $count_doc]
                #[serde(default, deserialize_with = "nullable_u64")]
                #[schema(value_type = Option<u64>, minimum = 1, maximum = 10_000_000)]
                pub $count: Option<Option<u64>>,
            )*
        }

        impl WriteLimits {
            fn into_patch(self) -> LimitsPatch {
                LimitsPatch {
                    $($rate: self.$rate.map(|rate| rate.map(Rate::from)),)*
                    $($count: self.$count.map(|count| count.map(narrow)),)*
                }
            }
        }

        /// How [`Limits`] look in JSON; for the API document alone.
        #[derive(Debug, ToSchema)]
        #[schema(as = Limits, rename_all = "camelCase")]
        pub struct LimitsShape {
            $(
                #[doc = $rate_doc]
                #[schema(required = true)]
                pub $rate: Option<RateShape>,
            )*
            $(
                #[doc = $count_doc]
                #[schema(required = true)]
                pub $count: Option<u32>,
            )*
        }
    };
}

each_limit!(bodies_of_limits);

/// A token bucket to set.
#[derive(Clone, Copy, Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct WriteRate {
    /// How many a second can go on for ever.
    #[serde(default, deserialize_with = "optional_u64")]
    #[schema(required = true, minimum = 1, maximum = 1_000_000)]
    pub per_second: Option<u64>,
    /// How many may come at once; `perSecond` if absent.
    #[serde(default, deserialize_with = "optional_u64")]
    #[schema(nullable, minimum = 1, maximum = 1_000_000)]
    pub burst: Option<u64>,
}

impl WriteApp {
    /// The change asked for.
    #[must_use]
    pub fn into_patch(self) -> AppPatch {
        AppPatch {
            name: self.name,
            description: self.description,
            development_mode: self.development_mode,
            permitted_domains: self.permitted_domains,
            ttl_secs_max: self.max_ttl,
            activation_secs: self.activation_window,
            session_expiry: self.session_expiry,
            limits: self.limits.unwrap_or_default().into_patch(),
        }
    }
}

/// What is too large becomes a number that the operation refuses, naming the field.
fn narrow(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

impl From<WriteRate> for Rate {
    /// What is absent becomes a number that the operation refuses, too.
    fn from(rate: WriteRate) -> Self {
        let per_second = rate.per_second.map_or(0, narrow);
        Self { per_second, burst: rate.burst.map_or(per_second, narrow) }
    }
}

/// An app.
///
/// # Source
///
/// Section 2.1 of docs/protocol.md; `maxTtl`, `activationWindow`, `sessionExpiry` and `limits` are additions.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AppView {
    /// Its id.
    #[schema(value_type = String, format = Uuid)]
    pub id: AppId,
    /// Who owns it.
    #[schema(value_type = String, format = Uuid)]
    pub account_id: AccountId,
    /// What it is called.
    pub name: String,
    /// What it is for.
    pub description: String,
    /// Always false; the original service locked apps of unpaid accounts.
    pub locked: bool,
    /// Pages of which domains may use the app; `null`: all.
    #[schema(required = true)]
    pub permitted_domains: Option<Vec<String>>,
    /// Whether tokens are minted without a credential.
    pub development_mode: bool,
    /// The longest life of a session, in seconds.
    pub max_ttl: u64,
    /// How long a tokenId waits to be redeemed, in seconds.
    pub activation_window: u64,
    /// What becomes of a session's open sockets when its time is over.
    #[schema(value_type = SessionExpiryShape)]
    pub session_expiry: SessionExpiry,
    /// How often things may be done, and how much may be open at once; `null` is none.
    #[schema(value_type = LimitsShape)]
    pub limits: Limits,
    /// What is kept of what its clients say, and how much may be; only of an app that is asked for by its id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kept: Option<Kept>,
    /// The first App-Secret in the answer that makes the app, `<redacted>` ever after.
    #[serde(serialize_with = "reveal")]
    #[schema(value_type = String)]
    pub secret: Secret,
    /// When it was made.
    #[serde(serialize_with = "iso")]
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// When it was last changed.
    #[serde(serialize_with = "iso")]
    #[schema(value_type = String, format = DateTime)]
    pub updated_at: Timestamp,
}

/// What an app keeps: messages and their groups, read marks, push tokens and call reports.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
pub struct Kept {
    /// In bytes, now.
    pub bytes: u64,
    /// At most.
    pub max: u64,
}

/// How a [`SessionExpiry`] looks in JSON; for the API document alone.
#[derive(Debug, ToSchema)]
#[schema(as = SessionExpiry, rename_all = "lowercase")]
pub enum SessionExpiryShape {
    /// They are closed.
    End,
    /// They stay until they drop by themselves.
    Keep,
}

/// How a [`Rate`] looks in JSON; for the API document alone.
#[derive(Debug, ToSchema)]
#[schema(as = Rate, rename_all = "camelCase")]
pub struct RateShape {
    /// How many a second can go on for ever.
    pub per_second: u32,
    /// How many may come at once.
    pub burst: u32,
}

impl AppView {
    /// A new app, with the text of its first secret.
    #[must_use]
    pub fn created(app: App, secret: &CreatedSecret) -> Self {
        Self { secret: secret.text.secret().clone(), ..Self::from(app) }
    }
}

impl From<App> for AppView {
    fn from(app: App) -> Self {
        Self {
            id: app.id,
            account_id: app.account_id,
            name: app.settings.name,
            description: app.settings.description,
            locked: false,
            permitted_domains: app.settings.permitted_domains,
            development_mode: app.settings.development_mode,
            max_ttl: app.settings.ttl_secs_max,
            activation_window: app.settings.activation_secs,
            session_expiry: app.settings.session_expiry,
            limits: app.settings.limits,
            kept: None,
            secret: Secret::new(REDACTED.to_owned()),
            created_at: app.created_at,
            updated_at: app.updated_at,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patch(json: &str) -> AppPatch {
        serde_json::from_str::<WriteApp>(json).unwrap().into_patch()
    }

    #[test]
    fn what_is_absent_stays_and_null_switches_a_limit_off() {
        let change = patch(r#"{"name":null,"maxTtl":"3600","limits":{"app":null,"endpoint":{"perSecond":"5"}}}"#);
        assert_eq!(change.name, None);
        assert_eq!(change.ttl_secs_max, Some(3_600));
        assert_eq!(change.limits.app, Some(None));
        assert_eq!(change.limits.endpoint, Some(Some(Rate { per_second: 5, burst: 5 })));
        assert_eq!(change.limits.address, None);
        assert_eq!(change.permitted_domains, None);
        assert_eq!(patch(r#"{"permittedDomains":null}"#).permitted_domains, Some(None));
        assert!(patch(r#"{"limits":null}"#).limits.app.is_none());
    }

    #[test]
    fn connects_and_messages_have_rates_of_their_own() {
        let json = r#"{"limits":{"connects":{"perSecond":9},"endpointConnects":null,"addressConnects":{"perSecond":8},
                       "messages":{"perSecond":7},"endpointMessages":{"perSecond":6},"addressMessages":null}}"#;
        let rate = |per_second| Some(Some(Rate { per_second, burst: per_second }));
        let expected = LimitsPatch {
            connects: rate(9),
            endpoint_connects: Some(None),
            address_connects: rate(8),
            messages: rate(7),
            endpoint_messages: rate(6),
            address_messages: Some(None),
            ..LimitsPatch::default()
        };
        assert_eq!(patch(json).limits, expected);
    }

    #[test]
    fn a_rate_without_a_number_is_left_for_the_operation_to_refuse() {
        let change = patch(r#"{"limits":{"app":{},"address":{"perSecond":18446744073709551615}}}"#);
        assert_eq!(change.limits.app, Some(Some(Rate { per_second: 0, burst: 0 })));
        assert_eq!(change.limits.address, Some(Some(Rate { per_second: u32::MAX, burst: u32::MAX })));
    }

    #[test]
    fn counts_are_numbers_text_or_null() {
        let limits =
            patch(r#"{"limits":{"connections":"7","endpointConnections":null,"membersPerGroup":4294967296}}"#).limits;
        assert_eq!((limits.connections, limits.endpoint_connections), (Some(Some(7)), Some(None)));
        assert_eq!((limits.groups_per_connection, limits.members_per_group), (None, Some(Some(u32::MAX))));
        assert_eq!(patch(r#"{"sessionExpiry":"keep"}"#).session_expiry, Some(SessionExpiry::Keep));
        assert!(serde_json::from_str::<WriteApp>(r#"{"sessionExpiry":"never"}"#).is_err());
    }
}
