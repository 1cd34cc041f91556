//! The one host that a request is for.

use http::header::HOST;
use http::{Request, Version};

/// Whether a request says once, and in one way, which host it is for: two readers of two hosts may each take another.
///
/// # Source
///
/// RFC 9112 section 3.2, RFC 9113 section 8.3.1.
pub(super) fn is_host_sound<B>(request: &Request<B>) -> bool {
    let headers = request.headers();
    let Some(host) = headers.get(HOST) else {
        // HTTP/1.0 has no such header, and HTTP/2 another place for it.
        return request.version() != Version::HTTP_11;
    };
    // Values beyond the first of each name are rare, and looked for only if there are any.
    if headers.len() != headers.keys_len() && headers.get_all(HOST).iter().nth(1).is_some() {
        return false;
    }
    let agrees = |authority: &str| {
        request.version() < Version::HTTP_2 || host.as_bytes().eq_ignore_ascii_case(authority.as_bytes())
    };
    host.as_bytes().iter().copied().all(is_of_host)
        && request.uri().authority().is_none_or(|authority| agrees(authority.as_str()))
}

/// What hosts and ports consist of. Of two hosts in one header a comma would tell.
fn is_of_host(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~!$&'()*+;=:[]%".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_sound(version: Version, uri: &str, hosts: &[&str]) -> bool {
        let mut request = Request::builder().version(version).uri(uri).header("x", "1").header("x", "2");
        for host in hosts {
            request = request.header(HOST, *host);
        }
        is_host_sound(&request.body(()).unwrap())
    }

    #[test]
    fn a_request_is_for_one_host() {
        for host in ["a", "a:80", "127.0.0.1:8080", "[::1]:443", "xn--bcher-kva.example.", "", "a_b.internal"] {
            assert!(is_sound(Version::HTTP_11, "/", &[host]), "{host}");
        }
        for hosts in
            [&["a", "a"][..], &["a", "b"], &["a", "", "a"], &["a, b"], &["a b"], &["a/b"], &["a@b"], &["b\u{fc}"], &[]]
        {
            assert!(!is_sound(Version::HTTP_11, "/", hosts), "{hosts:?}");
        }
        assert!(is_sound(Version::HTTP_10, "/", &[]) && !is_sound(Version::HTTP_10, "/", &["a", "a"]));
        assert!(is_sound(Version::HTTP_11, "http://a/", &["a"]));
        let over_http2 = |hosts: &[&str]| is_sound(Version::HTTP_2, "https://a:1/", hosts);
        assert!(over_http2(&[]) && over_http2(&["A:1"]) && !over_http2(&["b:1"]) && !over_http2(&["a:1", "a:1"]));
    }
}
