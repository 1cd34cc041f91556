//! Whether this server is alone, or a node among others.

use std::sync::Arc;

use respoke_bus::LocalBus;
use respoke_core::ports::{Bus, Receiver};

use super::life::Among;

/// How what happens here reaches whoever it concerns.
#[derive(Debug)]
pub(crate) enum Way {
    /// Nobody else serves from this database.
    Alone(Arc<LocalBus>),
    /// Others may.
    Among(Arc<Among>),
}

impl Way {
    /// The bus.
    pub(crate) fn bus(&self) -> Arc<dyn Bus> {
        match self {
            Self::Alone(bus) => bus.clone(),
            Self::Among(among) => among.bus().clone(),
        }
    }

    /// Hands what the bus brings to `receiver`.
    pub(crate) fn attach(&self, receiver: &Arc<dyn Receiver>) {
        match self {
            Self::Alone(bus) => bus.attach(receiver),
            Self::Among(among) => among.bus().attach(receiver),
        }
    }

    /// This node among others, if it may have some.
    pub(crate) const fn among(&self) -> Option<&Arc<Among>> {
        match self {
            Self::Alone(_) => None,
            Self::Among(among) => Some(among),
        }
    }

    /// Ends this node's life, if it has one.
    pub(crate) async fn leave(&self) {
        if let Self::Among(among) = self {
            among.leave().await;
        }
    }
}
