//! The command line: starting the server, administering a running one, and looking after its data folder.
//!
//! Three kinds of commands. `serve` is the server. Those of `remote` are an HTTP client of a running server and hold
//! no logic of their own. Those of `folder` work on the data folder itself, most of them beside a running server.
//!
//! Invariant: what a command found goes to the writer it was given, in words or with `--json` as JSON; what went wrong
//! goes to standard error and into the exit code.

mod common;
mod failure;
mod fields;
mod folder;
mod hang_up;
mod output;
mod password;
mod plain;
mod remote;
mod serve;
mod standard_output;
mod usage;

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use common::Common;
use failure::Failure;
use output::Output;

const AFTER_HELP: &str = "\
Without a command, the server is started, as by `respoked serve` and with all its flags.

Exit codes:
  0  done
  1  a check failed, the server refused, or something went wrong
  2  the command line was not understood
  3  the server could not be reached, or gave no answer
  4  a login is needed, or was not accepted";

/// A self-hosted server for the Respoke API.
#[derive(Debug, Parser)]
#[command(name = "respoked", version, after_help = AFTER_HELP, max_term_width = 100)]
struct Cli {
    #[command(flatten)]
    common: Common,
    /// For when no command is given.
    #[command(flatten)]
    serve: serve::Serve,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start the server.
    Serve(Box<serve::Serve>),
    #[command(flatten)]
    Remote(remote::Command),
    #[command(flatten)]
    Folder(folder::Command),
    #[command(about = "Print the OpenAPI document of the API")]
    Openapi,
    /// Print a completion script for a shell.
    Completions {
        /// Which shell.
        shell: clap_complete::Shell,
    },
}

/// Reads the command line and does what it says.
#[must_use]
pub fn main() -> ExitCode {
    let words: Vec<_> = std::env::args_os().collect();
    let cli = match Cli::of(&words) {
        Ok(cli) => cli,
        Err(error) => return ExitCode::from(usage::tell(error, &words)),
    };
    let json = cli.common.json;
    let mut stdout = std::io::stdout().lock();
    let done = cli.run(&mut stdout).and_then(|()| Ok(stdout.flush()?));
    let Err(failure) = done else { return ExitCode::SUCCESS };
    let mut stderr = std::io::stderr().lock();
    // With standard error gone too, the exit code has to say it alone.
    let _ = failure.print(json, &mut stderr);
    ExitCode::from(failure.exit_code())
}

impl Cli {
    /// Reads a command line.
    fn of(words: &[OsString]) -> Result<Self, clap::Error> {
        Self::from_arg_matches(&Self::command_shown().try_get_matches_from(words)?)
    }

    /// The command line as its help shows it: what `serve` takes is told there.
    fn command_shown() -> clap::Command {
        let shown = ["server", "admin_token", "ca", "json"];
        Self::command().mut_args(|arg| {
            let hidden = !shown.contains(&arg.get_id().as_str());
            arg.hide(hidden)
        })
    }

    fn run(mut self, writer: &mut impl Write) -> Result<(), Failure> {
        let mut out = Output::new(writer, self.common.json);
        if self.command.is_some() && !self.serve.is_empty() {
            return Err(Failure::Usage("settings of the server stand after the command, if it takes them".into()));
        }
        match self.command {
            None => self.serve.run(&mut out),
            Some(Command::Serve(serve)) => serve.run(&mut out),
            Some(Command::Remote(command)) => {
                self.common.complete()?;
                command.run(&self.common, &mut out)
            }
            Some(Command::Folder(command)) => {
                self.common.complete()?;
                command.run(&self.common, &mut out)
            }
            Some(Command::Openapi) => out.line(crate::description::openapi_json()),
            Some(Command::Completions { shell }) => {
                // The generator would panic if it could not write.
                let mut script = Vec::new();
                clap_complete::generate(shell, &mut Self::command_shown(), "respoked", &mut script);
                Ok(out.writer().write_all(&script)?)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_is_read() {
        for line in [
            "",
            "--config f --listen 127.0.0.1:0 --data serve --json",
            "serve --listen 127.0.0.1:0 --data d --tls-cert c --tls-key k --trusted-proxies 10.0.0.0/8,::1 --log debug",
            "login --username jo --password-file p",
            "login --code 123456",
            "logout --server https://example.com",
            "token create --app a --endpoint jo --role-name member --ttl 60 --replace --end-sessions",
            "token inspect X",
            "token revoke X --json",
            "token list --endpoint jo",
            "app create --name a --development-mode true --limit-app 5:10 --limit-endpoint off",
            "app update a --permitted-domains example.com,*.example.org",
            "app delete a",
            "role create --app a --name member --json-file -",
            "role update r --json-file p",
            "secret create --app a --name backend",
            "secret roll s --app a --overlap 7d",
            "secret revoke s --keep-sessions",
            "session end-all --role r --issued-before 2026-01-01T00:00:00Z",
            "session end-all --all",
            "ban add jo --reason spam --until 2026-01-01T00:00:00Z",
            "ban lift jo",
            "audit --action token.reuse --limit 5",
            "admin create jo --role developer --data d",
            "admin role jo --role read-only",
            "admin delete-account --yes",
            "backup f --force",
            "restore f --verify",
            "migrate --database postgres://owner@h/d --grant-to respoked",
            "doctor --server http://x",
            "config check --listen 1.2.3.4:5",
            "openapi",
            "completions bash",
        ] {
            let words = std::iter::once("respoked").chain(line.split_whitespace());
            assert!(Cli::try_parse_from(words).is_ok(), "{line}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_a_usage_error() {
        for line in [
            "token create --role r",
            "token create --endpoint jo --role r --role-name n",
            "token create --endpoint jo --role r --end-sessions",
            "session end-all",
            "session end-all --all --endpoint jo",
            "secret roll s --overlap 3h",
            "app create --name a --limit-app many",
            "admin role jo --role root",
            "restore",
            "admin list --data d --database postgres://h/d",
            "serve --data d --database postgres://h/d",
            "--database postgres://h/d --data d",
            "serve --database-file f --data d",
            "config check --database postgres://h/d --database-file f",
            "frobnicate",
        ] {
            let words = std::iter::once("respoked").chain(line.split_whitespace());
            assert_eq!(Cli::try_parse_from(words).err().map(|error| error.exit_code()), Some(2), "{line}");
        }
    }

    #[test]
    fn a_token_given_does_not_print() {
        let cli = Cli::try_parse_from(["respoked", "--admin-token", "canary", "token", "inspect", "canary"]).unwrap();
        assert!(!format!("{cli:?}").contains("canary"));
    }

    #[test]
    fn completions_name_the_commands() {
        let mut out = Vec::new();
        Cli::try_parse_from(["respoked", "completions", "bash"]).unwrap().run(&mut out).unwrap();
        assert!(String::from_utf8(out).unwrap().contains("end-all"));
    }
}
