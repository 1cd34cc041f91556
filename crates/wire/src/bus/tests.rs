//! Whatever is written is read back the same, and damaged bytes never panic.

use std::net::IpAddr;
use std::sync::Arc;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use respoke_core::clock::Timestamp;
use respoke_core::event::{self, Event, Presence, Signal};
use respoke_core::id::{AdminId, AppId, ConnectionId, EndpointId, GroupName, MessageId, RequestId, RoleId, SecretId};
use respoke_core::ports::{
    Arrived, Audience, Change, ConnectionFacts, ConnectionStateFacts, Deed, Departed, Done, Holder, Interest, Present,
};
use respoke_core::tail::{FrameKind, Payloads, TailedFrame};
use serde_json::value::RawValue;
use uuid::Uuid;

use super::*;

fn node() -> impl Strategy<Value = Node> {
    any::<(u32, u64)>().prop_map(|(id, life)| Node { id: NodeId(id), incarnation: Incarnation(life) })
}

fn uuid() -> impl Strategy<Value = Uuid> {
    any::<u128>().prop_map(Uuid::from_u128)
}

fn app() -> impl Strategy<Value = AppId> {
    uuid().prop_map(AppId::from_uuid)
}

fn connection() -> impl Strategy<Value = ConnectionId> {
    uuid().prop_map(ConnectionId::from_uuid)
}

fn endpoint() -> impl Strategy<Value = EndpointId> {
    "\\PC{1,20}".prop_map(|text| EndpointId::parse(&text).unwrap())
}

fn group() -> impl Strategy<Value = GroupName> {
    "(?s).{1,20}".prop_map(|text| GroupName::parse(&text).unwrap())
}

/// What clients may say, also what no value of a program could hold.
fn payload() -> impl Strategy<Value = Box<RawValue>> {
    let odd = prop::sample::select(vec![
        "null".to_owned(),
        r#"{"b" : [1 ,	2 ],"a":1, "a":2}"#.to_owned(),
        r#""half of a pair: \ud83d""#.to_owned(),
        "1e999999".to_owned(),
        "-0.000".to_owned(),
        "\"\u{2028}\u{1F4DE}\"".to_owned(),
        format!("{}{}", "[".repeat(300), "]".repeat(300)),
        format!("\"{}\"", "x".repeat(crate::input::BODY_LEN_MAX)),
    ]);
    let text = any::<String>().prop_map(|text| serde_json::to_string(&text).unwrap());
    prop_oneof![odd, text].prop_map(|text| RawValue::from_string(text).unwrap())
}

fn presence() -> impl Strategy<Value = Presence> {
    (payload(), option::of(payload()), option::of(payload())).prop_map(|(kind, show, status)| Presence {
        kind,
        show,
        status,
    })
}

fn signal() -> impl Strategy<Value = Signal> {
    let types = (".{0,10}", ".{0,10}", option::of(".{0,10}"));
    (endpoint(), option::of(connection()), option::of(endpoint()), types, payload()).prop_map(
        |(to, to_connection, to_original, (from_type, to_type, spares_answerers_of), body)| Signal {
            to,
            to_connection,
            to_original,
            from_type,
            to_type,
            body,
            spares_answerers_of,
        },
    )
}

fn content() -> impl Strategy<Value = event::Content> {
    let message_id = || uuid().prop_map(MessageId::from_uuid);
    prop_oneof![
        (message_id(), endpoint(), option::of(endpoint()), payload()).prop_map(
            |(message_id, to, to_original, body)| event::Content::Message { message_id, to, to_original, body }
        ),
        (message_id(), group(), payload()).prop_map(|(message_id, group, message)| event::Content::Published {
            message_id,
            group,
            message
        }),
        (group(), endpoint(), connection()).prop_map(|(group, endpoint, connection)| event::Content::Joined {
            group,
            endpoint,
            connection
        }),
        (group(), endpoint(), connection()).prop_map(|(group, endpoint, connection)| event::Content::Left {
            group,
            endpoint,
            connection
        }),
        presence().prop_map(event::Content::Presence),
        signal().prop_map(event::Content::Signal),
        Just(event::Content::Missed),
    ]
}

