//! Why a node cannot talk over NATS. No text here holds a secret.

use std::path::PathBuf;

use thiserror::Error;

/// Why a node cannot talk over NATS.
#[derive(Debug, Error)]
pub enum NatsError {
    /// An address is none. It is not shown, for it may hold a password.
    #[error("address {number} of the NATS servers cannot be used: {why}")]
    Address {
        /// Which of them, from 1 on.
        number: usize,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A file cannot be read.
    #[error("the file {} cannot be read", path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        cause: std::io::Error,
    },
    /// A file holds something else.
    #[error("the file {} holds no {what}", path.display())]
    NotInFile {
        /// Which.
        path: PathBuf,
        /// What it should hold.
        what: &'static str,
    },
    /// No server answers.
    #[error("no NATS server at {servers} answers as it should")]
    Unreachable {
        /// Their addresses.
        servers: String,
        /// What came of the last attempt.
        #[source]
        cause: Option<async_nats::ConnectError>,
    },
    /// A server lets nobody in without credentials, or not with these.
    #[error("the NATS server at {servers} refuses {}", if *with_credentials { "these credentials" } else { "whoever has no credentials" })]
    Refused {
        /// The addresses of all of them.
        servers: String,
        /// Whether any were given.
        with_credentials: bool,
    },
    /// What was asked of a server is not permitted there.
    #[error("the NATS server at {servers} does not permit what a node does: {said}")]
    NotPermitted {
        /// The addresses of all of them.
        servers: String,
        /// What it said.
        said: String,
    },
    /// A server takes too short messages.
    #[error(
        "the NATS server at {servers} takes messages of {max} bytes at most, and {needed} are needed (its max_payload)"
    )]
    ShortMessages {
        /// The addresses of all of them.
        servers: String,
        /// How long they may be there.
        max: usize,
        /// How long they have to be.
        needed: usize,
    },
}
