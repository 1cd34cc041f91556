//! Sends a command's requests to the server, and reads what it answers or refuses.

use std::collections::BTreeSet;
use std::io::{ErrorKind, Write as _};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use respoke_core::code::{Again, Code};
use respoke_core::secret::Secret;
use respoke_wire::body::apps::AppView;
use respoke_wire::body::lists::ListRequest;
use serde_json::Value;
use ureq::Timeout;
use ureq::tls::{PemItem, RootCerts, TlsConfig};

use super::super::common::Common;
use super::super::failure::{Failure, ServerRefusal};
use super::super::fields::field;
use super::login::{self, DEFAULT_SERVER};

/// How long a request may take; the largest answer is a page of 200 items.
const TIMEOUT: Duration = Duration::from_mins(1);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes of the largest answer that is read: far more than a page of 200 roles.
const ANSWER_LEN_MAX: u64 = 64 * 1024 * 1024;
/// What may stand in a path segment as it is.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A server and what proves the right to command it.
pub(in crate::cli) struct Client {
    agent: ureq::Agent,
    server: String,
    token: Option<Secret>,
}

/// A successful answer.
pub(in crate::cli) struct JsonResponse {
    /// Its body; null if it has none.
    pub(in crate::cli) body: Value,
    next_cursor: Option<String>,
    /// Whose part is missing.
    silent_nodes: Option<String>,
}

/// What an answer may also say about itself.
const NEXT_CURSOR: &str = "next-cursor";
const SILENT_NODES: &str = "silent-nodes";

impl Client {
    /// A client as the flags say. Nothing is sent yet.
    pub(in crate::cli) fn new(common: &Common) -> Result<Self, Failure> {
        let server = server_url(common.server.as_deref().unwrap_or(DEFAULT_SERVER))?;
        let token = match &common.admin_token {
            Some(token) => Some(token.clone()),
            None => login::saved(&server)?,
        };
        let mut tls = TlsConfig::builder();
        if let Some(path) = &common.ca {
            tls = tls.root_certs(authorities(path)?);
        }
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            // The Admin-Token goes where --server says and nowhere else, neither by a redirect nor by a proxy.
            .max_redirects(0)
            .proxy(None)
            .timeout_global(Some(TIMEOUT))
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .tls_config(tls.build())
            .user_agent(concat!("respoked/", env!("CARGO_PKG_VERSION")))
            .build();
        Ok(Self { agent: config.into(), server, token })
    }

    /// The server's URL, without a slash at its end.
    pub(in crate::cli) fn server(&self) -> &str {
        &self.server
    }

    /// The Admin-Token in use.
    pub(super) fn token(&self) -> Option<&Secret> {
        self.token.as_ref()
    }

    /// `GET`.
    pub(in crate::cli) fn get(&self, path: &str, query: &[(&str, &str)]) -> Result<JsonResponse, Failure> {
        self.call("GET", path, query, None)
    }

    /// `POST` with a JSON body.
    pub(in crate::cli) fn post(&self, path: &str, body: &Value) -> Result<JsonResponse, Failure> {
        self.call("POST", path, &[], Some(body))
    }

    /// `PUT` with a JSON body.
    pub(in crate::cli) fn put(&self, path: &str, body: &Value) -> Result<JsonResponse, Failure> {
        self.call("PUT", path, &[], Some(body))
    }

    /// `DELETE`; its parameters go into the query, because not every proxy lets a body through.
    pub(in crate::cli) fn delete(&self, path: &str, query: &[(&str, &str)]) -> Result<JsonResponse, Failure> {
        self.call("DELETE", path, query, None)
    }

    /// Items of a list, page by page: all, or the first `limit`. Of which nodes some may be missing is said on stderr.
    pub(in crate::cli) fn list(
        &self,
        path: &str,
        query: &[(&str, &str)],
        limit: Option<usize>,
    ) -> Result<Vec<Value>, Failure> {
        let mut silent = BTreeSet::new();
        let items = self.pages(path, query, limit, &mut silent)?;
        if let Some(said) = said_of(&silent) {
            let _ = writeln!(std::io::stderr(), "{said}");
        }
        Ok(items)
    }

