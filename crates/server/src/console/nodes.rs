//! `/console/nodes`: shows who serves from one database, and drains one. The API has it at `/v1/nodes`. And what other pages say of
//! nodes.

use std::collections::HashMap;
use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use maud::{Markup, PreEscaped, html};
use respoke_core::admin::AdminRole;
use respoke_core::clock::Timestamp;
use respoke_core::ops::FEED_AGE_MAX;
use respoke_core::ports::BEAT;
use respoke_wire::body::nodes::{NodeRef, NodeView};

use super::layout::{Section, answer, csrf_owner, field, follow, guarded, link, live, page as console_page, table};
use super::visit::{Failure, Posted, Visit, see};
use super::words::{count, length, number, when};
use crate::api::nodes::{NodeNames, find as find_nodes, have_drain, requests_of_this_minute};
use crate::call::Id;
use crate::state::Api;

const PATH: &str = "/console/nodes";
const COLUMNS: [&str; 9] =
    ["Name, address", "State", "Version", "Since", "Sockets", "Requests", "Lag", "Feed", "Actions"];

/// `GET`: for htmx the list alone.
pub(super) async fn page(State(api): State<Arc<Api>>, visit: Visit) -> Result<Response, Failure> {
    let nodes = find_nodes(&api, &visit.caller).await?;
    let requests = requests_of_this_minute(&api).await;
    let list = live(PATH, &table("Nodes", &COLUMNS, &rows(&visit, &nodes, &requests)));
    if visit.is_partial() {
        return Ok(answer(StatusCode::OK, list));
    }
    let body = html! {
        h1 { "Nodes" }
        @if api.among.is_some() {
            p { "Who serves from this database, as each said itself within the last seconds. Requests are those of this minute. \
                Feed: how old what the node knows of changes is; past five seconds it goes by nothing that it remembers." }
            div.filter { (follow()) }
        } @else {
            p { "This server is alone: nobody else serves from its data folder. Requests are those of this minute." }
        }
        (list)
    };
    Ok(console_page(&visit, Section::Nodes, "Nodes", &body))
}

/// `POST …/{id}/drain`.
pub(super) async fn drain(State(api): State<Arc<Api>>, Id(id): Id, posted: Posted) -> Result<Response, Failure> {
    let visit = posted.visit;
    have_drain(&api, &visit.caller, &id, &visit.context()).await?;
    Ok(see(&format!("{PATH}?done=node-drains")))
}

fn rows(visit: &Visit, nodes: &[NodeView], requests: &HashMap<u32, u64>) -> Markup {
    let others_serve = |node: &NodeView| nodes.iter().any(|other| other.id != node.id && other.state == "serving");
    html! {
        @for node in nodes {
            @let id = node.id.to_string();
            tr {
                td.whole {
                    strong { (node.name) " (" (id) ")" } @if node.asked { " " span.tag { "this one" } }
                    br; span.quiet { (node.address) }
                }
                td.whole { (state(node, visit.now())) }
                td { (node.version) }
                td { (when(node.since, visit.now())) }
                td { (number(node.sockets)) }
                td {
                    a href=(link("/console/requests", &[("node", &id)], None)) {
                        @match requests.get(&node.id) { Some(many) => (number(*many)), None => "no answer" }
                    }
                }
                td.whole { (number(node.lag_millis)) " ms" }
                td.whole { (feed_age(node)) }
                td.actions {
                    @if node.state != "draining" && visit.may(AdminRole::Owner) && others_serve(node) { (draining(visit, node)) }
                }
            }
        }
    }
}

/// What a node does, and whether it was heard of lately.
fn state(node: &NodeView, now: Timestamp) -> Markup {
    let unheard_secs = u64::try_from(now.secs().saturating_sub(node.beat_at.secs())).unwrap_or(0);
    html! {
        span.tag.warn[node.state != "serving"] { (node.state) }
        @if unheard_secs > 2 * BEAT.as_secs() { " " span.tag.warn { "not heard of for " (length(unheard_secs)) } }
    }
}

/// How old what a node knows of changes is, and whether that is too old for it to go by what it remembers.
fn feed_age(node: &NodeView) -> Markup {
    let age = format!("{} ms", number(node.feed_age_millis));
    html! {
        @if u128::from(node.feed_age_millis) < FEED_AGE_MAX.as_millis() { (age) } @else { span.tag.warn { (age) } }
    }
}

fn draining(visit: &Visit, node: &NodeView) -> Markup {
    guarded(
        "Drain…",
        &html! {
            p {
                "It sends " (count(node.sockets, "client")) " to the other nodes, spread over most of " code { "drain_secs" }
                ", and ends. Whatever starts it may start it again."
            }
            form method="post" action={ (PATH) "/" (node.id) "/drain" } {
                (csrf_owner(visit)) button.danger { "Drain " (node.name) }
            }
        },
    )
}

/// A choice among the nodes that live, where there may be several.
pub(super) fn node_choice(names: Option<&NodeNames>, chosen: &str) -> Markup {
    let Some(names) = names else { return PreEscaped(String::new()) };
    let nodes: Vec<_> = names.all().map(|node| (node.id.to_string(), node_label(&node))).collect();
    // One that is gone is still what is asked for.
    let gone = !chosen.is_empty() && nodes.iter().all(|(id, _)| id != chosen);
    field(
        "node",
        "Node",
        "",
        &html! {
            select id="node" name="node" {
                option value="" { "All nodes" }
                @for (id, label) in &nodes { option value=(id) selected[id == chosen] { (label) } }
                @if gone { option value=(chosen) selected { (chosen) } }
            }
        },
    )
}

/// A node in words. Two may have one name.
pub(super) fn node_label(node: &NodeRef) -> String {
    match &node.name {
        Some(name) => format!("{name} ({})", node.id),
        None => node.id.to_string(),
    }
}

/// That the part of some nodes is missing in what is shown.
pub(super) fn silent_notice(silent: &[NodeRef], missing: &str) -> Markup {
    let labels: Vec<_> = silent.iter().map(node_label).collect();
    html! {
        @if !labels.is_empty() {
            p.notice role="status" {
                (if labels.len() == 1 { "This node did not answer: " } else { "These nodes did not answer: " })
                (labels.join(", ")) ". " (missing)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_that_is_not_heard_of_is_shown_so() {
        let now = Timestamp::from_secs(1_800_000_000);
        let node = |state, ago: i64| NodeView {
            id: 1,
            name: "one".into(),
            address: String::new(),
            version: String::new(),
            since: now,
            beat_at: now.plus_secs(-ago),
            state,
            sockets: 0,
            connections: 0,
            lag_millis: 0,
            feed_age_millis: 4_999 + u64::from(ago > 6),
            skew_millis: 0,
            asked: false,
        };
        let shown = |state: &'static str, ago| super::state(&node(state, ago), now).into_string();
        let feed = |ago| super::feed_age(&node("serving", ago)).into_string();
        assert_eq!((&*feed(6), &*feed(7)), ("4,999 ms", r#"<span class="tag warn">5,000 ms</span>"#));
        assert_eq!(shown("serving", 6), r#"<span class="tag">serving</span>"#);
        assert!(shown("serving", 7).contains("not heard of for 7 seconds"));
        assert_eq!(shown("draining", -1), r#"<span class="tag warn">draining</span>"#);
    }
}
