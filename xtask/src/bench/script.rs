//! What each scenario asks, one [`Script`] per connection.
//!
//! Requests are written by hand into a reused buffer: the generator's time is the server's.

use anyhow::bail;

use super::load::{Script, Scripts};
use super::response::text_field;
use super::scenario::{Scenario, Site};
use super::token::{Chance, TokenPool, TokenText};

/// How many endpoints the minted tokens are spread over, in no order.
pub(crate) const USERS: u64 = 100_000;
/// Lifetime asked for with every minted token, in seconds.
const TTL_SECS: u32 = 3600;

/// A script that mints `per_connection` tokens on each of `connections`, putting them into `pool` if there is one.
pub(crate) fn minting(
    site: &Site,
    connections: u32,
    seed: u64,
    per_connection: u64,
    pool: Option<&TokenPool>,
) -> Scripts {
    scripts(connections, seed, |chance| Mint {
        request: MintRequest::new(site, chance),
        left: per_connection,
        pool: pool.cloned(),
    })
}

/// The scripts of `scenario`, one for each of `connections`; `pool` is what [`Scenario::Redeem`] spends.
pub(crate) fn of(scenario: Scenario, site: &Site, connections: u32, seed: u64, pool: &TokenPool) -> Scripts {
    match scenario {
        Scenario::Mint => minting(site, connections, seed, u64::MAX, None),
        Scenario::Redeem => scripts(connections, seed, |_| Redeem { pool: pool.clone() }),
        Scenario::MintRedeem => {
            scripts(connections, seed, |chance| InTurn { mint: MintRequest::new(site, chance), minted: None })
        }
        Scenario::SessionCheck => scripts(connections, seed, |chance| Repeat {
            requests: site.sessions.iter().map(session_check).collect(),
            chance,
            must_contain: b"",
        }),
        Scenario::Introspect => scripts(connections, seed, |chance| Repeat {
            requests: site.sessions.iter().map(|session| introspection(site, session)).collect(),
            chance,
            must_contain: br#""active":true"#,
        }),
        Scenario::Refused => scripts(connections, seed, |chance| Refused { chance }),
    }
}

fn scripts<S: Script + Send + 'static>(connections: u32, seed: u64, make: impl Fn(Chance) -> S) -> Scripts {
    let one = |number| Box::new(make(Chance::new(seed << 16 | u64::from(number)))) as Box<dyn Script + Send>;
    (0..connections).map(one).collect()
}

/// Writes mint requests for one user after another.
struct MintRequest {
    head: Vec<u8>,
    before_user: Vec<u8>,
    after_user: Vec<u8>,
    chance: Chance,
}

