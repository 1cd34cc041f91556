//! Origins of pages, and the domains that an app permits.
//!
//! A domain is what people type: a host, perhaps with a scheme before it and a port behind it. Whatever is taken matches
//! some origin; what could match none is refused in words that say what is meant.
//!
//! # Source
//!
//! RFC 6454 section 7 and the WHATWG URL standard: what browsers send as `Origin`. Its host is in lower case and ASCII, an
//! address in its shortest form, and the port that belongs to the scheme is left out.

use std::net::{Ipv4Addr, Ipv6Addr};

/// The most domains of an app.
pub const DOMAINS_MAX: usize = 100;
/// The longest host, in bytes.
const HOST_LEN_MAX: usize = 253;
/// The longest label of a host, in bytes.
const LABEL_LEN_MAX: usize = 63;
/// What any page's origin matches.
const ANY: &str = "*";

/// Schemes of what is not a page, which people take from another setting.
const NO_PAGES: [&str; 3] = ["ws", "wss", "ftp"];

/// Whether a page of `origin`, as browsers send it, is permitted by one of `domains`.
///
/// What a database holds from before domains were looked at matches as far as it means anything.
#[must_use]
pub fn permits<'a>(domains: impl IntoIterator<Item = &'a str>, origin: &str) -> bool {
    let origin = Site::of(origin);
    domains.into_iter().any(|domain| domain == ANY || Site::of(domain).covers(&origin))
}

/// The domain that somebody typed, as it is kept.
///
/// # Errors
///
/// Says what is wrong with it, in words for the caller.
pub fn domain(text: &str) -> Result<String, &'static str> {
    let text = text.trim();
    if text == ANY {
        return Ok(text.to_owned());
    }
    if !text.is_ascii() {
        return Err("must be written as browsers send it, in Punycode: xn--… for a name with other letters");
    }
    if text.bytes().any(|byte| byte <= b' ' || byte == 0x7f || b",;\"'<>|\\^`{}@%?#".contains(&byte)) {
        return Err("must be one host, perhaps with scheme and port, and nothing else");
    }
    let site = Site::of(text);
    if let Some(scheme) = site.scheme {
        let rest = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
        if !scheme.starts_with(|first: char| first.is_ascii_alphabetic()) || !scheme.bytes().all(rest) {
            return Err("has no scheme before ://");
        }
        if scheme.eq_ignore_ascii_case("file") {
            return Err("must be null for pages that are files, because browsers send that");
        }
        if NO_PAGES.iter().any(|other| scheme.eq_ignore_ascii_case(other)) {
            return Err("must begin with http:// or https://, or with the host: that is where pages come from");
        }
    }
    if site.path {
        return Err("must have no path: a page's origin is scheme, host and port");
    }
    let sound =
        |port: &str| port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|port| port > 0);
    if site.port.is_some_and(|port| !sound(port)) {
        return Err("must have a port from 1 to 65535, or none for every port");
    }
    check_host(&site)?;
    let host = site.ipv6().map_or_else(|| site.host.to_ascii_lowercase(), |address| format!("[{address}]"));
    let mut kept = site.scheme.map_or_else(String::new, |scheme| format!("{}://", scheme.to_ascii_lowercase()));
    kept.push_str(match site.reach {
        Reach::Host => "",
        Reach::Subdomains => "*.",
        Reach::Both => ".",
    });
    kept.push_str(&host);
    if let Some(port) = site.port.and_then(|port| port.parse::<u16>().ok()) {
        kept.extend([":", &port.to_string()]);
    }
    Ok(kept)
}

