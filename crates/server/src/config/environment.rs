//! What the environment says: variables of ours that are no settings, and their names in whatever case.

use std::ffi::{OsStr, OsString};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::given::SettingsError;

/// What the names of our variables begin with, in capitals or not.
pub(super) const PREFIX: &str = "RESPOKED_";
/// Variables that are no settings: where the settings are, and what belongs to the command line's client side.
const NOT_SETTINGS: &[&str] = &["RESPOKED_CONFIG", "RESPOKED_SERVER", "RESPOKED_ADMIN_TOKEN"];

/// The variable of a setting.
pub(super) fn variable(setting: &str) -> String {
    format!("{PREFIX}{}", setting.to_ascii_uppercase())
}

/// The file that the environment names for the settings.
pub(crate) fn config_file() -> Option<PathBuf> {
    value_of("RESPOKED_CONFIG").map(PathBuf::from)
}

/// What a variable of ours holds that is no setting; an empty one is as none. Its name may be in capitals or not, as those
/// of settings.
pub(crate) fn value_of(name: &str) -> Option<OsString> {
    let written = std::env::var_os(name).filter(|value| !value.is_empty());
    written.or_else(|| value_among(name, std::env::vars_os()))
}

fn value_among(name: &str, all: impl Iterator<Item = (OsString, OsString)>) -> Option<OsString> {
    let mut values = all.filter(|(other, value)| other.eq_ignore_ascii_case(name) && !value.is_empty());
    values.next().map(|(_, value)| value)
}

/// The variables among `all` that are settings or want to be.
///
/// # Errors
///
/// Names one whose name is no text.
pub(super) fn settings(
    all: impl Iterator<Item = (OsString, OsString)>,
) -> Result<Vec<(String, OsString)>, SettingsError> {
    let mut found = Vec::new();
    for (name, value) in all {
        let ours = name.as_encoded_bytes().get(..PREFIX.len());
        if !ours.is_some_and(|start| start.eq_ignore_ascii_case(PREFIX.as_bytes())) {
            continue;
        }
        let Ok(name) = name.into_string() else {
            return Err(SettingsError::new(format!("a variable whose name begins with {PREFIX} is no setting")));
        };
        let other = NOT_SETTINGS.iter().any(|other| name.eq_ignore_ascii_case(other));
        if !other && !is_service_link(&name, &value) {
            found.push((name, value));
        }
    }
    Ok(found)
}

/// The variables that tell of a service of Kubernetes and say nothing about this server.
pub(crate) fn service_links() -> Vec<String> {
    let named = std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value)));
    let mut names: Vec<_> = named.filter(|(name, value)| is_service_link(name, value)).map(|(name, _)| name).collect();
    names.sort();
    names
}

/// Whether Kubernetes sets such a variable for a service called `respoked`. It does so in every container of the
/// service's namespace, unless `enableServiceLinks` is off. Another service's variables are not ours to judge.
///
/// # Source
///
/// Kubernetes, "Service: environment variables", and `FromServices` of its `pkg/kubelet/envvars`; those of Docker's
/// links, which they are made after.
fn is_service_link(name: &str, value: &OsStr) -> bool {
    /// Of a port's protocol, by which the URL of a port begins.
    const PROTOCOLS: [&str; 3] = ["TCP", "UDP", "SCTP"];
    let is_url = || {
        let begins = |protocol: &str| {
            let start = format!("{}://", protocol.to_ascii_lowercase());
            value.as_encoded_bytes().starts_with(start.as_bytes())
        };
        PROTOCOLS.into_iter().any(begins)
    };
    let Some(rest) = name.strip_prefix(PREFIX) else { return false };
    match rest {
        "SERVICE_HOST" | "SERVICE_PORT" => return true,
        "PORT" => return is_url(),
        _ => {}
    }
    if let Some(port) = rest.strip_prefix("SERVICE_PORT_") {
        return !port.is_empty() && port.bytes().all(|byte| matches!(byte, b'A'..=b'Z' | b'0'..=b'9' | b'_'));
    }
    let Some((number, of_port)) = rest.strip_prefix("PORT_").and_then(|port| port.split_once('_')) else {
        return false;
    };
    let (protocol, part) = of_port.split_once('_').map_or((of_port, None), |(protocol, part)| (protocol, Some(part)));
    !number.is_empty()
        && number.bytes().all(|byte| byte.is_ascii_digit())
        && PROTOCOLS.contains(&protocol)
        && matches!(part, None | Some("PROTO" | "PORT" | "ADDR"))
}

