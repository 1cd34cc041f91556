//! Some nodes over one database, as their clients find them.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use respoke_bus::{LocalBus, LocalNodes};
use respoke_core::app::Rate;
use respoke_core::chance::of_this_test;
use respoke_core::clock::{ManualClock, Timestamp};
use respoke_core::ops::{Broker, FirstRun};
use respoke_core::ports::{Bookkeeper, Bus, NodeId, Receiver, Store};
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

const PEER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 5);

/// A node, with nobody who tells the others what it counts but the test.
pub(crate) struct OneOfSome {
    pub(crate) api: Arc<Api>,
    door: Door,
    pub(crate) bus: Arc<LocalBus>,
}

pub(crate) struct House {
    pub(crate) nodes: Vec<OneOfSome>,
    pub(crate) between: Arc<LocalNodes>,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) first: FirstRun,
    _folder: tempfile::TempDir,
}

impl House {
    pub(crate) async fn of(count: u32) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store: Arc<dyn Store> =
            Arc::new(SqliteStore::open(&folder.path().join("respoked.db"), Options::default()).unwrap());
        let (clock, between) = (Arc::new(ManualClock::at(Timestamp::from_secs(1_800_000_000))), Arc::default());
        let (mut nodes, mut first) = (Vec::new(), None);
        for id in 1..=count {
            let bus = LocalNodes::start(&between, NodeId(id));
            let broker = Arc::new(Broker::new(store.clone(), bus.clone(), clock.clone(), of_this_test(), 100));
            if first.is_none() {
                first = broker.first_run(None, None).await.unwrap();
            }
            let config = Config::default();
            let hub = Arc::new(Hub::new(broker.clone(), bus.clone() as Arc<dyn Bus>, config.hub()));
            bus.attach(&(hub.clone() as Arc<dyn Receiver>));
            let watch = Arc::new(Watch::new(Arc::new(Metrics::default()), 100, clock.clone()));
            let places = Places::for_tests(watch.metrics.clone());
            let limits = Limits::new(Rate { per_second: 1_000, burst: 1_000 }, clock.clone());
            let throttle = Throttle::new(20);
            let api = Api::new(broker, hub.clone(), watch, places.clone(), limits, throttle, config.relays());
            let api = Arc::new(api);
            hub.attach_books(&(api.clone() as Arc<dyn Bookkeeper>));
            let strangers = Strangers { accounts: api.accounts.clone(), limits: api.limits.clone(), places };
            let door = Door::around(Arc::new(Answering::new(api.clone())), strangers, Vec::new());
            nodes.push(OneOfSome { api, door, bus });
        }
        Self { nodes, between, clock, first: first.unwrap(), _folder: folder }
    }

    /// Asks a node.
    pub(crate) async fn ask(
        &self,
        node: usize,
        method: &str,
        path: &str,
        credential: (&str, &str),
        body: &Value,
    ) -> (u16, Value) {
        let request = http::Request::builder().method(method).uri(path).header(credential.0, credential.1);
        let request = request.header("content-type", "application/json").body(Full::<Bytes>::from(body.to_string()));
        let response = self.nodes[node].door.serve_http(request.unwrap(), PEER, PEER.ip(), None).await.0;
        let status = response.status().as_u16();
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        (status, serde_json::from_slice(&bytes).unwrap())
    }

    pub(crate) async fn sign_in(&self, node: usize, password: &str) -> (u16, Value) {
        let body = json!({"username": self.first.username, "password": password});
        self.ask(node, "POST", "/v1/admin-sessions", ("accept", "*/*"), &body).await
    }

    pub(crate) async fn admin(&self, node: usize) -> String {
        let (status, answer) = self.sign_in(node, self.first.password.as_ref().unwrap().expose()).await;
        assert_eq!(status, 200, "{answer}");
        answer["token"].as_str().unwrap().to_owned()
    }

    pub(crate) fn secret(&self) -> (&str, &str) {
        ("app-secret", self.first.app_secret.secret().expose())
    }

    /// The sum of a figure, and how much of it is in the last stretch, as a node tells.
    pub(crate) async fn figure(&self, node: usize, admin: &str, query: &str, figure: &str) -> (u64, u64) {
        let path = format!("/v1/stats{query}");
        let (status, stats) = self.ask(node, "GET", &path, ("admin-token", admin), &json!({})).await;
        assert_eq!((status, &stats["silentNodes"]), (200, &json!(0)), "{stats}");
        let points: Vec<_> =
            stats["points"].as_array().unwrap().iter().map(|point| point[figure].as_u64().unwrap()).collect();
        (points.iter().sum(), *points.last().unwrap())
    }
}
