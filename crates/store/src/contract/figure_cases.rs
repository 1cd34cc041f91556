//! Cases about figures over time.

use respoke_core::figures::{Figures, Span, start_of};
use respoke_core::id::AppId;

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
        store.add_figures(start.plus_secs(secs), counted).await.unwrap();
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
    let add = async |secs| store.add_figures(start.plus_secs(secs), vec![(None, minted(1))]).await.unwrap();
    let count = async |span| store.figures_since(span, None, start).await.unwrap().len();
    add(0).await;
    add(86_400).await;
    assert_eq!((count(Span::TenMinutes).await, count(Span::SixHours).await), (2, 2));
    add(86_400 + 600).await;
    assert_eq!((count(Span::TenMinutes).await, count(Span::SixHours).await), (2, 2), "the first ten minutes are gone");
    add(31 * 86_400).await;
    assert_eq!((count(Span::TenMinutes).await, count(Span::SixHours).await), (1, 2), "the first day is, almost");
}
