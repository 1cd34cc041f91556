//! Whose matter a request is: an App-Token speaks for its own endpoint, a backend for any of its app.

use std::sync::Arc;

use super::{Broker, Caller};
use crate::app::App;
use crate::id::{AppId, EndpointId, GroupName};
use crate::refusal::Refusal;

impl Broker {
    /// The app a request is in: an endpoint's own, else as [`Broker::app_of`].
    pub(super) async fn app_within(&self, caller: &Caller, named: Option<AppId>) -> Result<Arc<App>, Refusal> {
        match caller {
            Caller::Endpoint { app, .. } => match named {
                Some(id) if id != app.id => Err(Refusal::Forbidden("this App-Token belongs to another app")),
                Some(_) | None => Ok(app.clone()),
            },
            Caller::Anonymous | Caller::Admin { .. } | Caller::App { .. } => self.app_of(caller, named).await,
        }
    }
}

/// The endpoint a request is made for. None: a backend named none.
pub(super) fn endpoint_spoken_for(caller: &Caller, named: Option<&str>) -> Result<Option<EndpointId>, Refusal> {
    let named = named.filter(|text| !text.is_empty());
    match caller {
        Caller::Endpoint { session, .. } => {
            let own = &session.record.grant.endpoint_id;
            match named {
                Some(text) if text != own.as_str() => {
                    Err(Refusal::Forbidden("an App-Token speaks for its own endpoint only"))
                }
                Some(_) | None => Ok(Some(own.clone())),
            }
        }
        Caller::Anonymous => Err(Refusal::Unauthenticated),
        Caller::Admin { .. } | Caller::App { .. } => match named {
            None => Ok(None),
            Some(text) => match EndpointId::parse(text) {
                Ok(endpoint) => Ok(Some(endpoint)),
                Err(problem) => Err(Refusal::field("endpointId", problem)),
            },
        },
    }
}

/// The endpoint a request is made for, where there has to be one.
pub(super) fn endpoint_needed(caller: &Caller, named: Option<&str>) -> Result<EndpointId, Refusal> {
    endpoint_spoken_for(caller, named)?.ok_or_else(|| Refusal::missing("endpointId"))
}

/// A group's name in field `field`.
pub(super) fn group_named(field: &str, text: &str) -> Result<GroupName, Refusal> {
    GroupName::parse(text).map_err(|problem| Refusal::field(field, problem))
}
