//! Forms and queries as text, and never as a guess at it.
//!
//! Percent-encoding can spell bytes that are no text. Reading those as U+FFFD, as form readers do, would make one of two
//! names that differ; so what is no UTF-8 text is refused before it is read.

use form_urlencoded::Parse;
use percent_encoding::percent_decode;
use thiserror::Error;

/// A form or query spells bytes that are no UTF-8 text.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("the form or query is not UTF-8 text")]
pub struct NotText;

/// The names and values of a form or query.
///
/// # Errors
///
/// [`NotText`] if any name or value is none.
pub fn pairs(form: &[u8]) -> Result<Parse<'_>, NotText> {
    if is_text(form) { Ok(form_urlencoded::parse(form)) } else { Err(NotText) }
}

/// The names and values of a query. What existing clients say of themselves in it may be anything: nobody reads it.
///
/// # Errors
///
/// [`NotText`] if any other name or value is none.
///
/// # Source
///
/// `Respoke-SDK` is often badly encoded (section 1.1 of docs/protocol.md).
pub fn query_pairs(query: &str) -> Result<Parse<'_>, NotText> {
    let about_itself = |pair: &str| pair.get(..SDK.len()).is_some_and(|name| name.eq_ignore_ascii_case(SDK));
    if is_text(query.as_bytes()) || query.split('&').all(|pair| is_text(pair.as_bytes()) || about_itself(pair)) {
        Ok(form_urlencoded::parse(query.as_bytes()))
    } else {
        Err(NotText)
    }
}

const SDK: &str = "Respoke-SDK=";

/// Whether names and values are text. What divides them is ASCII and stands inside no character, so all of them are if
/// the whole is.
fn is_text(form: &[u8]) -> bool {
    percent_decode(form).decode_utf8().is_ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_no_text_is_refused_wherever_it_stands() {
        let read = |form: &[u8]| pairs(form).map(|pairs| pairs.into_owned().collect::<Vec<_>>());
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(read(b"a=caf%C3%A9+x&&b"), Ok(vec![pair("a", "caf\u{e9} x"), pair("b", "")]));
        // The clients that do not encode their forms send bytes as they are, and a percent sign too.
        assert_eq!(read("a=caf\u{e9}&b=50%&c=%zz".as_bytes()).map(|pairs| pairs.len()), Ok(3));
        // Who sends U+FFFD means it.
        assert_eq!(read(b"a=%EF%BF%BD"), Ok(vec![pair("a", "\u{FFFD}")]));
        for form in [
            &b"a=caf%E9"[..],
            b"a=caf%E8",
            b"a=caf\xE9",
            b"caf%E9=a",
            b"x=1&a=%ff&y=2",
            // A character of which a half stands in the next field is none.
            b"a%C3=%A9",
            b"a=%C3&%A9=b",
            // An overlong slash, the half of a pair, beyond the last character.
            b"a=%C0%AF",
            b"a=%ED%A0%BD",
            b"a=%F4%90%80%80",
        ] {
            assert_eq!(read(form), Err(NotText), "{}", form.escape_ascii());
        }
    }

    #[test]
    fn what_a_client_says_of_itself_may_be_anything() {
        for query in ["respoke-sdk=caf%E9&app-token=t", "t=1&Respoke-SDK=%FF", "", "a=%C3%A9"] {
            assert!(query_pairs(query).is_ok(), "{query}");
        }
        for query in ["Respoke-SDK=x&app-token=%E9", "%E9", "a=1&b=%FF", "xRespoke-SDK=%FF", "Respoke-SDK%FF=x"] {
            assert_eq!(query_pairs(query).err(), Some(NotText), "{query}");
        }
    }

    proptest! {
        #[test]
        fn what_is_read_differs_as_the_bytes_do(one in any::<Vec<u8>>(), other in any::<Vec<u8>>()) {
            let spell = |bytes: &[u8]| format!("a={}", percent_encoding::percent_encode(bytes, percent_encoding::NON_ALPHANUMERIC));
            let (one_form, other_form) = (spell(&one), spell(&other));
            let read = |form: &str| pairs(form.as_bytes()).map(|mut pairs| pairs.next().unwrap().1.into_owned());
            let (read_one, read_other) = (read(&one_form), read(&other_form));
            prop_assert_eq!(read_one.is_ok(), std::str::from_utf8(&one).is_ok());
            prop_assert!(read_one.is_err() || (read_one == read_other) == (one == other));
        }

        #[test]
        fn what_passes_holds_no_guess(form in any::<Vec<u8>>()) {
            // Bytes and their spelling alike.
            for form in [form.clone(), percent_encoding::percent_encode(&form, percent_encoding::CONTROLS).to_string().into_bytes()] {
                let spelt = percent_decode(&form).collect::<Vec<u8>>();
                let sent = String::from_utf8_lossy(&spelt).matches('\u{FFFD}').count();
                if let Ok(pairs) = pairs(&form) {
                    let read: usize = pairs.map(|(name, value)| (name + &*value).matches('\u{FFFD}').count()).sum();
                    prop_assert!(std::str::from_utf8(&spelt).is_ok());
                    prop_assert_eq!(read, sent, "each was sent");
                }
            }
        }
    }
}
