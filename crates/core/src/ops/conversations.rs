//! `/v1/endpoints/{id}/conversations`.

use std::collections::BTreeMap;

use super::own::{endpoint_needed, group_named};
use super::{Broker, Caller};
use crate::admin::AdminRole;
use crate::clock::Timestamp;
use crate::id::{AppId, EndpointId, GroupName};
use crate::message::{Conversation, Conversations, ReadMark};
use crate::refusal::Refusal;

/// Groups looked at because an endpoint is in them: some 50 milliseconds of look-ups.
const JOINED_MAX: usize = 10_000;
/// Marks set by one request: an endpoint has no more conversations.
const MARKS_MAX: usize = Conversation::PER_ENDPOINT_MAX;
/// Marks set by one operation of the store. What waits behind the whole of a request would wait ten times as long.
const MARKS_AT_ONCE: usize = 100;

/// A wish to count a group as read.
#[derive(Clone, Debug)]
pub struct MarkRead {
    /// Which group.
    pub group: Option<String>,
    /// Up to when; all that was said so far if nothing is said.
    pub at: Option<Timestamp>,
}

impl Broker {
    /// An endpoint's conversations, those with the newest messages first: the groups with kept messages that it wrote
    /// to, has a mark in, or is in with a connection, which `joined` says. Groups that the caller may not join are left
    /// out.
    ///
    /// # Errors
    ///
    /// As [`Broker::rights`] and `joined`; [`Refusal::Forbidden`] for an App-Token of another endpoint;
    /// [`Refusal::Invalid`].
    pub async fn conversations<Joined>(
        &self,
        caller: &Caller,
        app: Option<AppId>,
        endpoint: &str,
        joined: impl FnOnce(AppId, EndpointId) -> Joined + Send,
    ) -> Result<Conversations, Refusal>
    where
        Joined: Future<Output = Result<Vec<GroupName>, Refusal>> + Send,
    {
        let rights = self.rights(caller).await?;
        let app = self.app_within(caller, app).await?;
        let endpoint = endpoint_needed(caller, Some(endpoint))?;
        let mut joined = joined(app.id, endpoint.clone()).await?;
        joined.truncate(JOINED_MAX);
        let mut found = self.store.conversations(app.id, &endpoint, joined).await?;
        found.list.retain(|conversation| rights.group(&conversation.group).subscribe == Some(true));
        Ok(found)
    }

    /// Moves an endpoint's read marks forward; none goes back, and none beyond the newest message.
    ///
    /// A group that the caller may not join is passed over, as it is in the list: one role that changed must not keep
    /// all other groups from being marked. A failure may leave some marked, so that repeating goes on from there.
    ///
    /// # Errors
    ///
    /// As [`Broker::conversations`]; [`Refusal::QuotaExceeded`] for a mark that would be new.
    pub async fn mark_read(
        &self,
        caller: &Caller,
        app: Option<AppId>,
        endpoint: &str,
        marks: Option<Vec<MarkRead>>,
    ) -> Result<(), Refusal> {
        caller.permit(AdminRole::Developer)?;
        let rights = self.rights(caller).await?;
        let app = self.app_within(caller, app).await?;
        let endpoint = endpoint_needed(caller, Some(endpoint))?;
        let wanted = marks.ok_or_else(|| Refusal::missing("groups"))?;
        if wanted.len() > MARKS_MAX {
            return Err(Refusal::field("groups", "must be at most 1000"));
        }
        let now = self.now();
        let mut marks = BTreeMap::new();
        for mark in wanted {
            let group = mark.group.ok_or_else(|| Refusal::missing("groupId"))?;
            let group = group_named("groupId", &group)?;
            if rights.group(&group).subscribe == Some(true) {
                // What is yet to be said cannot have been read; the store knows what that is, and the clock may not.
                let at = mark.at.unwrap_or(Timestamp::from_millis(i64::MAX));
                marks.entry(group).and_modify(|marked: &mut Timestamp| *marked = at.max(*marked)).or_insert(at);
            }
        }
        for marks in batches(marks) {
            self.store.mark_read(app.id, &endpoint, marks, now, self.kept_bytes_max(&app)).await?.kept()?;
        }
        Ok(())
    }
}

/// The marks in as many as are set at once.
fn batches(marks: BTreeMap<GroupName, Timestamp>) -> Vec<Vec<ReadMark>> {
    let marks: Vec<_> = marks.into_iter().map(|(group, at)| ReadMark { group, at }).collect();
    marks.chunks(MARKS_AT_ONCE).map(<[_]>::to_vec).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_marks_are_set_a_hundred_at_once() {
        let marks = |count: usize| {
            let named = |n| (GroupName::parse(&format!("group {n}")).unwrap(), Timestamp::from_secs(1));
            batches((0..count).map(named).collect()).iter().map(Vec::len).collect::<Vec<_>>()
        };
        assert_eq!((marks(0), marks(100), marks(201)), (vec![], vec![100], vec![100, 100, 1]));
    }
}
