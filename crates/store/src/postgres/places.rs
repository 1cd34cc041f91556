//! Where servers stand, and what was settled on one when the database went on there (`lineage.rs`).

/// A server's place in the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lineage {
    /// Which cluster of files it was made as. A standby has that of its primary.
    pub(super) system: i64,
    /// How often it was promoted, and those before it.
    pub(crate) timeline: u32,
}

impl Lineage {
    /// How a server stands that follows `known`.
    pub(super) const fn after(self, known: Self) -> Standing {
        if self.system != known.system {
            Standing::Stranger
        } else if self.timeline < known.timeline {
            Standing::LeftBehind
        } else if self.timeline == known.timeline {
            Standing::Same
        } else {
            Standing::Promoted
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    Same,
    Promoted,
    LeftBehind,
    Stranger,
}

/// What was settled when a database went on on a timeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Settled {
    pub(super) lineage: Lineage,
    /// Drawn then. Two servers may have been promoted to one timeline, neither knowing of the other.
    pub(super) draw: u64,
    /// The newest change that was there before. What was committed with a later one is missing.
    pub(super) head: i64,
    /// The log has no numbers between these: they may have been given by a server that was left behind.
    pub(super) gap: (i64, i64),
}

impl Settled {
    pub(super) const LEN: usize = 44;

    pub(super) fn to_bytes(self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(Self::LEN);
        bytes.extend(self.lineage.system.to_be_bytes());
        bytes.extend(self.lineage.timeline.to_be_bytes());
        bytes.extend(self.draw.to_be_bytes());
        for number in [self.head, self.gap.0, self.gap.1] {
            bytes.extend(number.to_be_bytes());
        }
        bytes
    }

    /// How many numbers so many rows of the log may have that end with `newest`.
    pub(super) const fn numbers_of(&self, rows: i64, newest: i64) -> i64 {
        let (from, to) = self.gap;
        let reach_it = from < newest && newest.saturating_sub(rows) < to;
        if reach_it { rows.saturating_add(to - from) } else { rows }
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (system, rest) = bytes.split_first_chunk()?;
        let (timeline, rest) = rest.split_first_chunk()?;
        let (draw, rest) = rest.split_first_chunk()?;
        let (head, rest) = rest.split_first_chunk()?;
        let (from, rest) = rest.split_first_chunk()?;
        let to = rest.try_into().ok()?;
        Some(Self {
            lineage: Lineage { system: i64::from_be_bytes(*system), timeline: u32::from_be_bytes(*timeline) },
            draw: u64::from_be_bytes(*draw),
            head: i64::from_be_bytes(*head),
            gap: (i64::from_be_bytes(*from), i64::from_be_bytes(to)),
        })
    }
}
