//! How much a bus over a carrier keeps, and for how long.

use std::time::Duration;

/// How much is kept, and for how long.
#[derive(Clone, Copy, Debug)]
pub struct CarriedLimits {
    /// How long what was sent is kept, to be sent again. A longer break is told as one.
    pub kept_for: Duration,
    /// How much of it is kept for each node, in bytes: what a break of a second costs at 16 MB a second. The longest item
    /// is a quarter of it.
    pub kept_bytes_max: usize,
    /// How much is sent again at once, and in a quarter of a second besides what the other is seen to have taken, in bytes.
    /// The rest is asked for when that came.
    pub again_bytes_max: usize,
    /// How long whoever joins waits for a node to confirm it. One that is later sends again what it published meanwhile.
    pub late_after: Duration,
    /// How late it may be for that. Whoever is later hears of a gap, or is declared dead.
    pub recent_for: Duration,
    /// How much of what it published is kept for that in all, in bytes: ten seconds of a few thousand short messages a
    /// second. For what was kept no longer than that, whoever is late hears of a gap.
    pub recent_bytes_max: usize,
    /// What a node is there for in one app before it gets all of that app: a megabyte to tell, and some three at each other
    /// node.
    pub interests_per_app_max: usize,
    /// What it is there for one by one in all, before apps are told as a whole: some 48 megabytes at each other node.
    pub interests_max: usize,
}

impl CarriedLimits {
    /// What production uses.
    pub const DEFAULT: Self = Self {
        kept_for: Duration::from_secs(5),
        kept_bytes_max: 16 << 20,
        again_bytes_max: 1 << 20,
        late_after: Duration::from_millis(250),
        recent_for: Duration::from_secs(10),
        recent_bytes_max: 16 << 20,
        interests_per_app_max: 65_536,
        interests_max: 1 << 20,
    };
}
