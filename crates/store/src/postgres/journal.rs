//! What this process has taken away lately, so that it can do so again on a server that was promoted without having heard of it.
//!
//! Invariant: what is here was committed, or is in doubt: then nobody says that it was not, and whoever repeats it may be told that
//! it is over. What was committed on a server that was left behind meanwhile is told as in doubt.
//! Invariant: changes are compared by their numbers within one history alone. Two servers that were promoted, one without
//! knowing of the other, give the same numbers to different changes.
//!
//! It is bounded by age and by what it takes in memory: 3 MiB of redemptions and 8 MiB of all else.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use tokio::time::Instant;

use super::deeds::{Deed, Redeemed, Taken};
use super::places::{Settled, Standing};

/// For how long deeds are kept: no standby that is of use lags so far behind.
const KEPT: Duration = Duration::from_secs(600);
/// What deeds may take. A plain one takes some 160 bytes, so these are fifty thousand.
const DEEDS_BYTES_MAX: usize = 8 << 20;
/// Redemptions, of 40 bytes each. Of more the oldest go: tokens that were not redeemed on the new server are spent there
/// anyhow, and then told as revoked.
const REDEMPTIONS_MAX: usize = 60_000;

/// What was taken away lately.
#[derive(Default)]
pub(super) struct Journal {
    kept: Mutex<Kept>,
    /// How often it was begun, or ended, to write again what a server lacks. It is odd in between.
    era: AtomicU64,
    /// Whether something [came too late](Entry::is_late).
    has_late: AtomicBool,
    /// The history that its changes are numbered in.
    history: Mutex<Option<Settled>>,
}

/// What the stores that a process opens one after the other ended lately: the next does again what the one before had ended. Clones
/// are the same. It is of no use to stores that are open at once.
#[derive(Clone, Default)]
pub struct EndedLately(pub(super) Arc<Journal>);

impl std::fmt::Debug for EndedLately {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EndedLately").finish_non_exhaustive()
    }
}

#[derive(Default)]
struct Kept {
    deeds: VecDeque<Entry>,
    bytes: usize,
    redeemed: VecDeque<(Instant, Redeemed)>,
    fallen: Fallen,
    /// Since when nothing gets older: a server takes another's place, which may take long.
    still_since: Option<Instant>,
    /// How many were kept so far, and how many when it was asked last what is to be written again.
    count: u64,
    asked: u64,
}

struct Entry {
    since: Instant,
    /// The era that its transaction began in.
    era: u64,
    /// The change that it was committed with, or [`NO_CHANGE`].
    change: i64,
    /// How many were kept before.
    nth: u64,
    /// Whether it was kept when the database went on elsewhere already, or was about to, and was not written again there.
    is_late: bool,
    deed: Deed,
}

impl Entry {
    fn bytes(&self) -> usize {
        size_of::<Self>() + self.deed.more_bytes()
    }

    /// Whether it was kept behind one that it came before: the answer to its commit was long in coming, or never came.
    const fn comes_before(&self, other: &Self) -> bool {
        self.era < other.era || (self.era == other.era && self.change < other.change && other.change != NO_CHANGE)
    }
}

/// In place of the number of a change: it was none, or was committed with none, or in another history than the present one. Any server
/// may lack it.
const NO_CHANGE: i64 = i64::MAX;

/// What there was no room for, though it was not old.
#[derive(Default)]
struct Fallen {
    count: u64,
    last: Option<Instant>,
    /// The newest change of these, or [`NO_CHANGE`].
    change: i64,
}

/// What is to be written again.
#[derive(Default)]
pub(super) struct Again {
    pub(super) deeds: Vec<Deed>,
    pub(super) redeemed: Vec<Redeemed>,
    /// How many were not kept that it might have been.
    pub(super) forgotten: u64,
}

impl Journal {
    /// Begins on a server where this was settled. Returns the history that it goes on from: another store's, unless that was of another
    /// system.
    pub(super) fn begin(&self, settled: Settled) -> Settled {
        let mut history = self.history.lock();
        let known = history.filter(|known| settled.lineage.after(known.lineage) != Standing::Stranger);
        if known.is_none() {
            *self.kept.lock() = Kept::default();
            self.has_late.store(false, Ordering::Release);
        }
        *history.insert(known.unwrap_or(settled))
    }

    /// Goes on in another history.
    pub(super) fn go_on(&self, settled: Settled) {
        *self.history.lock() = Some(settled);
    }

