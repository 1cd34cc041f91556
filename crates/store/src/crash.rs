//! Where a test stops the writer as if the process were killed. The program itself has no such place: there this is nothing.

/// Where the writer stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CrashPoint {
    /// The batch ran and is not committed.
    BeforeCommit,
    /// The batch is committed and nobody was answered.
    AfterCommit,
}

/// Where it stops, if anywhere.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Crash {
    #[cfg(test)]
    pub(crate) at: Option<CrashPoint>,
}

impl Crash {
    #[cfg(test)]
    const fn point(self) -> Option<CrashPoint> {
        self.at
    }

    #[cfg(not(test))]
    const fn point(self) -> Option<CrashPoint> {
        let Self {} = self;
        None
    }

    /// Whether the first batch is the last.
    pub(crate) const fn is_to_come(self) -> bool {
        self.point().is_some()
    }

    /// Whether it comes here.
    pub(crate) fn is_at(self, point: CrashPoint) -> bool {
        self.point() == Some(point)
    }
}
