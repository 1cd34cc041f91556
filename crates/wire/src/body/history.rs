//! `/v1/groups/{id}/history` and `/v1/group-history-search`.

use std::fmt;

use respoke_core::clock::Timestamp;
use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer};
use utoipa::ToSchema;

use crate::instant::optional_moment;
use crate::lenient::optional_u64;

/// What `GET /v1/groups/{id}/history` takes, in the query or as the body that the JavaScript client sends with it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReadHistory {
    /// The app; an App-Token's and App-Secret's own by default.
    pub app_id: Option<String>,
    /// At most this many messages.
    #[serde(default, deserialize_with = "optional_u64")]
    pub limit: Option<u64>,
    /// Only what was said before this.
    #[serde(default, deserialize_with = "optional_moment")]
    pub before: Option<Timestamp>,
}

/// What `POST /v1/group-history-search` takes.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SearchHistory {
    /// The app; an App-Token's and App-Secret's own by default.
    #[schema(nullable, format = Uuid)]
    pub app_id: Option<String>,
    /// Which groups.
    #[serde(default, deserialize_with = "one_or_many")]
    #[schema(value_type = Vec<String>, required = true, max_items = 1000)]
    pub group_ids: Option<Vec<String>>,
    /// At most this many messages of each group, and 1,000 together.
    #[serde(default, deserialize_with = "optional_u64")]
    #[schema(nullable, minimum = 1, maximum = 200, default = 1)]
    pub limit: Option<u64>,
}

/// A list, or the one text that a query without a second value is.
fn one_or_many<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<String>>, D::Error> {
    struct Names;
    impl<'de> Visitor<'de> for Names {
        type Value = Option<Vec<String>>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list")
        }

        fn visit_str<E: de::Error>(self, value: &str) -> Result<Self::Value, E> {
            Ok(Some(vec![value.to_owned()]))
        }

        fn visit_seq<A: de::SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
            let mut names = Vec::new();
            while let Some(name) = items.next_element()? {
                names.push(name);
            }
            Ok(Some(names))
        }

        fn visit_unit<E: de::Error>(self) -> Result<Self::Value, E> {
            Ok(None)
        }
    }
    deserializer.deserialize_any(Names)
}

/// How a kept message looks in JSON; for the API document alone.
#[derive(Debug, ToSchema)]
#[schema(as = PubsubEvent)]
pub struct PubsubEventShape {
    /// Who, when and where.
    pub header: PubsubHeaderShape,
    /// Whatever the sender gave.
    #[schema(value_type = serde_json::Value)]
    pub message: (),
}

/// How a kept message's header looks in JSON; for the API document alone.
#[derive(Debug, ToSchema)]
#[schema(as = PubsubHeader, rename_all = "camelCase")]
pub struct PubsubHeaderShape {
    /// Always `pubsub`.
    #[schema(rename = "type", example = "pubsub")]
    pub kind: String,
    /// Which group.
    pub channel: String,
    /// Who.
    pub from: String,
    /// By which of its connections; absent when a backend spoke.
    pub from_connection: Option<String>,
    /// When, in milliseconds since the epoch.
    pub timestamp: i64,
    /// In which request.
    pub request_id: String,
    /// The message's own id.
    pub message_id: String,
}
