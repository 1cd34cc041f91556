//! Whatever is written is read back the same, and damaged bytes never panic.

mod kinds;
mod made;
mod unknown;

use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::*;
use respoke_core::clock::Timestamp;
use respoke_core::event::{self, Event};
use respoke_core::id::{AppId, ConnectionId, EndpointId, GroupName, MessageId, RequestId};
use respoke_core::message::Place;
use respoke_core::ports::{Audience, BooksAnswer, Interest, Sealed};
use respoke_core::tail::{FrameKind, TailedFrame};
use serde_json::value::RawValue;
use uuid::Uuid;

use super::*;
use made::{frame, item, node, payload};

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
        content: event::Content::Published {
            message_id: MessageId::from_uuid(id),
            group: group.clone(),
            message,
            place: None,
        },
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
fn a_kept_publication_is_another_kind_and_has_its_place_behind_it() {
    let [passing, kept] = [None, Some(Place { epoch: 6, offset: 7 })].map(|stands| {
        let mut frame = publication(raw("[1.0]"));
        let Content::Item { item: Item::Delivery(Delivery::Push { event, .. }), .. } = &mut frame.content else {
            panic!()
        };
        let event::Content::Published { place, .. } = &mut Arc::get_mut(event).unwrap().content else { panic!() };
        *place = stands;
        frame.encode().unwrap()
    });
    // Of it stand behind its kind: its id, the group, and what was said.
    let kind_at = passing.len() - 16 - 8 - 9 - 1;
    let place = [0, 0, 0, 0, 0, 0, 0, 6, 0, 0, 0, 0, 0, 0, 0, 7];
    let expected = [&passing[..kind_at], &[7], &passing[kind_at + 1..], &place].concat();
    assert_eq!((passing[kind_at], kept.as_ref()), (1, expected.as_slice()));
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
            let written = read.encode().unwrap();
            prop_assert_eq!(&Frame::decode(&written).unwrap().encode().unwrap(), &written);
            // There is one way to write it, but for JSON, which may say more than is read of it.
            let has_figures = matches!(
                read.content,
                Content::Item { item: Item::Answer { answer: Answer::Books(BooksAnswer::Figures(_)), .. }, .. }
            );
            prop_assert!(has_figures || written == bytes);
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
        let sealed = Sealed(said.clone().into());
        let printed = format!("{:?} {:?}", Question::Client { which: sealed.clone() }, Answer::Client(Some(sealed)));
        prop_assert!(!printed.contains(&said), "{}", printed);
    }
}
