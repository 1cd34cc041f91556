use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;

use tokio_postgres::config::SslMode;

use super::url::{OPTIONS, UNSUPPORTED};
use super::*;

/// What no error and nothing printed may hold.
const CANARY: &str = "canary";

fn dsn(text: &str) -> Dsn {
    Dsn::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

#[test]
fn an_address_is_read_as_libpq_reads_it() {
    for (text, read) in [
        ("postgres://localhost", "postgres://localhost:5432/?sslmode=prefer"),
        ("postgresql://localhost/", "postgres://localhost:5432/?sslmode=prefer"),
        ("postgres://u@h/d", "postgres://u@h:5432/d?sslmode=require"),
        ("postgres://u:p@h:6432/d", "postgres://u:...@h:6432/d?sslmode=require"),
        ("postgres://u:@h", "postgres://u@h:5432/?sslmode=require"),
        ("postgres://u%40x:p%3a%2F@h/d%20e", "postgres://u%40x:...@h:5432/d%20e?sslmode=require"),
        ("postgres://u:p?q#r:s@h/d", "postgres://u:...@h:5432/d?sslmode=require"),
        ("postgres://[::1]:6432/d", "postgres://[::1]:6432/d?sslmode=prefer"),
        ("postgres://127.0.0.9/d", "postgres://127.0.0.9:5432/d?sslmode=prefer"),
        ("postgres://a:1,b,[::1]:3/d", "postgres://a:1,b:5432,[::1]:3/d?sslmode=require"),
        ("postgres:///d?host=a,b&port=7", "postgres://a:7,b:7/d?sslmode=require"),
        ("postgres://a/d?user=u&password=p&dbname=e&host=b", "postgres://u:...@b:5432/e?sslmode=require"),
        ("postgres:///d?host=/run/postgresql", "postgres://%2Frun%2Fpostgresql:5432/d?sslmode=disable"),
        ("postgres://u@%2Frun%2Fpostgresql/d", "postgres://u@%2Frun%2Fpostgresql:5432/d?sslmode=disable"),
        ("postgres:///?host=/tmp&sslmode=verify-full", "postgres://%2Ftmp:5432/?sslmode=disable"),
        ("postgres:///?hostaddr=10.0.0.1", "postgres://10.0.0.1:5432/?sslmode=require"),
        ("postgres://h?sslmode=disable", "postgres://h:5432/?sslmode=disable"),
        ("postgres://h?sslmode=prefer", "postgres://h:5432/?sslmode=prefer"),
        ("postgres://h?sslmode=verify-ca&sslrootcert=/r", "postgres://h:5432/?sslmode=verify-ca&sslrootcert=%2Fr"),
        ("postgres://h?sslmode=verify-full", "postgres://h:5432/?sslmode=verify-full"),
        ("postgres://h?sslrootcert=/r", "postgres://h:5432/?sslmode=verify-ca&sslrootcert=%2Fr"),
        ("postgres://h?sslrootcert=system", "postgres://h:5432/?sslmode=verify-full&sslrootcert=system"),
        ("postgres:///?host=/tmp&sslrootcert=system", "postgres://%2Ftmp:5432/?sslmode=disable"),
        ("postgres://h?channel_binding=require", "postgres://h:5432/?sslmode=require&channel_binding=require"),
        ("postgres://h?channel_binding=disable", "postgres://h:5432/?sslmode=require&channel_binding=disable"),
        (
            "postgres://a,b?load_balance_hosts=random",
            "postgres://a:5432,b:5432/?sslmode=require&load_balance_hosts=random",
        ),
        (
            "postgres://a,b?hostaddr=10.0.0.1,::1",
            "postgres://a:5432,b:5432/?sslmode=require&hostaddr=10.0.0.1%2C%3A%3A1",
        ),
        ("postgres://h?passfile=/p q", "postgres://h:5432/?sslmode=require&passfile=%2Fp%20q"),
        ("postgres://h?sslmode=&target_session_attrs=read-write", "postgres://h:5432/?sslmode=require"),
        ("postgres://h?sslmode=disable&sslmode=require", "postgres://h:5432/?sslmode=require"),
    ] {
        let dsn = dsn(text);
        assert_eq!(dsn.to_string(), read, "{text}");
        let again = Dsn::parse(&dsn.to_string());
        assert_eq!(again.map(|again| again.to_string()), Ok(dsn.to_string()), "{text} printed and read");
    }
}

#[test]
fn what_no_address_is_says_why_and_quotes_nothing() {
    for (text, why) in [
        ("host=canary password=canary", DsnError::Scheme),
        ("mysql://canary@h", DsnError::Scheme),
        ("postgres:/canary@h", DsnError::Scheme),
        ("postgres:///canary", DsnError::NoHost),
        ("postgres://canary:canary@/d", DsnError::NoHost),
        ("postgres://a,/canary", DsnError::NoHost),
        ("postgres://u:canary%4@h", DsnError::Encoding("password")),
        ("postgres://u:canary%zz@h", DsnError::Encoding("password")),
        ("postgres://u:canary%00@h", DsnError::Encoding("password")),
        ("postgres://u:canary%ff@h", DsnError::Encoding("password")),
        ("postgres://canary%@h", DsnError::Encoding("user")),
        ("postgres://h/canary%é", DsnError::Encoding("database")),
        ("postgres://u:cana/ry@h", DsnError::StrayAt),
        ("postgres://u:p@canary@h/d", DsnError::StrayAt),
        ("postgres://u:12/canary@h/d", DsnError::StrayAt),
        ("postgres://u:p?x@canary@h/d", DsnError::StrayAt),
        ("postgres://h/canary@d", DsnError::StrayAt),
        ("postgres://h?canary", DsnError::NotAnOption),
        ("postgres://h?canary=1", DsnError::Unknown),
        ("postgres://h?SSLMODE=canary", DsnError::Unknown),
        ("postgres://h?sslkey=canary", DsnError::Unsupported("sslkey")),
        ("postgres://h?options=-c%20canary", DsnError::Unsupported("options")),
        ("postgres://h?application_name=n", DsnError::Unsupported("application_name")),
        ("postgres://h?connect_timeout=3", DsnError::Unsupported("connect_timeout")),
        ("postgres://h:canary/d", must("port", "a number from 1 to 65535")),
        ("postgres://h:0/d", must("port", "a number from 1 to 65535")),
        ("postgres://a,b,c?port=1,2", must("port", "one number, or as many as there are hosts")),
        ("postgres://a,b?hostaddr=10.0.0.1", must("hostaddr", "as many addresses as there are hosts")),
        ("postgres://a?hostaddr=canary", must("hostaddr", "an IP address")),
        ("postgres://a,b?hostaddr=10.0.0.1,", must("hostaddr", "given for each host or for none")),
        ("postgres://[::1/d", must("host", "a name, an address or an [IPv6 address], and a port behind a :")),
        ("postgres://[::1]canary/d", must("host", "a name, an address or an [IPv6 address], and a port behind a :")),
        ("postgres:///?host=/canary,b", DsnError::SocketAndHost),
        ("postgres://h?sslmode=canary", must("sslmode", "disable, prefer, require, verify-ca or verify-full")),
        ("postgres://h?sslmode=allow", must("sslmode", "disable, prefer, require, verify-ca or verify-full")),
        ("postgres://h?sslmode=require&sslrootcert=system", must("sslmode", "verify-full with sslrootcert=system")),
        ("postgres://h?channel_binding=canary", must("channel_binding", "disable, prefer or require")),
        ("postgres://h?load_balance_hosts=canary", must("load_balance_hosts", "disable or random")),
        (
            "postgres://h?target_session_attrs=read-only",
            must("target_session_attrs", "read-write or primary, which is what respoked looks for"),
        ),
    ] {
        let error = Dsn::parse(text).expect_err(text);
        assert_eq!(error, why, "{text}");
        assert!(!format!("{error} {error:?}").contains(CANARY), "{text}: {error:?}");
    }
}

#[test]
fn no_option_is_known_twice() {
    for names in [&OPTIONS[..], &UNSUPPORTED] {
        assert!(names.is_sorted(), "they are in order");
    }
    assert!(OPTIONS.iter().all(|name| !UNSUPPORTED.contains(name)));
}

#[test]
fn nothing_that_is_printed_holds_the_password() {
    let file = a_password_file("*:*:*:*:canary", 0o600);
    for dsn in [
        dsn("postgres://u:canary@h/d"),
        dsn("postgres://h/d?password=canary"),
        dsn("postgres://h/d").with_password(Secret::new(CANARY.into())),
        dsn("postgres://h/d").with_password_of(file.path()).unwrap(),
    ] {
        assert!(dsn.has_password());
        assert_eq!(dsn.config().get_password(), Some(CANARY.as_bytes()));
        let options = dsn.options().unwrap();
        let printed = format!("{dsn} {dsn:?} {:?}", options.config);
        assert!(!printed.contains(CANARY), "{printed}");
    }
}

#[test]
fn the_library_is_told_what_the_address_says() {
    let config = dsn("postgres://a:1,b:2/d?hostaddr=10.0.0.1,10.0.0.2&channel_binding=require").config();
    assert_eq!((config.get_hosts().len(), config.get_hostaddrs().len(), config.get_ports()), (2, 2, &[1, 2][..]));
    assert_eq!((config.get_dbname(), config.get_channel_binding()), (Some("d"), ChannelBinding::Require));
    for (mode, told, private) in [
        ("disable", SslMode::Disable, false),
        ("prefer", SslMode::Prefer, true),
        ("require", SslMode::Require, true),
        ("verify-full", SslMode::Require, true),
    ] {
        let options = dsn(&format!("postgres://h?sslmode={mode}")).options().unwrap();
        let (config, tls) = options.tls.with(options.config);
        assert_eq!((config.get_ssl_mode(), tls.is_some()), (told, private), "{mode}");
    }
}

#[test]
fn what_a_configuration_demands_is_not_taken_back() {
    let demanded: Config = "postgres://h?sslmode=require".parse().unwrap();
    let (config, _) = Tls::None.with(demanded);
    assert_eq!(config.get_ssl_mode(), SslMode::Require);
}

#[test]
fn certificates_that_are_to_be_trusted_must_be_there() {
    let empty = tempfile::NamedTempFile::new().unwrap();
    let named = |path: &Path| dsn(&format!("postgres://h?sslmode=verify-full&sslrootcert={}", path.display()));
    let path = empty.path().to_owned();
    assert!(matches!(named(&path).options(), Err(DsnError::NoCertificate { .. })));
    drop(empty);
    assert!(matches!(named(&path).options(), Err(DsnError::File { .. })));
    let nothing = dsn("postgres://h?sslmode=verify-ca").options();
    assert_eq!(nothing.err(), Some(must("sslrootcert", "given with sslmode=verify-ca")));
}

fn a_password_file(lines: &str, mode: u32) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(lines.as_bytes()).unwrap();
    std::fs::set_permissions(file.path(), std::fs::Permissions::from_mode(mode)).unwrap();
    file
}

