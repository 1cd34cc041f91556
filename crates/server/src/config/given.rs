//! What was given for the settings, by whom, and how it is read.
//!
//! A value of the environment or of a flag is text and is read as its setting asks: a text setting takes it to the
//! letter. A config file says itself what is text and what is a number.
//!
//! Invariant: no error holds a value. The secret that was meant for one setting may stand in another's place.

use std::collections::{BTreeMap, btree_map};
use std::ffi::OsString;
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::net::SocketAddr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use serde::de::value::{MapAccessDeserializer, SeqDeserializer};
use serde::de::{self, DeserializeSeed, IntoDeserializer, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::Config;
use super::database_url::DatabaseUrl;
use super::environment;
use super::settings::{Kind, Range, Setting};

/// What says where everything is kept.
pub(crate) const PLACES: [&str; 3] = ["data", "database", "database_file"];

/// Bytes of the longest config file: far more than all settings take, and a path to something endless ends.
const FILE_LEN_MAX: u64 = 1024 * 1024;

/// Why the settings cannot be used.
#[derive(Debug)]
pub struct SettingsError {
    /// What is wrong; empty while only the setting's kind says it.
    text: String,
    /// Whether the command line is what is wrong.
    pub(crate) by_flag: bool,
}

impl SettingsError {
    pub(super) fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), by_flag: false }
    }

    /// The setting's kind says what is wrong.
    fn of_kind() -> Self {
        Self::new("")
    }

    /// Says which setting it is about, and what is asked of it.
    fn about(self, given: &Given) -> Self {
        let text = if self.text.is_empty() { given.setting.asked() } else { self.text };
        let by_flag = matches!(given.carrier, Carrier::Flag);
        Self { text: format!("{} ({}) {text}", given.setting.name, given.carrier), by_flag }
    }
}

impl fmt::Display for SettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for SettingsError {}

/// The library's own texts hold the value; ours say what is asked.
impl de::Error for SettingsError {
    fn custom<T: fmt::Display>(text: T) -> Self {
        Self::new(text.to_string())
    }

    fn invalid_type(_: de::Unexpected<'_>, _: &dyn de::Expected) -> Self {
        Self::of_kind()
    }

    fn invalid_value(_: de::Unexpected<'_>, _: &dyn de::Expected) -> Self {
        Self::of_kind()
    }

    fn invalid_length(_: usize, _: &dyn de::Expected) -> Self {
        Self::of_kind()
    }

    fn unknown_variant(_: &str, _: &'static [&'static str]) -> Self {
        Self::of_kind()
    }
}

/// Where a value was given.
#[derive(Clone, Debug)]
enum Carrier {
    File(PathBuf),
    Variable(String),
    Flag,
}

impl fmt::Display for Carrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "in {}", path.display()),
            Self::Variable(name) => f.write_str(name),
            Self::Flag => f.write_str("given by flag"),
        }
    }
}

/// A value as it was given.
enum Raw {
    Text(OsString),
    Toml(toml::Value),
}

/// A value, the setting it is for, and where it was given. Prints nowhere: it may be a secret.
struct Given {
    setting: &'static Setting,
    raw: Raw,
    carrier: Carrier,
}

