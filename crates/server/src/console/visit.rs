//! Who looks at a page: the admin behind the cookie; and whether a form comes from one of our own pages.
//!
//! Invariant: a handler that changes something takes a [`Posted`], and none can be had without the check.
//! Invariant: the cookie's Admin-Token opens pages only; the API does not look at cookies.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::response::{IntoResponse, Redirect, Response};
use http::header::{COOKIE, LOCATION, ORIGIN};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use respoke_core::admin::AdminRole;
use respoke_core::clock::Timestamp;
use respoke_core::id::{AppId, EndpointId};
use respoke_core::idempotency::IdempotencyKey;
use respoke_core::ops::{Caller, Context, Credential};
use respoke_core::refusal::Refusal;
use respoke_core::secret::{Secret, SecretHash};
use respoke_hub::ops::Asker;
use respoke_hub::ops::Unlimited;

use super::form::Form;
use crate::call::Call;
use crate::problem::Problem;
use crate::state::Api;

const NAME: &str = "respoked_console";
/// How many cookies of that name are tried. A browser sends one for each path that it was set for, ours among the first.
const COOKIES_MAX: usize = 4;
/// The form field that shows that a form comes from a page of the same sign-in.
pub(super) const CSRF: &str = "csrf";
/// The field of a form whose answer shows a secret once: text that no other rendering of the form has.
pub(super) const ONCE: &str = "once";
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
/// What stands in the query of a page that follows a form if not every node has confirmed what that did.
pub(super) const UNCONFIRMED: &str = "unconfirmed";
/// What htmx sends with each of its requests.
const HX_REQUEST: HeaderName = HeaderName::from_static("hx-request");
/// Where htmx is to send the browser.
const HX_REDIRECT: HeaderName = HeaderName::from_static("hx-redirect");

/// An admin looking at a page.
pub(super) struct Visit {
    pub(super) api: Arc<Api>,
    pub(super) call: Call,
    pub(super) caller: Caller,
    token: Secret,
}

/// An admin who sent one of our forms.
pub(super) struct Posted {
    pub(super) visit: Visit,
    pub(super) form: Form,
}

/// Why there is no page.
#[derive(Debug)]
pub(super) enum Failure {
    /// Nobody is signed in.
    SignIn {
        /// Where to come back to.
        from: String,
        /// Whether a part of a page was asked for.
        partial: bool,
    },
    /// Anything else; the door makes a page of it.
    Problem(Problem),
}

impl<T: Into<Problem>> From<T> for Failure {
    fn from(problem: T) -> Self {
        Self::Problem(problem.into())
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        match self {
            Self::Problem(problem) => problem.into_response(),
            Self::SignIn { from, partial } => {
                let query = form_urlencoded::Serializer::new(String::new()).append_pair("next", &from).finish();
                let target = HeaderValue::try_from(format!("/console/sign-in?{query}"));
                let target = target.unwrap_or(HeaderValue::from_static("/console/sign-in"));
                if partial {
                    (StatusCode::UNAUTHORIZED, [(HX_REDIRECT, target)]).into_response()
                } else {
                    (StatusCode::SEE_OTHER, [(LOCATION, target)]).into_response()
                }
            }
        }
    }
}

impl FromRequestParts<Arc<Api>> for Visit {
    type Rejection = Failure;

    /// Like [`Call`], a handler's last argument.
    async fn from_request_parts(parts: &mut Parts, api: &Arc<Api>) -> Result<Self, Failure> {
        let call = match Call::from_request_parts(parts, api).await {
            Ok(call) => call,
            Err(never) => match never {},
        };
        let partial = call.headers().contains_key(HX_REQUEST);
        let from = if parts.method == http::Method::GET && !partial {
            call.uri().path_and_query().map_or_else(String::new, ToString::to_string)
        } else {
            // A form cannot be sent again by coming back, and a part of a page is no page.
            "/console".to_owned()
        };
        let mut shown = false;
        for token in cookies(call.headers()) {
            shown = true;
            match call.authenticate_visit(api, &token).await {
                Ok(caller) => {
                    call.check_unread(api)?;
                    return Ok(Self { api: api.clone(), call, caller, token });
                }
                // Another of the same name may be ours.
                Err(Refusal::Unauthenticated) => {}
                Err(refusal) => return Err(refusal.into()),
            }
        }
        call.admit_anonymous(api)?;
        if shown {
            // It may have been valid once: one such cookie counts little, trying out many of them is slowed down.
            let refused = call.counted(api, Refusal::Unauthenticated);
            if refused.status() == StatusCode::TOO_MANY_REQUESTS {
                return Err(refused.into());
            }
        }
        Err(Failure::SignIn { from, partial })
    }
}

