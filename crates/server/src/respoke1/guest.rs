//! A websocket whose client did not say yet who it is.

use std::net::IpAddr;
use std::sync::Arc;

use super::inside::Inside;
use super::live::Live;
use super::sessions::Sessions;
use crate::transport::Share;

/// Whoever opened a websocket.
pub(super) struct Guest {
    pub(super) inside: Arc<Inside>,
    pub(super) sessions: Arc<Sessions<Live>>,
    pub(super) address: IpAddr,
    /// The page it runs in, if a browser says one.
    pub(super) origin: Option<String>,
    /// The host it was opened at, as the client says.
    pub(super) host: Option<String>,
    /// Whether it offers the version that is spoken here.
    pub(super) speaks: bool,
    /// Its place among those of its address that did not say who they are.
    pub(super) _share: Share,
}
