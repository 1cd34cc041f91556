//! Lists in pages.
//!
//! Each list has a key that says where a page ended. To clients it is a cursor, opaque text; it becomes the key again at
//! the door, so that text of another make is refused there and no store guesses at it.

use uuid::Uuid;

use crate::clock::Timestamp;
use crate::id::{ConnectionId, EndpointId, GroupName, parse_uuid};

/// The most items of one page.
pub const PAGE_LIMIT_MAX: usize = 200;
/// Items of a page when no number is asked for: existing clients know no paging and list all their roles at once.
pub const PAGE_LIMIT_DEFAULT: usize = 200;

/// Which part of a list is wanted.
#[derive(Clone, Debug)]
pub struct PageRequest<K> {
    /// At most this many items; 1 to [`PAGE_LIMIT_MAX`].
    pub limit: usize,
    /// Where the last page ended; see [`Page::next`].
    pub after: Option<K>,
}

impl<K> PageRequest<K> {
    /// The first page of the greatest length.
    #[must_use]
    pub fn first() -> Self {
        Self { limit: PAGE_LIMIT_MAX, after: None }
    }
}

/// One page of a list, in an order that inserts do not disturb.
#[derive(Clone, Debug)]
pub struct Page<T, K> {
    /// The items.
    pub items: Vec<T>,
    /// Give this as `after` for the next page; none: the list is at its end.
    ///
    /// A page may hold fewer items than asked for, even none, and still have a next one: filtered lists stop after a
    /// bounded stretch of rows.
    pub next: Option<K>,
}

impl<T, K> Page<T, K> {
    /// Cuts a page from a list's rest, of which one item more is there than wanted if it goes on.
    pub fn cut(mut rest: Vec<T>, limit: usize, key: impl Fn(&T) -> K) -> Self {
        let more = rest.len() > limit;
        rest.truncate(limit);
        let next = rest.last().filter(|_| more).map(key);
        Self { items: rest, next }
    }

    /// The same page of other items.
    pub fn map<U>(self, f: impl FnMut(T) -> U) -> Page<U, K> {
        Page { items: self.items.into_iter().map(f).collect(), next: self.next }
    }
}

impl<T, K: PageKey> Page<T, K> {
    /// The cursor of the next page.
    #[must_use]
    pub fn cursor(&self) -> Option<String> {
        self.next.as_ref().map(encode_cursor)
    }
}

/// Where a page of a list may end: what its items are in order of.
pub trait PageKey: Sized {
    /// The key as text that [`PageKey::read`] reads.
    fn text(&self) -> String;
    /// Reads the text of a key.
    fn read(text: &str) -> Option<Self>;
}

/// A key as a client gets it. It goes into a header, and a name may be any text.
pub fn encode_cursor(key: &impl PageKey) -> String {
    data_encoding::BASE64URL_NOPAD.encode(key.text().as_bytes())
}

/// Reads a cursor. None: no list of this kind gave it.
#[must_use]
pub fn parse_cursor<K: PageKey>(cursor: &str) -> Option<K> {
    let bytes = data_encoding::BASE64URL_NOPAD.decode(cursor.as_bytes()).ok()?;
    let text = String::from_utf8(bytes).ok()?;
    // A key has one text: `7` and `+07` must not both be it.
    K::read(&text).filter(|key| key.text() == text)
}

/// The key of lists in order of row numbers, whichever way they go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowNumber(i64);

impl RowNumber {
    /// The number of a row. One that no database has stands for the last.
    #[must_use]
    pub fn new(number: u64) -> Self {
        Self(i64::try_from(number).unwrap_or(i64::MAX))
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> i64 {
        self.0
    }
}

impl PageKey for RowNumber {
    fn text(&self) -> String {
        self.0.to_string()
    }

    fn read(text: &str) -> Option<Self> {
        text.parse().ok().filter(|number| *number >= 0).map(Self)
    }
}

/// The key of lists in order of creation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CreationKey {
    /// When it was made.
    pub at: Timestamp,
    /// Its id, which parts what was made in one millisecond.
    pub id: Uuid,
}

impl PageKey for CreationKey {
    fn text(&self) -> String {
        format!("{}/{}", self.at.millis(), self.id)
    }

    fn read(text: &str) -> Option<Self> {
        let (at, id) = text.split_once('/')?;
        Some(Self { at: Timestamp::of_millis(at.parse().ok()?)?, id: parse_uuid(id)? })
    }
}

/// Lists in order of what is a key by itself.
macro_rules! own_key {
    ($($name:ident: $parse:expr),*) => {$(
        impl PageKey for $name {
            fn text(&self) -> String {
                self.to_string()
            }

            fn read(text: &str) -> Option<Self> {
                $parse(text)
            }
        }
    )*};
}
own_key!(
    EndpointId: |text| EndpointId::parse(text).ok(),
    GroupName: |text| GroupName::parse(text).ok(),
    ConnectionId: ConnectionId::parse
);

#[cfg(test)]
mod tests {
    use std::fmt::Debug;

    use super::*;

    fn comes_back<K: PageKey + Debug + PartialEq>(key: &K) {
        assert_eq!(parse_cursor::<K>(&encode_cursor(key)).as_ref(), Some(key));
    }

    fn cursor(text: &str) -> String {
        data_encoding::BASE64URL_NOPAD.encode(text.as_bytes())
    }

    #[test]
    fn a_key_comes_back_from_its_cursor() {
        comes_back(&RowNumber::new(0));
        comes_back(&RowNumber::new(u64::MAX));
        comes_back(&CreationKey { at: Timestamp::from_millis(-7), id: Uuid::max() });
        comes_back(&EndpointId::parse("jo/é").unwrap());
        comes_back(&GroupName::parse("a b&c").unwrap());
        comes_back(&ConnectionId::random());
    }

    #[test]
    fn what_no_list_gave_is_no_cursor() {
        for text in ["", "x", "-1", "+7", "07", " 7", "7/", "99999999999999999999"] {
            assert_eq!(parse_cursor::<RowNumber>(&cursor(text)), None, "{text}");
        }
        let id = "7c5f10a4-3f1e-4b6e-9a30-5d3f6cf0a001";
        assert!(parse_cursor::<CreationKey>(&cursor(&format!("7/{id}"))).is_some());
        for text in [id.to_owned(), format!("07/{id}"), format!("7/{}", id.to_uppercase()), "7/".into(), "/".into()] {
            assert_eq!(parse_cursor::<CreationKey>(&cursor(&text)), None, "{text}");
        }
        assert_eq!(parse_cursor::<EndpointId>(&cursor("a\nb")), None);
        assert_eq!(parse_cursor::<EndpointId>("!"), None);
        assert_eq!(parse_cursor::<EndpointId>(&data_encoding::BASE64URL_NOPAD.encode(b"\xff")), None);
        assert_eq!(parse_cursor::<RowNumber>("7"), None);
    }

    #[test]
    fn a_page_that_is_cut_says_whether_there_is_more() {
        let cut = |items: &[u64], limit| Page::cut(items.to_vec(), limit, |number| RowNumber::new(*number));
        let page = cut(&[1, 2, 3], 2);
        assert_eq!((page.items.as_slice(), page.next), (&[1, 2][..], Some(RowNumber::new(2))));
        let page = cut(&[1, 2], 2);
        assert_eq!((page.items.len(), page.next), (2, None));
        assert_eq!(cut(&[], 2).next, None);
    }
}
