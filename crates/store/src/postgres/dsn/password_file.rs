//! A file of passwords, as libpq reads it: `host:port:database:user:password` a line, `*` for any, `\` before a `:` or `\`
//! that belongs to a field, `#` before a remark. The first line that fits counts.

use std::io::{ErrorKind, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use respoke_core::secret::Secret;
use zeroize::Zeroizing;

use super::error::DsnError;

/// Bytes of such a file at most: thousands of lines.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Where libpq looks for sockets if nothing is said, here and in Debian: its lines say `localhost` for them.
const USUAL_SOCKETS: [&str; 3] = ["/var/run/postgresql", "/run/postgresql", "/tmp"];

/// What a password is looked for.
pub(super) struct Asked<'a> {
    pub(super) host: &'a str,
    pub(super) port: u16,
    pub(super) database: &'a str,
    pub(super) user: &'a str,
}

/// The file's text; none, if it is not there. libpq passes over one that others may read; here that is an error, because
/// whoever made it believes that it is used, and that nobody sees it.
pub(super) fn read(path: &Path) -> Result<Option<Zeroizing<String>>, DsnError> {
    let unreadable = |kind| DsnError::File { path: path.to_owned(), kind };
    let file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(None),
        Err(error) => return Err(unreadable(error.kind())),
    };
    // Of the open file, which nobody can exchange any more.
    let about = file.metadata().map_err(|error| unreadable(error.kind()))?;
    if !about.is_file() {
        return Err(unreadable(ErrorKind::InvalidInput));
    }
    if about.mode() & 0o077 != 0 {
        return Err(DsnError::Permissions(path.to_owned()));
    }
    if about.len() > FILE_BYTES_MAX {
        return Err(DsnError::FileSize(path.to_owned()));
    }
    let mut text = Zeroizing::new(String::with_capacity(usize::try_from(about.len()).unwrap_or(0)));
    file.take(FILE_BYTES_MAX).read_to_string(&mut text).map_err(|error| unreadable(error.kind()))?;
    Ok(Some(text))
}

/// The password of the first line that fits.
pub(super) fn find(lines: &str, asked: &Asked<'_>) -> Option<Secret> {
    let lines = lines.lines().filter(|line| !line.starts_with('#'));
    lines.into_iter().find_map(|line| {
        let (host, rest) = field(line)?;
        let (port, rest) = field(rest)?;
        let (database, rest) = field(rest)?;
        let (user, password) = field(rest)?;
        let socket = USUAL_SOCKETS.contains(&asked.host) && host == "localhost";
        let fits = (socket || is(&host, asked.host))
            && is(&port, &asked.port.to_string())
            && is(&database, asked.database)
            && is(&user, asked.user);
        // An empty one would be sent as none.
        (fits && !password.is_empty()).then(|| Secret::new(unescaped(password)))
    })
}

fn is(field: &str, asked: &str) -> bool {
    field == "*" || field == asked
}

/// The text up to the next `:` that is not escaped, unescaped, and what follows it. A lone `*` that was escaped is told apart
/// by nobody, as in libpq.
fn field(line: &str) -> Option<(String, &str)> {
    let mut escaped = false;
    let end = line.find(|letter| {
        let ends = letter == ':' && !escaped;
        escaped = letter == '\\' && !escaped;
        ends
    })?;
    Some((unescaped(&line[..end]), &line[end + 1..]))
}

fn unescaped(text: &str) -> String {
    let mut letters = text.chars();
    let mut whole = String::with_capacity(text.len());
    while let Some(letter) = letters.next() {
        // One at the very end stands for itself.
        whole.push(if letter == '\\' { letters.next().unwrap_or(letter) } else { letter });
    }
    whole
}
