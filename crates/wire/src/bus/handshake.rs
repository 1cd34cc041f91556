//! What a client showed when it shook hands, as bytes for the node that it came to. They are sealed before they are sent.

use std::net::IpAddr;

use respoke_core::ops::Credential;
use respoke_core::secret::Secret;

use super::bounds::{BusCodecError, VERSION, VERSIONS};
use super::bytes::{Coded, Reader};
use crate::ack::AckStyle;

/// What a client showed when it shook hands.
#[derive(Clone, Debug)]
pub struct Handshake {
    /// Its credential, to be proved anew.
    pub credential: Credential,
    /// From where.
    pub address: IpAddr,
    /// The page it runs in, if a browser said one.
    pub origin: Option<String>,
    /// The host it shook hands with, as it said.
    pub host: Option<String>,
    /// How it wants its answers.
    pub style: AckStyle,
}

impl Handshake {
    /// Its bytes, which hold the credential in clear.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let Self { credential, address, origin, host, style } = self;
        let text_len = |text: &Option<String>| text.as_ref().map_or(0, String::len);
        // With room to spare for being sealed: what outgrew its place would leave the credential behind there.
        let mut out = Vec::with_capacity(credential_len(credential) + text_len(origin) + text_len(host) + ROOM);
        VERSION.write(&mut out);
        credential.write(&mut out);
        address.write(&mut out);
        origin.write(&mut out);
        host.write(&mut out);
        (*style == AckStyle::Object).write(&mut out);
        out
    }

    /// Reads it.
    ///
    /// # Errors
    ///
    /// [`BusCodecError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, BusCodecError> {
        let mut from = Reader::new(bytes);
        let version = u8::read(&mut from)?;
        if !VERSIONS.contains(&version) {
            return Err(BusCodecError::UnknownVersion(version));
        }
        let handshake = Self {
            credential: Coded::read(&mut from)?,
            address: Coded::read(&mut from)?,
            origin: Coded::read(&mut from)?,
            host: Coded::read(&mut from)?,
            style: if bool::read(&mut from)? { AckStyle::Object } else { AckStyle::Text },
        };
        if from.is_empty() { Ok(handshake) } else { Err(BusCodecError::GoesOn) }
    }
}

/// What all but texts takes, and what sealing adds.
const ROOM: usize = 128;

fn credential_len(credential: &Credential) -> usize {
    match credential {
        Credential::None => 0,
        Credential::AppToken(text) | Credential::AppSecret(text) | Credential::AdminToken(text) => text.expose().len(),
    }
}

impl Coded for Credential {
    fn write(&self, out: &mut Vec<u8>) {
        let (kind, text) = match self {
            Self::None => return 0_u8.write(out),
            Self::AppToken(text) => (1_u8, text),
            Self::AppSecret(text) => (2, text),
            Self::AdminToken(text) => (3, text),
        };
        kind.write(out);
        super::bytes::write_text(text.expose(), out);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, BusCodecError> {
        let of: fn(Secret) -> Self = match u8::read(from)? {
            0 => return Ok(Self::None),
            1 => Self::AppToken,
            2 => Self::AppSecret,
            3 => Self::AdminToken,
            _ => return Err(BusCodecError::Invalid("kind of credential")),
        };
        String::read(from).map(Secret::new).map(of)
    }
}

#[cfg(test)]
mod tests {
    use proptest::option;
    use proptest::prelude::*;

    use super::*;

    fn credential() -> impl Strategy<Value = Credential> {
        let kinds: Vec<fn(Secret) -> Credential> =
            vec![|_| Credential::None, Credential::AppToken, Credential::AppSecret, Credential::AdminToken];
        (prop::sample::select(kinds), ".{0,80}").prop_map(|(of, text)| of(Secret::new(text)))
    }

    fn handshake() -> impl Strategy<Value = Handshake> {
        (credential(), any::<IpAddr>(), option::of(".{0,80}"), option::of(".{0,80}"), any::<bool>()).prop_map(
            |(credential, address, origin, host, is_object)| {
                let style = if is_object { AckStyle::Object } else { AckStyle::Text };
                Handshake { credential, address, origin, host, style }
            },
        )
    }

    proptest! {
        #[test]
        fn whatever_was_shown_reads_back(handshake in handshake()) {
            let bytes = handshake.encode();
            let read = Handshake::decode(&bytes).unwrap();
            prop_assert_eq!(format!("{read:?}"), format!("{handshake:?}"));
            // Secrets print alike, so it is their bytes that tell.
            prop_assert_eq!(read.encode(), bytes);
        }

        #[test]
        fn it_never_outgrows_its_place(handshake in handshake()) {
            let bytes = handshake.encode();
            prop_assert!(bytes.capacity() - bytes.len() >= 64);
        }

        #[test]
        fn what_is_cut_short_or_goes_on_or_is_damaged_is_refused_or_another(
            handshake in handshake(), at: prop::sample::Index, byte: u8,
        ) {
            let mut bytes = handshake.encode();
            prop_assert!(Handshake::decode(&bytes[..at.index(bytes.len())]).is_err());
            prop_assert!(Handshake::decode(&[&bytes[..], &[0]].concat()).is_err());
            let at = at.index(bytes.len());
            bytes[at] = byte;
            if let Ok(read) = Handshake::decode(&bytes) {
                prop_assert_eq!(read.encode(), bytes);
            }
        }

        #[test]
        fn no_credential_is_printed(text in "[a-z]{12}") {
            let credential = Credential::AppSecret(Secret::new(text.clone()));
            let address = IpAddr::from([127, 0, 0, 1]);
            let handshake = Handshake { credential, address, origin: None, host: None, style: AckStyle::Text };
            let printed = format!("{handshake:?}");
            prop_assert!(!printed.contains(&text), "{}", printed);
        }
    }

    #[test]
    fn what_another_version_wrote_is_refused_by_name() {
        let address = IpAddr::from([127, 0, 0, 1]);
        let credential = Credential::None;
        let mut bytes = Handshake { credential, address, origin: None, host: None, style: AckStyle::Text }.encode();
        bytes[0] = VERSION + 1;
        assert_eq!(Handshake::decode(&bytes).unwrap_err(), BusCodecError::UnknownVersion(VERSION + 1));
    }
}
