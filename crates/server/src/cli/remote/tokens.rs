//! `respoked token`: mints tokens, says what one is and why it is refused, lists and revokes them.

use clap::{Args, Subcommand};
use respoke_core::code::Code;
use respoke_core::grant::Lapse;
use respoke_core::secret::Secret;
use respoke_wire::body::lists::ListRequest;
use respoke_wire::body::tokens::{IssueToken, TokenIssued, TokenView};
use serde_json::Value;

use super::super::common::token;
use super::super::failure::Failure;
use super::super::fields::{body, field, shown};
use super::super::output::{Output, cell};
use super::client::{Client, query, segment};
use super::given::AppFlag;

/// `respoked token`.
#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Command {
    /// Mint a token for an endpoint.
    Create(Create),
    /// Say what a token is, and why it is refused if it is.
    Inspect {
        /// The token's text (tokenId), or the id that `token list` shows.
        #[arg(value_parser = token)]
        id: Secret,
    },
    /// Revoke a token.
    Revoke {
        /// The token's text (tokenId), or the id that `token list` shows.
        #[arg(value_parser = token)]
        id: Secret,
    },
    /// List the tokens that can be redeemed, oldest first.
    List {
        #[command(flatten)]
        app: AppFlag,
        /// Only tokens of this endpoint.
        #[arg(long, value_name = "ENDPOINT")]
        endpoint: Option<String>,
        /// Only tokens with this role.
        #[arg(long, value_name = "ID")]
        role: Option<String>,
        /// At most this many.
        #[arg(long, value_name = "N")]
        limit: Option<usize>,
    },
}

/// `respoked token create`.
#[derive(Debug, Args)]
pub(in crate::cli) struct Create {
    #[command(flatten)]
    app: AppFlag,
    /// Who the token lets in.
    #[arg(long, value_name = "ENDPOINT")]
    endpoint: String,
    /// The role, by id.
    #[arg(long, value_name = "ID", conflicts_with = "role_name")]
    role: Option<String>,
    /// The role, by name.
    #[arg(long, value_name = "NAME")]
    role_name: Option<String>,
    /// Life of the session in seconds, from now [default: 86400].
    #[arg(long, value_name = "SECONDS")]
    ttl: Option<u64>,
    /// Spend every other outstanding token of the endpoint.
    #[arg(long)]
    replace: bool,
    /// End the endpoint's sessions as well.
    #[arg(long, requires = "replace")]
    end_sessions: bool,
}

const COLUMNS: &[(&str, &str)] = shown!(TokenView {
    "ID": id,
    "ENDPOINT": endpoint_id,
    "ROLE": role_id,
    "CREATED": created_at,
    "REDEEM BY": activate_by,
    "SESSION ENDS": expires_at,
});

impl Command {
    pub(super) fn run(&self, client: &Client, out: &mut Output<'_>) -> Result<(), Failure> {
        match self {
            Self::Create(create) => create.run(client, out),
            Self::Inspect { id } => inspect(client, id, out),
            Self::Revoke { id } => {
                let answer = client.delete(&path(id), &[]).map_err(unknown)?;
                out.say(
                    &answer.body,
                    "The token is revoked. A session it was redeemed for is not: see `respoked session`.",
                )
            }
            Self::List { app, endpoint, role, limit } => {
                let query = query([
                    (field!(ListRequest, app_id), app.app.as_ref()),
                    (field!(ListRequest, endpoint_id), endpoint.as_ref()),
                    (field!(ListRequest, role_id), role.as_ref()),
                ]);
                out.list(&client.list("/v1/tokens", &query, *limit)?, COLUMNS)
            }
        }
    }
}

impl Create {
    fn run(&self, client: &Client, out: &mut Output<'_>) -> Result<(), Failure> {
        let body = body!(IssueToken {
            endpoint_id: self.endpoint,
            role_id: self.role,
            role_name: self.role_name,
            ttl: self.ttl,
            // A token minted without a credential, in development mode, needs the app to be named.
            app_id: self.app.app,
            end_sessions: self.replace.then_some(self.end_sessions),
        });
        let answer = if self.replace { client.put("/v1/tokens", &body)? } else { client.post("/v1/tokens", &body)? };
        out.object(
            &answer.body,
            shown!(TokenIssued {
                "tokenId": token_id,
                "App": app_id,
                "Endpoint": endpoint_id,
                "Role": role_id,
                "Created": created_at,
                "For development": for_development,
            }),
        )
    }
}