    /// The same; adds to `silent` the nodes that the server names as such, on whichever page.
    fn pages(
        &self,
        path: &str,
        query: &[(&str, &str)],
        limit: Option<usize>,
        silent: &mut BTreeSet<String>,
    ) -> Result<Vec<Value>, Failure> {
        let mut items = Vec::new();
        let mut cursor: Option<String> = None;
        loop {
            let wanted = limit.map_or(usize::MAX, |limit| limit.saturating_sub(items.len()));
            if wanted == 0 {
                return Ok(items);
            }
            let page = wanted.min(respoke_core::page::PAGE_LIMIT_MAX).to_string();
            let mut query = query.to_vec();
            query.push((field!(ListRequest, limit), &page));
            if let Some(cursor) = &cursor {
                query.push((field!(ListRequest, cursor), cursor));
            }
            let answer = self.get(path, &query)?;
            let Value::Array(page) = answer.body else { return Err(self.foreign("no list")) };
            let named = answer.silent_nodes.as_deref().unwrap_or_default().split(',').map(str::trim);
            silent.extend(named.filter(|node| !node.is_empty()).map(str::to_owned));
            items.extend(page.into_iter().take(wanted));
            // A server that hands out the same cursor again would keep this loop for ever.
            match answer.next_cursor {
                Some(next) if cursor.as_ref() != Some(&next) => cursor = Some(next),
                _ => return Ok(items),
            }
        }
    }

    /// The app that is meant: the one named, or the only one there is.
    pub(in crate::cli) fn app(&self, named: Option<&str>) -> Result<String, Failure> {
        if let Some(id) = named {
            return Ok(id.to_owned());
        }
        let apps = self.list("/v1/apps", &[], Some(2))?;
        match apps.as_slice() {
            [app] => match app[field!(AppView, id)].as_str() {
                Some(id) => Ok(id.to_owned()),
                None => Err(self.foreign("an app without an id")),
            },
            [] => Err(Failure::because("there is no app yet; make one with `respoked app create`")),
            _ => Err(Failure::Usage(
                "there are several apps; say which with --app (`respoked app list` shows them)".into(),
            )),
        }
    }

    fn call(
        &self,
        method: &str,
        path: &str,
        query: &[(&str, &str)],
        body: Option<&Value>,
    ) -> Result<JsonResponse, Failure> {
        let mut url = format!("{}{path}", self.server);
        if !query.is_empty() {
            url.push('?');
            url = form_urlencoded::Serializer::new(url).extend_pairs(query).finish().replacen("?&", "?", 1);
        }
        let mut request = http::Request::builder().method(method).uri(url).header("accept", "application/json");
        if let Some(token) = &self.token {
            let mut value = http::HeaderValue::from_str(token.expose())
                .map_err(|_| Failure::Usage("the Admin-Token has characters that no token has".into()))?;
            value.set_sensitive(true);
            request = request.header("admin-token", value);
        }
        let sent = match body {
            Some(body) => {
                let request = request.header("content-type", "application/json").body(body.to_string());
                self.agent.run(request.context("the request cannot be made")?)
            }
            None => self.agent.run(request.body(()).context("the request cannot be made")?),
        };
        let unreachable = |error: ureq::Error| {
            let (server, cause) = (self.server.clone(), error.to_string());
            if method == "GET" || was_not_sent(&error) {
                Failure::Unreachable { server, cause }
            } else {
                Failure::Unanswered { server, cause }
            }
        };
        let mut response = sent.map_err(unreachable)?;
        let status = response.status();
        let header = |name| response.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let (next_cursor, silent_nodes) = (header(NEXT_CURSOR), header(SILENT_NODES));
        let bytes = response.body_mut().with_config().limit(ANSWER_LEN_MAX).read_to_vec().map_err(unreachable)?;
        let body = if bytes.is_empty() { Some(Value::Null) } else { serde_json::from_slice(&bytes).ok() };
        if status.is_success() {
            let body = body.ok_or_else(|| self.foreign("something that is not JSON"))?;
            return Ok(JsonResponse { body, next_cursor, silent_nodes });
        }
        let mut problem = ServerRefusal { status: status.as_u16(), body: body.unwrap_or_default(), advice: None };
        problem.advice = match &self.token {
            _ if status.is_redirection() => {
                Some("it wants to redirect, which an Admin-Token does not follow: give the final URL")
            }
            _ if method != "GET" && Code::of(problem.code()).is_some_and(|code| code.again() == Again::Unknown) => {
                Some("look whether it was done before you repeat it")
            }
            None if problem.is_about_the_login() => Some("sign in with `respoked login`"),
            Some(_) if problem.is_about_the_login() => {
                Some("the login may have ended: sign in again with `respoked login`")
            }
            None | Some(_) => None,
        };
        Err(Failure::Refused(problem))
    }

    fn foreign(&self, what: &str) -> Failure {
        Failure::because(format!("{} answered with {what}; it may be no respoked", self.server))
    }
}

