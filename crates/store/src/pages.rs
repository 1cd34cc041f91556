//! Where a page of a list begins and ends.

use respoke_core::message::{HISTORY_BYTES_MAX, INSTANT_BYTES_MAX, INSTANT_MESSAGES_MAX, MessageRef};
use respoke_core::page::{CreationKey, PageRequest};
use uuid::Uuid;

/// How many rows are asked for: one more than the page may have, to see whether there is a next page.
pub(crate) fn limit<K>(request: &PageRequest<K>) -> i64 {
    i64::try_from(request.limit).unwrap_or(i64::MAX - 1) + 1
}

/// Behind which instant and id a page of objects in order of creation begins.
pub(crate) fn after_creation(request: &PageRequest<CreationKey>) -> (i64, Uuid) {
    request.after.map_or((i64::MIN, Uuid::nil()), |key| (key.at.millis(), key.id))
}

/// As many of a group's messages, which come newest first, as are one page of its history.
pub(crate) fn history<E>(
    rows: impl Iterator<Item = Result<MessageRef, E>>,
    limit: usize,
) -> Result<Vec<MessageRef>, E> {
    let (mut page, mut bytes): (Vec<MessageRef>, usize) = (Vec::new(), 0);
    for row in rows {
        let message = row?;
        bytes += message.len;
        if page.len() >= limit || bytes > HISTORY_BYTES_MAX {
            if let Some(last) = page.iter().rposition(|earlier| earlier.at != message.at) {
                page.truncate(last + 1);
                break;
            }
            // Nothing that `before` could go on with, and so no page yet, as long as it can be borne.
            if page.len() >= INSTANT_MESSAGES_MAX || bytes > INSTANT_BYTES_MAX {
                break;
            }
        }
        page.push(message);
    }
    Ok(page)
}

/// As many messages as stay within `bytes_max`, the first one in any case. Returns also how many bytes they have.
pub(crate) fn within<E>(
    rows: impl Iterator<Item = Result<MessageRef, E>>,
    bytes_max: usize,
) -> Result<(Vec<MessageRef>, usize), E> {
    let (mut messages, mut bytes) = (Vec::new(), 0);
    for row in rows {
        let message = row?;
        let len = message.len;
        if bytes + len > bytes_max && !messages.is_empty() {
            break;
        }
        bytes += len;
        messages.push(message);
    }
    Ok((messages, bytes))
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use respoke_core::clock::Timestamp;

    use super::*;

    fn said(at: i64, bytes: usize) -> MessageRef {
        MessageRef { group: 1, number: 1, at: Timestamp::from_millis(at), len: bytes }
    }

    /// Only databases of earlier versions hold several messages of one millisecond.
    #[test]
    fn messages_of_one_millisecond_stay_together() {
        let page = |said_at: &[i64], bytes, limit| -> Vec<i64> {
            let rows = said_at.iter().map(|at| Ok::<_, Infallible>(said(*at, bytes)));
            history(rows, limit).unwrap().iter().map(|message| message.at.millis()).collect()
        };
        assert_eq!(page(&[9, 5, 5, 5, 1], 10, 3), [9], "the three are left for the next page");
        assert_eq!(page(&[5, 5, 5, 1], 10, 2), [5, 5, 5], "alone they are too many, and come all");
        assert_eq!(page(&[5, 5, 5, 1], 10, 1), [5, 5, 5]);
        assert_eq!(page(&[9, 5, 5, 5, 1], 10, 4), [9, 5, 5, 5]);
        assert_eq!(page(&[3, 3, 2, 2, 2, 2, 1], HISTORY_BYTES_MAX / 5, 200), [3, 3]);
        assert_eq!(page(&[2, 2, 2, 2, 2, 2, 1], HISTORY_BYTES_MAX / 5, 200), [2; 6], "whatever they are of bytes");
    }

    #[test]
    fn what_one_millisecond_holds_has_a_bound_too() {
        let page = |bytes: usize| history((0..).map(|_| Ok::<_, Infallible>(said(7, bytes))), 200).unwrap().len();
        assert_eq!(page(100), INSTANT_MESSAGES_MAX);
        assert_eq!(page(20_000), INSTANT_BYTES_MAX / 20_000);
        let page = history((0..).map(|number| Ok::<_, Infallible>(said(-number / 300, 100))), 200).unwrap();
        assert_eq!(page.len(), 300, "the next millisecond is for the next page");
    }
}
