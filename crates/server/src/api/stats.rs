//! `/v1/stats`.

use std::collections::BTreeMap;
use std::sync::Arc;

use respoke_core::clock::Timestamp;
use respoke_core::figures::{Figures, MINUTE_SECS, Span, start_of};
use respoke_core::ops::Caller;
use respoke_core::refusal::Refusal;
use respoke_wire::body::stats::{AskStats, PointView, StatsView};

use super::answer::JsonAnswer;
use super::asked::{app_id, given};
use crate::call::Call;
use crate::minutes::present;
use crate::openapi::{Missing, Refused};
use crate::problem::Problem;
use crate::state::Api;
use crate::tally::HOUR_SECS;

/// Tells what happened over time: by the minute for an hour, by ten minutes for a day, by six hours for thirty days.
///
/// With an Admin-Token and no `appId` it is the whole server's; an App-Secret sees its own app's. Of several nodes it is what
/// all of them counted. A server that is alone has the figures of the last hour since it started. Probes and the pages of the
/// console are not counted.
#[utoipa::path(
    get, path = "/v1/stats", tag = "Logs", operation_id = "getStats",
    params(
        ("appId" = Option<String>, Query, format = Uuid, description = "Only this app's"),
        ("range" = Option<String>, Query, description = "`1h` (the default), `24h` or `30d`"),
    ),
    responses((status = 200, description = "The figures", body = StatsView), Refused, Missing),
    security(("Admin-Token" = []), ("App-Secret" = []))
)]
pub(crate) async fn read(api: Arc<Api>, call: Call, caller: Caller) -> Result<JsonAnswer<StatsView>, Problem> {
    Ok(JsonAnswer(find(&api, &caller, &call.read()?).await?))
}

/// The figures that `request` asks for, for the API and for the console alike.
pub(crate) async fn find(api: &Api, caller: &Caller, request: &AskStats) -> Result<StatsView, Problem> {
    let app = api.broker.scope(caller, app_id(request.app_id.as_deref())?).await?.app_id;
    let range = Range::parse(given(request.range.as_deref()))?;
    let starts = range.starts(api.broker.now());
    let kept = match range.span() {
        None if !api.hub.is_among_others() => api.watch.tally.minutes(app),
        span => api.broker.store().figures_since(span.unwrap_or(Span::Minute), app, starts[0]).await?,
    };
    let (since, mut present) = present(&api.watch, &api.hub, app);
    let (theirs, silent) = api.hub.figures_of_others(app).await;
    for (_, theirs) in &theirs {
        let connections = present.connections.saturating_add(theirs.connections);
        present.add(theirs);
        present.connections = connections;
    }
    let points = points(&starts, range.span_secs(), kept, (since, present));
    Ok(StatsView {
        app_id: app,
        range: range.word(),
        span_secs: range.span_secs(),
        silent_nodes: silent as u64,
        points,
    })
}

/// How far back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Range {
    Hour,
    Day,
    Month,
}

impl Range {
    fn parse(word: Option<&str>) -> Result<Self, Refusal> {
        match word {
            None | Some("1h") => Ok(Self::Hour),
            Some("24h") => Ok(Self::Day),
            Some("30d") => Ok(Self::Month),
            Some(_) => Err(Refusal::field("range", "must be 1h, 24h or 30d")),
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Hour => "1h",
            Self::Day => "24h",
            Self::Month => "30d",
        }
    }

    /// As it is stored; none: it is kept in memory.
    fn span(self) -> Option<Span> {
        match self {
            Self::Hour => None,
            Self::Day => Some(Span::TenMinutes),
            Self::Month => Some(Span::SixHours),
        }
    }

    fn span_secs(self) -> i64 {
        self.span().map_or(MINUTE_SECS, Span::secs)
    }

    /// The beginnings of its stretches, the last one being the present one.
    fn starts(self, now: Timestamp) -> Vec<Timestamp> {
        let secs = self.span_secs();
        let count = self.span().map_or(HOUR_SECS, Span::kept_secs) / secs;
        let last = start_of(now, secs);
        (0..count).rev().map(|back| last.plus_secs(-back * secs)).collect()
    }
}

/// A point for each of `starts`, with what was counted since the present minute began added to its own.
fn points(
    starts: &[Timestamp],
    span_secs: i64,
    kept: Vec<(Timestamp, Figures)>,
    (since, present): (Timestamp, Figures),
) -> Vec<PointView> {
    let mut by_start: BTreeMap<Timestamp, Figures> = kept.into_iter().collect();
    by_start.entry(start_of(since, span_secs)).or_default().add(&present);
    starts.iter().map(|at| PointView::of(*at, by_start.remove(at).unwrap_or_default())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1_800_000_030);

    #[test]
    fn a_range_is_covered_without_a_gap() {
        for (word, count, secs) in [(None, 60, 60), (Some("24h"), 144, 600), (Some("30d"), 120, 21_600)] {
            let range = Range::parse(word).unwrap();
            let starts = range.starts(NOW);
            assert_eq!((starts.len(), range.span_secs()), (count, secs), "{word:?}");
            assert!(starts.windows(2).all(|pair| pair[1].secs() - pair[0].secs() == secs));
            assert_eq!(starts.last(), Some(&start_of(NOW, secs)));
        }
        assert_eq!(Range::parse(Some("7d")).unwrap_err().code(), "invalid");
    }

    #[test]
    fn what_is_being_counted_belongs_to_the_stretch_it_began_in() {
        let starts = Range::Day.starts(NOW);
        let minted = |minted| Figures { minted, ..Figures::default() };
        let last = *starts.last().unwrap();
        let kept = vec![(starts[3], minted(2)), (last, minted(3))];
        let points = points(&starts, 600, kept, (start_of(NOW, 60), minted(4)));
        assert_eq!((points[3].minted, points[4].minted, points.last().unwrap().minted), (2, 0, 7));
    }
}