    /// When a transaction begins: what it takes away belongs to this era.
    pub(super) fn era(&self) -> u64 {
        self.era.load(Ordering::Acquire)
    }

    /// Keeps what a transaction of `era` took away, which was committed, and leaves it empty. False: the server that it was
    /// committed on is left behind, or was meanwhile.
    pub(super) fn keep(&self, taken: &mut Taken, era: u64) -> bool {
        let goes_on = || self.era() == era && !is_between(era);
        if taken.is_empty() {
            return goes_on();
        }
        self.take(taken, era);
        goes_on()
    }

    /// Keeps what a transaction of `era` took away of whose commit nobody knows what came, and leaves it empty.
    pub(super) fn keep_in_doubt(&self, taken: &mut Taken, era: u64) {
        if !taken.is_empty() {
            self.take(taken, era);
        }
    }

    /// Has nothing get older until [what is lacking is written](Self::note_again).
    pub(super) fn stand_still(&self) {
        self.kept.lock().still_since.get_or_insert_with(Instant::now);
    }

    /// Has what was ended get older again: nobody takes the server's place.
    pub(super) fn stand_still_no_more(&self) {
        self.kept.lock().still_since = None;
    }

    /// Begins to write again what a server lacks. Until that is over, nothing is confirmed.
    pub(super) fn begin_again(&self) -> Between<'_> {
        let _kept = self.kept.lock();
        self.era.fetch_add(1, Ordering::AcqRel);
        Between(self)
    }

    /// What a server may lack that has what was committed with changes up to `known`.
    pub(super) fn lacking(&self, known: i64) -> Again {
        let mut kept = self.kept.lock();
        let now = kept.forget(Instant::now());
        kept.asked = kept.count;
        let deeds = kept.deeds.iter().filter(|entry| entry.change > known).map(|entry| entry.deed.clone()).collect();
        let fallen = &kept.fallen;
        let recent = fallen.last.is_some_and(|last| now.saturating_duration_since(last) < KEPT);
        let forgotten = if recent && fallen.change > known { fallen.count } else { 0 };
        Again { deeds, redeemed: kept.redeemed.iter().map(|(_, redeemed)| *redeemed).collect(), forgotten }
    }

    /// Notes that all of it was written again with change `number`, on a server that has changes up to `known`. It is as old there as if
    /// it were done now.
    pub(super) fn note_again(&self, known: i64, number: i64) {
        let (mut kept, now) = (self.kept.lock(), Instant::now());
        for entry in kept.deeds.iter_mut().filter(|entry| entry.change > known) {
            entry.since = now;
            if entry.change != NO_CHANGE {
                entry.change = number;
            }
        }
        for (since, _) in &mut kept.redeemed {
            *since = now;
        }
        kept.fallen = Fallen::default();
        kept.still_since = None;
        self.note_late(kept);
    }

    /// Whether something came too late for what was written again.
    pub(super) fn has_late(&self) -> bool {
        self.has_late.load(Ordering::Acquire)
    }

    /// What came too late for what was written again: it is in doubt, and who repeats it may be told that it is over.
    pub(super) fn late(&self) -> Again {
        let mut kept = self.kept.lock();
        kept.forget(Instant::now());
        kept.asked = kept.count;
        let late = kept.deeds.iter().filter(|entry| entry.is_late).map(|entry| entry.deed.clone());
        Again { deeds: late.collect(), ..Again::default() }
    }

    /// Notes that all of that was written.
    pub(super) fn note_late_written(&self) {
        self.note_late(self.kept.lock());
    }

    fn note_late(&self, mut kept: MutexGuard<'_, Kept>) {
        let asked = kept.asked;
        for entry in kept.deeds.iter_mut().filter(|entry| entry.nth < asked) {
            entry.is_late = false;
        }
        self.has_late.store(kept.deeds.iter().any(|entry| entry.is_late), Ordering::Release);
    }

    fn take(&self, taken: &mut Taken, era: u64) {
        let mut kept = self.kept.lock();
        let present = self.era();
        if !taken.deeds.is_empty() && era != present {
            self.has_late.store(true, Ordering::Release);
        }
        kept.take(taken, era, present);
    }
}

/// Whether a server's place was being taken in this era.
pub(super) const fn is_between(era: u64) -> bool {
    era % 2 == 1
}

/// What is lacking is written again until this is dropped.
pub(super) struct Between<'a>(&'a Journal);

impl Drop for Between<'_> {
    fn drop(&mut self) {
        self.0.era.fetch_add(1, Ordering::AcqRel);
    }
}

