//! The address of a database: `postgres://user:password@host/database?option=value`, as libpq reads it.
//!
//! Invariant: nothing that is printed of an address holds its password, and no error holds any of its text: who misspells an
//! address may have put the password anywhere.
//!
//! Where libpq would try TLS and go on without it, this does so only on the machine itself. To any other host TLS is
//! required unless the address says otherwise, because a password, and all that is kept, would else cross a network in the
//! clear as soon as somebody between answers that there is no TLS.

pub(super) mod error;
mod password_file;
mod url;

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use respoke_core::secret::Secret;
use tokio_postgres::Config;
use tokio_postgres::config::{ChannelBinding, LoadBalanceHosts};

use super::options::Options;
use super::tls::{self, Tls, Trust};
pub use error::DsnError;

/// Where PostgreSQL listens if nothing else is said.
const PORT: u16 = 5432;
/// The option of the address that says how far TLS goes.
const SSLMODE: &str = "sslmode";

/// The address of a database.
#[derive(Clone, PartialEq, Eq)]
pub struct Dsn {
    user: Option<String>,
    password: Option<Secret>,
    /// At least one; all TCP, or all folders of sockets.
    hosts: Vec<Host>,
    database: Option<String>,
    mode: Mode,
    root_cert: Option<RootCert>,
    binding: Binding,
    any_order: bool,
    password_file: Option<PathBuf>,
}

#[derive(Clone, PartialEq, Eq)]
struct Host {
    /// A name or an address; with a `/` in front, a socket's folder.
    name: String,
    /// Where it is, if that is said apart.
    address: Option<IpAddr>,
    port: u16,
}

/// How far TLS goes, as `sslmode` says it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Mode {
    /// None.
    Disable,
    /// Where the server has it. Its certificate is not looked at.
    Prefer,
    /// Or no connection. Its certificate is not looked at.
    Require,
    /// The certificate must be signed by one that is trusted.
    VerifyCa,
    /// And be made for the host's name.
    VerifyFull,
}

/// What signs the certificate of the server.
#[derive(Clone, PartialEq, Eq)]
enum RootCert {
    System,
    File(PathBuf),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Binding {
    Disable,
    Prefer,
    Require,
}

const MODES: [(&str, Mode); 5] = [
    ("disable", Mode::Disable),
    ("prefer", Mode::Prefer),
    ("require", Mode::Require),
    ("verify-ca", Mode::VerifyCa),
    ("verify-full", Mode::VerifyFull),
];

impl Dsn {
    /// Reads an address. Nothing but its text is looked at.
    pub fn parse(text: &str) -> Result<Self, DsnError> {
        Self::of_options(url::options(text)?)
    }

    fn of_options(mut given: BTreeMap<&'static str, String>) -> Result<Self, DsnError> {
        // As libpq, which takes an empty value for none.
        given.retain(|_, value| !value.is_empty());
        let mut take = |option| given.remove(option);
        let hosts = hosts(take("host").as_deref(), take("hostaddr").as_deref(), take("port").as_deref())?;
        let root_cert = take("sslrootcert").map(|value| match value.as_str() {
            "system" => RootCert::System,
            _ => RootCert::File(value.into()),
        });
        let mode = mode(take(SSLMODE).as_deref(), root_cert.as_ref(), &hosts)?;
        let binding = match take("channel_binding").as_deref() {
            Some("disable") => Binding::Disable,
            None | Some("prefer") => Binding::Prefer,
            Some("require") => Binding::Require,
            Some(_) => return Err(must("channel_binding", "disable, prefer or require")),
        };
        match take("target_session_attrs").as_deref() {
            None | Some("read-write" | "primary") => {}
            Some(_) => {
                return Err(must("target_session_attrs", "read-write or primary, which is what respoked looks for"));
            }
        }
        let any_order = match take("load_balance_hosts").as_deref() {
            None | Some("disable") => false,
            Some("random") => true,
            Some(_) => return Err(must("load_balance_hosts", "disable or random")),
        };
        Ok(Self {
            user: take("user"),
            password: take("password").map(Secret::new),
            hosts,
            database: take("dbname"),
            mode,
            root_cert,
            binding,
            any_order,
            password_file: take("passfile").map(PathBuf::from),
        })
    }

    /// The password file that the address names itself, which counts more than any other.
    #[must_use]
    pub fn password_file(&self) -> Option<&Path> {
        self.password_file.as_deref()
    }

    /// Whether the address holds a password.
    #[must_use]
    pub const fn has_password(&self) -> bool {
        self.password.is_some()
    }

    /// The same with another password.
    #[must_use]
    pub fn with_password(mut self, password: Secret) -> Self {
        self.password = Some(password);
        self
    }

    /// The same without a password, as it may stand on a command line.
    #[must_use]
    pub fn without_password(&self) -> Self {
        Self { password: None, ..self.clone() }
    }

