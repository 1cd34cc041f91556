//! `/v1/groups` and `/v1/channels`, which are two names of the same groups.

use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::Arc;

use respoke_core::event::Content;
use respoke_core::id::{AppId, EndpointId, GroupName, MessageId};
use respoke_core::idempotency::IdempotencyKey;
use respoke_core::message::{NewMessage, Said, SaidOnce};
use respoke_core::ports::{Audience, Confirmation, Deed, Done, Interest, Removal};
use respoke_core::refusal::Refusal;
use respoke_wire::event;
use serde_json::value::RawValue;
use tokio::time::Instant;

use super::Asker;
use super::asker::Speaker;
use crate::others::Awaited;
use crate::reach::{Reach, frame_len, longest_len, membership_len};
use crate::registry::{Caps, Connection, Full, Home, Join, Members};
use crate::settle::{SETTLED_WITHIN, settle};
use crate::{Hub, fanout};

/// A message to a group.
#[derive(Debug)]
pub struct Publish {
    /// Any JSON.
    pub message: Box<RawValue>,
    /// Whether it is kept for the group's history; then it is on disk before anybody gets it.
    pub persist: bool,
    /// The request's key, if its repetition is to say nothing.
    pub once: Option<IdempotencyKey>,
}

impl Hub {
    /// Makes connections members of groups; a group comes into being with its first member.
    ///
    /// The other members are told. Joining twice is no error. If others take the last places meanwhile, what was joined by
    /// then stays. Where other nodes have to be asked who is there, what is held is paid before that, and stays paid.
    ///
    /// # Errors
    ///
    /// [`Refusal::Forbidden`] if the role does not permit one of them, [`Refusal::NotConnected`],
    /// [`Refusal::RateLimited`], and [`Refusal::NodeSilent`] if another node would have to answer: then none is joined.
    /// [`Refusal::LimitReached`]. [`Refusal::NodeInDoubt`] if another node may have let one join.
    pub async fn join(&self, asker: &Asker<'_>, groups: &[GroupName]) -> Result<(), Refusal> {
        let speaker = self.speaker(asker).await?;
        let rights = self.broker.rights(asker.caller).await?;
        let targets = self.targets(asker, &speaker).await?;
        if groups.iter().any(|group| rights.group(group).subscribe != Some(true)) {
            return Err(Refusal::Forbidden("the role does not permit joining this group (subscribe)"));
        }
        let groups = &*each_once(groups);
        let (app, caps) = (speaker.app.id, Caps::of(&speaker.app));
        // What is held for as long as they are members.
        let mut held = Reach::held(self.local.registry.cost_of_joining(&targets, groups));
        if self.others.is_some() {
            // Before they work for it.
            self.local.registry.room_for(app, &targets, groups, Caps { members: None, ..caps }).map_err(full)?;
            asker.pay(&speaker.app, std::mem::take(&mut held))?;
        }
        let _known =
            self.known_meanwhile(SETTLED_WITHIN, || groups.iter().map(|group| in_group(app, group)).collect()).await;
        for group in groups {
            if rights.group(group).create != Some(true)
                && !self.roster().group_exists(app, group).ok_or(Refusal::NodeSilent)?
            {
                return Err(Refusal::Forbidden("the role does not permit creating this group (create)"));
            }
        }
        self.room_for(app, &targets, groups, caps)?;
        let told = |connection: &Connection| speaker.own_id() != Some(connection.id);
        let (mut paid, mut coming) = (Reach::default(), 0);
        for (nth, (group, connection)) in pairs(groups, &targets).enumerate() {
            fanout::let_others_write(nth).await;
            if nth.is_multiple_of(targets.len()) {
                coming = 0;
            }
            let frames = self.roster().frames_of_joining(connection, group, told(connection));
            if frames > 0 {
                // Those who come to the group by this request and before it hear of it too.
                paid = paid.and(Reach::of(frames + 2 * coming, membership_len(&connection.endpoint, group)));
                coming += 1;
            }
        }
        asker.pay(&speaker.app, paid.and(held))?;
        let (mut caused, mut joined) = (Reach::default(), Err(Refusal::NotConnected));
        let mut unsettled = Unsettled::default();
        let is_elsewhere = |target: &Arc<Connection>| matches!(target.home, Home::There(_));
        let elsewhere = self.others.as_ref().filter(|_| targets.iter().any(is_elsewhere));
        let awaited = elsewhere.map(|others| others.await_done(speaker.request_id));
        for (nth, (group, connection)) in pairs(groups, &targets).enumerate() {
            fanout::let_others_write(nth).await;
            match self.join_one(&speaker, connection, group, caps, &mut unsettled).await {
                Ok(Join::Joined { others }) => {
                    let frames = 2 * (others + usize::from(told(connection)));
                    caused = caused.and(Reach::of(frames, membership_len(&connection.endpoint, group)));
                    joined = Ok(());
                }
                Ok(Join::Already) => joined = Ok(()),
                // Others of its endpoint may be there.
                Ok(Join::Gone) => {}
                Ok(Join::Full(which)) => {
                    joined = Err(full(which));
                    break;
                }
                Err(refusal) => {
                    // Some have joined, which other refusals would deny.
                    joined = Err(if joined.is_ok() { Refusal::NodeInDoubt } else { refusal });
                    break;
                }
            }
        }
        asker.owe(&speaker.app, caused.beyond(paid));
        self.settle_joins(unsettled, awaited).await;
        joined
    }

