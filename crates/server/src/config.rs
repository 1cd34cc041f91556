//! Settings: defaults, then a file, then the environment, then flags. The only place that reads the environment.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use figment::Figment;
use figment::providers::{Env, Format, Serialized, Toml};
use ipnet::IpNet;
use respoke_core::ops::Relays;
use respoke_core::secret::Secret;
use respoke_hub::HubSettings;
use respoke_hub::outbox::OutboxLimits;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::socket::SocketSettings;

/// Environment variables that belong to the command line's client side and are no settings of the server.
const NOT_SETTINGS: &[&str] = &["config", "server", "admin_token"];

/// Every setting. A key that is not here is an error that names it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Address and port to listen on; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Folder of the database; made if it is not there.
    pub data: PathBuf,
    /// PEM file with the certificate chain; with `tls_key` it switches TLS on.
    pub tls_cert: Option<PathBuf>,
    /// PEM file with the private key.
    pub tls_key: Option<PathBuf>,
    /// Networks whose `X-Forwarded-For` is believed, as a list or separated by commas.
    #[serde(deserialize_with = "networks")]
    pub trusted_proxies: Vec<IpNet>,
    /// User name of the admin made at the first start.
    pub admin_username: Option<String>,
    /// Password of the admin made at the first start; one is made up otherwise.
    pub admin_password: Option<Hidden>,
    /// File that holds that password, instead of giving it directly.
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
    /// Seconds between two heartbeats on a socket.
    pub heartbeat_interval_secs: u64,
    /// Seconds that a socket's client may be silent.
    pub heartbeat_timeout_secs: u64,
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
    /// Days for which call reports are kept.
    pub call_report_days: u32,
    /// TURN servers, as a list or separated by commas; with `turn_secret` they relay media.
    #[serde(deserialize_with = "uris")]
    pub turn_uris: Vec<String>,
    /// The secret shared with the TURN servers.
    pub turn_secret: Option<Hidden>,
    /// File that holds that secret, instead of giving it directly.
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
            heartbeat_interval_secs: 25,
            heartbeat_timeout_secs: 60,
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

/// A secret setting. Shows as `<redacted>` wherever settings are printed.
#[derive(Clone)]
pub struct Hidden(pub Secret);

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<redacted>")
    }
}

impl Serialize for Hidden {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("<redacted>")
    }
}

impl<'de> Deserialize<'de> for Hidden {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // A password of digits comes out of the environment as a number.
        struct Text;
        impl serde::de::Visitor<'_> for Text {
            type Value = Hidden;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("text")
            }
            fn visit_str<E>(self, value: &str) -> Result<Hidden, E> {
                Ok(Hidden(Secret::new(value.to_owned())))
            }
            fn visit_i64<E>(self, value: i64) -> Result<Hidden, E> {
                Ok(Hidden(Secret::new(value.to_string())))
            }
            fn visit_u64<E>(self, value: u64) -> Result<Hidden, E> {
                Ok(Hidden(Secret::new(value.to_string())))
            }
        }
        deserializer.deserialize_any(Text)
    }
}

/// Reads a list, or the text of one separated by commas.
fn items<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum List {
        Items(Vec<String>),
        Text(String),
    }
    Ok(match List::deserialize(deserializer)? {
        List::Items(items) => items,
        List::Text(text) => text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect(),
    })
}

/// Reads STUN and TURN servers. What such a URI says is between browsers and the server; only its kind is looked at.
fn uris<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    let items = items(deserializer)?;
    for item in &items {
        let sound = ["stun:", "stuns:", "turn:", "turns:"].iter().any(|scheme| item.starts_with(scheme));
        if !sound || item.chars().any(|char| char.is_whitespace() || char.is_control()) {
            return Err(serde::de::Error::custom(format_args!("{item} is no URI such as turn:host:3478")));
        }
    }
    Ok(items)
}

fn networks<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<IpNet>, D::Error> {
    items(deserializer)?
        .iter()
        .map(|item| {
            item.parse::<IpNet>().or_else(|_| item.parse::<IpAddr>().map(IpNet::from)).map_err(|_| {
                serde::de::Error::custom(format_args!("trusted_proxies: {item} is neither an address nor a network"))
            })
        })
        .collect()
}