impl FromRequestParts<Arc<Api>> for Posted {
    type Rejection = Failure;

    /// Like [`Call`], a handler's last argument.
    async fn from_request_parts(parts: &mut Parts, api: &Arc<Api>) -> Result<Self, Failure> {
        let visit = Visit::from_request_parts(parts, api).await?;
        check_own_page(&visit.call)?;
        let form = Form::sent(&visit.call)?;
        // Compared as hashes, which takes the same time whatever is shown.
        if SecretHash::of(form.raw(CSRF).as_bytes()) != SecretHash::of(visit.csrf().as_bytes()) {
            return Err(foreign().into());
        }
        Ok(Self { visit, form })
    }
}

impl Posted {
    /// What makes a form that is sent once more, by loading its answer again, the same request. The same form filled in
    /// otherwise is another one.
    pub(super) fn once(&self) -> Option<IdempotencyKey> {
        self.form.given(ONCE)?;
        let call = &self.visit.call;
        // What Admin-Token and salt are for is said in `Call::once`.
        let mut credential = self.visit.token.expose().as_bytes().to_vec();
        credential.extend_from_slice(&self.visit.api.idempotency_salt);
        let made = IdempotencyKey::new(&credential, call.uri().path(), call.body(), call.body());
        // `Secret` wipes what it holds.
        drop(String::from_utf8(credential).map(Secret::new));
        Some(made)
    }
}

impl Visit {
    /// What forms of this sign-in carry. It is derived from the Admin-Token, which no other page can read.
    pub(super) fn csrf(&self) -> String {
        csrf_of(&self.token)
    }

    /// Whether the admin's role may do what `needed` may; for what a page offers. It is the operation that decides.
    pub(super) fn may(&self, needed: AdminRole) -> bool {
        self.caller.permit(needed).is_ok()
    }

    /// What the visit stands on, for what goes on after the answer began.
    pub(super) fn credential(&self) -> Credential {
        Credential::AdminToken(self.token.clone())
    }

    pub(super) fn context(&self) -> Context {
        self.call.context()
    }

    pub(super) fn now(&self) -> Timestamp {
        self.api.broker.now()
    }

    /// This server as others reach it, or at least as the browser does.
    pub(super) fn base_url(&self) -> String {
        if let Some(url) = &self.api.public_url {
            return url.to_string();
        }
        let scheme = if self.call.is_encrypted() { "https" } else { "http" };
        format!("{scheme}://{}", self.call.host().unwrap_or("localhost"))
    }

    /// What the address says after its question mark.
    pub(super) fn query(&self) -> Form {
        Form::parse(self.call.uri().query().unwrap_or_default().as_bytes())
    }

    /// Whether htmx asks, for a part of the page.
    pub(super) fn is_partial(&self) -> bool {
        self.call.headers().contains_key(HX_REQUEST)
    }

    /// The admin, as the hub's operations take who asks.
    pub(super) fn asker<'a>(&'a self, context: &'a Context, app: AppId, endpoint: Option<EndpointId>) -> Asker<'a> {
        self.call.concerns(app, endpoint.as_ref());
        Asker {
            caller: &self.caller,
            socket: None,
            context,
            app_id: Some(app),
            endpoint_id: endpoint,
            connection_id: None,
            // Admins pay for nothing.
            purse: &Unlimited,
        }
    }
}

fn csrf_of(token: &Secret) -> String {
    // Sessions keep the plain hash of their token; this is another.
    let text = Secret::new(format!("console form {}", token.expose()));
    data_encoding::BASE64URL_NOPAD.encode(text.hash().as_bytes())
}

/// The page that follows a form.
pub(super) fn see(path: &str) -> Response {
    Redirect::to(path).into_response()
}

