//! What an operator is shown of several nodes.

use serde_json::{Value, json};

use super::two;
use crate::console::{cookie, sign_in};
use crate::harness::{Client, PASSWORD, Server, are_nodes_asked, eventually, text};

/// A list that an admin asks for.
fn list(node: &Client, admin: &str, path: &str) -> Vec<Value> {
    node.get(path).admin(admin).call().ok().as_array().unwrap().clone()
}

/// Whose each is, and by which node.
fn places(found: &[Value]) -> Vec<(String, String)> {
    let mut places: Vec<_> = found
        .iter()
        .map(|one| (text(&one["endpointId"]), one["node"]["name"].as_str().unwrap_or("?").into()))
        .collect();
    places.sort();
    places
}

/// The numbers of both nodes, once each knows what both are called.
fn numbers([one, other]: &[Server; 2], admin: &str) -> [u64; 2] {
    let of = |node: &Server| {
        eventually(|| {
            let nodes = list(node, admin, "/v1/nodes");
            let number = |name: &str| nodes.iter().find(|node| node["name"] == name)?["id"].as_u64();
            Some([number("one")?, number("other")?])
        })
    };
    assert_eq!(of(one), of(other));
    of(one)
}

#[test]
fn connections_are_told_with_their_nodes() {
    let Some(nodes) = two() else { return };
    let [one, other] = &nodes;
    let admin = one.admin_token("admin");
    let [first, second] = numbers(&nodes, &admin);
    let (_alice, _bob, _carol) = (one.connect("alice"), other.connect("bob"), other.connect("carol"));
    let pair = |endpoint: &str, node: &str| (endpoint.to_owned(), node.to_owned());
    let all = [pair("alice", "one"), pair("bob", "other"), pair("carol", "other")];
    for node in &nodes {
        // What a node is called comes with its beat, a moment after it serves.
        eventually(|| (places(&list(node, &admin, "/v1/connections")) == all).then_some(()));
        let found = |query: &str| list(node, &admin, &format!("/v1/connections?{query}"));
        assert_eq!(places(&found(&format!("node={first}"))), all[..1]);
        assert_eq!(places(&found(&format!("node={second}"))), all[1..]);
        assert_eq!(places(&found(&format!("node={second}&endpointId=carol"))), all[2..]);
        assert_eq!(places(&found(&format!("node={first}&endpointId=carol"))), []);
        assert_eq!(places(&found("node=4000000000")), []);
        let page = node.get(&format!("/v1/connections?node={second}&limit=1")).admin(&admin).call();
        let rest = format!("node={second}&limit=1&cursor={}", page.header("next-cursor").unwrap());
        let pages = [page.ok().as_array().unwrap().clone(), found(&rest)].concat();
        assert_eq!(places(&pages), all[1..]);
        node.get("/v1/connections?node=one").admin(&admin).call().refused(400, "invalid");

        // Which nodes there are is told to admins alone.
        let told = node.get("/v1/connections").secret().call().ok();
        assert!(told.as_array().unwrap().iter().all(|one| one.get("node").is_none()), "{told}");
        node.get(&format!("/v1/connections?node={first}")).secret().call().refused(403, "forbidden");
    }
    let carol = one.get("/v1/endpoints/carol").admin(&admin).call().ok();
    assert_eq!(carol["connections"][0]["node"], json!({"id": second, "name": "other"}));
}

#[test]
fn sessions_are_told_with_the_nodes_where_they_are_connected() {
    let Some(nodes) = two() else { return };
    let [one, other] = &nodes;
    let admin = one.admin_token("admin");
    let [first, second] = numbers(&nodes, &admin);
    let (alice, _bob) = (one.session("alice"), other.connect("bob"));
    let _sockets = [one.open_as("alice", &alice), other.open_as("alice", &alice), one.open_as("alice", &alice)];
    one.session("carol");
    let at = |number: u64, name: &str| json!({"id": number, "name": name});
    let expected = [
        ("alice", json!([at(first, "one"), at(second, "other")])),
        ("bob", json!([at(second, "other")])),
        ("carol", json!([])),
    ];
    for node in &nodes {
        eventually(|| {
            let found = list(node, &admin, "/v1/sessions");
            let mut told: Vec<_> = found
                .iter()
                .map(|session| (session["endpointId"].as_str().unwrap(), session["nodes"].clone()))
                .collect();
            told.sort_by_key(|(endpoint, _)| *endpoint);
            (told == expected).then_some(())
        });
        let answer = node.get("/v1/sessions").secret().call();
        assert_eq!(answer.header("silent-nodes"), None);
        assert!(answer.ok().as_array().unwrap().iter().all(|session| session.get("nodes").is_none()));
    }
}