impl Config {
    /// Reads the settings. `flags` are those given on the command line, by setting name.
    ///
    /// # Errors
    ///
    /// Names the key and where it stands.
    pub fn load(file: Option<&Path>, flags: &figment::value::Dict) -> anyhow::Result<Self> {
        let mut figment = Figment::from(Serialized::defaults(Self::default()));
        if let Some(file) = file {
            anyhow::ensure!(file.is_file(), "the config file {} does not exist", file.display());
            figment = figment.merge(Toml::file_exact(file));
        }
        figment = figment.merge(Env::prefixed("RESPOKED_").ignore(NOT_SETTINGS)).merge(Serialized::globals(flags));
        let mut config: Self = figment.extract().context("the settings cannot be used")?;
        config.read_secret_files()?;
        config.check()?;
        Ok(config)
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

    /// How the socket door is to treat sockets.
    pub(crate) fn sockets(&self) -> SocketSettings {
        SocketSettings {
            heartbeat_interval: Duration::from_secs(self.heartbeat_interval_secs),
            heartbeat_timeout: Duration::from_secs(self.heartbeat_timeout_secs),
            write_timeout: Duration::from_secs(self.write_timeout_secs),
            jsonp: self.jsonp_polling,
        }
    }

    fn read_secret_files(&mut self) -> anyhow::Result<()> {
        read_secret_file("admin_password", &mut self.admin_password, self.admin_password_file.as_deref())?;
        read_secret_file("turn_secret", &mut self.turn_secret, self.turn_secret_file.as_deref())
    }

    fn check(&self) -> anyhow::Result<()> {
        anyhow::ensure!(
            self.tls_cert.is_some() == self.tls_key.is_some(),
            "tls_cert and tls_key belong together: one of them is missing"
        );
        anyhow::ensure!(
            self.turn_secret.is_some() != self.turn_uris.is_empty(),
            "turn_uris and turn_secret belong together: one of them is missing"
        );
        anyhow::ensure!(
            self.turn_secret.as_ref().is_none_or(|hidden| !hidden.0.expose().is_empty()),
            "turn_secret is empty: anybody could make credentials"
        );
        for (name, uris, scheme) in [("turn_uris", &self.turn_uris, "turn"), ("stun_uris", &self.stun_uris, "stun")] {
            anyhow::ensure!(
                uris.iter().all(|uri| uri.starts_with(scheme)),
                "{name} holds a URI that is no {scheme} URI"
            );
        }
        for (name, value) in [
            ("turn_ttl_secs", self.turn_ttl_secs as usize),
            ("connections_max", self.connections_max),
            ("connections_per_address_max", self.connections_per_address_max),
            ("sockets_per_address_max", self.sockets_per_address_max),
            ("commit_batch_max", self.commit_batch_max),
            ("outbox_frames_max", self.outbox_frames_max),
            ("outbox_bytes_max", self.outbox_bytes_max),
            ("write_timeout_secs", usize::try_from(self.write_timeout_secs).unwrap_or(usize::MAX)),
            ("heartbeat_interval_secs", usize::try_from(self.heartbeat_interval_secs).unwrap_or(usize::MAX)),
            ("address_requests_per_second", self.address_requests_per_second as usize),
            ("address_requests_burst", self.address_requests_burst as usize),
        ] {
            anyhow::ensure!(value > 0, "{name} must be at least 1");
        }
        anyhow::ensure!(
            self.heartbeat_timeout_secs > self.heartbeat_interval_secs,
            "heartbeat_timeout_secs must be more than heartbeat_interval_secs, or every client would be found silent"
        );
        Ok(())
    }
}

/// Fills a secret setting from its file, if it has one.
fn read_secret_file(name: &str, secret: &mut Option<Hidden>, file: Option<&Path>) -> anyhow::Result<()> {
    let Some(path) = file else { return Ok(()) };
    anyhow::ensure!(secret.is_none(), "{name} and {name}_file are both given; one is enough");
    let text =
        std::fs::read_to_string(path).with_context(|| format!("{name}_file: {} cannot be read", path.display()))?;
    *secret = Some(Hidden(Secret::new(text.trim_end_matches(['\r', '\n']).to_owned())));
    Ok(())
}

/// The folder for the present user's own settings, as for a saved login; none if the environment names no home.
///
/// # Source
///
/// XDG Base Directory Specification: `$XDG_CONFIG_HOME` if it is an absolute path, else `$HOME/.config`.
#[must_use]
pub fn user_folder() -> Option<PathBuf> {
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    absolute("XDG_CONFIG_HOME").or_else(|| Some(absolute("HOME")?.join(".config")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(toml: &str) -> anyhow::Result<Config> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("respoked.toml");
        std::fs::write(&file, toml).unwrap();
        Config::load(Some(&file), &figment::value::Dict::new())
    }

    #[test]
    fn an_unknown_key_is_named() {
        let error = format!("{:#}", load("lisen = '127.0.0.1:1'").unwrap_err());
        assert!(error.contains("lisen"), "{error}");
    }

    #[test]
    fn flags_win_over_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("respoked.toml");
        std::fs::write(&file, "listen = '127.0.0.1:1'\ndrain_secs = 3").unwrap();
        let flags = figment::util::map!["listen".to_owned() => "127.0.0.1:2".into()];
        let config = Config::load(Some(&file), &flags).unwrap();
        assert_eq!((config.listen.port(), config.drain_secs), (2, 3));
    }

    #[test]
    fn proxies_are_addresses_or_networks() {
        let config = load("trusted_proxies = ['10.0.0.0/8', '::1']").unwrap();
        assert!(config.trusted_proxies[0].contains(&"10.1.2.3".parse::<IpAddr>().unwrap()));
        assert_eq!(load("trusted_proxies = '10.0.0.1, 10.0.0.2'").unwrap().trusted_proxies.len(), 2);
        assert!(load("trusted_proxies = 'nonsense'").is_err());
    }

    #[test]
    fn a_password_is_not_printed() {
        let config = load("admin_password = 'hunter22'").unwrap();
        assert_eq!(config.admin_password.as_ref().unwrap().0.expose(), "hunter22");
        assert!(!format!("{config:?}").contains("hunter22"));
        assert!(!toml_text(&config).contains("hunter22"));
    }

    #[test]
    fn turn_servers_come_with_their_secret() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("secret");
        std::fs::write(&file, "CANARY\n").unwrap();
        let uris = "turn_uris = 'turn:a.test:3478?transport=udp, turns:a.test:5349'";
        let config = load(&format!("{uris}\nturn_secret_file = '{}'", file.display())).unwrap();
        assert_eq!(config.turn_uris, ["turn:a.test:3478?transport=udp", "turns:a.test:5349"]);
        assert_eq!(config.turn_secret.as_ref().unwrap().0.expose(), "CANARY");
        assert!(!format!("{config:?}{}", toml_text(&config)).contains("CANARY"));
        assert_eq!(load("stun_uris = ['stun:a.test']").unwrap().stun_uris, ["stun:a.test"]);
        for wrong in [
            uris,
            "turn_secret = 'x'",
            "turn_uris = 'turn:a.test'\nturn_secret = ''",
            "turn_uris = 'stun:a.test'\nturn_secret = 'x'",
            "stun_uris = 'turn:a.test'",
            "stun_uris = 'a.test'",
            "stun_uris = ['stun:a b']",
            "turn_ttl_secs = 0",
        ] {
            assert!(load(wrong).is_err(), "{wrong}");
        }
    }

    fn toml_text(config: &Config) -> String {
        serde_json::to_string(config).unwrap()
    }

    #[test]
    fn ten_thousand_clients_find_room_and_so_do_those_who_look_after_them() {
        let config = Config::default();
        let sockets_max = config.hub().sockets_max;
        assert!(sockets_max >= 10_000 && config.connections_max - sockets_max >= 500);
    }

    #[test]
    fn half_a_tls_setting_is_refused() {
        assert!(load("tls_cert = 'a.pem'").is_err());
    }

    #[test]
    fn every_setting_is_documented() {
        let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/configuration.md");
        let page = std::fs::read_to_string(page).unwrap();
        let serde_json::Value::Object(settings) = serde_json::to_value(Config::default()).unwrap() else { panic!() };
        for name in settings.keys() {
            assert!(page.contains(&format!("`{name}`")), "docs/configuration.md lacks {name}");
        }
    }
}
