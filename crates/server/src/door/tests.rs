use std::net::Ipv4Addr;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::routing::{get, post};
use http_body_util::Full;
use respoke_core::chance::of_this_test;
use respoke_core::id::RequestId;
use respoke_core::refusal::Refusal;
use respoke_wire::input::BODY_LEN_MAX;
use tokio::sync::Notify;

use super::headers::BY_ORIGIN;
use super::*;
use crate::call::Call;
use crate::limits::{Accounts, Limits};
use crate::watch::Watch;

const PEER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 5);

fn door() -> Door {
    let router = Router::new()
        .route("/v1/len", get(|call: Call| async move { call.body_len().to_string() }).post(length))
        .route("/v1/panic", get(broken).post(broken))
        .route("/v1/refused", get(|_: Call| async { Problem::from(Refusal::NotFound("Roles")) }))
        .route("/metrics", get(async || "x".repeat(5 << 20)))
        .route("/healthz", get(async || "ok"))
        .route("/oauth/refused", get(|_: Call| async { Problem::from(Refusal::Unauthenticated) }))
        .fallback(async || Problem::no_such_route())
        .method_not_allowed_fallback(async || Problem::method_not_allowed());
    door_to(router)
}

fn door_to(router: Router) -> Door {
    let clock = Arc::new(respoke_core::clock::SystemClock);
    let accounts = Arc::new(Accounts::new(clock.clone()));
    let limits = Limits::new(respoke_core::app::Rate { per_second: 1_000, burst: 1_000 }, clock.clone());
    let watch = Watch::new(Arc::new(crate::metrics::Metrics::default()), 0, clock);
    let places = Places::for_tests(watch.metrics.clone());
    let answering = Answering::by(router, Arc::new(watch), accounts.clone(), &*of_this_test());
    let strangers = Strangers { accounts, limits: Arc::new(limits), places };
    Door::around(Arc::new(answering), strangers, Vec::new())
}

async fn broken(call: Call) -> String {
    assert!(call.body_len() > 0, "canary");
    String::new()
}

async fn length(call: Call) -> String {
    call.body_len().to_string()
}

async fn ask(
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &'static str,
) -> (StatusCode, HeaderMap, String) {
    let mut request = http::Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    answer(door().serve_http(request.body(Full::from(body)).unwrap(), PEER, PEER.ip(), None).await.0).await
}

async fn answer(response: Response) -> (StatusCode, HeaderMap, String) {
    let (parts, body) = response.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    if let Some(length) = parts.headers.get("content-length") {
        assert_eq!(length, &body.len().to_string(), "hyper panics over a wrong length");
    }
    (parts.status, parts.headers, String::from_utf8(body.to_vec()).unwrap())
}

#[tokio::test]
async fn every_answer_has_its_headers() {
    let (status, headers, body) = ask("GET", "/v1/len//", &[], "").await;
    assert_eq!((status, body.as_str()), (StatusCode::OK, "0"));
    assert_eq!(headers["ratelimit-limit"], "1000");
    assert_eq!(headers["ratelimit-time-units"], "seconds");
    assert_eq!(headers["cache-control"], "no-store");
    assert_eq!(headers["x-content-type-options"], "nosniff");
    let id = headers["request-id"].to_str().unwrap();
    assert_eq!(RequestId::parse(id).unwrap().to_string(), id);
    assert!(!headers.contains_key("access-control-allow-origin"));
}

#[tokio::test]
async fn a_problem_gets_its_body_with_the_requests_id() {
    let (status, headers, body) = ask("GET", "/v1/refused", &[], "").await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    assert_eq!(headers["content-type"], "application/json; charset=utf-8");
    assert!(body.contains(headers["request-id"].to_str().unwrap()), "{body}");
    let (_, _, body) = ask("GET", "/oauth/refused", &[], "").await;
    assert!(body.contains("invalid_client"), "{body}");
}

#[tokio::test]
async fn unknown_paths_and_methods_are_problems() {
    let (status, _, body) = ask("GET", "/v1", &[], "").await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    assert!(body.starts_with('{') && body.contains("no_such_route"), "{body}");
    let (status, headers, body) = ask("DELETE", "/v1/len", &[], "").await;
    assert_eq!(status, StatusCode::METHOD_NOT_ALLOWED);
    assert!(headers["allow"].to_str().unwrap().contains("POST"));
    assert!(body.contains("method_not_allowed"));
}

