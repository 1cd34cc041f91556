//! What is remembered of the store, so that a request need not ask it: apps, secrets, roles, checked sessions.
//!
//! The catalog counts changes. Whoever reads something from the store takes the count *before* that, and it is
//! remembered with what was read. Each change raises the count and leaves the new number as a mark on its app, or on
//! its session. What was remembered with a lower number than the mark may be out of date, and is not used any more. It
//! is the rule by which tokens end (docs/adr/0002).
//!
//! Invariant: once [`Catalog::changed`] has returned, nothing is answered from here that was changed before the
//! question.
//! Invariant: nothing is answered from here unless the feed was followed to its end within the last [`FEED_AGE_MAX`].

use std::hash::Hash;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use quick_cache::sync::Cache;
use tokio::time::Instant;

use super::caller::{LiveSession, OpenSecret};
use crate::app::App;
use crate::clock::Timestamp;
use crate::id::{AppId, RoleId};
use crate::ports::Change;
use crate::role::Permissions;

/// Apps, secrets and roles remembered; each is small, and a server of more than this many busy apps asks its store.
const OBJECTS_MAX: usize = 10_000;
/// Marks of apps. Of more apps than this some share one, and are forgotten together.
const APP_MARKS: usize = 4_096;
/// Marks of sessions: ending one forgets one in this many of those remembered.
const SESSION_MARKS: usize = 256;
/// How old what is known of changes may be for what is remembered to be used: five looks at the feed. It is as old as the last look
/// that found the feed followed to its end.
pub const FEED_AGE_MAX: Duration = Duration::from_secs(5);

pub(super) struct Catalog {
    /// How many changes there were. Read before the store is, it says how old an entry is.
    count: AtomicU64,
    /// Held while a change is marked, so that the count never runs ahead of the marks.
    marking: Mutex<()>,
    app_marks: Box<[AtomicU64]>,
    session_marks: Box<[AtomicU64]>,
    /// Until when the marks are known to be all there are, in nanoseconds since `began`.
    trusted_until: AtomicU64,
    began: Instant,
    apps: Entries<AppId, Arc<App>>,
    secrets: Entries<[u8; 32], Arc<OpenSecret>>,
    roles: Entries<(AppId, RoleId), Arc<Permissions>>,
    sessions: Option<Entries<u64, Arc<LiveSession>>>,
}

/// How many changes there were when the store was about to be read.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Age(u64);

type Entries<K, V> = Cache<K, (Age, V)>;

impl Catalog {
    pub(super) fn new(sessions_max: usize) -> Self {
        let marks = |marks: usize| (0..marks).map(|_| AtomicU64::new(0)).collect();
        Self {
            count: AtomicU64::new(0),
            marking: Mutex::new(()),
            app_marks: marks(APP_MARKS),
            session_marks: marks(SESSION_MARKS),
            trusted_until: AtomicU64::new(0),
            began: Instant::now(),
            apps: Cache::new(OBJECTS_MAX),
            secrets: Cache::new(OBJECTS_MAX),
            roles: Cache::new(OBJECTS_MAX),
            sessions: (sessions_max > 0).then(|| Cache::new(sessions_max)),
        }
    }

    /// The age of what the store is read for from here on.
    pub(super) fn age(&self) -> Age {
        Age(self.count.load(Ordering::SeqCst))
    }

    pub(super) fn app(&self, id: AppId) -> Option<Arc<App>> {
        self.find(&self.apps, &id, |_| self.mark_of(id))
    }

    pub(super) fn remember_app(&self, age: Age, app: Arc<App>) {
        self.apps.insert(app.id, (age, app));
    }

    pub(super) fn secret(&self, hash: &[u8; 32]) -> Option<Arc<OpenSecret>> {
        self.find(&self.secrets, hash, |secret| self.mark_of(secret.app.id))
    }

    pub(super) fn remember_secret(&self, hash: [u8; 32], age: Age, secret: Arc<OpenSecret>) {
        self.secrets.insert(hash, (age, secret));
    }

    pub(super) fn role(&self, app: AppId, id: RoleId) -> Option<Arc<Permissions>> {
        self.find(&self.roles, &(app, id), |_| self.mark_of(app))
    }

    pub(super) fn remember_role(&self, app: AppId, id: RoleId, age: Age, permissions: Arc<Permissions>) {
        self.roles.insert((app, id), (age, permissions));
    }

    pub(super) fn session(&self, number: u64) -> Option<Arc<LiveSession>> {
        self.find(self.sessions.as_ref()?, &number, |session| self.mark_of_session(session))
    }

    pub(super) fn remember_session(&self, age: Age, session: Arc<LiveSession>) {
        if let Some(sessions) = &self.sessions {
            sessions.insert(session.record.number, (age, session));
        }
    }