fn check_host(site: &Site<'_>) -> Result<(), &'static str> {
    let Site { host, .. } = site;
    if host.is_empty() {
        return Err("must name a host");
    }
    if host.contains('*') {
        return Err("may have * only as its first label, as in *.example.com, or alone for every page");
    }
    let is_address = site.ipv6().is_some() || host.parse::<Ipv4Addr>().is_ok();
    if is_address {
        return if site.reach == Reach::Host { Ok(()) } else { Err("is an address, which has no subdomains") };
    }
    if host.contains([':', '[', ']']) {
        return Err("is no host: an IPv6 address has the form ::1, or [::1]:8080 with a port");
    }
    if host.len() > HOST_LEN_MAX || host.split('.').any(|label| !(1..=LABEL_LEN_MAX).contains(&label.len())) {
        return Err("is no host: it has an empty or too long label");
    }
    if !host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte)) {
        return Err("must be one host, perhaps with scheme and port, and nothing else");
    }
    // Browsers read a last label that is a number as an address, and send that in its usual form.
    let last = host.rsplit('.').next().unwrap_or_default();
    let number = last.strip_prefix("0x").or_else(|| last.strip_prefix("0X"));
    if last.bytes().all(|byte| byte.is_ascii_digit())
        || number.is_some_and(|hex| hex.bytes().all(|byte| byte.is_ascii_hexdigit()))
    {
        return Err("is no host: an IPv4 address has four decimal numbers from 0 to 255");
    }
    Ok(())
}

/// What a domain covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reach {
    /// The host itself.
    Host,
    /// `*.example.com`: every host below it.
    Subdomains,
    /// `.example.com`: both.
    Both,
}

/// The parts of an origin or a domain; nothing of it is checked.
#[derive(Clone, Copy, Debug)]
struct Site<'a> {
    scheme: Option<&'a str>,
    reach: Reach,
    /// Without brackets, and without the dot that may end a name.
    host: &'a str,
    port: Option<&'a str>,
    /// Whether something stands behind all that.
    path: bool,
}

