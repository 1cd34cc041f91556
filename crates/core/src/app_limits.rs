//! An app's limits, once: what each is called, by default, and what it bounds.
//!
//! The settings and their changes here, the bodies of the API, the console's form and the command line are made of this
//! table. A limit that is added to it is in all of them.

use serde::{Deserialize, Serialize};

/// Hands the table to the macro `$with`.
///
/// Of each limit: its field, its name in JSON, its flag on the command line, its label, what it is by default, and what it
/// bounds in one sentence. Rates are so many a second and so many at once, far above what an honest app does, far below
/// what hurts the others: the recorded 10 requests a second would starve a backend that logs its users in again after a
/// restart.
#[macro_export]
macro_rules! each_limit {
    ($with:ident) => {
        $with! {
            rates {
                (app "app" "limit-app" "Requests of the app" [2_000, 10_000]
                    "All requests of the app together.")
                (endpoint "endpoint" "limit-endpoint" "Requests of one endpoint" [50, 200]
                    "Requests of one endpoint, and mints for it.")
                (address "address" "limit-address" "Requests of one address" [500, 2_000]
                    "Requests of one address with the app's App-Tokens, or with no credential.")
                // All clients of an app come back at once after a restart, perhaps by one proxy or from one office.
                (connects "connects" "limit-connects" "Connects of the app" [off]
                    "Sockets opened for the app together, as a rate; `connections` is how many may be open.")
                (endpoint_connects "endpointConnects" "limit-endpoint-connects" "Connects of one endpoint" [10, 100]
                    "Sockets opened by one endpoint.")
                (address_connects "addressConnects" "limit-address-connects" "Connects of one address" [off]
                    "Sockets opened from one address with the app's App-Tokens.")
                // What is said is requested too, and bounded by those rates already.
                (messages "messages" "limit-messages" "Messages of the app" [off]
                    "What is said in the app together: messages, publications, signals and changes of presence.")
                (endpoint_messages "endpointMessages" "limit-endpoint-messages" "Messages of one endpoint" [200, 1_000]
                    "What one endpoint says.")
                (address_messages "addressMessages" "limit-address-messages" "Messages of one address" [off]
                    "What is said from one address with the app's App-Tokens.")
                // A publication to a hundred members is a hundred. A backend tells ten thousand members something a few times
                // a second, and ten thousand clients that come back at once each join a handful of small groups.
                (deliveries "deliveries" "limit-deliveries" "Deliveries of the app" [200_000, 1_000_000]
                    "Frames that requests in the app make others receive, together.")
                // A lively group of hundreds; a group of ten thousand every other second.
                (endpoint_deliveries "endpointDeliveries" "limit-endpoint-deliveries" "Deliveries of one endpoint" [5_000, 50_000]
                    "Frames that the requests of one endpoint make others receive.")
                (address_deliveries "addressDeliveries" "limit-address-deliveries" "Deliveries of one address" [off]
                    "Frames that requests from one address with the app's App-Tokens make others receive.")
                // A third of what one core of a small server writes to sockets.
                (kilobytes "kilobytes" "limit-kilobytes" "Kilobytes of the app" [65_536, 524_288]
                    "What goes out because of requests in the app, in units of 1,024 bytes: those frames, and long answers.")
                // A dozen and more whole pages of history at once.
                (endpoint_kilobytes "endpointKilobytes" "limit-endpoint-kilobytes" "Kilobytes of one endpoint" [4_096, 16_384]
                    "What goes out because of one endpoint's requests.")
                (address_kilobytes "addressKilobytes" "limit-address-kilobytes" "Kilobytes of one address" [off]
                    "What goes out because of requests from one address with the app's App-Tokens.")
            }
            counts {
                (connections "connections" "limit-connections" "Connections of the app" [100_000]
                    "Connections of the app together.")
                (endpoint_connections "endpointConnections" "limit-endpoint-connections" "Connections of one endpoint" [100]
                    "Connections of one endpoint.")
                (groups_per_connection "groupsPerConnection" "limit-groups-per-connection" "Groups of one connection" [1_000]
                    "Groups that one connection may be in.")
                (members_per_group "membersPerGroup" "limit-members-per-group" "Members of one group" [10_000]
                    "Connections that may be in one group.")
                (kept_megabytes "keptMegabytes" "limit-kept-megabytes" "Megabytes kept" [off]
                    "What may be kept of what clients say, in units of 1,048,576 bytes; without it, as much as the server's setting says.")
            }
        }
    };
}

