//! What pages load: a style sheet, htmx, and a script of our own. They are in the binary, and each has its content's hash in
//! its path, so that browsers may keep it for ever.

use std::sync::LazyLock;

use axum::response::{IntoResponse, Response};
use http::HeaderValue;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use respoke_core::secret::SecretHash;

use crate::call::{Call, Id};
use crate::problem::Problem;

/// A name is never given to other content, so what was loaded once need not be asked for again.
const FOR_EVER: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");
const CSS: &str = "text/css; charset=utf-8";
const JAVASCRIPT: &str = "text/javascript; charset=utf-8";

/// A file that pages load.
pub(super) struct Asset {
    /// Its path, with a part of its content's hash.
    pub(super) path: String,
    content: &'static [u8],
    kind: &'static str,
}

impl Asset {
    fn new(stem: &str, ending: &str, kind: &'static str, content: &'static [u8]) -> Self {
        let path = format!("/console/assets/{stem}.{}.{ending}", SecretHash::of(content).fingerprint());
        Self { path, content, kind }
    }
}

pub(super) static STYLE: LazyLock<Asset> =
    LazyLock::new(|| Asset::new("console", "css", CSS, include_bytes!("assets/console.css")));
pub(super) static SCRIPT: LazyLock<Asset> =
    LazyLock::new(|| Asset::new("console", "js", JAVASCRIPT, include_bytes!("assets/console.js")));
pub(super) static HTMX: LazyLock<Asset> =
    LazyLock::new(|| Asset::new("htmx", "js", JAVASCRIPT, include_bytes!("assets/htmx-2.0.11.min.js")));

/// `GET /console/assets/{name}`.
pub(super) async fn read(Id(name): Id, _: Call) -> Result<Response, Problem> {
    let asset = [&STYLE, &SCRIPT, &HTMX].into_iter().find(|asset| asset.path.rsplit('/').next() == Some(&name));
    let asset = asset.ok_or_else(Problem::no_such_route)?;
    let kind = HeaderValue::from_static(asset.kind);
    Ok(([(CONTENT_TYPE, kind), (CACHE_CONTROL, FOR_EVER)], asset.content).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn htmx_is_the_release_that_is_written_down() {
        let hash = data_encoding::HEXLOWER.encode(SecretHash::of(HTMX.content).as_bytes());
        assert_eq!(hash, "d6fdc75f204e6bdefa99b69bf1e6d4ac69b8a364f77929f45c13476b4000f717");
        assert!(include_str!("assets/README.md").contains(&hash));
    }

    #[test]
    fn names_change_with_the_content() {
        assert_ne!(Asset::new("a", "css", CSS, b"1").path, Asset::new("a", "css", CSS, b"2").path);
        let name = STYLE.path.strip_prefix("/console/assets/console.");
        assert!(name.is_some_and(|rest| rest.len() == "0123456789ab.css".len()), "{}", STYLE.path);
    }
}
