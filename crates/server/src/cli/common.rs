//! The flags that any command takes: which server, with which Admin-Token, and whether the answer is JSON.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;
use respoke_core::secret::Secret;

use super::failure::Failure;
use crate::config;

/// Flags that any command may carry.
#[derive(Debug, Args)]
#[command(next_help_heading = "For commands that talk to a running server")]
pub(super) struct Common {
    #[arg(
        long,
        global = true,
        value_name = "URL",
        help = "Where the server is, as `RESPOKED_SERVER` says too [default: http://127.0.0.1:8080]"
    )]
    pub(super) server: Option<String>,
    /// An Admin-Token to use instead of the login saved by `respoked login`.
    ///
    /// Other users of this machine can read command lines: the environment variable `RESPOKED_ADMIN_TOKEN` is the better
    /// place for it.
    #[arg(long, global = true, value_name = "TOKEN", value_parser = token)]
    pub(super) admin_token: Option<Secret>,
    /// PEM file of the authority that signed the server's certificate, if it is none of the public ones.
    #[arg(long, global = true, value_name = "FILE")]
    pub(super) ca: Option<PathBuf>,
    /// Print JSON: the answer on standard output, an error on standard error.
    #[arg(long, global = true, help_heading = "For all commands")]
    pub(super) json: bool,
}

impl Common {
    /// Adds what the environment says and no flag does.
    pub(super) fn complete(&mut self) -> Result<(), Failure> {
        let variable = |name: &str| match config::value_of(name).map(OsString::into_string) {
            None => Ok(None),
            Some(Ok(text)) => Ok(Some(text)),
            Some(Err(_)) => Err(Failure::Usage(format!("{name} must be UTF-8 text"))),
        };
        if self.server.is_none() {
            self.server = variable("RESPOKED_SERVER")?;
        }
        match &self.admin_token {
            Some(token) if token.expose().is_empty() => Err(Failure::Usage("--admin-token holds no token".into())),
            Some(_) => Ok(()),
            None => {
                let token = variable("RESPOKED_ADMIN_TOKEN")?.map(|text| stripped(&text));
                self.admin_token = token.filter(|token| !token.expose().is_empty());
                Ok(())
            }
        }
    }
}

/// A token as it was copied: without the line end, spaces and byte order mark that came along, which no token has.
pub(super) fn stripped(text: &str) -> Secret {
    Secret::new(text.trim_matches(|char: char| char.is_whitespace() || char == '\u{feff}').to_owned())
}

#[expect(clippy::unnecessary_wraps, reason = "clap's parsers may fail; this one must not, or its value would be shown")]
pub(super) fn token(text: &str) -> Result<Secret, std::convert::Infallible> {
    Ok(stripped(text))
}