fn event() -> impl Strategy<Value = Arc<Event>> {
    (endpoint(), option::of(connection()), any::<i64>(), uuid(), content()).prop_map(
        |(from, from_connection, at, request_id, content)| {
            let (at, request_id) = (Timestamp::from_millis(at), RequestId::from_uuid(request_id));
            Arc::new(Event { from, from_connection, at, request_id, content })
        },
    )
}

fn audience() -> impl Strategy<Value = Audience> {
    let one = || option::of(connection());
    prop_oneof![
        (endpoint(), one(), one()).prop_map(|(endpoint, only, except)| Audience::Endpoint { endpoint, only, except }),
        (group(), one()).prop_map(|(group, except)| Audience::Group { group, except }),
        (endpoint(), one()).prop_map(|(endpoint, except)| Audience::Observers { endpoint, except }),
    ]
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        any::<u64>().prop_map(Change::Session),
        (app(), endpoint()).prop_map(|(app, endpoint)| Change::Endpoint(app, endpoint)),
        (app(), uuid()).prop_map(|(app, role)| Change::Role(app, RoleId::from_uuid(role))),
        (app(), uuid()).prop_map(|(app, secret)| Change::Secret(app, SecretId::from_uuid(secret))),
        app().prop_map(Change::App),
        uuid().prop_map(|admin| Change::Admin(AdminId::from_uuid(admin))),
    ]
}

/// Boxed, as are others that many are made of: a test's stack does not hold them all.
fn delivery() -> BoxedStrategy<Delivery> {
    prop_oneof![
        3 => (app(), audience(), event()).prop_map(|(app_id, to, event)| Delivery::Push { app_id, to, event }),
        1 => (app(), endpoint(), connection(), vec(group(), 0..4)).prop_map(
            |(app_id, endpoint, connection, groups)| {
                Delivery::Departed(Departed { app_id, endpoint, connection, groups })
            }
        ),
        1 => change().prop_map(Delivery::Change),
        1 => (app(), group(), vec(connection(), 0..4))
            .prop_map(|(app_id, group, connections)| Delivery::GroupEnded { app_id, group, connections }),
        1 => (app(), endpoint(), connection())
            .prop_map(|(app_id, endpoint, connection)| Delivery::Arrived(Arrived { app_id, endpoint, connection })),
        1 => (app(), endpoint(), tailed())
            .prop_map(|(app_id, endpoint, frame)| Delivery::Tailed { app_id, endpoint, frame: Box::new(frame) }),
    ]
    .boxed()
}

fn tailed() -> impl Strategy<Value = TailedFrame> {
    let kind = prop::sample::select(vec![FrameKind::Event, FrameKind::Request, FrameKind::Answer]);
    let ids = (connection(), uuid(), option::of(endpoint()));
    let numbers = any::<(i64, u64, u64, Option<u16>)>();
    (ids, kind, numbers, ".{0,64}", option::of(".{0,64}")).prop_map(
        |((connection_id, request_id, from), kind, (at, bytes, lost, status), name, payload)| TailedFrame {
            at: Timestamp::from_millis(at),
            connection_id,
            kind,
            name,
            request_id: RequestId::from_uuid(request_id),
            from,
            status,
            bytes,
            payload,
            lost,
        },
    )
}

fn news() -> impl Strategy<Value = InterestNews> {
    let hash = || any::<u128>().prop_map(InterestHash);
    prop_oneof![
        (app(), hash()).prop_map(|(app, hash)| InterestNews::Held(app, hash)),
        (app(), hash()).prop_map(|(app, hash)| InterestNews::Released(app, hash)),
        (app(), vec(hash(), 0..5)).prop_map(|(app, hashes)| InterestNews::App(app, hashes)),
        app().prop_map(InterestNews::WholeApp),
        Just(InterestNews::Complete),
        (app(), vec(hash(), 0..5), any::<u64>()).prop_map(|(app_id, of, millis)| InterestNews::Late {
            app_id,
            of,
            millis
        }),
    ]
}

fn interest() -> impl Strategy<Value = Interest> {
    prop_oneof![
        (app(), group()).prop_map(|(app, group)| Interest::Group(app, group)),
        (app(), endpoint()).prop_map(|(app, endpoint)| Interest::Endpoint(app, endpoint)),
        (app(), endpoint()).prop_map(|(app, endpoint)| Interest::Observers(app, endpoint)),
        (app(), endpoint()).prop_map(|(app, endpoint)| Interest::Tails(app, endpoint)),
    ]
}

