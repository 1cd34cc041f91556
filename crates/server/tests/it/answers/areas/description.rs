//! What is described: each operation in a line, and each component.

use serde_json::Value;

use crate::answers::book::Book;

pub(in crate::answers) fn tell(book: &mut Book) {
    let mut document = book.server.get("/openapi.json").call().ok();
    without_shared_headers(&mut document);
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            book.row(&format!("{} {path}", method.to_uppercase()), format!("    {operation}\n"));
        }
    }
    for (kind, components) in document["components"].as_object().unwrap() {
        for (name, component) in components.as_object().unwrap() {
            book.row(&format!("{kind}: {name}"), format!("    {component}\n"));
        }
    }
}

/// Headers that are among the components, and told with nearly every answer.
fn without_shared_headers(value: &mut Value) {
    if let Some(headers) = value.get_mut("headers").and_then(Value::as_object_mut) {
        headers.retain(|_, header| header.get("$ref").is_none());
    }
    match value {
        Value::Object(fields) => fields.values_mut().for_each(without_shared_headers),
        Value::Array(items) => items.iter_mut().for_each(without_shared_headers),
        _ => {}
    }
}