/// The same for a form that htmx may have sent: it would follow by itself, inside the page.
pub(super) fn see_from(headers: &HeaderMap, path: &str) -> Response {
    match HeaderValue::try_from(path) {
        Ok(target) if headers.contains_key(HX_REQUEST) => [(HX_REDIRECT, target)].into_response(),
        _ => see(path),
    }
}

/// Has the page that follows say that not every node has confirmed yet what the form did.
pub(crate) fn say_unconfirmed(headers: &mut HeaderMap) {
    for name in [LOCATION, HX_REDIRECT] {
        let Some(target) = headers.get_mut(&name) else { continue };
        let says = target.to_str().ok().filter(|path| path.contains("?done="));
        if let Some(path) = says.and_then(|path| HeaderValue::try_from(format!("{path}&{UNCONFIRMED}=1")).ok()) {
            *target = path;
        }
    }
}

/// Refuses a form that another site's page sent, or that nobody says the origin of.
///
/// # Errors
///
/// 403.
///
/// # Source
///
/// Fetch Metadata Request Headers (W3C), which browsers send over TLS and to the own machine; `Origin` everywhere.
pub(super) fn check_own_page(call: &Call) -> Result<(), Problem> {
    if is_own_page(call.headers(), call.host()) { Ok(()) } else { Err(foreign()) }
}

fn is_own_page(headers: &HeaderMap, host: Option<&str>) -> bool {
    match (headers.get(SEC_FETCH_SITE), headers.get(ORIGIN), host) {
        (Some(site), _, _) => site == "same-origin",
        (None, Some(origin), Some(host)) => {
            let origin = origin.to_str().unwrap_or_default();
            origin.split_once("://").is_some_and(|(_, authority)| authority == host)
        }
        (None, _, _) => false,
    }
}

fn foreign() -> Problem {
    Refusal::Forbidden("this form was not sent from this console, or the sign-in has changed; load the page again")
        .into()
}

/// What the console's cookie may hold: its values, of which another program on the same host may have set one.
///
/// Each cookie is read for itself, so that none that cannot be read spoils another.
fn cookies(headers: &HeaderMap) -> Vec<Secret> {
    let pairs = headers.get_all(COOKIE).into_iter().flat_map(|line| line.as_bytes().split(|byte| *byte == b';'));
    let values = pairs.filter_map(|pair| {
        let value = pair.trim_ascii().strip_prefix(NAME.as_bytes())?.trim_ascii_start().strip_prefix(b"=")?;
        let value = std::str::from_utf8(value.trim_ascii()).ok()?;
        // Some programs put quotes around a value that they pass on.
        let value = value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value);
        (!value.is_empty()).then(|| Secret::new(value.to_owned()))
    });
    values.take(COOKIES_MAX).collect()
}

/// The `Set-Cookie` that keeps an Admin-Token until the browser closes; none takes it away.
pub(super) fn set_cookie(token: Option<&Secret>, encrypted: bool) -> Result<HeaderValue, Problem> {
    let (value, age) = token.map_or(("", "; Max-Age=0"), |token| (token.expose(), ""));
    let secure = if encrypted { "; Secure" } else { "" };
    let cookie = format!("{NAME}={value}; Path=/console; HttpOnly; SameSite=Strict{secure}{age}");
    let mut cookie = HeaderValue::try_from(cookie).map_err(Problem::internal)?;
    cookie.set_sensitive(true);
    Ok(cookie)
}

#[cfg(test)]
mod tests {
    use http::Uri;

