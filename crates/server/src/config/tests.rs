//! Every setting, from every carrier: the table of settings is walked, so that a new one is tried too.

mod carriers;
mod meaning;

use std::os::unix::ffi::OsStringExt;

use serde_json::{Value, json};

use super::settings::{Kind, Range, SETTINGS, Setting};
use super::*;

/// What every value that a test makes up contains.
const CANARY: &str = "CANARY";

/// How a value reaches the settings.
#[derive(Clone, Copy, Debug)]
enum Carrier {
    File,
    Variable,
    Flag,
}
const CARRIERS: [Carrier; 3] = [Carrier::File, Carrier::Variable, Carrier::Flag];

/// Settings of a file's text, variables and flags.
fn read(toml: &str, variables: &[(String, OsString)], flags: &Flags) -> Result<Config, SettingsError> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("respoked.toml");
    std::fs::write(&file, toml).unwrap();
    let variables = variables.iter().map(|(name, value)| (OsString::from(name), value.clone()));
    Config::read(Some(&file), variables, flags)
}

fn load(toml: &str) -> Result<Config, SettingsError> {
    read(toml, &[], &[])
}

/// What a setting needs beside it to make sense, as a config file says it.
fn beside(name: &str) -> &'static str {
    match name {
        "nats_credentials" | "nats_nkey" | "nats_root_cert" => {
            "database = 'postgres://a@b.test/c'\nnats = 'nats://n.test'\n"
        }
        "nats" | "database_direct" => "database = 'postgres://a@b.test/c'\n",
        "tls_cert" => "tls_key = 'k'\n",
        "tls_key" => "tls_cert = 'c'\n",
        "turn_secret" => "turn_uris = 'turn:a.test'\n",
        "turn_uris" => "turn_secret = 's'\n",
        "heartbeat_interval_secs" => "heartbeat_timeout_secs = 86400\n",
        "heartbeat_timeout_secs" => "heartbeat_interval_secs = 1\n",
        _ => "",
    }
}

/// `value` for one setting, as text, beside what that setting needs to make sense.
fn give(carrier: Carrier, name: &'static str, value: impl Into<OsString>) -> Result<Config, SettingsError> {
    let (value, beside) = (value.into(), beside(name));
    match carrier {
        Carrier::File => {
            // The JSON of a text is the TOML of it.
            let literal = json!(value.into_string().unwrap());
            load(&format!("{beside}{name} = {literal}"))
        }
        Carrier::Variable => read(beside, &[(environment::variable(name), value)], &[]),
        Carrier::Flag => read(beside, &[], &[(name, value)]),
    }
}

/// What came of a setting, secrets included.
fn value_of(config: &Config, name: &str) -> Value {
    let hidden = |hidden: &Option<Hidden>| json!(hidden.as_ref().map(|hidden| hidden.0.expose()));
    match name {
        "admin_password" => hidden(&config.admin_password),
        "turn_secret" => hidden(&config.turn_secret),
        _ => serde_json::to_value(config).unwrap()[name].clone(),
    }
}

fn numbers() -> impl Iterator<Item = (&'static str, Range)> {
    SETTINGS.iter().filter_map(|setting| match setting.kind {
        Kind::Number(range) => Some((setting.name, range)),
        _ => None,
    })
}

/// The rows of that table of docs/configuration.md which begins with `heading`, as cells.
fn documented(heading: &str) -> Vec<Vec<String>> {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/configuration.md");
    let page = std::fs::read_to_string(page).unwrap();
    let rows = page.lines().skip_while(|line| *line != heading).skip(2).take_while(|line| line.starts_with("| "));
    rows.map(|row| row.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect()).collect()
}

/// Holds the rows of the page against those of the table, and shows the first that differs.
fn assert_same<T: PartialEq + std::fmt::Debug>(documented: &[T], expected: &[T]) {
    for (row, expected) in documented.iter().zip(expected) {
        assert_eq!(row, expected, "a row of docs/configuration.md");
    }
    assert_eq!(documented.len(), expected.len(), "rows of docs/configuration.md");
}

