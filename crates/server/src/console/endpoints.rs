//! `/console/apps/{id}/endpoints/{eid}`: shows what one endpoint has and its frames as they come and go, and bans it.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use maud::{Markup, html};
use respoke_core::admin::AdminRole;
use respoke_core::app::App;
use respoke_core::id::EndpointId;
use respoke_core::ops::EndSessions;
use respoke_core::ports::EndScope;
use respoke_core::refusal::Refusal;
use respoke_core::tail::Payloads;
use respoke_wire::body::bans::BanView;
use respoke_wire::body::endpoints::EndpointConnectionView;
use respoke_wire::body::presence::ConnectionState;
use serde_json::Value;

use super::general::app_of_path;
use super::layout::{
    Errors, Tab, app_page, app_path, csrf, empty, field, guarded, input, link, segment, short, table as list_table,
};
use super::nodes::{node_label, silent_notice};
use super::sessions::{roles, table};
use super::visit::{Failure, Posted, Visit, see};
use super::words::{count, when};
use super::{audit, connections};
use crate::api::answer::ViewAnswer;
use crate::api::endpoints::{Include, find as find_endpoint, look_on};
use crate::api::nodes::NodeNames;
use crate::call::Ids;
use crate::state::Api;

/// How long a ban lasts, as the form offers it, in seconds; none: until it is lifted.
const LENGTHS: [(&str, &str, Option<i64>); 4] = [
    ("forever", "until it is lifted", None),
    ("1h", "1 hour", Some(3_600)),
    ("1d", "1 day", Some(86_400)),
    ("30d", "30 days", Some(30 * 86_400)),
];

/// `GET`.
pub(super) async fn page(Ids(id, endpoint): Ids, visit: Visit) -> Result<Response, Failure> {
    let app = app_of_path(&visit, &id).await?;
    render(&visit, &app, &parse(&endpoint)?, &Errors::default()).await
}

/// `POST …/end`: ends every session of the endpoint and spends its tokens.
pub(super) async fn end_sessions(
    State(api): State<Arc<Api>>,
    Ids(id, endpoint): Ids,
    posted: Posted,
) -> Result<Response, Failure> {
    let visit = posted.visit;
    let app = app_of_path(&visit, &id).await?;
    let endpoint = parse(&endpoint)?;
    let request = EndSessions {
        app_id: Some(app.id),
        scope: EndScope::Endpoint(endpoint.clone()),
        issued_before: None,
        tokens_too: true,
    };
    api.broker.end_sessions(&visit.caller, request, &visit.context()).await?;
    Ok(done(&app, &endpoint, "sessions-ended"))
}

/// `POST …/ban`.
pub(super) async fn ban(
    State(api): State<Arc<Api>>,
    Ids(id, endpoint): Ids,
    posted: Posted,
) -> Result<Response, Failure> {
    let Posted { visit, form } = posted;
    let app = app_of_path(&visit, &id).await?;
    let endpoint = parse(&endpoint)?;
    let length = LENGTHS.iter().find(|(word, ..)| *word == form.text("length"));
    let until = length.and_then(|(.., secs)| *secs).map(|secs| visit.now().plus_secs(secs));
    let reason = form.given("reason").map(str::to_owned);
    let banned = api.broker.ban(&visit.caller, Some(app.id), endpoint.as_str(), reason, until, &visit.context()).await;
    match banned {
        Ok(_) => Ok(done(&app, &endpoint, "banned")),
        Err(refusal) => render(&visit, &app, &endpoint, &Errors::of(refusal)?).await,
    }
}

/// `POST …/lift`.
pub(super) async fn lift(
    State(api): State<Arc<Api>>,
    Ids(id, endpoint): Ids,
    posted: Posted,
) -> Result<Response, Failure> {
    let visit = posted.visit;
    let app = app_of_path(&visit, &id).await?;
    let endpoint = parse(&endpoint)?;
    api.broker.lift_ban(&visit.caller, Some(app.id), endpoint.as_str(), &visit.context()).await?;
    Ok(done(&app, &endpoint, "ban-lifted"))
}

