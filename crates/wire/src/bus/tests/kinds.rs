//! The bytes of each kind stay as they are. `kinds.txt` holds those of one example of each, as they were when the kind came
//! up. A line is added with a kind, and no line is ever changed: a node of another release has just these bytes.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use respoke_core::app::Rate;
use respoke_core::event::{Content as Said, Presence, Signal};
use respoke_core::figures::Figures;
use respoke_core::id::{AdminId, RoleId, SecretId};
use respoke_core::ports::{
    AppBucket, Arrived, BooksAnswer, BooksQuestion, Caused, Change, ConnectionFacts, ConnectionStateFacts, Counted,
    Deed, Departed, Done, Drawn, EnrolmentAnswer, Guesser, Holder, Moved, NameHash, Notice, ParkingClaim,
    ParkingGround, Present, Tried,
};
use respoke_core::request_log::{LoggedRequest, RequestFilter, RequestsAsked, RequestsPiece, StatusFilter};
use respoke_core::secret::{Secret, SecretHash};
use respoke_core::tail::Payloads;
use respoke_core::totp::SealedTotp;

use super::*;

const PINNED: &str = include_str!("kinds.txt");
/// What may be written otherwise one day: JSON that grows, of which each release passes over what it does not know.
const MAY_GROW: &str = "answer: books: figures";
/// No build knows a kind of this number.
const KIND: u8 = 250;

const ID: Uuid = Uuid::from_u128(0x0101_0101_0101_0101_0101_0101_0101_0101);
const OTHER_ID: Uuid = Uuid::from_u128(0x0202_0202_0202_0202_0202_0202_0202_0202);
const APP: AppId = AppId::from_uuid(ID);
const CONNECTION: ConnectionId = ConnectionId::from_uuid(OTHER_ID);
const V4: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
const V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xDB8, 0, 0, 0, 0, 0, 1));
const RATE: Rate = Rate { per_second: 3, burst: 4 };
const NAME: NameHash = NameHash(5);

fn jo() -> EndpointId {
    EndpointId::parse("jo").unwrap()
}

fn flo() -> EndpointId {
    EndpointId::parse("flo").unwrap()
}

fn room() -> GroupName {
    GroupName::parse("room").unwrap()
}

fn presence() -> Presence {
    Presence { kind: raw("\"away\""), show: Some(raw("1")), status: Some(raw("null")) }
}

fn push(to: Audience, content: Said) -> Item {
    let (at, request_id) = (Timestamp::from_millis(3), RequestId::from_uuid(OTHER_ID));
    let event = Event { from: jo(), from_connection: Some(CONNECTION), at, request_id, content };
    Item::Delivery(Delivery::Push { app_id: APP, to, event: Arc::new(event) })
}

fn audiences() -> Vec<(&'static str, Item)> {
    let (only, except) = (Some(ConnectionId::from_uuid(ID)), Some(CONNECTION));
    vec![
        ("push: to an endpoint", push(Audience::Endpoint { endpoint: jo(), only, except }, Said::Missed)),
        ("push: to a group", push(Audience::Group { group: room(), except }, Said::Missed)),
        ("push: to observers", push(Audience::Observers { endpoint: jo(), except }, Said::Missed)),
    ]
}

fn contents() -> Vec<(&'static str, Item)> {
    let push = |content| push(Audience::Group { group: room(), except: Some(CONNECTION) }, content);
    let (message_id, group, body) = (MessageId::from_uuid(ID), room(), || raw("[1.0]"));
    let signal = Signal {
        to: flo(),
        to_connection: Some(CONNECTION),
        to_original: Some(jo()),
        from_type: "web".into(),
        to_type: "did".into(),
        body: body(),
        spares_answerers_of: Some("s".into()),
    };
    let published = |place| push(Said::Published { message_id, group: room(), message: body(), place });
    vec![
        ("push: message", push(Said::Message { message_id, to: flo(), to_original: Some(jo()), body: body() })),
        ("push: published", published(None)),
        ("push: kept", published(Some(Place { epoch: 6, offset: 7 }))),
        ("push: joined", push(Said::Joined { group: group.clone(), endpoint: flo(), connection: CONNECTION })),
        ("push: left", push(Said::Left { group, endpoint: flo(), connection: CONNECTION })),
        ("push: presence", push(Said::Presence(presence()))),
        ("push: signal", push(Said::Signal(signal))),
    ]
}

