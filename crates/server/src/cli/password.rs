//! Reads a password: from a file, from a terminal without showing it, or from standard input.

use std::io::{BufRead, IsTerminal, Read, Write};
use std::path::PathBuf;

use anyhow::Context as _;
use respoke_core::secret::Secret;
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

use super::failure::Failure;
use crate::config::{self, SECRET_LEN_MAX};

/// Where a password comes from. There is no flag for the password itself: other users can read command lines.
#[derive(Debug, clap::Args)]
pub(super) struct PasswordSource {
    /// File whose text is the password. Without it, the password is asked for on a terminal, or else read from
    /// standard input.
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
}

/// Whether a typed password is asked for a second time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Typed {
    /// It is checked by somebody.
    Once,
    /// It is a new one, and a slip would lock its owner out.
    Twice,
}

impl PasswordSource {
    /// The password.
    pub(super) fn read(&self, prompt: &str, typed: Typed) -> Result<Secret, Failure> {
        if let Some(path) = &self.password_file {
            return Ok(config::secret_from_file(path)?);
        }
        let stdin = std::io::stdin();
        if !stdin.is_terminal() {
            return Ok(line(&mut stdin.lock())?);
        }
        let password = ask(prompt)?;
        if typed == Typed::Twice && ask("The same again: ")?.expose() != password.expose() {
            return Err(Failure::because("the two passwords differ"));
        }
        Ok(password)
    }
}

/// The first line of `input`.
fn line(input: &mut impl BufRead) -> anyhow::Result<Secret> {
    let mut text = String::new();
    input.take(SECRET_LEN_MAX).read_line(&mut text).context("the password cannot be read from standard input")?;
    let line = Secret::new(text);
    let password = Secret::new(config::secret_of_text(line.expose()).to_owned());
    anyhow::ensure!(!password.expose().is_empty(), "no password was given");
    Ok(password)
}

/// Asks on the terminal, where what is typed is not shown.
fn ask(prompt: &str) -> anyhow::Result<Secret> {
    let mut stderr = std::io::stderr().lock();
    write!(stderr, "{prompt}")?;
    stderr.flush()?;
    let stdin = std::io::stdin();
    let password = {
        let _silence = Silence::begin()?;
        line(&mut stdin.lock())
    };
    // The line break that was typed is not shown either.
    writeln!(stderr)?;
    password
}

/// While this lives, the terminal does not show what is typed.
struct Silence(Termios);

impl Silence {
    fn begin() -> anyhow::Result<Self> {
        let stdin = std::io::stdin();
        let before = tcgetattr(&stdin).context("the terminal cannot be asked")?;
        let mut silent = before.clone();
        silent.local_modes.remove(LocalModes::ECHO);
        tcsetattr(&stdin, OptionalActions::Flush, &silent).context("the terminal cannot be silenced")?;
        Ok(Self(before))
    }
}

impl Drop for Silence {
    fn drop(&mut self) {
        let _ = tcsetattr(std::io::stdin(), OptionalActions::Flush, &self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_one_line() {
        assert_eq!(line(&mut &b" two words \r\nmore"[..]).unwrap().expose(), " two words ");
        assert_eq!(line(&mut &b"\xef\xbb\xbfword\r\n"[..]).unwrap().expose(), "word");
        assert!(line(&mut &b"\n"[..]).is_err());
        assert!(line(&mut &b""[..]).is_err());
    }
}