#[test]
fn a_password_file_is_read_as_libpq_reads_it() {
    for (lines, address, password) in [
        ("h:5432:d:u:p", "postgres://u@h/d", Some("p")),
        ("*:*:*:*:p", "postgres://h", Some("p")),
        ("h:5432:d:u:p:q:\\\\r\\:s", "postgres://u@h/d", Some("p:q:\\r:s")),
        ("h:5432:d:u:p\\", "postgres://u@h/d", Some("p\\")),
        ("h:5432:d:u:p\r\n", "postgres://u@h/d", Some("p")),
        ("#h:5432:d:u:no\n\nnonsense\nh:5432:d:u:p\n*:*:*:*:later", "postgres://u@h/d", Some("p")),
        ("h:5433:*:*:no\nh:*:*:u2:no\ng:*:*:*:no\nh:*:e:*:no", "postgres://u@h/d", None),
        ("h:*:u:u:p", "postgres://u@h", Some("p")),
        ("\\:\\:1:5432:*:*:p", "postgres://[::1]/d", Some("p")),
        ("h:*:d\\:e:u\\\\:p", "postgres://u%5C@h/d%3Ae", Some("p")),
        ("localhost:*:*:*:p", "postgres:///d?host=/run/postgresql", Some("p")),
        ("/srv/pg:*:*:*:p", "postgres:///d?host=/srv/pg", Some("p")),
        ("localhost:*:*:*:p", "postgres:///d?host=/srv/pg", None),
        ("*:*:*:*:", "postgres://h", None),
        ("a:*:*:*:p\nb:*:*:*:p", "postgres://a,b", Some("p")),
        ("h:5432:d:u:no", "postgres://u:said@h/d", Some("said")),
        ("", "postgres://h", None),
    ] {
        let file = a_password_file(lines, 0o600);
        let found = dsn(address).with_password_of(file.path()).unwrap().password;
        assert_eq!(found.as_ref().map(Secret::expose), password, "{lines} for {address}");
    }
}

