//! Whether all that a request asks for finds room, looked at before any of it is done.

use std::collections::HashSet;
use std::sync::Arc;

use respoke_core::id::{AppId, GroupName};

use super::crowd::Seated;
use super::{Caps, Connection, Full, Registry};

impl Registry {
    /// Whether connections of an app can join groups, all of them all. Others may still come before they do.
    ///
    /// # Errors
    ///
    /// Says which limit is in the way.
    pub(crate) fn room_for(
        &self,
        app: AppId,
        connections: &[Arc<Connection>],
        groups: &[GroupName],
        caps: Caps,
    ) -> Result<(), Full> {
        let full = self.read(app, |app| {
            for connection in connections {
                let Some(seat) = app.connections.get(&connection.id) else { continue };
                // As a rule there is far more room than for all that is asked for, and nothing has to be looked up.
                if exceed(seat.groups.len(), groups.len(), caps.groups) {
                    let new: HashSet<_> = groups.iter().filter(|group| !seat.groups.contains(*group)).collect();
                    if exceed(seat.groups.len(), new.len(), caps.groups) {
                        return Some(Full::Connection);
                    }
                }
            }
            for group in groups {
                let crowd = app.groups.get(group);
                let members = crowd.map(|crowd| &crowd.members);
                let mut count = members.map_or(0, Seated::len);
                if exceed(count, connections.len(), caps.members) {
                    // Who is gone takes nobody's place.
                    count -= app.gone_in(crowd);
                    let is_new = |connection: &&Arc<Connection>| {
                        members.is_none_or(|members| !members.contains_key(&connection.id))
                    };
                    let new = connections.iter().filter(is_new).count();
                    if exceed(count, new, caps.members) {
                        return Some(Full::Group);
                    }
                }
            }
            None
        });
        full.map_or(Ok(()), Err)
    }
}

fn exceed(count: usize, more: usize, most: Option<u32>) -> bool {
    most.is_some_and(|most| more > 0 && count + more > most as usize)
}
