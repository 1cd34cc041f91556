//! What is remembered of the store so that a request need not ask it: apps, secrets, roles, checked sessions.
//!
//! Invariant: an entry is used only while the version it was read under is the present one. The version is taken
//! *before* the store is read, so an entry read while something was being ended is never used afterwards.

use std::hash::Hash;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use quick_cache::sync::Cache;

use super::LiveSession;
use super::authenticate::OpenSecret;
use crate::app::App;
use crate::clock::Timestamp;
use crate::id::{AppId, RoleId};
use crate::role::Permissions;

/// Apps, secrets and roles remembered; each is small, and a server of more than this many busy apps asks its store.
const OBJECTS_MAX: usize = 10_000;
/// Ending one session forgets one in this many of those remembered.
const SHARDS: usize = 256;

pub(super) struct Catalog {
    /// Counts changes that may touch anything.
    changes: AtomicU64,
    /// Count ends of single sessions, by session number.
    ends: Box<[AtomicU64]>,
    pub(super) apps: Versioned<AppId, Arc<App>>,
    pub(super) secrets: Versioned<[u8; 32], Arc<OpenSecret>>,
    pub(super) roles: Versioned<(AppId, RoleId), Arc<Permissions>>,
    sessions: Option<Versioned<u64, Arc<LiveSession>>>,
}

pub(super) struct Versioned<K, V>(Cache<K, (u64, V)>);

impl<K: Hash + Eq, V: Clone> Versioned<K, V> {
    fn new(capacity: usize) -> Self {
        Self(Cache::new(capacity))
    }

    pub(super) fn get(&self, key: &K, version: u64) -> Option<V> {
        self.0.get(key).filter(|(read_under, _)| *read_under == version).map(|(_, value)| value)
    }

    pub(super) fn insert(&self, key: K, version: u64, value: V) {
        self.0.insert(key, (version, value));
    }

    /// Forgets what is of no use any more.
    fn retain(&self, of_use: impl Fn(&K, u64, &V) -> bool) {
        self.0.retain(|key, (read_under, value)| of_use(key, *read_under, value));
    }
}

impl Catalog {
    pub(super) fn new(sessions_max: usize) -> Self {
        Self {
            changes: AtomicU64::new(0),
            ends: (0..SHARDS).map(|_| AtomicU64::new(0)).collect(),
            apps: Versioned::new(OBJECTS_MAX),
            secrets: Versioned::new(OBJECTS_MAX),
            roles: Versioned::new(OBJECTS_MAX),
            sessions: (sessions_max > 0).then(|| Versioned::new(sessions_max)),
        }
    }

    /// The version of apps, secrets and roles.
    pub(super) fn version(&self) -> u64 {
        self.changes.load(Ordering::SeqCst)
    }

    /// The version of session `number`. Both parts only grow, so their sum names the pair.
    pub(super) fn session_version(&self, number: u64) -> u64 {
        self.version().wrapping_add(self.shard(number).load(Ordering::SeqCst))
    }

    pub(super) fn session(&self, number: u64) -> Option<Arc<LiveSession>> {
        self.sessions.as_ref()?.get(&number, self.session_version(number))
    }

    pub(super) fn sessions_len(&self) -> usize {
        self.sessions.as_ref().map_or(0, |sessions| sessions.0.len())
    }

    pub(super) fn remember_session(&self, number: u64, version: u64, session: Arc<LiveSession>) {
        if let Some(sessions) = &self.sessions {
            sessions.insert(number, version, session);
        }
    }

    /// Something changed that any entry may stand on.
    pub(super) fn forget_all(&self) {
        self.changes.fetch_add(1, Ordering::SeqCst);
    }

    /// One session ended or changed.
    pub(super) fn forget_session(&self, number: u64) {
        self.shard(number).fetch_add(1, Ordering::SeqCst);
    }

    /// Gives back what would not be used again: what was read under another version, and sessions whose time is over.
    pub(super) fn sweep(&self, now: Timestamp) {
        let version = self.version();
        self.apps.retain(|_, read_under, _| read_under == version);
        self.secrets.retain(|_, read_under, _| read_under == version);
        self.roles.retain(|_, read_under, _| read_under == version);
        if let Some(sessions) = &self.sessions {
            let fresh = |number: &u64, read_under| read_under == self.session_version(*number);
            sessions.retain(|number, read_under, session| fresh(number, read_under) && now < session.record.expires_at);
        }
    }

    fn shard(&self, number: u64) -> &AtomicU64 {
        #[expect(clippy::cast_possible_truncation, reason = "reduced to the number of shards")]
        let at = (number % SHARDS as u64) as usize;
        &self.ends[at]
    }
}
