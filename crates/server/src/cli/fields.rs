//! Names of fields in JSON, taken from the types of `respoke-wire`.
//!
//! Commands send what was typed and show what came, whatever it is: the server judges, and may be a newer one. So they work on
//! JSON and not on those types. But a field that is renamed there, or gone, does not compile here.

/// The name in JSON of a field of a type, as in `field!(TokenView, expires_at)`.
macro_rules! field {
    ($type:ty, $field:ident) => {{
        const _: fn(&$type) = |whole| {
            let _ = &whole.$field;
        };
        const WRITTEN: &str = stringify!($field);
        const NAME: &[u8] =
            &$crate::cli::fields::camel_case::<{ $crate::cli::fields::camel_case_len(WRITTEN) }>(WRITTEN);
        const TEXT: &str = match std::str::from_utf8(NAME) {
            Ok(text) => text,
            Err(_) => "",
        };
        TEXT
    }};
}

/// A JSON object with fields of the type of a request; `null` is as absent.
macro_rules! body {
    ($type:ty { $($field:ident: $value:expr),+ $(,)? }) => {
        serde_json::json!({ $(($crate::cli::fields::field!($type, $field)): $value),+ })
    };
}

/// Fields of the type of an answer, each behind what is said of it.
macro_rules! shown {
    ($type:ty { $($label:literal: $field:ident),+ $(,)? }) => {
        &[$(($label, $crate::cli::fields::field!($type, $field))),+]
    };
}

pub(super) use {body, field, shown};

/// How long the name of a field is in JSON.
pub(super) const fn camel_case_len(field: &str) -> usize {
    let (bytes, mut at, mut len) = (field.as_bytes(), 0, 0);
    while at < bytes.len() {
        if bytes[at] != b'_' {
            len += 1;
        }
        at += 1;
    }
    len
}

/// The name of a field in JSON: capitals instead of underscores.
pub(super) const fn camel_case<const LEN: usize>(field: &str) -> [u8; LEN] {
    let (bytes, mut at, mut name, mut len) = (field.as_bytes(), 0, [0; LEN], 0);
    while at < bytes.len() {
        if bytes[at] != b'_' {
            let begins_a_word = at > 0 && bytes[at - 1] == b'_';
            name[len] = if begins_a_word { bytes[at].to_ascii_uppercase() } else { bytes[at] };
            len += 1;
        }
        at += 1;
    }
    name
}

#[cfg(test)]
mod tests {
    use respoke_wire::body::tokens::{IssueToken, TokenView};
    use serde_json::json;

    #[test]
    fn fields_are_called_as_in_json() {
        assert_eq!([field!(TokenView, id), field!(TokenView, expires_at)], ["id", "expiresAt"]);
        assert_eq!(shown!(TokenView { "ID": id, "ROLE": role_id }), &[("ID", "id"), ("ROLE", "roleId")]);
        let body = body!(IssueToken { endpoint_id: "jo", ttl: None::<u64> });
        assert_eq!(body, json!({"endpointId": "jo", "ttl": null}));
    }
}
