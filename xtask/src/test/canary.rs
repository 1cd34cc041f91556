//! The last suite: every secret the others used is looked for in everything they left behind: logs, files, and the rows of
//! databases in PostgreSQL, which are files there, each value as it is.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};

const NOTES: &str = "canaries.txt";
/// How files end that hold the rows of a database in PostgreSQL.
const ROWS: &str = ".rows";
/// What a PostgreSQL server leaves that ran for the suites.
pub(super) const SERVER_LOG: &str = "postgres.log";
/// Shorter notes would be found by chance.
const LENGTH_MIN: usize = 12;

/// Notes secrets of a suite; `home` is its folder inside the canary folder.
pub(super) fn note(home: &Path, secrets: &[&str]) -> anyhow::Result<()> {
    let folder = home.parent().context("a suite's folder lies in the canary folder")?;
    let mut file = std::fs::OpenOptions::new().create(true).append(true).open(folder.join(NOTES))?;
    for secret in secrets {
        writeln!(file, "{secret}")?;
    }
    Ok(())
}

/// Searches every file below `folder` for every noted secret, and for the word that made-up ones contain.
pub(super) fn search(folder: &Path) -> anyhow::Result<()> {
    let notes = std::fs::read_to_string(folder.join(NOTES)).context("run the other suites first")?;
    let mut secrets: BTreeSet<&[u8]> =
        notes.lines().filter(|line| line.len() >= LENGTH_MIN).map(str::as_bytes).collect();
    ensure!(secrets.len() > 100, "only {} secrets were noted: the suites did not run", secrets.len());
    secrets.insert(b"CANARY");
    let mut files = Vec::new();
    walk(folder, &mut files)?;
    let kinds = |suffix: &str| files.iter().filter(|path| path.to_string_lossy().ends_with(suffix)).count();
    ensure!(kinds(".log") > 0 && kinds(".db") > 0, "there are no logs or databases to search");
    ensure!(kinds(ROWS) > 0 || kinds(SERVER_LOG) == 0, "PostgreSQL ran, and no rows of it are there to search");

    let searcher = Searcher::new(&secrets);
    let mut found = Vec::new();
    let mut bytes = 0;
    for path in &files {
        let content = std::fs::read(path)?;
        bytes += content.len();
        if let Some(at) = searcher.find(&content) {
            found.push(format!("{} at byte {at}", path.strip_prefix(folder).unwrap_or(path).display()));
        }
    }
    ensure!(found.is_empty(), "secrets were found in:\n  {}", found.join("\n  "));
    println!("{} secrets, {} files, {} MB: none found", secrets.len(), files.len(), bytes / 1_000_000);
    Ok(())
}

fn walk(folder: &Path, files: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            walk(&path, files)?;
        } else if path.file_name().is_some_and(|name| name != NOTES) {
            files.push(path);
        }
    }
    Ok(())
}

/// Finds any of many texts in one pass, upper and lower case alike: by their first bytes, then whole.
struct Searcher {
    by_prefix: std::collections::HashMap<[u8; 8], Vec<Vec<u8>>>,
    /// Whether a secret begins with a prefix of this place: most do not.
    may_begin: Vec<bool>,
    short: Vec<Vec<u8>>,
}

/// So many places, as a power of two, that few of them are a secret's.
const PLACES_LOG2: u32 = 20;

/// The place of a prefix, found faster than its secrets.
fn place(prefix: [u8; 8]) -> usize {
    // The multiplier is 2^64 by the golden ratio, which spreads what is alike.
    let spread = u64::from_le_bytes(prefix).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    usize::try_from(spread >> (u64::BITS - PLACES_LOG2)).unwrap_or_default()
}

impl Searcher {
    fn new(secrets: &BTreeSet<&[u8]>) -> Self {
        let (by_prefix, may_begin) = (std::collections::HashMap::new(), vec![false; 1 << PLACES_LOG2]);
        let mut searcher = Self { by_prefix, may_begin, short: Vec::new() };
        for secret in secrets {
            let lower = secret.to_ascii_lowercase();
            match lower.first_chunk::<8>() {
                Some(prefix) => {
                    searcher.may_begin[place(*prefix)] = true;
                    searcher.by_prefix.entry(*prefix).or_default().push(lower);
                }
                None => searcher.short.push(lower),
            }
        }
        searcher
    }

    fn find(&self, content: &[u8]) -> Option<usize> {
        let lower = content.to_ascii_lowercase();
        (0..lower.len()).find(|at| {
            let rest = &lower[*at..];
            let prefix = rest.first_chunk::<8>().filter(|prefix| self.may_begin[place(**prefix)]);
            let long = prefix.and_then(|prefix| self.by_prefix.get(prefix));
            long.is_some_and(|secrets| secrets.iter().any(|secret| rest.starts_with(secret)))
                || self.short.iter().any(|secret| rest.starts_with(secret))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder as suites leave it, with these rows of a database.
    fn left(rows: Option<&[u8]>) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let secrets: Vec<String> = (0..200).map(|number| format!("secret-number-{number}")).collect();
        let secrets: Vec<&str> = secrets.iter().map(String::as_str).collect();
        note(&folder.path().join("suite"), &secrets).unwrap();
        for (name, held) in [("a.log", "a line"), ("a.db", "a page"), (SERVER_LOG, "LOG: ready")] {
            std::fs::write(folder.path().join(name), held).unwrap();
        }
        if let Some(rows) = rows {
            std::fs::write(folder.path().join(format!("a{ROWS}")), rows).unwrap();
        }
        folder
    }

    #[test]
    fn a_secret_in_a_row_is_found_and_rows_that_are_missing_are_missed() {
        let search = |rows| search(left(rows).path()).map_err(|error| format!("{error:#}"));
        assert_eq!(search(Some(b"PGCOPY\n\xff\r\n\0\0\0\0\x05hello")), Ok(()));
        let found = search(Some(b"PGCOPY\n\xff\r\n\0\0\0\0\x11secret-number-117\xff\xff")).unwrap_err();
        assert!(found.contains("a.rows at byte 15"), "{found}");
        let missed = search(None).unwrap_err();
        assert!(missed.contains("no rows of it"), "{missed}");
    }

    #[test]
    fn a_secret_is_found_wherever_it_stands() {
        let searcher = Searcher::new(&BTreeSet::from([b"7C5F10A4-3F1E".as_slice(), b"CANARY"]));
        assert_eq!(searcher.find(b"token 7c5f10a4-3f1e."), Some(6));
        assert_eq!(searcher.find(b"\x00\xffCANARY-x"), Some(2));
        assert_eq!(searcher.find(b"token 7c5f10a4-3f1f."), None);
    }
}
