//! Whose turn it is to make what the first start makes: it is shown before it is kept, and of several that start at once one is
//! to show it. In a data folder only one can be; the others wait for a turn.

use std::time::Duration;

use respoke_core::ops::{Broker, FirstRunDraft};
use respoke_core::ports::{Incarnation, Lease, Node, NodeId};

use crate::config::Config;

/// How long a turn lasts. Whoever is killed in it keeps the others waiting for so long; who takes longer to show what it made may
/// find that another has shown its own, and then keeps nothing.
const TURN: Duration = Duration::from_secs(30);
/// Between two looks whether the turn has come.
const PAUSE: Duration = Duration::from_millis(200);

/// A turn. It is the lease of upkeep, of which nobody makes use before there is an admin.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Turn(Node);

/// Drafts what the first start makes, if this is one.
pub(crate) async fn draft(broker: &Broker, config: &Config) -> anyhow::Result<Option<FirstRunDraft>> {
    let password = config.admin_password.clone().map(|hidden| hidden.0);
    Ok(broker.draft_first_run(config.admin_username.clone(), password).await?)
}

/// The same where others may start as well: once it is this one's turn.
pub(crate) async fn draft_in_turn(
    broker: &Broker,
    config: &Config,
) -> anyhow::Result<(Option<FirstRunDraft>, Option<Turn>)> {
    // Another one in each process, as far as can be.
    let turn = Turn(Node { id: NodeId(u32::from_be_bytes(broker.chance().bytes())), incarnation: Incarnation(1) });
    while broker.store().admins().await?.is_empty() {
        match broker.store().lease_upkeep(turn.0, TURN).await? {
            Lease::Held => return Ok((draft(broker, config).await?, Some(turn))),
            Lease::OfAnother => tokio::time::sleep(PAUSE).await,
        }
    }
    Ok((None, None))
}

/// Ends it. One that cannot be ended ends by itself.
pub(crate) async fn give_back(broker: &Broker, turn: Option<Turn>) {
    let Some(Turn(node)) = turn else { return };
    if let Err(error) = broker.store().give_upkeep_back(node).await {
        let error: &dyn std::error::Error = &error;
        tracing::warn!(error, "others that start now wait for half a minute");
    }
}
