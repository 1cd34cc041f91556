//! What is done in batches, and what comes of it.

use respoke_core::audit::AuditEntry;
use respoke_core::clock::Timestamp;
use respoke_core::id::SecretId;
use respoke_core::idempotency::{Creation, IdempotencyKey};
use respoke_core::ports::{MintRefusal, NewSession, Redemption};
use respoke_core::secret::SecretHash;
use respoke_core::token::{MintedToken, NewToken, Replaces};

/// A mint.
pub(in crate::postgres) struct Mint {
    pub(in crate::postgres) token: NewToken,
    pub(in crate::postgres) replaces: Replaces,
    pub(in crate::postgres) once: Option<IdempotencyKey>,
    pub(in crate::postgres) entry: AuditEntry,
}

/// A redemption.
pub(in crate::postgres) struct Redeem {
    pub(in crate::postgres) number: u64,
    pub(in crate::postgres) hash: SecretHash,
    pub(in crate::postgres) session: NewSession,
    pub(in crate::postgres) once: Option<IdempotencyKey>,
    pub(in crate::postgres) entry: AuditEntry,
}

/// A note that something was used, which may be lost.
pub(in crate::postgres) enum Touch {
    Session { number: u64, at: Timestamp, address: String },
    Secret { id: SecretId, at: Timestamp },
}

/// What is done in batches.
pub(in crate::postgres) enum Operation {
    Mint(Mint),
    Redeem(Redeem),
    Touch(Touch),
}

/// What came of it.
pub(in crate::postgres) enum Outcome {
    Mint(Creation<MintedToken, MintRefusal>),
    Redeem(Redemption),
    Touched,
}
