//! Sockets that an app keeps though their sessions expired.

use respoke_core::clock::{Clock as _, Timestamp};
use respoke_core::ports::{Concerned as _, Upkeep};
use serde_json::{Value, json};

use super::Scene;
use crate::harness::{End, eventually, note_secret, text};

/// Lets the app keep sockets, and the time of alice's session pass.
fn kept_scene() -> Scene {
    let scene = Scene::set();
    let path = format!("/v1/apps/{}", scene.server.app);
    scene.server.put(&path).admin(&scene.admin).send(json!({"sessionExpiry": "keep"})).ok();
    scene.server.clock.advance_secs(86_400);
    eventually(|| scene.server.hub.sockets().iter().any(|socket| socket.kept()).then_some(()));
    scene
}

impl Scene {
    /// As the janitor does a day later.
    fn remove_what_is_dead(&self) {
        // The newest session's row stays for its number.
        self.server.session("bob");
        let (store, now) = (self.server.broker.store(), self.server.clock.now());
        let long_ago = Timestamp::from_secs(0);
        let upkeep = Upkeep {
            dead_before: now.plus_secs(1),
            audit_before: long_ago,
            audit_rows_max: 1 << 30,
            keys_before: long_ago,
            messages_before: long_ago,
            messages_per_group_max: 1 << 30,
            call_reports_before: long_ago,
            call_reports_per_app_max: 1 << 30,
            push_tokens_before: long_ago,
            now,
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let (alice, _) = runtime.block_on(store.session(1)).unwrap().unwrap();
        assert_eq!(alice.grant.endpoint_id.as_str(), "alice");
        eventually(|| {
            runtime.block_on(store.upkeep(upkeep)).unwrap();
            runtime.block_on(store.session(1)).unwrap().is_none().then_some(())
        });
    }

    /// Changes what alice stands on, and waits until she was looked at for it.
    fn look_at_alice(&self) {
        // The scene's own sign-in is over.
        let admin = self.server.admin_token("admin");
        let app = format!("/v1/apps/{}", self.server.app);
        let secrets = format!("{app}/secrets");
        self.server.put(&app).admin(&admin).send(json!({"description": "changed"})).ok();
        // What changes is looked at in its order, so that she was before this one.
        let extra = self.server.post(&secrets).admin(&admin).send(json!({"name": "extra"})).ok();
        note_secret(extra["secret"].as_str().unwrap());
        let mut backend = self.server.open(&format!("app-secret={}", text(&extra["secret"])));
        self.server.delete(&format!("{secrets}/{}", text(&extra["id"]))).admin(&admin).call().ok();
        assert_eq!(backend.end(), End::REVOKED);
    }
}

#[test]
fn an_app_may_keep_the_sockets_of_expired_sessions_but_not_of_revoked_ones() {
    let mut scene = kept_scene();
    scene.alice.publish("room", "still here");
    scene.carol.push("pubsub room alice still here");
    assert!(!scene.server.alive(&scene.alice.app_token), "over HTTP it is over");
    let again = scene.server.handshake(&format!("app-token={}", scene.alice.app_token));
    assert_eq!(again.status, 403);
    assert_eq!(scene.server.connected(), ["alice", "carol"]);
    // Nor is it closed when its session is stored no more and something it stands on changes.
    scene.remove_what_is_dead();
    scene.look_at_alice();
    assert_eq!(scene.server.connected(), ["alice", "carol"]);
    // It cannot be extended, and is not ended by trying to.
    scene.alice.ask("put", "/v1/session-tokens", json!({})).refused(401, "unauthenticated");
    scene.look_at_alice();
    scene.alice.publish("room", "and now");
    scene.carol.push("pubsub room alice and now");
    scene.server.delete(&format!("/v1/connections/{}", scene.alice.connection)).secret().call().ok();
    assert_eq!(scene.alice.end(), End::REVOKED);

    let scene = kept_scene();
    scene.server.put("/v1/endpoints/alice/ban").secret().send(json!({})).ok();
    scene.assert_alice_gone();

    let scene = kept_scene();
    scene.server.delete("/v1/sessions?endpointId=alice").secret().call().ok();
    scene.assert_alice_gone();

    let scene = kept_scene();
    scene.remove_what_is_dead();
    scene.server.delete(&format!("/v1/roles/{}", scene.server.role)).secret().call().ok();
    scene.assert_alice_gone();
}

#[test]
fn a_kept_socket_is_closed_when_its_session_is_ended_by_name_stored_or_not() {
    for stored in [true, false] {
        let scene = || {
            let scene = kept_scene();
            if !stored {
                scene.remove_what_is_dead();
            }
            scene
        };
        let mut leaving = scene();
        let id = leaving.alice.request("delete", "/v1/session-tokens", json!({}));
        if let Ok(ack) = leaving.alice.ack_or_end(id) {
            ack.ok();
        }
        leaving.assert_alice_gone();

        let revoked = scene();
        let body = json!({"token": revoked.alice.app_token});
        revoked.server.post("/oauth/revoke").secret().send(body).ok();
        revoked.assert_alice_gone();

        let named = scene();
        let id = named.server.broker.session_id(1);
        named.server.delete(&format!("/v1/sessions/{id}")).secret().call().ok();
        named.assert_alice_gone();
    }
}

#[test]
fn of_kept_sockets_only_those_stay_when_changes_went_by_unheard_whose_sessions_are_stored() {
    let scene = kept_scene();
    scene.server.hub.anything_changed();
    scene.look_at_alice();
    // By what was stored then nobody had ended it, and it is not held against it that it was removed later.
    scene.remove_what_is_dead();
    scene.look_at_alice();
    assert_eq!(scene.server.connected(), ["alice", "carol"]);
    scene.server.hub.anything_changed();
    scene.assert_alice_gone();
}

#[test]
fn a_kept_socket_is_limited_by_its_app_as_it_is() {
    let mut scene = kept_scene();
    let admin = scene.server.admin_token("admin");
    let limits = json!({"limits": {"endpoint": {"perSecond": 1, "burst": 1}}});
    scene.server.put(&format!("/v1/apps/{}", scene.server.app)).admin(&admin).send(limits).ok();
    let answers = [(); 3].map(|()| scene.alice.ask("get", "/v1/groups", Value::Null).status);
    assert!(answers.contains(&429), "{answers:?}");
}