    /// Whether all can join all, as far as is known here. It is judged once, before any of them joins: whoever is refused in
    /// the midst of that has joined in part.
    fn room_for(
        &self,
        app: AppId,
        targets: &[Arc<Connection>],
        groups: &[GroupName],
        caps: Caps,
    ) -> Result<(), Refusal> {
        let registry = &self.local.registry;
        let Some(others) = self.others.as_ref().filter(|_| caps.members.is_some()) else {
            return registry.room_for(app, targets, groups, caps).map_err(full);
        };
        registry.room_for(app, targets, groups, Caps { members: None, ..caps }).map_err(full)?;
        for group in groups {
            let is_new = |target: &&Arc<Connection>| {
                !registry.is_member(app, group, target.id) && !others.is_member(app, group, target.id)
            };
            let new: Vec<_> = targets.iter().filter(is_new).cloned().collect();
            if new.is_empty() {
                continue;
            }
            let caps = Caps { groups: None, ..self.roster().caps_of_members(app, group, new.len(), caps)? };
            registry.room_for(app, &new, std::slice::from_ref(group), caps).map_err(full)?;
        }
        Ok(())
    }

    /// Makes one connection a member of one group, wherever it is.
    async fn join_one(
        &self,
        speaker: &Speaker,
        connection: &Arc<Connection>,
        group: &GroupName,
        caps: Caps,
        unsettled: &mut Unsettled,
    ) -> Result<Join, Refusal> {
        let app = speaker.app.id;
        let caps = self.roster().caps_beside_known_members(app, group, caps);
        let known = || self.roster().members_elsewhere(app, group);
        match &connection.home {
            Home::Here(_) => {
                let (joined, held) = self.join_here(connection, group, caps, speaker.request_id, speaker.own_id());
                unsettled.here.extend(held.map(|held| (in_group(app, group), held)));
                Ok(match joined {
                    Join::Joined { others } => Join::Joined { others: others + known() },
                    other => other,
                })
            }
            Home::There(node) => {
                let here = self.local.registry.member_count(app, group);
                let full = caps.members.is_some_and(|most| here >= most as usize);
                let deed = Deed::Join {
                    connection: connection.id,
                    group: group.clone(),
                    groups_max: caps.groups,
                    members_max: full.then_some(0),
                };
                let Some(others) = &self.others else { return Ok(Join::Gone) };
                let done = Box::pin(others.have_done(*node, app, speaker.request_id, deed)).await?;
                if let Done::Now { settled: false, .. } | Done::Before { settled: false } = done {
                    unsettled.there += 1;
                }
                Ok(match done {
                    // It is among those who are known by now, or not.
                    Done::Now { told, .. } => Join::Joined { others: (here + known()).max(told as usize) },
                    Done::Before { .. } => Join::Already,
                    Done::Gone => Join::Gone,
                    Done::ConnectionFull => Join::Full(Full::Connection),
                    Done::GroupFull => Join::Full(Full::Group),
                    // Nobody answers that to a join; and before this one others may have joined.
                    Done::Overloaded | Done::Moving => return Err(Refusal::NodeInDoubt),
                })
            }
        }
    }

    /// Waits until all nodes know who joined, or for as long as is waited for that.
    async fn settle_joins(&self, unsettled: Unsettled, awaited: Option<Awaited<'_>>) {
        let Some(others) = &self.others else { return };
        let until = Instant::now() + SETTLED_WITHIN;
        for (interest, mut held) in unsettled.here {
            settle(&mut held, until).await;
            let late = held.missing();
            if !late.is_empty() {
                others.late(&interest, &late);
            }
        }
        if let Some(mut awaited) = awaited {
            // Who is late with that catches up with the node that has the connection.
            Box::pin(awaited.done(unsettled.there, until)).await;
        }
    }