fn deed() -> BoxedStrategy<Deed> {
    let most = || option::of(any::<u32>());
    prop_oneof![
        (connection(), group(), most(), most()).prop_map(|(connection, group, groups_max, members_max)| Deed::Join {
            connection,
            group,
            groups_max,
            members_max
        }),
        (connection(), group()).prop_map(|(connection, group)| Deed::Leave { connection, group }),
        (connection(), presence()).prop_map(|(connection, presence)| Deed::Say { connection, presence }),
        group().prop_map(|group| Deed::EndGroup { group }),
        (endpoint(), prop::sample::select(vec![Payloads::Redacted, Payloads::Shown]))
            .prop_map(|(endpoint, payloads)| Deed::Show { endpoint, payloads }),
        connection().prop_map(|connection| Deed::End { connection }),
    ]
    .boxed()
}

fn done() -> impl Strategy<Value = Done> {
    prop_oneof![
        any::<(u32, bool)>().prop_map(|(told, settled)| Done::Now { told, settled }),
        any::<bool>().prop_map(|settled| Done::Before { settled }),
        Just(Done::Gone),
        Just(Done::ConnectionFull),
        Just(Done::GroupFull),
        Just(Done::Overloaded),
    ]
}

fn holder() -> impl Strategy<Value = Holder> {
    prop_oneof![
        Just(Holder::App),
        endpoint().prop_map(Holder::Endpoint),
        group().prop_map(Holder::Group),
        endpoint().prop_map(Holder::Observers),
    ]
}

fn question() -> BoxedStrategy<Question> {
    prop_oneof![
        (app(), connection()).prop_map(|(app_id, connection)| Question::Connection { app_id, connection }),
        (app(), holder(), option::of(connection()), any::<u16>())
            .prop_map(|(app_id, of, after, most)| Question::Connections { app_id, of, after, most }),
        (app(), option::of(endpoint()), option::of(group()), any::<u16>())
            .prop_map(|(app_id, endpoint, after, most)| Question::Groups { app_id, endpoint, after, most }),
        (app(), endpoint(), option::of(connection())).prop_map(|(app_id, endpoint, after)| Question::States {
            app_id,
            endpoint,
            after
        }),
        (app(), holder()).prop_map(|(app_id, of)| Question::Count { app_id, of }),
        (vec(interest(), 0..4), option::of((any::<u32>(), connection())))
            .prop_map(|(of, after)| Question::Snapshot { of, after }),
        (app(), uuid(), deed()).prop_map(|(app_id, request, deed)| {
            let request_id = RequestId::from_uuid(request);
            Question::Do { app_id, request_id, deed }
        }),
        uuid().prop_map(|request| Question::Settled { request_id: RequestId::from_uuid(request) }),
    ]
    .boxed()
}

fn facts() -> impl Strategy<Value = ConnectionFacts> {
    let role = option::of(uuid().prop_map(RoleId::from_uuid));
    (connection(), endpoint(), role, ".{0,64}", any::<IpAddr>(), any::<(bool, bool)>()).prop_map(
        |(id, endpoint, role_id, client_type, address, (trickle_ice, ice_final_candidates))| ConnectionFacts {
            id,
            endpoint,
            role_id,
            client_type,
            address,
            trickle_ice,
            ice_final_candidates,
        },
    )
}

fn state() -> BoxedStrategy<ConnectionStateFacts> {
    (facts(), vec(group(), 0..3), option::of(presence()))
        .prop_map(|(connection, groups, presence)| ConnectionStateFacts { connection, groups, presence })
        .boxed()
}

fn present() -> impl Strategy<Value = Present> {
    (any::<u32>(), endpoint(), connection(), option::of(presence()))
        .prop_map(|(of, endpoint, connection, presence)| Present { of, endpoint, connection, presence })
}

fn answer() -> BoxedStrategy<Answer> {
    prop_oneof![
        vec(facts(), 0..4).prop_map(Answer::Connections),
        vec(group(), 0..4).prop_map(Answer::Groups),
        (vec(state(), 0..3), any::<bool>()).prop_map(|(found, more)| Answer::States { found, more }),
        any::<u64>().prop_map(Answer::Count),
        (vec(present(), 0..3), any::<bool>()).prop_map(|(found, more)| Answer::Snapshot { found, more }),
        done().prop_map(Answer::Done),
    ]
    .boxed()
}

