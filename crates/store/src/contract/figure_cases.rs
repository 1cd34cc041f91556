//! Cases about figures over time.

use respoke_core::clock::Timestamp;
use respoke_core::figures::{Figures, Span, start_of};
use respoke_core::id::AppId;
use respoke_core::ports::NodeId;

use super::Fixture;
use super::fixture::NOW;

fn minted(minted: u64) -> Figures {
    Figures { minted, connections: minted, ..Figures::default() }
}

pub(super) async fn figures_add_up_by_span_and_app(fixture: impl Fixture) {
    let world = fixture.opened().await;
    let store = &world.store;
    let start = start_of(NOW, Span::SixHours.secs());
    let app = Some(world.app);
    for (secs, whole, own) in [(0, 5, 1), (540, 6, 2), (600, 7, 3)] {
        let counted = vec![(None, minted(whole)), (app, minted(own))];
        store.add_figures(None, start.plus_secs(secs), counted).await.unwrap();
    }
    let of = async |span, app| {
        let found = store.figures_since(span, app, start).await.unwrap();
        found.into_iter().map(|(at, figures)| (at.secs() - start.secs(), figures.minted)).collect::<Vec<_>>()
    };
    assert_eq!(of(Span::TenMinutes, None).await, [(0, 11), (600, 7)]);
    assert_eq!(of(Span::TenMinutes, app).await, [(0, 3), (600, 3)]);
    assert_eq!(of(Span::SixHours, None).await, [(0, 18)]);
    assert!(of(Span::SixHours, Some(AppId::random())).await.is_empty());
    let six_hours = store.figures_since(Span::SixHours, None, start).await.unwrap();
    assert_eq!(six_hours[0].1.connections, 7, "the most at once, not their sum");
    assert!(store.figures_since(Span::TenMinutes, None, start.plus_secs(601)).await.unwrap().is_empty());
}

pub(super) async fn figures_are_forgotten_by_age(fixture: impl Fixture) {
    let world = fixture.opened().await;
    let store = &world.store;
    let start = start_of(NOW, Span::SixHours.secs());
    let add = async |secs| store.add_figures(None, start.plus_secs(secs), vec![(None, minted(1))]).await.unwrap();
    let count = async |span| store.figures_since(span, None, start).await.unwrap().len();
    add(0).await;
    add(86_400).await;
    assert_eq!((count(Span::TenMinutes).await, count(Span::SixHours).await), (2, 2));
    add(86_400 + 600).await;
    assert_eq!((count(Span::TenMinutes).await, count(Span::SixHours).await), (2, 2), "the first ten minutes are gone");
    add(31 * 86_400).await;
    assert_eq!((count(Span::TenMinutes).await, count(Span::SixHours).await), (1, 2), "the first day is, almost");
}

pub(super) async fn connections_of_several_nodes_are_summed_by_the_minute(fixture: impl Fixture) {
    let world = fixture.opened().await;
    let store = &world.store;
    let start = start_of(NOW, Span::SixHours.secs());
    let app = Some(world.app);
    // A row of a server that was alone.
    store.add_figures(None, start, vec![(None, minted(4))]).await.unwrap();
    for (node, minute, whole, own) in [(1, 1, 3, 1), (2, 1, 2, 1), (1, 2, 2, 2), (2, 2, 2, 0), (1, 10, 1, 1)] {
        let counted = vec![(None, minted(whole)), (app, minted(own))];
        store.add_figures(Some(NodeId(node)), start.plus_secs(minute * 60), counted).await.unwrap();
    }
    let of = async |span, app| {
        let found = store.figures_since(span, app, start).await.unwrap();
        let of = |(at, figures): (Timestamp, Figures)| (at.secs() - start.secs(), figures.minted, figures.connections);
        found.into_iter().map(of).collect::<Vec<_>>()
    };
    assert_eq!(of(Span::Minute, None).await, [(60, 5, 5), (120, 4, 4), (600, 1, 1)]);
    assert_eq!(of(Span::Minute, app).await, [(60, 2, 2), (120, 2, 2), (600, 1, 1)]);
    assert_eq!(of(Span::TenMinutes, None).await, [(0, 13, 5), (600, 1, 1)]);
    assert_eq!(of(Span::SixHours, None).await, [(0, 14, 5)]);
    assert_eq!(of(Span::SixHours, app).await, [(0, 5, 2)]);
    store.add_figures(Some(NodeId(2)), start.plus_secs(4_200), vec![(None, minted(1))]).await.unwrap();
    assert_eq!(of(Span::Minute, None).await, [(600, 1, 1), (4_200, 1, 1)], "an hour is kept");
}
