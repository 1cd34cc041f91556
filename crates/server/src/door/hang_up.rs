//! Clients that hang up before they are answered.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use respoke_bus::LocalBus;
use respoke_core::app::Rate;
use respoke_core::chance::of_this_test;
use respoke_core::clock::{ManualClock, Timestamp};
use respoke_core::ops::Broker;
use respoke_hub::Hub;
use respoke_store::{Options, SqliteStore};
use serde_json::{Value, json};

use super::Door;
use super::nobody::Strangers;
use crate::answering::Answering;
use crate::config::Config;
use crate::limits::Limits;
use crate::metrics::Metrics;
use crate::state::Api;
use crate::throttle::Throttle;
use crate::transport::Places;
use crate::watch::Watch;

const PEER: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 5);

fn request(method: &str, path: &str, credential: (&str, &str), body: &Value) -> http::Request<Full<Bytes>> {
    let builder = http::Request::builder().method(method).uri(path).header(credential.0, credential.1);
    builder.header("content-type", "application/json").body(Full::from(body.to_string())).unwrap()
}

async fn ask(door: &Door, method: &str, path: &str, credential: (&str, &str), body: Value) -> (u16, Value) {
    let response = door.serve_http(request(method, path, credential, &body), PEER, PEER.ip(), None).await.0;
    let status = response.status().as_u16();
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    (status, serde_json::from_slice(&bytes).unwrap())
}

fn text(body: &Value, field: &str) -> String {
    body[field].as_str().unwrap_or_else(|| panic!("no {field} in {body}")).to_owned()
}

#[tokio::test]
async fn a_change_runs_to_its_end_though_its_client_hangs_up() {
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("respoked.db");
    let store = SqliteStore::open(&database, Options::default()).unwrap();
    let beside = rusqlite::Connection::open(&database).unwrap();
    beside.busy_timeout(Duration::from_secs(20)).unwrap();
    let (bus, clock) = (Arc::new(LocalBus::default()), Arc::new(ManualClock::at(Timestamp::from_millis(1_000_000))));
    let broker = Arc::new(Broker::new(Arc::new(store), bus.clone(), clock.clone(), of_this_test(), 100));
    let first = broker.first_run(None, None).await.unwrap().unwrap();
    let config = Config::default();
    let hub = Arc::new(Hub::new(broker.clone(), bus, config.hub()));
    let watch = Arc::new(Watch::new(Arc::new(Metrics::default()), 0, clock.clone()));
    let places = Places::for_tests(watch.metrics.clone());
    let limits = Limits::new(Rate { per_second: 1_000_000, burst: 1_000_000 }, clock);
    let throttle = Throttle::new(1_000_000);
    let api = Arc::new(Api::new(broker.clone(), hub, watch, places.clone(), limits, throttle, config.relays()));
    let strangers = Strangers { accounts: api.accounts.clone(), limits: api.limits.clone(), places };
    let door = Door::around(Arc::new(Answering::new(api)), strangers, Vec::new());
    let secret = ("app-secret", first.app_secret.secret().expose());

    // It is asked again and again below until it is over.
    let password = first.password.as_ref().expect("it was made up here").expose();
    let sign_in = json!({"username": first.username, "password": password});
    let admin = text(&ask(&door, "POST", "/v1/admin-sessions", secret, sign_in).await.1, "token");
    let unlimited = json!({"limits": {"app": null, "endpoint": null, "address": null}});
    let path = format!("/v1/apps/{}", first.app_id);
    assert_eq!(ask(&door, "PUT", &path, ("admin-token", &admin), unlimited).await.0, 200);

    for round in 0..20 {
        let body = json!({"endpointId": format!("alice {round}"), "roleId": first.role_id.to_string()});
        let token = text(&ask(&door, "POST", "/v1/tokens", secret, body).await.1, "tokenId");
        let (_, opened) = ask(&door, "POST", "/v1/session-tokens", secret, json!({"tokenId": token})).await;
        let app_token = text(&opened, "token");
        // From here on the session is remembered and the database not asked about it.
        let own = ("app-token", app_token.as_str());
        let (status, session) = ask(&door, "GET", "/v1/session-tokens", own, json!({})).await;
        assert_eq!(status, 200);

        // Another one writes, so the writer waits until the client has hung up.
        beside.execute_batch("BEGIN IMMEDIATE").unwrap();
        {
            let path = format!("/v1/sessions/{}", text(&session, "id"));
            let mut ending = pin!(door.serve_http(request("DELETE", &path, secret, &json!({})), PEER, PEER.ip(), None));
            let begun = poll_fn(|context| Poll::Ready(ending.as_mut().poll(context))).await;
            assert!(begun.is_pending(), "it waits for the writer in round {round}");
        }
        beside.execute_batch("ROLLBACK").unwrap();
        let deadline = Instant::now() + Duration::from_secs(20);
        while ask(&door, "GET", "/v1/session-tokens", own, json!({})).await.0 != 401 {
            assert!(Instant::now() < deadline, "the session is still remembered as alive in round {round}");
            tokio::task::yield_now().await;
        }
    }
    door.finish().await;
    broker.store().close().await;
}
