//! Why an address of a database cannot be used.

use std::path::PathBuf;

use thiserror::Error;

/// Why an address is none. No variant holds text of it but names of options that libpq has.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum DsnError {
    /// It begins otherwise.
    #[error("the address of the database does not begin with postgres:// or postgresql://")]
    Scheme,
    /// Something is not percent-encoded UTF-8.
    #[error("the {0} in the address of the database is not percent-encoded text")]
    Encoding(&'static str),
    /// More than one `@` stands for itself, or one behind a `/`.
    #[error(
        "the address of the database has an @ where none can be (a @ in a user's name or a password is %40, a / is %2F)"
    )]
    StrayAt,
    /// What follows the `?` is not `name=value`, joined by `&`.
    #[error("the options in the address of the database are not name=value")]
    NotAnOption,
    /// libpq knows no such option. Which one, is not said: it may be a piece of a password with a `?` in it.
    #[error(
        "the address of the database has, behind its ?, an option that PostgreSQL does not have (a ? or / in a password is %3F or %2F)"
    )]
    Unknown,
    /// libpq knows it, and respoked does not do it.
    #[error("the address of the database has the option {0}, which respoked does not support")]
    Unsupported(&'static str),
    /// An option's value is none that it can have.
    #[error("the option {option} in the address of the database must be {expected}")]
    Value {
        /// Its name.
        option: &'static str,
        /// What it can be.
        expected: &'static str,
    },
    /// There is nothing to connect to.
    #[error("the address of the database names no host; a socket's folder is named by ?host=/run/postgresql")]
    NoHost,
    /// A socket's folder stands beside hosts.
    #[error("the address of the database names a socket's folder and a host; respoked goes to one or the other")]
    SocketAndHost,
    /// A file that is named cannot be read.
    #[error("{path} cannot be read", path = .path.display())]
    File {
        /// Which one.
        path: PathBuf,
        /// Why. Not a source, so that errors can be compared.
        kind: std::io::ErrorKind,
    },
    /// It holds passwords, and others may read it.
    #[error("{path} holds passwords and others than its owner may read it: its mode must be 0600 or less", path = .0.display())]
    Permissions(PathBuf),
    /// It is larger than such files are.
    #[error("{path} is too large", path = .0.display())]
    FileSize(PathBuf),
    /// Hosts have different passwords, or one has none.
    #[error("{path} has not the same password for each host of the database: respoked uses one for all of them", path = .0.display())]
    SeveralPasswords(PathBuf),
    /// It holds no certificate that can be trusted.
    #[error("{source_of_trust} holds no certificate")]
    NoCertificate {
        /// Which file, or what stands for the system's.
        source_of_trust: String,
    },
}
