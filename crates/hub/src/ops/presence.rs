//! `/v1/presence` and `/v1/presenceobservers`. Each connection says its own presence, and who observes an endpoint hears
//! those of all its connections.

use std::collections::HashSet;

use respoke_core::event::{Content, Presence};
use respoke_core::id::EndpointId;
use respoke_core::ports::{Deed, Done, Interest};
use respoke_core::refusal::Refusal;

use super::Asker;
use crate::Hub;
use crate::fanout;
use crate::others::ANSWER_WITHIN;
use crate::reach::{Reach, frame_len, longest_len};
use crate::registry::{Full, Home, Presences};

/// The longest presence, in bytes of its JSON: it is held for as long as the connection lives.
const PRESENCE_LEN_MAX: usize = 4_096;

impl Hub {
    /// Says a connection's presence; its observers are told before this returns.
    ///
    /// # Errors
    ///
    /// [`Refusal::NotConnected`], [`Refusal::Invalid`] for one that is too long, [`Refusal::RateLimited`].
    pub async fn set_presence(&self, asker: &Asker<'_>, presence: Presence) -> Result<(), Refusal> {
        let said_len = len(&presence);
        if said_len > PRESENCE_LEN_MAX {
            return Err(Refusal::field("presence", "must be at most 4096 bytes long"));
        }
        let speaker = self.speaker(asker).await?;
        let targets = self.targets(asker, &speaker).await?;
        let mut reach = Reach::default();
        for connection in &targets {
            let observers = self.roster().observer_count(speaker.app.id, &connection.endpoint).await;
            reach = reach.and(Reach::of(observers, frame_len(&connection.endpoint, "", said_len)));
        }
        asker.pay(&speaker.app, reach)?;
        self.check_standing()?;
        let mut said = Err(Refusal::NotConnected);
        for (nth, connection) in targets.into_iter().enumerate() {
            fanout::let_others_write(nth).await;
            let is_there = match &connection.home {
                Home::Here(_) => self.say_here(&connection, presence.clone(), speaker.request_id),
                Home::There(node) => {
                    let deed = Deed::Say { connection: connection.id, presence: presence.clone() };
                    self.have_done(*node, &speaker, deed).await? != Done::Gone
                }
            };
            if is_there {
                // Others of its endpoint may be gone.
                said = Ok(());
            }
        }
        self.check_said()?;
        said
    }

    /// Lets the asker's connection observe endpoints from now on, and returns the present presence of each.
    ///
    /// What is not "unavailable" is also pushed, before this returns: the JavaScript client reads only that. What a node has
    /// that does not answer is pushed when it does. Where other nodes have to be asked, what is held is paid before that, and
    /// stays paid.
    ///
    /// # Errors
    ///
    /// [`Refusal::NotConnected`], [`Refusal::LimitReached`], [`Refusal::RateLimited`].
    pub async fn observe(
        &self,
        asker: &Asker<'_>,
        mut endpoints: Vec<EndpointId>,
    ) -> Result<Vec<(EndpointId, Presences)>, Refusal> {
        let speaker = self.speaker(asker).await?;
        // A short name repeated thousands of times must not be answered thousands of times.
        let mut named = HashSet::new();
        endpoints.retain(|endpoint| named.insert(endpoint.clone()));
        let (own, socket) = speaker.own.as_ref().zip(asker.socket).ok_or(Refusal::NotConnected)?;
        let app = speaker.app.id;
        let of = |endpoint: &EndpointId| Interest::Observers(app, endpoint.clone());
        // What is held for as long as it observes.
        let mut held = Reach::held(self.local.registry.cost_of_observing(own, &endpoints));
        if self.others.is_some() {
            // Before they work for it.
            asker.pay(&speaker.app, std::mem::take(&mut held))?;
        }
        let known = self.known_meanwhile(ANSWER_WITHIN, || endpoints.iter().map(of).collect()).await;
        if let (Some(known), Some(others)) = (&known, &self.others) {
            others.note_unheard(&known.interests);
        }
        // What each connection says now, and that it is gone one day; of those that went a moment ago, only that.
        let connections = self.roster().connection_count_of(app, &endpoints);
        let untold = self.local.departures.untold_of(app, &endpoints);
        let paid = Reach::of(2 * connections + untold, longest_len(""));
        asker.pay(&speaker.app, paid.and(held))?;
        let observed = self.local.registry.observe(own, &endpoints).map_err(|full| match full {
            Full::App | Full::Endpoint | Full::Connection | Full::Group => {
                Refusal::LimitReached("the connection observes as many endpoints as it may")
            }
        })?;
        let Some(new) = observed else { return Ok(Vec::new()) };
        for endpoint in &new {
            // What was asked a moment ago is kept for as long as it observes them.
            self.hold(|| of(endpoint));
        }
        // After it observes: what is said meanwhile it is told.
        let mut found = self.roster().presences(app, endpoints);
        // Others may have come meanwhile.
        let connections = found.iter().map(|(_, presences)| presences.len()).sum::<usize>();
        let said = found.iter().flat_map(|(_, presences)| presences).filter_map(|(_, presence)| presence.as_ref());
        let said = Reach { frames: 0, bytes: said.map(|said| len(said) as u64).sum() };
        asker.owe(&speaker.app, Reach::of(2 * connections, longest_len("")).beyond(paid).and(said));
        let mut waited = false;
        for (endpoint, presences) in &found {
            for (id, presence) in presences {
                if *id == own.id || presence.as_ref().is_none_or(Presence::is_unavailable) {
                    continue;
                }
                // Who asks about thousands reads while it is told, and is not closed for what it could not read yet.
                waited |= !socket.outbox.has_room();
                socket.outbox.room().await;
                if socket.outbox.closed().is_some() {
                    return Ok(found);
                }
                // It may be gone by now, and that was told then.
                let now = self.roster().presence(app, *id);
                let mut next = now.filter(|now| !now.is_unavailable());
                while let Some(presence) = next {
                    let content = Content::Presence(presence.clone());
                    let event = self.event(endpoint, Some(*id), speaker.request_id, content);
                    fanout::offer(self, std::iter::once(own), None, &event);
                    // What was said meanwhile may have been pushed before this, and must be what is heard last.
                    let now = self.roster().presence(app, *id);
                    next = now.filter(|now| now.texts() != presence.texts());
                }
            }
        }
        if waited {
            // The answer comes behind all that was pushed meanwhile, and must not contradict it.
            let endpoints = found.into_iter().map(|(endpoint, _)| endpoint).collect();
            found = self.roster().presences(app, endpoints);
        }
        Ok(found)
    }
}

/// How long all is that a presence says.
fn len(presence: &Presence) -> usize {
    presence.texts().into_iter().flatten().map(str::len).sum()
}
