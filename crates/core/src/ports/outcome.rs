//! What may come of a step that several ports have. Expected outcomes are values that say what happened.

/// What came of removing something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Removal {
    /// It was there, and is gone.
    Removed,
    /// There was none.
    Unknown,
}

impl Removal {
    /// Nothing, or `unknown` if there was none.
    ///
    /// # Errors
    ///
    /// `unknown`.
    pub fn or_refuse<E>(self, unknown: E) -> Result<(), E> {
        match self {
            Self::Removed => Ok(()),
            Self::Unknown => Err(unknown),
        }
    }
}

/// What came of ending something that is kept for a while after its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Ending {
    /// It was live, or over by age alone, and is ended.
    Ended,
    /// It had been ended before.
    Over,
    /// There is none, or none any more.
    Unknown,
}