/// Whether the server cannot have got the request.
fn was_not_sent(error: &ureq::Error) -> bool {
    match error {
        ureq::Error::Io(error) => matches!(
            error.kind(),
            ErrorKind::ConnectionRefused
                | ErrorKind::HostUnreachable
                | ErrorKind::NetworkUnreachable
                | ErrorKind::NetworkDown
                | ErrorKind::AddrNotAvailable
                | ErrorKind::PermissionDenied
        ),
        ureq::Error::Timeout(of) => matches!(of, Timeout::Connect | Timeout::Resolve),
        ureq::Error::HostNotFound
        | ureq::Error::ConnectionFailed
        | ureq::Error::BadUri(_)
        | ureq::Error::InvalidProxyUrl
        | ureq::Error::Tls(_)
        | ureq::Error::Rustls(_) => true,
        _ => false,
    }
}

/// What is said of nodes that did not answer.
fn said_of(silent: &BTreeSet<String>) -> Option<String> {
    let nodes = silent.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
    (!silent.is_empty()).then(|| format!("These nodes did not answer, and what they would tell is missing: {nodes}."))
}

/// A path segment of any text.
pub(super) fn segment(text: &str) -> impl std::fmt::Display + '_ {
    utf8_percent_encode(text, SEGMENT)
}

/// The pairs that have a value.
pub(super) fn query<'a, const N: usize>(
    pairs: [(&'static str, Option<&'a String>); N],
) -> Vec<(&'static str, &'a str)> {
    pairs.into_iter().filter_map(|(name, value)| Some((name, value?.as_str()))).collect()
}

/// A usable server URL, as it is kept and compared.
fn server_url(text: &str) -> Result<String, Failure> {
    let usable = text.parse::<http::Uri>().ok().filter(|uri| {
        matches!(uri.scheme_str(), Some("http" | "https"))
            && uri.authority().is_some_and(|authority| !authority.as_str().contains('@'))
            && uri.query().is_none()
    });
    match usable {
        Some(_) => Ok(text.trim_end_matches('/').to_owned()),
        // Not shown: what is wrong with it may be the password in it.
        None => Err(Failure::Usage(
            "--server: a URL such as http://127.0.0.1:8080 is needed, without a user name, a password or a query"
                .into(),
        )),
    }
}

