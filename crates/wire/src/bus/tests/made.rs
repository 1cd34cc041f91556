//! Frames of any kind, and what is in them.

use std::net::IpAddr;
use std::sync::Arc;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use respoke_core::app::Rate;
use respoke_core::clock::Timestamp;
use respoke_core::event::{self, Event, Presence, Signal};
use respoke_core::figures::Figures;
use respoke_core::id::{AdminId, AppId, ConnectionId, EndpointId, GroupName, MessageId, RequestId, RoleId, SecretId};
use respoke_core::message::Place;
use respoke_core::ports::{
    Answer, AppBucket, Arrived, Audience, BooksAnswer, BooksQuestion, Caused, Change, ConnectionFacts,
    ConnectionStateFacts, Counted, Deed, Delivery, Departed, Done, Drawn, EnrolmentAnswer, Guesser, Holder,
    Incarnation, Interest, Moved, NameHash, Node, NodeId, Notice, ParkingClaim, ParkingGround, Present, Question,
    Sealed, Tried,
};
use respoke_core::request_log::{LoggedRequest, RequestFilter, RequestsAsked, RequestsPiece, StatusFilter};
use respoke_core::secret::{Secret, SecretHash};
use respoke_core::tail::{FrameKind, Payloads, TailedFrame};
use respoke_core::totp::SealedTotp;
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::bus::{Content, Frame, InterestHash, InterestNews, Item, Piece};