    /// Takes connections out of groups. The remaining members are told, which was paid for at the joining. Leaving what one
    /// is not in is no error.
    ///
    /// # Errors
    ///
    /// As [`Self::join`], but for the limits; none has left then where none would have joined.
    pub async fn leave(&self, asker: &Asker<'_>, groups: &[GroupName]) -> Result<(), Refusal> {
        let speaker = self.speaker(asker).await?;
        let rights = self.broker.rights(asker.caller).await?;
        let targets = self.targets(asker, &speaker).await?;
        let groups = &*each_once(groups);
        for group in groups {
            if rights.group(group).unsubscribe != Some(true) {
                return Err(Refusal::Forbidden("the role does not permit leaving this group (unsubscribe)"));
            }
        }
        for (nth, (group, connection)) in pairs(groups, &targets).enumerate() {
            fanout::let_others_write(nth).await;
            match &connection.home {
                Home::Here(_) => {
                    self.leave_here(connection, group, speaker.request_id, speaker.own_id());
                }
                Home::There(node) => {
                    let deed = Deed::Leave { connection: connection.id, group: group.clone() };
                    self.have_done(*node, &speaker, deed).await?;
                }
            }
        }
        Ok(())
    }

    /// Ends a group: what was kept of it is gone, and every member leaves it and is told so.
    ///
    /// # Errors
    ///
    /// [`Refusal::Forbidden`]; [`Refusal::NotFound`] if it has neither; [`Refusal::RateLimited`]; [`Refusal::Store`]: then it
    /// goes on.
    pub async fn end_group(&self, asker: &Asker<'_>, group: &GroupName) -> Result<(), Refusal> {
        let speaker = self.speaker(asker).await?;
        if self.broker.rights(asker.caller).await?.group(group).destroy != Some(true) {
            return Err(Refusal::Forbidden("the role does not permit deleting this group (destroy)"));
        }
        let app = speaker.app.id;
        let members = self.roster().member_count(app, group).await;
        // Each is told of its own leaving.
        asker.pay(&speaker.app, Reach::of(members, longest_len(group.as_str())))?;
        let was_kept = self.broker.store().end_group(app, group).await? != Removal::Unknown;
        let ending = self.local.registry.begin_to_end();
        let here = self.end_group_here(app, group, ending, speaker.request_id, speaker.own_id());
        let (members, elsewhere) = match &self.others {
            None => (here.await, Ok(false)),
            Some(others) => {
                let deed = Deed::EndGroup { group: group.clone() };
                tokio::join!(here, Box::pin(others.have_all_do(app, speaker.request_id, deed)))
            }
        };
        if elsewhere? || was_kept || members > 0 { Ok(()) } else { Err(Refusal::NotFound("Groups")) }
    }

    /// The members of a group, the asker included if it is one.
    ///
    /// # Errors
    ///
    /// [`Refusal::Forbidden`].
    pub async fn members(&self, asker: &Asker<'_>, group: &GroupName) -> Result<Members, Refusal> {
        let speaker = self.reader(asker).await?;
        if self.broker.rights(asker.caller).await?.group(group).getsubscribers != Some(true) {
            return Err(Refusal::Forbidden("the role does not permit reading the members (getsubscribers)"));
        }
        self.roster().members(speaker.app.id, group).await
    }

    /// Names of the app's groups after `after`, in order, at most `most`.
    ///
    /// # Errors
    ///
    /// [`Refusal::Forbidden`].
    pub async fn groups(
        &self,
        asker: &Asker<'_>,
        after: Option<&GroupName>,
        most: usize,
    ) -> Result<Vec<GroupName>, Refusal> {
        let speaker = self.reader(asker).await?;
        if !self.broker.rights(asker.caller).await?.may_list_groups() {
            return Err(Refusal::Forbidden("the role does not permit listing groups (list)"));
        }
        self.roster().groups(speaker.app.id, after, most).await
    }

    /// The groups that an endpoint's connections are in.
    ///
    /// # Errors
    ///
    /// [`Refusal::NodeSilent`].
    pub async fn groups_of(&self, app: AppId, endpoint: &EndpointId) -> Result<Vec<GroupName>, Refusal> {
        self.roster().groups_of(app, endpoint).await
    }

