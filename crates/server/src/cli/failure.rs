//! Why a command failed: what it says of that in one line, and with which exit code it ends.

use std::io::{self, Write};

use respoke_core::code::Code;
use respoke_core::refusal::Refusal;
use respoke_wire::body::problem::{Details, ProblemBody};
use serde_json::{Value, json};

use super::fields::field;
use super::plain::plain;
use crate::config::SettingsError;

/// Why a command did not succeed.
#[derive(Debug)]
pub(super) enum Failure {
    /// Something on this side went wrong.
    Failed(anyhow::Error),
    /// The command line makes no sense, in a way that its parser cannot see.
    Usage(String),
    /// No answer came from the server.
    Unreachable {
        /// Where it was looked for.
        server: String,
        /// What stood in the way.
        cause: String,
    },
    /// A change was sent to the server, and no answer came.
    Unanswered {
        /// To which one.
        server: String,
        /// What stood in the way.
        cause: String,
    },
    /// The server refused.
    Refused(ServerRefusal),
    /// The command did its work, found something bad and has said so.
    Reported,
    /// Nobody reads the output any more, as in `respoked audit | head`.
    OutputClosed,
}

/// A refusal as the server put it.
#[derive(Debug)]
pub(super) struct ServerRefusal {
    /// HTTP's number for it.
    pub(super) status: u16,
    /// The answer.
    pub(super) body: Value,
    /// What might help.
    pub(super) advice: Option<&'static str>,
}

