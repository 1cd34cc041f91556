//! Looking on from this node, and having the other nodes show what they have.

use std::time::Duration;

use futures_util::future::join_all;
use respoke_core::id::{AppId, EndpointId, RequestId};
use respoke_core::ports::{Answer, Deed, Done, Given, Question, Whom};
use respoke_core::refusal::Refusal;
use respoke_core::tail::{Payloads, TailedFrame};

use super::OpenTail;
use crate::Hub;
use crate::registry::Connection;
use crate::settle::SETTLED_WITHIN;

/// How often it asks again. One that came meanwhile is asked then too.
pub(super) const RENEWED_EVERY: Duration = Duration::from_secs(5);

impl Hub {
    /// Opens a tail of an endpoint, and has the other nodes show theirs. One that does not answer in time is asked again.
    ///
    /// # Errors
    ///
    /// [`Refusal::LimitReached`] if there are as many tails as there may be, here or on another node.
    pub(crate) async fn open_tail(
        &self,
        app_id: AppId,
        endpoint: EndpointId,
        payloads: Payloads,
        request_id: RequestId,
    ) -> Result<OpenTail, Refusal> {
        let others = self.others.is_some().then(|| self.bus.clone());
        let tail = self.tails.open(app_id, endpoint.clone(), payloads, others)?;
        if !self.have_shown(app_id, endpoint, payloads, request_id).await {
            return Err(Refusal::LimitReached("another node shows as many endpoints as it may"));
        }
        Ok(tail)
    }

    /// Shows a frame of a connection to whoever looks on at its endpoint.
    pub fn show(&self, connection: &Connection, frame: impl Fn(Payloads) -> TailedFrame) {
        if let Some(shown) = self.tails.show(connection, frame) {
            self.bus.publish(shown);
        }
    }

    /// Has other nodes go on showing what is looked at from here. Never ends.
    pub async fn keep_looking(&self) {
        if self.others.is_none() {
            return std::future::pending().await;
        }
        let mut renewals = tokio::time::interval(RENEWED_EVERY);
        renewals.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            renewals.tick().await;
            // Side by side: one after the other beside a silent node, the last would be renewed after it ran out.
            let renewed = self.tails.looked_at().into_iter().map(async |(app_id, endpoint, payloads)| {
                let request_id = RequestId::new(self.broker.chance());
                // Whoever looks on then knows that there is more than is shown.
                if !self.have_shown(app_id, endpoint.clone(), payloads, request_id).await {
                    self.tails.end_of(app_id, &endpoint);
                }
            });
            join_all(renewed).await;
        }
    }

    /// False: one of the others does not, because it shows as many as it may.
    async fn have_shown(&self, app_id: AppId, endpoint: EndpointId, payloads: Payloads, request_id: RequestId) -> bool {
        if self.others.is_none() {
            return true;
        }
        let question = Question::Do { app_id, request_id, deed: Deed::Show { endpoint, payloads } };
        let answers = self.bus.ask(Whom::Others, question, SETTLED_WITHIN).await;
        let refuses = |given: &Given| matches!(given.answer, Answer::Done(Done::Overloaded));
        !answers.given.iter().any(refuses)
    }
}