#[test]
fn a_password_file_that_others_may_read_is_refused() {
    for mode in [0o640, 0o604, 0o620, 0o601, 0o666] {
        let file = a_password_file("*:*:*:*:canary", mode);
        let refused = dsn("postgres://h").with_password_of(file.path());
        assert_eq!(refused.err(), Some(DsnError::Permissions(file.path().to_owned())), "{mode:o}");
        // It is not needed.
        assert!(dsn("postgres://u:p@h").with_password_of(file.path()).is_ok());
    }
    for mode in [0o600, 0o400] {
        let file = a_password_file("*:*:*:*:p", mode);
        assert!(dsn("postgres://h").with_password_of(file.path()).unwrap().has_password(), "{mode:o}");
    }
}

#[test]
fn a_password_file_may_not_be_there_and_must_have_one_password() {
    let gone = a_password_file("", 0o600).path().to_owned();
    assert!(!dsn("postgres://h").with_password_of(&gone).unwrap().has_password());
    for lines in ["a:*:*:*:p\nb:*:*:*:q", "a:*:*:*:p", "b:*:*:*:p"] {
        let file = a_password_file(lines, 0o600);
        let several = dsn("postgres://a,b").with_password_of(file.path());
        assert_eq!(several.err(), Some(DsnError::SeveralPasswords(file.path().to_owned())), "{lines}");
    }
    let folder = tempfile::tempdir().unwrap();
    assert!(matches!(dsn("postgres://h").with_password_of(folder.path()), Err(DsnError::File { .. })));
}