impl ServerRefusal {
    /// The stable word for the refusal, if the answer has one.
    pub(super) fn code(&self) -> &str {
        self.body[field!(ProblemBody<'_>, code)].as_str().unwrap_or_default()
    }

    /// Whether another login might help. Status 401 alone does not say so: a banned endpoint is told by it too.
    pub(super) fn is_about_the_login(&self) -> bool {
        let code = self.code();
        let is_of_login =
            || matches!(Code::of(code), Some(Code::Unauthenticated | Code::BadLogin | Code::SecondFactorRequired));
        self.status == 401 && (code.is_empty() || is_of_login())
    }

    fn text(&self) -> String {
        let mut text = match self.body[field!(ProblemBody<'_>, error)].as_str() {
            Some(error) => plain(error).trim_end_matches('.').to_owned(),
            None => format!("the server answered {}", self.status),
        };
        // A banned endpoint's reason, and what is wrong with which field.
        if let Some(reason) = self.body[field!(ProblemBody<'_>, details)][field!(Details<'_>, reason)]
            .as_str()
            .filter(|reason| !reason.is_empty())
        {
            text = format!("{text}: {}", plain(reason));
        }
        if let Some(fields) = self.body[field!(ProblemBody<'_>, validation_errors)].as_object() {
            let fields = fields.iter().map(|(field, problems)| field_text(field, problems)).collect::<Vec<_>>();
            text = format!("{text}: {}", fields.join("; "));
        }
        let mut place = vec![];
        if let Some(code) = self.body[field!(ProblemBody<'_>, code)].as_str() {
            place.push(format!("code {}", plain(code)));
        }
        if let Some(id) = self.body[field!(ProblemBody<'_>, request_id)].as_str() {
            place.push(format!("request {}", plain(id)));
        }
        if !place.is_empty() {
            text = format!("{text} ({})", place.join(", "));
        }
        match self.advice {
            Some(advice) => format!("{text}; {advice}"),
            None => text,
        }
    }
}

/// What is wrong with a field. Some texts name the field themselves.
fn field_text(field: &str, problems: &Value) -> String {
    let problems = problems.as_array().into_iter().flatten().filter_map(Value::as_str);
    let problems = problems.map(|problem| problem.trim_end_matches('.')).collect::<Vec<_>>().join(", ");
    if problems.starts_with(field) { plain(&problems) } else { plain(&format!("{field} {problems}")) }
}

impl Failure {
    /// A failure in words.
    pub(super) fn because(text: impl Into<String>) -> Self {
        Self::Failed(anyhow::Error::msg(text.into()))
    }

    /// What the process exits with; see the help.
    pub(super) fn exit_code(&self) -> u8 {
        match self {
            Self::OutputClosed => 0,
            Self::Usage(_) => 2,
            Self::Unreachable { .. } | Self::Unanswered { .. } => 3,
            Self::Refused(problem) if problem.is_about_the_login() => 4,
            Self::Failed(_) | Self::Reported | Self::Refused(_) => 1,
        }
    }

    /// Writes the failure as one line.
    pub(super) fn print(&self, json: bool, out: &mut impl Write) -> io::Result<()> {
        if matches!(self, Self::Reported | Self::OutputClosed) {
            return Ok(());
        }
        if json {
            return writeln!(out, "{}", self.to_json());
        }
        writeln!(out, "respoked: {}", self.text())
    }

    /// The failure as a sentence.
    pub(super) fn text(&self) -> String {
        match self {
            Self::Failed(error) => plain(&format!("{error:#}")),
            Self::Usage(text) => text.clone(),
            Self::Unreachable { server, cause } => {
                format!(
                    "the server {server} cannot be reached: {}; is it running, and is --server right?",
                    plain(cause)
                )
            }
            Self::Unanswered { server, cause } => format!(
                "no answer came from the server {server}: {}; what was asked may have been done: look before you repeat it",
                plain(cause)
            ),
            Self::Refused(problem) => problem.text(),
            Self::Reported | Self::OutputClosed => String::new(),
        }
    }

    /// The failure as JSON: the server's own answer, where there is one, with the exit code.
    fn to_json(&self) -> Value {
        let exit_code = self.exit_code();
        match self {
            Self::Refused(problem) if problem.body.is_object() => {
                let mut body = problem.body.clone();
                body["status"] = json!(problem.status);
                body["exitCode"] = json!(exit_code);
                body
            }
            _ => {
                let code = match self {
                    Self::Usage(_) => "usage",
                    Self::Unreachable { .. } => "unreachable",
                    Self::Unanswered { .. } => "unanswered",
                    Self::Refused(_) => "refused",
                    Self::Failed(_) | Self::Reported | Self::OutputClosed => "failed",
                };
                json!({ "error": self.text(), "code": code, "exitCode": exit_code })
            }
        }
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::Failed(error)
    }
}

impl From<SettingsError> for Failure {
    fn from(error: SettingsError) -> Self {
        if error.by_flag { Self::Usage(error.to_string()) } else { Self::Failed(error.into()) }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe { Self::OutputClosed } else { Self::Failed(error.into()) }
    }
}

impl From<serde_json::Error> for Failure {
    fn from(error: serde_json::Error) -> Self {
        match error.io_error_kind() {
            Some(io::ErrorKind::BrokenPipe) => Self::OutputClosed,
            _ => Self::Failed(error.into()),
        }
    }
}

impl From<respoke_core::ports::StoreError> for Failure {
    fn from(error: respoke_core::ports::StoreError) -> Self {
        Self::Failed(error.into())
    }
}

impl From<Refusal> for Failure {
    /// A refusal of an operation done in this process, on the data folder.
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Invalid(fields) => {
                let fields: Vec<String> =
                    fields.iter().map(|(field, problems)| format!("{field} {}", problems.join(", "))).collect();
                Self::because(fields.join("; "))
            }
            refusal => Self::Failed(refusal.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(status: u16, body: Value) -> Failure {
        Failure::Refused(ServerRefusal { status, body, advice: None })
    }

    fn printed(failure: &Failure, json: bool) -> String {
        let mut out = Vec::new();
        failure.print(json, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_refusal_names_code_and_request() {
        let body = json!({"error": "Object 'Roles' not found.", "code": "not_found", "requestId": "abc"});
        let failure = refused(404, body);
        assert_eq!(printed(&failure, false), "respoked: Object 'Roles' not found (code not_found, request abc)\n");
        assert_eq!(failure.exit_code(), 1);
        let json: Value = serde_json::from_str(&printed(&failure, true)).unwrap();
        assert_eq!((&json["code"], &json["status"], &json["exitCode"]), (&json!("not_found"), &json!(404), &json!(1)));
    }

    #[test]
    fn wrong_fields_are_named() {
        let body = json!({"error": "Validation Error.", "validationErrors":
            {"name": ["name is a missing required parameter."], "ttl": ["must be at least 1 second"]}});
        assert_eq!(
            printed(&refused(400, body), false),
            "respoked: Validation Error: name is a missing required parameter; ttl must be at least 1 second\n"
        );
    }

    #[test]
    fn exit_codes_are_those_of_the_help() {
        let unreachable = Failure::Unreachable { server: "http://x".into(), cause: "refused".into() };
        assert_eq!(
            [refused(401, Value::Null).exit_code(), refused(403, Value::Null).exit_code(), unreachable.exit_code()],
            [4, 1, 3]
        );
        assert_eq!(refused(401, json!({ "code": "endpoint_banned" })).exit_code(), 1);
        assert_eq!(Failure::from(io::Error::from(io::ErrorKind::BrokenPipe)).exit_code(), 0);
    }

    #[test]
    fn what_a_server_says_cannot_move_the_cursor() {
        let failure = refused(500, json!({"error": "\u{1b}[2Jgone"}));
        assert!(!printed(&failure, false).contains('\u{1b}'));
    }
}