impl MintRequest {
    fn new(site: &Site, chance: Chance) -> Self {
        let Site { app_id, role_id, app_secret, .. } = site;
        Self {
            head: head("POST", "/v1/tokens", &format!("App-Secret: {app_secret}\r\n"), JSON),
            before_user: format!(r#"{{"appId":"{app_id}","endpointId":"user-"#).into(),
            after_user: format!(r#"","roleId":"{role_id}","ttl":{TTL_SECS}}}"#).into(),
            chance,
        }
    }

    fn write(&mut self, out: &mut Vec<u8>) {
        let user = Digits::of(self.chance.next() % USERS);
        let len = self.before_user.len() + user.as_bytes().len() + self.after_user.len();
        out.extend_from_slice(&self.head);
        out.extend_from_slice(Digits::of(len as u64).as_bytes());
        out.extend_from_slice(b"\r\n\r\n");
        out.extend_from_slice(&self.before_user);
        out.extend_from_slice(user.as_bytes());
        out.extend_from_slice(&self.after_user);
    }
}

/// A number as decimal digits, without an allocation.
struct Digits {
    digits: [u8; 20],
    from: usize,
}

impl Digits {
    fn of(mut number: u64) -> Self {
        let mut this = Self { digits: [b'0'; 20], from: 20 };
        loop {
            this.from -= 1;
            this.digits[this.from] = b'0' + u8::try_from(number % 10).expect("a digit is less than 10");
            number /= 10;
            if number == 0 {
                return this;
            }
        }
    }

    fn as_bytes(&self) -> &[u8] {
        &self.digits[self.from..]
    }
}

struct Mint {
    request: MintRequest,
    left: u64,
    pool: Option<TokenPool>,
}

impl Script for Mint {
    fn request(&mut self, out: &mut Vec<u8>) -> bool {
        let Some(left) = self.left.checked_sub(1) else { return false };
        self.left = left;
        self.request.write(out);
        true
    }

    fn answer(&mut self, status: u16, body: &[u8]) -> anyhow::Result<()> {
        let token = minted(status, body)?;
        if let Some(pool) = &self.pool {
            pool.put(token);
        }
        Ok(())
    }
}

struct Redeem {
    pool: TokenPool,
}

impl Script for Redeem {
    fn request(&mut self, out: &mut Vec<u8>) -> bool {
        let token = self.pool.take();
        token.inspect(|token| write_redemption(token, out)).is_some()
    }

    fn answer(&mut self, status: u16, body: &[u8]) -> anyhow::Result<()> {
        redeemed(status, body).map(drop)
    }
}

struct InTurn {
    mint: MintRequest,
    minted: Option<TokenText>,
}

impl Script for InTurn {
    fn request(&mut self, out: &mut Vec<u8>) -> bool {
        match &self.minted {
            Some(token) => write_redemption(token, out),
            None => self.mint.write(out),
        }
        true
    }

    fn answer(&mut self, status: u16, body: &[u8]) -> anyhow::Result<()> {
        self.minted = match self.minted {
            Some(_) => redeemed(status, body).map(|_| None)?,
            None => Some(minted(status, body)?),
        };
        Ok(())
    }
}

/// Asks one of a few ready requests, picked by chance, and wants 200.
struct Repeat {
    requests: Vec<Vec<u8>>,
    chance: Chance,
    must_contain: &'static [u8],
}

impl Script for Repeat {
    fn request(&mut self, out: &mut Vec<u8>) -> bool {
        let request = self.chance.pick(&self.requests);
        request.inspect(|request| out.extend_from_slice(request)).is_some()
    }

    fn answer(&mut self, status: u16, body: &[u8]) -> anyhow::Result<()> {
        let wanted = self.must_contain;
        let found = wanted.is_empty() || body.windows(wanted.len()).any(|part| part == wanted);
        if status != 200 || !found {
            return unexpected(status, body);
        }
        Ok(())
    }
}

struct Refused {
    chance: Chance,
}

impl Script for Refused {
    fn request(&mut self, out: &mut Vec<u8>) -> bool {
        write_redemption(&TokenText::random(&mut self.chance), out);
        true
    }

    fn answer(&mut self, status: u16, body: &[u8]) -> anyhow::Result<()> {
        // Guessing is throttled sooner or later: both answers are a refusal.
        if !matches!(status, 401 | 429) {
            return unexpected(status, body);
        }
        Ok(())
    }
}

const JSON: &str = "application/json";

/// A request's head up to and with `Content-Length: `.
fn head(method: &str, path: &str, fields: &str, content_type: &str) -> Vec<u8> {
    format!("{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{fields}Content-Type: {content_type}\r\nContent-Length: ")
        .into()
}

fn write_redemption(token: &TokenText, out: &mut Vec<u8>) {
    // 14 bytes before the token's 36 and 2 after it.
    out.extend_from_slice(
        b"POST /v1/session-tokens HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: 50\r\n\r\n{\"tokenId\":\"",
    );
    out.extend_from_slice(token.as_bytes());
    out.extend_from_slice(b"\"}");
}

fn session_check(session: &TokenText) -> Vec<u8> {
    format!("GET /v1/session-tokens HTTP/1.1\r\nHost: 127.0.0.1\r\nApp-Token: {session}\r\n\r\n").into()
}

fn introspection(site: &Site, session: &TokenText) -> Vec<u8> {
    let secret = format!("App-Secret: {}\r\n", site.app_secret);
    let mut request = head("POST", "/oauth/introspect", &secret, "application/x-www-form-urlencoded");
    let body = format!("token={session}");
    request.extend_from_slice(format!("{}\r\n\r\n{body}", body.len()).as_bytes());
    request
}

/// The tokenId of an answer to a mint.
pub(crate) fn minted(status: u16, body: &[u8]) -> anyhow::Result<TokenText> {
    match text_field(body, "tokenId") {
        Some(text) if status == 200 => TokenText::parse(text),
        _ => unexpected(status, body),
    }
}

/// The App-Token of an answer to a redemption.
pub(crate) fn redeemed(status: u16, body: &[u8]) -> anyhow::Result<TokenText> {
    match text_field(body, "token") {
        Some(text) if status == 200 => TokenText::parse(text),
        _ => unexpected(status, body),
    }
}

fn unexpected<T>(status: u16, body: &[u8]) -> anyhow::Result<T> {
    let body = String::from_utf8_lossy(&body[..body.len().min(400)]).into_owned();
    bail!("unexpected answer {status}: {body}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn site() -> Site {
        Site::made_up()
    }

    /// Splits a request into head and body and holds its `Content-Length` against the body.
    fn body(request: &[u8]) -> &str {
        let text = std::str::from_utf8(request).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        let len = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
        assert_eq!(len.map_or(0, |len| len.parse().unwrap()), body.len(), "{text}");
        body
    }

    #[test]
    fn every_scenario_asks_requests_of_the_length_they_claim() {
        for scenario in Scenario::ALL {
            let pool = TokenPool::default();
            pool.put(TokenText::random(&mut Chance::new(2)));
            let mut script = of(scenario, &site(), 1, 0, &pool).remove(0);
            let mut out = Vec::new();
            assert!(script.request(&mut out), "{scenario}");
            let body = body(&out);
            if scenario != Scenario::SessionCheck && scenario != Scenario::Introspect {
                serde_json::from_str::<serde_json::Value>(body).unwrap();
            }
        }
    }

    #[test]
    fn mint_and_redeem_take_turns() {
        let mut script = of(Scenario::MintRedeem, &site(), 1, 0, &TokenPool::default()).remove(0);
        let mut out = Vec::new();
        script.request(&mut out);
        assert!(out.starts_with(b"POST /v1/tokens "));
        let token = TokenText::random(&mut Chance::new(3));
        script.answer(200, format!(r#"{{"tokenId":"{token}"}}"#).as_bytes()).unwrap();
        out.clear();
        script.request(&mut out);
        assert!(body(&out).contains(&token.to_string()));
        script.answer(200, format!(r#"{{"token":"{token}"}}"#).as_bytes()).unwrap();
        out.clear();
        script.request(&mut out);
        assert!(out.starts_with(b"POST /v1/tokens "));
    }

    #[test]
    fn an_unexpected_status_is_an_error_that_shows_the_answer() {
        let mut script = of(Scenario::Mint, &site(), 1, 0, &TokenPool::default()).remove(0);
        let error = script.answer(503, b"{\"code\":\"unavailable\"}").unwrap_err().to_string();
        assert!(error.contains("503") && error.contains("unavailable"), "{error}");
        let mut refused = of(Scenario::Refused, &site(), 1, 0, &TokenPool::default()).remove(0);
        refused.answer(401, b"").unwrap();
        refused.answer(429, b"").unwrap();
        refused.answer(200, b"").unwrap_err();
    }

    #[test]
    fn numbers_become_their_digits() {
        for number in [0, 7, 10, 99_999, u64::MAX] {
            assert_eq!(Digits::of(number).as_bytes(), number.to_string().as_bytes());
        }
    }
}
