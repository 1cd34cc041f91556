//! Settings: defaults, then a file, then the environment, then flags. The only place that reads the environment.
//!
//! A setting is a field here, its default, and a row of `settings.rs`; all else follows from these.

mod environment;
mod given;
mod public_url;
mod secrets;
mod settings;
mod sockets;

use std::ffi::OsString;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::IpNet;
use respoke_core::ops::Relays;
use respoke_core::{admin, password};
use respoke_hub::HubSettings;
use respoke_hub::outbox::OutboxLimits;
use serde::{Deserialize, Deserializer, Serialize};

use crate::log_filter::is_filter;
use crate::transport::UnreadLimits;
use given::{Values, optional_path, path};

pub use environment::user_folder;
pub(crate) use environment::{config_file, service_links, value_of};
pub use given::SettingsError;
pub use public_url::PublicUrl;
pub(crate) use public_url::local_url;
pub use secrets::Hidden;
pub(crate) use secrets::{SECRET_LEN_MAX, from_file as secret_from_file, of_text as secret_of_text};
pub(crate) use settings::{Kind, SETTINGS};
pub(crate) use sockets::SocketSettings;

/// What flags say, by setting name.
pub(crate) type Flags = [(&'static str, OsString)];

/// Every setting. A key that is not here is an error that names it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Address and port to listen on; port 0 takes a free one.
    pub listen: SocketAddr,
    /// The URL by which others reach the server, for what it says of itself; without it, what a request or `listen` says.
    pub public_url: Option<PublicUrl>,
    /// Folder of the database; made if it is not there.
    #[serde(with = "path")]
    pub data: PathBuf,
    /// PEM file with the certificate chain; with `tls_key` it switches TLS on.
    #[serde(with = "optional_path")]
    pub tls_cert: Option<PathBuf>,
    /// PEM file with the private key.
    #[serde(with = "optional_path")]
    pub tls_key: Option<PathBuf>,
    /// Networks whose `X-Forwarded-For` is believed, as a list or separated by commas.
    #[serde(deserialize_with = "networks")]
    pub trusted_proxies: Vec<IpNet>,
    /// User name of the admin made at the first start.
    pub admin_username: Option<String>,
    /// Password of the admin made at the first start; one is made up otherwise.
    pub admin_password: Option<Hidden>,
    /// File that holds that password, instead of giving it directly.
    #[serde(with = "optional_path")]
    pub admin_password_file: Option<PathBuf>,
    /// What is logged, as a level or a list of `module=level`.
    pub log: String,
    /// `text` or `json`.
    pub log_format: LogFormat,
    /// Threads that serve requests; 0 takes one less than there are cores, the storage thread having the last.
    pub io_threads: usize,
    /// Connections open at once; further ones wait to be accepted.
    pub connections_max: usize,
    /// Connections that one address may have open at once; further ones are closed. Trusted proxies may have any number.
    pub connections_per_address_max: usize,
    /// Sockets that one address may have open at once, whether a websocket or polled; further handshakes are refused.
    /// Trusted proxies may have any number.
    pub sockets_per_address_max: usize,
    /// Bytes of answers that may be made and not be read, of all connections; beyond them those that made no progress for
    /// longest are ended.
    pub unread_bytes_max: usize,
    /// The same of one endpoint, or one address of others; beyond them it is told to read first.
    pub unread_bytes_per_caller_max: usize,
    /// The same of one connection.
    pub unread_bytes_per_connection_max: usize,
    /// Seconds between two heartbeats on a socket.
    pub heartbeat_interval_secs: u64,
    /// Seconds that a socket's client may be silent.
    pub heartbeat_timeout_secs: u64,
    /// Frames a second of one socket that are no requests: heartbeats, pings, what cannot be read. One that sends fifty
    /// seconds' worth at once, and more, is closed.
    pub idle_frames_per_sec: u32,
    /// Frames that may wait for one socket; a client that lets more wait is closed.
    pub outbox_frames_max: usize,
    /// Bytes that may wait for one socket, likewise.
    pub outbox_bytes_max: usize,
    /// Seconds that writing to a socket may make no progress.
    pub write_timeout_secs: u64,
    /// Whether sockets may be polled by scripts (jsonp-polling), which only ancient browsers need.
    pub jsonp_polling: bool,
    /// Seconds that running requests get to finish when the server stops.
    pub drain_secs: u64,
    /// Requests a second that one address may make without a credential.
    pub address_requests_per_second: u32,
    /// Requests that one address may make at once without a credential.
    pub address_requests_burst: u32,
    /// Invalid tokenIds, tokens or secrets that one address may show before it is told to wait.
    pub failed_credentials_free: u32,
    /// Operations that are committed together at most; 1 commits each by itself.
    pub commit_batch_max: usize,
    /// Checked sessions that are remembered; 0 asks the database each time.
    pub session_cache_max: usize,
    /// Seconds for which spent tokens and ended sessions are kept.
    pub retention_secs: u32,
    /// Days for which the audit log is kept.
    pub audit_days: u32,
    /// Rows of the audit log; those beyond it are removed unless they tell of an administrative action.
    pub audit_rows_max: u64,
    /// Requests that the log of the last ones holds; 0 keeps none.
    pub request_log_max: usize,
    /// Days for which group messages are kept.
    pub history_days: u32,
    /// Messages that one group keeps at most.
    pub history_rows_per_group_max: u64,
    /// Bytes that one app keeps of what its clients say, unless it has a limit of its own.
    pub kept_bytes_per_app_max: u64,
    /// Days for which call reports are kept.
    pub call_report_days: u32,
    /// TURN servers, as a list or separated by commas; with `turn_secret` they relay media.
    #[serde(deserialize_with = "uris")]
    pub turn_uris: Vec<String>,
    /// The secret shared with the TURN servers.
    pub turn_secret: Option<Hidden>,
    /// File that holds that secret, instead of giving it directly.
    #[serde(with = "optional_path")]
    pub turn_secret_file: Option<PathBuf>,
    /// Seconds for which TURN credentials are good.
    pub turn_ttl_secs: u32,
    /// STUN servers for those who get no TURN credentials, as a list or separated by commas.
    #[serde(deserialize_with = "uris")]
    pub stun_uris: Vec<String>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8080),
            public_url: None,
            data: PathBuf::from("./respoked-data"),
            tls_cert: None,
            tls_key: None,
            trusted_proxies: Vec::new(),
            admin_username: None,
            admin_password: None,
            admin_password_file: None,
            log: "info".to_owned(),
            log_format: LogFormat::Text,
            io_threads: 0,
            connections_max: 12_000,
            connections_per_address_max: 2_000,
            sockets_per_address_max: 2_000,
            unread_bytes_max: 64 << 20,
            unread_bytes_per_caller_max: 16 << 20,
            unread_bytes_per_connection_max: 8 << 20,
            heartbeat_interval_secs: 25,
            heartbeat_timeout_secs: 60,
            idle_frames_per_sec: 20,
            outbox_frames_max: 1_000,
            outbox_bytes_max: 1 << 20,
            write_timeout_secs: 10,
            jsonp_polling: false,
            drain_secs: 10,
            address_requests_per_second: 500,
            address_requests_burst: 2_000,
            failed_credentials_free: 200,
            commit_batch_max: 32,
            session_cache_max: 100_000,
            retention_secs: 900,
            audit_days: 30,
            audit_rows_max: 5_000_000,
            request_log_max: 10_000,
            history_days: 30,
            history_rows_per_group_max: 10_000,
            kept_bytes_per_app_max: 1 << 30,
            call_report_days: 30,
            turn_uris: Vec::new(),
            turn_secret: None,
            turn_secret_file: None,
            turn_ttl_secs: 86_400,
            stun_uris: Vec::new(),
        }
    }
}

