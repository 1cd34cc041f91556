//! Tokens: how they are minted and redeemed, looked up, listed and revoked.

use std::sync::atomic::Ordering;

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
use rusqlite::params;

use super::lists::gather;
use super::mint::issue;
use super::redeem::{redeem, redeemable};
use super::rows::{all, execute, one};
use super::token_rows::{OUTSTANDING, find, read};
use super::writer::Write;
use super::{SqliteStore, audit, feed};

impl SqliteStore {
    /// Whether there is such a token, spent ones included, or an answer to repeat.
    async fn is_redeemable(
        &self,
        number: u64,
        hash: SecretHash,
        once: Option<&IdempotencyKey>,
    ) -> Result<bool, StoreError> {
        if let Some(reader) = self.readers.reader_here() {
            return self.readers.read_here(reader, |connection| redeemable(connection, number, hash, once));
        }
        let once = once.cloned();
        self.readers.scan(move |connection| redeemable(connection, number, hash, once.as_ref())).await
    }
}

#[async_trait]
impl TokenStore for SqliteStore {
    async fn issue_token(
        &self,
        token: NewToken,
        replaces: Replaces,
        once: Option<IdempotencyKey>,
        entry: AuditEntry,
    ) -> Result<Creation<MintedToken, MintRefusal>, StoreError> {
        let minted = self.minted.clone();
        let mint = move |write: &Write<'_>| issue(write, &token, replaces, once.as_ref(), &entry, &minted);
        self.writer.write_sparing_grounds(mint).await
    }

    async fn redeem(
        &self,
        number: u64,
        hash: SecretHash,
        session: NewSession,
        once: Option<IdempotencyKey>,
        entry: AuditEntry,
    ) -> Result<Redemption, StoreError> {
        // What is no token is not the writer's business; what is one, it decides.
        if !self.minted.knows(number, hash) && !self.is_redeemable(number, hash, once.as_ref()).await? {
            return Ok(Redemption::Unknown);
        }
        let redeem = move |write: &Write<'_>| redeem(write, number, hash, &session, once.as_ref(), &entry);
        self.writer.write_sparing_grounds(redeem).await
    }

    async fn token(&self, number: u64) -> Result<Option<(TokenRecord, Ground)>, StoreError> {
        self.readers.read(move |connection| find(connection, number)).await
    }

    async fn tokens(
        &self,
        app: AppId,
        filter: ListFilter,
        now: Timestamp,
        request: PageRequest<RowNumber>,
    ) -> Result<Page<TokenRecord, RowNumber>, StoreError> {
        let begin = self.tokens_begin.load(Ordering::Relaxed);
        let condition = self.condition.clone();
        self.readers
            .search(move |connection| {
                gather(connection, "tokens", begin, &request, |from, to, wanted| {
                    all(
                        connection,
                        OUTSTANDING,
                        params![
                            from,
                            to,
                            app.uuid(),
                            filter.endpoint_id.as_ref().map(EndpointId::as_str),
                            filter.role_id.map(|id| id.uuid()),
                            now.millis(),
                            wanted,
                            filter.secret_id.map(|id| id.uuid()),
                        ],
                        |row| {
                            let Some((token, ground)) = condition.of_list(read(row))? else {
                                return Ok((row.get(0)?, None));
                            };
                            Ok((token.number, token.lapse(&ground, now).is_none().then_some(token)))
                        },
                    )
                })
            })
            .await
    }

    async fn revoke_token(&self, app: AppId, number: u64, entry: AuditEntry) -> Result<Ending, StoreError> {
        self.writer
            .write(move |write| {
                let sql = "UPDATE log SET ended_at = ?3
                           WHERE number = ?1 AND app_id = ?2 AND expires_at IS NOT NULL AND ended_at IS NULL";
                if execute(write.connection, sql, params![number, app.uuid(), entry.at.millis()])? == 0 {
                    let sql = "SELECT 1 FROM tokens WHERE number = ?1 AND app_id = ?2";
                    let kept = one(write.connection, sql, params![number, app.uuid()], |_| Ok(()))?.is_some();
                    return Ok(if kept { Ending::Over } else { Ending::Unknown });
                }
                feed::write(write, None, entry.at)?;
                audit::insert(write, &entry)?;
                Ok(Ending::Ended)
            })
            .await
    }
}