#[tokio::test]
async fn figures_are_charged_by_what_is_sent_of_them() {
    let door = door();
    let ask = async |path: &str| {
        let request = http::Request::get(path).body(Full::from("")).unwrap();
        answer(door.serve_http(request, PEER, PEER.ip(), None).await.0).await
    };
    assert_eq!(ask("/metrics").await.0, StatusCode::OK);
    let (status, headers, body) = ask("/metrics").await;
    assert_eq!(status, StatusCode::TOO_MANY_REQUESTS, "it owes a megabyte");
    assert!(headers.contains_key("retry-after") && body.contains("rate_limited"), "{body}");
    for path in ["/healthz", "/v1/len"] {
        assert_eq!(ask(path).await.0, StatusCode::OK, "{path}");
    }
}

#[tokio::test]
async fn a_panic_is_a_problem_that_says_nothing() {
    for method in ["GET", "POST"] {
        let (status, _, body) = ask(method, "/v1/panic", &[], "").await;
        assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
        assert!(body.contains("internal error") && !body.contains("canary"), "{body}");
    }
}

#[tokio::test]
async fn a_change_that_panics_does_not_go_on() {
    let door = door();
    let request = http::Request::post("/v1/panic").body(Full::from("")).unwrap();
    assert_eq!(door.serve_http(request, PEER, PEER.ip(), None).await.0.status(), StatusCode::INTERNAL_SERVER_ERROR);
    assert!(door.changes.is_empty(), "no task goes on with it");
}

#[tokio::test]
async fn the_end_waits_for_changes_whoever_runs_them() {
    let (gate, changed) = (Arc::new(Notify::new()), Arc::new(AtomicBool::new(false)));
    let change = {
        let (gate, changed) = (gate.clone(), changed.clone());
        async move || {
            gate.notified().await;
            changed.store(true, Ordering::Relaxed);
        }
    };
    let door = door_to(Router::new().route("/v1/change", post(change)));
    let request = http::Request::post("/v1/change").body(Full::from("")).unwrap();
    let mut asking = Box::pin(door.serve_http(request, PEER, PEER.ip(), None));
    assert!(futures_util::poll!(asking.as_mut()).is_pending());
    let mut finishing = pin!(door.finish());
    assert!(futures_util::poll!(finishing.as_mut()).is_pending(), "it is run where its request waits");
    drop(asking);
    tokio::task::yield_now().await;
    assert!(futures_util::poll!(finishing.as_mut()).is_pending(), "it is run by a task");
    gate.notify_one();
    finishing.await;
    assert!(changed.load(Ordering::Relaxed));
}

#[tokio::test]
async fn pages_are_answered_by_their_origin() {
    let origin = ("origin", "https://page.test");
    let (status, headers, body) =
        ask("OPTIONS", "/v1/anything", &[origin, ("access-control-request-method", "DELETE")], "").await;
    assert_eq!((status, body.as_str()), (StatusCode::NO_CONTENT, ""));
    assert_eq!(headers["access-control-allow-origin"], "https://page.test");
    assert!(headers["access-control-allow-headers"].to_str().unwrap().contains("App-Token"));
    let (_, headers, _) = ask("GET", "/v1/refused", &[origin], "").await;
    assert_eq!(
        (&headers["vary"], &headers["access-control-allow-origin"]),
        (&BY_ORIGIN, &"https://page.test".parse().unwrap())
    );
    assert!(headers["access-control-expose-headers"].to_str().unwrap().contains("Request-Id"));
}

#[tokio::test]
async fn a_body_that_is_too_long_is_refused() {
    let request = http::Request::post("/v1/len").body(Full::from("x".repeat(BODY_LEN_MAX + 1))).unwrap();
    let (status, headers, body) = answer(door().serve_http(request, PEER, PEER.ip(), None).await.0).await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(headers["connection"], "close");
    assert!(body.contains("body_too_large") && body.contains("requestId"), "{body}");
}

#[test]
fn slashes_at_the_end_are_stripped_and_no_others() {
    for (given, expected) in [
        ("/v1/tokens/", "/v1/tokens"),
        ("/v1/tokens//", "/v1/tokens"),
        ("/v1/tokens/?a=/", "/v1/tokens?a=/"),
        ("/v1//tokens", "/v1//tokens"),
        ("/", "/"),
        ("/v1/a%2F/", "/v1/a%2F"),
    ] {
        let mut uri: Uri = given.parse().unwrap();
        strip_slashes(&mut uri);
        assert_eq!(uri.to_string(), expected);
    }
}