fn tailed(kind: FrameKind) -> Item {
    let frame = TailedFrame {
        at: Timestamp::from_millis(3),
        connection_id: CONNECTION,
        kind,
        name: "message".into(),
        request_id: RequestId::from_uuid(ID),
        from: Some(flo()),
        status: Some(200),
        bytes: 6,
        payload: Some("[1.0]".into()),
        lost: 7,
    };
    Item::Delivery(Delivery::Tailed { app_id: APP, endpoint: jo(), frame: Box::new(frame) })
}

fn deliveries() -> Vec<(&'static str, Item)> {
    let (app_id, endpoint, connection, group) = (APP, jo(), CONNECTION, room());
    let (groups, connections) = (vec![group.clone()], vec![connection]);
    let (from, presence) = (NODE, Some(presence()));
    let moved = Moved { app_id, endpoint: jo(), connection, from, groups: groups.clone(), presence };
    vec![
        ("departed", Delivery::Departed(Departed { app_id, endpoint: endpoint.clone(), connection, groups })),
        ("moved", Delivery::Moved(Box::new(moved))),
        ("arrived", Delivery::Arrived(Arrived { app_id, endpoint: endpoint.clone(), connection })),
        ("group ended", Delivery::GroupEnded { app_id, group, connections }),
        ("change: session", Delivery::Change(Change::Session(9))),
        ("change: endpoint", Delivery::Change(Change::Endpoint(app_id, endpoint))),
        ("change: role", Delivery::Change(Change::Role(app_id, RoleId::from_uuid(OTHER_ID)))),
        ("change: secret", Delivery::Change(Change::Secret(app_id, SecretId::from_uuid(OTHER_ID)))),
        ("change: app", Delivery::Change(Change::App(app_id))),
        ("change: admin", Delivery::Change(Change::Admin(AdminId::from_uuid(OTHER_ID)))),
        ("change: nodes", Delivery::Change(Change::Nodes)),
    ]
    .into_iter()
    .map(|(name, delivery)| (name, Item::Delivery(delivery)))
    .chain([
        ("tailed: event", tailed(FrameKind::Event)),
        ("tailed: request", tailed(FrameKind::Request)),
        ("tailed: answer", tailed(FrameKind::Answer)),
    ])
    .collect()
}

fn counted() -> Vec<(&'static str, Item)> {
    let drawn = |of| Counted::Drawn(vec![Drawn { app_id: APP, of, rate: RATE, amount: 8 }]);
    let caused = Caused {
        app_id: APP,
        frames_rate: Some(RATE),
        kilobytes_rate: Some(Rate { burst: 9, ..RATE }),
        frames: 1,
        bytes: 2,
    };
    let failed = |guesser| Counted::Tried(vec![Tried::Failed(guesser, 2)]);
    vec![
        ("counted: requests drawn", drawn(AppBucket::Requests)),
        ("counted: connects drawn", drawn(AppBucket::Connects)),
        ("counted: messages drawn", drawn(AppBucket::Messages)),
        ("counted: caused", Counted::Caused(vec![caused])),
        ("counted: failed a password", failed(Guesser::Password(V4, NAME))),
        ("counted: failed an account", failed(Guesser::Account(NAME))),
        ("counted: failed a code", failed(Guesser::Code(NAME, Some(V6)))),
        ("counted: failed a credential", failed(Guesser::Credential(V6))),
        ("counted: taken back", Counted::Tried(vec![Tried::TakenBack(Guesser::Account(NAME))])),
        ("counted: forgiven", Counted::Tried(vec![Tried::Forgiven(Guesser::Account(NAME))])),
        ("counted: came in", Counted::Tried(vec![Tried::CameIn(V4, NAME)])),
        ("counted: enrols", Counted::Enrols(AdminId::from_uuid(OTHER_ID))),
    ]
    .into_iter()
    .map(|(name, counted)| (name, Item::Delivery(Delivery::Counted(counted))))
    .collect()
}

