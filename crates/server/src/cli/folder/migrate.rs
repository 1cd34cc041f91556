//! `respoked migrate`: brings the schema of a PostgreSQL database to the present one, as a role that may do that, and lets
//! another role use it that may not.

use anyhow::Context as _;
use clap::Args;
use respoke_store::{Migrated, PostgresStore};
use serde_json::json;

use super::super::failure::Failure;
use super::super::output::Output;
use super::which::{Folder, runtime};
use crate::database::{self, Database};

/// `respoked migrate`.
#[derive(Debug, Args)]
pub(in crate::cli) struct Migrate {
    /// A role that may use the schema from now on, without a right to change it. Those who may already stay able to.
    #[arg(long, value_name = "ROLE")]
    grant_to: Option<String>,
    #[command(flatten)]
    folder: Folder,
}

impl Migrate {
    pub(super) fn run(&self, out: &mut Output<'_>) -> Result<(), Failure> {
        let address = match self.folder.which()? {
            Database::Postgres(address) => address,
            Database::Folder(_) => {
                return Err(Failure::because(
                    "the settings name no PostgreSQL database (--database, RESPOKED_DATABASE); what is in a data folder is \
                     migrated when the server starts",
                ));
            }
        };
        let options = database::options(&address)?;
        let migrated = runtime()?.block_on(PostgresStore::migrate(&options, self.grant_to.as_deref()));
        let Migrated { from, to, granted } =
            migrated.with_context(|| format!("the database {address} cannot be migrated"))?;
        let found = json!({ "from": from, "to": to, "roles": granted });
        let done = match from {
            0 => format!("The schema {to} is made."),
            _ if from == to => format!("The schema is {to}, as it was."),
            _ => format!("The schema is {to}; it was {from}."),
        };
        let roles = match granted.as_slice() {
            [] => String::new(),
            roles => format!(" Beside its owner it may be used by {}.", roles.join(", ")),
        };
        out.say(&found, format_args!("{done}{roles}"))
    }
}