fn parse(endpoint: &str) -> Result<EndpointId, Refusal> {
    EndpointId::parse(endpoint).map_err(|problem| Refusal::field("endpointId", problem))
}

fn path(app: &App, endpoint: &EndpointId) -> String {
    format!("{}/endpoints/{}", app_path(app), segment(endpoint.as_str()))
}

fn done(app: &App, endpoint: &EndpointId, word: &str) -> Response {
    see(&format!("{}?done={word}", path(app, endpoint)))
}

async fn render(visit: &Visit, app: &App, endpoint: &EndpointId, errors: &Errors) -> Result<Response, Failure> {
    let context = visit.context();
    let asker = visit.asker(&context, app.id, Some(endpoint.clone()));
    let ViewAnswer { view: found, silent } = find_endpoint(&visit.api, &asker, Include::ALL).await?;
    let names = NodeNames::told(&visit.api, &visit.caller);
    let silent: Vec<_> = names.iter().flat_map(|names| silent.iter().map(|node| names.of(*node))).collect();
    let (outstanding, audit_rows) = (found.outstanding_tokens.unwrap_or(0), found.audit.unwrap_or_default());
    let roles = roles(visit, app).await?;
    let admins = visit.api.broker.list_admins(&visit.caller).await?;
    let body = html! {
        p.crumbs { a href={ (app_path(app)) "/sessions" } { "Sessions" } " / " }
        h2 { (endpoint) }
        (errors.summary())
        (ban_card(visit, app, endpoint, found.ban.as_ref()))
        h3 { "Sessions" }
        (silent_notice(&silent, "Sessions may be connected there that are shown without it."))
        @if found.sessions.is_empty() {
            (empty("It is not in session.", &html! { "A session begins when it redeems a token." }))
        } @else {
            (table(visit, app, &roles, &found.sessions))
            (end_all(visit, app, endpoint))
        }
        @if outstanding > 0 {
            p {
                (count(outstanding, "token")) " of it " (if outstanding == 1 { "waits" } else { "wait" })
                " to be redeemed" @if found.more_tokens == Some(true) { ", or more" } "."
            }
        }
        h3 { "Connections" }
        @if found.connections.is_empty() {
            (empty("It is not connected.", &html! { "A connection begins when its client opens a socket." }))
        } @else {
            (connected(visit, app, &found.connections))
        }
        (looking_on(&path(app, endpoint), visit.may(AdminRole::Developer)))
        h3 { "Of late" }
        @if audit_rows.is_empty() {
            (empty("Nothing is written of it.", &html! { "Tokens minted for it and bans would be." }))
        } @else {
            (list_table("Audit log of the endpoint", &["When", "Action", "Who", "Address", "Request"], &html! {
                @for row in &audit_rows {
                    @let request_id = row.request_id.to_string();
                    tr {
                        td { (when(row.at, visit.now())) }
                        td { (row.action) }
                        td { (audit::actor(&row.actor, &admins)) }
                        td { (row.address) }
                        td { a href=(link("/console/requests", &[("request", &request_id)], None)) { (short(&request_id)) } }
                    }
                }
            }))
        }
    };
    Ok(app_page(visit, app, Tab::Sessions, errors.status(), &body))
}

