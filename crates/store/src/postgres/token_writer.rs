//! The writer of mints and redemptions.

mod batch;
mod draft;
mod known;
mod operation;
mod statements;
#[cfg(test)]
mod tests;

use respoke_core::idempotency::Creation;
use respoke_core::ports::{MintRefusal, Redemption, StoreError};
use respoke_core::seal::Sealer;
use respoke_core::token::MintedToken;

use super::connect::Connection;
use super::tries::Undone;
use super::writer::{End, Work, Writer};
pub(super) use known::KnownGrounds;
pub(super) use operation::{Mint, Redeem, Touch};
use operation::{Operation, Outcome};

/// What it works with.
pub(super) struct Tokens {
    pub(super) sealer: Sealer,
    /// What mints stand on.
    pub(super) known: KnownGrounds,
}

impl Work for Tokens {
    type Operation = Operation;
    type Outcome = Outcome;

    /// While one commits slowly, another one runs the next batch.
    const CONNECTIONS: usize = 2;

    async fn run(
        &self,
        connection: &Connection,
        end: End<'_>,
        operations: &[&Operation],
    ) -> Result<Vec<Option<Outcome>>, Undone> {
        batch::run(connection, &self.sealer, &self.known, end, operations).await
    }
}

impl Writer<Tokens> {
    pub(super) async fn mint(&self, mint: Mint) -> Result<Creation<MintedToken, MintRefusal>, StoreError> {
        match self.done(Operation::Mint(mint)).await? {
            Outcome::Mint(creation) => Ok(creation),
            Outcome::Redeem(_) | Outcome::Touched => {
                Err(StoreError::Corrupt("a mint was answered as another operation"))
            }
        }
    }

    pub(super) async fn redeem(&self, redeem: Redeem) -> Result<Redemption, StoreError> {
        match self.done(Operation::Redeem(redeem)).await? {
            Outcome::Redeem(redemption) => Ok(redemption),
            Outcome::Mint(_) | Outcome::Touched => {
                Err(StoreError::Corrupt("a redemption was answered as another operation"))
            }
        }
    }

    /// Notes it some time, unless too much else waits.
    pub(super) fn touch(&self, touch: Touch) {
        self.do_if_idle(Operation::Touch(touch));
    }
}
