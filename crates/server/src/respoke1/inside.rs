//! What the door has at hand, for as long as the server runs.

use std::sync::Arc;
use std::time::Duration;

use respoke_hub::Hub;

use super::ring::AllRings;
use crate::config::SocketSettings;
use crate::state::Api;
use crate::transport::Shares;
use crate::tunnel::Tunnel;
use crate::websocket::Carriers;

/// How long a client may take to say who it is.
pub(super) const CONNECT_WITHIN: Duration = Duration::from_secs(10);

/// For how long a client that lost its connection can come back to it. Nobody hears that it was away.
pub(super) const KEEP: Duration = Duration::from_secs(15);

/// What the door has at hand.
pub(super) struct Inside {
    pub(super) hub: Arc<Hub>,
    pub(super) api: Arc<Api>,
    pub(super) tunnel: Arc<Tunnel>,
    pub(super) settings: SocketSettings,
    /// Of the sockets of each address, with those of the other door.
    pub(super) shares: Arc<Shares>,
    /// Of those that did not say who they are.
    pub(super) guests: Shares,
    pub(super) carriers: Carriers,
    pub(super) rings: AllRings,
}