/// How log lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// For programs, one object a line.
    Json,
}

/// Reads STUN and TURN servers. What such a URI says is between browsers and the server; only its kind is looked at.
fn uris<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
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

fn networks<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<IpNet>, D::Error> {
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

impl Config {
    /// Reads the settings, from `file` or the one that the environment names.
    ///
    /// # Errors
    ///
    /// Names the setting and where it was given, and says what is asked of it.
    pub(crate) fn load(file: Option<&Path>, flags: &Flags) -> Result<Self, SettingsError> {
        let named = config_file();
        Self::read(file.or(named.as_deref()), std::env::vars_os(), flags)
    }

    fn read(
        file: Option<&Path>,
        variables: impl Iterator<Item = (OsString, OsString)>,
        flags: &Flags,
    ) -> Result<Self, SettingsError> {
        let mut values = Values::default();
        if let Some(file) = file {
            values.take_file(file)?;
        }
        values.take_variables(&environment::settings(variables)?)?;
        values.take_flags(flags);
        let mut config = values.read()?;
        config.read_secret_files()?;
        config.check()?;
        Ok(config)
    }

    /// The names of the settings that differ from those of `other`.
    pub(crate) fn differing(&self, other: &Self) -> Vec<&'static str> {
        let [mine, theirs] = [self, other].map(|config| serde_json::to_value(config).unwrap_or_default());
        let secret = |hidden: &Option<Hidden>| hidden.as_ref().map(|hidden| hidden.0.clone());
        // Secrets are printed alike, whatever they are.
        let differs = |name: &str| match name {
            "admin_password" => secret(&self.admin_password) != secret(&other.admin_password),
            "turn_secret" => secret(&self.turn_secret) != secret(&other.turn_secret),
            name => mine[name] != theirs[name],
        };
        SETTINGS.iter().map(|setting| setting.name).filter(|name| differs(name)).collect()
    }

    /// The servers that help media along.
    #[must_use]
    pub fn relays(&self) -> Relays {
        Relays {
            turn: self.turn_secret.clone().map(|hidden| (self.turn_uris.clone(), hidden.0)),
            stun_uris: self.stun_uris.clone(),
            ttl_secs: self.turn_ttl_secs,
        }
    }

    /// How the hub is to treat sockets.
    pub(crate) fn hub(&self) -> HubSettings {
        HubSettings {
            outbox: OutboxLimits { frames_max: self.outbox_frames_max, bytes_max: self.outbox_bytes_max },
            heartbeat_timeout: Duration::from_secs(self.heartbeat_timeout_secs),
            // The rest is for HTTP: however many sockets are open, they can be revoked and the server looked after.
            sockets_max: self.connections_max - self.connections_max / 20,
        }
    }

    /// How much of answers may be unread.
    pub(crate) fn unread(&self) -> UnreadLimits {
        UnreadLimits {
            all: self.unread_bytes_max,
            caller: self.unread_bytes_per_caller_max,
            connection: self.unread_bytes_per_connection_max,
        }
    }

    /// How the socket door is to treat sockets.
    pub(crate) fn sockets(&self) -> SocketSettings {
        SocketSettings {
            heartbeat_interval: Duration::from_secs(self.heartbeat_interval_secs),
            heartbeat_timeout: Duration::from_secs(self.heartbeat_timeout_secs),
            write_timeout: Duration::from_secs(self.write_timeout_secs),
            idle_frames_per_sec: self.idle_frames_per_sec,
            jsonp: self.jsonp_polling,
        }
    }

    fn read_secret_files(&mut self) -> Result<(), SettingsError> {
        read_secret_file("admin_password", &mut self.admin_password, self.admin_password_file.as_deref())?;
        read_secret_file("turn_secret", &mut self.turn_secret, self.turn_secret_file.as_deref())
    }

    /// Looks at what a setting alone does not show. Numbers have been held against their ranges.
    fn check(&self) -> Result<(), SettingsError> {
        ensure(
            self.tls_cert.is_some() == self.tls_key.is_some(),
            "tls_cert and tls_key belong together: one of them is missing",
        )?;
        ensure(
            self.turn_secret.is_some() != self.turn_uris.is_empty(),
            "turn_uris and turn_secret belong together: one of them is missing",
        )?;
        for (name, uris, scheme) in [("turn_uris", &self.turn_uris, "turn"), ("stun_uris", &self.stun_uris, "stun")] {
            ensure(
                uris.iter().all(|uri| uri.starts_with(scheme)),
                &format!("{name} holds a URI that is no {scheme} URI"),
            )?;
        }
        ensure(
            self.heartbeat_timeout_secs > self.heartbeat_interval_secs,
            "heartbeat_timeout_secs must be more than heartbeat_interval_secs, or every client would be found silent",
        )?;
        ensure(is_filter(&self.log), "log must be a level, or a list of module=level")?;
        if let Some(Err(asked)) = self.admin_username.as_deref().map(admin::check_username) {
            return Err(SettingsError::new(format!("admin_username {asked}")));
        }
        if let Some(Err(asked)) = self.admin_password.as_ref().map(|hidden| password::check_new(&hidden.0)) {
            return Err(SettingsError::new(match &self.admin_password_file {
                Some(path) => format!("admin_password_file: the password in {} {asked}", path.display()),
                None => format!("admin_password {asked}"),
            }));
        }
        Ok(())
    }
}

fn ensure(holds: bool, otherwise: &str) -> Result<(), SettingsError> {
    if holds { Ok(()) } else { Err(SettingsError::new(otherwise)) }
}

/// Fills a secret setting from its file, if it has one.
fn read_secret_file(name: &str, secret: &mut Option<Hidden>, file: Option<&Path>) -> Result<(), SettingsError> {
    let Some(path) = file else { return Ok(()) };
    ensure(secret.is_none(), &format!("{name} and {name}_file are both given; one is enough"))?;
    let text = secrets::from_file(path).map_err(|error| SettingsError::new(format!("{name}_file: {error:#}")))?;
    *secret = Some(Hidden(text));
    Ok(())
}

#[cfg(test)]
mod tests;