/// A default as it is told to people: as a value of the config file without quotes.
fn told(default: &Value) -> String {
    match default {
        Value::Null => "none".to_owned(),
        Value::Array(items) if items.is_empty() => "none".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[test]
fn docs_configuration_md_has_every_setting_with_its_default() {
    let defaults = serde_json::to_value(Config::default()).unwrap();
    let expected = SETTINGS.iter().map(|setting| {
        let default = match (setting.name, &defaults[setting.name]) {
            // Where nothing is set, the first start or an answer has something better.
            ("admin_username", Value::Null) => "`admin`".to_owned(),
            ("admin_password", Value::Null) => "made up".to_owned(),
            ("stun_uris", Value::Array(none)) if none.is_empty() => "this host".to_owned(),
            (_, text @ Value::String(_)) => format!("`{}`", told(text)),
            (_, other) => told(other),
        };
        (format!("`{}`", setting.name), default)
    });
    let rows = documented("| key | default | what it does |");
    let rows = rows.iter().flat_map(|row| row[0].split(", ").map(|name| (name.to_owned(), row[1].clone())));
    assert_same(&rows.collect::<Vec<_>>(), &expected.collect::<Vec<_>>());
}

#[test]
fn docs_configuration_md_has_every_range() {
    let cells = |(name, Range { min, max, unit })| {
        vec![format!("`{name}`"), format!("{min}"), format!("{max}"), format!("{unit}")]
    };
    assert_same(&documented("| key | from | to | of |"), &numbers().map(cells).collect::<Vec<_>>());
}

#[test]
fn the_help_says_defaults_as_they_are() {
    let defaults = serde_json::to_value(Config::default()).unwrap();
    let mut found = 0;
    for setting in SETTINGS {
        if let Some((_, rest)) = setting.help.split_once("[default: ") {
            found += 1;
            assert_eq!(rest.strip_suffix(']'), Some(told(&defaults[setting.name]).as_str()), "{}", setting.name);
        }
    }
    assert!(found > 5, "{found}");
}

#[test]
fn text_is_taken_to_the_letter_from_everywhere() {
    let texts = SETTINGS.iter().filter(|setting| matches!(setting.kind, Kind::Text | Kind::Secret | Kind::Path));
    // A file is opened, and `log` has a form of its own.
    for setting in texts.filter(|setting| !setting.name.ends_with("_file") && setting.name != "log") {
        for text in [
            "0123456789",
            "0012345678",
            "+491234567890",
            "-12345678",
            "1_000_000",
            "3.1415926535",
            "1e500000",
            "0x1234567",
            "\"quoted\"",
            "'quoted'",
            "[a, b, c]",
            "{b = 1, c}",
            "true or not",
            "nan and inf",
            "1979-05-27",
            "a=b#c;d,e",
            "$HOME ${HOME} %h",
            "back\\slash\\n",
            "\u{feff}Grüße aus Köln\u{202e}",
        ] {
            for carrier in CARRIERS {
                let config = give(carrier, setting.name, text).unwrap();
                assert_eq!(value_of(&config, setting.name), text, "{} {carrier:?}", setting.name);
            }
        }
        // A user name may have no spaces at its ends; nothing takes them off elsewhere.
        for carrier in CARRIERS.into_iter().filter(|_| setting.name != "admin_username") {
            let text = " 12345678\t ";
            assert_eq!(value_of(&give(carrier, setting.name, text).unwrap(), setting.name), text, "{}", setting.name);
        }
    }
    assert_eq!(give(Carrier::Variable, "admin_username", "1001").unwrap().admin_username.unwrap(), "1001");
}

#[test]
fn a_secret_file_holds_a_secret_to_the_letter() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("secret");
    for secret in SETTINGS.iter().filter(|setting| matches!(setting.kind, Kind::Secret)) {
        let name = secret.name;
        let file = Setting::named(&format!("{name}_file")).expect("every secret may stand in a file").name;
        for (held, secret) in [
            ("0123456789\n", "0123456789"),
            ("\u{feff}3.1415926535\r\n", "3.1415926535"),
            (" \"quoted\" \n\n", " \"quoted\" "),
        ] {
            std::fs::write(&path, held).unwrap();
            for carrier in CARRIERS {
                let uris = [("turn_uris", "turn:a.test".into())];
                let config = match (name, carrier) {
                    ("turn_secret", Carrier::Flag) => {
                        read("", &[], &[&uris[..], &[("turn_secret_file", path.clone().into())]].concat())
                    }
                    ("turn_secret", Carrier::Variable) => {
                        read("", &[("RESPOKED_TURN_SECRET_FILE".into(), path.clone().into())], &uris)
                    }
                    ("turn_secret", Carrier::File) => {
                        read(&format!("turn_secret_file = '{}'", path.display()), &[], &uris)
                    }
                    _ => give(carrier, file, &path),
                };
                assert_eq!(value_of(&config.unwrap(), name), secret, "{name} {carrier:?}");
            }
        }
    }
}

#[test]
fn a_path_may_have_any_bytes_and_is_printed_so_that_it_reads_back() {
    let bytes = b"/tmp/caf\xe9".to_vec();
    for setting in SETTINGS.iter().filter(|setting| matches!(setting.kind, Kind::Path)) {
        for carrier in [Carrier::Variable, Carrier::Flag] {
            let config = give(carrier, setting.name, OsString::from_vec(bytes.clone()));
            if setting.name.ends_with("_file") {
                // It was looked for, under whatever name.
                assert!(config.unwrap_err().to_string().contains("cannot be read"));
                continue;
            }
            let printed = value_of(&config.unwrap(), setting.name);
            assert_eq!(printed, json!(bytes), "{}", setting.name);
            let beside = beside(setting.name);
            let again = load(&format!("{beside}{} = {printed}", setting.name)).unwrap();
            assert_eq!(value_of(&again, setting.name), printed);
        }
    }
}

#[test]
fn every_number_has_a_range_and_is_refused_outside_it() {
    let defaults = serde_json::to_value(Config::default()).unwrap();
    for (name, value) in defaults.as_object().unwrap() {
        let is_number = matches!(Setting::named(name).unwrap().kind, Kind::Number(_));
        assert_eq!(value.is_number(), is_number, "{name}");
    }
    for (name, Range { min, max, .. }) in numbers() {
        assert!((min..=max).contains(&defaults[name].as_u64().unwrap()), "the default of {name}");
        for carrier in CARRIERS {
            let give = |value: &str| match carrier {
                Carrier::File => {
                    let beside = match name {
                        "heartbeat_interval_secs" => "heartbeat_timeout_secs = 86400\n",
                        "heartbeat_timeout_secs" => "heartbeat_interval_secs = 1\n",
                        _ => "",
                    };
                    load(&format!("{beside}{name} = {value}"))
                }
                Carrier::Variable | Carrier::Flag => give(carrier, name, value),
            };
            for taken in [min, max] {
                assert_eq!(value_of(&give(&taken.to_string()).unwrap(), name), taken, "{name} {carrier:?}");
            }
            let below = min.checked_sub(1).map(|below| below.to_string());
            let wrong = [
                (max + 1).to_string(),
                i64::MAX.to_string(),
                u64::MAX.to_string(),
                format!("{}0", u64::MAX),
                "-1".to_owned(),
                format!("-{max}"),
                "1.5".to_owned(),
                format!("{min}.0"),
                "1e1".to_owned(),
                "nan".to_owned(),
                "true".to_owned(),
                "[1]".to_owned(),
                "'1'".to_owned(),
            ];
            for value in wrong.into_iter().chain(below) {
                let error = give(&value).unwrap_err().to_string();
                let said = format!("from {min} to {max}");
                assert!(error.contains(name) && error.contains(&said), "{name} {carrier:?} {value}: {error}");
            }
        }
        for text in ["+1", "0x1", "1_0", "ten", "1,0", "١"] {
            assert!(give(Carrier::Variable, name, text).is_err(), "{name} {text}");
        }
        assert!(give(Carrier::Variable, name, format!(" {min}\n")).is_ok(), "nobody means the spaces around a number");
    }
}

#[test]
fn a_switch_is_true_or_false() {
    for (text, on) in [("true", true), ("false", false), (" true\n", true)] {
        assert_eq!(give(Carrier::Variable, "jsonp_polling", text).unwrap().jsonp_polling, on);
    }
    for wrong in ["yes", "1", "0", "TRUE", "tru", "\"true\""] {
        let error = give(Carrier::Variable, "jsonp_polling", wrong).unwrap_err().to_string();
        assert!(error.contains("RESPOKED_JSONP_POLLING") && error.contains("true or false"), "{error}");
    }
    assert!(load("jsonp_polling = 'true'").is_err() && load("jsonp_polling = 1").is_err());
}

/// Whatever is wrong with a value, and whichever setting it is for: a secret may stand in another's place.
#[test]
fn no_error_shows_a_value() {
    let mut tried = 0;
    let mut hold = |read: Result<Config, SettingsError>, about: &str| {
        let shown = match read {
            Ok(config) => format!("{config:?} {}", serde_json::to_string(&config).unwrap()),
            Err(error) => format!("{error} {error:?}"),
        };
        tried += 1;
        assert!(!shown.contains(CANARY), "{about}: {shown}");
    };
    for setting in SETTINGS {
        let name = setting.name;
        let secret = matches!(setting.kind, Kind::Secret);
        // What is no secret and is right is shown; so only what is wrong is tried there.
        let wrong_texts = |text: &str| secret || !matches!(setting.kind, Kind::Text | Kind::Path) || text.is_empty();
        for text in [
            CANARY.to_owned(),
            format!("{CANARY} "),
            format!("\"{CANARY}"),
            format!("turn:{CANARY} x"),
            format!("postgres://jo:{CANARY}@db/x"),
            format!("http://jo:{CANARY}@host"),
            CANARY.repeat(1_000),
        ] {
            for carrier in CARRIERS.into_iter().filter(|_| wrong_texts(&text)) {
                hold(give(carrier, name, &text), name);
            }
        }
        let bytes = OsString::from_vec(format!("{CANARY}\u{1}").into_bytes().into_iter().chain([0xff]).collect());
        if !matches!(setting.kind, Kind::Path) {
            hold(give(Carrier::Variable, name, bytes.clone()), name);
            hold(give(Carrier::Flag, name, bytes), name);
        }
        for line in [
            format!("{name} = {CANARY}"),
            format!("{name} = \"{CANARY}"),
            format!("{name} = '{CANARY}\nlisten = 1"),
            format!("{name} = \"{CANARY}\\q\""),
            format!("{name} = \"{CANARY}\" {CANARY}"),
            format!("{name} = '{CANARY}'\n{name} = '{CANARY}'"),
            format!("{name} = ['{CANARY}', 1]"),
            format!("{name} = {{ {CANARY} = '{CANARY}' }}"),
            format!("{name}.{CANARY} = '{CANARY}'"),
            format!("[{name}]\n{CANARY} = '{CANARY}'"),
            format!("{name}: {CANARY}"),
            format!("{name} {CANARY}"),
            format!("{name} =\n{CANARY}"),
            format!("{name} = \"\"\"\n{CANARY}"),
            format!("{name} = 3.1415926535{CANARY}"),
            format!("\u{feff}{name} = '{CANARY}"),
        ] {
            hold(load(&line), &line);
        }
    }
    for number in ["3.1415926535", "+491234567890", "true", "1979-05-27", "18446744073709551617", "[31415]"] {
        for name in ["admin_password", "turn_secret"] {
            let error = load(&format!("{name} = {number}")).unwrap_err().to_string();
            assert!(error.contains(name) && error.contains("in quotes") && !error.contains(number), "{error}");
        }
    }
    let folder = tempfile::tempdir().unwrap();
    for held in [CANARY.repeat(20_000).into_bytes(), format!("{CANARY}\u{0}").into_bytes(), b"CANARY\xff".to_vec()] {
        let path = folder.path().join("file");
        std::fs::write(&path, held).unwrap();
        for name in ["admin_password_file", "turn_secret_file"] {
            hold(give(Carrier::Variable, name, &path), name);
        }
        hold(Config::read(Some(&path), std::iter::empty(), &[]), "as config file");
    }
    assert!(tried > 1_000, "{tried}");
}

#[test]
fn a_slip_in_a_file_is_found_by_its_line() {
    let error = load("# a comment\n\nadmin_password = \"x").unwrap_err().to_string();
    assert!(error.contains("line 3") && error.contains("admin_password must be text"), "{error}");
    let error = load("drain_secs = 1\ndrain_secs = 2").unwrap_err().to_string();
    assert!(error.contains("line 2") && error.contains("already"), "{error}");
    assert_eq!(load("\u{feff}drain_secs = 3").unwrap().drain_secs, 3, "editors put such a mark there");
    let absent = Config::read(Some(Path::new("/nowhere.toml")), std::iter::empty(), &[]).unwrap_err().to_string();
    assert!(absent.contains("/nowhere.toml"), "{absent}");
    let endless = Config::read(Some(Path::new("/dev/zero")), std::iter::empty(), &[]).unwrap_err().to_string();
    assert!(endless.contains("too long"), "{endless}");
}

#[test]
fn an_unknown_name_is_an_error_that_knows_a_better_one() {
    let error = load("lisen = '127.0.0.1:1'").unwrap_err().to_string();
    assert!(error.contains("lisen in ") && error.contains("is listen meant?"), "{error}");
    let variable = |name: &str| read("", &[(name.to_owned(), "x".into())], &[]).unwrap_err().to_string();
    let error = variable("RESPOKED_ADMIN_PASWORD");
    assert!(error.contains("RESPOKED_ADMIN_PASWORD is no setting; is RESPOKED_ADMIN_PASSWORD meant?"), "{error}");
    for link in ["RESPOKED_PORT", "RESPOKED_WEB_SERVICE_HOST", "RESPOKED_WEB_PORT_80_TCP_ADDR"] {
        let error = variable(link);
        assert!(error.starts_with(&format!("{link} is no setting; if Kubernetes")), "{error}");
    }
    assert!(variable("RESPOKED_NONSENSE").ends_with("RESPOKED_NONSENSE is no setting"));
    assert!(variable("respoked_lisen").contains("RESPOKED_LISTEN"));
}

#[test]
fn what_is_no_setting_is_passed_over() {
    for (name, value) in [
        ("RESPOKED_CONFIG", "x"),
        ("RESPOKED_SERVER", "x"),
        ("RESPOKED_ADMIN_TOKEN", "x"),
        ("RESPOKED_PORT", "tcp://10.0.0.11:8080"),
        ("RESPOKED_SERVICE_HOST", "10.0.0.11"),
        ("RESPOKE", "x"),
        ("PATH", "x"),
    ] {
        assert!(read("", &[(name.to_owned(), value.into())], &[]).is_ok(), "{name}");
    }
    let name = OsString::from_vec(b"RESPOKED_\xff".to_vec());
    assert!(Config::read(None, [(name, OsString::new())].into_iter(), &[]).is_err());
    let variables = [("RESPOKED_LOG".to_owned(), "warn".into()), ("respoked_log".to_owned(), "debug".into())];
    assert!(read("", &variables, &[]).unwrap_err().to_string().contains("both given"));
}

#[test]
fn a_first_admin_that_breaks_a_rule_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("password");
    std::fs::write(&path, "short\n").unwrap();
    let error = give(Carrier::Variable, "admin_password_file", &path).unwrap_err().to_string();
    assert!(error.contains("admin_password_file") && error.contains(&path.display().to_string()), "{error}");
    assert!(error.contains("at least 8 characters"), "{error}");
    let error = give(Carrier::Variable, "admin_password", "short").unwrap_err().to_string();
    assert!(error.contains("admin_password must have at least 8 characters"), "{error}");
    let error = give(Carrier::Flag, "admin_username", " jo").unwrap_err().to_string();
    assert!(error.contains("admin_username must be 1 to 128"), "{error}");
}

#[test]
fn a_log_filter_is_checked_with_the_settings() {
    assert_eq!(give(Carrier::Variable, "log", "info,respoked=debug").unwrap().log, "info,respoked=debug");
    let error = give(Carrier::Variable, "log", "a=b=c").unwrap_err().to_string();
    assert!(error.contains("log must be a level"), "{error}");
}

#[test]
fn settings_that_differ_are_named_secrets_too() {
    let one = load("turn_uris = 'turn:a.test'\nturn_secret = 'a'\nlog = 'warn'").unwrap();
    let other = load("turn_uris = 'turn:a.test'\nturn_secret = 'b'\ndrain_secs = 3").unwrap();
    assert_eq!(one.differing(&other), ["log", "drain_secs", "turn_secret"]);
    assert!(one.differing(&one.clone()).is_empty());
}