    use super::*;
    use crate::call::host_of;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let pairs = pairs.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
        pairs.collect()
    }

    #[test]
    fn the_cookie_is_found_among_others() {
        let found = |lines: &[&str]| {
            let lines = lines.iter().map(|line| (COOKIE, HeaderValue::from_bytes(line.as_bytes()).unwrap()));
            cookies(&lines.collect()).iter().map(|secret| secret.expose().to_owned()).collect::<Vec<_>>()
        };
        for lines in [
            &["a=b; respoked_console=T; c=d"][..],
            &["respoked_console=T"],
            // None that cannot be read spoils it.
            &["respoked_console=T; city=Z\u{fc}rich"],
            &["city=Z\u{fc}rich; respoked_console=T"],
            &["Z\u{fc}rich; =; ;;=x; respoked_console =T;\u{fc}=\u{fc}"],
            &["a=\"b; respoked_console=T; c=d\"; e=\"f"],
            &["respoked_console=\"T\""],
            &["city=Z\u{fc}rich", "respoked_console=T", "\u{fc}"],
            &["respoked_console=; respoked_console=T"],
        ] {
            assert_eq!(found(lines), ["T"], "{lines:?}");
        }
        assert_eq!(found(&["respoked_console=\u{fc}; respoked_console=T"]), ["\u{fc}", "T"], "each is tried");
        assert_eq!(found(&["respoked_console=A; x=y", "respoked_console=B"]), ["A", "B"]);
        assert_eq!(found(&["respoked_console=A;".repeat(9).as_str()]).len(), COOKIES_MAX);
        let none: [&str; 0] = [];
        for line in [
            "",
            "respoked_console=",
            "respoked_console=\"\"",
            "respoked_console",
            "xrespoked_console=T",
            "respoked_consolex=T",
            "RESPOKED_CONSOLE=T",
            "a=respoked_console=T",
        ] {
            assert_eq!(found(&[line]), none, "{line}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_cookie_spoils_another(before in "[^;\\x00-\\x1f\\x7f]{0,20}", after in proptest::collection::vec(0x20_u8..=0xff, 0..20)) {
            proptest::prop_assume!(!before.trim().starts_with(NAME));
            let mut line = format!("{before}; {NAME}=T; ").into_bytes();
            line.extend(after.iter().filter(|byte| **byte != 0x7f));
            let mut headers = HeaderMap::new();
            headers.append(COOKIE, HeaderValue::from_bytes(&line).unwrap());
            let first = cookies(&headers).first().map(|secret| secret.expose().to_owned());
            proptest::prop_assert_eq!(first.as_deref(), Some("T"));
        }
    }

    #[test]
    fn the_cookie_is_for_our_pages_alone() {
        let token = Secret::new("T".into());
        let set = set_cookie(Some(&token), true).unwrap();
        assert_eq!(set, "respoked_console=T; Path=/console; HttpOnly; SameSite=Strict; Secure");
        assert!(!format!("{set:?}").contains('T'), "it is not printed");
        assert_eq!(
            set_cookie(None, false).unwrap(),
            "respoked_console=; Path=/console; HttpOnly; SameSite=Strict; Max-Age=0"
        );
    }

    #[test]
    fn forms_of_other_pages_are_refused() {
        let own = |pairs: &[_]| {
            let headers = headers(pairs);
            is_own_page(&headers, host_of(&headers, &Uri::default()))
        };
        assert!(own(&[("sec-fetch-site", "same-origin")]));
        assert!(own(&[("origin", "http://h:1"), ("host", "h:1")]));
        for pairs in [
            &[][..],
            &[("host", "h:1")],
            &[("sec-fetch-site", "cross-site")],
            &[("sec-fetch-site", "same-site")],
            &[("sec-fetch-site", "none")],
            &[("sec-fetch-site", "cross-site"), ("origin", "http://h:1"), ("host", "h:1")],
            &[("origin", "http://evil"), ("host", "h:1")],
            &[("origin", "null"), ("host", "null")],
            &[("origin", "http://h"), ("host", "h:1")],
        ] {
            assert!(!own(pairs), "{pairs:?}");
        }
        let (uri, headers) = (Uri::from_static("https://h:1/console"), headers(&[("origin", "https://h:1")]));
        assert!(is_own_page(&headers, host_of(&headers, &uri)), "HTTP/2 has no header for the host");
    }

    #[test]
    fn a_forms_mark_belongs_to_one_sign_in_and_does_not_tell_it() {
        let (one, other) = (Secret::new("ONE".into()), Secret::new("OTHER".into()));
        assert_eq!(csrf_of(&one), csrf_of(&one));
        assert_ne!(csrf_of(&one), csrf_of(&other));
        assert_ne!(csrf_of(&one), data_encoding::BASE64URL_NOPAD.encode(one.hash().as_bytes()));
    }
}