    /// Publishes to a group. The connection that publishes hears no echo; others of its endpoint do.
    ///
    /// When this returns, the message is in the outbox of every member on this node and, if it was to be kept, on disk. Where
    /// several nodes serve, a kept one may have to wait for those before it (`in_order.rs`).
    ///
    /// # Errors
    ///
    /// [`Refusal::Forbidden`]; [`Refusal::RateLimited`]; [`Refusal::IdempotencyKeyReused`]; [`Refusal::Store`] or
    /// [`Refusal::QuotaExceeded`] if it was to be kept and could not: then nobody gets it.
    pub async fn publish(&self, asker: &Asker<'_>, group: &GroupName, request: Publish) -> Result<MessageId, Refusal> {
        let speaker = self.speaker(asker).await?;
        if self.broker.rights(asker.caller).await?.group(group).publish != Some(true) {
            return Err(Refusal::Forbidden("the role does not permit publishing to this group (publish)"));
        }
        let members = self.roster().member_count(speaker.app.id, group).await;
        let len = frame_len(&speaker.endpoint, group.as_str(), request.message.get().len());
        asker.pay(&speaker.app, Reach::of(members, len))?;
        let message_id = speaker.message_id();
        let content = Content::Published { message_id, group: group.clone(), message: request.message, place: None };
        let mut event = self.event(&speaker.endpoint, speaker.connection_id(), speaker.request_id, content);
        let kept = request.persist.then(|| NewMessage {
            app_id: speaker.app.id,
            group: group.clone(),
            sender: speaker.endpoint.clone(),
            at: event.at,
            event: event::object(&event),
        });
        let bytes_max = self.broker.kept_bytes_max(&speaker.app);
        self.check_standing()?;
        let (at, stands) = match (kept, request.once) {
            (kept, Some(key)) => {
                let once = SaidOnce { app_id: speaker.app.id, key, id: message_id };
                match self.broker.store().say_once(once, kept, event.at, bytes_max).await? {
                    Said::First(at, place) => (at, place),
                    Said::Before(id) => return Ok(id),
                    Said::KeyReused => return Err(Refusal::IdempotencyKeyReused),
                    Said::NoApp => return Err(Refusal::NotFound("Apps")),
                    Said::Full => return Err(Refusal::QuotaExceeded),
                }
            }
            (Some(kept), None) => {
                let kept = self.broker.store().append_message(kept, bytes_max).await?.kept()?;
                (kept.at, Some(kept.place))
            }
            (None, None) => (event.at, None),
        };
        event.at = at;
        if let Content::Published { place, .. } = &mut event.content {
            *place = stands;
        }
        let to = Audience::Group { group: group.clone(), except: speaker.own_id() };
        self.push(speaker.app.id, to, event);
        self.figures.published.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        match stands {
            // Whoever was told of a gap reads the history.
            Some(place) => self.until_handed_out(speaker.app.id, group, place).await,
            None => self.check_said()?,
        }
        Ok(message_id)
    }
}

/// Joins of which not every node knows yet.
#[derive(Default)]
struct Unsettled {
    here: Vec<(Interest, Confirmation)>,
    /// Of how many another node tells when they do.
    there: usize,
}

/// Groups as they are named, but each once: a name that is repeated thousands of times must not cost others as much.
fn each_once(groups: &[GroupName]) -> Cow<'_, [GroupName]> {
    if groups.len() < 2 {
        return Cow::Borrowed(groups);
    }
    let mut named = HashSet::with_capacity(groups.len());
    Cow::Owned(groups.iter().filter(|group| named.insert(*group)).cloned().collect())
}

fn in_group(app: AppId, group: &GroupName) -> Interest {
    Interest::Group(app, group.clone())
}

/// Why nobody more can join.
fn full(which: Full) -> Refusal {
    match which {
        Full::Group => Refusal::LimitReached("the group has its most members"),
        Full::Connection | Full::App | Full::Endpoint => {
            Refusal::LimitReached("the connection is in as many groups as it may be")
        }
    }
}

/// Each group with each connection.
fn pairs<'a>(
    groups: &'a [GroupName],
    connections: &'a [Arc<Connection>],
) -> impl Iterator<Item = (&'a GroupName, &'a Arc<Connection>)> {
    groups.iter().flat_map(move |group| connections.iter().map(move |connection| (group, connection)))
}

impl Speaker {
    /// A request sends one message at most, so the request's id names the message.
    pub(crate) const fn message_id(&self) -> MessageId {
        MessageId::from_uuid(self.request_id.uuid())
    }
}