/// Whether a variable is named as those that Kubernetes makes for services, whichever it is for.
pub(super) fn is_like_a_service_link(name: &str) -> bool {
    name.ends_with("_SERVICE_HOST") || name.contains("_SERVICE_PORT") || name.contains("_PORT")
}

/// The file of passwords of databases that the environment names, as libpq finds it. One that nobody named and that may not be
/// opened is none: a server may run as somebody who has another's home.
pub(super) fn password_file(all: &[(OsString, OsString)]) -> Option<PathBuf> {
    let value =
        |name: &str| all.iter().find(|(other, value)| other == name && !value.is_empty()).map(|(_, value)| value);
    let own = || Some(PathBuf::from(value("HOME")?).join(".pgpass")).filter(|path| may_be_opened(path));
    value("PGPASSFILE").map(PathBuf::from).or_else(own)
}

fn may_be_opened(path: &Path) -> bool {
    !std::fs::File::open(path).is_err_and(|error| error.kind() == ErrorKind::PermissionDenied)
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

    #[test]
    fn what_is_no_setting_is_found_by_its_name_in_capitals_or_not() {
        for name in NOT_SETTINGS {
            for written in [(*name).to_owned(), name.to_lowercase(), format!("Respoked_{}", &name[PREFIX.len()..])] {
                let longer = format!("{written}_2");
                let all = [("OTHER", "x"), (&longer, "y"), (&written, "value")];
                let all = all.map(|(name, value)| (OsString::from(name), OsString::from(value)));
                assert_eq!(value_among(name, all.into_iter()), Some("value".into()), "{written}");
            }
            let empty = [(OsString::from(name), OsString::new())];
            assert_eq!(value_among(name, empty.into_iter()), None);
        }
    }

    #[test]
    fn service_links_are_told_from_slips() {
        for (name, value) in [
            ("RESPOKED_SERVICE_HOST", "10.0.0.11"),
            ("RESPOKED_SERVICE_PORT", "8080"),
            ("RESPOKED_SERVICE_PORT_HTTP", "8080"),
            ("RESPOKED_SERVICE_PORT_HTTP_2", "8080"),
            ("RESPOKED_PORT", "tcp://10.0.0.11:8080"),
            ("RESPOKED_PORT", "udp://10.0.0.11:3478"),
            ("RESPOKED_PORT_8080_TCP", "tcp://10.0.0.11:8080"),
            ("RESPOKED_PORT_8080_TCP_PROTO", "tcp"),
            ("RESPOKED_PORT_8080_TCP_PORT", "8080"),
            ("RESPOKED_PORT_8080_TCP_ADDR", "10.0.0.11"),
            ("RESPOKED_PORT_3478_UDP_ADDR", "fd00::1"),
            ("RESPOKED_PORT_9_SCTP", "sctp://10.0.0.11:9"),
        ] {
            assert!(is_service_link(name, OsStr::new(value)), "{name}={value}");
        }
        for (name, value) in [
            ("RESPOKED_PORT", "8080"),
            ("RESPOKED_PORT", "http://10.0.0.11:8080"),
            ("RESPOKED_PORT_HTTP_TCP", "tcp://10.0.0.11:8080"),
            ("RESPOKED_PORT_8080", "tcp://10.0.0.11:8080"),
            ("RESPOKED_PORT_8080_TCP_", "x"),
            ("RESPOKED_PORT_8080_TCP_HOST", "x"),
            ("RESPOKED_PORT_8080_HTTP", "x"),
            ("RESPOKED_PORT__TCP", "x"),
            ("RESPOKED_SERVICE_PORT_", "1"),
            ("RESPOKED_SERVICE_PORT_http", "1"),
            ("RESPOKED_SERVICE", "x"),
            ("RESPOKED_SERVICE_HOSTS", "x"),
            ("RESPOKED_WEB_SERVICE_HOST", "10.0.0.11"),
            ("respoked_service_host", "10.0.0.11"),
        ] {
            assert!(!is_service_link(name, OsStr::new(value)), "{name}={value}");
        }
    }
}