    pub(super) fn sessions_len(&self) -> usize {
        self.sessions.as_ref().map_or(0, Cache::len)
    }

    fn find<K: Hash + Eq, V: Clone>(
        &self,
        entries: &Entries<K, V>,
        key: &K,
        mark: impl FnOnce(&V) -> Age,
    ) -> Option<V> {
        if !self.is_trusted() {
            return None;
        }
        entries.get(key).filter(|(age, entry)| *age >= mark(entry)).map(|(_, entry)| entry)
    }

    /// Forgets what may stand on what changed.
    pub(super) fn changed(&self, change: &Change) {
        match change {
            Change::Session(number) => self.mark(std::slice::from_ref(self.session_mark(*number))),
            Change::Endpoint(app, _) | Change::Role(app, _) | Change::Secret(app, _) | Change::App(app) => {
                self.mark(std::slice::from_ref(self.app_mark(*app)));
            }
            // Nothing is remembered of admins, nor of nodes.
            Change::Admin(_) | Change::Nodes => {}
        }
    }

    /// Forgets everything.
    pub(super) fn anything_changed(&self) {
        self.mark(&self.app_marks);
    }

    /// The marks come first: who then reads the new count finds them, and whose entry has the old one is behind them.
    fn mark(&self, marks: &[AtomicU64]) {
        let _marking = self.marking.lock();
        let number = self.count.load(Ordering::SeqCst) + 1;
        for mark in marks {
            mark.store(number, Ordering::SeqCst);
        }
        self.count.store(number, Ordering::SeqCst);
    }

    /// Notes that all changes were marked that the feed held at `asked_at`.
    pub(super) fn followed(&self, asked_at: Instant) {
        let until = (asked_at + FEED_AGE_MAX).saturating_duration_since(self.began);
        self.trusted_until.fetch_max(u64::try_from(until.as_nanos()).unwrap_or(u64::MAX), Ordering::SeqCst);
    }

    /// How long ago all changes were marked that there were. Before the first time it counts from the beginning, as too long.
    pub(super) fn feed_age(&self) -> Duration {
        let until = Duration::from_nanos(self.trusted_until.load(Ordering::SeqCst));
        (self.began.elapsed() + FEED_AGE_MAX).saturating_sub(until)
    }

    /// Whether all changes are marked, but for those of the last few seconds that others made.
    pub(super) fn is_trusted(&self) -> bool {
        self.feed_age() < FEED_AGE_MAX
    }

    /// Gives back what would not be used again: what is older than its mark, and sessions whose time is over.
    pub(super) fn sweep(&self, now: Timestamp) {
        self.apps.retain(|id, (age, _)| *age >= self.mark_of(*id));
        self.secrets.retain(|_, (age, secret)| *age >= self.mark_of(secret.app.id));
        self.roles.retain(|(app, _), (age, _)| *age >= self.mark_of(*app));
        if let Some(sessions) = &self.sessions {
            let lasts = |session: &LiveSession| now < session.record.expires_at;
            sessions.retain(|_, (age, session)| *age >= self.mark_of_session(session) && lasts(session));
        }
    }

    fn mark_of(&self, app: AppId) -> Age {
        Age(self.app_mark(app).load(Ordering::SeqCst))
    }

    fn mark_of_session(&self, session: &LiveSession) -> Age {
        let own = Age(self.session_mark(session.record.number).load(Ordering::SeqCst));
        own.max(self.mark_of(session.record.grant.app_id))
    }

    fn app_mark(&self, app: AppId) -> &AtomicU64 {
        one_of(&self.app_marks, app.uuid().as_u64_pair().1)
    }

    fn session_mark(&self, number: u64) -> &AtomicU64 {
        one_of(&self.session_marks, number)
    }
}

fn one_of(marks: &[AtomicU64], key: u64) -> &AtomicU64 {
    #[expect(clippy::cast_possible_truncation, reason = "reduced to the number of marks")]
    let at = (key % marks.len() as u64) as usize;
    &marks[at]
}

#[cfg(test)]
mod tests {
    use crate::app::AppSettings;
    use crate::grant::{Grant, Marks};
    use crate::id::{AccountId, AdminId, EndpointId, SecretId};
    use crate::secret::Secret;
    use crate::session::SessionRecord;

    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

    fn app() -> Arc<App> {
        Arc::new(App {
            id: AppId::random(),
            account_id: AccountId::random(),
            settings: AppSettings::named("app".to_owned()),
            created_at: NOW,
            updated_at: NOW,
            marks: Marks::default(),
        })
    }

