//! `respoked config check`: reads the settings as `serve` does, and prints them without secrets.

use std::fmt::Write as _;

use clap::Subcommand;
use serde_json::Value;

use super::super::failure::Failure;
use super::super::output::Output;
use super::super::serve::Serve;

/// `respoked config`.
#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Command {
    /// Print the settings in effect, secrets excepted, as a config file.
    Check(Box<Serve>),
}

impl Command {
    pub(super) fn run(&self, out: &mut Output<'_>) -> Result<(), Failure> {
        let Self::Check(serve) = self;
        let settings = serde_json::to_value(serve.settings()?)?;
        if out.wants_json() {
            return out.json(&settings);
        }
        out.writer().write_all(toml(&settings).as_bytes())?;
        Ok(())
    }
}

/// The settings as TOML. They are flat, and the JSON of a number, a text, or a list of texts is the TOML of it, but for one
/// character.
fn toml(settings: &Value) -> String {
    let mut text = String::new();
    let from_file = |name: &str| !settings[format!("{name}_file")].is_null();
    for (name, value) in settings.as_object().into_iter().flatten() {
        let _ = match value {
            Value::Null => writeln!(text, "# {name} is not set"),
            // Read back, the placeholder would become the secret.
            Value::String(hidden) if hidden == respoke_wire::body::REDACTED => writeln!(text, "# {name} is set"),
            // Read back beside its file, it would be given twice.
            Value::String(_) if from_file(name) => writeln!(text, "# {name} is set"),
            value => writeln!(text, "{name} = {}", value.to_string().replace('\u{7f}', "\\u007f")),
        };
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn what_is_printed_can_be_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let (file, again) = (folder.path().join("a.toml"), folder.path().join("b.toml"));
        std::fs::write(
            &file,
            "admin_password = 'canary-canary'\ntrusted_proxies = ['10.0.0.0/8']\nadmin_username = 'a=\"b\\c'\n",
        )
        .unwrap();
        let data: String = (1..=0x7f_u8).map(char::from).chain("é\u{85}\u{2028}\u{feff}".chars()).collect();
        let settings = Config::load(Some(&file), &[("data", data.into())]).unwrap();
        let text = toml(&serde_json::to_value(&settings).unwrap());
        assert!(!text.contains("canary") && text.contains("# admin_password is set"), "{text}");
        std::fs::write(&again, &text).unwrap();
        let read = Config::load(Some(&again), &[]).unwrap();
        assert_eq!((&read.admin_username, &read.data), (&settings.admin_username, &settings.data));
        assert_eq!(read.differing(&settings), ["admin_password"], "a secret is not printed");
    }

    #[test]
    fn an_address_of_a_database_can_be_read_back_or_is_not_printed() {
        let folder = tempfile::tempdir().unwrap();
        let (file, again) = (folder.path().join("a.toml"), folder.path().join("b.toml"));
        let address = folder.path().join("address");
        std::fs::write(&address, "postgres://u@h/d").unwrap();
        for (setting, printed) in [
            ("database = 'postgres://u@h/d'".to_owned(), "database = \"postgres://u@h:5432/d?sslmode=require\""),
            (
                "database = 'postgres://u@h/d?sslrootcert=/r&channel_binding=require'".to_owned(),
                "database = \"postgres://u@h:5432/d?sslmode=verify-ca&sslrootcert=%2Fr&channel_binding=require\"",
            ),
            ("database = 'postgres://u:canary@h/d'".to_owned(), "# database is set"),
            (format!("database_file = {address:?}"), "# database is set"),
        ] {
            std::fs::write(&file, setting).unwrap();
            let settings = Config::load(Some(&file), &[]).unwrap();
            let text = toml(&serde_json::to_value(&settings).unwrap());
            assert!(text.lines().any(|line| line == printed) && !text.contains("canary"), "{text}");
            std::fs::write(&again, &text).unwrap();
            Config::load(Some(&again), &[]).unwrap();
        }
    }
}
