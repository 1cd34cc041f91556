//! What nodes tell and ask each other of what they count, as bytes.

use respoke_core::app::Rate;
use respoke_core::figures::Figures;
use respoke_core::ports::{
    AppBucket, BooksAnswer, BooksQuestion, Caused, Counted, Drawn, EnrolmentAnswer, Guesser, NameHash, Tried,
};
use respoke_core::secret::{Secret, SecretHash};
use respoke_core::totp::SealedTotp;

use super::bounds::BusCodecError;
use super::bytes::{Coded, Reader, write_text};
use super::shapes::{coded_fields, coded_kinds};

coded_kinds! { Counted, "kind of what is counted" {
    0 => Drawn(drawn),
    1 => Tried(tried),
    2 => Enrols(admin_id),
    3 => Caused(caused),
}}

coded_kinds! { AppBucket, "kind of bucket" {
    0 => Requests,
    1 => Connects,
    2 => Messages,
}}

coded_kinds! { Guesser, "kind of guesser" {
    0 => Password(address, name),
    1 => Account(name),
    2 => Code(name, address),
    3 => Credential(address),
}}

coded_kinds! { Tried, "outcome of a try" {
    0 => Failed(guesser, times),
    1 => TakenBack(guesser),
    2 => Forgiven(guesser),
    3 => CameIn(address, name),
}}

coded_kinds! { BooksQuestion, "kind of question about books" {
    0 => Figures { app_id },
    1 => Enrolment { admin_id, code },
    2 => Requests(asked),
}}

coded_kinds! { BooksAnswer, "kind of answer about books" {
    0 => Figures(figures),
    1 => Enrolment(enrolment),
    2 => None,
    3 => Requests(piece),
}}

coded_kinds! { EnrolmentAnswer, "outcome of an enrolment" {
    0 => NoneWaits,
    1 => Wrong,
    2 => Right { step, sealed, password },
}}

coded_fields! {
    Drawn { app_id, of, rate, amount }
    Caused { app_id, frames_rate, kilobytes_rate, frames, bytes }
    Rate { per_second, burst }
}

impl Coded for NameHash {
    fn write(&self, out: &mut Vec<u8>) {
        self.0.write(out);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, BusCodecError> {
        u64::read(from).map(Self)
    }
}

impl Coded for SealedTotp {
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.to_bytes());
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, BusCodecError> {
        from.array().map(Self::from_bytes)
    }
}

impl Coded for SecretHash {
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.as_bytes());
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, BusCodecError> {
        from.array().map(Self::from_bytes)
    }
}

impl Coded for Secret {
    fn write(&self, out: &mut Vec<u8>) {
        write_text(self.expose(), out);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, BusCodecError> {
        from.text("secret").map(|text| Self::new(text.to_owned()))
    }
}

/// As the store keeps them: in JSON, of which a neighbouring version passes over what it does not know.
impl Coded for Figures {
    fn write(&self, out: &mut Vec<u8>) {
        // Numbers and words can always be written.
        write_text(&serde_json::to_string(self).unwrap_or_default(), out);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, BusCodecError> {
        serde_json::from_str(from.text("figures")?).map_err(|_| BusCodecError::Invalid("figures"))
    }
}
