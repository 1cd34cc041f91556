//! Why a socket of this protocol is closed, and what its client should do then.

use bytes::Bytes;

/// What a client does when its socket was closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Again {
    /// It connects again.
    Resume,
    /// It asks for a new token first.
    Token,
    /// It stops, and tells its user why.
    Never,
}

impl Again {
    /// As clients read it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Resume => "resume",
            Self::Token => "token",
            Self::Never => "never",
        }
    }
}

macro_rules! byes {
    ($($(#[$meta:meta])* $bye:ident: $code:literal, $word:literal, $again:ident, $after:expr;)*) => {
        /// A reason, as the last object and the close frame name it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Bye {
            $($(#[$meta])* $bye,)*
        }

        impl Bye {
            /// Every reason.
            pub const ALL: &[Self] = &[$(Self::$bye),*];

            /// The code of the close frame. Its second digit says what the client does.
            #[must_use]
            pub const fn code(self) -> u16 {
                match self {
                    $(Self::$bye => $code,)*
                }
            }

            /// A stable word.
            #[must_use]
            pub const fn word(self) -> &'static str {
                match self {
                    $(Self::$bye => $word,)*
                }
            }

            /// What the client does.
            #[must_use]
            pub const fn again(self) -> Again {
                match self {
                    $(Self::$bye => Again::$again,)*
                }
            }

            /// Between how many seconds from now it does that. Who is alone comes back at once; where many are closed
            /// together they come one by one.
            const fn after(self) -> [u64; 2] {
                match self {
                    $(Self::$bye => $after,)*
                }
            }
        }
    };
}

byes! {
    /// The client did not read what was sent.
    Slow: 4008, "slow", Resume, [1, 10];
    /// Nothing was heard of the client.
    Silent: 4010, "silent", Resume, [0, 1];
    /// The node stops.
    Drain: 4011, "drain", Resume, [0, 5];
    /// The other nodes took this one for dead.
    NodeLost: 4012, "node_lost", Resume, [0, 5];
    /// It cannot connect just now.
    Overloaded: 4013, "overloaded", Resume, [1, 10];
    /// The app or the endpoint has its most connections. Some of them may be of links that broke, and be closed soon.
    Limit: 4014, "limit", Resume, [5, 30];
    /// The client came back by another socket. That may have been a try which it had given up, and which came through late.
    Replaced: 4015, "replaced", Resume, [1, 5];
    /// The credential that it connects with is not valid.
    Refused: 4100, "refused", Token, [0, 1];
    /// Its session is over by its time.
    Expired: 4101, "expired", Token, [0, 1];
    /// Its session, or what that stands on, was ended.
    Revoked: 4102, "revoked", Token, [0, 1];
    /// It sent what is no frame of this protocol.
    BadFrame: 4200, "bad_frame", Never, [0, 0];
    /// The endpoint is banned.
    Banned: 4201, "banned", Never, [0, 0];
    /// The page may not use the app.
    Origin: 4202, "origin", Never, [0, 0];
    /// The client does not speak this version.
    Version: 4205, "version", Never, [0, 0];
}

impl Bye {
    /// The last object: `{"bye":{…}}`. `wait_secs`: how long there is nothing to come back for, if that is known.
    #[must_use]
    pub fn object(self, wait_secs: Option<u64>) -> Bytes {
        let (code, word, again) = (self.code(), self.word(), self.again().word());
        let [least, most] = self.after();
        let wait = wait_secs.unwrap_or(0);
        let after = match self.again() {
            Again::Never => String::new(),
            Again::Resume | Again::Token => {
                format!(r#","after":[{},{}]"#, least.max(wait), most.saturating_add(wait))
            }
        };
        Bytes::from(format!(r#"{{"bye":{{"code":{code},"word":"{word}","again":"{again}"{after}}}}}"#))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_code_says_what_the_client_does() {
        for (place, bye) in Bye::ALL.iter().enumerate() {
            let class = match bye.again() {
                Again::Resume => 40,
                Again::Token => 41,
                Again::Never => 42,
            };
            assert_eq!(bye.code() / 100, class, "{bye:?}");
            assert!(Bye::ALL[..place].iter().all(|other| other.code() < bye.code() && other.word() != bye.word()));
        }
    }

    #[test]
    fn the_last_object_says_what_to_do_and_when() {
        assert_eq!(Bye::Drain.object(None), r#"{"bye":{"code":4011,"word":"drain","again":"resume","after":[0,5]}}"#);
        assert_eq!(
            Bye::Overloaded.object(Some(7)),
            r#"{"bye":{"code":4013,"word":"overloaded","again":"resume","after":[7,17]}}"#
        );
        assert_eq!(Bye::Banned.object(Some(7)), r#"{"bye":{"code":4201,"word":"banned","again":"never"}}"#);
    }

    #[test]
    fn docs_socket_md_has_this_table() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/socket.md");
        let text = std::fs::read_to_string(path).unwrap();
        for bye in Bye::ALL {
            let row = format!("| {} | `{}` | {} |", bye.code(), bye.word(), bye.again().word());
            assert!(text.contains(&row), "docs/socket.md has to have this row: {row}");
        }
    }
}
