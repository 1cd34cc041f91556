//! The part of the store that keeps it healthy: upkeep, and who does it.

use std::time::Duration;

use async_trait::async_trait;

use super::node::Node;
use super::store_error::StoreError;
use crate::clock::Timestamp;
use crate::seal::Sealer;

/// How long dead rows are kept.
#[derive(Clone, Copy, Debug)]
pub struct Upkeep {
    /// Tokens and sessions that were over before this are removed.
    pub dead_before: Timestamp,
    /// Audit rows older than this are removed.
    pub audit_before: Timestamp,
    /// Rows of everyday actions beyond the newest this many of the audit log are removed, oldest first.
    pub audit_rows_max: u64,
    /// Idempotency keys older than this are removed.
    pub keys_before: Timestamp,
    /// Group messages older than this are removed.
    pub messages_before: Timestamp,
    /// Messages of one group beyond this many are removed, oldest first.
    pub messages_per_group_max: u64,
    /// Call reports older than this are removed.
    pub call_reports_before: Timestamp,
    /// Call reports of one app beyond this many are removed, oldest first; no app's reports push out another's.
    pub call_reports_per_app_max: u64,
    /// Push tokens that were not registered or used since this are removed.
    pub push_tokens_before: Timestamp,
    /// The present.
    pub now: Timestamp,
}

/// What one step of upkeep did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Repair {
    /// Rows removed.
    pub removed: u64,
    /// Whether the step reached the end of what there is to look at.
    pub pass_complete: bool,
    /// Live sessions counted in the pass that this step completed.
    pub sessions_live: u64,
}

/// What came of asking for a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Lease {
    /// Whoever asked holds it.
    Held,
    /// Another does.
    OfAnother,
}

/// Keeping the store healthy.
#[async_trait]
pub trait MaintenanceStore: Send + Sync {
    /// The key under which this database's tokens are sealed.
    fn sealer(&self) -> Sealer;
    /// What is known to speak against the database, without asking it.
    fn sound(&self) -> Result<(), StoreError>;
    /// Commits something and reads it back.
    async fn check(&self) -> Result<(), StoreError>;
    /// Brings what was committed to where a lost log cannot take it along.
    async fn fold(&self) -> Result<(), StoreError>;
    /// Removes one small batch of what is dead, going on where the last step stopped.
    ///
    /// That is tokens, sessions, audit rows and keys by the times given, changes that nobody needs to follow any more,
    /// and in the end what nothing stands on any more: the marks and past bans of endpoints, and secrets that were
    /// revoked or expired before `audit_before`. A step that fails may have removed some of it, whatever the failure says
    /// of what was written.
    async fn upkeep(&self, upkeep: Upkeep) -> Result<Repair, StoreError>;
    /// Takes the lease of upkeep, or makes it as long again, so that of several processes on one database one does it.
    ///
    /// It ends after `length` by the clock of the database, and is another's then; all ask for one length. A later life of
    /// the node that has it goes on with it, and an earlier one does not. Nothing has to be fenced by it: steps that two take
    /// at once remove what is dead, each of it once.
    async fn lease_upkeep(&self, node: Node, length: Duration) -> Result<Lease, StoreError>;
    /// Gives the lease back before its end, if `node` has it.
    async fn give_upkeep_back(&self, node: Node) -> Result<(), StoreError>;
    /// Waits until something was ended that leaves rows for upkeep to remove, which somebody may wait for the room of. What
    /// was ended since the last wait ends this one at once. There is one waiter.
    async fn something_ended(&self);
    /// Finishes what waits, then closes. Later calls fail.
    async fn close(&self);
}
