//! Pieces of nodes' logs of requests, as bytes.

use std::borrow::Cow;

use respoke_core::request_log::{LoggedRequest, RequestFilter, RequestsAsked, RequestsPiece, StatusFilter};

use super::bounds::BusCodecError;
use super::bytes::{Coded, Reader, write_text};

impl Coded for RequestsAsked {
    fn write(&self, out: &mut Vec<u8>) {
        let Self { filter, before, most } = self;
        filter.write(out);
        (*before, *most).write(out);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, BusCodecError> {
        Ok(Self { filter: Coded::read(from)?, before: Coded::read(from)?, most: Coded::read(from)? })
    }
}

impl Coded for RequestFilter {
    fn write(&self, out: &mut Vec<u8>) {
        let Self { app_id, endpoint_id, route, request_id, status } = self;
        app_id.write(out);
        endpoint_id.write(out);
        route.write(out);
        request_id.write(out);
        status.write(out);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, BusCodecError> {
        Ok(Self {
            app_id: Coded::read(from)?,
            endpoint_id: Coded::read(from)?,
            route: Coded::read(from)?,
            request_id: Coded::read(from)?,
            status: Coded::read(from)?,
        })
    }
}

impl Coded for StatusFilter {
    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Exactly(status) => (0_u8, *status).write(out),
            Self::Class(class) => (1_u8, *class).write(out),
        }
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, BusCodecError> {
        Ok(match u8::read(from)? {
            0 => Self::Exactly(Coded::read(from)?),
            1 => Self::Class(Coded::read(from)?),
            _ => return Err(BusCodecError::Unknown("kind of status")),
        })
    }
}

impl Coded for RequestsPiece {
    fn write(&self, out: &mut Vec<u8>) {
        let Self { found, next } = self;
        found.write(out);
        next.write(out);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, BusCodecError> {
        Ok(Self { found: Coded::read(from)?, next: Coded::read(from)? })
    }
}

impl Coded for LoggedRequest {
    fn write(&self, out: &mut Vec<u8>) {
        let Self { number, at, request_id, app_id, endpoint_id, caller, method, route, status, code, .. } = self;
        (*number, *at).write(out);
        (*request_id, *app_id).write(out);
        endpoint_id.write(out);
        for word in [caller, method] {
            write_text(word, out);
        }
        write_text(route, out);
        status.write(out);
        code.as_deref().map(str::to_owned).write(out);
        (self.took_micros, self.address).write(out);
        self.over_socket.write(out);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, BusCodecError> {
        let word = |from: &mut Reader<'_>| String::read(from).map(Cow::Owned);
        Ok(Self {
            number: Coded::read(from)?,
            at: Coded::read(from)?,
            request_id: Coded::read(from)?,
            app_id: Coded::read(from)?,
            endpoint_id: Coded::read(from)?,
            caller: word(from)?,
            method: word(from)?,
            route: Coded::read(from)?,
            status: Coded::read(from)?,
            code: Option::<String>::read(from)?.map(Cow::Owned),
            took_micros: Coded::read(from)?,
            address: Coded::read(from)?,
            over_socket: Coded::read(from)?,
        })
    }
}