fn item() -> impl Strategy<Value = Item> {
    prop_oneof![
        4 => delivery().prop_map(Item::Delivery),
        1 => news().prop_map(Item::News),
        1 => (any::<u64>(), question()).prop_map(|(ask, question)| Item::Question { ask, question }),
        1 => (any::<(u64, u64)>(), answer()).prop_map(|((ask, known), answer)| Item::Answer { ask, known, answer }),
        1 => any::<u64>().prop_map(|ask| Item::NoAnswer { ask }),
        1 => Just(Item::Unsent),
        1 => (any::<(u32, u32)>(), vec(any::<u8>(), 0..40))
            .prop_map(|((index, count), bytes)| Item::Part { index, count, bytes: Piece(bytes.into()) }),
    ]
}

fn frame() -> impl Strategy<Value = Frame> {
    let content = prop_oneof![
        6 => (any::<u64>(), item()).prop_map(|(number, item)| Content::Item { number, item }),
        1 => any::<u64>().prop_map(Content::Head),
        1 => any::<u64>().prop_map(Content::Seen),
        1 => vec(any::<(u64, u64)>(), 0..4).prop_map(Content::Again),
        1 => any::<u64>().prop_map(Content::Gone),
    ];
    (node(), node(), content).prop_map(|(from, to, content)| Frame { from, to, content })
}

fn published(frame: &Frame) -> &RawValue {
    let Content::Item { item: Item::Delivery(Delivery::Push { event, .. }), .. } = &frame.content else {
        panic!("{frame:?} pushes nothing");
    };
    let event::Content::Published { message, .. } = &event.content else { panic!("{event:?} was not published") };
    message
}

fn publication(message: Box<RawValue>) -> Frame {
    let id = Uuid::from_u128(0x0101_0101_0101_0101_0101_0101_0101_0101);
    let group = GroupName::parse("room").unwrap();
    let event = Event {
        from: EndpointId::parse("jo").unwrap(),
        from_connection: None,
        at: Timestamp::from_millis(3),
        request_id: RequestId::from_uuid(id),
        content: event::Content::Published { message_id: MessageId::from_uuid(id), group: group.clone(), message },
    };
    let to = Audience::Group { group, except: Some(ConnectionId::from_uuid(id)) };
    let item = Item::Delivery(Delivery::Push { app_id: AppId::from_uuid(id), to, event: Arc::new(event) });
    Frame {
        from: Node { id: NodeId(1), incarnation: Incarnation(2) },
        to: Node { id: NodeId(3), incarnation: Incarnation(4) },
        content: Content::Item { number: 5, item },
    }
}

fn raw(json: &str) -> Box<RawValue> {
    RawValue::from_string(json.to_owned()).unwrap()
}

#[test]
fn a_publication_is_these_bytes() {
    let id = [1_u8; 16];
    let parts: &[&[u8]] = &[
        &[1],                                  // the version
        &[0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2], // from node 1 in its second life
        &[0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 4], // to node 3 in its fourth
        &[0, 0, 0, 0, 0, 0, 0, 0, 5],          // an item, the fifth
        &[0, 0],                               // a delivery, a push
        &id,                                   // the app
        &[1, 0, 0, 0, 4],                      // to a group of four letters
        b"room",
        &[1], // but not to one connection
        &id,
        &[0, 0, 0, 2], // the sender, two letters
        b"jo",
        &[0],                      // no connection of it
        &[0, 0, 0, 0, 0, 0, 0, 3], // the instant
        &id,                       // the request
        &[1],                      // published
        &id,                       // the message
        &[0, 0, 0, 4],             // the group
        b"room",
        &[0, 0, 0, 5], // what was said, as it was written
        b"[1.0]",
    ];
    assert_eq!(publication(raw("[1.0]")).encode().unwrap(), parts.concat());
}

#[test]
fn what_another_version_wrote_is_refused_by_name() {
    let mut bytes = publication(raw("1")).encode().unwrap().to_vec();
    for version in [0, 2, 255] {
        bytes[0] = version;
        let error = Frame::decode(&bytes).unwrap_err();
        assert_eq!(error, BusCodecError::UnknownVersion(version));
        assert!(error.to_string().contains(&format!("version {version}")));
    }
}

