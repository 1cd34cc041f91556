//! `respoked node`: lists the nodes that serve, and drains one.

use clap::Subcommand;
use respoke_wire::body::nodes::NodeView;

use super::super::failure::Failure;
use super::super::fields::shown;
use super::super::output::Output;
use super::client::{Client, segment};

/// `respoked node`.
#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Command {
    /// List the nodes that serve from one database.
    List,
    /// Have a node send its clients to the others, and end.
    Drain {
        /// The node's number.
        id: String,
    },
}

const COLUMNS: &[(&str, &str)] = shown!(NodeView {
    "ID": id,
    "NAME": name,
    "ADDRESS": address,
    "VERSION": version,
    "STATE": state,
    "SINCE": since,
    "SOCKETS": sockets,
    "CONNECTIONS": connections,
    "LAG MS": lag_millis,
    "FEED MS": feed_age_millis,
    "SKEW MS": skew_millis,
});

impl Command {
    pub(super) fn run(&self, client: &Client, out: &mut Output<'_>) -> Result<(), Failure> {
        match self {
            Self::List => out.list(&client.list("/v1/nodes", &[], None)?, COLUMNS),
            Self::Drain { id } => {
                let path = format!("/v1/nodes/{}/drain", segment(id));
                let answer = client.post(&path, &serde_json::json!({}))?;
                out.say(&answer.body, "The node sends its clients to the others, and ends.")
            }
        }
    }
}
