//! What comes of joining, leaving, saying and observing.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{Client, Model, Named, Outcome, event, membership, presence};

impl Model {
    pub(crate) fn join(&mut self, client: usize, named: &Named, groups: &[String]) -> Outcome {
        let app = self.clients[client].app;
        let targets = self.targets(client, named)?;
        for group in groups {
            let exists = !self.members(app, group).is_empty();
            if !self.permits(client, group, "subscribe") || !(exists || self.permits(client, group, "create")) {
                return Err("forbidden");
            }
        }
        let before = groups.iter().map(|group| self.nodes_in(app, group)).collect::<Vec<_>>();
        for (group, nodes) in groups.iter().zip(before) {
            for target in &targets {
                if !self.seat(app, target).groups.insert(group.clone()) {
                    continue;
                }
                let except = self.own_id(client).filter(|own| own == target);
                let event = membership("join", group, &self.find(app, target).unwrap());
                for member in self.members(app, group).iter().filter(|member| Some(*member) != except.as_ref()) {
                    // Who let both join has the later join at a node that may not have heard yet of the earlier, which is at
                    // a third.
                    if nodes.contains(&self.node_of(app, member)) || !self.is_third(client, member, target) {
                        self.deliver(app, member, &event, None);
                    } else {
                        self.may_deliver(app, member, &event, self.step);
                    }
                }
            }
        }
        Ok(())
    }

    /// The nodes with members of a group.
    fn nodes_in(&self, app: usize, group: &str) -> BTreeSet<usize> {
        self.members(app, group).iter().map(|member| self.node_of(app, member)).collect()
    }

    /// Whether of a client and two connections each is at a node of its own, which hear of each other when they do.
    fn is_third(&self, client: usize, one: &str, other: &str) -> bool {
        let Client { app, node, .. } = self.clients[client];
        let (one, other) = (self.node_of(app, one), self.node_of(app, other));
        self.apart && node != one && node != other && one != other
    }

    pub(crate) fn leave(&mut self, client: usize, named: &Named, groups: &[String]) -> Outcome {
        let app = self.clients[client].app;
        let targets = self.targets(client, named)?;
        if groups.iter().any(|group| !self.permits(client, group, "unsubscribe")) {
            return Err("forbidden");
        }
        for (group, target) in groups.iter().flat_map(|group| targets.iter().map(move |target| (group, target))) {
            if self.seat(app, target).groups.remove(group) {
                self.spare(target, group);
                let event = membership("leave", group, &self.find(app, target).unwrap());
                if self.own_id(client).as_ref() != Some(target) {
                    self.deliver(app, target, &event, None);
                }
                for member in self.members(app, group) {
                    // Who is to leave by the same may have left when its node hears of it from a third.
                    if targets.contains(&member) && self.is_third(client, &member, target) {
                        self.may_deliver(app, &member, &event, self.step);
                    } else {
                        self.deliver(app, &member, &event, None);
                    }
                }
            }
        }
        Ok(())
    }

    /// With whether it took so long that who left first may have been told to those who had not left yet.
    pub(crate) fn end_group(&mut self, client: usize, group: &str, late: bool) -> Outcome {
        let app = self.clients[client].app;
        if !self.permits(client, group, "destroy") {
            return Err("forbidden");
        }
        let members = self.members(app, group);
        let was_kept = self.apps[app].kept.remove(group).is_some();
        if members.is_empty() && !was_kept {
            return Err("not_found");
        }
        // Before each is told of its own leaving.
        self.ticks += u32::from(late);
        for (member, other) in members.iter().flat_map(|member| members.iter().map(move |other| (member, other))) {
            let (node, others) = (self.node_of(app, member), self.node_of(app, other));
            if late && node != self.clients[client].node && node != others {
                let event = membership("leave", group, &self.find(app, other).unwrap());
                self.may_deliver(app, member, &event, Some(self.ticks));
            }
        }
        for member in members {
            self.seat(app, &member).groups.remove(group);
            self.spare(&member, group);
            let event = membership("leave", group, &self.find(app, &member).unwrap());
            if self.own_id(client).as_ref() != Some(&member) {
                self.deliver(app, &member, &event, None);
            }
        }
        Ok(())
    }

    pub(crate) fn publish(
        &mut self,
        client: usize,
        named: &Named,
        group: &str,
        message: &str,
        persist: bool,
    ) -> Outcome {
        if !self.permits(client, group, "publish") {
            return Err("forbidden");
        }
        if persist {
            self.apps[self.clients[client].app].kept.entry(group.to_owned()).or_default().push(message.to_owned());
        }
        let (app, speaker) = (self.clients[client].app, self.speaker(client, named));
        let by = self.spoken_by(client, &speaker);
        let event = event("pubsub", &speaker, by.as_deref(), &json!({"channel": group}), json!({"message": message}));
        self.deliver_all(app, &self.members(app, group), self.own_id(client).as_deref(), &event);
        Ok(())
    }

