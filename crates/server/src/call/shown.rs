//! Credentials as requests show them: where each kind is looked for, and which of several is chosen.

use std::borrow::Cow;

use data_encoding::BASE64;
use http::{HeaderMap, HeaderName};
use respoke_core::ops::Credential;
use respoke_core::secret::Secret;

const APP_TOKEN: HeaderName = HeaderName::from_static("app-token");
const APP_SECRET: HeaderName = HeaderName::from_static("app-secret");
const ADMIN_TOKEN: HeaderName = HeaderName::from_static("admin-token");

/// A credential by where it is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    AppToken,
    AppSecret,
    AdminToken,
}

impl Kind {
    /// In the order in which respoke-admin chooses among them.
    pub(super) const ALL: &[Self] = &[Self::AppToken, Self::AppSecret, Self::AdminToken];

    /// The header's name, and the query parameter's.
    const fn header(self) -> HeaderName {
        match self {
            Self::AppToken => APP_TOKEN,
            Self::AppSecret => APP_SECRET,
            Self::AdminToken => ADMIN_TOKEN,
        }
    }

    pub(super) const fn is_of(self, credential: &Credential) -> bool {
        matches!(
            (self, credential),
            (Self::AppToken, Credential::AppToken(_))
                | (Self::AppSecret, Credential::AppSecret(_))
                | (Self::AdminToken, Credential::AdminToken(_))
        )
    }

    fn credential(self, text: Secret) -> Credential {
        match self {
            Self::AppToken => Credential::AppToken(text),
            Self::AppSecret => Credential::AppSecret(text),
            Self::AdminToken => Credential::AdminToken(text),
        }
    }
}

/// The first of `kinds` in the headers, else the first of them in the query.
pub(super) fn find_credential(headers: &HeaderMap, query: Option<&str>, kinds: &[Kind]) -> Credential {
    for kind in kinds {
        for value in headers.get_all(kind.header()) {
            if let Some(text) = present(&String::from_utf8_lossy(value.as_bytes())) {
                return kind.credential(text);
            }
        }
    }
    let Some(query) = query else { return Credential::None };
    for kind in kinds {
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            if let (true, Some(text)) = (name.eq_ignore_ascii_case(kind.header().as_str()), present(&value)) {
                return kind.credential(text);
            }
        }
    }
    Credential::None
}

/// The credential that a socket is opened with.
pub(crate) fn handshake_credential(headers: &HeaderMap, query: Option<&str>) -> Credential {
    find_credential(headers, query, Kind::ALL)
}

pub(super) fn credential_text(credential: &Credential) -> &str {
    match credential {
        Credential::None => "",
        Credential::AppToken(text) | Credential::AppSecret(text) | Credential::AdminToken(text) => text.expose(),
    }
}

/// A credential's text, unless it is one of the ways in which existing clients say that they have none.
///
/// # Source
///
/// Section 1.2 of docs/protocol.md: respoke-admin sends `admin-token: null`.
fn present(text: &str) -> Option<Secret> {
    match text.trim() {
        "" | "null" | "undefined" => None,
        text => Some(Secret::new(text.to_owned())),
    }
}

/// Client id, if any, and secret of an `Authorization` header.
pub(super) fn authorization(value: &str) -> Option<(Option<String>, Secret)> {
    let (scheme, rest) = value.split_once(' ')?;
    let rest = rest.trim();
    if scheme.eq_ignore_ascii_case("bearer") {
        return Some((None, Secret::new(rest.to_owned())));
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let pair = String::from_utf8(BASE64.decode(rest.as_bytes()).ok()?).ok()?;
    let (id, secret) = pair.split_once(':')?;
    // Both halves are form-encoded before they are joined.
    let decode = |text: &str| {
        let spaced = text.replace('+', " ");
        percent_encoding::percent_decode_str(&spaced).decode_utf8().ok().map(Cow::into_owned)
    };
    Some((Some(decode(id)?), Secret::new(decode(secret)?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn oauth_clients_prove_themselves_in_two_ways() {
        let (id, secret) = authorization("bearer rspk_x").unwrap();
        assert_eq!((id, secret.expose()), (None, "rspk_x"));
        let basic = BASE64.encode(b"7c5f%2D10:rspk%5Fx+y");
        let (id, secret) = authorization(&format!("Basic {basic}")).unwrap();
        assert_eq!((id.as_deref(), secret.expose()), (Some("7c5f-10"), "rspk_x y"));
        for wrong in ["", "Basic", "Basic !", "Digest x", "Basic eA=="] {
            assert!(authorization(wrong).is_none(), "{wrong}");
        }
    }
}