pub(super) fn node() -> impl Strategy<Value = Node> {
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
pub(super) fn payload() -> impl Strategy<Value = Box<RawValue>> {
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

fn place() -> impl Strategy<Value = Place> {
    any::<(u64, u64)>().prop_map(|(epoch, offset)| Place { epoch, offset })
}

fn content() -> impl Strategy<Value = event::Content> {
    let message_id = || uuid().prop_map(MessageId::from_uuid);
    prop_oneof![
        (message_id(), endpoint(), option::of(endpoint()), payload()).prop_map(
            |(message_id, to, to_original, body)| event::Content::Message { message_id, to, to_original, body }
        ),
        (message_id(), group(), payload(), option::of(place())).prop_map(|(message_id, group, message, place)| {
            event::Content::Published { message_id, group, message, place }
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
        Just(Change::Nodes),
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
        1 => counted().prop_map(Delivery::Counted),
        1 => (app(), group(), vec(connection(), 0..4))
            .prop_map(|(app_id, group, connections)| Delivery::GroupEnded { app_id, group, connections }),
        1 => (app(), endpoint(), connection())
            .prop_map(|(app_id, endpoint, connection)| Delivery::Arrived(Arrived { app_id, endpoint, connection })),
        1 => (app(), endpoint(), tailed())
            .prop_map(|(app_id, endpoint, frame)| Delivery::Tailed { app_id, endpoint, frame: Box::new(frame) }),
        1 => (app(), node(), state()).prop_map(|(app_id, from, ConnectionStateFacts { connection, groups, presence })| {
            let ConnectionFacts { id: connection, endpoint, .. } = connection;
            Delivery::Moved(Box::new(Moved { app_id, endpoint, connection, from, groups, presence }))
        }),
    ]
    .boxed()
}

fn guesser() -> impl Strategy<Value = Guesser> {
    let name = || any::<u64>().prop_map(NameHash);
    prop_oneof![
        (any::<IpAddr>(), name()).prop_map(|(address, name)| Guesser::Password(address, name)),
        name().prop_map(Guesser::Account),
        (name(), option::of(any::<IpAddr>())).prop_map(|(name, address)| Guesser::Code(name, address)),
        any::<IpAddr>().prop_map(Guesser::Credential),
    ]
}

fn counted() -> BoxedStrategy<Counted> {
    let buckets = [AppBucket::Requests, AppBucket::Connects, AppBucket::Messages];
    let bucket = prop::sample::select(buckets.to_vec());
    let drawn = (app(), bucket, any::<(u32, u32, u64)>()).prop_map(|(app_id, of, (per_second, burst, amount))| {
        let rate = Rate { per_second, burst };
        Drawn { app_id, of, rate, amount }
    });
    let rate = || option::of(any::<(u32, u32)>().prop_map(|(per_second, burst)| Rate { per_second, burst }));
    let caused = (app(), rate(), rate(), any::<(u64, u64)>()).prop_map(
        |(app_id, frames_rate, kilobytes_rate, (frames, bytes))| Caused {
            app_id,
            frames_rate,
            kilobytes_rate,
            frames,
            bytes,
        },
    );
    let tried = prop_oneof![
        (guesser(), any::<u32>()).prop_map(|(guesser, times)| Tried::Failed(guesser, times)),
        guesser().prop_map(Tried::TakenBack),
        guesser().prop_map(Tried::Forgiven),
        (any::<IpAddr>(), any::<u64>()).prop_map(|(address, name)| Tried::CameIn(address, NameHash(name))),
    ];
    prop_oneof![
        vec(drawn, 0..4).prop_map(Counted::Drawn),
        vec(caused, 0..4).prop_map(Counted::Caused),
        vec(tried, 0..4).prop_map(Counted::Tried),
        uuid().prop_map(|admin| Counted::Enrols(AdminId::from_uuid(admin))),
    ]
    .boxed()
}

fn request_filter() -> impl Strategy<Value = RequestFilter> {
    let text = || option::of(".{0,12}");
    let request_id = option::of(uuid().prop_map(RequestId::from_uuid));
    let status = prop_oneof![any::<u16>().prop_map(StatusFilter::Exactly), any::<u16>().prop_map(StatusFilter::Class),];
    (option::of(app()), text(), text(), request_id, option::of(status)).prop_map(
        |(app_id, endpoint_id, route, request_id, status)| RequestFilter {
            app_id,
            endpoint_id,
            route,
            request_id,
            status,
        },
    )
}

fn logged_request() -> impl Strategy<Value = LoggedRequest> {
    let ids = (uuid(), option::of(app()), option::of(endpoint()));
    let words = ("[a-z]{0,9}", "[A-Z]{0,7}", ".{0,20}", option::of("[a-z_]{1,9}"));
    let numbers = any::<(u64, i64, u16, u64)>();
    (ids, words, numbers, any::<IpAddr>(), any::<bool>()).prop_map(
        |((id, app_id, endpoint_id), (caller, method, route, code), (number, at, status, took), address, over)| {
            LoggedRequest {
                number,
                at: Timestamp::from_millis(at),
                request_id: RequestId::from_uuid(id),
                app_id,
                endpoint_id,
                caller: caller.into(),
                method: method.into(),
                route,
                status,
                code: code.map(Into::into),
                took_micros: took,
                address,
                over_socket: over,
            }
        },
    )
}

fn books_question() -> impl Strategy<Value = BooksQuestion> {
    prop_oneof![
        option::of(app()).prop_map(|app_id| BooksQuestion::Figures { app_id }),
        (request_filter(), option::of(any::<u64>()), any::<u16>()).prop_map(|(filter, before, most)| {
            BooksQuestion::Requests(Box::new(RequestsAsked { filter, before, most }))
        }),
        (uuid(), ".{0,12}").prop_map(|(admin, code)| BooksQuestion::Enrolment {
            admin_id: AdminId::from_uuid(admin),
            code: Secret::new(code)
        }),
    ]
}

fn books_answer() -> impl Strategy<Value = BooksAnswer> {
    let figures = (any::<(u64, u64)>(), vec(any::<u64>(), 0..4), "[a-z_]{1,9}").prop_map(
        |((minted, connections), latencies, code)| Figures {
            minted,
            connections,
            latencies,
            refused: [(code, minted)].into(),
            ..Figures::default()
        },
    );
    let right = (any::<u64>(), any::<[[u8; 18]; 2]>(), any::<[u8; 32]>()).prop_map(|(step, sealed, password)| {
        let mut bytes = [0; SealedTotp::LEN];
        bytes.copy_from_slice(sealed.as_flattened());
        let (sealed, password) = (SealedTotp::from_bytes(bytes), SecretHash::from_bytes(password));
        EnrolmentAnswer::Right { step, sealed, password }
    });
    let enrolment = prop_oneof![Just(EnrolmentAnswer::NoneWaits), Just(EnrolmentAnswer::Wrong), right];
    prop_oneof![
        figures.prop_map(|figures| BooksAnswer::Figures(Box::new(figures))),
        enrolment.prop_map(BooksAnswer::Enrolment),
        (vec(logged_request(), 0..4), option::of(any::<u64>()))
            .prop_map(|(found, next)| BooksAnswer::Requests(RequestsPiece { found, next })),
        Just(BooksAnswer::None),
    ]
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
        any::<u64>().prop_map(|known| InterestNews::Farewell { known }),
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
        Just(Done::Moving),
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
        vec(any::<u64>(), 0..4).prop_map(|numbers| Question::Sessions { numbers }),
        books_question().prop_map(Question::Books),
        (vec(interest(), 0..4), option::of((any::<u32>(), connection())))
            .prop_map(|(of, after)| Question::Snapshot { of, after }),
        (app(), uuid(), deed()).prop_map(|(app_id, request, deed)| {
            let request_id = RequestId::from_uuid(request);
            Question::Do { app_id, request_id, deed }
        }),
        sealed().prop_map(|which| Question::Client { which }),
        Just(Question::Parks),
        (app(), facts(), any::<u64>(), uuid(), 0..4_u8).prop_map(|(app_id, facts, number, secret, ground)| {
            let ConnectionFacts { endpoint, role_id, client_type, address, .. } = facts;
            let secret = ParkingGround::Secret(SecretId::from_uuid(secret));
            let sessions = [ParkingGround::Session(number), ParkingGround::NewSession(number)];
            let ground = [sessions[0], sessions[1], secret, ParkingGround::SignIn(number)][usize::from(ground)];
            Question::Parked(ParkingClaim { app_id, endpoint, role_id, client_type, address, ground })
        }),
    ]
    .boxed()
}

fn notice() -> impl Strategy<Value = Notice> {
    prop_oneof![
        uuid().prop_map(|request| Notice::Settled { request_id: RequestId::from_uuid(request) }),
        any::<u64>().prop_map(|number| Notice::Follow { number }),
        any::<(u64, u64)>().prop_map(|(number, epoch)| Notice::Followed { number, epoch }),
    ]
}

fn sealed() -> impl Strategy<Value = Sealed> {
    vec(any::<u8>(), 0..300).prop_map(|bytes| Sealed(bytes.into()))
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
        vec(any::<u32>(), 0..4).prop_map(Answer::Sessions),
        books_answer().prop_map(Answer::Books),
        (vec(present(), 0..3), any::<bool>()).prop_map(|(found, more)| Answer::Snapshot { found, more }),
        done().prop_map(Answer::Done),
        option::of(sealed()).prop_map(Answer::Client),
    ]
    .boxed()
}

pub(super) fn item() -> impl Strategy<Value = Item> {
    prop_oneof![
        4 => delivery().prop_map(Item::Delivery),
        1 => news().prop_map(Item::News),
        1 => (any::<u64>(), question()).prop_map(|(ask, question)| Item::Question { ask, question }),
        1 => (any::<(u64, u64)>(), answer()).prop_map(|((ask, known), answer)| Item::Answer { ask, known, answer }),
        1 => any::<u64>().prop_map(|ask| Item::NoAnswer { ask }),
        1 => notice().prop_map(Item::Notice),
        1 => Just(Item::Unsent),
        1 => (any::<(u32, u32)>(), vec(any::<u8>(), 0..40))
            .prop_map(|((index, count), bytes)| Item::Part { index, count, bytes: Piece(bytes.into()) }),
    ]
}

pub(super) fn frame() -> impl Strategy<Value = Frame> {
    let content = prop_oneof![
        6 => (any::<u64>(), item()).prop_map(|(number, item)| Content::Item { number, item }),
        1 => any::<u64>().prop_map(Content::Head),
        1 => any::<u64>().prop_map(Content::Seen),
        1 => vec(any::<(u64, u64)>(), 0..4).prop_map(Content::Again),
        1 => any::<u64>().prop_map(Content::Gone),
    ];
    (node(), node(), content).prop_map(|(from, to, content)| Frame { from, to, content })
}
