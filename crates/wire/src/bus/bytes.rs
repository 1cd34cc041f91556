//! How numbers, texts, ids and lists are written as bytes, of which everything else is made.

use std::borrow::Cow;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use ::bytes::Bytes;
use respoke_core::clock::Timestamp;
use respoke_core::id::{AdminId, AppId, ConnectionId, EndpointId, GroupName, MessageId, RequestId, RoleId, SecretId};
use respoke_core::ports::Sealed;
use serde_json::value::RawValue;
use uuid::Uuid;

use super::bounds::BusCodecError;

/// What can be written and read back.
pub(super) trait Coded: Sized {
    fn write(&self, out: &mut Vec<u8>);
    fn read(from: &mut Reader<'_>) -> Result<Self, BusCodecError>;
}

/// Bytes of which parts were read.
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// All that was not read yet.
    pub(super) const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Passes over all that was not read yet.
    pub(super) const fn skip(&mut self) {
        self.rest = &[];
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], BusCodecError> {
        let (taken, rest) = self.rest.split_at_checked(len).ok_or(BusCodecError::CutShort)?;
        self.rest = rest;
        Ok(taken)
    }

    pub(super) fn array<const LEN: usize>(&mut self) -> Result<[u8; LEN], BusCodecError> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or(BusCodecError::CutShort)?;
        self.rest = rest;
        Ok(*taken)
    }

    /// A text where it stands.
    pub(super) fn text(&mut self, what: &'static str) -> Result<&'a str, BusCodecError> {
        let len = u32::read(self)? as usize;
        std::str::from_utf8(self.take(len)?).map_err(|_| BusCodecError::Invalid(what))
    }
}

macro_rules! numbers {
    ($($number:ty)*) => {
        $(impl Coded for $number {
            fn write(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.to_be_bytes());
            }

            fn read(from: &mut Reader<'_>) -> Result<Self, BusCodecError> {
                Ok(Self::from_be_bytes(from.array()?))
            }
        })*
    };
}

numbers! { u8 u16 u32 u64 u128 i64 }

macro_rules! uuids {
    ($($id:ty)*) => {
        $(impl Coded for $id {
            fn write(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(self.uuid().as_bytes());
            }

            fn read(from: &mut Reader<'_>) -> Result<Self, BusCodecError> {
                Ok(Self::from_uuid(Uuid::from_bytes(from.array()?)))
            }
        })*
    };
}

uuids! { AdminId AppId ConnectionId MessageId RequestId RoleId SecretId }

impl Coded for bool {
    fn write(&self, out: &mut Vec<u8>) {
        out.push(u8::from(*self));
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, BusCodecError> {
        match u8::read(from)? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(BusCodecError::Invalid("yes or no")),
        }
    }
}

impl<A: Coded, B: Coded> Coded for (A, B) {
    fn write(&self, out: &mut Vec<u8>) {
        self.0.write(out);
        self.1.write(out);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, BusCodecError> {
        Ok((A::read(from)?, B::read(from)?))
    }
}

macro_rules! pointers {
    ($($pointer:ident)*) => {
        $(impl<T: Coded> Coded for $pointer<T> {
            fn write(&self, out: &mut Vec<u8>) {
                T::write(self, out);
            }

            fn read(from: &mut Reader<'_>) -> Result<Self, BusCodecError> {
                T::read(from).map(Self::new)
            }
        })*
    };
}

pointers! { Arc Box }

impl<T: Coded> Coded for Option<T> {
    fn write(&self, out: &mut Vec<u8>) {
        self.is_some().write(out);
        if let Some(value) = self {
            value.write(out);
        }
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, BusCodecError> {
        if bool::read(from)? { T::read(from).map(Some) } else { Ok(None) }
    }
}

impl<T: Coded> Coded for Vec<T> {
    fn write(&self, out: &mut Vec<u8>) {
        write_len(self.len(), out);
        for value in self {
            value.write(out);
        }
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, BusCodecError> {
        let len = u32::read(from)?;
        // No room is made for what is only claimed: each element takes bytes, and they end.
        (0..len).map(|_| T::read(from)).collect()
    }
}

/// Writes how long something is. What is longer than four bytes can say is longer than any frame, and is not sent.
fn write_len(len: usize, out: &mut Vec<u8>) {
    u32::try_from(len).unwrap_or(u32::MAX).write(out);
}

pub(super) fn write_text(text: &str, out: &mut Vec<u8>) {
    write_len(text.len(), out);
    out.extend_from_slice(text.as_bytes());
}

/// Bytes of something that clients may have said, so they are not printed.
#[derive(Clone)]
pub struct Piece(pub Bytes);

impl fmt::Debug for Piece {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Piece({} bytes)", self.0.len())
    }
}

impl Coded for Piece {
    fn write(&self, out: &mut Vec<u8>) {
        write_len(self.0.len(), out);
        out.extend_from_slice(&self.0);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, BusCodecError> {
        let len = u32::read(from)? as usize;
        from.take(len).map(|taken| Self(Bytes::copy_from_slice(taken)))
    }
}

impl Coded for Sealed {
    fn write(&self, out: &mut Vec<u8>) {
        Piece(self.0.clone()).write(out);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, BusCodecError> {
        Piece::read(from).map(|piece| Self(piece.0))
    }
}

impl Coded for String {
    fn write(&self, out: &mut Vec<u8>) {
        write_text(self, out);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, BusCodecError> {
        from.text("text").map(str::to_owned)
    }
}

/// A word that is written into the program, or was read.
impl Coded for Cow<'static, str> {
    fn write(&self, out: &mut Vec<u8>) {
        write_text(self, out);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, BusCodecError> {
        String::read(from).map(Self::Owned)
    }
}

impl Coded for EndpointId {
    fn write(&self, out: &mut Vec<u8>) {
        write_text(self.as_str(), out);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, BusCodecError> {
        Self::parse(from.text("endpoint id")?).map_err(|_| BusCodecError::Invalid("endpoint id"))
    }
}

impl Coded for GroupName {
    fn write(&self, out: &mut Vec<u8>) {
        write_text(self.as_str(), out);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, BusCodecError> {
        Self::parse(from.text("group name")?).map_err(|_| BusCodecError::Invalid("group name"))
    }
}

/// A payload: the text to the letter.
impl Coded for Box<RawValue> {
    fn write(&self, out: &mut Vec<u8>) {
        write_text(self.get(), out);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, BusCodecError> {
        let text = from.text("JSON")?;
        // What stands around a value is not its own, and no node sends it.
        if text.trim_matches([' ', '\t', '\n', '\r']).len() != text.len() {
            return Err(BusCodecError::Invalid("JSON"));
        }
        RawValue::from_string(text.to_owned()).map_err(|_| BusCodecError::Invalid("JSON"))
    }
}

impl Coded for Timestamp {
    fn write(&self, out: &mut Vec<u8>) {
        self.millis().write(out);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, BusCodecError> {
        i64::read(from).map(Self::from_millis)
    }
}

impl Coded for IpAddr {
    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::V4(v4) => (4_u8, v4.to_bits()).write(out),
            Self::V6(v6) => (6_u8, v6.to_bits()).write(out),
        }
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, BusCodecError> {
        match u8::read(from)? {
            4 => Ok(Self::V4(Ipv4Addr::from_bits(u32::read(from)?))),
            6 => Ok(Self::V6(Ipv6Addr::from_bits(u128::read(from)?))),
            _ => Err(BusCodecError::Invalid("address")),
        }
    }
}
