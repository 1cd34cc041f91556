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

impl Coded for Counted {
    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Drawn(drawn) => {
                0_u8.write(out);
                drawn.write(out);
            }
            Self::Tried(tried) => {
                1_u8.write(out);
                tried.write(out);
            }
            Self::Enrols(admin_id) => (2_u8, *admin_id).write(out),
            Self::Caused(caused) => {
                3_u8.write(out);
                caused.write(out);
            }
        }
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, BusCodecError> {
        Ok(match u8::read(from)? {
            0 => Self::Drawn(Coded::read(from)?),
            1 => Self::Tried(Coded::read(from)?),
            2 => Self::Enrols(Coded::read(from)?),
            3 => Self::Caused(Coded::read(from)?),
            _ => return Err(BusCodecError::Unknown("kind of what is counted")),
        })
    }
}

impl Coded for Drawn {
    fn write(&self, out: &mut Vec<u8>) {
        let Self { app_id, of, rate, amount } = self;
        app_id.write(out);
        of.write(out);
        rate.write(out);
        amount.write(out);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, BusCodecError> {
        Ok(Self {
            app_id: Coded::read(from)?,
            of: Coded::read(from)?,
            rate: Coded::read(from)?,
            amount: Coded::read(from)?,
        })
    }
}

impl Coded for Caused {
    fn write(&self, out: &mut Vec<u8>) {
        let Self { app_id, frames_rate, kilobytes_rate, frames, bytes } = self;
        app_id.write(out);
        frames_rate.write(out);
        kilobytes_rate.write(out);
        (*frames, *bytes).write(out);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, BusCodecError> {
        Ok(Self {
            app_id: Coded::read(from)?,
            frames_rate: Coded::read(from)?,
            kilobytes_rate: Coded::read(from)?,
            frames: Coded::read(from)?,
            bytes: Coded::read(from)?,
        })
    }
}

impl Coded for Rate {
    fn write(&self, out: &mut Vec<u8>) {
        (self.per_second, self.burst).write(out);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, BusCodecError> {
        Ok(Self { per_second: Coded::read(from)?, burst: Coded::read(from)? })
    }
}

impl Coded for AppBucket {
    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Requests => 0_u8.write(out),
            Self::Connects => 1_u8.write(out),
            Self::Messages => 2_u8.write(out),
        }
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, BusCodecError> {
        Ok(match u8::read(from)? {
            0 => Self::Requests,
            1 => Self::Connects,
            2 => Self::Messages,
            _ => return Err(BusCodecError::Unknown("kind of bucket")),
        })
    }
}

impl Coded for NameHash {
    fn write(&self, out: &mut Vec<u8>) {
        self.0.write(out);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, BusCodecError> {
        u64::read(from).map(Self)
    }
}

impl Coded for Guesser {
    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Password(address, name) => {
                0_u8.write(out);
                address.write(out);
                name.write(out);
            }
            Self::Account(name) => {
                1_u8.write(out);
                name.write(out);
            }
            Self::Code(name, address) => {
                2_u8.write(out);
                name.write(out);
                address.write(out);
            }
            Self::Credential(address) => {
                3_u8.write(out);
                address.write(out);
            }
        }
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, BusCodecError> {
        Ok(match u8::read(from)? {
            0 => Self::Password(Coded::read(from)?, Coded::read(from)?),
            1 => Self::Account(Coded::read(from)?),
            2 => Self::Code(Coded::read(from)?, Coded::read(from)?),
            3 => Self::Credential(Coded::read(from)?),
            _ => return Err(BusCodecError::Unknown("kind of guesser")),
        })
    }
}

impl Coded for Tried {
    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Failed(guesser, times) => {
                0_u8.write(out);
                guesser.write(out);
                times.write(out);
            }
            Self::TakenBack(guesser) => {
                1_u8.write(out);
                guesser.write(out);
            }
            Self::Forgiven(guesser) => {
                2_u8.write(out);
                guesser.write(out);
            }
            Self::CameIn(address, name) => {
                3_u8.write(out);
                address.write(out);
                name.write(out);
            }
        }
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, BusCodecError> {
        Ok(match u8::read(from)? {
            0 => Self::Failed(Coded::read(from)?, Coded::read(from)?),
            1 => Self::TakenBack(Coded::read(from)?),
            2 => Self::Forgiven(Coded::read(from)?),
            3 => Self::CameIn(Coded::read(from)?, Coded::read(from)?),
            _ => return Err(BusCodecError::Unknown("outcome of a try")),
        })
    }
}

impl Coded for BooksQuestion {
    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Figures { app_id } => (0_u8, *app_id).write(out),
            Self::Enrolment { admin_id, code } => {
                (1_u8, *admin_id).write(out);
                write_text(code.expose(), out);
            }
            Self::Requests(asked) => {
                2_u8.write(out);
                asked.write(out);
            }
        }
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, BusCodecError> {
        Ok(match u8::read(from)? {
            0 => Self::Figures { app_id: Coded::read(from)? },
            1 => Self::Enrolment { admin_id: Coded::read(from)?, code: secret(from)? },
            2 => Self::Requests(Box::new(Coded::read(from)?)),
            _ => return Err(BusCodecError::Unknown("kind of question about books")),
        })
    }
}

impl Coded for BooksAnswer {
    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Figures(figures) => {
                0_u8.write(out);
                figures.write(out);
            }
            Self::Enrolment(enrolment) => {
                1_u8.write(out);
                enrolment.write(out);
            }
            Self::None => 2_u8.write(out),
            Self::Requests(piece) => {
                3_u8.write(out);
                piece.write(out);
            }
        }
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, BusCodecError> {
        Ok(match u8::read(from)? {
            0 => Self::Figures(Box::new(Coded::read(from)?)),
            1 => Self::Enrolment(Coded::read(from)?),
            2 => Self::None,
            3 => Self::Requests(Coded::read(from)?),
            _ => return Err(BusCodecError::Unknown("kind of answer about books")),
        })
    }
}

impl Coded for EnrolmentAnswer {
    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::NoneWaits => 0_u8.write(out),
            Self::Wrong => 1_u8.write(out),
            Self::Right { step, sealed, password } => {
                (2_u8, *step).write(out);
                out.extend_from_slice(&sealed.to_bytes());
                out.extend_from_slice(password.as_bytes());
            }
        }
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, BusCodecError> {
        Ok(match u8::read(from)? {
            0 => Self::NoneWaits,
            1 => Self::Wrong,
            2 => Self::Right {
                step: Coded::read(from)?,
                sealed: SealedTotp::from_bytes(from.array()?),
                password: SecretHash::from_bytes(from.array()?),
            },
            _ => return Err(BusCodecError::Unknown("outcome of an enrolment")),
        })
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

fn secret(from: &mut Reader<'_>) -> Result<Secret, BusCodecError> {
    from.text("secret").map(|text| Secret::new(text.to_owned()))
}
