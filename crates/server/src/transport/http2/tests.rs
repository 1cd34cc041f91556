use axum::body::Body;
use axum::response::IntoResponse;
use http_body_util::BodyExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, ReadHalf, WriteHalf};

use super::*;
use crate::metrics::Metrics;
use crate::transport::body::Beside;
use crate::transport::exchange::{STALL_TIMEOUT, STREAM_COST};
use crate::transport::unread::{Reader, UnreadLimits};
use crate::transport::windows::STANDING_MAX;
use crate::transport::{Heard, Patient, Places, RequestBody, Share};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// SETTINGS without any, and with a window of 0; PING.
const SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];
const NO_WINDOW: &[u8] = &[0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0];
const PING: &[u8] = &[0, 0, 8, 6, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8];
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RESET: u8 = 3;
const ASKED: u8 = 6;
const GOAWAY: u8 = 7;

/// `GET http://a/` on a stream, of static header table entries.
fn request(stream: u8) -> Vec<u8> {
    vec![0, 0, 6, 1, 5, 0, 0, 0, stream, 0x82, 0x84, 0x86, 0x41, 1, b'a']
}

/// `OPTIONS http://a/`, which is answered with nothing.
fn empty_request(stream: u8) -> Vec<u8> {
    let method = [&[0x02, 7][..], b"OPTIONS"].concat();
    [&[0, 0, 14, 1, 5, 0, 0, 0, stream][..], &method, &[0x84, 0x86, 0x41, 1, b'a']].concat()
}

fn window(stream: u8, bytes: u8) -> Vec<u8> {
    vec![0, 0, 4, 8, 0, 0, 0, 0, stream, 0, 0, 0, bytes]
}

/// Where a client writes its requests, and meanwhile the answers to pings.
type Sender = tokio::sync::Mutex<WriteHalf<DuplexStream>>;

async fn connection(first: &[&[u8]]) -> (DuplexStream, ReadHalf<DuplexStream>, Sender) {
    let (server, mut client) = tokio::io::duplex(65_536);
    client.write_all(&first.concat()).await.unwrap();
    let (receive, send) = tokio::io::split(client);
    (server, receive, Sender::new(send))
}

/// What frames came, on which streams, and when.
type Frames = Vec<(u8, u8, Duration)>;

/// The frames that come until the connection ends, and when that was. Pings are answered.
async fn frames(receive: ReadHalf<DuplexStream>, send: &Sender, started: Instant) -> (Frames, Duration) {
    paced_frames(receive, send, started, u32::MAX).await
}

/// The same, read at so many bytes a second.
async fn paced_frames(
    mut receive: ReadHalf<DuplexStream>,
    send: &Sender,
    started: Instant,
    pace: u32,
) -> (Frames, Duration) {
    let mut frames = Vec::new();
    let mut head = [0; 9];
    while receive.read_exact(&mut head).await.is_ok() {
        let [a, b, c, kind, flags, _, _, _, stream] = head;
        let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
        receive.read_exact(&mut payload).await.unwrap();
        if pace < u32::MAX {
            tokio::time::sleep(Duration::from_secs(payload.len() as u64) / pace).await;
        }
        frames.push((kind, stream, started.elapsed()));
        if (kind, flags) == (ASKED, 0) {
            let answer = [&[0, 0, 8, ASKED, 1, 0, 0, 0, 0], &payload[..]].concat();
            let _ = send.lock().await.write_all(&answer).await;
        }
    }
    (frames, started.elapsed())
}

fn types(frames: &Frames) -> Vec<u8> {
    frames.iter().map(|(kind, ..)| *kind).collect()
}

async fn place(all: usize) -> (Arc<Places>, Arc<Place>) {
    let limits = UnreadLimits { all, caller: all, connection: all };
    let places = Places::new(10, limits, Arc::new(Metrics::default()));
    let place = places.take(Share::unbounded()).await;
    (places, place)
}

