//! Secret settings, and secrets that stand in files.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use anyhow::Context as _;
use respoke_core::secret::Secret;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Bytes of the longest secret file: far more than any secret, and a path to something endless ends.
pub(crate) const SECRET_LEN_MAX: u64 = 64 * 1024;

/// A secret setting. Shows as `<redacted>` wherever settings are printed.
#[derive(Clone, PartialEq, Eq)]
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
        String::deserialize(deserializer).map(|text| Self(Secret::new(text)))
    }
}

/// The secret that a file holds.
///
/// # Errors
///
/// Names the file, and nothing of what is in it.
pub(crate) fn from_file(path: &Path) -> anyhow::Result<Secret> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(SECRET_LEN_MAX + 1).read_to_end(&mut bytes))
        .with_context(|| format!("{} cannot be read", path.display()))?;
    anyhow::ensure!(bytes.len() as u64 <= SECRET_LEN_MAX, "{} is too long to hold a secret", path.display());
    let whole = String::from_utf8(bytes).ok().map(Secret::new);
    let whole = whole.with_context(|| format!("{} does not hold UTF-8 text", path.display()))?;
    let text = of_text(whole.expose());
    anyhow::ensure!(!text.is_empty(), "{} is empty", path.display());
    Ok(Secret::new(text.to_owned()))
}

/// The secret in the text of a file or pipe: what editors put around it unasked is not part of it. That is a byte order
/// mark at the start and line ends at the end; spaces are somebody's choice and stay.
pub(crate) fn of_text(text: &str) -> &str {
    let mut text = text.strip_prefix('\u{feff}').unwrap_or(text);
    while let Some(rest) = text.strip_suffix('\n') {
        text = rest.strip_suffix('\r').unwrap_or(rest);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_editor_puts_around_a_secret_is_not_part_of_it() {
        for (held, secret) in [
            ("s", "s"),
            ("s\n", "s"),
            ("s\r\n", "s"),
            ("s\r\n\n\r\n", "s"),
            ("\u{feff}s", "s"),
            ("\u{feff}s\r\n", "s"),
            ("\u{feff}\u{feff}s", "\u{feff}s"),
            (" s\t \n", " s\t "),
            ("s\r", "s\r"),
            ("s\u{feff}", "s\u{feff}"),
            ("one\r\ntwo\n", "one\r\ntwo"),
            ("\u{feff}\r\n", ""),
        ] {
            assert_eq!(of_text(held), secret, "{held:?}");
        }
    }

    #[test]
    fn a_file_that_holds_no_secret_is_named_and_not_shown() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        let long = b"CANARY".repeat(20_000);
        for (held, said) in [
            (&b""[..], "is empty"),
            (b"\xef\xbb\xbf\r\n", "is empty"),
            (b"CANARY\xff", "UTF-8"),
            (b"\xff\xfeC\0A\0N\0A\0R\0Y\0", "UTF-8"),
            (&long, "too long"),
        ] {
            std::fs::write(&path, held).unwrap();
            let error = format!("{:#}", from_file(&path).unwrap_err());
            assert!(error.contains(said) && error.contains("secret") && !error.contains("CANARY"), "{error}");
        }
        assert!(format!("{:#}", from_file(Path::new("/dev/zero")).unwrap_err()).contains("too long"));
        assert!(from_file(folder.path()).is_err(), "a folder");
        std::fs::write(&path, "\u{feff} correct horse \r\n").unwrap();
        assert_eq!(from_file(&path).unwrap().expose(), " correct horse ");
    }
}
