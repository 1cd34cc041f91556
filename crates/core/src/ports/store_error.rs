//! How a store says that it failed, and whether something was written all the same.

use thiserror::Error;

/// The database failed. Expected outcomes are values, never this.
///
/// Of a method that writes, every variant but [`StoreError::InDoubt`] says that nothing was written.
#[derive(Debug, Error)]
pub enum StoreError {
    /// It waits behind too many writes or searches; nothing was written.
    #[error("too many operations are waiting")]
    Overloaded,
    /// It could not be reached or written; nothing was written.
    #[error("the database could not be used")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// It can neither keep a text that it was given nor look for it, because of a character in it; nothing was written.
    #[error("a text holds a character that the database cannot keep")]
    BadText(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// It failed while it was writing: this was written or was not, and a restart may bring it to light either way.
    #[error("the database failed while writing: whether this was done is not known")]
    InDoubt(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// It holds something that this program never writes.
    #[error("the database holds a damaged row: {0}")]
    Corrupt(&'static str),
}

impl StoreError {
    /// The same of a step that came after another one was written: to say that nothing was would not be true any more.
    #[must_use]
    pub fn after_a_write(self) -> Self {
        match self {
            Self::InDoubt(_) => self,
            Self::Overloaded | Self::Unavailable(_) | Self::BadText(_) | Self::Corrupt(_) => {
                Self::InDoubt(Box::new(self))
            }
        }
    }
}