fn news() -> Vec<(&'static str, Item)> {
    let hash = InterestHash(7);
    vec![
        ("news: held", InterestNews::Held(APP, hash)),
        ("news: released", InterestNews::Released(APP, hash)),
        ("news: of an app", InterestNews::App(APP, vec![hash])),
        ("news: whole app", InterestNews::WholeApp(APP)),
        ("news: complete", InterestNews::Complete),
        ("news: late", InterestNews::Late { app_id: APP, of: vec![hash], millis: 8 }),
        ("news: farewell", InterestNews::Farewell { known: 9 }),
    ]
    .into_iter()
    .map(|(name, news)| (name, Item::News(news)))
    .collect()
}

fn questions() -> Vec<(&'static str, Question)> {
    let (app_id, connection, after, most) = (APP, CONNECTION, Some(CONNECTION), 20);
    let connections = |of| Question::Connections { app_id, of, after, most };
    let snapshot = |of| Question::Snapshot { of: vec![of], after: Some((1, CONNECTION)) };
    let requests = |status| {
        let filter = RequestFilter {
            app_id: Some(app_id),
            endpoint_id: Some("jo".into()),
            route: Some("/v1/roles".into()),
            request_id: Some(RequestId::from_uuid(OTHER_ID)),
            status: Some(status),
        };
        let asked = RequestsAsked { filter, before: Some(9), most };
        Question::Books(BooksQuestion::Requests(Box::new(asked)))
    };
    let parked = |ground| {
        let (endpoint, role_id, client_type) = (jo(), Some(RoleId::from_uuid(OTHER_ID)), "WEB".into());
        Question::Parked(ParkingClaim { app_id, endpoint, role_id, client_type, address: V4, ground })
    };
    let enrolment = BooksQuestion::Enrolment { admin_id: AdminId::from_uuid(ID), code: Secret::new("123456".into()) };
    vec![
        ("question: connection", Question::Connection { app_id, connection }),
        ("question: connections of an app", connections(Holder::App)),
        ("question: connections of an endpoint", connections(Holder::Endpoint(jo()))),
        ("question: connections of a group", connections(Holder::Group(room()))),
        ("question: connections of observers", connections(Holder::Observers(jo()))),
        ("question: groups", Question::Groups { app_id, endpoint: Some(jo()), after: Some(room()), most }),
        ("question: states", Question::States { app_id, endpoint: jo(), after }),
        ("question: count", Question::Count { app_id, of: Holder::App }),
        ("question: count of an endpoint", Question::Count { app_id, of: Holder::Endpoint(jo()) }),
        ("question: count of a group", Question::Count { app_id, of: Holder::Group(room()) }),
        ("question: count of observers", Question::Count { app_id, of: Holder::Observers(jo()) }),
        ("question: sessions", Question::Sessions { numbers: vec![1, 2] }),
        ("question: snapshot of a group", snapshot(Interest::Group(app_id, room()))),
        ("question: snapshot of an endpoint", snapshot(Interest::Endpoint(app_id, jo()))),
        ("question: snapshot of observers", snapshot(Interest::Observers(app_id, jo()))),
        ("question: snapshot of tails", snapshot(Interest::Tails(app_id, jo()))),
        ("question: books: figures", Question::Books(BooksQuestion::Figures { app_id: Some(app_id) })),
        ("question: books: requests of a status", requests(StatusFilter::Exactly(404))),
        ("question: books: requests of a class", requests(StatusFilter::Class(4))),
        ("question: books: enrolment", Question::Books(enrolment)),
        ("question: parks", Question::Parks),
        ("question: parked, by a session", parked(ParkingGround::Session(6))),
        ("question: parked, by a secret", parked(ParkingGround::Secret(SecretId::from_uuid(OTHER_ID)))),
        ("question: parked, by a sign-in", parked(ParkingGround::SignIn(6))),
        ("question: parked, by a new session", parked(ParkingGround::NewSession(6))),
        ("question: client", Question::Client { which: Sealed(vec![1, 2].into()) }),
    ]
}

fn deeds() -> Vec<(&'static str, Question)> {
    let (connection, group, endpoint) = (CONNECTION, room(), jo());
    vec![
        ("deed: join", Deed::Join { connection, group: room(), groups_max: Some(1), members_max: Some(2) }),
        ("deed: leave", Deed::Leave { connection, group: room() }),
        ("deed: say", Deed::Say { connection, presence: presence() }),
        ("deed: end group", Deed::EndGroup { group }),
        ("deed: show redacted", Deed::Show { endpoint: endpoint.clone(), payloads: Payloads::Redacted }),
        ("deed: show", Deed::Show { endpoint, payloads: Payloads::Shown }),
        ("deed: end", Deed::End { connection }),
    ]
    .into_iter()
    .map(|(name, deed)| (name, Question::Do { app_id: APP, request_id: RequestId::from_uuid(OTHER_ID), deed }))
    .collect()
}