impl Kept {
    /// Takes what a transaction took away, each behind what came before it.
    fn take(&mut self, taken: &mut Taken, era: u64, present: u64) {
        let now = Instant::now();
        let change = taken.change.filter(|_| era == present).unwrap_or(NO_CHANGE);
        for deed in taken.deeds.drain(..) {
            let entry = Entry { since: now, era, change, nth: self.count, is_late: era != present, deed };
            self.bytes += entry.bytes();
            self.count += 1;
            let later = self.deeds.iter().rev().take_while(|other| entry.comes_before(other)).count();
            self.deeds.insert(self.deeds.len() - later, entry);
        }
        self.redeemed.extend(taken.redeemed.drain(..).map(|redeemed| (now, redeemed)));
        self.forget(now);
    }

    /// Forgets what is old, and what there is no room for. Returns the instant by which that was judged.
    fn forget(&mut self, now: Instant) -> Instant {
        let now = self.still_since.unwrap_or(now);
        let is_old = |since: Instant| now.saturating_duration_since(since) >= KEPT;
        while let Some(entry) = self.deeds.pop_front_if(|entry| self.bytes > DEEDS_BYTES_MAX || is_old(entry.since)) {
            self.bytes -= entry.bytes();
            if !is_old(entry.since) {
                self.fallen.count += 1;
                self.fallen.last = Some(now);
                self.fallen.change = self.fallen.change.max(entry.change);
            }
        }
        let over = self.redeemed.len().saturating_sub(REDEMPTIONS_MAX);
        self.redeemed.drain(..over);
        while self.redeemed.pop_front_if(|(since, _)| is_old(*since)).is_some() {}
        now
    }
}

#[cfg(test)]
mod tests {
    use respoke_core::clock::Timestamp;
    use respoke_core::id::AdminId;

    use super::*;
    use crate::postgres::deeds::OfAdmin;

    fn taken(change: i64, step: i64) -> Taken {
        let admin = AdminId::from_uuid(uuid::Uuid::from_u128(7));
        let deed = Deed::OfAdmin { admin, deed: OfAdmin::StepUsed(step), at: Timestamp::from_secs(1) };
        Taken { deeds: vec![deed], redeemed: Vec::new(), change: Some(change) }
    }

