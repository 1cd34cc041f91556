//! What a batch of messages does, decided from what was found of the database: each operation sees what those before it do.
//!
//! Nothing here waits or asks. What is read and written stands under locks (`batch.rs`).

use std::borrow::Cow;
use std::collections::btree_map::{BTreeMap, Entry};
use std::collections::{HashMap, HashSet, VecDeque};

use respoke_core::chance::Chance;
use respoke_core::clock::Timestamp;
use respoke_core::id::{AppId, EndpointId, GroupName, MessageId};
use respoke_core::message::{Kept, NewMessage, Place, Said, SaidOnce};
use respoke_core::ports::Keeping;

use super::operation::{Operation, Outcome, Say, Seen};
use crate::postgres::failure::Failure;
use crate::postgres::kept;

/// An event that is kept as of another instant than its own may have longer a number in it.
const EVENT_GROWS_BY: usize = 20;

/// Which group.
pub(super) type GroupKey<'a> = (AppId, &'a GroupName);

/// A group, as it was found or begins, and with what is said in it here.
#[derive(Clone, Debug)]
pub(super) struct Group {
    pub(super) number: i64,
    /// The instant and the offset of its newest message.
    pub(super) last_at: i64,
    pub(super) head: i64,
    /// Which history the offsets belong to.
    pub(super) epoch: i64,
    /// Whether it begins here.
    pub(super) is_new: bool,
    /// Messages that are added.
    pub(super) more: i64,
}

impl Group {
    /// Of its newest message.
    fn place(&self) -> Place {
        // Neither is ever below nought.
        let number = |stored| u64::try_from(stored).unwrap_or(0);
        Place { epoch: number(self.epoch), offset: number(self.head) }
    }
}

/// What was found of the database.
#[derive(Default)]
pub(super) struct Found<'a> {
    /// Apps that are there, and how much they keep.
    pub(super) apps: HashMap<AppId, u64>,
    pub(super) groups: BTreeMap<GroupKey<'a>, Group>,
    /// Numbers for those that are not there yet.
    pub(super) numbers: VecDeque<i64>,
    /// Whoever has a conversation of a group.
    pub(super) conversations: HashSet<(GroupKey<'a>, &'a EndpointId)>,
    /// By the key: the request that it was used with, and what was said.
    pub(super) said: HashMap<[u8; 32], ([u8; 32], MessageId)>,
}

/// A message to be written.
pub(super) struct MessageRow<'a> {
    pub(super) group: i64,
    pub(super) at: Timestamp,
    pub(super) offset: i64,
    pub(super) sender: &'a EndpointId,
    pub(super) event: Cow<'a, str>,
}

/// A conversation that begins.
pub(super) struct ConversationRow<'a> {
    pub(super) app: AppId,
    pub(super) endpoint: &'a EndpointId,
    pub(super) group: i64,
    pub(super) touched_at: Timestamp,
}

/// What is to be written.
#[derive(Default)]
pub(super) struct Draft<'a> {
    /// All that were found or begin, also those in which nothing is said.
    pub(super) groups: BTreeMap<GroupKey<'a>, Group>,
    pub(super) messages: Vec<MessageRow<'a>>,
    pub(super) conversations: Vec<ConversationRow<'a>>,
    pub(super) said: Vec<(&'a SaidOnce, Timestamp)>,
    pub(super) seen: Vec<&'a Seen>,
}

impl Draft<'_> {
    pub(super) fn is_empty(&self) -> bool {
        let Self { groups: _, messages, conversations, said, seen } = self;
        messages.is_empty() && conversations.is_empty() && said.is_empty() && seen.is_empty()
    }
}

/// Decides what comes of each operation, and what is to be written for that.
pub(super) fn decide<'a>(
    found: Found<'a>,
    chance: &dyn Chance,
    operations: &[&'a Operation],
) -> Result<(Vec<Outcome>, Draft<'a>), Failure> {
    let mut deciding = Deciding { found, chance, draft: Draft::default() };
    let outcomes = operations.iter().map(|operation| match operation {
        Operation::Say(say) => deciding.say(say).map(Outcome::Said),
        Operation::Seen(seen) => {
            deciding.draft.seen.push(seen);
            Ok(Outcome::Noted)
        }
    });
    let outcomes = outcomes.collect::<Result<_, _>>()?;
    let Deciding { found, mut draft, .. } = deciding;
    draft.groups = found.groups;
    Ok((outcomes, draft))
}

struct Deciding<'a, 'c> {
    found: Found<'a>,
    chance: &'c dyn Chance,
    draft: Draft<'a>,
}

impl<'a> Deciding<'a, '_> {
    fn say(&mut self, say: &'a Say) -> Result<Said, Failure> {
        if let Some(once) = &say.once
            && let Some((request, id)) = self.found.said.get(&once.key.key)
        {
            return Ok(if *request == once.key.request { Said::Before(*id) } else { Said::KeyReused });
        }
        let (at, place) = match &say.kept {
            None => (say.now, None),
            Some(message) => match self.keep(message, say.bytes_max)? {
                Keeping::Kept(Kept { at, place }) => (at, Some(place)),
                Keeping::NoApp => return Ok(Said::NoApp),
                Keeping::Full => return Ok(Said::Full),
            },
        };
        if let Some(once) = &say.once {
            self.draft.said.push((once, say.now));
            self.found.said.insert(once.key.key, (once.key.request, once.id));
        }
        Ok(Said::First(at, place))
    }

    fn keep(&mut self, message: &'a NewMessage, bytes_max: u64) -> Result<Keeping<Kept>, Failure> {
        let (app, sender) = (message.app_id, &message.sender);
        let Some(bytes) = self.found.apps.get_mut(&app) else { return Ok(Keeping::NoApp) };
        // The message itself, and a group and a conversation that may begin with it.
        let cost_of = |event_len| kept::message(event_len, sender) as u64;
        let (group_cost, conversation_cost) = (kept::group(&message.group) as u64, kept::conversation(sender) as u64);
        let cost = cost_of(message.event.get().len() + EVENT_GROWS_BY) + group_cost + conversation_cost;
        if bytes.saturating_add(cost) > bytes_max {
            return Ok(Keeping::Full);
        }
        let key = (app, &message.group);
        let group = match self.found.groups.entry(key) {
            Entry::Occupied(found) => found.into_mut(),
            Entry::Vacant(place) => {
                let number = self.found.numbers.pop_front().ok_or(Failure::Row("too few groups were numbered"))?;
                let epoch = i64::from_be_bytes(self.chance.bytes()) & i64::MAX;
                *bytes += group_cost;
                place.insert(Group { number, last_at: i64::MIN, head: 0, epoch, is_new: true, more: 0 })
            }
        };
        group.last_at = message.at.millis().max(group.last_at.saturating_add(1));
        group.head += 1;
        group.more += 1;
        let at = Timestamp::from_millis(group.last_at);
        let kept = Kept { at, place: group.place() };
        let row = MessageRow { group: group.number, at, offset: group.head, sender, event: message.event_as_of(at) };
        *bytes += cost_of(row.event.len());
        self.draft.messages.push(row);
        if self.found.conversations.insert((key, sender)) {
            *bytes += conversation_cost;
            let begun = ConversationRow { app, endpoint: sender, group: group.number, touched_at: message.at };
            self.draft.conversations.push(begun);
        }
        Ok(Keeping::Kept(kept))
    }
}
