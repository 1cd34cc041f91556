//! What the first start keeps, in one step: it is shown once, so no part of it may be there without the others.

use respoke_core::ports::{AdminAddition, Beginning, FirstRows};

use super::connect::params;
use super::failure::Failure;
use super::rows::exists;
use super::unready::Unready;
use super::write::Write;
use super::{admin_rows, apps, audit_rows, migrations, roles, secrets};

/// What those lock together who add an admin: there may be none before it.
pub(crate) const LOCK: i64 = i64::from_be_bytes(*b"1stadmin");

/// Keeps others from adding an admin until the transaction's end.
pub(super) async fn hold(write: &Write) -> Result<(), Failure> {
    write.query("SELECT pg_advisory_xact_lock($1)", params![LOCK]).await.map(drop)
}

/// Keeps all of it, unless the database became another installation's copy meanwhile. Of several who start at once one does.
pub(super) async fn insert(write: &Write, first: &FirstRows) -> Result<Result<Beginning, Unready>, Failure> {
    hold(write).await?;
    if let Some(why) = migrations::marked(write).await? {
        return Ok(Err(Unready::Marked(why)));
    }
    if exists(write, "SELECT 1 FROM respoked.admins LIMIT 1", &[]).await? {
        return Ok(Ok(Beginning::HasAdmin));
    }
    let account = &first.account;
    let sql = "INSERT INTO respoked.accounts (id, name, created_at) VALUES ($1, $2, $3) ON CONFLICT (id) DO NOTHING";
    write.execute(sql, params![account.id.uuid(), account.name, account.created_at.millis()]).await?;
    let (admin, audit) = &first.admin;
    if admin_rows::insert(write, admin).await? != AdminAddition::Added {
        return Err(Failure::Row("the first admin's name is taken, and there is no other admin"));
    }
    audit_rows::insert(write, audit).await?;
    let (hash, expires_at) = first.setup_token;
    admin_rows::put_setup_token(write, admin.id, hash, expires_at).await?;
    let (app, secret, audit) = &first.app;
    apps::insert(write, app).await?;
    if !secrets::insert(write, secret).await? {
        return Err(Failure::Row("the first secret's text is another's, and was just drawn"));
    }
    audit_rows::insert(write, audit).await?;
    let (role, audit) = &first.role;
    // Written before the role, which makes a change: whoever changes something waits from then on.
    audit_rows::insert(write, audit).await?;
    if roles::insert(write, role.clone()).await?.is_err() {
        // Nothing of the app is kept then.
        return Err(Failure::Row("the first role was refused, and its app was just made"));
    }
    Ok(Ok(Beginning::Kept))
}
