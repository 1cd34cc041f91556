//! The served description of the API, against the founding one.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::harness::Server;

/// Paths, methods and parameters of the founding Swagger document: facts, kept as a list.
const FOUNDING: &[(&str, &str, (&str, &str))] = &[
    ("/v1/session-tokens", "post", ("header", "App-Token")),
    ("/v1/tokens", "post", ("header", "App-Secret")),
    ("/v1/tokens", "put", ("query", "App-Secret")),
];

#[test]
fn the_founding_document_is_kept() {
    let server = Server::start();
    let document = server.get("/openapi.json").call().ok();
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
    for (path, method, (place, name)) in FOUNDING {
        let operation = &document["paths"][path][method];
        assert!(operation["responses"]["200"].is_object(), "{method} {path}");
        let parameters = operation["parameters"].as_array().unwrap();
        let found = parameters.iter().any(|found| found["in"] == *place && found["name"] == *name);
        assert!(found, "{name} in the {place} of {method} {path}");
    }
}

#[test]
fn pages_may_read_every_header_that_is_described() {
    let server = Server::start();
    let answer = server.get("/openapi.json").header("Origin", "https://example.com").call();
    let exposed = answer.header("access-control-expose-headers").unwrap().to_ascii_lowercase();
    let exposed: Vec<_> = exposed.split(", ").collect();
    let document = answer.ok();
    let operations =
        document["paths"].as_object().unwrap().values().flat_map(|path| path.as_object().unwrap().values());
    let responses = operations.filter_map(|operation| operation["responses"].as_object()).flat_map(|all| all.values());
    let headers = responses.filter_map(|response| response["headers"].as_object()).flat_map(|all| all.keys());
    let described: BTreeSet<_> = headers.chain(document["components"]["headers"].as_object().unwrap().keys()).collect();
    assert!(described.iter().any(|name| *name == "Silent-Nodes"), "{described:?}");
    for name in described {
        assert!(exposed.contains(&&*name.to_ascii_lowercase()), "{name}");
    }
}

#[test]
fn every_route_is_described() {
    let server = Server::start();
    let document = server.get("/openapi.json").call().ok();
    let paths = document["paths"].as_object().unwrap();
    for path in [
        "/v1/tokens",
        "/v1/tokens/{id}",
        "/v1/session-tokens",
        "/v1/appauthsessions",
        "/v1/sessions",
        "/v1/sessions/{id}",
        "/v1/admin-sessions",
        "/v1/adminsessions",
        "/v1/apps",
        "/v1/apps/{id}",
        "/v1/apps/{id}/secrets",
        "/v1/roles",
        "/v1/roles/{id}",
        "/v1/endpoints/{id}/ban",
        "/v1/bans",
        "/v1/groups/{id}/history",
        "/v1/channels/{id}/history",
        "/v1/group-history-search",
        "/v1/group-histories",
        "/v1/endpoints/{id}/conversations",
        "/v1/connections/{id}/push-token",
        "/v1/connections/{id}/push-token/{push_token_id}",
        "/v1/endpointconnections/{id}/push-token",
        "/v1/endpointconnections/{id}/push-token/{push_token_id}",
        "/v1/turn",
        "/v1/call-debugs",
        "/v1/audit",
        "/oauth/introspect",
        "/oauth/revoke",
    ] {
        assert!(paths.contains_key(path), "{path} is not among {:?}", paths.keys());
    }
    let page = server.get("/docs").call();
    assert_eq!(page.status, 200);
    assert!(page.text.contains("/v1/session-tokens"));
    assert!(page.header("content-security-policy").is_some_and(|policy| policy.contains("default-src 'none'")));
}

#[test]
fn what_is_described_is_served_and_no_other_method_is() {
    let server = Server::start();
    let document = server.get("/openapi.json").call().ok();
    for (path, item) in document["paths"].as_object().unwrap() {
        let place = path.split('/').map(|part| if part.starts_with('{') { "x" } else { part }).collect::<Vec<_>>();
        for method in ["GET", "POST", "PUT", "PATCH", "DELETE"] {
            let code = match server.request(method, &place.join("/")).send(json!({})).text {
                text if text.contains("\"code\":\"no_such_route\"") => "no_such_route",
                text if text.contains("\"code\":\"method_not_allowed\"") => "method_not_allowed",
                _ => "",
            };
            let expected = if item[method.to_lowercase()].is_object() { "" } else { "method_not_allowed" };
            assert_eq!(code, expected, "{method} {path}");
        }
    }
}

/// Each path of a family of URLs, behind the family's name, with its methods.
fn routes_of(document: &Value, family: &str) -> Vec<(String, Vec<String>)> {
    let paths = document["paths"].as_object().unwrap().iter();
    let routes = paths.filter_map(|(path, item)| {
        let rest = path.strip_prefix(family).filter(|rest| rest.is_empty() || rest.starts_with('/'))?;
        Some((rest.to_owned(), item.as_object().unwrap().keys().cloned().collect()))
    });
    routes.collect()
}

#[test]
fn both_families_of_urls_know_every_route_of_a_group() {
    let server = Server::start();
    let document = server.get("/openapi.json").call().ok();
    let groups = routes_of(&document, "/v1/groups");
    assert_eq!(groups, routes_of(&document, "/v1/channels"));
    let described = groups.iter().map(|(path, _)| path.as_str()).collect::<Vec<_>>();
    assert_eq!(described, ["", "/{id}", "/{id}/history", "/{id}/publish", "/{id}/subscribers"]);
    // And so does the server, of what is described and of nothing else.
    for (path, methods) in groups {
        for method in ["GET", "POST", "PUT", "PATCH", "DELETE"] {
            let answers = ["groups", "channels"].map(|family| {
                let url = format!("/v1/{family}{}", path.replace("{id}", "room"));
                let body = json!({"message": "hi", "name": "room", "endpointId": "alice"});
                let answer = server.request(method, &url).secret().send(body);
                (answer.status, answer.text.replace(answer.header("request-id").unwrap_or("-"), ""))
            });
            let known = !answers[0].1.contains("method_not_allowed") && !answers[0].1.contains("no_such_route");
            assert_eq!(known, methods.contains(&method.to_lowercase()), "{method} {path}: {answers:?}");
            let without_ids = |text: &str| text.split("messageId").next().map(str::to_owned);
            let told = answers.each_ref().map(|(status, text)| (*status, without_ids(text)));
            assert_eq!(told[0], told[1], "{method} {path}");
        }
    }
}