    pub(crate) fn send(&mut self, client: usize, named: &Named, to: &str, only: Option<&str>, cc: bool, body: &str) {
        let (app, speaker) = (self.clients[client].app, self.speaker(client, named));
        let (by, own) = (self.spoken_by(client, &speaker), self.own_id(client));
        let message = |to: &str, original: Option<&str>| {
            let header = json!({"to": to, "toOriginal": original});
            event("message", &speaker, by.as_deref(), &header, json!({"body": body}))
        };
        if cc && to != speaker {
            let copy = message(&speaker, Some(to));
            self.deliver_all(app, &self.of_endpoint(app, &speaker), own.as_deref(), &copy);
        }
        let receivers = self.of_endpoint(app, to).into_iter().filter(|id| only.is_none_or(|only| id == only));
        self.deliver_all(app, &receivers.collect::<Vec<_>>(), own.as_deref(), &message(to, None));
    }

    pub(crate) fn signal(&mut self, client: usize, to: &str, only: Option<&str>, cc: bool, body: &Value) -> Outcome {
        let (app, speaker) = (self.clients[client].app, self.speaker(client, &Named::default()));
        let own = self.own_id(client);
        let kind = body["signalType"].as_str().unwrap();
        let session = body["sessionId"].as_str().unwrap();
        let all = self.of_endpoint(app, to);
        if kind == "offer" && !all.iter().any(|id| only.is_none_or(|only| id == only)) {
            return Err("not_found");
        }
        if let (Some(own), "answer") = (&own, kind) {
            let answered = &mut self.seat(app, own).answered;
            answered.push(session.to_owned());
            if answered.len() > 32 {
                answered.remove(0);
            }
        }
        let signal = |to: &str, only: Option<&str>, original: Option<&str>| {
            let header = json!({
                "to": to, "toConnection": only, "toOriginal": original, "fromType": "web", "toType": "web",
            });
            event("signal", &speaker, own.as_deref(), &header, json!({"body": body}))
        };
        if cc && to != speaker {
            let spared = |id: &String| {
                kind == "bye" && self.find(app, id).unwrap().answered.iter().any(|answered| answered == session)
            };
            let others: Vec<_> = self.of_endpoint(app, &speaker).into_iter().filter(|id| !spared(id)).collect();
            self.deliver_all(app, &others, own.as_deref(), &signal(&speaker, None, Some(to)));
        }
        let meant = all.into_iter().filter(|id| kind == "connected" || only.is_none_or(|only| id == only));
        self.deliver_all(app, &meant.collect::<Vec<_>>(), own.as_deref(), &signal(to, only, None));
        Ok(())
    }

    pub(crate) fn set_presence(&mut self, client: usize, named: &Named, kind: &str) -> Outcome {
        let app = self.clients[client].app;
        for target in self.targets(client, named)? {
            self.seat(app, &target).presence = Some(kind.to_owned());
            let of = self.find(app, &target).unwrap();
            self.deliver_all(app, &self.observers(app, &of.endpoint), Some(&target), &presence(&of, kind));
        }
        Ok(())
    }

    /// Returns what the answer says: of each endpoint its connections and their presence.
    pub(crate) fn observe(&mut self, client: usize, endpoints: &[String]) -> Result<Value, &'static str> {
        let app = self.clients[client].app;
        let own = self.own_id(client).ok_or("not_connected")?;
        let node = self.clients[client].node;
        for departure in self.departures.iter_mut().filter(|departure| departure.app == app && departure.own.is_some())
        {
            if endpoints.contains(&departure.endpoint) {
                departure.known_on.insert(node);
            }
        }
        self.seat(app, &own).observed.extend(endpoints.iter().cloned());
        let mut answer = Vec::new();
        for endpoint in endpoints {
            let mut states = Vec::new();
            for id in self.of_endpoint(app, endpoint) {
                let of = self.find(app, &id).unwrap();
                if let Some(kind) = of.presence.as_deref().filter(|kind| *kind != "unavailable" && id != own) {
                    self.deliver(app, &own, &presence(&of, kind), None);
                }
                states.push(json!([id, of.presence]));
            }
            answer.push(json!([endpoint, states]));
        }
        Ok(json!(answer))
    }
}
