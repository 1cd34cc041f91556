//! Accounts, admins and their sign-ins.

use async_trait::async_trait;
use respoke_core::admin::{Account, Admin, AdminRole, AdminSession, KnownAddress, SETUP_SECS, SignedIn};
use respoke_core::audit::{Actor, AuditEntry};
use respoke_core::clock::Timestamp;
use respoke_core::id::{AccountId, AdminId, AppId};
use respoke_core::idempotency::{Creation, IdempotencyKey};
use respoke_core::ports::{
    AdminAddition, AdminChange, AdminStore, Beginning, Change, Ending, Factor, FactorAddition, FactorRemoval,
    FirstRows, NewPassword, NewSecondFactor, PasswordChange, Removal, SetupSignIn, SignInRefusal, StoreError,
};
use respoke_core::seal::{Entropy, SealKind};
use respoke_core::secret::{Secret, SecretHash};
use respoke_core::term::Term;
use respoke_core::totp::SealedTotp;
use uuid::Uuid;

use super::admin_rows::{
    admin, insert, is_not_the_last_owner, know, lock, open, put_setup_token, read, read_role, read_uuid,
    remove_second_factor, remove_sessions, remove_setup_token, spend,
};
use super::connect::params;
use super::deeds::{Deed, OfAdmin};
use super::failure::Failure;
use super::rows::{Columns, Remembered, all, exists, number_of, one, only, remember, remembered, stored};
use super::store::PostgresStore;
use super::write::{Write, in_ending_transaction, in_transaction};
use super::{apps, audit_rows, feed_rows, first_run};

/// Tells that an admin changed, and writes the audit row.
async fn tell(write: &Write, id: AdminId, entry: &AuditEntry) -> Result<(), Failure> {
    audit_rows::insert(write, entry).await?;
    write.change(Some(&Change::Admin(id)), entry.at).await.map(drop)
}

