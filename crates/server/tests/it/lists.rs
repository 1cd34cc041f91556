//! What all paged lists have in common.

use crate::harness::Server;

/// No cursors of any list: not text of theirs, no text at all, and the texts `x`, `-1` and `a/b\n` in their alphabet.
const STRANGE: [&str; 5] = ["7", "%21", "eA", "LTE", "YS9iCg"];

/// The document's lists that take a cursor.
fn paged(server: &Server) -> Vec<String> {
    let document = server.get("/openapi.json").call().ok();
    let takes_cursor = |operation: &serde_json::Value| {
        let parameters = operation["parameters"].as_array();
        parameters.is_some_and(|all| all.iter().any(|one| one["in"] == "query" && one["name"] == "cursor"))
    };
    let paths = document["paths"].as_object().unwrap().iter();
    paths.filter(|(_, operations)| takes_cursor(&operations["get"])).map(|(path, _)| path.clone()).collect()
}

#[test]
fn a_cursor_that_no_list_gave_is_refused_by_every_list() {
    let server = Server::start();
    let admin = server.admin_token("admin");
    server.unlimited(&admin);
    let lists = paged(&server);
    assert!(lists.len() >= 10 && lists.iter().any(|path| path == "/v1/groups"), "{lists:?}");
    for list in lists {
        let path = list.replace("{id}", &server.app);
        let get = |query: &str| server.get(&format!("{path}?{query}")).secret().call();
        get("cursor=").ok();
        // Names may be any text that is not empty, and `x` may be one of a group.
        let by_name = ["/v1/groups", "/v1/channels", "/v1/bans"].contains(&list.as_str());
        for cursor in if by_name { &STRANGE[..2] } else { &STRANGE[..] } {
            let refusal = get(&format!("cursor={cursor}")).refused(400, "invalid");
            assert!(refusal["validationErrors"]["cursor"].is_array(), "{list} {cursor}: {refusal}");
        }
    }
}