async fn serve(io: DuplexStream, stopping: CancellationToken) {
    let (places, place) = place(1 << 20).await;
    let nobody = places.unread.key(Reader::Anybody, [127, 0, 0, 1].into());
    let slowly = |_, _| async move {
        tokio::time::sleep(IDLE_TIMEOUT * 2).await;
        ("answer".into_response(), nobody)
    };
    let _ = serve_http2(io, &place, slowly, stopping).await;
    let_go(&places).await;
}

/// Waits until the streams' tasks have seen that their connection is gone, and nothing is counted any more.
async fn let_go(places: &Places) {
    while places.unread.all() > 0 {
        tokio::task::yield_now().await;
    }
}

/// Serves answers of [`ANSWER_LEN`] bytes, and to `OPTIONS` empty ones.
async fn serve_long(io: DuplexStream, place: &Arc<Place>) {
    let nobody = place.places.unread.key(Reader::Anybody, [127, 0, 0, 1].into());
    let answer = |request: Request<Incoming>, _| async move {
        let body =
            if request.method() == http::Method::GET { Body::from(vec![b'x'; ANSWER_LEN]) } else { Body::empty() };
        (body.into_response(), nobody)
    };
    let _ = serve_http2(io, place, answer, CancellationToken::new()).await;
}

const ANSWER_LEN: usize = 50_000;
/// What an answer counts for until it is taken: `http://a/` is two bytes to the library.
const COUNTED: usize = ANSWER_LEN + STREAM_COST + 2;

#[tokio::test(start_paused = true)]
async fn an_http2_connection_ends_when_nothing_is_asked() {
    let (server, receive, send) = connection(&[PREFACE, SETTINGS]).await;
    let started = Instant::now();
    let asking = async {
        // Pings are no requests.
        while send.lock().await.write_all(PING).await.is_ok() {
            tokio::time::sleep(Duration::from_secs(10)).await;
        }
    };
    let ((), (frames, ended), ()) =
        tokio::join!(serve(server, CancellationToken::new()), frames(receive, &send, started), asking);
    assert!(types(&frames).contains(&GOAWAY), "{frames:?}");
    assert!(ended >= IDLE_TIMEOUT && ended <= IDLE_TIMEOUT + GOODBYE_TIMEOUT, "{ended:?}");
}

#[tokio::test(start_paused = true)]
async fn an_http2_connection_lives_while_a_request_does() {
    let (server, receive, send) = connection(&[PREFACE, SETTINGS, &request(1)]).await;
    let started = Instant::now();
    let ((), (frames, ended)) = tokio::join!(serve(server, CancellationToken::new()), frames(receive, &send, started));
    for kind in [HEADERS, DATA, GOAWAY] {
        assert!(types(&frames).contains(&kind), "{frames:?}");
    }
    assert!(ended >= IDLE_TIMEOUT * 3, "{ended:?}");
}

#[tokio::test(start_paused = true)]
async fn an_http2_connection_ends_when_who_waits_for_an_answer_is_gone() {
    let (server, receive, send) = connection(&[PREFACE, SETTINGS, &request(1)]).await;
    let started = Instant::now();
    // Kept open, and never read or written again.
    serve(server, CancellationToken::new()).await;
    assert!(started.elapsed() <= PING_TIMEOUT * 3, "{:?}", started.elapsed());
    drop((receive, send));
}

#[tokio::test(start_paused = true)]
async fn an_http2_connection_that_is_to_stop_answers_what_was_asked() {
    let (server, receive, send) = connection(&[PREFACE, SETTINGS, &request(1)]).await;
    let started = Instant::now();
    let stopping = CancellationToken::new();
    stopping.cancel();
    let ((), (frames, _)) = tokio::join!(serve(server, stopping), frames(receive, &send, started));
    assert!(types(&frames).contains(&GOAWAY) && types(&frames).contains(&DATA), "{frames:?}");
}