fn logged() -> LoggedRequest {
    LoggedRequest {
        number: 9,
        at: Timestamp::from_millis(3),
        request_id: RequestId::from_uuid(ID),
        app_id: Some(APP),
        endpoint_id: Some(jo()),
        caller: "secret".into(),
        method: "GET".into(),
        route: "/v1/roles".into(),
        status: 404,
        code: Some("not_found".into()),
        took_micros: 8,
        address: V6,
        over_socket: true,
    }
}

fn answers() -> Vec<(&'static str, Answer)> {
    let facts = || ConnectionFacts {
        id: CONNECTION,
        endpoint: jo(),
        role_id: Some(RoleId::from_uuid(ID)),
        client_type: "web".into(),
        address: V4,
        trickle_ice: true,
        ice_final_candidates: false,
    };
    let state = ConnectionStateFacts { connection: facts(), groups: vec![room()], presence: Some(presence()) };
    let present = Present { of: 1, endpoint: jo(), connection: CONNECTION, presence: Some(presence()) };
    let right = EnrolmentAnswer::Right {
        step: 1,
        sealed: SealedTotp::from_bytes([2; SealedTotp::LEN]),
        password: SecretHash::from_bytes([3; 32]),
    };
    let enrolment = |answer| Answer::Books(BooksAnswer::Enrolment(answer));
    let piece = RequestsPiece { found: vec![logged()], next: Some(8) };
    vec![
        ("answer: connections", Answer::Connections(vec![facts()])),
        ("answer: groups", Answer::Groups(vec![room()])),
        ("answer: states", Answer::States { found: vec![state], more: true }),
        ("answer: count", Answer::Count(6)),
        ("answer: sessions", Answer::Sessions(vec![1, 2])),
        ("answer: snapshot", Answer::Snapshot { found: vec![present], more: true }),
        (MAY_GROW, Answer::Books(BooksAnswer::Figures(Box::new(Figures { minted: 5, ..Figures::default() })))),
        ("answer: books: requests", Answer::Books(BooksAnswer::Requests(piece))),
        ("answer: books: no enrolment", enrolment(EnrolmentAnswer::NoneWaits)),
        ("answer: books: wrong code", enrolment(EnrolmentAnswer::Wrong)),
        ("answer: books: right code", enrolment(right)),
        ("answer: books: none", Answer::Books(BooksAnswer::None)),
        ("answer: done now", Answer::Done(Done::Now { told: 3, settled: true })),
        ("answer: done before", Answer::Done(Done::Before { settled: true })),
        ("answer: gone", Answer::Done(Done::Gone)),
        ("answer: connection full", Answer::Done(Done::ConnectionFull)),
        ("answer: group full", Answer::Done(Done::GroupFull)),
        ("answer: overloaded", Answer::Done(Done::Overloaded)),
        ("answer: moving", Answer::Done(Done::Moving)),
        ("answer: client", Answer::Client(Some(Sealed(vec![1, 2].into())))),
    ]
}

fn others() -> Vec<(&'static str, Item)> {
    vec![
        ("no answer", Item::NoAnswer { ask: 9 }),
        ("unsent", Item::Unsent),
        ("part", Item::Part { index: 1, count: 2, bytes: Piece(vec![1, 2].into()) }),
        ("notice: settled", Item::Notice(Notice::Settled { request_id: RequestId::from_uuid(ID) })),
        ("notice: follow", Item::Notice(Notice::Follow { number: 1 })),
        ("notice: followed", Item::Notice(Notice::Followed { number: 1, epoch: 2 })),
    ]
}

/// One of each kind, by name.
fn examples() -> BTreeMap<&'static str, Item> {
    let asked = questions().into_iter().chain(deeds());
    let asked = asked.map(|(name, question)| (name, Item::Question { ask: 9, question }));
    let answered = answers().into_iter().map(|(name, answer)| (name, Item::Answer { ask: 9, known: 4, answer }));
    let told = [audiences(), contents(), deliveries(), counted(), news(), others()].into_iter().flatten();
    let mut examples = BTreeMap::new();
    for (name, item) in asked.chain(answered).chain(told) {
        assert!(examples.insert(name, item).is_none(), "two are called {name:?}");
    }
    examples
}

