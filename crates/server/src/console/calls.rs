//! `/console/apps/{id}/calls`: shows the reports that clients send after a call.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use maud::{Markup, html};
use respoke_core::call_report::CallReport;
use respoke_core::clock::Timestamp;
use serde_json::Value;

use super::apps::rows;
use super::general::app_of_path;
use super::layout::{Tab, app_page, app_path, empty, more};
use super::sessions::endpoint_link;
use super::visit::{Failure, Visit};
use super::words::when;
use crate::call::Id;
use crate::state::Api;

/// `GET`.
pub(super) async fn page(State(api): State<Arc<Api>>, Id(id): Id, visit: Visit) -> Result<Response, Failure> {
    let app = app_of_path(&visit, &id).await?;
    let found = api.broker.call_reports(&visit.caller, Some(app.id), rows(&visit)?).await?;
    let now = visit.now();
    let body = html! {
        p { "What clients tell of a call when it is over, newest first. The JavaScript client does so by itself." }
        @if found.items.is_empty() {
            (empty("No call was reported.", &html! { "Reports help to find out why a call failed. They come when calls end." }))
        } @else {
            (super::layout::table("Calls", &["Reported", "By", "Caller", "Called", "Lasted", "Ended because", "More"], &html! {
                @for report in &found.items {
                    @let told = Told::of(report);
                    tr {
                        td { (when(report.report.at, now)) }
                        td { @match &report.report.endpoint_id {
                            Some(endpoint) => (endpoint_link(&app, endpoint.as_str())),
                            None => span.quiet { "the backend" },
                        } }
                        td { (told.caller) }
                        td { (told.called) }
                        td { (told.lasted.as_deref().unwrap_or_default()) }
                        td { (told.reason) }
                        td { (details(&told)) }
                    }
                }
            }))
            (more(&format!("{}/calls", app_path(&app)), &[], found.cursor().as_deref()))
        }
    };
    Ok(app_page(&visit, &app, Tab::Calls, StatusCode::OK, &body))
}

/// What a report says of its call. Session descriptions, which hold keys, are counted and not shown.
struct Told {
    caller: String,
    called: String,
    reason: String,
    lasted: Option<String>,
    rest: Vec<(String, String)>,
}

impl Told {
    fn of(report: &CallReport) -> Self {
        let told: Value = serde_json::from_str(report.report.report.get()).unwrap_or_default();
        let told = told.get("report").unwrap_or(&told);
        let text = |name: &str| told.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        let at = |name: &str| match told.get(name)? {
            Value::String(text) => Timestamp::parse(text),
            Value::Number(number) => Timestamp::parse(&number.to_string()),
            _ => None,
        };
        let lasted = at("callStarted").zip(at("callStopped"));
        let lasted = lasted.map(|(from, to)| to.secs().saturating_sub(from.secs()).max(0));
        let lasted = lasted.map(|secs| format!("{}:{:02}", secs / 60, secs % 60));
        let counted = ["sdpsSent", "sdpsReceived", "candidatesSent", "candidatesReceived"];
        let count = |name: &str| match told.get(name)? {
            Value::Array(items) => Some((name.to_owned(), items.len().to_string())),
            Value::Number(number) => Some((name.to_owned(), number.to_string())),
            _ => None,
        };
        let said = ["userAgent", "os", "sessionId", "callerconnection", "calleeconnection"];
        let said = said.into_iter().map(|name| (name.to_owned(), text(name))).filter(|(_, text)| !text.is_empty());
        Self {
            caller: text("callerendpoint"),
            called: text("calleeendpoint"),
            reason: text("callStoppedReason"),
            lasted,
            rest: said.chain(counted.into_iter().filter_map(count)).collect(),
        }
    }
}

fn details(told: &Told) -> Markup {
    html! {
        @if !told.rest.is_empty() {
            details { summary { "Show" } dl { @for (name, text) in &told.rest { dt { (name) } dd { (text) } } } }
        }
    }
}

#[cfg(test)]
mod tests {
    use respoke_core::call_report::NewCallReport;
    use respoke_core::id::AppId;

    use super::*;

    #[test]
    fn descriptions_of_sessions_are_counted_and_not_shown() {
        let json = r#"{"report":{"callStarted":1800000000000,"callStopped":1800000090000,"callerendpoint":"jo","os":"<b>",
            "lastSDPString":"a=KEY","sdpsSent":["a=KEY"],"candidatesSent":3}}"#;
        let report = serde_json::value::RawValue::from_string(json.to_owned()).unwrap();
        let at = Timestamp::from_secs(0);
        let report = NewCallReport { app_id: AppId::random(), endpoint_id: None, at, report };
        let told = Told::of(&CallReport { number: 1, report });
        assert_eq!((told.caller.as_str(), told.lasted.as_deref()), ("jo", Some("1:30")));
        let shown = details(&told).into_string();
        assert!(shown.contains("<dt>sdpsSent</dt><dd>1</dd>") && shown.contains("&lt;b&gt;"), "{shown}");
        assert!(!shown.contains("KEY"), "{shown}");
    }

    #[test]
    fn a_report_may_be_anything() {
        for json in ["7", "[]", "null", r#"{"report":7}"#, r#"{"callStarted":"x","callStopped":{}}"#] {
            let report = serde_json::value::RawValue::from_string(json.to_owned()).unwrap();
            let report =
                NewCallReport { app_id: AppId::random(), endpoint_id: None, at: Timestamp::from_secs(0), report };
            let told = Told::of(&CallReport { number: 1, report });
            assert!(told.caller.is_empty() && told.lasted.is_none(), "{json}");
        }
    }
}
