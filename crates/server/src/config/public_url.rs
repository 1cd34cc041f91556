//! The URL by which others reach the server.

use std::fmt;
use std::net::{Ipv6Addr, SocketAddr};

use serde::{Deserialize, Deserializer, Serialize};

/// Longest URL taken; a host name has at most 253 characters.
const LEN_MAX: usize = 300;

/// `http` or `https`, a host, and a port if it is not the scheme's own. There is no path: the server's own are complete,
/// and the original clients know of none before them. So it can stand in links, headers and commands as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct PublicUrl(String);

impl PublicUrl {
    /// Reads a URL. A slash at its end is no path.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (scheme, rest) = text.split_once("://").filter(|_| text.len() <= LEN_MAX)?;
        let scheme = scheme.to_ascii_lowercase();
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        let (host, port) = match authority.strip_prefix('[') {
            Some(literal) => {
                let (address, port) = literal.split_once(']')?;
                address.parse::<Ipv6Addr>().ok()?;
                (authority.get(..address.len() + 2)?, port)
            }
            None => authority.split_at(authority.find(':').unwrap_or(authority.len())),
        };
        let is_name = |host: &str| {
            let letter = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
            !host.is_empty() && host.bytes().all(letter) && host.starts_with(|c: char| c.is_ascii_alphanumeric())
        };
        let is_port = |port: &str| {
            let digits = port.strip_prefix(':').filter(|port| port.bytes().all(|byte| byte.is_ascii_digit()));
            digits.and_then(|port| port.parse().ok()).is_some_and(|port: u16| port > 0)
        };
        let sound = matches!(scheme.as_str(), "http" | "https")
            && (host.starts_with('[') || is_name(host))
            && (port.is_empty() || is_port(port));
        sound.then(|| Self(format!("{scheme}://{}{port}", host.to_ascii_lowercase())))
    }

    /// The URL, without a slash at its end.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PublicUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for PublicUrl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| {
            serde::de::Error::custom(
                "must be a URL such as https://example.com or http://[2001:db8::1]:8080: http or https, a host in ASCII, \
                 perhaps a port, and nothing else",
            )
        })
    }
}

/// The URL of a server that listens on `address`, as its own machine reaches it: nothing can be sent to "every address".
pub(crate) fn local_url(encrypted: bool, mut address: SocketAddr) -> String {
    let scheme = if encrypted { "https" } else { "http" };
    // An IPv4 address may be written as one of IPv6, and is listened on as such.
    address.set_ip(address.ip().to_canonical());
    if address.ip().is_unspecified() {
        let (four, six) = (std::net::Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into());
        address.set_ip(if address.is_ipv4() { four } else { six });
    }
    format!("{scheme}://{address}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_public_url_is_a_scheme_a_host_and_perhaps_a_port() {
        for (text, url) in [
            ("https://example.com", "https://example.com"),
            ("HTTPS://Example.COM/", "https://example.com"),
            ("http://example.com:8080/", "http://example.com:8080"),
            ("http://10.0.0.1", "http://10.0.0.1"),
            ("http://[2001:DB8::1]:8080", "http://[2001:db8::1]:8080"),
            ("https://[::1]/", "https://[::1]"),
            ("http://my_host-1:65535", "http://my_host-1:65535"),
        ] {
            assert_eq!(PublicUrl::parse(text).unwrap().as_str(), url);
        }
        for text in [
            "",
            "example.com",
            "//example.com",
            "ftp://example.com",
            "ws://example.com",
            "https://",
            "https:///",
            "https://example.com//",
            "https://example.com/respoke",
            "https://example.com/?a=b",
            "https://example.com?a",
            "https://example.com#a",
            "https://jo:CANARY@example.com",
            "https://jo@example.com",
            "https://example.com:",
            "https://example.com:0",
            "https://example.com:65536",
            "https://example.com:+80",
            "https://example.com:80:80",
            "https://2001:db8::1",
            "https://[2001:db8::1",
            "https://[nonsense]",
            "https://[::1]x",
            "https://exa mple.com",
            "https://ex'ample.com",
            "https://$(id)",
            "https://exämple.com",
            "https://-example.com",
            " https://example.com",
            "https://example.com\n",
        ] {
            assert_eq!(PublicUrl::parse(text), None, "{text:?}");
        }
        assert_eq!(PublicUrl::parse(&format!("https://{}", "a".repeat(LEN_MAX))), None);
    }

    #[test]
    fn a_local_url_can_be_asked() {
        for (address, url) in [
            ("127.0.0.1:8080", "http://127.0.0.1:8080"),
            ("0.0.0.0:8080", "http://127.0.0.1:8080"),
            ("[::]:8080", "http://[::1]:8080"),
            ("[::1]:8080", "http://[::1]:8080"),
            ("[::ffff:0.0.0.0]:8080", "http://127.0.0.1:8080"),
            ("[::ffff:10.0.0.1]:8080", "http://10.0.0.1:8080"),
            ("192.0.2.1:1", "http://192.0.2.1:1"),
        ] {
            assert_eq!(local_url(false, address.parse().unwrap()), url);
        }
        assert_eq!(local_url(true, "0.0.0.0:8443".parse().unwrap()), "https://127.0.0.1:8443");
    }
}
