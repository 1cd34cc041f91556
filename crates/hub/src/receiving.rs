//! What comes over the bus, and where in the hub it goes.

use respoke_core::event::Content;
use respoke_core::ports::{Answer, Delivery, Done, Gap, Node, Notice, Question, Receiver, Source};

use crate::answers;
use crate::hub::Hub;
use crate::others::{Asked, Others};

impl Receiver for Hub {
    fn receive(&self, from: Source, delivery: Delivery) {
        let (moment, there) = (|| self.local.registry.moment(), self.others.as_ref().zip(there(from)));
        match delivery {
            Delivery::Push { app_id, to, event } => {
                if there.is_none_or(|(others, from)| others.tells(from, app_id, &to, &event)) {
                    if let Some(connection) = there.and(event.from_connection) {
                        self.tell_untold_of(connection);
                        let is_there = matches!(event.content, Content::Joined { .. } | Content::Presence(_));
                        // Where it went from may have told its end, and that it moved is lost.
                        if is_there && self.local.departures.awaits(connection) {
                            self.alone_with(connection, || self.tell_departures_of(connection));
                        }
                        if let Content::Joined { group, .. } = &event.content {
                            self.tell_ended_of(connection, group);
                        }
                    }
                    self.push_in_order(from, app_id, to, event);
                }
            }
            // What is this node's own was noted where it was done.
            Delivery::Arrived(arrived) => {
                if let Some((others, from)) = there {
                    others.arrived(from, &arrived);
                }
            }
            // Another node parked it and gave it up to this one. It may tell its end because it never heard that it arrived here.
            Delivery::Departed(departed)
                if there.is_some()
                    && self.local.registry.connection(departed.app_id, departed.connection).is_some() => {}
            Delivery::Departed(departed) => {
                let Some((others, from)) = there else { return };
                let (departures, app, endpoint) = (&self.local.departures, departed.app_id, departed.endpoint.clone());
                // It may arrive here or elsewhere just now, which is told behind this if it comes behind this.
                self.alone_with(departed.connection, || {
                    departures.expect(app, &endpoint);
                    let departure = others.departed(from, departed, moment());
                    if departure.as_ref().is_none_or(|departure| !departure.observed) {
                        departures.told(app, &endpoint);
                    }
                    if let Some(departure) = departure {
                        departures.add(departure);
                    }
                });
            }
            Delivery::Moved(moved) => {
                if let Some((_, from)) = there {
                    self.has_moved(from, &moved);
                }
            }
            Delivery::GroupEnded { app_id, group, connections } => {
                let ended =
                    |(others, from): (&Others, _)| others.group_ended(from, app_id, &group, &connections, moment());
                let departures = there.map(ended);
                for departure in departures.into_iter().flatten() {
                    self.tell_later(departure);
                }
            }
            Delivery::Tailed { app_id, endpoint, frame } => {
                // Whoever looks on here at what is shown from here saw it then.
                if there.is_some() {
                    self.tails.show_theirs(app_id, &endpoint, &frame);
                }
            }
            Delivery::Counted(counted) => {
                if let Some((_, (from, _))) = there {
                    self.take_counted(from, counted);
                }
            }
            // The feed tells what it is, and whether there is more. What was done here was followed before it was told.
            Delivery::Change(_) if from == Source::Here => {}
            Delivery::Change(_) => self.broker.hint(),
        }
    }

    fn missed(&self, gap: Gap) {
        if let Some(others) = &self.others {
            others.missed(&gap);
        }
        // A hint may have been in it.
        self.broker.hint();
    }

    fn answer(&self, from: Node, question: Question) -> Answer {
        if let Question::Books(question) = question {
            return Answer::Books(self.answer_of_books(question));
        }
        if let Question::Sessions { numbers } = question {
            return Answer::Sessions(self.sessions_here(&numbers));
        }
        if let Question::Parked(claim) = &question {
            return self.give_up_parked(claim);
        }
        if let Question::Connection { connection, .. } = &question
            && self.parking.is_moving(*connection)
        {
            return Answer::Done(Done::Moving);
        }
        if let Question::Parks = &question {
            self.parks(from);
        }
        if let Question::Snapshot { of, after: None } = &question {
            self.depart_again(of);
        }
        let carry_out = |app, in_request, deed| self.carry_out(app, Asked { by: from, in_request }, deed);
        let hand_over = |which: &_| self.hand_over(from, which);
        answers::answer(&self.local.registry, question, carry_out, hand_over)
    }

    fn told(&self, from: Node, notice: Notice) {
        match notice {
            Notice::Settled { request_id } => {
                if let Some(others) = &self.others {
                    others.is_done(request_id);
                }
            }
            Notice::Follow { number } => self.broker.follow_for(from, number),
            Notice::Followed { number, epoch } => self.broker.followed_by(from, number, epoch),
        }
    }

    fn lost(&self, node: Node) {
        self.broker.lost(node);
        self.parking.lost(node);
        if let Some(others) = &self.others {
            others.lost(node, self.local.registry.moment());
        }
    }
}

/// Which other node it comes from, and its number.
const fn there(from: Source) -> Option<(Node, u64)> {
    match from {
        Source::Here => None,
        Source::There { node, number } => Some((node, number)),
    }
}