#[test]
fn sessions_of_one_node_are_found_among_all() {
    let Some(nodes) = two() else { return };
    let [one, other] = &nodes;
    let admin = one.admin_token("admin");
    let [first, second] = numbers(&nodes, &admin);
    // More than are looked at at once lie between those who are connected.
    let _alice = one.connect("alice");
    for number in 0..210 {
        one.session(&format!("idle-{number}"));
    }
    let (bob, _carol) = (other.session("bob"), one.connect("carol"));
    let _sockets = [other.open_as("bob", &bob), one.open_as("bob", &bob)];
    for node in &nodes {
        let whose = |query: &str| -> Vec<_> {
            list(node, &admin, &format!("/v1/sessions?{query}")).iter().map(|one| text(&one["endpointId"])).collect()
        };
        eventually(|| (whose(&format!("node={first}")) == ["alice", "bob", "carol"]).then_some(()));
        assert_eq!(whose(&format!("node={second}")), ["bob"]);
        assert_eq!(whose(&format!("node={first}&endpointId=carol")), ["carol"]);
        assert_eq!(whose(&format!("node={second}&endpointId=carol")), [""; 0]);
        assert_eq!(whose("node=4000000000"), [""; 0]);
        let page = node.get(&format!("/v1/sessions?node={first}&limit=2")).admin(&admin).call();
        let rest = format!("node={first}&limit=2&cursor={}", page.header("next-cursor").unwrap());
        assert_eq!((page.ok().as_array().unwrap().len(), whose(&rest)), (2, vec!["carol".to_owned()]));
        node.get("/v1/sessions?node=one").admin(&admin).call().refused(400, "invalid");
        // Which nodes there are is told to admins alone.
        node.get(&format!("/v1/sessions?node={first}")).secret().call().refused(403, "forbidden");

        let cookie = cookie(&sign_in(node, PASSWORD));
        let page = |path: &str| node.get(&format!("/console/apps/{}/{path}", one.app)).header("Cookie", &cookie).call();
        let found = page(&format!("sessions?node={second}")).text;
        assert!(found.contains("<strong>bob</strong>") && !found.contains("<strong>alice</strong>"), "{found}");
        assert!(found.contains(&format!("<option value=\"{second}\" selected>other ({second})</option>")), "{found}");
        assert!(page("sessions?node=4000000000").text.contains("No session is connected there."));
        let shown = page("endpoints/bob").text;
        assert!(shown.contains("Connected at") && shown.contains("other ("), "{shown}");
    }
    let bob = one.get("/v1/endpoints/bob").admin(&admin).call().ok();
    let at = [json!({"id": first, "name": "one"}), json!({"id": second, "name": "other"})];
    assert_eq!(bob["sessions"][0]["nodes"], json!(at));
    let shown = one.get("/v1/endpoints/bob").secret().call().ok();
    assert_eq!(shown["sessions"][0].get("nodes"), None);
}

#[test]
fn nodes_are_told_with_how_old_what_they_know_of_changes_is() {
    let Some(nodes) = two() else { return };
    let [one, other] = &nodes;
    let admin = one.admin_token("admin");
    for node in [one, other] {
        // Each looks at the feed once a second, and says how it stands every three.
        eventually(|| {
            let nodes = list(node, &admin, "/v1/nodes");
            let ages: Vec<_> = nodes.iter().filter_map(|node| node["feedAgeMillis"].as_u64()).collect();
            (ages.len() == 2 && ages.iter().all(|age| (1..5_000).contains(age))).then_some(())
        });
        let metrics = node.get("/metrics").call().text;
        let age = metrics.lines().find_map(|line| line.strip_prefix("respoked_feed_age_milliseconds "));
        assert!(age.unwrap().parse::<u64>().unwrap() < 5_000, "{metrics}");
    }
}

#[test]
fn the_console_lists_nodes_and_offers_to_drain_them() {
    let Some(nodes) = two() else { return };
    let [one, other] = &nodes;
    let admin = one.admin_token("admin");
    let [first, second] = numbers(&nodes, &admin);
    let cookie = cookie(&sign_in(other, PASSWORD));
    let page = eventually(|| {
        let page = other.get("/console/nodes").header("Cookie", &cookie).call();
        // On a machine that has no time one may be late.
        let is_whole = page.text.matches(">serving<").count() == 2 && !page.text.contains("no answer");
        is_whole.then_some(page.text)
    });
    for number in [first, second] {
        assert!(page.contains(&format!("/console/nodes/{number}/drain")), "{page}");
    }
    assert!(page.contains(&format!("<strong>other ({second})</strong> <span class=\"tag\">this one</span>")), "{page}");
}

#[test]
fn a_server_that_is_alone_tells_of_no_nodes() {
    if are_nodes_asked() {
        return;
    }
    let server = Server::start();
    let admin = server.admin_token("admin");
    let _alice = server.connect("alice");
    for path in ["connections", "connections?node=0", "sessions", "sessions?node=0"] {
        let found = list(&server, &admin, &format!("/v1/{path}"));
        assert_eq!((found.len(), found[0].get("node"), found[0].get("nodes")), (1, None, None));
    }
    for path in ["connections", "sessions"] {
        assert!(list(&server, &admin, &format!("/v1/{path}?node=1")).is_empty());
    }
    assert_eq!(list(&server, &admin, "/v1/request-log")[0].get("node"), None);
    let cookie = cookie(&sign_in(&server, PASSWORD));
    for list in ["apps/APP/connections", "apps/APP/sessions", "requests", "apps"] {
        let page =
            server.get(&format!("/console/{}", list.replace("APP", &server.app))).header("Cookie", &cookie).call();
        assert_eq!(page.status, 200, "{list}");
        assert!(!page.text.to_lowercase().contains("node"), "{list}: {}", page.text);
    }
    let page = server.get("/console/nodes").header("Cookie", &cookie).call();
    assert!(page.text.contains("This server is alone") && !page.text.contains("Drain"), "{}", page.text);
}
