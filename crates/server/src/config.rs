//! Settings: defaults, then a file, then the environment, then flags. The only place that reads the environment.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use figment::Figment;
use figment::providers::{Env, Format, Serialized, Toml};
use ipnet::IpNet;
use respoke_core::secret::Secret;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

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
            connections_max: 10_000,
            connections_per_address_max: 2_000,
            drain_secs: 10,
            address_requests_per_second: 500,
            address_requests_burst: 2_000,
            failed_credentials_free: 200,
            commit_batch_max: 32,
            session_cache_max: 100_000,
            retention_secs: 900,
            audit_days: 30,
            audit_rows_max: 5_000_000,
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

fn networks<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<IpNet>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum List {
        Items(Vec<String>),
        Text(String),
    }
    let items = match List::deserialize(deserializer)? {
        List::Items(items) => items,
        List::Text(text) => text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect(),
    };
    items
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
        config.read_password_file()?;
        config.check()?;
        Ok(config)
    }

    fn read_password_file(&mut self) -> anyhow::Result<()> {
        let Some(path) = &self.admin_password_file else { return Ok(()) };
        anyhow::ensure!(
            self.admin_password.is_none(),
            "admin_password and admin_password_file are both given; one is enough"
        );
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("admin_password_file: {} cannot be read", path.display()))?;
        self.admin_password = Some(Hidden(Secret::new(text.trim_end_matches(['\r', '\n']).to_owned())));
        Ok(())
    }

    fn check(&self) -> anyhow::Result<()> {
        anyhow::ensure!(
            self.tls_cert.is_some() == self.tls_key.is_some(),
            "tls_cert and tls_key belong together: one of them is missing"
        );
        for (name, value) in [
            ("connections_max", self.connections_max),
            ("connections_per_address_max", self.connections_per_address_max),
            ("commit_batch_max", self.commit_batch_max),
            ("address_requests_per_second", self.address_requests_per_second as usize),
            ("address_requests_burst", self.address_requests_burst as usize),
        ] {
            anyhow::ensure!(value > 0, "{name} must be at least 1");
        }
        Ok(())
    }
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

    fn toml_text(config: &Config) -> String {
        serde_json::to_string(config).unwrap()
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