fn inspect(client: &Client, id: &Secret, out: &mut Output<'_>) -> Result<(), Failure> {
    let token = client.get(&path(id), &[]).map_err(unknown)?.body;
    if out.wants_json() {
        return out.json(&token);
    }
    out.line(sentence(&token))?;
    out.line("")?;
    let mut rows = vec![("App", cell(&token[field!(TokenView, app_id)]))];
    rows.extend(
        COLUMNS
            .iter()
            .zip(["Id", "Endpoint", "Role", "Created", "Redeem by", "Session ends"])
            .map(|((_, field), label)| (label, cell(&token[field]))),
    );
    out.lines(&rows)
}

/// What can be said of a token, in a sentence or two.
fn sentence(token: &Value) -> String {
    let state = &token[field!(TokenView, state)];
    let word = state.as_str().unwrap_or_default();
    if word == TokenView::OUTSTANDING {
        let activate_by = cell(&token[field!(TokenView, activate_by)]);
        return format!("This token is good: it can be redeemed once, until {activate_by}.");
    }
    match LAPSES.iter().find(|lapse| lapse.word() == word) {
        Some(lapse) => format!("This token is refused: {}", explanation(*lapse)),
        // A newer server knows more reasons than this program does.
        None => match token[field!(TokenView, why)].as_str() {
            Some(why) => format!("This token is refused: {}.", super::super::plain::plain(why)),
            None => format!("This token is refused: {}.", cell(state)),
        },
    }
}

/// Every reason; the match below makes the compiler ask for a new one's explanation.
const LAPSES: &[Lapse] = &[
    Lapse::Redeemed,
    Lapse::Revoked,
    Lapse::Superseded,
    Lapse::SignedOut,
    Lapse::Expired,
    Lapse::NotActivated,
    Lapse::AppDeleted,
    Lapse::RoleDeleted,
    Lapse::SecretRevoked,
    Lapse::Banned,
    Lapse::DevelopmentModeOff,
];

/// Why a token is refused and what helps.
const fn explanation(lapse: Lapse) -> &'static str {
    match lapse {
        Lapse::Redeemed => {
            "it was already redeemed, and each works once. Mint another one; if its client did not redeem it, somebody else did: end the endpoint's sessions."
        }
        Lapse::Revoked => "it was revoked, by itself or with all of its endpoint, role or app. Mint another one.",
        Lapse::Superseded => "a newer one took its place. Use the newest, or mint another one.",
        Lapse::SignedOut => "its owner signed out. Mint another one.",
        Lapse::Expired => {
            "its time is over: it was minted longer ago than its ttl. Mint another one, with a longer ttl if need be."
        }
        Lapse::NotActivated => {
            "it was not redeemed within the app's activation window. Mint tokens when they are needed, or widen the window with `respoked app update --activation-window`."
        }
        Lapse::AppDeleted => "its app was deleted.",
        Lapse::RoleDeleted => "its role was deleted. Mint another one with a role that exists.",
        Lapse::SecretRevoked => {
            "the App-Secret that minted it was revoked. Mint another one with a secret that is in use."
        }
        Lapse::Banned => "its endpoint is banned. `respoked ban list` says why; `respoked ban lift` lifts the ban.",
        Lapse::DevelopmentModeOff => {
            "it was minted in development mode, which is off now. Mint another one with a role."
        }
    }
}

fn path(id: &Secret) -> String {
    format!("/v1/tokens/{}", segment(id.expose()))
}

/// Adds to "not found" what it may mean.
fn unknown(failure: Failure) -> Failure {
    match failure {
        Failure::Refused(mut problem) if problem.code() == Code::NotFound.word() => {
            problem.advice =
                Some("it is mistyped, of another account, or was over for so long that its record is gone");
            Failure::Refused(problem)
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_lapse_is_explained_in_a_sentence() {
        for lapse in LAPSES {
            let text = sentence(&json!({ "state": lapse.word() }));
            assert!(text.starts_with("This token is refused: ") && text.ends_with('.'), "{text}");
            assert!(!text.contains(lapse.word()) || !lapse.word().contains('_'), "a word for programs: {text}");
        }
    }

    #[test]
    fn a_good_token_and_a_reason_of_the_future_are_told() {
        let good = json!({ "state": "outstanding", "activateBy": "2026-01-01T00:00:00.000Z" });
        assert!(sentence(&good).contains("good"));
        assert_eq!(
            sentence(&json!({ "state": "eaten", "why": "it was eaten" })),
            "This token is refused: it was eaten."
        );
    }
}
