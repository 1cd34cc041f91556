//! `respoked ban`: bans endpoints, lists bans and lifts them.

use clap::Subcommand;
use respoke_wire::body::bans::{BanView, CreateBan};
use respoke_wire::body::ends::InApp;
use respoke_wire::body::lists::ListRequest;

use super::super::failure::Failure;
use super::super::fields::{body, field, shown};
use super::super::output::Output;
use super::client::{Client, query, segment};
use super::given::AppFlag;

/// `respoked ban`.
#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Command {
    /// Ban an endpoint. Its tokens and sessions are over, and none is minted or redeemed for it.
    Add {
        /// The endpoint.
        endpoint: String,
        #[command(flatten)]
        app: AppFlag,
        /// Why, in words for the endpoint's user.
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
        /// Until when, as 2026-01-02T03:04:05Z; for ever without this.
        #[arg(long, value_name = "TIME")]
        until: Option<String>,
    },
    /// List the bans, by endpoint.
    List {
        #[command(flatten)]
        app: AppFlag,
    },
    /// Lift a ban. What it ended stays ended.
    Lift {
        /// The endpoint.
        endpoint: String,
        #[command(flatten)]
        app: AppFlag,
    },
}

const COLUMNS: &[(&str, &str)] =
    shown!(BanView { "ENDPOINT": endpoint_id, "SINCE": banned_at, "UNTIL": expires_at, "REASON": reason });

impl Command {
    pub(super) fn run(&self, client: &Client, out: &mut Output<'_>) -> Result<(), Failure> {
        match self {
            Self::Add { endpoint, app, reason, until } => {
                let body = body!(CreateBan { reason: reason, expires_at: until, app_id: app.app });
                let ban = client.put(&path(endpoint), &body)?.body;
                out.object(&ban, shown!(BanView { "Banned": endpoint_id, "Until": expires_at, "Reason": reason }))
            }
            Self::List { app } => {
                let query = query([(field!(ListRequest, app_id), app.app.as_ref())]);
                out.list(&client.list("/v1/bans", &query, None)?, COLUMNS)
            }
            Self::Lift { endpoint, app } => {
                let answer = client.delete(&path(endpoint), &query([(field!(InApp, app_id), app.app.as_ref())]))?;
                out.say(&answer.body, "The ban is lifted.")
            }
        }
    }
}

fn path(endpoint: &str) -> String {
    format!("/v1/endpoints/{}/ban", segment(endpoint))
}