macro_rules! default_of {
    ([off]) => {
        None
    };
    ([$per_second:literal, $burst:literal]) => {
        Some(Rate { per_second: $per_second, burst: $burst })
    };
    ([$count:literal]) => {
        Some($count)
    };
}

macro_rules! limits {
    (
        rates { $(($rate:ident $rate_name:tt $rate_flag:tt $rate_label:tt $rate_default:tt $rate_doc:tt))* }
        counts { $(($count:ident $count_name:tt $count_flag:tt $count_label:tt $count_default:tt $count_doc:tt))* }
    ) => {
        /// Token buckets of an app, and how much of it may be open at once and be kept; `None` is no limit.
        ///
        /// What a stored row does not name, because it was written by an older program, is the default.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[serde(default, rename_all = "camelCase")]
        pub struct Limits {
            $(#[doc = $rate_doc] pub $rate: Option<Rate>,)*
            $(#[doc = $count_doc] pub $count: Option<u32>,)*
        }

        impl Default for Limits {
            fn default() -> Self {
                Self { $($rate: default_of!($rate_default),)* $($count: default_of!($count_default),)* }
            }
        }

        impl Limits {
            /// How often things may be done, by the limits' names.
            pub fn rates(&self) -> impl Iterator<Item = (&'static str, Option<Rate>)> {
                [$(($rate_name, self.$rate)),*].into_iter()
            }

            /// How much there may be, by the limits' names; 1 to [`Limits::COUNT_MAX`].
            pub fn counts(&self) -> impl Iterator<Item = (&'static str, Option<u32>)> {
                [$(($count_name, self.$count)),*].into_iter()
            }
        }

        /// A change of limits. Each that is named changes; `Some(None)` switches it off.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct LimitsPatch {
            $(#[doc = $rate_doc] pub $rate: Option<Option<Rate>>,)*
            $(#[doc = $count_doc] pub $count: Option<Option<u32>>,)*
        }

        impl LimitsPatch {
            /// Applies the change.
            pub fn apply(self, limits: &mut Limits) {
                $(limits.$rate = self.$rate.unwrap_or(limits.$rate);)*
                $(limits.$count = self.$count.unwrap_or(limits.$count);)*
            }

            /// Takes what is as in `shown` out of the change.
            pub fn leave_alone(&mut self, shown: &Self) {
                $(if self.$rate == shown.$rate { self.$rate = None; })*
                $(if self.$count == shown.$count { self.$count = None; })*
            }
        }
    };
}

each_limit!(limits);

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_json() {
        let limits = Limits::default();
        let names: Vec<_> = limits.rates().map(|(name, _)| name).chain(limits.counts().map(|(name, _)| name)).collect();
        let json = serde_json::to_value(limits).unwrap();
        let mut sorted = names.clone();
        sorted.sort_unstable();
        assert_eq!(json.as_object().unwrap().keys().collect::<Vec<_>>(), sorted);
    }

    #[test]
    fn docs_operating_md_says_what_rates_are_by_default() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/operating.md");
        let text = std::fs::read_to_string(path).unwrap();
        let rows: Vec<Vec<&str>> = text
            .lines()
            .filter(|line| line.starts_with("| `"))
            .map(|row| row.split('|').map(str::trim).collect())
            .collect();
        for (name, rate) in Limits::default().rates() {
            let row = rows.iter().find(|row| row[1].split(", ").any(|named| named == format!("`{name}`")));
            let row = row.unwrap_or_else(|| panic!("no row of docs/operating.md is about {name}"));
            let number = |text: &str| text.replace(',', "").parse().ok();
            let written = number(row[4]).map(|per_second| Rate { per_second, burst: number(row[5]).unwrap() });
            assert_eq!(written, rate, "{name}: {row:?}");
            assert!(written.is_some() || row[4] == "off", "{name}");
        }
    }

    #[test]
    fn a_change_changes_what_it_names() {
        let rate = Rate { per_second: 1, burst: 2 };
        let mut limits = Limits::default();
        let patch = LimitsPatch {
            app: Some(None),
            connects: Some(Some(rate)),
            kept_megabytes: Some(Some(3)),
            ..LimitsPatch::default()
        };
        patch.apply(&mut limits);
        let expected = Limits { app: None, connects: Some(rate), kept_megabytes: Some(3), ..Limits::default() };
        assert_eq!(limits, expected);
        let mut again = LimitsPatch { messages: Some(None), ..patch };
        again.leave_alone(&patch);
        assert_eq!(again, LimitsPatch { messages: Some(None), ..LimitsPatch::default() });
    }
}
