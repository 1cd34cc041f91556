//! The description of the API: every operation, and what `openapi.rs` says of all of them.

use utoipa::OpenApi;
use utoipa::openapi::OpenApi as Described;

use crate::api;
use crate::openapi::Common;

/// The `OpenAPI` 3.1 document, as indented JSON.
///
/// # Panics
///
/// Never: a document of text, lists and maps always serializes.
#[must_use]
pub(crate) fn openapi_json() -> String {
    serde_json::to_string_pretty(&document()).expect("a document of text, lists and maps serializes")
}

/// The same as a value.
pub(crate) fn document() -> Described {
    Document::openapi()
}

/// Every operation; `openapi.rs` adds what they have in common.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "respoked",
        description = "The Respoke API, self-hosted. Every path is served with and without a trailing slash; bodies are \
                       JSON or forms; success is always 200.",
        license(name = "Apache-2.0 OR MIT"),
    ),
    paths(
        api::tokens::create,
        api::tokens::replace,
        api::tokens::list,
        api::tokens::inspect,
        api::tokens::revoke,
        api::session_tokens::create,
        api::session_tokens::describe,
        api::session_tokens::extend,
        api::session_tokens::end,
        api::sessions::list,
        api::sessions::end_many,
        api::sessions::read,
        api::sessions::end,
        api::admin_sessions::create,
        api::admin_sessions::end,
        api::admins::list,
        api::admins::create,
        api::admins::update,
        api::admins::remove,
        api::admins::read_own,
        api::admins::change_password,
        api::admins::enrol,
        api::admins::confirm,
        api::admins::give_up,
        api::apps::list,
        api::apps::create,
        api::apps::read,
        api::apps::update,
        api::apps::remove,
        api::secrets::list,
        api::secrets::create,
        api::secrets::read,
        api::secrets::revoke,
        api::secrets::roll,
        api::roles::list,
        api::roles::create,
        api::roles::read,
        api::roles::update,
        api::roles::remove,
        api::endpoints::read,
        api::endpoints::tail,
        api::bans::read,
        api::bans::ban,
        api::bans::lift,
        api::bans::list,
        api::history::read,
        api::history::search,
        api::history::search_by_query,
        api::conversations::list,
        api::conversations::mark_read,
        api::push_tokens::create,
        api::push_tokens::replace,
        api::push_tokens::remove,
        api::turn::read,
        api::call_debugs::create,
        api::call_debugs::list,
        api::connections::list,
        api::connections::create,
        api::connections::create_for,
        api::connections::end,
        api::groups::list,
        api::groups::join_many,
        api::groups::leave_many,
        api::groups::members,
        api::groups::join,
        api::groups::end,
        api::groups::publish,
        api::groups::leave,
        api::messages::create,
        api::presence::set,
        api::presence::observe,
        api::signaling::create,
        api::audit::list,
        api::request_log::list,
        api::stats::read,
        api::oauth::introspect,
        api::oauth::revoke,
        api::health::live,
        api::health::ready,
        api::health::metrics,
    ),
    modifiers(&Common)
)]
struct Document;

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn document() -> Value {
        serde_json::from_str(&openapi_json()).unwrap()
    }

    #[test]
    fn the_founding_documents_paths_methods_and_parameters_are_there() {
        let document = document();
        assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
        for (path, method, name, place) in [
            ("/v1/session-tokens", "post", "App-Token", "header"),
            ("/v1/tokens", "post", "App-Secret", "header"),
            ("/v1/tokens", "put", "App-Secret", "query"),
        ] {
            let parameters = document["paths"][path][method]["parameters"].as_array().unwrap();
            let found = parameters.iter().any(|found| found["name"] == name && found["in"] == place);
            assert!(found, "{method} {path} lacks {name} in {place}");
        }
    }

    #[test]
    fn every_reference_leads_somewhere_and_every_operation_has_an_id_of_its_own() {
        let document = document();
        let mut ids = std::collections::BTreeSet::new();
        for (path, item) in document["paths"].as_object().unwrap() {
            for (method, operation) in item.as_object().unwrap() {
                let id = operation["operationId"].as_str().unwrap_or_else(|| panic!("{method} {path}"));
                assert!(ids.insert(id), "{id} is there twice");
                let ok = &operation["responses"]["200"];
                assert!(ok["headers"]["Request-Id"].is_object(), "{method} {path}");
            }
        }
        let text = document.to_string();
        for (at, _) in text.match_indices("\"$ref\":\"#/") {
            let pointer = text[at + 9..].split('"').next().unwrap();
            assert!(document.pointer(pointer).is_some(), "{pointer} leads nowhere");
        }
    }

    #[test]
    fn aliases_are_described() {
        let document = document();
        assert!(document["paths"]["/v1/appauthsessions"]["post"].is_object());
        assert!(document["paths"]["/v1/adminsessions"]["post"].is_object());
        assert!(document["paths"]["/v1/channels/{id}/history"]["get"].is_object());
        assert!(document["paths"]["/v1/endpoints/{id}/conversations"]["post"].is_object());
        assert!(document["paths"]["/v1/turn"]["post"].is_object());
        assert!(document["paths"]["/v1/apps/{id}"]["patch"].is_object());
        assert!(document["paths"]["/v1/endpoints/{id}/ban"]["post"].is_object());
    }
}
