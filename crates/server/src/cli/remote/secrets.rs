//! `respoked secret`: makes, lists, rolls and revokes App-Secrets.

use clap::Subcommand;
use clap::builder::PossibleValuesParser;
use respoke_wire::body::secrets::{CreateSecret, RevokeSecret, RollSecret, SecretView};
use serde_json::Value;

use super::super::failure::Failure;
use super::super::fields::{body, field, shown};
use super::super::output::Output;
use super::client::{Client, segment};
use super::given::AppFlag;

/// `respoked secret`.
#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Command {
    /// Make an App-Secret. Its text is shown this once.
    Create {
        #[command(flatten)]
        app: AppFlag,
        /// What to call it.
        #[arg(long, value_name = "NAME")]
        name: String,
        /// When it ceases to be taken, as 2026-01-02T03:04:05Z; never without this.
        #[arg(long, value_name = "TIME")]
        expires_at: Option<String>,
    },
    /// List the App-Secrets of an app, their texts excepted.
    List {
        #[command(flatten)]
        app: AppFlag,
    },
    /// Make a successor of an App-Secret, which is taken for a while longer.
    Roll {
        /// Id of the secret.
        secret: String,
        #[command(flatten)]
        app: AppFlag,
        /// How long the old one is still taken.
        #[arg(long, default_value = "24h", value_parser = PossibleValuesParser::new(["now", "1h", "24h", "7d"]))]
        overlap: String,
    },
    /// Revoke an App-Secret. The tokens and sessions minted with it are over.
    Revoke {
        /// Id of the secret.
        secret: String,
        #[command(flatten)]
        app: AppFlag,
        /// Let what was minted with it live on.
        #[arg(long)]
        keep_sessions: bool,
    },
}

impl Command {
    pub(super) fn run(&self, client: &Client, out: &mut Output<'_>) -> Result<(), Failure> {
        let path = |app: &AppFlag| -> Result<String, Failure> {
            Ok(format!("/v1/apps/{}/secrets", segment(&client.app(app.app.as_deref())?)))
        };
        match self {
            Self::Create { app, name, expires_at } => {
                let body = body!(CreateSecret { name: name, expires_at: expires_at });
                show(&client.post(&path(app)?, &body)?.body, out)
            }
            Self::List { app } => out.list(
                &client.list(&path(app)?, &[], None)?,
                shown!(SecretView {
                    "ID": id,
                    "NAME": name,
                    "HINT": hint,
                    "CREATED": created_at,
                    "LAST USED": last_used_at,
                    "EXPIRES": expires_at,
                    "REVOKED": revoked_at,
                }),
            ),
            Self::Roll { secret, app, overlap } => {
                let path = format!("{}/{}/roll", path(app)?, segment(secret));
                show(&client.post(&path, &body!(RollSecret { overlap: overlap }))?.body, out)
            }
            Self::Revoke { secret, app, keep_sessions } => {
                let path = format!("{}/{}", path(app)?, segment(secret));
                let spared = (field!(RevokeSecret, keep_sessions), "true");
                let query: &[(&str, &str)] = if *keep_sessions { &[spared] } else { &[] };
                let answer = client.delete(&path, query)?;
                let minted = if *keep_sessions { "lives on" } else { "is over" };
                out.say(&answer.body, format_args!("The secret is revoked; what was minted with it {minted}."))
            }
        }
    }
}

fn show(secret: &Value, out: &mut Output<'_>) -> Result<(), Failure> {
    out.object(
        secret,
        shown!(SecretView {
            "App-Secret": secret,
            "Id": id,
            "Name": name,
            "App": app_id,
            "Created": created_at,
            "Expires": expires_at,
        }),
    )
}
