//! Which of several places is meant where a setting is given.

use super::*;

#[test]
fn flags_win_over_the_environment_and_that_over_the_file() {
    let variables = [("RESPOKED_LISTEN".to_owned(), "127.0.0.1:2".into()), ("RESPOKED_LOG".to_owned(), "warn".into())];
    let flags = [("listen", "127.0.0.1:3".into())];
    let config = read("listen = '127.0.0.1:1'\nlog = 'debug'\ndrain_secs = 3", &variables, &flags).unwrap();
    assert_eq!((config.listen.port(), config.log.as_str(), config.drain_secs), (3, "warn", 3));
}

#[test]
fn a_flag_that_says_where_everything_is_kept_is_meant_alone() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("address");
    std::fs::write(&file, "postgres://u@in-the-file/d\n").unwrap();
    let flags: [(&str, OsString); 3] = [
        ("data", "by-flag".into()),
        ("database", "postgres://u@by-flag/d".into()),
        ("database_file", file.clone().into()),
    ];
    let elsewhere: [(&str, OsString); 4] = [
        ("data", "elsewhere".into()),
        ("database", "postgres://u@elsewhere/d".into()),
        ("database", "no address".into()),
        ("database_file", "absent".into()),
    ];
    let place =
        |config: Config| config.database.map_or(config.data.display().to_string(), |address| address.0.to_string());
    for (flag, meant) in flags.into_iter().zip(["by-flag", "@by-flag:", "@in-the-file:"]) {
        for (name, value) in &elsewhere {
            let by_variable = read("", &[(environment::variable(name), value.clone())], std::slice::from_ref(&flag));
            let by_file = read(&format!("{name} = {value:?}"), &[], std::slice::from_ref(&flag));
            for config in [by_variable, by_file] {
                let place = place(config.unwrap());
                assert!(place.contains(meant), "{flag:?} beside {name}: {place}");
            }
        }
    }
    let variables =
        [("RESPOKED_DATA".to_owned(), "d".into()), ("RESPOKED_DATABASE".to_owned(), "postgres://u@h/d".into())];
    assert!(place(read("", &variables, &[]).unwrap()).contains("u@h"), "without a flag the address is meant");
}

#[test]
fn a_wrong_flag_is_a_slip_on_the_command_line_and_a_wrong_variable_is_none() {
    assert!(give(Carrier::Flag, "drain_secs", "x").unwrap_err().by_flag);
    assert!(!give(Carrier::Variable, "drain_secs", "x").unwrap_err().by_flag);
}

#[test]
fn an_empty_variable_is_as_none_whatever_it_sets() {
    for setting in SETTINGS {
        let config = read("", &[(environment::variable(setting.name), OsString::new())], &[]).unwrap();
        let default = value_of(&Config::default(), setting.name);
        assert_eq!(value_of(&config, setting.name), default, "{}", setting.name);
        if !matches!(setting.kind, Kind::List) {
            for carrier in [Carrier::File, Carrier::Flag] {
                let error = give(carrier, setting.name, "").unwrap_err().to_string();
                assert!(error.contains(setting.name), "{error}");
            }
        }
    }
    let config = read("drain_secs = 3", &[("RESPOKED_DRAIN_SECS".into(), OsString::new())], &[]).unwrap();
    assert_eq!(config.drain_secs, 3, "it takes nothing back that the file says");
    let config = read("trusted_proxies = '::1'", &[], &[("trusted_proxies", "".into())]).unwrap();
    assert!(config.trusted_proxies.is_empty());
}
