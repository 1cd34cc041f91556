//! Every refusal's stable code, once: its word, its status, what it means, and what may be done after it.
//!
//! The API's description, docs/errors.md and the figures of refusals come from this table. [`Refusal::kind`] and the
//! server's own refusals name its entries, so there is no code that is not in it.
//!
//! [`Refusal::kind`]: crate::refusal::Refusal::kind

/// What the same request, sent again, would do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Again {
    /// Nothing was written, and it is refused as long as nothing else changes.
    Never,
    /// Nothing was written; later it may be carried out.
    Later,
    /// Whether it was carried out is not known; docs/errors.md says what to do.
    Unknown,
}

impl Again {
    /// In a word or two, as docs/errors.md has it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Never => "no",
            Self::Later => "later",
            Self::Unknown => "see below",
        }
    }
}

macro_rules! codes {
    ($($code:ident: $word:literal, $status:literal, $again:ident, $meaning:literal;)*) => {
        /// What a refusal is about. Programs match its word, which does not change.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Code {
            $(#[doc = $meaning] $code,)*
        }

        impl Code {
            /// All of them, by status.
            pub const ALL: &[Self] = &[$(Self::$code),*];

            /// The stable word.
            #[must_use]
            pub const fn word(self) -> &'static str {
                match self {
                    $(Self::$code => $word,)*
                }
            }

            /// The status it comes with, over HTTP and over sockets.
            #[must_use]
            pub const fn status(self) -> u16 {
                match self {
                    $(Self::$code => $status,)*
                }
            }

            /// What the same request, sent again, would do.
            #[must_use]
            pub const fn again(self) -> Again {
                match self {
                    $(Self::$code => Again::$again,)*
                }
            }

            /// What it means, in whole sentences.
            #[must_use]
            pub const fn meaning(self) -> &'static str {
                match self {
                    $(Self::$code => $meaning,)*
                }
            }
        }
    };
}

codes! {
    Malformed: "malformed", 400, Never,
        "The body is not a well-formed JSON object or form, path, query or form are not UTF-8 text, there is not one `Host`, or it is no HTTP.";
    TooDeep: "too_deep", 400, Never,
        "The JSON of the body is nested more than 32 levels deep.";
    Invalid: "invalid", 400, Never,
        "Fields are missing or wrong; `validationErrors` says which and why.";
    EndpointReserved: "endpoint_reserved", 400, Never,
        "The endpoint id is `__SYSTEM__`, under which backends speak, or one that may be taken for it.";
    Unauthenticated: "unauthenticated", 401, Never,
        "No credential was given, or one that is malformed, unknown, revoked or expired; which, is not told.";
    TokenRefused: "token_refused", 401, Never,
        "The tokenId is unknown, already used, revoked or expired; which, is not told.";
    BadLogin: "bad_login", 401, Never,
        "The user name, the password, the second factor's code or the setup token is wrong; which, is not told.";
    SecondFactorRequired: "second_factor_required", 401, Never,
        "The password is right and the admin has a second factor: the same request with its `code` signs in.";
    EndpointBanned: "endpoint_banned", 401, Never,
        "The endpoint is banned; `details.reason` holds the reason given with the ban.";
    ConnectionLimit: "connection_limit", 401, Never,
        "The app, the endpoint or the address has its most connections.";
    Forbidden: "forbidden", 403, Never,
        "The credential is genuine and does not permit this.";
    OriginRefused: "origin_refused", 403, Never,
        "The page's origin is not among the app's `permittedDomains`.";
    QuotaExceeded: "quota_exceeded", 403, Never,
        "The app keeps as much as it may (`keptMegabytes`, `kept_bytes_per_app_max`). Nothing was kept, and nobody got it: end groups whose history can go, wait for old rows to go, or give the app more.";
    LimitReached: "limit_reached", 403, Never,
        "There are as many groups, members or the like as there may be.";
    NotFound: "not_found", 404, Never,
        "There is no such object, or none that the caller may know of.";
    NoSuchRoute: "no_such_route", 404, Never,
        "There is nothing at this path.";
    NoGateway: "no_gateway", 404, Never,
        "Telephones, SIP addresses and conferences cannot be reached from here.";
    MethodNotAllowed: "method_not_allowed", 405, Never,
        "The path does not take this method; the header `Allow` names those it takes.";
    RequestTimeout: "request_timeout", 408, Later,
        "The body did not arrive within 10 seconds.";
    Conflict: "conflict", 409, Never,
        "The object is not in the state the request needs.";
    NotConnected: "not_connected", 409, Never,
        "The request needs a socket on which a connection was registered before.";
    BodyTooLarge: "body_too_large", 413, Never,
        "The body is larger than 20,000 bytes.";
    IdempotencyKeyReused: "idempotency_key_reused", 422, Never,
        "The `Idempotency-Key` was used before for a different request, or what it made is gone.";
    RateLimited: "rate_limited", 429, Later,
        "The app, endpoint or address asked, connected, said, read or made others receive too much; the header `Retry-After` says how long to wait.";
    AnswersUnread: "answers_unread", 429, Later,
        "Too much of earlier answers was not read yet, on this connection or by this caller; read them, then ask again.";
    Throttled: "throttled", 429, Later,
        "Too many failed attempts to prove who one is; the header `Retry-After` says how long to wait.";
    HeadTooLarge: "head_too_large", 431, Never,
        "The request line and headers are larger than 64 KiB, or more than 100.";
    Internal: "internal", 500, Unknown,
        "The server failed. The log holds the cause under the `requestId`.";
    Overloaded: "overloaded", 503, Later,
        "Too many writes, searches or sign-ins are waiting. Nothing was written; try again.";
    Unavailable: "unavailable", 503, Later,
        "The database, or another node that had to be asked, could not be used. Nothing was written; try again.";
    InDoubt: "in_doubt", 503, Unknown,
        "The database failed while it was writing, another node did not say that it is done, or the node that answers may have been taken for dead meanwhile. Whether this was done is not known; below is what to do.";
}

impl Code {
    /// The code of this word, if there is one.
    #[must_use]
    pub fn of(word: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|code| code.word() == word)
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::*;

    #[test]
    fn words_are_unlike_and_statuses_are_refusals_in_order() {
        let mut words: Vec<_> = Code::ALL.iter().map(|code| code.word()).collect();
        assert!(Code::ALL.iter().all(|code| Code::of(code.word()) == Some(*code)));
        words.sort_unstable();
        words.dedup();
        assert_eq!(words.len(), Code::ALL.len());
        assert!(Code::ALL.is_sorted_by_key(|code| code.status()));
        for (place, code) in Code::ALL.iter().enumerate() {
            assert_eq!(*code as usize, place, "figures of refusals are kept by place");
            assert!((400..600).contains(&code.status()), "{code:?}");
        }
    }

    #[test]
    fn docs_errors_md_says_what_the_table_says() {
        let mut table = "| code | status | again | meaning |\n|---|---|---|---|\n".to_owned();
        for code in Code::ALL {
            let (word, again) = (code.word(), code.again().word());
            writeln!(table, "| `{word}` | {} | {again} | {} |", code.status(), code.meaning()).unwrap();
        }
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/errors.md");
        let text = std::fs::read_to_string(path).unwrap();
        let written = &text[text.find("| code |").unwrap()..];
        let written = &written[..=written.find("\n\n").unwrap()];
        assert_eq!(written, table, "docs/errors.md has to have this table:\n{table}");
    }
}
