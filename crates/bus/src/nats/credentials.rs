//! As whom a node signs in to NATS.
//!
//! The file is read for each connection: whoever replaces it, because what is in it ends, need not restart a node.

use std::path::{Path, PathBuf};

use async_nats::{Auth, AuthError, ConnectOptions};
use nkeys::{KeyPair, KeyPairType};
use respoke_core::secret::Secret;

use super::error::NatsError;
use super::files::read;

/// As whom a node signs in to NATS.
#[derive(Clone, Debug)]
pub enum NatsCredentials {
    /// A file of credentials, as `nsc` writes it: a JWT and the seed of its key.
    File(PathBuf),
    /// A file with the seed of a user's key alone.
    NkeySeed(PathBuf),
}

/// What is in a file.
struct Held {
    jwt: Option<String>,
    key: KeyPair,
}

impl NatsCredentials {
    /// Options by which a connection signs in. What is wrong with the file is said now.
    pub(super) fn connect_options(&self) -> Result<ConnectOptions, NatsError> {
        self.held()?;
        let credentials = self.clone();
        Ok(ConnectOptions::with_auth_callback(move |nonce| {
            let held = credentials.held().map_err(AuthError::new);
            std::future::ready(held.and_then(|held| held.sign(&nonce)))
        }))
    }

    /// What is in the file. What is wrong with it is not said by libraries, whose texts may hold some of it.
    fn held(&self) -> Result<Held, NatsError> {
        match self {
            Self::File(path) => {
                let text = Secret::new(read(path)?);
                let held = blocks(text.expose()).and_then(|(jwt, seed)| Some((jwt.to_owned(), of_user(seed)?)));
                let (jwt, key) = held.ok_or_else(|| not_in_file(path, "credentials of NATS"))?;
                Ok(Held { jwt: Some(jwt), key })
            }
            Self::NkeySeed(path) => {
                let text = Secret::new(read(path)?);
                let key = of_user(text.expose().trim()).ok_or_else(|| not_in_file(path, "seed of a user's nkey"))?;
                Ok(Held { jwt: None, key })
            }
        }
    }
}

impl Held {
    /// What a server is shown that wants this signed.
    fn sign(self, nonce: &[u8]) -> Result<Auth, AuthError> {
        let mut auth = Auth::new();
        auth.signature = Some(self.key.sign(nonce).map_err(|_| AuthError::new("the key does not sign"))?);
        if self.jwt.is_none() {
            auth.nkey = Some(self.key.public_key());
        }
        auth.jwt = self.jwt;
        Ok(auth)
    }
}

pub(super) fn not_in_file(path: &Path, what: &'static str) -> NatsError {
    NatsError::NotInFile { path: path.to_owned(), what }
}

/// The key of a user, if this is its seed.
fn of_user(seed: &str) -> Option<KeyPair> {
    KeyPair::from_seed(seed).ok().filter(|key| key.key_pair_type() == KeyPairType::User)
}

/// The JWT and the seed: the only line of each of two blocks.
fn blocks(text: &str) -> Option<(&str, &str)> {
    let mut lines = text.lines().map(str::trim);
    let mut block = |name: &str| {
        lines.find(|line| is_mark(line, "BEGIN", name))?;
        let held = lines.next()?;
        lines.next().filter(|line| is_mark(line, "END", name)).map(|_| held)
    };
    Some((block("USER JWT")?, block("USER NKEY SEED")?))
}

/// Whether a line is a mark, such as `-----BEGIN NATS USER JWT-----`.
fn is_mark(line: &str, what: &str, name: &str) -> bool {
    let marked = line.strip_prefix("-----").and_then(|line| line.strip_suffix("-----"));
    marked.is_some_and(|mark| mark.trim_matches('-').starts_with(what) && mark.trim_matches('-').ends_with(name))
}
