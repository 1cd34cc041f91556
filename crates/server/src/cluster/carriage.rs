//! What carries what this node and the others tell each other.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use respoke_bus::nats::{NatsCarrier, NatsCredentials, NatsOptions, NatsServers};
use respoke_core::ports::{Carrier, CarrierKind, Cluster, Node};
use respoke_store::{CarrierOptions, PostgresCarrier};

use crate::metrics::CarriageView;

/// By what nodes talk.
pub(crate) enum Talk {
    /// By tables of their database.
    Postgres(Box<CarrierOptions>),
    /// By NATS.
    Nats { servers: NatsServers, credentials: Option<NatsCredentials>, root_certificate: Option<PathBuf> },
}

impl Talk {
    pub(super) const fn kind(&self) -> CarrierKind {
        match self {
            Self::Postgres(_) => CarrierKind::Postgres,
            Self::Nats { .. } => CarrierKind::Nats,
        }
    }
}

/// One node's end of a carrier.
#[derive(Debug)]
pub(super) enum Carriage {
    Postgres(Arc<PostgresCarrier>),
    Nats(Arc<NatsCarrier>),
}

impl Carriage {
    pub(super) async fn open(talk: Talk, node: Node, cluster: &Cluster) -> anyhow::Result<Self> {
        Ok(match talk {
            Talk::Postgres(options) => {
                options.check_direct(&cluster.id).await.context("database_direct cannot be used")?;
                Self::Postgres(Arc::new(PostgresCarrier::open(*options, node)?))
            }
            Talk::Nats { servers, credentials, root_certificate } => {
                let options = NatsOptions { servers, credentials, root_certificate, cluster: cluster.id, node };
                Self::Nats(Arc::new(NatsCarrier::connect(&options).await?))
            }
        })
    }

    pub(super) fn carrier(&self) -> Arc<dyn Carrier> {
        match self {
            Self::Postgres(carrier) => carrier.clone(),
            Self::Nats(carrier) => carrier.clone(),
        }
    }

    /// Hands what comes to `bring`, which holds nothing that holds this.
    pub(super) fn bring_to(&self, bring: impl Fn(&[u8]) + Send + Sync + 'static) {
        match self {
            Self::Postgres(carrier) => carrier.attach(bring),
            Self::Nats(carrier) => carrier.bring_to(bring),
        }
    }

    /// These nodes are listened to.
    pub(super) fn nodes_are(&self, live: &[Node]) {
        match self {
            Self::Postgres(carrier) => carrier.nodes_are(live),
            // Whoever sends to this node is heard.
            Self::Nats(_) => {}
        }
    }

    pub(super) async fn end(&self) {
        match self {
            Self::Postgres(carrier) => carrier.close().await,
            Self::Nats(carrier) => carrier.end().await,
        }
    }

    /// How long what came was under way lately, at most.
    pub(super) fn lag(&self) -> Duration {
        match self {
            Self::Postgres(carrier) => carrier.figures().lag,
            Self::Nats(carrier) => Duration::from_micros(carrier.figures().delay_micros),
        }
    }

    pub(super) fn view(&self) -> CarriageView {
        match self {
            Self::Postgres(carrier) => {
                let figures = carrier.figures();
                CarriageView {
                    sent: figures.frames_sent,
                    received: figures.frames_received,
                    lost: figures.frames_lost,
                    connections: figures.connections,
                    lag_micros: u64::try_from(figures.lag.as_micros()).unwrap_or(u64::MAX),
                    table_bytes: figures.table_bytes,
                }
            }
            Self::Nats(carrier) => {
                let figures = carrier.figures();
                CarriageView {
                    sent: figures.frames_sent,
                    received: figures.frames_received,
                    lost: figures.frames_dropped + figures.messages_dropped,
                    connections: figures.reconnects + 1,
                    lag_micros: figures.delay_micros,
                    table_bytes: 0,
                }
            }
        }
    }
}
