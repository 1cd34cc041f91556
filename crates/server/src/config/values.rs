//! Values of settings that are more than text, and read from text.

use std::net::IpAddr;

use ipnet::IpNet;
use respoke_store::Promotions;
use serde::{Deserialize, Deserializer, Serialize};

/// How log lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// For programs, one object a line.
    Json,
}

/// What is done when a PostgreSQL server takes another's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DatabasePromotions {
    /// It is noticed, and what was ended stays so.
    Noticed,
    /// The same; and a copy that is another system is taken in this start.
    CopyTaken,
    /// It is not noticed.
    Unnoticed,
}

impl From<DatabasePromotions> for Promotions {
    fn from(promotions: DatabasePromotions) -> Self {
        match promotions {
            DatabasePromotions::Noticed => Self::Noticed,
            DatabasePromotions::CopyTaken => Self::NoticedAndCopyTaken,
            DatabasePromotions::Unnoticed => Self::Unnoticed,
        }
    }
}

/// Reads STUN and TURN servers. What such a URI says is between browsers and the server; only its kind is looked at.
pub(super) fn uris<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    let items = Vec::<String>::deserialize(deserializer)?;
    for (place, item) in items.iter().enumerate() {
        let sound = ["stun:", "stuns:", "turn:", "turns:"].iter().any(|scheme| item.starts_with(scheme));
        if !sound || item.chars().any(|char| char.is_whitespace() || char.is_control()) {
            let place = place + 1;
            return Err(serde::de::Error::custom(format_args!(
                "must be URIs such as turn:host:3478; item {place} is none"
            )));
        }
    }
    Ok(items)
}

/// Reads addresses of NATS servers. They are looked at closely by whoever connects to them.
pub(super) fn nats_servers<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    let items = Vec::<String>::deserialize(deserializer)?;
    match items.iter().position(|item| !["nats://", "tls://"].iter().any(|scheme| item.starts_with(scheme))) {
        None => Ok(items),
        Some(place) => {
            let place = place + 1;
            Err(serde::de::Error::custom(format_args!(
                "must be addresses such as nats://host:4222; item {place} is none"
            )))
        }
    }
}

/// Reads addresses and networks.
pub(super) fn networks<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<IpNet>, D::Error> {
    let items = Vec::<String>::deserialize(deserializer)?;
    let network = |(place, item): (usize, &String)| {
        item.parse::<IpNet>().or_else(|_| item.parse::<IpAddr>().map(IpNet::from)).map_err(|_| {
            let place = place + 1;
            serde::de::Error::custom(format_args!(
                "must be addresses or networks such as 10.0.0.0/8; item {place} is neither"
            ))
        })
    };
    items.iter().enumerate().map(network).collect()
}
