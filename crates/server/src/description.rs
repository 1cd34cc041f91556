//! The description of the API: every operation of the table, and what `openapi.rs` says of all of them.

use respoke_wire::tunnel::Method;
use utoipa::openapi::OpenApi as Document;
use utoipa::openapi::path::{Operation, PathItem};
use utoipa::{Modify, OpenApi};

use crate::openapi::Common;
use crate::operations::OPERATIONS;

/// The `OpenAPI` 3.1 document, as indented JSON.
///
/// # Panics
///
/// Never: a document of text, lists and maps always serializes.
pub(crate) fn openapi_json() -> String {
    serde_json::to_string_pretty(&document()).expect("a document of text, lists and maps serializes")
}

/// What it says of itself.
#[derive(OpenApi)]
#[openapi(info(
    title = "respoked",
    description = "The Respoke API, self-hosted. Every path is served with and without a trailing slash; bodies are \
                       JSON or forms; success is always 200.",
    license(name = "Apache-2.0 OR MIT"),
))]
struct Title;

/// The same as a value.
pub(crate) fn document() -> Document {
    let mut document = Title::openapi();
    let components = document.components.get_or_insert_default();
    for operation in OPERATIONS {
        let mut described = (operation.description)();
        let items = std::mem::take(&mut described.paths.paths).into_values();
        let Some(own) = items.flat_map(operation_of).next() else { continue };
        components.schemas.extend(described.components.take().unwrap_or_default().schemas);
        for way in operation.ways {
            let Some(suffix) = way.told_as else { continue };
            let mut described = own.clone();
            if let Some(id) = &mut described.operation_id {
                id.push_str(suffix);
            }
            let item = document.paths.paths.entry(way.path.to_owned()).or_default();
            *place(item, way.method) = Some(described);
        }
    }
    Common.modify(&mut document);
    document
}

/// The operations of a path.
fn operation_of(item: PathItem) -> impl Iterator<Item = Operation> {
    [item.get, item.post, item.put, item.delete, item.patch].into_iter().flatten()
}

fn place(item: &mut PathItem, method: Method) -> &mut Option<Operation> {
    match method {
        Method::Get => &mut item.get,
        Method::Post => &mut item.post,
        Method::Put => &mut item.put,
        Method::Delete => &mut item.delete,
        Method::Patch => &mut item.patch,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

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
        let mut ids = BTreeSet::new();
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
    fn every_route_is_described_or_said_not_to_be() {
        let document = document();
        let described = document["paths"].as_object().unwrap().iter().flat_map(|(path, item)| {
            item.as_object().unwrap().keys().map(move |method| (path.as_str(), method.to_uppercase()))
        });
        let told = OPERATIONS.iter().flat_map(|operation| operation.ways).filter(|way| way.told_as.is_some());
        let routes = told.map(|way| (way.path, way.method.as_str().to_owned()));
        assert_eq!(described.collect::<BTreeSet<_>>(), routes.collect::<BTreeSet<_>>());
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