/// The values that are in force, by setting.
#[derive(Default)]
pub(super) struct Values(BTreeMap<&'static str, Given>);

impl Values {
    /// Takes what a config file says.
    pub(super) fn take_file(&mut self, path: &Path) -> Result<(), SettingsError> {
        let unreadable = |why: &str| SettingsError::new(format!("the config file {} {why}", path.display()));
        let mut text = String::new();
        File::open(path)
            .and_then(|file| file.take(FILE_LEN_MAX + 1).read_to_string(&mut text))
            .map_err(|error| unreadable(&format!("cannot be read: {error}")))?;
        if text.len() as u64 > FILE_LEN_MAX {
            return Err(unreadable("is too long to hold settings"));
        }
        let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
        let table = text.parse::<toml::Table>().map_err(|error| not_toml(path, text, &error))?;
        for (key, value) in table {
            let Some(setting) = Setting::named(&key) else {
                let like = Setting::like(&key).map(|setting| setting.name.to_owned());
                return Err(unknown(&format!("{key} in {}", path.display()), like));
            };
            self.put(Given { setting, raw: Raw::Toml(value), carrier: Carrier::File(path.to_owned()) });
        }
        Ok(())
    }

    /// Takes the variables of the environment that are settings. An empty one is as none: that is how a variable is
    /// taken back in files of variables and in containers.
    pub(super) fn take_variables(&mut self, variables: &[(String, OsString)]) -> Result<(), SettingsError> {
        let mut taken = BTreeMap::new();
        for (variable, value) in variables {
            let name = variable[environment::PREFIX.len()..].to_ascii_lowercase();
            let Some(setting) = Setting::named(&name) else {
                let like = Setting::like(&name).map(|setting| environment::variable(setting.name));
                return Err(match like {
                    None if environment::is_like_a_service_link(variable) => SettingsError::new(format!(
                        "{variable} is no setting; if Kubernetes made it for another service, enableServiceLinks: false \
                         keeps it away"
                    )),
                    like => unknown(variable, like),
                });
            };
            if let Some(other) = taken.insert(setting.name, variable) {
                return Err(SettingsError::new(format!("{other} and {variable} are both given; one is enough")));
            }
            if !value.is_empty() {
                let carrier = Carrier::Variable(variable.clone());
                self.put(Given { setting, raw: Raw::Text(value.clone()), carrier });
            }
        }
        Ok(())
    }

    /// Takes what flags say, by setting name. One that says where everything is kept is meant, whichever way the environment and
    /// the file say it.
    pub(super) fn take_flags(&mut self, flags: &[(&'static str, OsString)]) {
        if flags.iter().any(|(name, _)| PLACES.contains(name)) {
            self.0.retain(|name, _| !PLACES.contains(name));
        }
        for (name, value) in flags {
            if let Some(setting) = Setting::named(name) {
                self.put(Given { setting, raw: Raw::Text(value.clone()), carrier: Carrier::Flag });
            }
        }
    }

    fn put(&mut self, given: Given) {
        self.0.insert(given.setting.name, given);
    }

    /// The settings, with the defaults for what was not given.
    pub(super) fn read(&self) -> Result<Config, SettingsError> {
        let entries = Entries { rest: self.0.values(), value: None };
        Config::deserialize(MapAccessDeserializer::new(entries))
    }
}

fn unknown(key: &str, like: Option<String>) -> SettingsError {
    let advice = like.map_or_else(String::new, |like| format!("; is {like} meant?"));
    SettingsError::new(format!("{key} is no setting{advice}"))
}

/// Says where a config file cannot be read. The library's text would quote the line, which may hold a secret; and a
/// number too long for it counts as a slip in the file, so the setting of the line says what it takes.
fn not_toml(path: &Path, text: &str, error: &toml::de::Error) -> SettingsError {
    let at = error.span().map_or(0, |span| span.start).min(text.len());
    let before = text.get(..at).unwrap_or_default();
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    let line = text[line_start..].lines().next().unwrap_or_default();
    let setting = line.split_once('=').and_then(|(key, _)| Setting::named(key.trim().trim_matches(['"', '\''])));
    let what = match setting {
        _ if error.message().starts_with("duplicate key") => "a key that stands there already".to_owned(),
        Some(setting) => format!("not TOML: {} {}", setting.name, setting.asked()),
        None => "not TOML".to_owned(),
    };
    SettingsError::new(format!("the config file {}, line {}: {what}", path.display(), before.matches('\n').count() + 1))
}

/// The values as the fields of [`Config`], one after the other.
struct Entries<'a> {
    rest: btree_map::Values<'a, &'static str, Given>,
    value: Option<&'a Given>,
}

impl<'de> MapAccess<'de> for Entries<'_> {
    type Error = SettingsError;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, SettingsError> {
        self.value = self.rest.next();
        self.value.map(|given| seed.deserialize(given.setting.name.into_deserializer())).transpose()
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, SettingsError> {
        let given = self.value.take().ok_or_else(SettingsError::of_kind)?;
        seed.deserialize(given).map_err(|error| error.about(given))
    }
}

impl Given {
    /// Text to the letter.
    fn text(&self) -> Result<&str, SettingsError> {
        let text = match &self.raw {
            Raw::Text(text) => text.to_str().ok_or_else(|| SettingsError::new("must be UTF-8 text"))?,
            Raw::Toml(toml::Value::String(text)) => text,
            Raw::Toml(_) => return Err(SettingsError::of_kind()),
        };
        if text.is_empty() { Err(SettingsError::new("must not be empty")) } else { Ok(text) }
    }

    /// What is no text: nobody means the spaces around it.
    fn word(&self) -> Result<&str, SettingsError> {
        self.text().map(str::trim)
    }

    fn path(&self) -> Result<Vec<u8>, SettingsError> {
        match &self.raw {
            Raw::Text(path) if !path.is_empty() => Ok(path.as_bytes().to_vec()),
            // As `config check` prints a path that no text can hold.
            Raw::Toml(toml::Value::Array(bytes)) if !bytes.is_empty() => {
                let byte = |value: &toml::Value| value.as_integer().and_then(|byte| u8::try_from(byte).ok());
                bytes.iter().map(byte).collect::<Option<_>>().ok_or_else(SettingsError::of_kind)
            }
            Raw::Text(_) | Raw::Toml(_) => self.text().map(|text| text.as_bytes().to_vec()),
        }
    }

    fn list(&self) -> Result<Vec<String>, SettingsError> {
        match &self.raw {
            Raw::Toml(toml::Value::Array(items)) => {
                let item = |value: &toml::Value| value.as_str().map(str::to_owned);
                items.iter().map(item).collect::<Option<_>>().ok_or_else(SettingsError::of_kind)
            }
            Raw::Text(text) if text.is_empty() => Ok(vec![]),
            Raw::Toml(toml::Value::String(text)) if text.is_empty() => Ok(vec![]),
            Raw::Text(_) | Raw::Toml(_) => {
                let items = self.text()?.split(',').map(str::trim).filter(|item| !item.is_empty());
                Ok(items.map(str::to_owned).collect())
            }
        }
    }

    fn number(&self, range: Range) -> Result<u64, SettingsError> {
        let number = match &self.raw {
            Raw::Toml(toml::Value::Integer(number)) => u64::try_from(*number).ok(),
            Raw::Toml(_) => None,
            // Digits alone: the library takes a plus too.
            Raw::Text(_) => Some(self.word()?)
                .filter(|word| word.bytes().all(|byte| byte.is_ascii_digit()))
                .and_then(|word| word.parse().ok()),
        };
        number.filter(|number| (range.min..=range.max).contains(number)).ok_or_else(SettingsError::of_kind)
    }

    /// An address of a database.
    fn database(&self) -> Result<&str, SettingsError> {
        let word = self.word()?;
        let address = DatabaseUrl::parse(word);
        if matches!(self.carrier, Carrier::Flag) && address.is_ok_and(|address| address.0.has_password()) {
            let variable = environment::variable(self.setting.name);
            return Err(SettingsError::new(format!(
                "holds a password, which others can read on a command line: put the address into {variable} or a config file, or \
                 the password into ~/.pgpass or a file that PGPASSFILE names",
            )));
        }
        Ok(word)
    }

    fn switch(&self) -> Result<bool, SettingsError> {
        match &self.raw {
            Raw::Toml(toml::Value::Boolean(on)) => Ok(*on),
            Raw::Toml(_) => Err(SettingsError::of_kind()),
            Raw::Text(_) => self.word()?.parse().map_err(|_| SettingsError::of_kind()),
        }
    }
}

impl<'de> Deserializer<'de> for &Given {
    type Error = SettingsError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, SettingsError> {
        match self.setting.kind {
            Kind::Text | Kind::Secret => visitor.visit_str(self.text()?),
            Kind::Path => visitor.visit_byte_buf(self.path()?),
            Kind::Address => {
                let word = self.word()?;
                // Looked at here, so that a refusal is in our words.
                word.parse::<SocketAddr>().map_err(|_| SettingsError::of_kind())?;
                visitor.visit_str(word)
            }
            Kind::Database => visitor.visit_str(self.database()?),
            Kind::Word(_) | Kind::Url => visitor.visit_str(self.word()?),
            Kind::Switch => visitor.visit_bool(self.switch()?),
            Kind::List => visitor.visit_seq(SeqDeserializer::new(self.list()?.into_iter())),
            Kind::Number(range) => visitor.visit_u64(self.number(range)?),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, SettingsError> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, SettingsError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, SettingsError> {
        visitor.visit_enum(self.word()?.into_deserializer())
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple
        tuple_struct map struct identifier ignored_any
    }
}

/// Paths of any bytes, which serde knows as text alone.
pub(super) mod path {
    use std::ffi::OsString;
    use std::fmt;
    use std::os::unix::ffi::{OsStrExt, OsStringExt};
    use std::path::{Path, PathBuf};

    use serde::de::Visitor;
    use serde::{Deserializer, Serialize, Serializer};

    struct Bytes;

    impl Visitor<'_> for Bytes {
        type Value = PathBuf;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a path")
        }

        fn visit_byte_buf<E>(self, bytes: Vec<u8>) -> Result<PathBuf, E> {
            Ok(PathBuf::from(OsString::from_vec(bytes)))
        }
    }

    pub(in crate::config) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<PathBuf, D::Error> {
        deserializer.deserialize_byte_buf(Bytes)
    }

    /// As text if it is some, else as its bytes.
    pub(in crate::config) fn serialize<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
        match path.to_str() {
            Some(text) => serializer.serialize_str(text),
            None => path.as_os_str().as_bytes().serialize(serializer),
        }
    }
}

/// The same for paths that need not be given.
pub(super) mod optional_path {
    use std::path::PathBuf;

    use serde::{Deserializer, Serializer};

    pub(in crate::config) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<PathBuf>, D::Error> {
        super::path::deserialize(deserializer).map(Some)
    }

    #[expect(clippy::ref_option, reason = "serde hands the field over so")]
    pub(in crate::config) fn serialize<S: Serializer>(
        path: &Option<PathBuf>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match path {
            Some(path) => super::path::serialize(path, serializer),
            None => serializer.serialize_none(),
        }
    }
}