    fn session(app: &App, number: u64) -> Arc<LiveSession> {
        let endpoint_id = EndpointId::parse("alice").unwrap();
        Arc::new(LiveSession::new(SessionRecord {
            number,
            token_number: number,
            grant: Grant { app_id: app.id, endpoint_id, role_id: None, secret_id: None },
            hash: Secret::new("text".to_owned()).hash(),
            born: 1,
            created_at: NOW,
            expires_at: NOW.plus_secs(60),
            last_seen_at: NOW,
            address: String::new(),
            end: None,
        }))
    }

    /// A catalog that followed the feed, with everything of two apps, which share no mark.
    struct Scene {
        catalog: Catalog,
        apps: [Arc<App>; 2],
        role: RoleId,
    }

    impl Scene {
        fn set() -> Self {
            let catalog = Catalog::new(10);
            let one = app();
            let two = std::iter::repeat_with(app)
                .find(|two| !std::ptr::eq(catalog.app_mark(two.id), catalog.app_mark(one.id)))
                .unwrap();
            let scene = Self { catalog, apps: [one, two], role: RoleId::random() };
            scene.catalog.followed(Instant::now());
            scene.remember(scene.catalog.age());
            scene
        }

        fn remember(&self, age: Age) {
            for (nth, app) in (0..).zip(&self.apps) {
                self.catalog.remember_app(age, app.clone());
                self.catalog.remember_role(app.id, self.role, age, Arc::new(Permissions::default()));
                let touched_at = std::sync::atomic::AtomicI64::new(0);
                let secret = OpenSecret { id: SecretId::random(), app: app.clone(), expires_at: None, touched_at };
                self.catalog.remember_secret([nth; 32], age, Arc::new(secret));
                self.catalog.remember_session(age, session(app, u64::from(nth)));
            }
        }

        /// Of each app: whether app, role, secret and session are known.
        fn known(&self) -> [[bool; 4]; 2] {
            [0, 1].map(|nth| {
                let app = &self.apps[usize::from(nth)];
                [
                    self.catalog.app(app.id).is_some(),
                    self.catalog.role(app.id, self.role).is_some(),
                    self.catalog.secret(&[nth; 32]).is_some(),
                    self.catalog.session(u64::from(nth)).is_some(),
                ]
            })
        }
    }

    const ALL: [bool; 4] = [true; 4];
    const NONE: [bool; 4] = [false; 4];

    #[test]
    fn what_changes_in_an_app_is_forgotten_of_that_app_alone() {
        let endpoint = EndpointId::parse("alice").unwrap();
        let changes: [&dyn Fn(AppId) -> Change; 4] = [
            &Change::App,
            &|app| Change::Role(app, RoleId::random()),
            &|app| Change::Secret(app, SecretId::random()),
            &|app| Change::Endpoint(app, endpoint.clone()),
        ];
        for change in changes {
            let scene = Scene::set();
            assert_eq!(scene.known(), [ALL, ALL]);
            scene.catalog.changed(&change(scene.apps[0].id));
            assert_eq!(scene.known(), [NONE, ALL]);
            scene.catalog.sweep(NOW);
            assert_eq!(scene.catalog.sessions_len(), 1);
            scene.remember(scene.catalog.age());
            assert_eq!(scene.known(), [ALL, ALL]);
        }
    }

    #[test]
    fn a_session_is_forgotten_alone_and_an_admin_stands_for_nothing() {
        let scene = Scene::set();
        scene.catalog.changed(&Change::Session(1));
        scene.catalog.changed(&Change::Admin(AdminId::random()));
        assert_eq!(scene.known(), [ALL, [true, true, true, false]]);
    }

    #[test]
    fn what_was_read_before_a_change_is_not_used_after_it() {
        let scene = Scene::set();
        let age = scene.catalog.age();
        scene.catalog.changed(&Change::App(scene.apps[0].id));
        scene.remember(age);
        assert_eq!(scene.known(), [NONE, ALL]);
        scene.remember(scene.catalog.age());
        assert_eq!(scene.known(), [ALL, ALL]);
        scene.catalog.anything_changed();
        assert_eq!(scene.known(), [NONE, NONE]);
    }

    #[test]
    fn who_has_not_followed_the_feed_uses_nothing() {
        let scene = Scene::set();
        scene.catalog.trusted_until.store(0, Ordering::SeqCst);
        assert_eq!(scene.known(), [NONE, NONE]);
        assert!(scene.catalog.feed_age() >= FEED_AGE_MAX);
        scene.catalog.followed(Instant::now().checked_sub(FEED_AGE_MAX).unwrap_or(scene.catalog.began));
        assert_eq!(scene.known(), [NONE, NONE]);
        scene.catalog.followed(Instant::now());
        assert!(scene.catalog.feed_age() < FEED_AGE_MAX);
        assert_eq!(scene.known(), [ALL, ALL], "nothing that it did not hear of was lost");
    }
}