    /// Looks for a password in a file like `~/.pgpass`, unless the address holds one. A file that is not there holds none.
    pub fn with_password_of(self, file: &Path) -> Result<Self, DsnError> {
        if self.has_password() {
            return Ok(self);
        }
        let Some(lines) = password_file::read(file)? else { return Ok(self) };
        let database = self.database.as_deref().or(self.user.as_deref());
        let found = |host: &Host| {
            let asked = password_file::Asked {
                host: &host.name,
                port: host.port,
                database: database.unwrap_or_default(),
                user: self.user.as_deref().unwrap_or_default(),
            };
            password_file::find(&lines, &asked)
        };
        let mut passwords = self.hosts.iter().map(found);
        let first = passwords.next().flatten();
        if passwords.any(|other| other != first) {
            return Err(DsnError::SeveralPasswords(file.to_owned()));
        }
        Ok(match first {
            Some(password) => self.with_password(password),
            None => self,
        })
    }

    /// How a store there is opened, otherwise as is usual. Reads the certificates that are trusted.
    pub fn options(&self) -> Result<Options, DsnError> {
        let trust = match (self.mode, &self.root_cert) {
            (Mode::Disable, _) => None,
            (Mode::Prefer | Mode::Require, None) | (Mode::Prefer, Some(_)) => Some(Trust::Anybody),
            // As libpq: with a root certificate `require` looks at who signed.
            (Mode::Require | Mode::VerifyCa, Some(root)) => Some(Trust::SignedBy(roots(root)?)),
            (Mode::VerifyCa, None) => return Err(must("sslrootcert", "given with sslmode=verify-ca")),
            (Mode::VerifyFull, root) => Some(Trust::Named(roots(root.as_ref().unwrap_or(&RootCert::System))?)),
        };
        let mut options = Options::of(self.config());
        options.tls = match trust.map(tls::connector) {
            None => Tls::None,
            Some(tls) if self.mode == Mode::Prefer => Tls::WhereOffered(tls),
            Some(tls) => Tls::Required(tls),
        };
        Ok(options)
    }

    /// How far TLS goes, as `sslmode` says it.
    #[must_use]
    pub fn sslmode(&self) -> &'static str {
        MODES.iter().find(|(_, mode)| *mode == self.mode).map_or("", |(name, _)| *name)
    }

    /// The options that it says and that are not as is usual, but for `sslmode`, whatever it says.
    fn options_said(&self) -> impl Iterator<Item = (&'static str, String)> {
        let shown = |path: &Path| path.display().to_string();
        let is_apart = |host: &Host| host.address.is_some_and(|address| address.to_string() != host.name);
        let addresses = self.hosts.iter().any(is_apart).then(|| {
            let address = |host: &Host| host.address.map(|address| address.to_string()).unwrap_or_default();
            self.hosts.iter().map(address).collect::<Vec<_>>().join(",")
        });
        // On a socket nothing is encrypted, so that nothing is looked at.
        let root_cert = self.root_cert.as_ref().filter(|_| !self.hosts.iter().all(Host::is_socket));
        let root_cert = root_cert.map(|root| match root {
            RootCert::System => "system".to_owned(),
            RootCert::File(path) => shown(path),
        });
        let binding = match self.binding {
            Binding::Disable => Some("disable"),
            Binding::Prefer => None,
            Binding::Require => Some("require"),
        };
        let order = self.any_order.then_some("random");
        [
            ("hostaddr", addresses),
            ("sslrootcert", root_cert),
            ("channel_binding", binding.map(str::to_owned)),
            ("load_balance_hosts", order.map(str::to_owned)),
            ("passfile", self.password_file.as_deref().map(shown)),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)))
    }

    /// Whether nothing that goes to the database leaves the machine.
    #[must_use]
    pub fn stays_here(&self) -> bool {
        self.hosts.iter().all(Host::is_here)
    }

    fn config(&self) -> Config {
        let mut config = Config::new();
        for host in &self.hosts {
            config.host(&host.name).port(host.port);
            if let Some(address) = host.address {
                config.hostaddr(address);
            }
        }
        if let Some(user) = &self.user {
            config.user(user);
        }
        if let Some(password) = &self.password {
            config.password(password.expose());
        }
        if let Some(database) = &self.database {
            config.dbname(database);
        }
        config.channel_binding(match self.binding {
            Binding::Disable => ChannelBinding::Disable,
            Binding::Prefer => ChannelBinding::Prefer,
            Binding::Require => ChannelBinding::Require,
        });
        if self.any_order {
            config.load_balance_hosts(LoadBalanceHosts::Random);
        }
        config
    }
}

const fn must(option: &'static str, expected: &'static str) -> DsnError {
    DsnError::Value { option, expected }
}

fn roots(root: &RootCert) -> Result<rustls::RootCertStore, DsnError> {
    match root {
        RootCert::System => tls::roots_of_the_system(),
        RootCert::File(path) => tls::roots_in(path),
    }
}