/// The frames that hold no item.
fn frames() -> Vec<(&'static str, Content)> {
    vec![
        ("frame: head", Content::Head(5)),
        ("frame: seen", Content::Seen(5)),
        ("frame: again", Content::Again(vec![(5, 6), (8, 9)])),
        ("frame: gone", Content::Gone(5)),
    ]
}

fn bytes_of_all() -> BTreeMap<&'static str, Vec<u8>> {
    let items = examples().into_iter().map(|(name, item)| (name, item.encode().unwrap().to_vec()));
    let frames = frames().into_iter().map(|(name, content)| {
        let to = Node { id: NodeId(3), incarnation: Incarnation(4) };
        (name, Frame { from: NODE, to, content }.encode().unwrap().to_vec())
    });
    items.chain(frames).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

/// What `kinds.txt` says of each, by name.
fn pinned() -> BTreeMap<&'static str, &'static str> {
    PINNED.lines().map(|line| line.split_once(" = ").unwrap()).collect()
}

#[test]
fn the_bytes_of_each_kind_are_as_they_were() {
    let (pinned, now) = (pinned(), bytes_of_all());
    let mut new = String::new();
    for (name, bytes) in &now {
        let bytes = hex(bytes);
        match pinned.get(name) {
            None => _ = writeln!(new, "{name} = {bytes}"),
            Some(was) => assert!(*was == bytes || *name == MAY_GROW, "other bytes are another kind:\n{name} = {bytes}"),
        }
    }
    assert!(new.is_empty(), "new kinds add to kinds.txt:\n{new}");
    for (name, was) in &pinned {
        assert!(now.contains_key(name), "{name} has no example any more");
        let bytes: Vec<_> =
            (0..was.len()).step_by(2).map(|at| u8::from_str_radix(&was[at..at + 2], 16).unwrap()).collect();
        let again = if name.starts_with("frame: ") {
            Frame::decode(&bytes).unwrap().encode()
        } else {
            let read = Item::decode(&bytes).unwrap();
            assert!(!matches!(read, Item::Unknown(_)), "{name} is not known any more");
            read.encode()
        };
        assert!(again.unwrap() == bytes || *name == MAY_GROW, "{name} is read otherwise");
    }
}

/// What this byte behind `head` is no known kind of. None: it is known, or no kind.
fn kind_of(head: &[u8], kind: u8) -> Option<&'static str> {
    match Item::read_known(&mut Reader::new(&[head, &[kind]].concat())) {
        Err(BusCodecError::Unknown(what)) => Some(what),
        _ => None,
    }
}

/// Wherever a kind stands in an example, each kind that is read there stands in one.
#[test]
fn each_kind_that_is_read_has_an_example() {
    let (mut known, mut shown) = (BTreeMap::<_, BTreeSet<u8>>::new(), BTreeMap::<_, BTreeSet<u8>>::new());
    for item in examples().values() {
        let bytes = item.encode().unwrap();
        for at in 0..bytes.len() {
            let head = &bytes[..at];
            let Some(what) = kind_of(head, KIND) else { continue };
            let read = |kind: &u8| kind_of(head, *kind).is_none();
            known.entry(what).or_insert_with(|| (0..=u8::MAX).filter(read).collect());
            shown.entry(what).or_default().insert(bytes[at]);
        }
    }
    assert_eq!(shown, known, "each kind that is read needs an example");
    assert!(known.len() > 15, "kinds of {known:?}");
}

/// Another release may tell more figures.
#[test]
fn figures_that_say_more_are_read_all_the_same() {
    let bytes = bytes_of_all().remove(MAY_GROW).unwrap();
    // The kind of item, two numbers, two kinds and how long the JSON is.
    let (head, json) = bytes.split_at(1 + 8 + 8 + 2 + 4);
    let more = [&json[..json.len() - 1], b",\"another\":2}"].concat();
    let len = u32::try_from(more.len()).unwrap().to_be_bytes();
    let told = [&head[..head.len() - 4], &len, &more].concat();
    let read = Item::decode(&told).unwrap();
    assert!(!matches!(read, Item::Unknown(_)));
    assert_eq!(read.encode().unwrap(), bytes, "it is as if it were not there");
}
