//! Lists that are asked of other nodes, and deeds that they are asked to do.

use std::sync::Arc;
use std::time::Duration;

use respoke_core::id::{AppId, ConnectionId, EndpointId, GroupName, RequestId};
use respoke_core::ports::{Answer, Answers, ConnectionStateFacts, Deed, Done, Given, Holder, Node, Question, Whom};
use respoke_core::refusal::Refusal;
use tokio::time::Instant;

use super::{ANSWER_WITHIN, Others};
use crate::registry::Connection;

/// Asked for at once: what a node answers at most.
const PIECE_LEN: u16 = 1_000;
/// How long it is waited for where sessions are connected, which a list tells besides.
const SESSIONS_WITHIN: Duration = Duration::from_millis(250);

impl Others {
    async fn ask(&self, whom: Whom, question: Question) -> Answers {
        self.bus.ask(whom, question, ANSWER_WITHIN).await
    }

    /// A connection by its id.
    pub(crate) async fn connection(&self, app_id: AppId, id: ConnectionId) -> Result<Option<Arc<Connection>>, Refusal> {
        let Answers { given, silent } = self.ask(Whom::Others, Question::Connection { app_id, connection: id }).await;
        let mut is_nowhere = silent.is_empty();
        for Given { node, answer, .. } in given {
            match answer {
                Answer::Connections(mut found) => {
                    if let Some(facts) = found.pop() {
                        return Ok(Some(Arc::new(Connection::there(app_id, node, facts))));
                    }
                }
                // It is on its way from there, and no node has it.
                _ => is_nowhere = false,
            }
        }
        if is_nowhere { Ok(None) } else { Err(Refusal::NodeSilent) }
    }

    /// The first `most` connections after `after`, in the order of their ids.
    pub(crate) async fn connections(
        &self,
        whom: Whom,
        app_id: AppId,
        of: Holder,
        after: Option<ConnectionId>,
        most: usize,
    ) -> Result<Vec<Arc<Connection>>, Refusal> {
        let piece = u16::try_from(most).unwrap_or(u16::MAX).min(PIECE_LEN);
        let question = |after| Question::Connections { app_id, of: of.clone(), after, most: piece };
        let mut all = self
            .pieces(
                whom,
                most,
                after,
                question,
                |answer| match answer {
                    Answer::Connections(found) => Some((found.len() == usize::from(piece), found)),
                    _ => None,
                },
                |facts| facts.id,
            )
            .await?;
        all.sort_unstable_by_key(|(_, facts)| facts.id);
        all.truncate(most);
        Ok(all.into_iter().map(|(node, facts)| Arc::new(Connection::there(app_id, node, facts))).collect())
    }

    /// The first `most` groups after `after`, in the order of their names.
    pub(crate) async fn groups(
        &self,
        app_id: AppId,
        endpoint: Option<&EndpointId>,
        after: Option<GroupName>,
        most: usize,
    ) -> Result<Vec<GroupName>, Refusal> {
        let piece = u16::try_from(most).unwrap_or(u16::MAX).min(PIECE_LEN);
        let question = |after| Question::Groups { app_id, endpoint: endpoint.cloned(), after, most: piece };
        let all = self
            .pieces(
                Whom::Others,
                most,
                after,
                question,
                |answer| match answer {
                    Answer::Groups(found) => Some((found.len() == usize::from(piece), found)),
                    _ => None,
                },
                GroupName::clone,
            )
            .await?;
        let mut names: Vec<_> = all.into_iter().map(|(_, name)| name).collect();
        names.sort_unstable();
        names.dedup();
        names.truncate(most);
        Ok(names)
    }

    /// The connections of an endpoint with what each is in and says.
    pub(crate) async fn states(
        &self,
        app_id: AppId,
        endpoint: &EndpointId,
    ) -> Result<Vec<(Node, ConnectionStateFacts)>, Refusal> {
        let question = |after| Question::States { app_id, endpoint: endpoint.clone(), after };
        let answered = |answer| match answer {
            Answer::States { found, more } => Some((more, found)),
            _ => None,
        };
        self.pieces(Whom::Others, usize::MAX, None, question, answered, |state| state.connection.id).await
    }

