//! `/v1/apps`.

use respoke_core::app::{App, AppPatch, Limits, LimitsPatch, Rate, SessionExpiry};
use respoke_core::clock::Timestamp;
use respoke_core::id::{AccountId, AppId};
use respoke_core::lenient::{optional_bool, optional_u64};
use respoke_core::ops::CreatedSecret;
use respoke_core::secret::Secret;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{REDACTED, iso, nullable, nullable_u64, reveal};

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

/// Limits to set.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct WriteLimits {
    /// All requests of the app together.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<WriteRate>)]
    pub app: Option<Option<WriteRate>>,
    /// Requests of one endpoint, and mints for it.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<WriteRate>)]
    pub endpoint: Option<Option<WriteRate>>,
    /// Requests of one address.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<WriteRate>)]
    pub address: Option<Option<WriteRate>>,
    /// Sockets opened for the app together, as a rate; `connections` is how many may be open.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<WriteRate>)]
    pub connects: Option<Option<WriteRate>>,
    /// Sockets opened by one endpoint.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<WriteRate>)]
    pub endpoint_connects: Option<Option<WriteRate>>,
    /// Sockets opened from one address with the app's App-Tokens.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<WriteRate>)]
    pub address_connects: Option<Option<WriteRate>>,
    /// What is said in the app together: messages, publications, signals and changes of presence.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<WriteRate>)]
    pub messages: Option<Option<WriteRate>>,
    /// What one endpoint says.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<WriteRate>)]
    pub endpoint_messages: Option<Option<WriteRate>>,
    /// What is said from one address with the app's App-Tokens.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<WriteRate>)]
    pub address_messages: Option<Option<WriteRate>>,
    /// Frames that requests in the app make others receive, together.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<WriteRate>)]
    pub deliveries: Option<Option<WriteRate>>,
    /// Frames that the requests of one endpoint make others receive.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<WriteRate>)]
    pub endpoint_deliveries: Option<Option<WriteRate>>,
    /// Frames that requests from one address with the app's App-Tokens make others receive.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<WriteRate>)]
    pub address_deliveries: Option<Option<WriteRate>>,
    /// What goes out because of requests in the app, in units of 1,024 bytes: those frames, and long answers.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<WriteRate>)]
    pub kilobytes: Option<Option<WriteRate>>,
    /// What goes out because of one endpoint's requests.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<WriteRate>)]
    pub endpoint_kilobytes: Option<Option<WriteRate>>,
    /// What goes out because of requests from one address with the app's App-Tokens.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<WriteRate>)]
    pub address_kilobytes: Option<Option<WriteRate>>,
    /// Connections of the app together.
    #[serde(default, deserialize_with = "nullable_u64")]
    #[schema(value_type = Option<u64>, minimum = 1, maximum = 10_000_000)]
    pub connections: Option<Option<u64>>,
    /// Connections of one endpoint.
    #[serde(default, deserialize_with = "nullable_u64")]
    #[schema(value_type = Option<u64>, minimum = 1, maximum = 10_000_000)]
    pub endpoint_connections: Option<Option<u64>>,
    /// Groups that one connection may be in.
    #[serde(default, deserialize_with = "nullable_u64")]
    #[schema(value_type = Option<u64>, minimum = 1, maximum = 10_000_000)]
    pub groups_per_connection: Option<Option<u64>>,
    /// Connections that may be in one group.
    #[serde(default, deserialize_with = "nullable_u64")]
    #[schema(value_type = Option<u64>, minimum = 1, maximum = 10_000_000)]
    pub members_per_group: Option<Option<u64>>,
    /// What may be kept of what clients say, in units of 1,048,576 bytes; `null`: as much as the server's setting says.
    #[serde(default, deserialize_with = "nullable_u64")]
    #[schema(value_type = Option<u64>, minimum = 1, maximum = 10_000_000)]
    pub kept_megabytes: Option<Option<u64>>,
}

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
        let limits = self.limits.unwrap_or_default();
        let rate = |rate: Option<WriteRate>| rate.map(Rate::from);
        let count = |count: Option<u64>| count.map(narrow);
        AppPatch {
            name: self.name,
            description: self.description,
            development_mode: self.development_mode,
            permitted_domains: self.permitted_domains,
            ttl_secs_max: self.max_ttl,
            activation_secs: self.activation_window,
            session_expiry: self.session_expiry,
            limits: LimitsPatch {
                app: limits.app.map(rate),
                endpoint: limits.endpoint.map(rate),
                address: limits.address.map(rate),
                connects: limits.connects.map(rate),
                endpoint_connects: limits.endpoint_connects.map(rate),
                address_connects: limits.address_connects.map(rate),
                messages: limits.messages.map(rate),
                endpoint_messages: limits.endpoint_messages.map(rate),
                address_messages: limits.address_messages.map(rate),
                deliveries: limits.deliveries.map(rate),
                endpoint_deliveries: limits.endpoint_deliveries.map(rate),
                address_deliveries: limits.address_deliveries.map(rate),
                kilobytes: limits.kilobytes.map(rate),
                endpoint_kilobytes: limits.endpoint_kilobytes.map(rate),
                address_kilobytes: limits.address_kilobytes.map(rate),
                connections: limits.connections.map(count),
                endpoint_connections: limits.endpoint_connections.map(count),
                groups_per_connection: limits.groups_per_connection.map(count),
                members_per_group: limits.members_per_group.map(count),
                kept_megabytes: limits.kept_megabytes.map(count),
            },
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
/// Section 3.3 of docs/protocol.md; `maxTtl`, `activationWindow`, `sessionExpiry` and `limits` are additions.
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

/// How [`Limits`] look in JSON; for the API document alone.
#[derive(Debug, ToSchema)]
#[schema(as = Limits, rename_all = "camelCase")]
pub struct LimitsShape {
    /// All requests of the app together.
    #[schema(required = true)]
    pub app: Option<RateShape>,
    /// Requests of one endpoint, and mints for it.
    #[schema(required = true)]
    pub endpoint: Option<RateShape>,
    /// Requests of one address with the app's App-Tokens, or with no credential.
    #[schema(required = true)]
    pub address: Option<RateShape>,
    /// Sockets opened for the app together, as a rate; `connections` is how many may be open.
    #[schema(required = true)]
    pub connects: Option<RateShape>,
    /// Sockets opened by one endpoint.
    #[schema(required = true)]
    pub endpoint_connects: Option<RateShape>,
    /// Sockets opened from one address with the app's App-Tokens.
    #[schema(required = true)]
    pub address_connects: Option<RateShape>,
    /// What is said in the app together: messages, publications, signals and changes of presence.
    #[schema(required = true)]
    pub messages: Option<RateShape>,
    /// What one endpoint says.
    #[schema(required = true)]
    pub endpoint_messages: Option<RateShape>,
    /// What is said from one address with the app's App-Tokens.
    #[schema(required = true)]
    pub address_messages: Option<RateShape>,
    /// Frames that requests in the app make others receive, together.
    #[schema(required = true)]
    pub deliveries: Option<RateShape>,
    /// Frames that the requests of one endpoint make others receive.
    #[schema(required = true)]
    pub endpoint_deliveries: Option<RateShape>,
    /// Frames that requests from one address with the app's App-Tokens make others receive.
    #[schema(required = true)]
    pub address_deliveries: Option<RateShape>,
    /// What goes out because of requests in the app, in units of 1,024 bytes: those frames, and long answers.
    #[schema(required = true)]
    pub kilobytes: Option<RateShape>,
    /// What goes out because of one endpoint's requests.
    #[schema(required = true)]
    pub endpoint_kilobytes: Option<RateShape>,
    /// What goes out because of requests from one address with the app's App-Tokens.
    #[schema(required = true)]
    pub address_kilobytes: Option<RateShape>,
    /// Connections of the app together.
    #[schema(required = true)]
    pub connections: Option<u32>,
    /// Connections of one endpoint.
    #[schema(required = true)]
    pub endpoint_connections: Option<u32>,
    /// Groups that one connection may be in.
    #[schema(required = true)]
    pub groups_per_connection: Option<u32>,
    /// Connections that may be in one group.
    #[schema(required = true)]
    pub members_per_group: Option<u32>,
    /// What may be kept of what clients say, in units of 1,048,576 bytes; `null`: as much as the server's setting says.
    #[schema(required = true)]
    pub kept_megabytes: Option<u32>,
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
