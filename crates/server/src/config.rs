//! Settings: defaults, then a file, then the environment, then flags. Here and in `config/environment.rs` alone the
//! environment is read.
//!
//! A setting is a row of `settings.rs`, and all that is said of it follows from that. Here is what they mean together.

mod database_url;
mod environment;
mod given;
mod public_url;
mod secrets;
mod settings;
mod sockets;
mod values;

use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use respoke_bus::nats::{NatsError, NatsServers};
use respoke_core::ops::Relays;
use respoke_core::{admin, password};
use respoke_hub::HubSettings;
use respoke_hub::outbox::OutboxLimits;
use respoke_store::{Dsn, DsnError};

use crate::log_filter::is_filter;
use crate::transport::UnreadLimits;
use given::Values;

pub use database_url::DatabaseUrl;
pub use environment::user_folder;
pub(crate) use environment::{config_file, service_links, value_of};
pub(crate) use given::PLACES;
pub use given::SettingsError;
pub use public_url::PublicUrl;
pub(crate) use public_url::local_url;
pub use secrets::Hidden;
pub(crate) use secrets::{SECRET_LEN_MAX, from_file as secret_from_file, of_text as secret_of_text};
pub use settings::Config;
pub(crate) use settings::{Kind, SETTINGS};
pub(crate) use sockets::SocketSettings;
pub use values::{DatabasePromotions, LogFormat};

/// What flags say, by setting name.
pub(crate) type Flags = [(&'static str, OsString)];

/// The longest name of a node, in bytes: the longest that a machine has.
const NODE_NAME_LEN_MAX: usize = 64;

/// An address with a password out of a file, unless it has one itself: the file that it names, or else this one.
fn with_password(address: Dsn, passwords: Option<&Path>) -> Result<Dsn, DsnError> {
    match address.password_file().or(passwords).map(Path::to_owned) {
        Some(file) => address.with_password_of(&file),
        None => Ok(address),
    }
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
        let variables: Vec<_> = variables.collect();
        let mut values = Values::default();
        if let Some(file) = file {
            values.take_file(file)?;
        }
        values.take_variables(&environment::settings(variables.iter().cloned())?)?;
        values.take_flags(flags);
        let mut config = values.read()?;
        config.read_secret_files()?;
        config.read_database(environment::password_file(&variables).as_deref())?;
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

    /// By which NATS servers nodes talk, if they do.
    pub(crate) fn nats_servers(&self) -> Option<Result<NatsServers, NatsError>> {
        (!self.nats.is_empty()).then(|| NatsServers::parse(&self.nats.join(",")))
    }

    /// What operators call this node.
    pub(crate) fn node_name(&self) -> String {
        let machine = || rustix::system::uname().nodename().to_string_lossy().into_owned();
        self.node_name.clone().unwrap_or_else(machine)
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

    /// Completes the address of the database by what stands in files: all of it, or its password alone.
    fn read_database(&mut self, passwords: Option<&Path>) -> Result<(), SettingsError> {
        if let Some(path) = &self.database_file {
            ensure(self.database.is_none(), "database and database_file are both given; one is enough")?;
            let unusable = |error: &dyn std::fmt::Display| SettingsError::new(format!("database_file: {error:#}"));
            let text = secrets::from_file(path).map_err(|error| unusable(&error))?;
            let address = DatabaseUrl::parse(text.expose().trim());
            self.database = Some(address.map_err(|error| unusable(&format!("{}: {error}", path.display())))?);
        }
        for (setting, given) in [("database", &mut self.database), ("database_direct", &mut self.database_direct)] {
            if let Some(DatabaseUrl(address)) = given.take() {
                let found = with_password(address, passwords);
                let found = found.map_err(|error| SettingsError::new(format!("the password of {setting}: {error}")));
                *given = Some(DatabaseUrl(found?));
            }
        }
        Ok(())
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
        let of_nats = [&self.nats_credentials, &self.nats_nkey, &self.nats_root_cert];
        ensure(
            !self.nats.is_empty() || of_nats.iter().all(|file| file.is_none()),
            "nats_credentials, nats_nkey and nats_root_cert belong to nats, which is missing",
        )?;
        ensure(
            self.nats_credentials.is_none() || self.nats_nkey.is_none(),
            "nats_credentials and nats_nkey are both given; one is enough",
        )?;
        if let Some(Err(error)) = self.nats_servers() {
            return Err(SettingsError::new(format!("nats: {error}")));
        }
        let several = self.database.is_some();
        ensure(
            several || (self.nats.is_empty() && self.database_direct.is_none()),
            "nats and database_direct are for several nodes, which need a PostgreSQL database (database)",
        )?;
        ensure(
            self.node_name.as_ref().is_none_or(|name| (1..=NODE_NAME_LEN_MAX).contains(&name.len())),
            "node_name must have 1 to 64 bytes",
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
