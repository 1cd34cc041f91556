//! Reads from when until when a certificate is valid. The TLS library reads that too and does not tell, and a whole X.509
//! parser for two dates would be too much.

use std::path::Path;

use respoke_core::clock::Timestamp;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

const SEQUENCE: u8 = 0x30;
const EXPLICIT_VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// From when until when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Validity {
    pub(super) from: Timestamp,
    pub(super) until: Timestamp,
}

/// The dates of the first certificate in a PEM file; none if they cannot be read.
pub(super) fn validity(path: &Path) -> Option<Validity> {
    of_der(&CertificateDer::from_pem_file(path).ok()?)
}

/// # Source
///
/// RFC 5280 section 4.1: `Certificate` is a sequence whose first element, `TBSCertificate`, is a sequence of version
/// (explicit, may be absent), serial number, signature algorithm, issuer, validity; validity is a sequence of two times.
fn of_der(der: &[u8]) -> Option<Validity> {
    let (tag, certificate, _) = element(der)?;
    let (inner_tag, mut rest, _) = element(certificate)?;
    if tag != SEQUENCE || inner_tag != SEQUENCE {
        return None;
    }
    if rest.first() == Some(&EXPLICIT_VERSION) {
        rest = element(rest)?.2;
    }
    for _ in ["serial number", "signature algorithm", "issuer"] {
        rest = element(rest)?.2;
    }
    let (SEQUENCE, validity, _) = element(rest)? else { return None };
    let (from_tag, from, rest) = element(validity)?;
    let (until_tag, until, _) = element(rest)?;
    Some(Validity { from: time(from_tag, from)?, until: time(until_tag, until)? })
}

/// The first element's tag and content, and what follows it.
fn element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = der.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = if first < 0x80 {
        (usize::from(first), rest)
    } else {
        // The long form: so many bytes of length follow.
        let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
        if bytes.len() > 4 {
            return None;
        }
        (bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)), rest)
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((tag, content, rest))
}

/// `YYMMDDHHMMSSZ` or `YYYYMMDDHHMMSSZ`. Two digits from 50 on are of the last century.
fn time(tag: u8, text: &[u8]) -> Option<Timestamp> {
    let text = std::str::from_utf8(text).ok()?.strip_suffix('Z').filter(|text| text.is_ascii())?;
    let (year, rest) = match tag {
        UTC_TIME => {
            let (year, rest) = text.split_at_checked(2)?;
            (format!("{}{year}", if year < "50" { "20" } else { "19" }), rest)
        }
        GENERALIZED_TIME => {
            let (year, rest) = text.split_at_checked(4)?;
            (year.to_owned(), rest)
        }
        _ => return None,
    };
    if rest.len() != 10 {
        return None;
    }
    let part = |at: usize| &rest[at..at + 2];
    Timestamp::parse(&format!("{year}-{}-{}T{}:{}:{}Z", part(0), part(2), part(4), part(6), part(8)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn both_forms_of_time_are_read() {
        assert_eq!(time(UTC_TIME, b"260102030405Z"), Timestamp::parse("2026-01-02T03:04:05Z"));
        assert_eq!(time(UTC_TIME, b"990102030405Z"), Timestamp::parse("1999-01-02T03:04:05Z"));
        assert_eq!(time(GENERALIZED_TIME, b"20510102030405Z"), Timestamp::parse("2051-01-02T03:04:05Z"));
        assert_eq!(time(UTC_TIME, b"2601020304Z"), None);
    }

    #[test]
    fn the_dates_of_a_certificate_are_read() {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let validity = of_der(made.cert.der()).unwrap();
        // What rcgen gives a certificate unless told otherwise.
        assert_eq!(Some(validity.from), Timestamp::parse("1975-01-01T00:00:00Z"));
        assert_eq!(Some(validity.until), Timestamp::parse("4096-01-01T00:00:00Z"));
    }

    proptest! {
        #[test]
        fn damaged_bytes_are_judged_without_a_panic(at in 0_usize..300, by: u8, cut in 0_usize..300) {
            let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
            let mut der = made.cert.der().to_vec();
            let len = der.len();
            der[at % len] ^= by;
            let _ = of_der(&der);
            let _ = of_der(&der[..cut.min(len)]);
        }
    }
}
