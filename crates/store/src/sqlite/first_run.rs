//! What the first start keeps, in one step: it is shown once, so no part of it may be there without the others.

use respoke_core::ports::{AdminAddition, Beginning, FirstRows};
use rusqlite::params;

use super::rows::{defect, execute, one};
use super::writer::Write;
use super::{admin_rows, apps, audit, roles, secrets};

/// Keeps all of it.
pub(super) fn insert(write: &Write<'_>, first: &FirstRows) -> rusqlite::Result<Beginning> {
    let connection = write.connection;
    if one(connection, "SELECT 1 FROM admins", [], |_| Ok(()))?.is_some() {
        return Ok(Beginning::HasAdmin);
    }
    let account = &first.account;
    execute(
        connection,
        "INSERT INTO accounts (id, name, created_at) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING",
        params![account.id.uuid(), account.name, account.created_at.millis()],
    )?;
    let (admin, audit) = &first.admin;
    if admin_rows::insert(connection, admin)? != AdminAddition::Added {
        return Err(defect("the first admin's name is taken, and there is no other admin"));
    }
    audit::insert(write, audit)?;
    let (hash, expires_at) = first.setup_token;
    admin_rows::put_setup_token(connection, admin.id, hash, expires_at)?;
    let (app, secret, audit) = &first.app;
    apps::insert(write, app)?;
    secrets::insert(write, secret)?;
    audit::insert(write, audit)?;
    let (role, audit) = &first.role;
    if roles::insert(write, role.clone())?.is_err() {
        // Nothing of the app is kept then.
        return Err(defect("the first role was refused, and its app was just made"));
    }
    audit::insert(write, audit)?;
    Ok(Beginning::Kept)
}