#[test]
fn what_is_too_long_is_neither_written_nor_read() {
    let around = publication(raw("\"\"")).encode().unwrap().len();
    let fits = publication(raw(&format!("\"{}\"", "x".repeat(FRAME_LEN_MAX - around))));
    let bytes = fits.encode().unwrap();
    assert_eq!(bytes.len(), FRAME_LEN_MAX);
    assert!(Frame::decode(&bytes).is_ok());
    let long = publication(raw(&format!("\"{}\"", "x".repeat(FRAME_LEN_MAX - around + 1))));
    assert_eq!(long.encode().unwrap_err(), BusCodecError::TooLong);
    assert_eq!(Frame::decode(&[bytes.as_ref(), b" "].concat()).unwrap_err(), BusCodecError::TooLong);
}

#[test]
fn what_is_longer_than_a_frame_goes_in_parts_that_make_it_again() {
    let item = |len: usize| {
        let Content::Item { item, .. } = publication(raw(&format!("\"{}\"", "x".repeat(len)))).content else {
            panic!()
        };
        item.encode()
    };
    let around = item(0).unwrap().len();
    for (len, count) in [
        (0, 1),
        (FRAME_LEN_MAX - HEAD_LEN, 1),
        (FRAME_LEN_MAX - HEAD_LEN + 1, 2),
        (3 * PART_LEN_MAX, 3),
        (3 * PART_LEN_MAX + 1, 4),
        (ITEM_LEN_MAX, 17),
    ] {
        let whole = item(len.saturating_sub(around)).unwrap();
        let frames: Vec<_> = pieces(&whole).map(|piece| frame_item(NODE, NODE, 1, &piece)).collect();
        assert_eq!((frames.len(), pieces(&whole).len()), (count, count));
        let mut again = Vec::new();
        for (at, frame) in frames.iter().enumerate() {
            match Frame::decode(frame).unwrap().content {
                Content::Item { item: Item::Part { index, count, bytes }, .. } => {
                    assert_eq!((index as usize, count as usize), (at, frames.len()));
                    again.extend_from_slice(&bytes.0);
                }
                Content::Item { item, .. } => again.extend_from_slice(&item.encode().unwrap()),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(again, whole);
        assert_eq!(Item::decode(&again).unwrap().encode().unwrap(), whole);
        again.push(0);
        assert!(Item::decode(&again).is_err());
    }
    assert_eq!(item(ITEM_LEN_MAX - around + 1).unwrap_err(), BusCodecError::TooLong);
}

const NODE: Node = Node { id: NodeId(1), incarnation: Incarnation(2) };

#[test]
fn a_length_that_is_only_claimed_is_refused() {
    let news = Frame {
        content: Content::Item {
            number: 1,
            item: Item::News(InterestNews::App(AppId::from_uuid(Uuid::nil()), vec![InterestHash(7)])),
        },
        ..publication(raw("1"))
    };
    let bytes = news.encode().unwrap().to_vec();
    let at = bytes.len() - 16 - 4;
    let claims = |len: u32| [&bytes[..at], &len.to_be_bytes(), &bytes[at + 4..]].concat();
    assert!(Frame::decode(&claims(1)).is_ok());
    assert_eq!(Frame::decode(&claims(u32::MAX)).unwrap_err(), BusCodecError::CutShort);
    assert_eq!(Frame::decode(&claims(0)).unwrap_err(), BusCodecError::GoesOn);
}

#[test]
fn what_cannot_be_is_refused_by_name() {
    let bytes = publication(raw("1")).encode().unwrap();
    let with = |at: usize, byte: u8| {
        let mut bytes = bytes.to_vec();
        bytes[at] = byte;
        Frame::decode(&bytes).unwrap_err()
    };
    let last = bytes.len() - 1;
    assert_eq!(with(25, 9), BusCodecError::Invalid("kind of frame"));
    assert_eq!(with(HEAD_LEN, 9), BusCodecError::Invalid("kind of item"));
    assert_eq!(with(HEAD_LEN + 1, 9), BusCodecError::Invalid("kind of delivery"));
    assert_eq!(with(HEAD_LEN + 18, 9), BusCodecError::Invalid("kind of audience"));
    assert_eq!(with(HEAD_LEN + 27, 2), BusCodecError::Invalid("yes or no"));
    assert_eq!(with(last, b'x'), BusCodecError::Invalid("JSON"));
    assert_eq!(with(last, 0xFF), BusCodecError::Invalid("JSON"));
    // White space around a value is not the value's, and would be lost unseen.
    assert_eq!(with(last, b' '), BusCodecError::Invalid("JSON"));
}

#[test]
fn interests_have_their_hashes_on_every_node() {
    let app = AppId::parse("7c5f10a4-3f1e-4b6e-9a30-5d3f6cf0a001").unwrap();
    let (group, endpoint) = (GroupName::parse("a").unwrap(), EndpointId::parse("a").unwrap());
    let hashes = [
        Interest::Group(app, group.clone()),
        Interest::Endpoint(app, endpoint.clone()),
        Interest::Observers(app, endpoint.clone()),
        Interest::Tails(app, endpoint),
        Interest::Group(AppId::parse("7c5f10a4-3f1e-4b6e-9a30-5d3f6cf0a002").unwrap(), group),
    ]
    .map(|interest| InterestHash::from(&interest));
    let different: std::collections::BTreeSet<_> = hashes.iter().collect();
    assert_eq!(different.len(), hashes.len());
    // Nodes of another build come to the same, or what is for each other's sockets is lost.
    assert_eq!(hashes[0].0, 317_051_238_937_434_131_178_500_092_174_350_992_144);
}

proptest! {
    #[test]
    fn whatever_is_sent_reads_back(frame in frame()) {
        let bytes = frame.encode().unwrap();
        let read = Frame::decode(&bytes).unwrap();
        prop_assert_eq!(format!("{read:?}"), format!("{frame:?}"));
        prop_assert_eq!(read.encode().unwrap(), bytes);
    }

    #[test]
    fn payloads_pass_to_the_letter(message in payload()) {
        let frame = publication(message);
        let read = Frame::decode(&frame.encode().unwrap()).unwrap();
        prop_assert_eq!(published(&read).get(), published(&frame).get());
    }

    #[test]
    fn what_was_encoded_once_is_framed_for_each(item in item(), from in node(), to in node(), number: u64) {
        let framed = frame_item(from, to, number, &item.encode().unwrap());
        prop_assert_eq!(framed, Frame { from, to, content: Content::Item { number, item } }.encode().unwrap());
    }

    #[test]
    fn what_is_cut_short_or_goes_on_is_refused(frame in frame(), at: prop::sample::Index) {
        let bytes = frame.encode().unwrap();
        prop_assert!(Frame::decode(&bytes[..at.index(bytes.len())]).is_err());
        prop_assert!(Frame::decode(&[bytes.as_ref(), &[0]].concat()).is_err());
    }

    #[test]
    fn damage_never_panics(frame in frame(), at: prop::sample::Index, byte: u8) {
        let mut bytes = frame.encode().unwrap().to_vec();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Ok(read) = Frame::decode(&bytes) {
            prop_assert_eq!(read.encode().unwrap(), bytes);
        }
    }

    #[test]
    fn garbage_never_panics(bytes in vec(any::<u8>(), 0..300), kind in 0_u8..6) {
        let _ = Frame::decode(&bytes);
        let head = [&[VERSION][..], &[0; 24], &[kind], &[0; 8]].concat();
        let _ = Frame::decode(&[head, bytes].concat());
    }

    #[test]
    fn nothing_that_clients_say_is_printed(said in "[a-z]{12}") {
        let frame = publication(raw(&format!("\"{said}\"")));
        let printed = format!("{frame:?}");
        prop_assert!(!printed.contains(&said), "{}", printed);
        let (app_id, endpoint) = (AppId::from_uuid(Uuid::nil()), EndpointId::parse("jo").unwrap());
        let tailed = TailedFrame {
            at: Timestamp::from_millis(0),
            connection_id: ConnectionId::from_uuid(Uuid::nil()),
            kind: FrameKind::Event,
            name: String::new(),
            request_id: RequestId::from_uuid(Uuid::nil()),
            from: None,
            status: None,
            bytes: 12,
            payload: Some(said.clone()),
            lost: 0,
        };
        let printed = format!("{:?}", Delivery::Tailed { app_id, endpoint, frame: Box::new(tailed) });
        prop_assert!(!printed.contains(&said), "{}", printed);
        let part = Item::Part { index: 0, count: 2, bytes: Piece(said.clone().into()) };
        let printed = format!("{part:?}");
        prop_assert!(!printed.contains(&said), "{}", printed);
    }
}
