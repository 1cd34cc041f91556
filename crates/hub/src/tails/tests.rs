use std::sync::atomic::AtomicBool;

use respoke_core::clock::Timestamp;
use respoke_core::id::{ConnectionId, RequestId};
use respoke_core::ports::Answers;
use respoke_core::tail::FrameKind;

use super::looking::RENEWED_EVERY;
use super::*;
use crate::outbox::{Outbox, OutboxLimits};
use crate::registry::Home;
use crate::stub_bus::{StubBus, node};

fn connection(app_id: AppId, endpoint: &str) -> Connection {
    Connection {
        id: ConnectionId::random(),
        app_id,
        endpoint: EndpointId::parse(endpoint).unwrap(),
        role_id: None,
        client_type: "WEB".into(),
        address: std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST),
        trickle_ice: true,
        ice_final_candidates: false,
        home: Home::Here(Arc::new(Outbox::new(OutboxLimits { frames_max: 1, bytes_max: 1 }))),
        gone: AtomicBool::new(false),
        telling: parking_lot::Mutex::default(),
        parked: AtomicBool::new(false),
        inherited: parking_lot::Mutex::default(),
    }
}

fn frame(connection: &Connection) -> TailedFrame {
    TailedFrame {
        at: Timestamp::from_secs(1),
        connection_id: connection.id,
        kind: FrameKind::Event,
        name: "message".into(),
        request_id: RequestId::random(),
        from: None,
        status: None,
        bytes: 5,
        payload: Some("words".into()),
        lost: 0,
    }
}

/// Shows a frame where there is no other node.
fn show(tails: &Tails, connection: &Connection, frame: impl Fn(Payloads) -> TailedFrame) {
    tails.open.read().show_here(connection.app_id, &connection.endpoint, &frame);
}

/// The bus of a node beside which another one looks on at everything, or at nothing any more.
fn beside_one_that_looks(looks: bool) -> impl Bus {
    let ask = async |_, _, _| Answers::default();
    StubBus { other_nodes: vec![node(2)], wanted_elsewhere: looks, ask }
}

fn shows(tails: &Tails, app: AppId, endpoint: &str, payloads: Payloads) -> bool {
    let endpoint = EndpointId::parse(endpoint).unwrap();
    matches!(tails.show_others(&beside_one_that_looks(true), app, endpoint, payloads), Done::Now { .. })
}

#[tokio::test]
async fn frames_of_the_endpoint_are_shown_and_no_others() {
    let tails = Arc::new(Tails::default());
    let app = AppId::random();
    let (jo, flo, stranger) = (connection(app, "jo"), connection(app, "flo"), connection(AppId::random(), "jo"));
    assert!(!tails.any());
    let mut redacted = tails.open(app, jo.endpoint.clone(), Payloads::Redacted, None).unwrap();
    let mut shown = tails.open(app, jo.endpoint.clone(), Payloads::Shown, None).unwrap();
    for connection in [&stranger, &flo, &jo] {
        show(&tails, connection, |_| frame(connection));
    }
    let frame = shown.next().await.unwrap();
    assert_eq!((frame.connection_id, frame.payload.as_deref()), (jo.id, Some("words")));
    let frame = redacted.next().await.unwrap();
    assert_eq!((frame.connection_id, frame.payload), (jo.id, None));
    let ends = async {
        tokio::task::yield_now().await;
        tails.end();
    };
    tokio::join!(shown.ended(), ends);
    shown.ended().await;
    assert!(redacted.next().await.is_none() && !tails.any());
    let mut late = tails.open(app, jo.endpoint.clone(), Payloads::Shown, None).unwrap();
    assert_eq!(late.frames.try_recv().unwrap_err(), mpsc::error::TryRecvError::Disconnected);
    assert!(!tails.any(), "none outlives the end of all");
}

#[tokio::test]
async fn a_tail_that_is_not_read_loses_frames_and_says_how_many() {
    let tails = Arc::new(Tails::default());
    let jo = connection(AppId::random(), "jo");
    let mut tail = tails.open(jo.app_id, jo.endpoint.clone(), Payloads::Shown, None).unwrap();
    for _ in 0..QUEUE_LEN_MAX + 3 {
        show(&tails, &jo, |_| frame(&jo));
    }
    for _ in 0..QUEUE_LEN_MAX {
        assert_eq!(tail.next().await.unwrap().lost, 0);
    }
    show(&tails, &jo, |_| frame(&jo));
    assert_eq!(tail.next().await.unwrap().lost, 3);
}

