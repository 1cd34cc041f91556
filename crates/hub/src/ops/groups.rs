//! `/v1/groups` and `/v1/channels`: the same groups under two names.

use std::sync::Arc;

use respoke_core::event::Content;
use respoke_core::id::{AppId, EndpointId, GroupName, MessageId};
use respoke_core::idempotency::IdempotencyKey;
use respoke_core::message::{NewMessage, Said, SaidOnce};
use respoke_core::ports::{Audience, Removal};
use respoke_core::refusal::Refusal;
use respoke_wire::event;
use serde_json::value::RawValue;

use super::{Asker, Speaker};
use crate::hub::caps;
use crate::reach::{Reach, frame_len, longest_len, membership_len};
use crate::registry::{Connection, Full, Join, Members};
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
    /// then stays.
    ///
    /// # Errors
    ///
    /// [`Refusal::Forbidden`] if the role does not permit one of them, [`Refusal::NotConnected`] and
    /// [`Refusal::RateLimited`]: then none is joined. [`Refusal::LimitReached`].
    pub async fn join(&self, asker: &Asker<'_>, groups: &[GroupName]) -> Result<(), Refusal> {
        let speaker = self.speaker(asker).await?;
        let rights = self.broker.rights(asker.caller).await?;
        let targets = self.targets(asker, &speaker).await?;
        for group in groups {
            let rule = rights.group(group);
            if rule.subscribe != Some(true) {
                return Err(Refusal::Forbidden("the role does not permit joining this group (subscribe)"));
            }
            if rule.create != Some(true) && !self.roster().group_exists(speaker.app.id, group) {
                return Err(Refusal::Forbidden("the role does not permit creating this group (create)"));
            }
        }
        self.local.registry.room_for(speaker.app.id, &targets, groups, caps(&speaker.app)).map_err(full)?;
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
        asker.pay(&speaker.app, paid)?;
        let (mut caused, mut joined) = (Reach::default(), Err(Refusal::NotConnected));
        for (nth, (group, connection)) in pairs(groups, &targets).enumerate() {
            fanout::let_others_write(nth).await;
            match self.local.registry.join(connection, group, caps(&speaker.app)) {
                Join::Joined { others } => {
                    let frames = 2 * (others + usize::from(told(connection)));
                    caused = caused.and(Reach::of(frames, membership_len(&connection.endpoint, group)));
                    self.tell_joined(&speaker, connection, group);
                    joined = Ok(());
                }
                Join::Already => joined = Ok(()),
                // Others of its endpoint may be there.
                Join::Gone => {}
                Join::Full(which) => {
                    joined = Err(full(which));
                    break;
                }
            }
        }
        asker.owe(&speaker.app, caused.beyond(paid));
        joined
    }

    fn tell_joined(&self, speaker: &Speaker, connection: &Arc<Connection>, group: &GroupName) {
        let (endpoint, id) = (connection.endpoint.clone(), connection.id);
        let content = Content::Joined { group: group.clone(), endpoint, connection: id };
        let event = self.event(&connection.endpoint, Some(id), speaker.request_id, content);
        // Who joins by itself knows it; one whom a backend let join is told as well.
        let except = speaker.own_id().filter(|own| *own == id);
        self.push(speaker.app.id, Audience::Group { group: group.clone(), except }, event);
    }

    /// Takes connections out of groups. The remaining members are told, which was paid for at the joining. Leaving what one
    /// is not in is no error.
    ///
    /// # Errors
    ///
    /// As [`Self::join`], but for the limits.
    pub async fn leave(&self, asker: &Asker<'_>, groups: &[GroupName]) -> Result<(), Refusal> {
        let speaker = self.speaker(asker).await?;
        let rights = self.broker.rights(asker.caller).await?;
        let targets = self.targets(asker, &speaker).await?;
        for group in groups {
            if rights.group(group).unsubscribe != Some(true) {
                return Err(Refusal::Forbidden("the role does not permit leaving this group (unsubscribe)"));
            }
        }
        for (nth, (group, connection)) in pairs(groups, &targets).enumerate() {
            fanout::let_others_write(nth).await;
            if self.local.registry.leave(speaker.app.id, connection.id, group) {
                self.tell_left(&speaker, connection, group);
                self.push(
                    speaker.app.id,
                    Audience::Group { group: group.clone(), except: None },
                    self.left(&speaker, connection, group),
                );
            }
        }
        Ok(())
    }

    /// Tells a connection that it is no member any more, unless it asked for it.
    fn tell_left(&self, speaker: &Speaker, connection: &Arc<Connection>, group: &GroupName) {
        if speaker.own_id() == Some(connection.id) {
            return;
        }
        let only = Some(connection.id);
        let to = Audience::Endpoint { endpoint: connection.endpoint.clone(), only, except: None };
        self.push(speaker.app.id, to, self.left(speaker, connection, group));
    }

    fn left(&self, speaker: &Speaker, connection: &Arc<Connection>, group: &GroupName) -> respoke_core::event::Event {
        let (endpoint, id) = (connection.endpoint.clone(), connection.id);
        let content = Content::Left { group: group.clone(), endpoint, connection: id };
        self.event(&connection.endpoint, Some(id), speaker.request_id, content)
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
        let members = self.roster().member_count(speaker.app.id, group);
        // Each is told of its own leaving.
        asker.pay(&speaker.app, Reach::of(members, longest_len(group.as_str())))?;
        let kept = self.broker.store().end_group(speaker.app.id, group).await?;
        let members = self.local.registry.end_group(speaker.app.id, group);
        if members.is_empty() && kept == Removal::Unknown {
            return Err(Refusal::NotFound("Groups"));
        }
        for (nth, member) in members.iter().enumerate() {
            fanout::let_others_write(nth).await;
            self.tell_left(&speaker, member, group);
        }
        Ok(())
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
        Ok(self.roster().members(speaker.app.id, group).await)
    }

    /// Names of the app's groups after `after`, in order, at most `most`.
    ///
    /// # Errors
    ///
    /// [`Refusal::Forbidden`].
    pub async fn groups(&self, asker: &Asker<'_>, after: Option<&str>, most: usize) -> Result<Vec<GroupName>, Refusal> {
        let speaker = self.reader(asker).await?;
        if !self.broker.rights(asker.caller).await?.may_list_groups() {
            return Err(Refusal::Forbidden("the role does not permit listing groups (list)"));
        }
        Ok(self.roster().groups(speaker.app.id, after, most).await)
    }

    /// The groups that an endpoint's connections are in.
    #[must_use]
    pub fn groups_of(&self, app: AppId, endpoint: &EndpointId) -> Vec<GroupName> {
        self.roster().groups_of(app, endpoint).into_iter().collect()
    }

    /// Publishes to a group. The connection that publishes hears no echo; others of its endpoint do.
    ///
    /// When this returns, the message is in the outbox of every member on this node and, if it was to be kept, on disk.
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
        let members = self.roster().member_count(speaker.app.id, group);
        let len = frame_len(&speaker.endpoint, group.as_str(), request.message.get().len());
        asker.pay(&speaker.app, Reach::of(members, len))?;
        let message_id = speaker.message_id();
        let content = Content::Published { message_id, group: group.clone(), message: request.message };
        let mut event = self.event(&speaker.endpoint, speaker.connection_id(), speaker.request_id, content);
        let kept = request.persist.then(|| NewMessage {
            app_id: speaker.app.id,
            group: group.clone(),
            sender: speaker.endpoint.clone(),
            at: event.at,
            event: event::object(&event),
        });
        let bytes_max = self.broker.kept_bytes_max(&speaker.app);
        event.at = match (kept, request.once) {
            (kept, Some(key)) => {
                let once = SaidOnce { app_id: speaker.app.id, key, id: message_id };
                match self.broker.store().say_once(once, kept, event.at, bytes_max).await? {
                    Said::First(at) => at,
                    Said::Before(id) => return Ok(id),
                    Said::KeyReused => return Err(Refusal::IdempotencyKeyReused),
                    Said::NoApp => return Err(Refusal::NotFound("Apps")),
                    Said::Full => return Err(Refusal::QuotaExceeded),
                }
            }
            (Some(kept), None) => self.broker.store().append_message(kept, bytes_max).await?.kept()?,
            (None, None) => event.at,
        };
        let to = Audience::Group { group: group.clone(), except: speaker.own_id() };
        self.push(speaker.app.id, to, event);
        self.figures.published.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        Ok(message_id)
    }
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
