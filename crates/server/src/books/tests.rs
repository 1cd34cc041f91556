//! What one node counted, the others know.

use hmac::{Hmac, KeyInit as _, Mac as _};
use respoke_core::clock::{Clock as _, Timestamp};
use respoke_core::ports::Bus as _;
use serde_json::json;
use sha1::Sha1;

use super::*;
use crate::deed::Deed;
use crate::door::house::House;
use crate::minutes;

#[tokio::test]
async fn each_node_tells_the_figures_of_all() {
    let house = House::of(3).await;
    let admin = house.admin(0).await;
    let app = Some(house.first.app_id);
    for (node, times) in [(0, 1), (1, 2), (2, 4)] {
        for _ in 0..times {
            house.nodes[node].api.watch.tally.happened(app, Deed::Minted);
        }
    }
    let own = format!("?appId={}", house.first.app_id);
    for node in 0..3 {
        for query in ["", &own, "?range=24h", "?range=30d"] {
            assert_eq!(house.figure(node, &admin, query, "minted").await, (7, 7), "{query:?} at {node}");
        }
    }
    // The minute is over, at two of them: what they counted is in the database, and they count anew.
    house.clock.advance_secs(60);
    for node in &house.nodes[..2] {
        let connections = |_| u64::from(node.bus.node().id.0) * 10;
        node.api.watch.tally.turn_minute(house.clock.now(), 5, connections);
        minutes::save(&node.api.watch, &node.api.broker).await;
    }
    for node in 0..3 {
        for query in ["", &own, "?range=24h"] {
            assert_eq!(house.figure(node, &admin, query, "minted").await.0, 7, "{query:?} at {node}");
            assert_eq!(house.figure(node, &admin, query, "connections").await.0, 30, "{query:?} at {node}");
        }
    }
    // A node that ends leaves what it counted in the minutes that were over.
    house.between.lose(house.nodes[0].bus.node());
    assert_eq!(house.figure(1, &admin, "", "minted").await.0, 7);
}

/// How many of so many requests of the app's backend a node answers.
async fn answered(house: &House, node: usize, requests: usize) -> usize {
    let mut answered = 0;
    for _ in 0..requests {
        match house.ask(node, "GET", "/v1/roles", house.secret(), &json!({})).await.0 {
            200 => answered += 1,
            status => assert_eq!(status, 429),
        }
    }
    answered
}

#[tokio::test]
async fn an_app_asks_all_nodes_together_as_much_as_it_may_ask_one() {
    let house = House::of(3).await;
    let admin = house.admin(0).await;
    let limits = json!({"limits": {"app": {"perSecond": 1, "burst": 20}}});
    let path = format!("/v1/apps/{}", house.first.app_id);
    assert_eq!(house.ask(0, "PUT", &path, ("admin-token", &admin), &limits).await.0, 200);
    for node in &house.nodes {
        node.api.broker.follow().await.unwrap();
    }
    assert_eq!(answered(&house, 0, 15).await, 15);
    house.nodes[0].api.tell_others();
    assert_eq!(answered(&house, 1, 15).await, 5);
    // What was drawn there is not told yet: this is how far they may go beyond.
    assert_eq!(answered(&house, 2, 15).await, 5);
    for node in &house.nodes {
        node.api.tell_others();
    }
    house.clock.advance_secs(5);
    for node in 0..3 {
        assert_eq!(answered(&house, node, 15).await, 0, "five were drawn too many, and are owed by all");
    }
    house.clock.advance_secs(1);
    assert_eq!(answered(&house, 1, 15).await, 1);
}

#[tokio::test]
async fn who_guesses_a_password_waits_at_all_nodes() {
    let house = House::of(2).await;
    let mut statuses = Vec::new();
    for nth in 0..8 {
        statuses.push(house.sign_in(nth % 2, "not it").await.0);
    }
    assert_eq!(statuses, [401, 401, 401, 401, 401, 429, 429, 429]);
    // The owner comes in at one of them, which forgives this address at both.
    house.clock.advance_secs(1);
    house.admin(1).await;
    assert_eq!(house.sign_in(0, "not it").await.0, 401);
}

#[tokio::test]
async fn who_shows_credentials_that_are_not_valid_waits_at_all_nodes() {
    let house = House::of(2).await;
    let wrong = async |node| house.ask(node, "GET", "/v1/roles", ("app-secret", "wrong"), &json!({})).await.0;
    for _ in 0..20 {
        assert_eq!(wrong(0).await, 401);
    }
    house.nodes[0].api.tell_others();
    assert_eq!(wrong(1).await, 429);
}

/// The six digits that a device with this base32 secret shows.
fn code_at(secret: &str, at: Timestamp) -> String {
    let key = data_encoding::BASE32_NOPAD.decode(secret.as_bytes()).unwrap();
    let mut mac = Hmac::<Sha1>::new_from_slice(&key).unwrap();
    mac.update(&(at.secs() / 30).to_be_bytes());
    let digest = mac.finalize().into_bytes();
    let offset = usize::from(digest[19] & 15);
    let word = u32::from_be_bytes(digest[offset..offset + 4].try_into().unwrap());
    format!("{:06}", (word & 0x7fff_ffff) % 1_000_000)
}

#[tokio::test]
async fn a_second_factor_is_taken_up_at_whichever_node_is_asked() {
    const PATH: &str = "/v1/admins/me/totp";
    let house = House::of(3).await;
    let token = house.admin(0).await;
    let admin = ("admin-token", token.as_str());
    let password = house.first.password.as_ref().unwrap().expose();
    let begin = async |node| {
        let (status, answer) = house.ask(node, "POST", PATH, admin, &json!({"password": password})).await;
        assert_eq!(status, 200, "{answer}");
        answer["secret"].as_str().unwrap().to_owned()
    };
    let confirm = async |node, secret: &str| {
        let code = code_at(secret, house.clock.now());
        house.ask(node, "PUT", PATH, admin, &json!({"code": code})).await
    };
    let (status, answer) = house.ask(2, "PUT", PATH, admin, &json!({"code": "123456"})).await;
    assert_eq!((status, answer["code"].as_str()), (409, Some("conflict")), "none waits anywhere");
    let first = begin(0).await;
    let second = begin(1).await;
    assert_eq!(confirm(2, &first).await.0, 401, "who begins anew begins anew at all");
    assert_eq!(confirm(0, &first).await.0, 401);
    let (status, answer) = confirm(2, &second).await;
    assert_eq!((status, answer["recoveryCodes"].as_array().map(Vec::len)), (200, Some(10)), "{answer}");
    for node in 0..3 {
        assert_eq!(confirm(node, &second).await.0, 409, "it waits nowhere any more");
    }
}

#[test]
fn the_others_are_told_the_less_often_the_more_there_are() {
    let millis = |others| tell_after(others).as_millis();
    assert_eq!([0, 1, 8, 9, 63, 10_000].map(millis), [100, 100, 100, 200, 800, 1_000]);
}