/// Connections with what they say and are in.
fn connected(visit: &Visit, app: &App, found: &[EndpointConnectionView]) -> Markup {
    let node = found.iter().find_map(|one| one.connection.node.as_ref()).map(|_| "Node");
    let columns: Vec<_> = ["Connection id", "Client", "Address"]
        .into_iter()
        .chain(node)
        .chain(["Presence", "Groups", "Actions"])
        .collect();
    list_table(
        "Connections",
        &columns,
        &html! {
            @for EndpointConnectionView { connection, groups, presence } in found {
                tr {
                    td { code { (connection.id) } }
                    td { (connection.client_type) }
                    td { (connection.ip_address) }
                    @if let Some(node) = &connection.node { td { (node_label(node)) } }
                    td { (presence_said(presence)) }
                    td.long {
                        @for (at, group) in groups.iter().enumerate() { @if at > 0 { ", " } (group) }
                        @if groups.is_empty() { span.quiet { "none" } }
                    }
                    td.actions { (connections::closing(visit, app, &connection.id)) }
                }
            }
        },
    )
}

/// A presence in words; it may be any JSON.
fn presence_said(presence: &ConnectionState) -> String {
    let said = serde_json::to_value(presence).unwrap_or_default();
    let part = |name: &str| match said.get(name)? {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    };
    ["type", "show", "status"].into_iter().filter_map(part).collect::<Vec<_>>().join(", ")
}

/// Where its frames are shown as they go; only a script can.
fn looking_on(path: &str, may_see_payloads: bool) -> Markup {
    html! {
        section.card data-tail={ (path) "/tail" } hidden {
            h3 { "Frames as they go" }
            p { "What its connections send and get, from now on: names, ids and sizes." }
            div.filter {
                button type="button" data-tail-start { "Look on" }
                @if may_see_payloads {
                    label.check { input type="checkbox" data-tail-payloads; " Show what is said, and note it in the audit log" }
                }
            }
            ol.frames data-tail-frames aria-live="off" {}
        }
    }
}

/// `GET …/tail`: frames as server-sent events, for the page's script.
pub(super) async fn tail(
    State(api): State<Arc<Api>>,
    Ids(id, endpoint): Ids,
    visit: Visit,
) -> Result<Response, Failure> {
    let app = app_of_path(&visit, &id).await?;
    let (context, endpoint) = (visit.context(), parse(&endpoint)?);
    let payloads = if visit.query().text("payloads") == "true" { Payloads::Shown } else { Payloads::Redacted };
    let asker = visit.asker(&context, app.id, Some(endpoint));
    Ok(look_on(&api, &asker, visit.credential(), payloads).await?)
}

fn end_all(visit: &Visit, app: &App, endpoint: &EndpointId) -> Markup {
    guarded(
        "End all its sessions…",
        &html! {
            p { "All its clients are cut off at once, and its outstanding tokens are spent. It may come back with a new token." }
            form method="post" action={ (path(app, endpoint)) "/end" } { (csrf(visit)) button.danger { "End all its sessions" } }
        },
    )
}

fn ban_card(visit: &Visit, app: &App, endpoint: &EndpointId, ban: Option<&BanView>) -> Markup {
    let now = visit.now();
    html! {
        section.card {
            @match ban {
                Some(ban) => {
                    p {
                        span.tag.warn { "banned" } " since " (when(ban.banned_at, now)) ", "
                        @match ban.expires_at { None => "until it is lifted", Some(at) => { "ends " (when(at, now)) } }
                        @if !ban.reason.is_empty() { ": “" (ban.reason) "”" }
                    }
                    form method="post" action={ (path(app, endpoint)) "/lift" } { (csrf(visit)) button { "Lift the ban" } }
                }
                None => {
                    p { "It is not banned." }
                    (guarded("Ban…", &html! {
                        p { "Its sessions and tokens end at once, and no token is minted for it or redeemed." }
                        form method="post" action={ (path(app, endpoint)) "/ban" } {
                            (csrf(visit))
                            (field("length", "For how long", "", &html! {
                                select id="length" name="length" { @for (word, label, _) in LENGTHS { option value=(word) { (label) } } }
                            }))
                            (input("reason", "Reason", "", "Its user reads this."))
                            button.danger { "Ban the endpoint" }
                        }
                    }))
                }
            }
        }
    }
}
