//! Whether this node can be woken: whether notifications come to the connection by which it reads.
//!
//! A pooler that gives each transaction another connection takes `LISTEN` and never passes on what is heard. So the task that
//! reads listens on a channel of its own, and asks the task that writes to notify it. Meanwhile it says nothing: a pooler hands on
//! what comes to a connection while somebody has it.
//!
//! Even so one may come: if the pooler reads it together with the answer to `LISTEN`, or hands it on with the answer to what is said
//! next. So it has to come on its own channel, in its time, and [`TIMES`] in a row.

use std::time::Duration;

use parking_lot::Mutex;
use respoke_core::chance::Chance;
use tokio::sync::oneshot;

/// How long a notification may take.
const WITHIN: Duration = Duration::from_secs(1);
/// How often in a row a notification has to come.
const TIMES: usize = 3;
/// What the channels of probes begin with.
const CHANNEL: &str = "respoked_probe_";

#[derive(Default)]
pub(super) struct Probe {
    /// On which channel whoever writes is to notify.
    asked: Mutex<Option<String>>,
    /// On which channel that was done last.
    done: Mutex<Option<String>>,
    /// On which channel it is waited for, and by whom.
    waiting: Mutex<Option<(String, oneshot::Sender<()>)>>,
}

/// What a probe found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// Notifications come.
    Comes,
    /// They do not.
    Silence,
    /// Nobody could notify.
    Nothing,
}

impl Probe {
    /// A channel that is nobody else's.
    pub(super) fn channel(chance: &dyn Chance) -> String {
        format!("{CHANNEL}{:016x}", u64::from_be_bytes(chance.bytes()))
    }

    pub(super) fn is_on(channel: &str) -> bool {
        channel.starts_with(CHANNEL)
    }

    /// A notification came on the channel of a probe: of this one, or of one that is over.
    pub(super) fn note_came(&self, channel: &str) {
        if let Some((_, waits)) = self.waiting.lock().take_if(|(waited, _)| waited == channel) {
            // Whoever waited may have given up just now.
            let _ = waits.send(());
        }
    }

    /// Asks for a notification on a channel that is listened to, and waits for it.
    pub(super) async fn find(&self, channel: String, rouse: impl FnOnce()) -> Found {
        let (waits, came) = oneshot::channel();
        *self.waiting.lock() = Some((channel.clone(), waits));
        *self.asked.lock() = Some(channel.clone());
        rouse();
        let found = tokio::time::timeout(WITHIN, came).await;
        (*self.asked.lock(), *self.waiting.lock()) = (None, None);
        match found {
            Ok(Ok(())) => Found::Comes,
            Ok(Err(_)) | Err(_) if self.done.lock().as_ref() == Some(&channel) => Found::Silence,
            Ok(Err(_)) | Err(_) => Found::Nothing,
        }
    }

    /// What whoever writes is to do.
    pub(super) fn asked(&self) -> Option<String> {
        self.asked.lock().take()
    }

    /// Whoever writes has notified on a channel: on that of this probe, or of one that is over.
    pub(super) fn note_done(&self, channel: String) {
        *self.done.lock() = Some(channel);
    }
}

/// What was found by one probe after the other.
#[derive(Default)]
pub(super) struct InARow(usize);

impl InARow {
    /// What is known with one more of them. None: another one has to tell.
    pub(super) fn add(&mut self, found: Found) -> Option<Found> {
        match found {
            Found::Comes => {
                self.0 += 1;
                (self.0 >= TIMES).then_some(Found::Comes)
            }
            Found::Silence | Found::Nothing => Some(found),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_comes_for_another_probe_or_too_late_is_not_taken_for_its_own() {
        let probe = Probe::default();
        let own = async |comes_on: &str| {
            let (found, ()) = tokio::join!(probe.find("respoked_probe_2".into(), || {}), async {
                assert_eq!(probe.asked().as_deref(), Some("respoked_probe_2"));
                probe.note_done("respoked_probe_2".into());
                probe.note_came(comes_on);
            });
            found
        };
        assert_eq!(own("respoked_probe_1").await, Found::Silence);
        probe.note_came("respoked_probe_2");
        assert_eq!(own("respoked_probe_1").await, Found::Silence, "it came when nobody waited any more");
        assert_eq!(own("respoked_probe_2").await, Found::Comes);
    }
    /// Whoever writes was slow then.
    #[tokio::test(start_paused = true)]
    async fn that_another_probe_was_notified_of_says_nothing_of_this_one() {
        let probe = Probe::default();
        let find = probe.find("respoked_probe_2".into(), || probe.note_done("respoked_probe_1".into()));
        assert_eq!(find.await, Found::Nothing);
    }

    #[test]
    fn one_notification_that_comes_is_not_enough() {
        for (first, known) in [
            (vec![Found::Comes; 3], [None, None, Some(Found::Comes)].to_vec()),
            (vec![Found::Comes, Found::Silence], [None, Some(Found::Silence)].to_vec()),
            (vec![Found::Comes, Found::Comes, Found::Nothing], [None, None, Some(Found::Nothing)].to_vec()),
        ] {
            let mut row = InARow::default();
            assert_eq!(first.into_iter().map(|found| row.add(found)).collect::<Vec<_>>(), known);
        }
    }
}
