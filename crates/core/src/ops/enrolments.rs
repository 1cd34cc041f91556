//! Second factors about to be taken up.

use parking_lot::Mutex;

use crate::clock::Timestamp;
use crate::id::AdminId;
use crate::totp::{SealedTotp, TotpSecret};

/// How long an enrolment waits for its first code.
const PENDING_SECS: i64 = 600;
/// Enrolments that wait at once; the oldest gives way.
const PENDING_MAX: usize = 100;

/// Those that wait for their first code. In memory of the node where they were begun: the secret is known in clear, and is
/// written nowhere. Other nodes ask it about a code. Who is cut off begins anew.
#[derive(Default)]
pub(super) struct Enrolments(Mutex<Vec<Enrolment>>);

pub(super) struct Enrolment {
    pub(super) admin_id: AdminId,
    pub(super) secret: TotpSecret,
    pub(super) sealed: SealedTotp,
    /// What the password was hashed to when it sealed the secret.
    pub(super) password_hash: String,
    pub(super) since: Timestamp,
}

impl Enrolment {
    fn waits_at(&self, now: Timestamp) -> bool {
        now < self.since.plus_secs(PENDING_SECS)
    }
}

impl Enrolments {
    /// Adds one, in the place of the admin's own.
    pub(super) fn put(&self, enrolment: Enrolment) {
        let mut waiting = self.0.lock();
        waiting.retain(|other| other.admin_id != enrolment.admin_id && other.waits_at(enrolment.since));
        if waiting.len() >= PENDING_MAX {
            waiting.remove(0);
        }
        waiting.push(enrolment);
    }

    /// Looks at the enrolment of an admin.
    pub(super) fn look<T>(&self, id: AdminId, now: Timestamp, look: impl FnOnce(&Enrolment) -> T) -> Option<T> {
        let waiting = self.0.lock();
        waiting.iter().find(|other| other.admin_id == id && other.waits_at(now)).map(look)
    }

    /// Forgets the enrolment of an admin.
    pub(super) fn remove(&self, id: AdminId) {
        self.0.lock().retain(|other| other.admin_id != id);
    }
}
