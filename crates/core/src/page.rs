//! Lists in pages.

/// Which part of a list is wanted.
#[derive(Clone, Debug)]
pub struct PageRequest {
    /// At most this many items; 1 to [`PageRequest::LIMIT_MAX`].
    pub limit: usize,
    /// Where the last page ended; see [`Page::next`].
    pub after: Option<String>,
}

impl PageRequest {
    /// The most items of one page.
    pub const LIMIT_MAX: usize = 200;
    /// Items of a page when no number is asked for: existing clients know no paging and list all their roles at once.
    pub const LIMIT_DEFAULT: usize = 200;

    /// The first page of the greatest length.
    #[must_use]
    pub fn first() -> Self {
        Self { limit: Self::LIMIT_MAX, after: None }
    }
}

/// One page of a list, in an order that inserts do not disturb.
#[derive(Clone, Debug)]
pub struct Page<T> {
    /// The items.
    pub items: Vec<T>,
    /// Give this as `after` for the next page; none: the list is at its end.
    ///
    /// A page may hold fewer items than asked for, even none, and still have a next one: filtered lists stop after a
    /// bounded stretch of rows.
    pub next: Option<String>,
}

impl<T> Page<T> {
    /// The same page of other items.
    pub fn map<U>(self, f: impl FnMut(T) -> U) -> Page<U> {
        Page { items: self.items.into_iter().map(f).collect(), next: self.next }
    }
}
