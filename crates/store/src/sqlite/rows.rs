//! Rows to values, and the columns that several tables share.

use respoke_core::clock::Timestamp;
use respoke_core::grant::{AppGround, Grant, Ground, Marks};
use respoke_core::id::{AppId, EndpointId, GroupName, RoleId, SecretId};
use respoke_core::secret::SecretHash;
use rusqlite::types::{FromSql, Type};
use rusqlite::{Connection, OptionalExtension, Row, ffi};
use uuid::Uuid;

#[cfg(test)]
use super::plans;

/// Reads columns one after the other, so that a select's list and its reader stand in one order.
pub(super) struct Columns<'a> {
    row: &'a Row<'a>,
    at: usize,
}

impl<'a> Columns<'a> {
    pub(super) fn of(row: &'a Row<'a>) -> Self {
        Self { row, at: 0 }
    }

    pub(super) fn next<T: FromSql>(&mut self) -> rusqlite::Result<T> {
        self.at += 1;
        self.row.get(self.at - 1)
    }

    pub(super) fn time(&mut self) -> rusqlite::Result<Timestamp> {
        self.next().map(Timestamp::from_millis)
    }

    pub(super) fn time_if_any(&mut self) -> rusqlite::Result<Option<Timestamp>> {
        Ok(self.next::<Option<i64>>()?.map(Timestamp::from_millis))
    }

    pub(super) fn uuid_as<T>(&mut self, wrap: impl Fn(Uuid) -> T) -> rusqlite::Result<T> {
        self.next().map(wrap)
    }

    pub(super) fn hash(&mut self) -> rusqlite::Result<SecretHash> {
        self.next().map(SecretHash::from_bytes)
    }

    pub(super) fn endpoint(&mut self) -> rusqlite::Result<EndpointId> {
        let at = self.at;
        EndpointId::parse(&self.next::<String>()?)
            .map_err(|problem| rusqlite::Error::FromSqlConversionFailure(at, Type::Text, problem.into()))
    }

    pub(super) fn endpoint_if_any(&mut self) -> rusqlite::Result<Option<EndpointId>> {
        if self.row.get_ref(self.at)? == rusqlite::types::ValueRef::Null {
            self.at += 1;
            return Ok(None);
        }
        self.endpoint().map(Some)
    }

    pub(super) fn group(&mut self) -> rusqlite::Result<GroupName> {
        let at = self.at;
        GroupName::parse(&self.next::<String>()?)
            .map_err(|problem| rusqlite::Error::FromSqlConversionFailure(at, Type::Text, problem.into()))
    }

    pub(super) fn json<T: serde::de::DeserializeOwned>(&mut self) -> rusqlite::Result<T> {
        let at = self.at;
        serde_json::from_str(&self.next::<String>()?)
            .map_err(|error| rusqlite::Error::FromSqlConversionFailure(at, Type::Text, Box::new(error)))
    }

    pub(super) fn marks(&mut self) -> rusqlite::Result<Marks> {
        Ok(Marks {
            tokens_from: self.next()?,
            sessions_from: self.next()?,
            tokens_issued_before: self.time()?,
            sessions_issued_before: self.time()?,
            issued_before_tokens: self.next()?,
            issued_before_sessions: self.next()?,
        })
    }

    fn marks_if_any(&mut self) -> rusqlite::Result<Option<Marks>> {
        if self.row.get_ref(self.at)? == rusqlite::types::ValueRef::Null {
            self.at += 6;
            return Ok(None);
        }
        self.marks().map(Some)
    }

    pub(super) fn grant(&mut self) -> rusqlite::Result<Grant> {
        Ok(Grant {
            app_id: self.uuid_as(AppId::from_uuid)?,
            endpoint_id: self.endpoint()?,
            role_id: self.next::<Option<Uuid>>()?.map(RoleId::from_uuid),
            secret_id: self.next::<Option<Uuid>>()?.map(SecretId::from_uuid),
        })
    }

    /// The columns of [`ground_columns`].
    pub(super) fn ground(&mut self) -> rusqlite::Result<Ground> {
        let development_mode = self.next::<Option<bool>>()?;
        let app_marks = self.marks_if_any()?;
        let app =
            development_mode.zip(app_marks).map(|(development_mode, marks)| AppGround { development_mode, marks });
        Ok(Ground {
            app,
            role: self.marks_if_any()?,
            secret_revoked: self.next()?,
            endpoint: self.marks_if_any()?.unwrap_or_default(),
            banned_until: self.time_if_any()?,
        })
    }
}

/// What a grant in table `g` stands on: the columns, and the joins that find them, each by primary key.
macro_rules! ground_columns {
    () => {
        "a.development_mode, a.tokens_from, a.sessions_from, a.tokens_issued_before, a.sessions_issued_before, \
         a.issued_before_tokens, a.issued_before_sessions, \
         r.tokens_from, r.sessions_from, r.tokens_issued_before, r.sessions_issued_before, \
         r.issued_before_tokens, r.issued_before_sessions, \
         (s.id IS NULL OR (s.revoked_at IS NOT NULL AND s.keep_sessions = 0)), \
         e.tokens_from, e.sessions_from, e.tokens_issued_before, e.sessions_issued_before, \
         e.issued_before_tokens, e.issued_before_sessions, \
         e.banned_until"
    };
}
macro_rules! ground_joins {
    () => {
        " LEFT JOIN apps a ON a.id = g.app_id \
          LEFT JOIN roles r ON r.app_id = g.app_id AND r.id = g.role_id \
          LEFT JOIN secrets s ON s.id = g.secret_id \
          LEFT JOIN endpoints e ON e.app_id = g.app_id AND e.endpoint = g.endpoint "
    };
}
pub(super) use {ground_columns, ground_joins};

/// Something is wrong that is neither the disk's nor SQLite's fault.
pub(super) fn defect(what: &str) -> rusqlite::Error {
    rusqlite::Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_INTERNAL), Some(what.to_owned()))
}

/// Whether an app is there, for what must not be written without it.
pub(super) fn app_exists(connection: &Connection, app: AppId) -> rusqlite::Result<bool> {
    Ok(one(connection, "SELECT 1 FROM apps WHERE id = ?1", [app.uuid()], |_| Ok(()))?.is_some())
}

/// Runs a select that finds one row or none.
pub(super) fn one<T>(
    connection: &Connection,
    sql: &str,
    params: impl rusqlite::Params,
    read: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
) -> rusqlite::Result<Option<T>> {
    #[cfg(test)]
    plans::check(connection, sql);
    connection.prepare_cached(sql)?.query_row(params, read).optional()
}

/// Runs a select that finds any number of rows.
pub(super) fn all<T>(
    connection: &Connection,
    sql: &str,
    params: impl rusqlite::Params,
    read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
) -> rusqlite::Result<Vec<T>> {
    #[cfg(test)]
    plans::check(connection, sql);
    connection.prepare_cached(sql)?.query_map(params, read)?.collect()
}

/// Runs a statement and says how many rows it touched.
pub(super) fn execute(connection: &Connection, sql: &str, params: impl rusqlite::Params) -> rusqlite::Result<usize> {
    #[cfg(test)]
    plans::check(connection, sql);
    connection.prepare_cached(sql)?.execute(params)
}