    /// Which of those who are asked have open sockets of these sessions, for each of them, and who did not say.
    pub(crate) async fn sessions(&self, whom: Whom, numbers: &[u64]) -> (Vec<Vec<Node>>, Vec<Node>) {
        let mut at = vec![Vec::new(); numbers.len()];
        let question = Question::Sessions { numbers: numbers.to_vec() };
        let Answers { given, mut silent } = self.bus.ask(whom, question, self.and_the_way(SESSIONS_WITHIN)).await;
        for Given { node, answer, .. } in given {
            let Answer::Sessions(found) = answer else {
                silent.push(node);
                continue;
            };
            for index in found {
                if let Some(at) = usize::try_from(index).ok().and_then(|index| at.get_mut(index)) {
                    at.push(node);
                }
            }
        }
        (at, silent)
    }

    /// What those who are asked answer to a question, piece by piece until there are `most` of each, or no more.
    async fn pieces<T, K: Clone>(
        &self,
        whom: Whom,
        most: usize,
        after: Option<K>,
        question: impl Fn(Option<K>) -> Question,
        answered: impl Fn(Answer) -> Option<(bool, Vec<T>)>,
        key: impl Fn(&T) -> K,
    ) -> Result<Vec<(Node, T)>, Refusal> {
        let Answers { given, silent } = self.ask(whom, question(after)).await;
        if !silent.is_empty() {
            // A list that is not whole is not shown as one.
            return Err(Refusal::NodeSilent);
        }
        let mut all = Vec::new();
        for Given { node, answer, .. } in given {
            let (mut more, mut found) = answered(answer).ok_or(Refusal::NodeSilent)?;
            let mut count = 0;
            loop {
                count += found.len();
                let last = found.last().map(&key);
                all.extend(found.into_iter().map(|one| (node, one)));
                let Some(last) = last.filter(|_| more && count < most) else { break };
                let mut answers = self.ask(Whom::One(node), question(Some(last))).await;
                let answer = answers.given.pop().and_then(|given| answered(given.answer));
                (more, found) = answer.ok_or(Refusal::NodeSilent)?;
            }
        }
        Ok(all)
    }

    /// Has a node do something with a connection that it has.
    ///
    /// # Errors
    ///
    /// [`Refusal::NodeInDoubt`] if it does not answer: it may be done. [`Refusal::NodeSilent`] if the connection is on its way
    /// to another node: nothing is done.
    pub(crate) async fn have_done(
        &self,
        node: Node,
        app_id: AppId,
        request_id: RequestId,
        deed: Deed,
    ) -> Result<Done, Refusal> {
        let answers = self.ask(Whom::One(node), Question::Do { app_id, request_id, deed }).await;
        match answers.given.first().map(|given| &given.answer) {
            Some(Answer::Done(Done::Moving)) => Err(Refusal::NodeSilent),
            Some(Answer::Done(done)) => Ok(*done),
            Some(_) | None => Err(Refusal::NodeInDoubt),
        }
    }

    /// Has all others do something, and waits until it is done. Whether any of them had to.
    ///
    /// # Errors
    ///
    /// As [`Self::have_done`]; also if it is not done in time.
    pub(crate) async fn have_all_do(&self, app_id: AppId, request_id: RequestId, deed: Deed) -> Result<bool, Refusal> {
        let mut awaited = self.await_done(request_id);
        let Answers { given, silent } = self.ask(Whom::Others, Question::Do { app_id, request_id, deed }).await;
        let (mut any, mut under_way, mut in_doubt) = (false, 0, !silent.is_empty());
        for Given { answer, .. } in given {
            match answer {
                Answer::Done(Done::Now { told: _, settled }) => {
                    any = true;
                    under_way += usize::from(!settled);
                }
                Answer::Done(Done::Before { .. } | Done::Gone) => {}
                Answer::Done(Done::ConnectionFull | Done::GroupFull | Done::Overloaded | Done::Moving)
                | Answer::Connections(_)
                | Answer::Groups(_)
                | Answer::States { .. }
                | Answer::Count(_)
                | Answer::Sessions(_)
                | Answer::Books(_)
                | Answer::Snapshot { .. }
                | Answer::Client(_) => in_doubt = true,
            }
        }
        let is_done = awaited.done(under_way, Instant::now() + ANSWER_WITHIN).await;
        if is_done && !in_doubt { Ok(any) } else { Err(Refusal::NodeInDoubt) }
    }
}
