//! Whether a socket may be opened.

use respoke_core::ops::{Caller, Credential};

/// Whether who shows this may open a socket.
pub(super) fn may_open(credential: &Credential, caller: &Caller, origin: Option<&str>) -> bool {
    let is_permitted = match caller {
        Caller::Endpoint { app, .. } => app.settings.permits_origin(origin),
        Caller::App { .. } | Caller::Admin { .. } | Caller::Anonymous => true,
    };
    is_permitted && !matches!(credential, Credential::None)
}
