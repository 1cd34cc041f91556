//! Tokens: minting, redeeming, revoking. Mints and redemptions are decided and written in batches (`token_writer/batch.rs`).

use async_trait::async_trait;
use respoke_core::audit::AuditEntry;
use respoke_core::clock::Timestamp;
use respoke_core::grant::Ground;
use respoke_core::id::{AppId, EndpointId};
use respoke_core::idempotency::{Creation, IdempotencyKey};
use respoke_core::page::{Page, PageRequest, RowNumber};
use respoke_core::ports::{Ending, ListFilter, MintRefusal, NewSession, Redemption, StoreError, TokenStore};
use respoke_core::secret::SecretHash;
use respoke_core::token::{MintedToken, NewToken, Replaces, TokenRecord};

use super::audit_rows;
use super::connect::params;
use super::deeds::Deed;
use super::failure::Failure;
use super::rows::{Columns, exists, stored};
use super::store::PostgresStore;
use super::token_rows::{BY_NUMBER, OUTSTANDING, read};
use super::token_writer::{Mint, Redeem};
use super::windows::Gathering;
use super::write::in_ending_transaction;

#[async_trait]
impl TokenStore for PostgresStore {
    async fn issue_token(
        &self,
        token: NewToken,
        replaces: Replaces,
        once: Option<IdempotencyKey>,
        entry: AuditEntry,
    ) -> Result<Creation<MintedToken, MintRefusal>, StoreError> {
        self.writer.mint(Mint { token, replaces, once, entry }).await
    }

    async fn redeem(
        &self,
        number: u64,
        hash: SecretHash,
        session: NewSession,
        once: Option<IdempotencyKey>,
        entry: AuditEntry,
    ) -> Result<Redemption, StoreError> {
        self.writer.redeem(Redeem { number, hash, session, once, entry }).await
    }

    async fn token(&self, number: u64) -> Result<Option<(TokenRecord, Ground)>, StoreError> {
        self.read_one(BY_NUMBER, params![stored(number)], read).await
    }

    async fn tokens(
        &self,
        app: AppId,
        filter: ListFilter,
        now: Timestamp,
        request: PageRequest<RowNumber>,
    ) -> Result<Page<TokenRecord, RowNumber>, StoreError> {
        let reader = self.search().await?;
        let mut gathering = Gathering::begin(&reader, "log", &request).await?;
        while let Some(window) = gathering.next() {
            let rows = reader
                .read(
                    OUTSTANDING,
                    params![
                        window.from,
                        window.to,
                        app.uuid(),
                        filter.endpoint_id.as_ref().map(EndpointId::as_str),
                        filter.role_id.map(|id| id.uuid()),
                        now.millis(),
                        window.wanted,
                        filter.secret_id.map(|id| id.uuid()),
                    ],
                )
                .await?;
            let rows = rows.iter().map(|row| {
                let number = Columns::of(row).number()?;
                // One that cannot be read is left out of the list, which goes on behind it.
                let found = read(&mut Columns::of(row)).ok();
                let live = found.filter(|(token, ground)| token.lapse(ground, now).is_none());
                Ok((number, live.map(|(token, _)| token)))
            });
            let rows = rows.collect::<Result<_, Failure>>().map_err(Failure::nothing_written)?;
            gathering.take(&window, rows);
        }
        Ok(gathering.page())
    }

    async fn revoke_token(&self, app: AppId, number: u64, entry: AuditEntry) -> Result<Ending, StoreError> {
        in_ending_transaction!(self, write => {
            let sql = "UPDATE respoked.log SET ended_at = $3
                       WHERE number = $1 AND app_id = $2 AND expires_at IS NOT NULL AND ended_at IS NULL";
            let row = stored(number);
            if write.execute(sql, params![row, app.uuid(), entry.at.millis()]).await? == 0 {
                let sql = "SELECT 1 FROM respoked.tokens WHERE number = $1 AND app_id = $2";
                let kept = exists(write, sql, params![row, app.uuid()]).await?;
                return Ok(if kept { Ending::Over } else { Ending::Unknown });
            }
            audit_rows::insert(write, &entry).await?;
            write.change(None, entry.at).await?;
            write.takes_away(Deed::TokenRevoked { number: row, at: entry.at });
            Ok(Ending::Ended)
        })
    }
}