#[tokio::test(start_paused = true)]
async fn a_stream_whose_answer_is_not_taken_ends_alone_and_is_counted_until_then() {
    let (server, receive, send) = connection(&[PREFACE, NO_WINDOW, &request(1), &request(3)]).await;
    let (places, place) = place(1 << 20).await;
    let started = Instant::now();
    let taking = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!((places.unread.all(), place.unread()), (2 * COUNTED, places.unread.all()));
        for _ in 0..10 {
            // More than the pace that is asked for, and slower than the whole would come.
            send.lock().await.write_all(&[window(3, 250), window(3, 250)].concat().repeat(6)).await.unwrap();
            tokio::time::sleep(Duration::from_secs(10)).await;
        }
        assert_eq!(places.unread.all(), COUNTED);
        send.lock().await.shutdown().await.unwrap();
    };
    let ((), (frames, _), ()) = tokio::join!(serve_long(server, &place), frames(receive, &send, started), taking);
    let resets: Vec<_> =
        frames.iter().filter(|(kind, ..)| *kind == RESET).map(|(_, stream, at)| (*stream, at.as_secs())).collect();
    assert_eq!(resets, [(1, STALL_TIMEOUT.as_secs())], "{frames:?}");
    let_go(&places).await;
}

#[tokio::test(start_paused = true)]
async fn streams_that_wait_for_their_turn_go_on_while_the_client_reads() {
    // Windows that are no matter, so that the frames of all streams go in turn.
    let wide = [&[0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 4][..], &0x4000_0000_u32.to_be_bytes()].concat();
    let connection_window = [&[0, 0, 4, 8, 0, 0, 0, 0, 0][..], &0x4000_0000_u32.to_be_bytes()].concat();
    let requests: Vec<Vec<u8>> = (0..20).map(|number| request(2 * number + 1)).collect();
    let (server, mut client) = tokio::io::duplex(4_096);
    client.write_all(&[PREFACE, &wide, &connection_window, &requests.concat()].concat()).await.unwrap();
    let (receive, send) = tokio::io::split(client);
    let send = Sender::new(send);
    let (places, place) = place(16 << 20).await;
    let started = Instant::now();
    let reading = async {
        // A round of all streams takes longer than one may stand still.
        let pace = u32::try_from(20 * 16_384 / STALL_TIMEOUT.as_secs()).unwrap() * 9 / 10;
        paced_frames(receive, &send, started, pace).await
    };
    let leaving = async {
        while places.unread.all() > 0 || started.elapsed() < STALL_TIMEOUT {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        send.lock().await.shutdown().await.unwrap();
    };
    let ((), (frames, _), ()) = tokio::join!(serve_long(server, &place), reading, leaving);
    assert!(!types(&frames).contains(&RESET), "{frames:?}");
    let ends = frames.iter().filter(|(kind, ..)| *kind == HEADERS).count();
    assert_eq!(ends, 20);
    assert!(started.elapsed() > STALL_TIMEOUT * 2, "{:?}", started.elapsed());
    let_go(&places).await;
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_takes_nothing_ends_though_others_are_taken_quickly() {
    let wide = |stream: u8| [&[0, 0, 4, 8, 0, 0, 0, 0, stream][..], &0x0100_0000_u32.to_be_bytes()].concat();
    let (server, receive, send) = connection(&[PREFACE, NO_WINDOW, &wide(0), &request(1)]).await;
    let (places, place) = place(1 << 20).await;
    let started = Instant::now();
    let asking = async {
        for stream in (3..103).step_by(2) {
            let asked = [request(stream), wide(stream)].concat();
            send.lock().await.write_all(&asked).await.unwrap();
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        send.lock().await.shutdown().await.unwrap();
    };
    let ((), (frames, _), ()) = tokio::join!(serve_long(server, &place), frames(receive, &send, started), asking);
    let resets: Vec<_> =
        frames.iter().filter(|(kind, ..)| *kind == RESET).map(|(_, stream, at)| (*stream, at.as_secs())).collect();
    assert_eq!(resets, [(1, STALL_TIMEOUT.as_secs())], "{frames:?}");
    let_go(&places).await;
}

#[tokio::test(start_paused = true)]
async fn what_an_answer_holds_beside_its_bytes_is_counted_with_it() {
    const BESIDE: usize = 30_000;
    let (server, receive, send) = connection(&[PREFACE, NO_WINDOW, &request(1)]).await;
    let (places, place) = place(1 << 20).await;
    let nobody = places.unread.key(Reader::Anybody, [127, 0, 0, 1].into());
    let answer = |_, _| async move {
        let mut response = Body::from(vec![b'x'; ANSWER_LEN]).into_response();
        response.extensions_mut().insert(Beside(BESIDE));
        (response, nobody)
    };
    let serving = async {
        let _ = serve_http2(server, &place, answer, CancellationToken::new()).await;
    };
    let started = Instant::now();
    let looking = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!((places.unread.all(), place.unread()), (COUNTED + BESIDE, COUNTED + BESIDE));
        let held: usize = place.exchanges.lock().all().iter().map(|exchange| exchange.held().bytes).sum();
        assert_eq!(held, COUNTED + BESIDE);
        send.lock().await.shutdown().await.unwrap();
    };
    tokio::join!(serving, frames(receive, &send, started), looking);
    let_go(&places).await;
}

#[tokio::test(start_paused = true)]
async fn a_stream_of_a_connection_that_was_silent_ends_as_soon() {
    let (server, receive, send) = connection(&[PREFACE, NO_WINDOW]).await;
    let (places, place) = place(1 << 20).await;
    let started = Instant::now();
    let asking = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        send.lock().await.write_all(&request(1)).await.unwrap();
    };
    let ((), (frames, _), ()) = tokio::join!(serve_long(server, &place), frames(receive, &send, started), asking);
    let reset = frames.iter().find(|(kind, ..)| *kind == RESET).unwrap();
    assert_eq!(reset.2, Duration::from_secs(1) + STALL_TIMEOUT, "{frames:?}");
    let_go(&places).await;
}

#[tokio::test(start_paused = true)]
async fn who_takes_a_byte_now_and_then_holds_no_answer_for_ever() {
    let (server, receive, send) = connection(&[PREFACE, NO_WINDOW, &request(1)]).await;
    let (places, place) = place(1 << 20).await;
    let started = Instant::now();
    let dripping = async {
        while send.lock().await.write_all(&window(1, 1)).await.is_ok() {
            tokio::time::sleep(Duration::from_secs(20)).await;
        }
    };
    let ((), (frames, _), ()) = tokio::join!(serve_long(server, &place), frames(receive, &send, started), dripping);
    let reset = frames.iter().find(|(kind, ..)| *kind == RESET).unwrap();
    assert!(reset.2 < STALL_TIMEOUT * 3, "{frames:?}");
    let_go(&places).await;
}

#[tokio::test(start_paused = true)]
async fn a_connection_on_which_nothing_is_taken_ends_though_it_asks_on() {
    let (server, receive, send) = connection(&[PREFACE, NO_WINDOW, &request(1)]).await;
    let (places, place) = place(1 << 20).await;
    let started = Instant::now();
    let asking = async {
        let mut stream = 3;
        while send.lock().await.write_all(&empty_request(stream)).await.is_ok() {
            tokio::time::sleep(Duration::from_secs(15)).await;
            stream += 2;
        }
    };
    let ((), (frames, ended), ()) = tokio::join!(serve_long(server, &place), frames(receive, &send, started), asking);
    let answered = frames.iter().filter(|(kind, stream, _)| *kind == HEADERS && *stream > 1).count();
    assert!(answered >= 2 && types(&frames).contains(&GOAWAY), "{frames:?}");
    assert!(ended <= STALL_TIMEOUT + GOODBYE_TIMEOUT, "{ended:?}");
    let_go(&places).await;
}

/// `POST http://a/` on a stream, and so much of its body.
fn beginning(stream: u8, len: u16) -> Vec<u8> {
    let head = [0, 0, 6, 1, 4, 0, 0, 0, stream, 0x83, 0x84, 0x86, 0x41, 1, b'a'];
    let [high, low] = len.to_be_bytes();
    [&head[..], &[0, high, low, DATA, 0, 0, 0, 0, stream], &vec![b'x'; len.into()]].concat()
}

#[tokio::test(start_paused = true)]
async fn who_says_no_more_with_its_requests_is_answered() {
    let bodied = [&beginning(5, 100)[..], &[0, 0, 0, DATA, 1, 0, 0, 0, 5]].concat();
    for asked in [&request(1)[..], &[request(1), request(3), bodied].concat()] {
        let (server, receive, send) = connection(&[PREFACE, SETTINGS, asked]).await;
        // It is all there, with its end, when the first of it is read.
        send.lock().await.shutdown().await.unwrap();
        let (places, place) = place(1 << 20).await;
        let server = Patient::new(server, place.clone());
        let serving = async {
            let nobody = places.unread.key(Reader::Anybody, [127, 0, 0, 1].into());
            let answer = |request: Request<Incoming>, exchange| async move {
                let body = request.map(|body| Heard::on_http2(body, exchange, [127, 0, 0, 1].into())).into_body();
                let len = body.collect().await.unwrap().to_bytes().len();
                tokio::time::sleep(Duration::from_secs(1)).await;
                (len.to_string().into_response(), nobody)
            };
            let _ = serve_http2(server, &place, answer, CancellationToken::new()).await;
        };
        let started = Instant::now();
        let ((), (frames, ended)) = tokio::join!(serving, frames(receive, &send, started));
        let answered = frames.iter().filter(|(kind, ..)| *kind == HEADERS).count();
        assert_eq!(answered, if asked.len() > 15 { 3 } else { 1 }, "{frames:?}");
        assert!(ended < PING_TIMEOUT, "it is not waited for: {ended:?}");
        let_go(&places).await;
    }
}

#[tokio::test(start_paused = true)]
async fn bodies_that_do_not_come_are_counted_and_make_room_for_others() {
    const BODY_LEN: u16 = 5_000;
    let counted = usize::from(BODY_LEN) + STREAM_COST + 2;
    let (server, receive, send) = connection(&[PREFACE, SETTINGS]).await;
    let room = 10 * counted;
    let (places, place) = place(room).await;
    let nobody = places.unread.key(Reader::Anybody, [127, 0, 0, 1].into());
    let answer = |request: Request<Incoming>, exchange: Arc<Exchange>| async move {
        let body = request.map(|body| Heard::on_http2(body, exchange, [127, 0, 0, 1].into())).into_body();
        let _ = body.collect().await;
        ("answer".into_response(), nobody)
    };
    let serving = async {
        let _ = serve_http2(server, &place, answer, CancellationToken::new()).await;
    };
    let asking = async {
        for number in 0..20 {
            send.lock().await.write_all(&beginning(2 * number + 1, BODY_LEN)).await.unwrap();
            tokio::time::sleep(Duration::from_secs(1)).await;
            assert!(places.unread.all() <= room, "{}", places.unread.all());
            assert_eq!(places.unread.of(nobody), places.unread.all(), "its address has them");
        }
        assert!(places.unread.all() > room / 2, "{}", places.unread.all());
        let end = [0, 0, 0, DATA, 1, 0, 0, 0, 39];
        send.lock().await.write_all(&end).await.unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
        send.lock().await.shutdown().await.unwrap();
    };
    let ((), (frames, _), ()) = tokio::join!(serving, frames(receive, &send, Instant::now()), asking);
    let on = |wanted: u8| frames.iter().filter(move |(kind, ..)| *kind == wanted).map(|(_, stream, _)| *stream);
    assert!((10..15).contains(&on(RESET).count()), "{frames:?}");
    assert!(on(RESET).all(|stream| stream < 31), "the newest stay: {frames:?}");
    assert_eq!(on(HEADERS).collect::<Vec<_>>(), [39], "the one whose body came is answered");
    let_go(&places).await;
}

#[tokio::test(start_paused = true)]
async fn bodies_that_are_not_read_on_leave_those_beside_them_room_to_come() {
    let (server, receive, send) = connection(&[PREFACE, SETTINGS]).await;
    let (places, place) = place(8 << 20).await;
    let nobody = places.unread.key(Reader::Anybody, [127, 0, 0, 1].into());
    let begun = std::sync::atomic::AtomicU32::new(0);
    let answer = |request: Request<Incoming>, exchange: Arc<Exchange>| {
        let nth = begun.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        async move {
            let mut body = Heard::on_http2(request.into_body(), exchange, [127, 0, 0, 1].into());
            if nth < STANDING_MAX {
                assert!(body.stands(0));
                std::future::pending::<()>().await;
            }
            assert_eq!(body.collect().await.unwrap().to_bytes().len(), 16_000);
            ("answer".into_response(), nobody)
        }
    };
    let serving = async {
        let _ = serve_http2(server, &place, answer, CancellationToken::new()).await;
    };
    let asking = async {
        let last = u8::try_from(2 * STANDING_MAX + 1).unwrap();
        for stream in (1..last).step_by(2) {
            // All that its window lets through.
            let [high, low] = 16_384_u16.to_be_bytes();
            let more = [&[0, high, low, DATA, 0, 0, 0, 0, stream][..], &[b'x'; 16_384]].concat().repeat(3);
            send.lock().await.write_all(&[beginning(stream, 16_383), more].concat()).await.unwrap();
        }
        let end = [0, 0, 0, DATA, 1, 0, 0, 0, last];
        send.lock().await.write_all(&[&beginning(last, 16_000)[..], &end].concat()).await.unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(places.unread.all() >= (STANDING_MAX * STREAM_WINDOW) as usize, "they are counted");
        send.lock().await.shutdown().await.unwrap();
    };
    let ((), (frames, _), ()) = tokio::join!(serving, frames(receive, &send, Instant::now()), asking);
    assert!(frames.iter().any(|(kind, stream, _)| (*kind, *stream) == (HEADERS, 17)), "{frames:?}");
    let_go(&places).await;
}

#[tokio::test(start_paused = true)]
async fn who_sends_what_brings_nothing_without_end_is_ended() {
    let (server, receive, send) = connection(&[PREFACE, SETTINGS]).await;
    let (_, place) = place(1 << 20).await;
    let mut pings = 0;
    let asking = async {
        while send.lock().await.write_all(PING).await.is_ok() {
            pings += 1;
            assert!(pings < 1_000_000, "there is no end to it");
        }
    };
    let server = Patient::new(server, place.clone());
    let serving = async {
        let answer = |_, _| std::future::pending::<(Response, CallerKey)>();
        let _ = serve_http2(server, &place, answer, CancellationToken::new()).await;
    };
    tokio::join!(serving, frames(receive, &send, Instant::now()), asking);
}

#[tokio::test(start_paused = true)]
async fn answers_that_stand_still_longest_make_room_for_the_newest() {
    let requests: Vec<Vec<u8>> = (0..20).map(|number| request(2 * number + 1)).collect();
    let (server, receive, send) = connection(&[PREFACE, NO_WINDOW, &requests.concat()]).await;
    let room = 10 * COUNTED;
    let (places, place) = place(room).await;
    let started = Instant::now();
    let looking = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(places.unread.all() <= room && places.unread.all() > room / 2, "{}", places.unread.all());
        send.lock().await.shutdown().await.unwrap();
    };
    let ((), (frames, _), ()) = tokio::join!(serve_long(server, &place), frames(receive, &send, started), looking);
    let reset: Vec<_> = frames.iter().filter(|(kind, ..)| *kind == RESET).map(|(_, stream, _)| *stream).collect();
    let_go(&places).await;
    assert!(reset.len() >= 10 && reset.len() < 15, "{reset:?}");
    assert!(reset.iter().all(|stream| *stream < 31), "the newest stay: {reset:?}");
}
