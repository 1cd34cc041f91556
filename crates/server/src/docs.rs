//! `/openapi.json` and `/docs`: the document, and a page to read it, both made when first asked for and without a script.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use maud::{Markup, html};
use serde_json::Value;
use utoipa::openapi::Server;

use crate::call::Call;
use crate::config::PublicUrl;
use crate::description::document;
use crate::markup::{self, HTML};
use crate::state::{Api, Described};

/// Nothing but our own style sheet is loaded, and nobody frames the page.
const POLICY: &str =
    "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// What this server, said to be reached by `public_url`, tells of itself.
fn describe(public_url: Option<&PublicUrl>) -> Described {
    let mut document = document();
    document.servers = public_url.map(|url| vec![Server::new(url.as_str())]);
    let json = Bytes::from(document.to_json().unwrap_or_default());
    let document: Value = serde_json::from_slice(&json).unwrap_or_default();
    Described { json, page: Bytes::from(render(&document).into_string()) }
}

pub(crate) async fn json(State(api): State<Arc<Api>>, _: Call) -> Response {
    let described = api.described.get_or_init(|| describe(api.public_url.as_ref()));
    ([(CONTENT_TYPE, "application/json; charset=utf-8")], described.json.clone()).into_response()
}

pub(crate) async fn page(State(api): State<Arc<Api>>, _: Call) -> Response {
    let headers = [(CONTENT_TYPE, HTML), (CONTENT_SECURITY_POLICY, POLICY)];
    let described = api.described.get_or_init(|| describe(api.public_url.as_ref()));
    (headers, described.page.clone()).into_response()
}

pub(crate) async fn style(_: Call) -> Response {
    ([(CONTENT_TYPE, "text/css; charset=utf-8")], include_str!("docs/docs.css")).into_response()
}

fn render(document: &Value) -> Markup {
    let info = &document["info"];
    let head = html! {
        title { (text(&info["title"])) " API" }
        link rel="stylesheet" href="/docs/style.css";
    };
    let body = html! {
        body {
            main {
                h1 { (text(&info["title"])) " API " small { (text(&info["version"])) } }
                p { (text(&info["description"])) }
                @if let Some(url) = document["servers"][0]["url"].as_str() {
                    p { "The server: " code { (url) } }
                }
                p { "For programs: " a href="/openapi.json" { "/openapi.json" } "." }
                h2 { "Credentials" }
                dl {
                    @for (name, scheme) in members(&document["components"]["securitySchemes"]) {
                        dt { code { (name) } }
                        dd { (text(&scheme["description"])) }
                    }
                }
                h2 { "Operations" }
                @for (path, item) in members(&document["paths"]) {
                    @for (method, operation) in members(item) {
                        (render_operation(document, path, method, operation))
                    }
                }
                h2 { "Objects" }
                @for (name, schema) in members(&document["components"]["schemas"]) {
                    section id={ "schema-" (name) } {
                        h3 { code { (name) } }
                        p { (text(&schema["description"])) }
                        (render_properties(schema))
                    }
                }
            }
        }
    };
    markup::document(&head, &body)
}

fn render_operation(document: &Value, path: &str, method: &str, operation: &Value) -> Markup {
    let body = &operation["requestBody"]["content"];
    html! {
        section id=(text(&operation["operationId"])) {
            h3 { span class={ "method " (method) } { (method.to_uppercase()) } " " code { (path) } }
            p { strong { (text(&operation["summary"])) } " " (text(&operation["description"])) }
            p class="security" {
                "Needs: "
                @for (at, requirement) in list(&operation["security"]).enumerate() {
                    @if at > 0 { " or " }
                    @match members(requirement).next() {
                        Some((name, _)) => { code { (name) } }
                        None => { "nothing" }
                    }
                }
            }
            @if list(&operation["parameters"]).next().is_some() {
                table {
                    thead { tr { th { "Parameter" } th { "In" } th { "Type" } th { "Meaning" } } }
                    tbody {
                        @for parameter in list(&operation["parameters"]) {
                            tr {
                                td { code { (text(&parameter["name"])) } }
                                td { (text(&parameter["in"])) }
                                td { (kind(&parameter["schema"])) }
                                td { (text(&parameter["description"])) }
                            }
                        }
                    }
                }
            }
            @for (media, content) in members(body).take(1) {
                p { "Takes " (kind(&content["schema"])) " as " code { (media) } "." }
            }
            table {
                thead { tr { th { "Answer" } th { "Body" } th { "Meaning" } } }
                tbody {
                    @for (status, response) in members(&operation["responses"]) {
                        @let response = resolve(document, response);
                        tr {
                            td { (status) }
                            td { @for (_, content) in members(&response["content"]).take(1) { (kind(&content["schema"])) } }
                            td { (text(&response["description"])) }
                        }
                    }
                }
            }
        }
    }
}

fn render_properties(schema: &Value) -> Markup {
    html! {
        @for part in list(&schema["allOf"]) {
            @if part["$ref"].is_string() {
                p { "All of " (kind(part)) ", and:" }
            } @else {
                (render_properties(part))
            }
        }
        @if members(&schema["properties"]).next().is_some() {
            table {
                thead { tr { th { "Field" } th { "Type" } th { "Meaning" } } }
                tbody {
                    @for (name, property) in members(&schema["properties"]) {
                        tr {
                            td { code { (name) } }
                            td { (kind(property)) }
                            td { (text(&property["description"])) }
                        }
                    }
                }
            }
        }
    }
}

/// What a reference stands for, or what is no reference itself.
fn resolve<'a>(document: &'a Value, value: &'a Value) -> &'a Value {
    let pointer = value["$ref"].as_str().and_then(|target| target.strip_prefix('#'));
    pointer.and_then(|pointer| document.pointer(pointer)).unwrap_or(value)
}

/// A schema in a few words; objects are links.
fn kind(schema: &Value) -> Markup {
    if let Some(name) = schema["$ref"].as_str().and_then(|target| target.rsplit('/').next()) {
        return html! { a href={ "#schema-" (name) } { (name) } };
    }
    if let Some(choice) = list(&schema["oneOf"]).find(|choice| choice["type"] != "null") {
        return html! { (kind(choice)) " or null" };
    }
    let names: Vec<&str> = match &schema["type"] {
        Value::String(name) => vec![name],
        Value::Array(names) => names.iter().filter_map(Value::as_str).collect(),
        _ => vec!["object"],
    };
    html! {
        (names.join(" or "))
        @if names.contains(&"array") { " of " (kind(&schema["items"])) }
        @if let Some(format) = schema["format"].as_str() { " (" (format) ")" }
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn members(value: &Value) -> impl Iterator<Item = (&str, &Value)> {
    value.as_object().into_iter().flatten().map(|(name, value)| (name.as_str(), value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_shows_every_operation_and_runs_nothing() {
        let Described { json, page } = describe(None);
        let page = String::from_utf8(page.to_vec()).unwrap();
        let document: Value = serde_json::from_slice(&json).unwrap();
        for (path, _) in members(&document["paths"]) {
            assert!(page.contains(&format!("<code>{path}</code>")), "{path}");
        }
        for forbidden in ["<script", "style=", "http://", "https://", "javascript:"] {
            assert!(!page.contains(forbidden), "{forbidden}");
        }
    }

    #[test]
    fn what_is_shown_is_escaped() {
        let document = serde_json::json!({ "info": { "title": "<b>&" }, "paths": {} });
        assert!(render(&document).into_string().contains("&lt;b&gt;&amp;"));
    }
}
