//! Commands that are an HTTP client of a running server. They decide nothing: each is one request, or a few.

mod apps;
mod audit;
mod bans;
mod client;
mod given;
mod login;
mod nodes;
mod roles;
mod secrets;
mod sessions;
mod tokens;

use clap::Subcommand;

use super::common::Common;
use super::failure::Failure;
use super::output::Output;
pub(super) use client::Client;

/// Commands that talk to a running server.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Sign in to a server and save the login for later commands.
    Login(login::Login),
    /// Sign out of a server and forget the login.
    Logout,
    /// One-use tokens.
    #[command(subcommand)]
    Token(tokens::Command),
    /// Apps.
    #[command(subcommand)]
    App(apps::Command),
    /// Roles of an app.
    #[command(subcommand)]
    Role(roles::Command),
    /// App-Secrets.
    #[command(subcommand)]
    Secret(secrets::Command),
    /// Sessions.
    #[command(subcommand)]
    Session(sessions::Command),
    /// Banned endpoints.
    #[command(subcommand)]
    Ban(bans::Command),
    /// The nodes that serve.
    #[command(subcommand)]
    Node(nodes::Command),
    /// Read the audit log, newest first.
    Audit(audit::Audit),
}

impl Command {
    pub(super) fn run(&self, common: &Common, out: &mut Output<'_>) -> Result<(), Failure> {
        let client = Client::new(common)?;
        match self {
            Self::Login(login) => login.run(&client, out),
            Self::Logout => login::logout(&client, out),
            Self::Token(command) => command.run(&client, out),
            Self::App(command) => command.run(&client, out),
            Self::Role(command) => command.run(&client, out),
            Self::Secret(command) => command.run(&client, out),
            Self::Session(command) => command.run(&client, out),
            Self::Ban(command) => command.run(&client, out),
            Self::Node(command) => command.run(&client, out),
            Self::Audit(audit) => audit.run(&client, out),
        }
    }
}
