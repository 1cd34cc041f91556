//! Whom a request comes from, seen through trusted proxies.

use std::net::{IpAddr, SocketAddr};

use http::{HeaderMap, HeaderName};
use ipnet::IpNet;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// Who asks: the peer, or behind our own proxies the nearest address that is none of them.
pub(super) fn client_address(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> IpAddr {
    walk(peer, headers, trusted).client
}

/// What comes of reading `X-Forwarded-For`.
struct Walk {
    /// Who asks.
    client: IpAddr,
    /// How many entries were believed, from the end.
    believed: usize,
    /// Whether there is more before them, which the client itself may have written.
    more: bool,
}

fn walk(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> Walk {
    let is_trusted = |address: IpAddr| trusted.iter().any(|network| network.contains(&address));
    let mut walk = Walk { client: peer.to_canonical(), believed: 0, more: false };
    // Each proxy appends whom it heard from, so the list is read from its end, and no further than it can be believed.
    let mut entries = values(headers, FORWARDED_FOR).rev().peekable();
    while is_trusted(walk.client)
        && let Some(entry) = entries.peek()
        && let Some(address) = std::str::from_utf8(entry).ok().and_then(parse_forwarded)
    {
        walk.client = address;
        walk.believed += 1;
        entries.next();
    }
    walk.more = entries.peek().is_some();
    walk
}

/// The values of a header that is a list, in one line or in several.
fn values(headers: &HeaderMap, name: HeaderName) -> impl DoubleEndedIterator<Item = &[u8]> {
    let lines = headers.get_all(name).iter();
    lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b',')).map(<[u8]>::trim_ascii)
}

/// An address, with or without a port.
fn parse_forwarded(entry: &str) -> Option<IpAddr> {
    let address = entry.parse::<IpAddr>().ok();
    let address = address.or_else(|| entry.parse::<SocketAddr>().ok().map(|address| address.ip()));
    let bracketed = || entry.strip_prefix('[')?.strip_suffix(']')?.parse::<IpAddr>().ok();
    address.or_else(bracketed).map(|address| address.to_canonical())
}

/// Whether trusted proxies say that the client's own connection is encrypted.
///
/// Of several values that of the hop nearest to the client counts. It is the first, unless there is more in
/// `X-Forwarded-For` than can be believed: then the client may have written values of its own before it, and the one that
/// came with the client's address is looked for from the end.
pub(super) fn proxy_says_https(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> bool {
    let peer = peer.to_canonical();
    if !headers.contains_key(FORWARDED_PROTO) || !trusted.iter().any(|network| network.contains(&peer)) {
        return false;
    }
    let protocols: Vec<_> = values(headers, FORWARDED_PROTO).filter(|protocol| !protocol.is_empty()).collect();
    let walk = walk(peer, headers, trusted);
    let nearest = if walk.more { protocols.len().saturating_sub(walk.believed.max(1)) } else { 0 };
    protocols.get(nearest).is_some_and(|protocol| protocol.eq_ignore_ascii_case(b"https"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_forwarded_address_is_believed_of_trusted_proxies_alone() {
        let trusted: Vec<IpNet> = vec!["10.0.0.0/8".parse().unwrap(), "2001:db8::/32".parse().unwrap()];
        let resolve = |peer: &str, lines: &[&str]| {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(FORWARDED_FOR, line.parse().unwrap());
            }
            client_address(peer.parse().unwrap(), &headers, &trusted).to_string()
        };
        assert_eq!(resolve("192.0.2.1", &["198.51.100.7"]), "192.0.2.1");
        assert_eq!(resolve("10.0.0.1", &[]), "10.0.0.1");
        assert_eq!(resolve("10.0.0.1", &["198.51.100.7"]), "198.51.100.7");
        assert_eq!(resolve("::ffff:10.0.0.1", &["198.51.100.7:443"]), "198.51.100.7");
        // The client's own claim stands to the left of what our proxy saw.
        assert_eq!(resolve("10.0.0.1", &["1.1.1.1, 198.51.100.7"]), "198.51.100.7");
        assert_eq!(resolve("10.0.0.1", &["1.1.1.1", "198.51.100.7, 10.2.3.4"]), "198.51.100.7");
        assert_eq!(resolve("10.0.0.1", &["nonsense, 10.2.3.4"]), "10.2.3.4");
        assert_eq!(resolve("10.0.0.1", &["10.9.9.9"]), "10.9.9.9");
        assert_eq!(resolve("2001:db8::1", &["[2001:db9::2]:80, [2001:db8::3]"]), "2001:db9::2");
        assert_eq!(resolve("10.0.0.1", &["198.51.100.7,, 10.2.3.4"]), "10.2.3.4");
        assert_eq!(resolve("10.0.0.1", &["198.51.100.7, unknown"]), "10.0.0.1");
    }

    #[test]
    fn the_protocol_is_that_of_the_hop_nearest_to_the_client() {
        let trusted: Vec<IpNet> = vec!["10.0.0.0/8".parse().unwrap()];
        let https = |peer: &str, protocols: &[&str], addresses: &[&str]| {
            let mut headers = HeaderMap::new();
            for line in protocols {
                headers.append(FORWARDED_PROTO, http::HeaderValue::from_bytes(line.as_bytes()).unwrap());
            }
            for line in addresses {
                headers.append(FORWARDED_FOR, line.parse().unwrap());
            }
            proxy_says_https(peer.parse().unwrap(), &headers, &trusted)
        };
        for encrypted in
            ["https", "HTTPS", "https, http", "https,https", " https ,http", ",https, http", "https,\u{e9}"]
        {
            assert!(https("10.0.0.1", &[encrypted], &[]), "{encrypted}");
            assert!(https("::ffff:10.0.0.1", &[encrypted], &["198.51.100.7, 10.2.3.4"]), "{encrypted}");
            assert!(https("10.0.0.1", &[encrypted], &["198.51.100.7"]), "{encrypted}");
            assert!(!https("198.51.100.7", &[encrypted], &["10.0.0.1"]), "{encrypted} of anybody");
        }
        assert!(https("10.0.0.1", &["https", "http, http"], &[]) && !https("10.0.0.1", &["http", "https"], &[]));
        for plain in ["", ",", "http", "http, https", "\u{e9}, https", "httpsx", "https/1"] {
            assert!(!https("10.0.0.1", &[plain], &[]), "{plain}");
        }
        assert!(!https("10.0.0.1", &[], &["198.51.100.7"]));
        // The client's own claims stand to the left of what our proxies saw.
        assert!(!https("10.0.0.1", &["https, http"], &["1.1.1.1, 198.51.100.7"]));
        assert!(https("10.0.0.1", &["http, https, http"], &["1.1.1.1, 198.51.100.7, 10.2.3.4"]));
        assert!(https("10.0.0.1", &["https"], &["1.1.1.1, 198.51.100.7"]), "a proxy that keeps one value replaces it");
    }
}
