//! `/console/dashboard`: shows figures of the server, or of one app, over time.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use maud::{Markup, html};
use respoke_core::page::PageRequest;
use respoke_wire::body::stats::{AskStats, PointView, StatsView};

use super::chart::{Line, chart};
use super::layout::{Section, answer, app_choice, follow, link, live, page as console_page, table};
use super::visit::{Failure, Visit};
use super::words::{number, took};
use crate::api::health::is_ready;
use crate::api::stats::find as find_stats;
use crate::state::Api;

const PATH: &str = "/console/dashboard";
const RANGES: [(&str, &str); 3] = [("1h", "1 hour"), ("24h", "24 hours"), ("30d", "30 days")];

/// `GET`: for htmx the figures alone.
pub(super) async fn page(State(api): State<Arc<Api>>, visit: Visit) -> Result<Response, Failure> {
    let query = visit.query();
    let (app, range) = (query.text("app"), query.given("range").unwrap_or("1h"));
    let request = AskStats { app_id: query.given("app").map(str::to_owned), range: Some(range.to_owned()) };
    let stats = find_stats(&api, &visit.caller, &request).await?;
    let list = figures(&stats, is_ready(&api).await.is_ok());
    let list = live(&link(PATH, &[("app", app), ("range", range)], None), &list);
    if visit.is_partial() {
        return Ok(answer(StatusCode::OK, list));
    }
    let apps = api.broker.list_apps(&visit.caller, PageRequest::first()).await?.items;
    let body = html! {
        h1 { "Dashboard" }
        form.filter method="get" action=(PATH) {
            input type="hidden" name="range" value=(range);
            (app_choice(&apps, app))
            button { "Show" }
            nav.ranges aria-label="How far back" {
                @for (word, label) in RANGES {
                    a.button href=(link(PATH, &[("app", app), ("range", word)], None))
                        aria-current=[(word == range).then_some("true")] { (label) }
                }
            }
            (follow())
        }
        (list)
    };
    Ok(console_page(&visit, Section::Dashboard, "Dashboard", &body))
}

fn figures(stats: &StatsView, ready: bool) -> Markup {
    let since = RANGES.iter().find(|(word, _)| *word == stats.range).map_or("", |(_, label)| label);
    let since = format!("{since} ago");
    let line = |name, value: fn(&PointView) -> u64, said: fn(&[u64]) -> String| {
        let values: Vec<u64> = stats.points.iter().map(value).collect();
        Line { name, said: said(&values), values }
    };
    let drawn = |title, lines: &[Line<'_>]| chart(title, lines, &since, number);
    html! {
        p {
            "Database: "
            @if ready { span.tag { "takes writes" } } @else { span.tag.warn { "cannot be written" } }
        }
        div.charts {
            (drawn("Tokens", &[
                line("minted", |point| point.minted, sum),
                line("redeemed", |point| point.redeemed, sum),
            ]))
            (drawn("Live", &live_lines(stats, line)))
            (drawn("Requests", &[
                line("answered", |point| point.requests, sum),
                line("refused", |point| point.refused.values().sum(), sum),
            ]))
            (chart("How long requests take", &[
                line("half of them", |point| point.p50_micros.unwrap_or_default(), last_time),
                line("99 of 100", |point| point.p99_micros.unwrap_or_default(), last_time),
            ], &since, took))
            (drawn("Messages", &[
                line("to endpoints", |point| point.messages, sum),
                line("to groups", |point| point.publications, sum),
                line("signals", |point| point.signals, sum),
            ]))
            (drawn("Media relay", &[line("credentials given", |point| point.turn_credentials, sum)]))
        }
        (refusals(stats))
    }
}

/// Sessions are counted of the whole server only.
fn live_lines<'a>(
    stats: &StatsView,
    line: impl Fn(&'a str, fn(&PointView) -> u64, fn(&[u64]) -> String) -> Line<'a>,
) -> Vec<Line<'a>> {
    let mut lines = vec![line("connections", |point| point.connections, last)];
    if stats.app_id.is_none() {
        lines.push(line("sessions", |point| point.sessions, last));
    }
    lines
}

fn sum(values: &[u64]) -> String {
    number(values.iter().fold(0, |sum, value| sum.saturating_add(*value)))
}

fn last(values: &[u64]) -> String {
    number(values.last().copied().unwrap_or_default())
}

/// The last time that was measured.
fn last_time(values: &[u64]) -> String {
    values.iter().rev().find(|micros| **micros > 0).map_or_else(|| "none yet".to_owned(), |micros| took(*micros))
}

/// Refused requests by reason, the most frequent first.
fn refusals(stats: &StatsView) -> Markup {
    let mut by_code = BTreeMap::<&str, u64>::new();
    for (code, count) in stats.points.iter().flat_map(|point| &point.refused) {
        *by_code.entry(code).or_default() += count;
    }
    let mut sorted: Vec<_> = by_code.into_iter().collect();
    sorted.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    html! {
        @if !sorted.is_empty() {
            h3 { "Refused, by reason" }
            (table("Refused requests by reason", &["Code", "Requests"], &html! {
                @for (code, count) in sorted { tr { td { code { (code) } } td { (number(count)) } } }
            }))
        }
    }
}

#[cfg(test)]
mod tests {
    use respoke_core::clock::Timestamp;
    use respoke_core::figures::Figures;

    use super::*;

    #[test]
    fn figures_are_summed_and_sorted() {
        let refused = |code: &str, count| BTreeMap::from([(code.to_owned(), count)]);
        let point =
            |minted, refused| PointView::of(Timestamp::from_secs(0), Figures { minted, refused, ..Figures::default() });
        let points = vec![point(1_000, refused("rare", 1)), point(234, refused("often", 2_000))];
        let stats = StatsView { app_id: None, range: "24h", span_secs: 600, silent_nodes: 0, points };
        let shown = figures(&stats, true).into_string();
        assert!(shown.contains("minted <strong>1,234</strong>") && shown.contains("refused <strong>2,001</strong>"));
        assert!(shown.find("often").unwrap() < shown.find("rare").unwrap());
        assert!(shown.contains("none yet") && shown.contains("sessions"));
        let app = StatsView { app_id: Some(respoke_core::id::AppId::random()), ..stats };
        assert!(!figures(&app, false).into_string().contains("sessions <strong>"));
    }
}
