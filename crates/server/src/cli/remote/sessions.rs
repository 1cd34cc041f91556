//! `respoked session`: lists sessions and ends them.

use clap::{Args, Subcommand};
use respoke_wire::body::lists::ListRequest;
use respoke_wire::body::sessions::{EndSessions, SessionView};

use super::super::failure::Failure;
use super::super::fields::{field, shown};
use super::super::output::Output;
use super::client::{Client, query, segment};
use super::given::AppFlag;

/// `respoked session`.
#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Command {
    /// List the live sessions, oldest first.
    List {
        #[command(flatten)]
        app: AppFlag,
        /// Only sessions of this endpoint.
        #[arg(long, value_name = "ENDPOINT")]
        endpoint: Option<String>,
        /// Only sessions with this role.
        #[arg(long, value_name = "ID")]
        role: Option<String>,
        /// Only sessions that are connected at this node.
        #[arg(long, value_name = "ID")]
        node: Option<String>,
        /// At most this many.
        #[arg(long, value_name = "N")]
        limit: Option<usize>,
    },
    /// End a session.
    End {
        /// The id that `session list` shows.
        session: String,
    },
    /// End all sessions of an endpoint, a role or an app, and spend their outstanding tokens.
    EndAll(EndAll),
}

/// `respoked session end-all`.
#[derive(Debug, Args)]
#[group(id = "scope", required = true, multiple = false, args = ["endpoint", "role", "all"])]
pub(in crate::cli) struct EndAll {
    #[command(flatten)]
    app: AppFlag,
    /// All sessions of this endpoint.
    #[arg(long, value_name = "ENDPOINT")]
    endpoint: Option<String>,
    /// All sessions with this role.
    #[arg(long, value_name = "ID")]
    role: Option<String>,
    /// All sessions of the app.
    #[arg(long)]
    all: bool,
    /// Only what was issued before this, as 2026-01-02T03:04:05Z.
    #[arg(long, value_name = "TIME")]
    issued_before: Option<String>,
    /// Leave outstanding tokens alone.
    #[arg(long)]
    keep_tokens: bool,
}

const COLUMNS: &[(&str, &str)] = shown!(SessionView {
    "ID": id,
    "ENDPOINT": endpoint_id,
    "ROLE": role_id,
    "CREATED": created_at,
    "EXPIRES": expires_at,
    "LAST SEEN": last_seen_at,
    "ADDRESS": address,
});
/// Shown where there may be several nodes: a server that is alone does not tell.
const NODES: &str = field!(SessionView, nodes);

impl Command {
    pub(super) fn run(&self, client: &Client, out: &mut Output<'_>) -> Result<(), Failure> {
        match self {
            Self::List { app, endpoint, role, node, limit } => {
                let query = query([
                    (field!(ListRequest, app_id), app.app.as_ref()),
                    (field!(ListRequest, endpoint_id), endpoint.as_ref()),
                    (field!(ListRequest, role_id), role.as_ref()),
                    (field!(ListRequest, node), node.as_ref()),
                ]);
                let sessions = client.list("/v1/sessions", &query, *limit)?;
                let are_nodes_told = sessions.iter().any(|session| session[NODES].is_array());
                let nodes = are_nodes_told.then_some(("NODES", NODES));
                out.list(&sessions, &COLUMNS.iter().copied().chain(nodes).collect::<Vec<_>>())
            }
            Self::End { session } => {
                let answer = client.delete(&format!("/v1/sessions/{}", segment(session)), &[])?;
                out.say(&answer.body, "The session is ended.")
            }
            Self::EndAll(end) => {
                let answer = client.delete("/v1/sessions", &end.query())?;
                out.say(&answer.body, "The sessions are ended.")
            }
        }
    }
}

impl EndAll {
    fn query(&self) -> Vec<(&'static str, &str)> {
        let mut query = query([
            (field!(EndSessions, app_id), self.app.app.as_ref()),
            (field!(EndSessions, endpoint_id), self.endpoint.as_ref()),
            (field!(EndSessions, role_id), self.role.as_ref()),
            (field!(EndSessions, issued_before), self.issued_before.as_ref()),
        ]);
        if self.all {
            query.push((field!(EndSessions, all), "true"));
        }
        if self.keep_tokens {
            query.push((field!(EndSessions, tokens), "false"));
        }
        query
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        end: EndAll,
    }

    #[test]
    fn an_order_to_end_sessions_says_which() {
        let line = Line::parse_from(["x", "--endpoint", "jo", "--issued-before", "5", "--keep-tokens"]);
        assert_eq!(line.end.query(), [("endpointId", "jo"), ("issuedBefore", "5"), ("tokens", "false")]);
        assert_eq!(Line::parse_from(["x", "--all"]).end.query(), [("all", "true")]);
        assert!(Line::try_parse_from(["x", "--all", "--role", "r"]).is_err());
    }
}