#[async_trait]
impl AdminStore for PostgresStore {
    async fn accounts(&self) -> Result<Vec<Account>, StoreError> {
        let sql = "SELECT id, name, created_at FROM respoked.accounts ORDER BY created_at, id";
        let read = |columns: &mut Columns<'_>| {
            let id = columns.uuid_as(AccountId::from_uuid)?;
            Ok(Account { id, name: columns.next()?, created_at: columns.time()? })
        };
        self.read_all(sql, &[], read).await
    }

    async fn create_account(&self, account: Account) -> Result<(), StoreError> {
        in_transaction!(self, write => {
            let sql = "INSERT INTO respoked.accounts (id, name, created_at) VALUES ($1, $2, $3)";
            write.execute(sql, params![account.id.uuid(), account.name, account.created_at.millis()]).await.map(drop)
        })
    }

    async fn delete_account(&self, id: AccountId, entry: AuditEntry) -> Result<Removal, StoreError> {
        let uuid = id.uuid();
        in_ending_transaction!(self, write => {
            // Locked first, so that no app or admin comes meanwhile.
            let sql = "DELETE FROM respoked.accounts WHERE id = $1";
            if write.execute(sql, params![uuid]).await? == 0 {
                return Ok(Removal::Unknown);
            }
            let sql = "SELECT id FROM respoked.apps WHERE account_id = $1";
            let apps = all(write, sql, params![uuid], read_uuid).await?;
            write.hold_all_mints(&apps).await?;
            let sql = "SELECT id FROM respoked.apps WHERE id = ANY($1) ORDER BY id FOR UPDATE";
            let apps = all(write, sql, params![apps], read_uuid).await?;
            let sql = "SELECT id FROM respoked.admins WHERE account_id = $1 ORDER BY id FOR NO KEY UPDATE";
            let admins = all(write, sql, params![uuid], read_uuid).await?;
            apps::remove(write, &apps).await?;
            for sql in [
                "DELETE FROM respoked.admin_sessions WHERE admin_id = ANY($1)",
                "DELETE FROM respoked.second_factors WHERE admin_id = ANY($1)",
                "DELETE FROM respoked.recovery_codes WHERE admin_id = ANY($1)",
                "DELETE FROM respoked.setup_tokens WHERE admin_id = ANY($1)",
                "DELETE FROM respoked.known_addresses WHERE admin_id = ANY($1)",
                "DELETE FROM respoked.admins WHERE id = ANY($1)",
            ] {
                write.execute(sql, params![admins]).await?;
            }
            audit_rows::insert(write, &entry).await?;
            let apps = apps.into_iter().map(|id| Change::App(AppId::from_uuid(id)));
            let admins = admins.into_iter().map(|id| Change::Admin(AdminId::from_uuid(id)));
            let changes: Vec<_> = apps.chain(admins).map(|change| (Some(change), entry.at)).collect();
            if !changes.is_empty() {
                feed_rows::write_all(write, &changes).await?;
            }
            write.takes_away(Deed::AccountDeleted { account: id, at: entry.at });
            Ok(Removal::Removed)
        })
        .inspect(|removal| self.note_ended(*removal == Removal::Removed))
    }

    async fn begin(&self, first: FirstRows) -> Result<Beginning, StoreError> {
        in_transaction!(self, write => { first_run::insert(write, &first).await })?.map_err(StoreError::from)
    }

    async fn create_admin(&self, admin: Admin, entry: AuditEntry) -> Result<AdminAddition, StoreError> {
        in_transaction!(self, write => {
            first_run::hold(write).await?;
            // So that the account does not go meanwhile, which would leave its new admin behind.
            let sql = "SELECT 1 FROM respoked.accounts WHERE id = $1 FOR KEY SHARE";
            if !exists(write, sql, params![admin.account_id.uuid()]).await? {
                return Ok(AdminAddition::NoAccount);
            }
            let added = insert(write, &admin).await?;
            if added == AdminAddition::Added {
                audit_rows::insert(write, &entry).await?;
            }
            Ok(added)
        })
    }

    async fn admin_by_username(&self, username: &str) -> Result<Option<Admin>, StoreError> {
        self.read_one(admin!("WHERE a.username = $1"), params![username], read).await
    }

    async fn admins(&self) -> Result<Vec<Admin>, StoreError> {
        self.read_all(admin!("ORDER BY a.username"), &[], read).await
    }

    async fn admin(&self, id: AdminId) -> Result<Option<Admin>, StoreError> {
        self.read_one(admin!("WHERE a.id = $1"), params![id.uuid()], read).await
    }

    async fn set_admin_password(
        &self,
        id: AdminId,
        password: NewPassword,
        entry: AuditEntry,
    ) -> Result<PasswordChange, StoreError> {
        let uuid = id.uuid();
        in_ending_transaction!(self, write => {
            if !lock(write, uuid).await? {
                let replaces = password.replaces.is_some();
                return Ok(if replaces { PasswordChange::Changed } else { PasswordChange::Unknown });
            }
            if let Some(replaced) = &password.replaces {
                let sealed = replaced.second_factor.as_ref().map(SealedTotp::to_bytes);
                let sql = "SELECT 1 FROM respoked.admins a LEFT JOIN respoked.second_factors f ON f.admin_id = a.id
                           WHERE a.id = $1 AND a.password_hash = $2 AND f.sealed IS NOT DISTINCT FROM $3";
                if !exists(write, sql, params![uuid, replaced.hash, sealed.as_ref().map(|sealed| &sealed[..])]).await? {
                    return Ok(PasswordChange::Changed);
                }
            }
            let sql = "UPDATE respoked.admins SET password_hash = $2 WHERE id = $1";
            write.execute(sql, params![uuid, password.hash]).await?;
            match &password.second_factor {
                Some(sealed) => {
                    let sql = "UPDATE respoked.second_factors SET sealed = $2 WHERE admin_id = $1";
                    write.execute(sql, params![uuid, &sealed.to_bytes()[..]]).await?;
                }
                None => remove_second_factor(write, uuid).await?,
            }
            remove_sessions(write, uuid, password.keep_session).await?;
            remove_setup_token(write, uuid).await?;
            tell(write, id, &entry).await?;
            let (hash, keep_session) = (password.hash.clone(), password.keep_session);
            let sealed = password.second_factor.as_ref().map(|sealed| sealed.to_bytes().to_vec());
            let deed = OfAdmin::PasswordSet { hash, sealed, keep_session };
            write.takes_away(Deed::OfAdmin { admin: id, deed, at: entry.at });
            Ok(PasswordChange::Set)
        })
    }

    async fn set_admin_role(&self, id: AdminId, role: AdminRole, entry: AuditEntry) -> Result<AdminChange, StoreError> {
        let uuid = id.uuid();
        in_transaction!(self, write => {
            match is_not_the_last_owner(write, uuid).await? {
                None => return Ok(AdminChange::Unknown),
                Some(false) if role != AdminRole::Owner => return Ok(AdminChange::LastOwner),
                Some(_) => {}
            }
            write.execute("UPDATE respoked.admins SET role = $2 WHERE id = $1", params![uuid, role.code()]).await?;
            write.takes_away(Deed::OfAdmin { admin: id, deed: OfAdmin::RoleSet(role.code()), at: entry.at });
            tell(write, id, &entry).await?;
            Ok(AdminChange::Done)
        })
    }

    async fn delete_admin(&self, id: AdminId, entry: AuditEntry) -> Result<AdminChange, StoreError> {
        let uuid = id.uuid();
        in_ending_transaction!(self, write => {
            match is_not_the_last_owner(write, uuid).await? {
                None => return Ok(AdminChange::Unknown),
                Some(false) => return Ok(AdminChange::LastOwner),
                Some(true) => {}
            }
            write.execute("DELETE FROM respoked.admins WHERE id = $1", params![uuid]).await?;
            write.takes_away(Deed::OfAdmin { admin: id, deed: OfAdmin::Deleted, at: entry.at });
            remove_sessions(write, uuid, None).await?;
            remove_setup_token(write, uuid).await?;
            write.execute("DELETE FROM respoked.known_addresses WHERE admin_id = $1", params![uuid]).await?;
            remove_second_factor(write, uuid).await?;
            tell(write, id, &entry).await?;
            Ok(AdminChange::Done)
        })
    }

    async fn add_second_factor(
        &self,
        id: AdminId,
        factor: NewSecondFactor,
        entry: AuditEntry,
    ) -> Result<FactorAddition, StoreError> {
        let uuid = id.uuid();
        in_transaction!(self, write => {
            lock(write, uuid).await?;
            let sql = "INSERT INTO respoked.second_factors (admin_id, sealed, last_step)
                       SELECT id, $3, $4 FROM respoked.admins WHERE id = $1 AND password_hash = $2
                       ON CONFLICT (admin_id) DO NOTHING";
            let values = (&factor.sealed.to_bytes()[..], stored(factor.last_step));
            if write.execute(sql, params![uuid, factor.password_hash, values.0, values.1]).await? == 0 {
                let sql = "SELECT 1 FROM respoked.second_factors WHERE admin_id = $1";
                let has_one = exists(write, sql, params![uuid]).await?;
                return Ok(if has_one { FactorAddition::HasOne } else { FactorAddition::Changed });
            }
            let hashes = factor.recovery.iter().map(|hash| &hash.as_bytes()[..]).collect::<Vec<_>>();
            let sql = "INSERT INTO respoked.recovery_codes (admin_id, hash) SELECT $1, unnest($2::bytea[])
                       ON CONFLICT (admin_id, hash) DO NOTHING";
            write.execute(sql, params![uuid, hashes]).await?;
            remove_sessions(write, uuid, Some(factor.keep_session)).await?;
            remove_setup_token(write, uuid).await?;
            tell(write, id, &entry).await?;
            let (sealed, last_step, recovery) = (values.0.to_vec(), values.1, factor.recovery.clone());
            let deed = OfAdmin::FactorAdded { sealed, last_step, recovery };
            write.takes_away(Deed::OfAdmin { admin: id, deed, at: entry.at });
            Ok(FactorAddition::Added)
        })
    }

    async fn remove_second_factor(
        &self,
        id: AdminId,
        proof: Factor,
        entry: AuditEntry,
    ) -> Result<FactorRemoval, StoreError> {
        let uuid = id.uuid();
        in_transaction!(self, write => {
            if !lock(write, uuid).await? || !spend(write, uuid, proof).await? {
                return Ok(FactorRemoval::NotProven);
            }
            remove_second_factor(write, uuid).await?;
            tell(write, id, &entry).await?;
            write.takes_away(Deed::OfAdmin { admin: id, deed: OfAdmin::FactorRemoved, at: entry.at });
            Ok(FactorRemoval::Removed)
        })
    }

    async fn put_setup_token(&self, id: AdminId, hash: SecretHash, expires_at: Timestamp) -> Result<(), StoreError> {
        in_transaction!(self, write => {
            // Nobody could be signed in with one of no admin.
            if lock(write, id.uuid()).await? {
                put_setup_token(write, id, hash, expires_at).await?;
            }
            Ok(())
        })
    }

    async fn spend_setup_token(
        &self,
        hash: SecretHash,
        entropy: Entropy,
        expires_at: Timestamp,
        entry: AuditEntry,
    ) -> Result<SetupSignIn, StoreError> {
        let setup = hash;
        let hash = &setup.as_bytes()[..];
        in_transaction!(self, write => {
            // There are as many as admins at most, so they need no index.
            let sql = "SELECT s.admin_id, a.account_id, a.username, s.expires_at
                       FROM respoked.setup_tokens s JOIN respoked.admins a ON a.id = s.admin_id WHERE s.hash = $1";
            let read = |columns: &mut Columns<'_>| {
                let (admin, account) = (columns.next::<Uuid>()?, columns.uuid_as(AccountId::from_uuid)?);
                let (username, until): (String, _) = (columns.next()?, columns.time()?);
                Ok((admin, account, username, Term { from: until.plus_secs(-SETUP_SECS), until }))
            };
            let found = one(write, sql, params![hash], read).await?;
            let Some((admin, account, username, term)) = found else { return Ok(SetupSignIn::Unknown) };
            if term.is_over(entry.at) {
                return Ok(SetupSignIn::Over);
            }
            let sql = "DELETE FROM respoked.setup_tokens WHERE admin_id = $1 AND hash = $2";
            if !lock(write, admin).await? || write.execute(sql, params![admin, hash]).await? == 0 {
                return Ok(SetupSignIn::Unknown);
            }
            let (of, deed) = (AdminId::from_uuid(admin), OfAdmin::SetupTokenSpent(setup));
            write.takes_away(Deed::OfAdmin { admin: of, deed, at: entry.at });
            let (_, token) = open(write, &self.sealer, admin, entropy, entry.at, expires_at).await?;
            let entry = AuditEntry {
                actor: Actor::Admin(AdminId::from_uuid(admin)),
                account_id: Some(account),
                object: username.clone(),
                ..entry.clone()
            };
            know(write, admin, &entry).await?;
            audit_rows::insert(write, &entry).await?;
            Ok(SetupSignIn::SignedIn(SignedIn { token, username }))
        })
    }

    async fn open_admin_session(
        &self,
        admin: &Admin,
        proof: Factor,
        entropy: Entropy,
        expires_at: Timestamp,
        once: Option<IdempotencyKey>,
        entry: AuditEntry,
    ) -> Result<Creation<Secret, SignInRefusal>, StoreError> {
        let uuid = admin.id.uuid();
        in_transaction!(self, write => {
            // Locked first: of two with one key the later finds what the earlier made, instead of its spent proof.
            let sql = "SELECT password_hash FROM respoked.admins WHERE id = $1 FOR NO KEY UPDATE";
            let password_hash = one(write, sql, params![uuid], only::<String>).await?;
            match remembered(write, once.as_ref()).await? {
                Remembered::Nothing => {}
                Remembered::Made(object) => {
                    let text = self.sealer.seal(SealKind::AdminSession, number_of(&object)?, entropy);
                    return Ok(Creation::Repeated(text));
                }
                Remembered::Otherwise => return Ok(Creation::KeyReused),
            }
            if password_hash.as_ref() != Some(&admin.password_hash) {
                return Ok(Creation::Refused(SignInRefusal::Changed));
            }
            if !spend(write, uuid, proof).await? {
                return Ok(Creation::Refused(SignInRefusal::NotProven));
            }
            let (number, text) = open(write, &self.sealer, uuid, entropy, entry.at, expires_at).await?;
            remember(write, once.as_ref(), &number.to_be_bytes(), entry.at).await?;
            know(write, uuid, &entry).await?;
            audit_rows::insert(write, &entry).await?;
            Ok(Creation::Created(text))
        })
    }

    async fn known_addresses(&self, since: Timestamp) -> Result<Vec<KnownAddress>, StoreError> {
        let sql = "SELECT a.username, k.address, k.at
                   FROM respoked.known_addresses k JOIN respoked.admins a ON a.id = k.admin_id
                   WHERE k.at > $1 ORDER BY k.at";
        let read =
            |columns: &mut Columns<'_>| Ok((columns.next::<String>()?, columns.next::<String>()?, columns.time()?));
        let rows = self.read_all(sql, params![since.millis()], read).await?;
        let known = rows
            .into_iter()
            .filter_map(|(username, address, at)| Some(KnownAddress { username, address: address.parse().ok()?, at }));
        Ok(known.collect())
    }

    async fn admin_session(&self, number: u64) -> Result<Option<AdminSession>, StoreError> {
        let sql = "SELECT s.number, s.admin_id, a.account_id, a.role, s.hash, s.expires_at
                   FROM respoked.admin_sessions s JOIN respoked.admins a ON a.id = s.admin_id
                   WHERE s.number = $1 AND s.ended_at IS NULL";
        let read = |columns: &mut Columns<'_>| {
            Ok(AdminSession {
                number: columns.number()?,
                admin_id: columns.uuid_as(AdminId::from_uuid)?,
                account_id: columns.uuid_as(AccountId::from_uuid)?,
                role: read_role(columns)?,
                hash: columns.hash()?,
                expires_at: columns.time()?,
            })
        };
        self.read_one(sql, params![stored(number)], read).await
    }

    async fn end_admin_session(&self, number: u64, entry: AuditEntry) -> Result<Ending, StoreError> {
        in_ending_transaction!(self, write => {
            let sql = "UPDATE respoked.admin_sessions SET ended_at = $2 WHERE number = $1 AND ended_at IS NULL
                       RETURNING admin_id";
            let ended = one(write, sql, params![stored(number), entry.at.millis()], read_uuid).await?;
            let Some(admin) = ended else {
                let sql = "SELECT 1 FROM respoked.admin_sessions WHERE number = $1";
                let kept = exists(write, sql, params![stored(number)]).await?;
                return Ok(if kept { Ending::Over } else { Ending::Unknown });
            };
            let admin = AdminId::from_uuid(admin);
            tell(write, admin, &entry).await?;
            let deed = OfAdmin::SessionEnded(stored(number));
            write.takes_away(Deed::OfAdmin { admin, deed, at: entry.at });
            Ok(Ending::Ended)
        })
    }

    async fn end_admin_sessions(&self, id: AdminId, entry: AuditEntry) -> Result<(), StoreError> {
        let uuid = id.uuid();
        in_ending_transaction!(self, write => {
            lock(write, uuid).await?;
            let sql = "UPDATE respoked.admin_sessions SET ended_at = $2 WHERE admin_id = $1 AND ended_at IS NULL";
            write.execute(sql, params![uuid, entry.at.millis()]).await?;
            remove_setup_token(write, uuid).await?;
            write.takes_away(Deed::OfAdmin { admin: id, deed: OfAdmin::SessionsEnded, at: entry.at });
            tell(write, id, &entry).await
        })
    }
}