impl<'a> Site<'a> {
    fn of(text: &'a str) -> Self {
        let (scheme, rest) = text.split_once("://").map_or((None, text), |(scheme, rest)| (Some(scheme), rest));
        let (authority, path) = rest.split_once('/').map_or((rest, ""), |(authority, path)| (authority, path));
        let (reach, authority) = match (authority.strip_prefix("*."), authority.strip_prefix('.')) {
            (Some(rest), _) => (Reach::Subdomains, rest),
            (None, Some(rest)) => (Reach::Both, rest),
            (None, None) => (Reach::Host, authority),
        };
        let (host, port) = match authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((host, "")) => (host, None),
            Some((host, rest)) => (host, Some(rest.strip_prefix(':').unwrap_or(rest))),
            None => match authority.split_once(':') {
                // More than one colon: an IPv6 address without its brackets.
                Some((host, port)) if !port.contains(':') => (host, Some(port)),
                Some(_) | None => (authority, None),
            },
        };
        Self { scheme, reach, host: host.strip_suffix('.').unwrap_or(host), port, path: !path.is_empty() }
    }

    fn ipv6(&self) -> Option<Ipv6Addr> {
        if self.host.contains(':') { self.host.parse().ok() } else { None }
    }

    /// The port that is told or belongs to the scheme. What is told and is none is 0, which no page has.
    fn effective_port(&self) -> Option<u16> {
        let told = self.port.map(|port| port.parse().unwrap_or(0));
        told.or_else(|| match self.scheme {
            Some(scheme) if scheme.eq_ignore_ascii_case("http") => Some(80),
            Some(scheme) if scheme.eq_ignore_ascii_case("https") => Some(443),
            Some(_) | None => None,
        })
    }

    /// Whether this, as a domain, covers that origin.
    fn covers(&self, origin: &Site<'_>) -> bool {
        let scheme = self.scheme.is_none_or(|own| origin.scheme.is_some_and(|scheme| scheme.eq_ignore_ascii_case(own)));
        // A scheme without a port means the port that belongs to it, and no scheme and no port any.
        let port = (self.scheme.is_none() && self.port.is_none()) || self.effective_port() == origin.effective_port();
        scheme && port && self.covers_host(origin)
    }

    fn covers_host(&self, origin: &Site<'_>) -> bool {
        let same = || match (self.ipv6(), origin.ipv6()) {
            (Some(own), Some(address)) => own == address,
            (None, None) => origin.host.eq_ignore_ascii_case(self.host),
            (Some(_), None) | (None, Some(_)) => false,
        };
        let below = || {
            let parent = origin.host.len().checked_sub(self.host.len()).filter(|_| !self.host.is_empty());
            let labels = parent.and_then(|parent| origin.host.split_at_checked(parent));
            labels.is_some_and(|(labels, parent)| {
                labels.len() > 1 && labels.ends_with('.') && parent.eq_ignore_ascii_case(self.host)
            })
        };
        match self.reach {
            Reach::Host => same(),
            Reach::Subdomains => below(),
            Reach::Both => same() || below(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_taken_matches_what_it_means_and_no_more() {
        for (typed, kept, covered, others) in [
            (
                "example.com",
                "example.com",
                &["https://example.com", "http://EXAMPLE.com:8080", "https://example.com.", "app://example.com"][..],
                &["https://a.example.com", "https://evil-example.com", "https://example.com.evil.test", "null"][..],
            ),
            (" Example.COM. ", "example.com", &["https://example.com"], &["https://example.org"]),
            (
                "*.Example.com",
                "*.example.com",
                &["https://a.example.com", "http://a.b.example.com:1"],
                &["https://example.com", "https://aexample.com", "https://.example.com", "https://example.com.a.test"],
            ),
            (
                ".example.com",
                ".example.com",
                &["https://example.com", "https://a.example.com:8443"],
                &["https://aexample.com", "https://example.org"],
            ),
            (
                "localhost:8100",
                "localhost:8100",
                &["http://localhost:8100", "https://localhost:8100"],
                &["http://localhost", "http://localhost:81", "http://a.localhost:8100"],
            ),
            (
                "localhost",
                "localhost",
                &["http://localhost:8100", "capacitor://localhost", "ionic://localhost"],
                &["null"],
            ),
            ("a.test:443", "a.test:443", &["https://a.test"], &["http://a.test", "https://a.test:444"]),
            ("a.test:080", "a.test:80", &["http://a.test"], &["https://a.test"]),
            ("https://A.test/", "https://a.test", &["https://a.test"], &["http://a.test", "https://a.test:8443"]),
            ("https://a.test:443", "https://a.test:443", &["https://a.test"], &["http://a.test:443"]),
            ("https://*.a.test", "https://*.a.test", &["https://b.a.test"], &["http://b.a.test", "https://a.test"]),
            ("*.a.test:81", "*.a.test:81", &["http://b.a.test:81"], &["http://b.a.test"]),
            ("a.test/", "a.test", &["https://a.test"], &[]),
            ("capacitor://localhost", "capacitor://localhost", &["capacitor://localhost"], &["http://localhost"]),
            ("::1", "[::1]", &["http://[::1]", "http://[::1]:3000"], &["http://[::2]", "http://localhost"]),
            ("[0:0:0::1]", "[::1]", &["http://[::1]"], &["http://[::11]"]),
            ("[::1]:3000", "[::1]:3000", &["http://[::1]:3000"], &["http://[::1]"]),
            ("http://[::1]", "http://[::1]", &["http://[::1]"], &["http://[::1]:3000"]),
            ("[::ffff:127.0.0.1]", "[::ffff:127.0.0.1]", &["http://[::ffff:7f00:1]"], &["http://127.0.0.1"]),
            ("127.0.0.1:8080", "127.0.0.1:8080", &["http://127.0.0.1:8080"], &["http://127.0.0.1"]),
            ("xn--mnchen-3ya.de", "xn--mnchen-3ya.de", &["https://xn--mnchen-3ya.de"], &["https://munchen.de"]),
            ("a_b.test", "a_b.test", &["https://a_b.test"], &[]),
            ("null", "null", &["null"], &["https://a.test"]),
            ("*", "*", &["https://a.test", "null", "http://[::1]:1"], &[]),
        ] {
            assert_eq!(domain(typed).as_deref(), Ok(kept), "{typed}");
            assert_eq!(domain(kept).as_deref(), Ok(kept), "what is kept is taken again");
            for origin in covered {
                // What was kept before this looked at it matches too.
                assert!(permits([kept], origin) && permits([typed.trim()], origin), "{typed} and {origin}");
            }
            for origin in others {
                assert!(!permits([kept], origin), "{typed} and {origin}");
            }
        }
        assert!(permits(["a.test", "b.test"], "https://b.test") && !permits([], "https://b.test"));
    }

    #[test]
    fn what_could_match_nothing_is_refused_in_words() {
        for (typed, words) in [
            ("", "name a host"),
            (" ", "name a host"),
            (".", "name a host"),
            ("*.", "name a host"),
            ("https://", "name a host"),
            ("http:///", "name a host"),
            ("file://", "null"),
            ("file:///index.html", "null"),
            ("wss://a.test", "https"),
            ("WS://*.a.test:8080", "https"),
            ("ftp://a.test", "https"),
            ("://a.test", "scheme"),
            ("1a://a.test", "scheme"),
            ("a.test/index.html", "path"),
            ("https://a.test/x", "path"),
            ("a.test:", "port"),
            ("a.test:0", "port"),
            ("a.test:65536", "port"),
            ("a.test:+80", "port"),
            ("a.test:*", "port"),
            ("a.test:8o", "port"),
            ("[::1]x", "port"),
            ("[::1]:", "port"),
            ("m\u{fc}nchen.de", "Punycode"),
            ("a.test,b.test", "one host"),
            ("a.test b.test", "one host"),
            ("jo@a.test", "one host"),
            ("a.test?x", "one host"),
            ("a.test#x", "one host"),
            ("a(b).test", "one host"),
            ("a.*.test", "first label"),
            ("*a.test", "first label"),
            ("**", "first label"),
            ("*.*.test", "first label"),
            ("a..test", "label"),
            ("..a.test", "label"),
            (&format!("{}.test", "a".repeat(64)), "label"),
            (&"a.".repeat(128), "label"),
            ("1.2.3", "IPv4"),
            ("1.2.3.256", "IPv4"),
            ("127.0.0.01", "IPv4"),
            ("2130706433", "IPv4"),
            ("0x7f.1", "IPv4"),
            ("a.0x1f", "IPv4"),
            ("::g", "IPv6"),
            ("1:2:3", "IPv6"),
            ("[::1", "IPv6"),
            ("fe80::1%eth0", "one host"),
            ("*.127.0.0.1", "subdomains"),
            (".[::1]", "subdomains"),
        ] {
            let problem = domain(typed).unwrap_err();
            assert!(problem.contains(words), "{typed}: {problem}");
        }
    }

    proptest! {
        #[test]
        fn whatever_is_taken_matches_an_origin(typed in "(https?://|app://)?(\\*?\\.)?([a-zA-Z0-9_-]{1,8}\\.){0,2}[a-zA-Z0-9:\\[\\]]{1,8}(:[0-9]{1,5})?/?|\\PC{0,20}") {
            let Ok(kept) = domain(&typed) else { return Ok(()) };
            prop_assert_eq!(domain(&kept), Ok(kept.clone()));
            // The origin that is meant.
            let (scheme, rest) = kept.split_once("://").unwrap_or(("https", &kept));
            let below = rest.replacen("*.", "a.", 1);
            let origin = if kept == ANY { "https://a.test".to_owned() } else { format!("{scheme}://{}", below.trim_start_matches('.')) };
            prop_assert!(permits([kept.as_str()], &origin), "{} and {}", kept, origin);
        }

        #[test]
        fn damaged_text_never_panics(domain_text in "[*.:/\\[\\]a1é]{0,20}|\\PC{0,20}", origin in "[*.:/\\[\\]a1é]{0,20}|\\PC{0,20}") {
            let _ = domain(&domain_text);
            let _ = permits([domain_text.as_str()], &origin);
        }
    }
}