/// The hosts of lists that are joined by commas, each with its address and its port.
fn hosts(names: Option<&str>, addresses: Option<&str>, ports: Option<&str>) -> Result<Vec<Host>, DsnError> {
    fn list(joined: Option<&str>) -> Vec<&str> {
        joined.map(|joined| joined.split(',').collect()).unwrap_or_default()
    }
    let (names, addresses, ports) = (list(names), list(addresses), list(ports));
    let count = names.len().max(addresses.len());
    if count == 0 {
        return Err(DsnError::NoHost);
    }
    if !names.is_empty() && !addresses.is_empty() && names.len() != addresses.len() {
        return Err(must("hostaddr", "as many addresses as there are hosts"));
    }
    if ports.len() > 1 && ports.len() != count {
        return Err(must("port", "one number, or as many as there are hosts"));
    }
    let of = |nth: usize| {
        let port = match ports.get(nth).or_else(|| ports.first()).copied().unwrap_or_default() {
            "" => PORT,
            port => port.parse().ok().filter(|port| *port > 0).ok_or(must("port", "a number from 1 to 65535"))?,
        };
        let address = match addresses.get(nth).copied().unwrap_or_default() {
            "" => None,
            address => Some(address.parse::<IpAddr>().map_err(|_| must("hostaddr", "an IP address"))?),
        };
        let name = match (names.get(nth).copied().unwrap_or_default(), address) {
            ("", Some(address)) => address.to_string(),
            ("", None) => return Err(DsnError::NoHost),
            (name, _) => name.to_owned(),
        };
        Ok(Host { name, address, port })
    };
    let mut hosts = (0..count).map(of).collect::<Result<Vec<Host>, _>>()?;
    let sockets = hosts.iter().filter(|host| host.is_socket()).count();
    if sockets > 0 && (sockets < count || hosts.iter().any(|host| host.address.is_some())) {
        return Err(DsnError::SocketAndHost);
    }
    // The library wants an address for each or for none; a name that is an address finds itself.
    if hosts.iter().any(|host| host.address.is_none()) {
        if hosts.iter().any(|host| host.address.is_some_and(|address| address.to_string() != host.name)) {
            return Err(must("hostaddr", "given for each host or for none"));
        }
        for host in &mut hosts {
            host.address = None;
        }
    }
    Ok(hosts)
}

impl Host {
    fn is_socket(&self) -> bool {
        self.name.starts_with('/')
    }

    /// Whether nothing that goes there leaves the machine.
    fn is_here(&self) -> bool {
        let address = self.address.or_else(|| self.name.parse().ok());
        self.is_socket() || address.map_or_else(|| self.name == "localhost", |address| address.is_loopback())
    }
}

fn mode(given: Option<&str>, root_cert: Option<&RootCert>, hosts: &[Host]) -> Result<Mode, DsnError> {
    let known = |given: &str| MODES.iter().find(|(name, _)| *name == given).map(|(_, mode)| *mode);
    let mode = match given {
        Some(given) => {
            let modes = "disable, prefer, require, verify-ca or verify-full";
            Some(known(given).ok_or(must(SSLMODE, modes))?)
        }
        None => None,
    };
    if root_cert == Some(&RootCert::System) && mode.is_some_and(|mode| mode < Mode::VerifyFull) {
        // Anybody can have a certificate that one of the system's signed.
        return Err(must(SSLMODE, "verify-full with sslrootcert=system"));
    }
    if hosts.iter().all(Host::is_socket) {
        // As libpq: nothing on a socket is encrypted, whatever is asked for.
        return Ok(Mode::Disable);
    }
    let usual = match root_cert {
        // Whoever names a certificate wants it looked at.
        Some(RootCert::System) => Mode::VerifyFull,
        Some(RootCert::File(_)) => Mode::VerifyCa,
        None if hosts.iter().all(Host::is_here) => Mode::Prefer,
        None => Mode::Require,
    };
    Ok(mode.unwrap_or(usual))
}

/// All but the password, of which only is shown that there is one.
impl fmt::Display for Dsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("postgres://")?;
        if self.user.is_some() || self.password.is_some() {
            let hidden = if self.password.is_some() { ":..." } else { "" };
            write!(f, "{}{hidden}@", url::encoded(self.user.as_deref().unwrap_or_default()))?;
        }
        for (nth, host) in self.hosts.iter().enumerate() {
            let comma = if nth > 0 { "," } else { "" };
            match host.name.parse::<std::net::Ipv6Addr>() {
                Ok(address) => write!(f, "{comma}[{address}]:{}", host.port)?,
                Err(_) => write!(f, "{comma}{}:{}", url::encoded(&host.name), host.port)?,
            }
        }
        write!(f, "/{}", url::encoded(self.database.as_deref().unwrap_or_default()))?;
        write!(f, "?{SSLMODE}={}", self.sslmode())?;
        self.options_said().try_for_each(|(name, value)| write!(f, "&{name}={}", url::encoded(&value)))
    }
}

impl fmt::Debug for Dsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Dsn({self})")
    }
}

#[cfg(test)]
mod tests;