    fn steps(again: &Again) -> Vec<i64> {
        let step = |deed: &Deed| match deed {
            Deed::OfAdmin { deed: OfAdmin::StepUsed(step), .. } => *step,
            other => panic!("{other:?}"),
        };
        again.deeds.iter().map(step).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_server_lacks_is_written_again_while_it_is_young() {
        let journal = Journal::default();
        assert!(journal.keep(&mut taken(5, 50), 0));
        tokio::time::advance(KEPT / 2).await;
        assert!(journal.keep(&mut taken(6, 60), 0));
        assert!(journal.keep(&mut Taken { change: None, ..taken(0, 70) }, 0));
        assert_eq!(steps(&journal.lacking(4)), [50, 60, 70]);
        assert_eq!(steps(&journal.lacking(5)), [60, 70], "the server has the change");
        tokio::time::advance(KEPT / 2).await;
        assert_eq!(steps(&journal.lacking(4)), [60, 70]);
        journal.note_again(5, 9);
        assert_eq!(steps(&journal.lacking(8)), [60, 70], "it was written again with a later change");
        assert_eq!(steps(&journal.lacking(9)), [70]);
    }

    #[test]
    fn nothing_is_confirmed_while_a_servers_place_is_taken_nor_what_was_begun_before() {
        let journal = Journal::default();
        assert!(journal.keep(&mut Taken::default(), 0));
        let between = journal.begin_again();
        assert!(is_between(journal.era()));
        for (era, change) in [(0, 7), (1, 8)] {
            assert!(!journal.keep(&mut taken(change, 80), era), "it was committed on a server that is left behind");
            assert!(!journal.keep(&mut Taken::default(), era), "whatever it is");
        }
        drop(between);
        for era in [0, 1] {
            assert!(!journal.keep(&mut taken(9, 90), era));
        }
        assert!(journal.keep(&mut taken(9, 90), 2) && journal.era() == 2);
        assert_eq!(steps(&journal.lacking(6)).len(), 5, "if nothing came of that, the server before goes on with it");
    }

    #[test]
    fn what_is_in_doubt_is_written_again_in_the_place_that_it_has_among_the_others() {
        let journal = Journal::default();
        assert!(journal.keep(&mut taken(4, 40), 0));
        assert!(journal.keep(&mut taken(6, 60), 0));
        assert!(journal.keep(&mut taken(7, 70), 0));
        journal.keep_in_doubt(&mut taken(5, 50), 0);
        assert_eq!(steps(&journal.lacking(3)), [40, 50, 60, 70], "what was done behind it has the last word");
        drop(journal.begin_again());
        assert!(journal.keep(&mut taken(1, 80), 2));
        journal.keep_in_doubt(&mut taken(9, 90), 0);
        assert_eq!(steps(&journal.lacking(0)), [40, 50, 60, 70, 90, 80], "on the server before that");
        assert!(journal.keep(&mut Taken { change: None, ..taken(0, 99) }, 2));
        assert_eq!(steps(&journal.lacking(100)), [90, 99], "its number says nothing of the server that there is now");
        journal.note_again(0, 200);
        assert_eq!(steps(&journal.lacking(200)), [90, 99], "it came too late for what was written");
    }

    #[test]
    fn what_came_too_late_is_told_until_it_was_written() {
        let journal = Journal::default();
        assert!(journal.keep(&mut taken(4, 40), 0));
        journal.keep_in_doubt(&mut taken(5, 50), 0);
        let between = journal.begin_again();
        assert!(!journal.has_late(), "those are written now");
        assert!(!journal.keep(&mut taken(6, 60), 0));
        assert!(journal.has_late());
        assert_eq!(steps(&journal.lacking(3)), [40, 50, 60]);
        journal.keep_in_doubt(&mut taken(7, 70), 0);
        journal.note_again(3, 9);
        drop(between);
        journal.keep_in_doubt(&mut taken(8, 80), 0);
        assert!(journal.keep(&mut taken(10, 100), 2));
        assert_eq!((journal.has_late(), steps(&journal.late())), (true, vec![70, 80]));
        journal.keep_in_doubt(&mut taken(8, 90), 0);
        journal.note_late_written();
        assert_eq!((journal.has_late(), steps(&journal.late())), (true, vec![90]), "it came meanwhile");
        journal.note_late_written();
        assert!(!journal.has_late() && journal.late().deeds.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_gets_too_old_while_a_servers_place_is_taken() {
        let journal = Journal::default();
        assert!(journal.keep(&mut taken(5, 50), 0));
        journal.stand_still();
        tokio::time::advance(2 * KEPT).await;
        journal.stand_still();
        assert!(journal.keep(&mut taken(6, 60), 0));
        assert_eq!(steps(&journal.lacking(4)), [50, 60]);
        journal.note_again(4, 9);
        tokio::time::advance(KEPT / 2).await;
        assert_eq!(steps(&journal.lacking(4)), [50, 60], "it was written there now");
        tokio::time::advance(KEPT / 2).await;
        assert!(journal.lacking(4).deeds.is_empty(), "from then on it does");

        assert!(journal.keep(&mut taken(10, 100), 0));
        journal.stand_still();
        journal.stand_still_no_more();
        tokio::time::advance(KEPT).await;
        assert!(journal.lacking(4).deeds.is_empty(), "nobody took its place");
    }

    #[tokio::test(start_paused = true)]
    async fn it_takes_no_more_than_it_may_and_says_what_it_forgot() {
        let journal = Journal::default();
        let each = size_of::<Entry>() + taken(0, 0).deeds[0].more_bytes();
        let fit = DEEDS_BYTES_MAX / each;
        for number in 0..fit + 3 {
            let number = i64::try_from(number).unwrap();
            let redeemed = Redeemed { number, session: number, at: 0 };
            assert!(journal.keep(&mut Taken { redeemed: vec![redeemed; 2], ..taken(number, number) }, 0));
        }
        let again = journal.lacking(-1);
        assert_eq!(
            (again.deeds.len(), again.redeemed.len(), again.forgotten),
            (fit, REDEMPTIONS_MAX.min(2 * (fit + 3)), 3)
        );
        assert_eq!(journal.lacking(2).forgotten, 0, "the server has those");
        assert_eq!(journal.lacking(1).forgotten, 3);
        tokio::time::advance(KEPT).await;
        let again = journal.lacking(-1);
        assert_eq!((again.deeds.len(), again.redeemed.len(), again.forgotten), (0, 0, 0));
        assert_eq!(journal.kept.lock().bytes, 0);
    }

    #[test]
    fn an_entry_takes_what_is_said() {
        assert!(size_of::<Entry>() <= 160, "{}", size_of::<Entry>());
        assert!(size_of::<(Instant, Redeemed)>() <= 40);
    }
}
