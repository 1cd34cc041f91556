//! What names no caller: who may ask it, and what it is counted for instead.
//!
//! Operations find out who asks and draw from that caller's limits. Whatever reaches none of them is drawn from its address's:
//! documents and pages that all may read, paths and methods that are not there, what cannot be read.

use std::net::IpAddr;
use std::sync::Arc;

use axum::response::{IntoResponse, Response};
use http::header::CONNECTION;
use http::{Method, StatusCode};

use crate::console;
use crate::family::Family;
use crate::limits::{Accounts, Errand, Limited, Limits};
use crate::problem::Problem;
use crate::transport::{Places, Reader};

/// Who may ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    /// The operation finds out who asks, and counts it for them.
    Callers,
    /// Anybody.
    Documents,
    /// Anybody, and above all those who look after the server, which is to be possible whoever reads what beside them.
    Health,
    /// The same.
    Figures,
}

impl Access {
    pub(super) fn is_probe(self) -> bool {
        matches!(self, Self::Health | Self::Figures)
    }
}

impl Family {
    /// Who may ask, which says what it counts for.
    pub(super) fn access(self, method: &Method, path: &str) -> Access {
        match self {
            // Who signs in is not to be kept out by what was read beside.
            Self::Console if *method != Method::POST && console::is_public(path) => Access::Documents,
            Self::Api | Self::OAuth | Self::Console => Access::Callers,
            Self::Elsewhere => match path {
                "/healthz" | "/readyz" => Access::Health,
                "/metrics" => Access::Figures,
                _ => Access::Documents,
            },
        }
    }
}

/// What is asked by nobody in particular draws from these.
#[derive(Debug)]
pub(super) struct Strangers {
    pub(super) accounts: Arc<Accounts>,
    pub(super) limits: Arc<Limits>,
    pub(super) places: Arc<Places>,
}

impl Strangers {
    /// Lets anybody at `address` read what all may read.
    pub(super) fn admit(&self, access: Access, address: IpAddr) -> Result<(), Problem> {
        // Other requests than probes are counted once it is known that nobody else does.
        match access {
            Access::Callers => Ok(()),
            Access::Documents => {
                self.check_unread(address)?;
                Ok(self.accounts.check_anybody(address)?)
            }
            Access::Health => Ok(self.limits.check_errand(Errand::Probe, address)?),
            Access::Figures => {
                self.check_unread(address)?;
                self.limits.check_figures(address)?;
                Ok(self.limits.check_errand(Errand::Probe, address)?)
            }
        }
    }

    fn check_unread(&self, address: IpAddr) -> Result<(), Problem> {
        let unread = &self.places.unread;
        if unread.is_crowded(|| unread.key(Reader::Anybody, address)) { Err(Problem::answers_unread()) } else { Ok(()) }
    }

    /// Counts a request that nobody in particular has asked, and refuses it if its address has asked too much of that kind.
    /// What was done is not called refused.
    pub(super) fn draw(&self, response: &mut Response, only_reads: bool, address: IpAddr) -> Option<Limited> {
        let (status, was_done) = (response.status(), !only_reads && !is_refusal(response.status()));
        if status == StatusCode::TOO_MANY_REQUESTS {
            return None;
        }
        let limited = self.limits.check_nobody(address).err().filter(|_| !was_done)?;
        let kept = response.headers_mut().remove(CONNECTION);
        *response = Problem::from(limited).into_response();
        if let Some(kept) = kept {
            response.headers_mut().insert(CONNECTION, kept);
        }
        Some(limited)
    }
}

fn is_refusal(status: StatusCode) -> bool {
    status.is_client_error() || status.is_server_error()
}
