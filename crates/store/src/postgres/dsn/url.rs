//! The parts of an address as options, as libpq takes it apart.

use std::collections::BTreeMap;

use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};

use super::error::DsnError;

/// Options of libpq that an address may have here.
pub(super) const OPTIONS: [&str; 12] = [
    "channel_binding",
    "dbname",
    "host",
    "hostaddr",
    "load_balance_hosts",
    "passfile",
    "password",
    "port",
    "sslmode",
    "sslrootcert",
    "target_session_attrs",
    "user",
];
/// Options of libpq that it may not have. An error says their names, and no others: those might be a piece of a password.
pub(super) const UNSUPPORTED: [&str; 35] = [
    "application_name",
    "client_encoding",
    "connect_timeout",
    "fallback_application_name",
    "gssdelegation",
    "gssencmode",
    "gsslib",
    "keepalives",
    "keepalives_count",
    "keepalives_idle",
    "keepalives_interval",
    "krbsrvname",
    "max_protocol_version",
    "min_protocol_version",
    "oauth_client_id",
    "oauth_client_secret",
    "oauth_issuer",
    "oauth_scope",
    "options",
    "replication",
    "require_auth",
    "requirepeer",
    "scram_client_key",
    "scram_server_key",
    "service",
    "ssl_max_protocol_version",
    "ssl_min_protocol_version",
    "sslcert",
    "sslcertmode",
    "sslcompression",
    "sslcrl",
    "sslkey",
    "sslnegotiation",
    "sslpassword",
    "tcp_user_timeout",
];

/// What cannot stand for itself in an address.
const ENCODED: &AsciiSet =
    &CONTROLS.add(b' ').add(b'%').add(b'/').add(b'?').add(b'#').add(b'@').add(b':').add(b',').add(b'&');

pub(super) fn encoded(text: &str) -> impl std::fmt::Display + '_ {
    utf8_percent_encode(text, ENCODED)
}

/// The options that an address says in its parts and behind its `?`. Of two of one name the last one counts.
pub(super) fn options(text: &str) -> Result<BTreeMap<&'static str, String>, DsnError> {
    let rest = text.strip_prefix("postgres://").or_else(|| text.strip_prefix("postgresql://"));
    let mut rest = rest.ok_or(DsnError::Scheme)?;
    let mut options = BTreeMap::new();
    // Who it is ends with the first `@`, if no `/` comes before it: a password may hold a `?`.
    if let Some(at) = rest.find(['@', '/']).filter(|at| rest[*at..].starts_with('@')) {
        let (user, password) = match rest[..at].split_once(':') {
            Some((user, password)) => (user, Some(password)),
            None => (&rest[..at], None),
        };
        options.insert("user", decoded(user, "user")?);
        if let Some(password) = password {
            options.insert("password", decoded(password, "password")?);
        }
        rest = &rest[at + 1..];
    }
    // libpq takes this for a host's or a database's name. It is a password with an `@` or a `/`, of which a part would be shown
    // as that name, and looked for in the network.
    if rest.split('?').next().is_some_and(|place| place.contains('@')) {
        return Err(DsnError::StrayAt);
    }
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (hosts, ports) = hosts(&rest[..end])?;
    options.insert("host", hosts);
    options.insert("port", ports);
    rest = &rest[end..];
    if let Some(path) = rest.strip_prefix('/') {
        let end = path.find('?').unwrap_or(path.len());
        options.insert("dbname", decoded(&path[..end], "database")?);
        rest = &path[end..];
    }
    for option in
        rest.strip_prefix('?').into_iter().flat_map(|query| query.split('&')).filter(|option| !option.is_empty())
    {
        let (name, value) = option.split_once('=').ok_or(DsnError::NotAnOption)?;
        let name = decoded(name, "name of an option")?;
        let same = |known: &&&'static str| **known == name;
        let Some(name) = OPTIONS.iter().find(same).copied() else {
            return Err(UNSUPPORTED.iter().find(same).map_or(DsnError::Unknown, |known| DsnError::Unsupported(known)));
        };
        options.insert(name, decoded(value, name)?);
    }
    Ok(options)
}

/// Hosts and ports, each joined by commas.
fn hosts(text: &str) -> Result<(String, String), DsnError> {
    const MALFORMED: DsnError =
        DsnError::Value { option: "host", expected: "a name, an address or an [IPv6 address], and a port behind a :" };
    if text.is_empty() {
        return Ok((String::new(), String::new()));
    }
    let (mut hosts, mut ports) = (Vec::new(), Vec::new());
    for host in text.split(',') {
        let (host, port) = match host.strip_prefix('[') {
            Some(bracketed) => match bracketed.split_once(']') {
                Some((host, "")) => (host, ""),
                Some((host, port)) => (host, port.strip_prefix(':').ok_or(MALFORMED)?),
                None => return Err(MALFORMED),
            },
            None => host.split_once(':').unwrap_or((host, "")),
        };
        hosts.push(decoded(host, "host")?);
        ports.push(decoded(port, "port")?);
    }
    Ok((hosts.join(","), ports.join(",")))
}

fn decoded(text: &str, what: &'static str) -> Result<String, DsnError> {
    let escapes = text.split('%').skip(1);
    let whole = |escape: &str| {
        let digits = escape.as_bytes().get(..2);
        // PostgreSQL has no place for a zero byte.
        digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit) && digits != b"00")
    };
    if text.contains('\0') || !escapes.into_iter().all(whole) {
        return Err(DsnError::Encoding(what));
    }
    percent_decode_str(text).decode_utf8().map(std::borrow::Cow::into_owned).map_err(|_| DsnError::Encoding(what))
}
