//! `/v1/groups/{id}/history` and `/v1/group-history-search`.

use std::collections::HashSet;

use super::own::group_named;
use super::{Broker, Caller, Rights};
use crate::clock::Timestamp;
use crate::id::{AppId, GroupName};
use crate::message::{HISTORY_LIMIT_MAX, MessageRef, StoredMessage};
use crate::refusal::Refusal;

/// Messages of one group's history when no number is asked for.
///
/// # Source
///
/// What the mobile clients ask for, like the next (section 5.4 of docs/protocol.md).
const HISTORY_LIMIT_DEFAULT: usize = 50;
/// Messages of each group in a search when no number is asked for.
const SEARCH_LIMIT_DEFAULT: usize = 1;
/// Messages of one search together, as far as they are no more than a megabyte. So many groups can be searched, too.
const SEARCH_MESSAGES_MAX: usize = 1_000;

impl Broker {
    /// Where kept messages of a group are, newest first, from before an instant; [`Broker::messages`] reads them.
    ///
    /// A limit is brought within 1 and [`HISTORY_LIMIT_MAX`].
    ///
    /// # Errors
    ///
    /// As [`Broker::rights`]; [`Refusal::Forbidden`] unless the caller may join the group; [`Refusal::Invalid`].
    pub async fn history(
        &self,
        caller: &Caller,
        app: Option<AppId>,
        group: &str,
        before: Option<Timestamp>,
        limit: Option<u64>,
    ) -> Result<Vec<MessageRef>, Refusal> {
        let rights = self.rights(caller).await?;
        let app = self.app_within(caller, app).await?;
        let group = group_named("id", group)?;
        check_may_read(&rights, &group)?;
        Ok(self.store.history(app.id, &group, before, bounded(limit, HISTORY_LIMIT_DEFAULT)).await?)
    }

    /// Where the newest kept messages of each of many groups are, newest first. A group that is named twice is told once.
    ///
    /// Of many groups each gets fewer than `limit`, so that together they are at most 1,000. Groups that make it too many
    /// bytes are left out.
    ///
    /// # Errors
    ///
    /// As [`Broker::history`], if it is so for any of the groups.
    pub async fn search_history(
        &self,
        caller: &Caller,
        app: Option<AppId>,
        groups: Option<Vec<String>>,
        limit: Option<u64>,
    ) -> Result<Vec<(GroupName, Vec<MessageRef>)>, Refusal> {
        let rights = self.rights(caller).await?;
        let app = self.app_within(caller, app).await?;
        let named = groups.ok_or_else(|| Refusal::missing("groupIds"))?;
        if named.len() > SEARCH_MESSAGES_MAX {
            return Err(Refusal::field("groupIds", "must name at most 1000 groups"));
        }
        let mut seen = HashSet::new();
        let mut groups = Vec::with_capacity(named.len());
        for text in &named {
            let group = group_named("groupIds", text)?;
            check_may_read(&rights, &group)?;
            if seen.insert(group.clone()) {
                groups.push(group);
            }
        }
        let each = SEARCH_MESSAGES_MAX / groups.len().max(1);
        let limit = bounded(limit, SEARCH_LIMIT_DEFAULT).min(each);
        Ok(self.store.latest(app.id, groups, limit).await?)
    }

    /// Messages whose places one of the above told of to who may read them; none of those that went meanwhile.
    ///
    /// # Errors
    ///
    /// [`Refusal::Store`].
    pub async fn messages(&self, which: Vec<MessageRef>) -> Result<Vec<Option<StoredMessage>>, Refusal> {
        Ok(self.store.messages(which).await?)
    }
}

/// Who may join a group may read what was said in it, and nobody else.
fn check_may_read(rights: &Rights, group: &GroupName) -> Result<(), Refusal> {
    match rights.group(group).subscribe {
        Some(true) => Ok(()),
        Some(false) | None => Err(Refusal::Forbidden("the role does not permit to join this group")),
    }
}

fn bounded(limit: Option<u64>, default: usize) -> usize {
    limit.map_or(default, |limit| usize::try_from(limit).unwrap_or(HISTORY_LIMIT_MAX).clamp(1, HISTORY_LIMIT_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_brought_within_its_bounds() {
        let of = |limit| bounded(limit, 50);
        assert_eq!((of(None), of(Some(7)), of(Some(0)), of(Some(201)), of(Some(u64::MAX))), (50, 7, 1, 200, 200));
    }
}