fn authorities(path: &Path) -> anyhow::Result<RootCerts> {
    let pem = std::fs::read(path).with_context(|| format!("--ca: {} cannot be read", path.display()))?;
    let mut certificates = Vec::new();
    for item in ureq::tls::parse_pem(&pem) {
        if let PemItem::Certificate(certificate) =
            item.with_context(|| format!("--ca: {} is damaged", path.display()))?
        {
            certificates.push(certificate);
        }
    }
    anyhow::ensure!(!certificates.is_empty(), "--ca: {} holds no certificate", path.display());
    Ok(RootCerts::Specific(Arc::new(certificates)))
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Read, Write};
    use std::net::TcpListener;

    use serde_json::json;

    use super::*;

    /// Answers one connection with each of `answers` in turn, and returns the requests as they came.
    fn serve(answers: Vec<String>) -> (Client, std::thread::JoinHandle<Vec<String>>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = format!("http://{}", listener.local_addr().unwrap());
        let thread = std::thread::spawn(move || {
            let mut requests = Vec::new();
            for answer in answers {
                let (mut stream, _) = listener.accept().unwrap();
                let mut reader = BufReader::new(stream.try_clone().unwrap());
                let (mut text, mut length) = (String::new(), 0);
                loop {
                    let mut line = String::new();
                    reader.read_line(&mut line).unwrap();
                    if let Some(number) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                        length = number.trim().parse().unwrap();
                    }
                    text.push_str(&line);
                    if line.trim().is_empty() {
                        break;
                    }
                }
                let mut body = vec![0; length];
                reader.read_exact(&mut body).unwrap();
                text.push_str(std::str::from_utf8(&body).unwrap());
                requests.push(text);
                stream.write_all(answer.as_bytes()).unwrap();
            }
            requests
        });
        (client(&server, Some("canary")), thread)
    }

    fn client(server: &str, token: Option<&str>) -> Client {
        let common = Common {
            server: Some(server.to_owned()),
            admin_token: Some(Secret::new(token.unwrap_or("x").to_owned())),
            ca: None,
            json: false,
        };
        let mut client = Client::new(&common).unwrap();
        client.token = token.map(|token| Secret::new(token.to_owned()));
        client
    }

    fn answer(status: &str, headers: &str, body: &str) -> String {
        format!("HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {}\r\n{headers}\r\n{body}", body.len())
    }

    #[test]
    fn a_list_is_read_to_its_end() {
        let (client, server) =
            serve(vec![answer("200 OK", "Next-Cursor: a b&c\r\n", "[1,2]"), answer("200 OK", "", "[3]")]);
        let items = client.list("/v1/tokens", &[("endpointId", "jo&co")], None).unwrap();
        assert_eq!(items, [1, 2, 3]);
        let requests = server.join().unwrap();
        assert!(requests[0].starts_with("GET /v1/tokens?endpointId=jo%26co&limit=200 HTTP/1.1\r\n"), "{}", requests[0]);
        assert!(requests[0].contains("admin-token: canary\r\n"));
        assert!(requests[1].contains("&cursor=a+b%26c "), "{}", requests[1]);
    }

    #[test]
    fn nodes_that_are_silent_on_any_page_are_named() {
        let pages = ["Next-Cursor: a\r\nSilent-Nodes: 3, 17\r\n", "Next-Cursor: b\r\n", "Silent-Nodes: 3, 4\r\n"];
        let (client, server) = serve(pages.iter().map(|headers| answer("200 OK", headers, "[1]")).collect());
        let mut silent = BTreeSet::new();
        assert_eq!(client.pages("/v1/sessions", &[], None, &mut silent).unwrap().len(), 3);
        server.join().unwrap();
        let said = said_of(&silent).unwrap();
        assert_eq!(said, "These nodes did not answer, and what they would tell is missing: 17, 3, 4.");
        assert_eq!(said_of(&BTreeSet::new()), None);
    }

    #[test]
    fn a_limit_bounds_a_list() {
        let (client, server) = serve(vec![answer("200 OK", "Next-Cursor: n\r\n", "[1,2]")]);
        assert_eq!(client.list("/v1/audit", &[], Some(2)).unwrap(), [1, 2]);
        assert!(server.join().unwrap()[0].starts_with("GET /v1/audit?limit=2 "));
    }

    #[test]
    fn a_body_is_json() {
        let (client, server) = serve(vec![answer("200 OK", "", r#"{"id":"x"}"#)]);
        assert_eq!(client.post("/v1/apps", &json!({"name": "a"})).unwrap().body["id"], "x");
        let request = server.join().unwrap().remove(0);
        assert!(
            request.contains("content-type: application/json\r\n") && request.ends_with(r#"{"name":"a"}"#),
            "{request}"
        );
    }

    #[test]
    fn a_refusal_is_kept_as_it_was_said() {
        let (client, server) = serve(vec![answer("404 Not Found", "", r#"{"error":"no","code":"not_found"}"#)]);
        let Err(Failure::Refused(problem)) = client.get("/v1/apps/x", &[]) else { panic!("not refused") };
        assert_eq!((problem.status, problem.code()), (404, "not_found"));
        server.join().unwrap();
    }

    #[test]
    fn a_redirect_is_not_followed() {
        let (client, server) = serve(vec![answer("302 Found", "Location: http://127.0.0.1:1/\r\n", "")]);
        assert!(matches!(client.get("/v1/apps", &[]), Err(Failure::Refused(ServerRefusal { status: 302, .. }))));
        server.join().unwrap();
    }

    #[test]
    fn a_change_whose_answer_is_lost_may_have_been_made() {
        let (client, server) = serve(vec![String::new(), String::new()]);
        let change = client.post("/v1/apps", &json!({"name": "a"})).err().unwrap();
        assert!(matches!(change, Failure::Unanswered { .. }), "{change:?}");
        let look = client.get("/v1/apps", &[]).err().unwrap();
        assert!(matches!(look, Failure::Unreachable { .. }), "{look:?}");
        server.join().unwrap();
        let (client, server) =
            serve(vec![answer("503 Service Unavailable", "", r#"{"error":"no","code":"in_doubt"}"#)]);
        let Err(Failure::Refused(problem)) = client.delete("/v1/apps/x", &[]) else { panic!("not refused") };
        assert!(problem.advice.unwrap().contains("look whether"));
        server.join().unwrap();
    }

    #[test]
    fn nobody_there_is_unreachable() {
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let failure = client(&format!("http://{free}"), None).get("/healthz", &[]).err().unwrap();
        assert_eq!(failure.exit_code(), 3);
    }

    #[test]
    fn only_a_server_url_is_one() {
        assert_eq!(server_url("https://example.com/").unwrap(), "https://example.com");
        assert_eq!(server_url("http://10.0.0.1:8080/respoke").unwrap(), "http://10.0.0.1:8080/respoke");
        for text in ["example.com", "ftp://example.com", "http://jo:pw@example.com", "http://", "", "http://x/?a=b"] {
            assert!(server_url(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_segment_holds_any_text() {
        assert_eq!(segment("jo@x/../é?").to_string(), "jo%40x%2F..%2F%C3%A9%3F");
    }
}