#[tokio::test(start_paused = true)]
async fn what_is_said_is_shown_to_other_nodes_for_as_long_as_somebody_wants_to_see_it() {
    let tails = Arc::new(Tails::default());
    let app = AppId::parse("7c5f10a4-3f1e-4b6e-9a30-5d3f6cf0a001").unwrap();
    let shown = || tails.open.read().shown.iter().map(|shown| shown.payloads(Instant::now())).collect::<Vec<_>>();
    assert!(shows(&tails, app, "jo", Payloads::Shown));
    tokio::time::advance(RENEWED_EVERY).await;
    assert!(shows(&tails, app, "jo", Payloads::Redacted));
    assert_eq!(shown(), [Payloads::Shown]);
    for _ in 0..3 {
        tokio::time::advance(RENEWED_EVERY).await;
        assert!(shows(&tails, app, "jo", Payloads::Redacted));
    }
    assert_eq!(shown(), [Payloads::Redacted]);
    tokio::time::advance(SHOWN_FOR).await;
    tails.sweep(&beside_one_that_looks(true));
    assert!(!tails.any());
}

#[test]
fn only_so_many_are_open_and_a_dropped_one_makes_room() {
    let tails = Arc::new(Tails::default());
    let (app, jo) = (AppId::random(), EndpointId::parse("jo").unwrap());
    let open = |app| tails.open(app, jo.clone(), Payloads::Shown, None);
    let mut held: Vec<_> = (0..TAILS_PER_APP_MAX).map(|_| open(app).unwrap()).collect();
    assert_eq!(open(app).unwrap_err().code(), "limit_reached");
    held.pop();
    held.push(open(app).unwrap());
    while held.len() < TAILS_MAX {
        held.push(open(AppId::random()).unwrap());
    }
    assert_eq!(open(AppId::random()).unwrap_err().code(), "limit_reached");
    held.clear();
    assert!(!tails.any());
}

#[test]
fn only_so_many_endpoints_are_shown_to_others_and_each_app_has_its_share() {
    let (tails, app) = (Tails::default(), AppId::random());
    let shares = || tails.open.read().shown.iter().map(|shown| shown.share).collect::<Vec<_>>();
    let names: Vec<_> = (0..TAILS_PER_APP_MAX).map(|nth| format!("endpoint {nth}")).collect();
    assert!(names.iter().all(|name| shows(&tails, app, name, Payloads::Redacted)));
    assert!(!shows(&tails, app, "one more", Payloads::Redacted));
    assert!(shows(&tails, app, &names[0], Payloads::Redacted), "it is shown already");
    assert_eq!(shares(), [SHARES / TAILS_PER_APP_MAX; TAILS_PER_APP_MAX]);
    assert!(shows(&tails, AppId::random(), "jo", Payloads::Redacted));
    assert_eq!(shares().pop(), Some(SHARE_MAX), "another app's many take nothing from it");
    while tails.open.read().shown.len() < TAILS_MAX {
        assert!(shows(&tails, AppId::random(), "jo", Payloads::Redacted));
    }
    assert!(!shows(&tails, AppId::random(), "jo", Payloads::Redacted));
    tails.sweep(&beside_one_that_looks(false));
    assert!(!tails.any(), "nobody looks on any more");
}

#[tokio::test]
async fn a_tail_ends_when_another_node_shows_no_more_of_its_endpoint() {
    let (tails, app) = (Arc::new(Tails::default()), AppId::random());
    let open = |name| tails.open(app, EndpointId::parse(name).unwrap(), Payloads::Shown, None).unwrap();
    let (mut jo, mut flo) = (open("jo"), open("flo"));
    tails.end_of(app, &EndpointId::parse("jo").unwrap());
    assert!(jo.next().await.is_none());
    assert_eq!(flo.frames.try_recv().unwrap_err(), mpsc::error::TryRecvError::Empty);
}
