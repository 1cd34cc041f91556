//! Rows to values and back; what several tables share.

use respoke_core::clock::Timestamp;
use respoke_core::grant::{AppGround, Grant, Ground, Marks};
use respoke_core::id::{AppId, EndpointId, GroupName, RoleId, SecretId};
use respoke_core::idempotency::IdempotencyKey;
use respoke_core::secret::SecretHash;
use tokio_postgres::Row;
use tokio_postgres::types::FromSql;
use uuid::Uuid;

use super::connect::{Connection, Param, params};
use super::failure::Failure;

/// Reads columns one after the other, so that a select's list and its reader stand in one order.
pub(super) struct Columns<'a> {
    row: &'a Row,
    at: usize,
}

impl<'a> Columns<'a> {
    pub(super) const fn of(row: &'a Row) -> Self {
        Self { row, at: 0 }
    }

    pub(super) fn next<T: FromSql<'a>>(&mut self) -> Result<T, Failure> {
        self.at += 1;
        self.row.try_get(self.at - 1).map_err(|_| Failure::Row("a column holds what it never should"))
    }

    /// A number that is never negative.
    pub(super) fn number(&mut self) -> Result<u64, Failure> {
        number(self.next()?)
    }

    pub(super) fn number_if_any(&mut self) -> Result<Option<u64>, Failure> {
        self.next::<Option<i64>>()?.map(number).transpose()
    }

    pub(super) fn time(&mut self) -> Result<Timestamp, Failure> {
        self.next().map(Timestamp::from_millis)
    }

    pub(super) fn time_if_any(&mut self) -> Result<Option<Timestamp>, Failure> {
        Ok(self.next::<Option<i64>>()?.map(Timestamp::from_millis))
    }

    pub(super) fn uuid_as<T>(&mut self, wrap: impl Fn(Uuid) -> T) -> Result<T, Failure> {
        self.next().map(wrap)
    }

    pub(super) fn uuid_if_any<T>(&mut self, wrap: impl Fn(Uuid) -> T) -> Result<Option<T>, Failure> {
        Ok(self.next::<Option<Uuid>>()?.map(wrap))
    }

    /// Bytes of which there are so many.
    pub(super) fn bytes<const N: usize>(&mut self) -> Result<[u8; N], Failure> {
        self.next::<&[u8]>()?.try_into().map_err(|_| Failure::Row("bytes are not as many as they should be"))
    }

    pub(super) fn hash(&mut self) -> Result<SecretHash, Failure> {
        self.bytes().map(SecretHash::from_bytes)
    }

    pub(super) fn endpoint(&mut self) -> Result<EndpointId, Failure> {
        EndpointId::parse(self.next()?).map_err(|_| Failure::Row("an endpoint's id is none"))
    }

    pub(super) fn endpoint_if_any(&mut self) -> Result<Option<EndpointId>, Failure> {
        let text: Option<&str> = self.next()?;
        text.map(|text| EndpointId::parse(text).map_err(|_| Failure::Row("an endpoint's id is none"))).transpose()
    }

    pub(super) fn group(&mut self) -> Result<GroupName, Failure> {
        let text = std::str::from_utf8(self.next()?).ok();
        text.and_then(|text| GroupName::parse(text).ok()).ok_or(Failure::Row("a group's name is none"))
    }

    pub(super) fn json<T: serde::de::DeserializeOwned>(&mut self) -> Result<T, Failure> {
        serde_json::from_str(self.next()?).map_err(|_| Failure::Row("a text is not the JSON it should be"))
    }

    /// The same of one that is kept as bytes.
    pub(super) fn json_in_bytes<T: serde::de::DeserializeOwned>(&mut self) -> Result<T, Failure> {
        serde_json::from_slice(self.next()?).map_err(|_| Failure::Row("bytes are not the JSON they should be"))
    }

    pub(super) fn marks(&mut self) -> Result<Marks, Failure> {
        Ok(Marks {
            tokens_from: self.number()?,
            sessions_from: self.number()?,
            tokens_issued_before: self.time()?,
            sessions_issued_before: self.time()?,
            issued_before_tokens: self.number()?,
            issued_before_sessions: self.number()?,
        })
    }

    fn marks_if_any(&mut self) -> Result<Option<Marks>, Failure> {
        if self.next::<Option<i64>>()?.is_none() {
            self.at += 5;
            return Ok(None);
        }
        self.at -= 1;
        self.marks().map(Some)
    }

    pub(super) fn grant(&mut self) -> Result<Grant, Failure> {
        Ok(Grant {
            app_id: self.uuid_as(AppId::from_uuid)?,
            endpoint_id: self.endpoint()?,
            role_id: self.uuid_if_any(RoleId::from_uuid)?,
            secret_id: self.uuid_if_any(SecretId::from_uuid)?,
        })
    }

    /// The columns of [`ground_columns`].
    pub(super) fn ground(&mut self) -> Result<Ground, Failure> {
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

fn number(stored: i64) -> Result<u64, Failure> {
    u64::try_from(stored).map_err(|_| Failure::Row("a number is negative"))
}

/// Reads rows of one column.
pub(super) fn only<T: for<'a> FromSql<'a>>(columns: &mut Columns<'_>) -> Result<T, Failure> {
    columns.next()
}

/// Reads rows that are a number each.
pub(super) fn read_number(columns: &mut Columns<'_>) -> Result<u64, Failure> {
    columns.number()
}

/// A number as it is kept. All that are given are far below the limit; what is asked for with another is not there.
pub(super) fn stored(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// How many, as it is bound.
pub(super) fn bound_len(len: usize) -> i64 {
    i64::try_from(len).unwrap_or(i64::MAX)
}

/// What a grant in table `g` stands on: the columns, and the joins that find them, each by primary key.
macro_rules! ground_columns {
    () => {
        "a.development_mode, a.tokens_from, a.sessions_from, a.issued_before, a.sessions_issued_before, \
         a.issued_before_tokens, a.issued_before_sessions, \
         r.tokens_from, r.sessions_from, r.issued_before, r.sessions_issued_before, \
         r.issued_before_tokens, r.issued_before_sessions, \
         (s.id IS NULL OR (s.revoked_at IS NOT NULL AND NOT s.keep_sessions)), \
         e.tokens_from, e.sessions_from, e.issued_before, e.sessions_issued_before, \
         e.issued_before_tokens, e.issued_before_sessions, \
         e.banned_until"
    };
}
macro_rules! ground_joins {
    () => {
        " LEFT JOIN respoked.apps a ON a.id = g.app_id \
          LEFT JOIN respoked.roles r ON r.app_id = g.app_id AND r.id = g.role_id \
          LEFT JOIN respoked.secrets s ON s.id = g.secret_id \
          LEFT JOIN respoked.endpoints e ON e.app_id = g.app_id AND e.endpoint = g.endpoint "
    };
}
pub(super) use {ground_columns, ground_joins};

/// What an idempotency key says of a request.
pub(super) enum Remembered {
    /// Nothing: go on, then [`remember`].
    Nothing,
    /// It made this object before.
    Made(Vec<u8>),
    /// It was used with another request.
    Otherwise,
}

/// Looks a key up. Of two who find nothing at once the later one's [`remember`] fails, and is tried again from the beginning.
pub(super) async fn remembered(connection: &Connection, once: Option<&IdempotencyKey>) -> Result<Remembered, Failure> {
    let Some(once) = once else { return Ok(Remembered::Nothing) };
    let sql = "SELECT request, object FROM respoked.idempotency WHERE key = $1";
    let read = |columns: &mut Columns<'_>| Ok((columns.bytes::<32>()?, columns.next::<&[u8]>()?.to_vec()));
    Ok(match one(connection, sql, params![&once.key[..]], read).await? {
        None => Remembered::Nothing,
        Some((request, object)) if request == once.request => Remembered::Made(object),
        Some(_) => Remembered::Otherwise,
    })
}

pub(super) async fn remember(
    connection: &Connection,
    once: Option<&IdempotencyKey>,
    object: &[u8],
    at: Timestamp,
) -> Result<(), Failure> {
    if let Some(once) = once {
        let sql = "INSERT INTO respoked.idempotency (key, request, object, at) VALUES ($1, $2, $3, $4)";
        connection.execute(sql, params![&once.key[..], &once.request[..], object, at.millis()]).await?;
    }
    Ok(())
}

/// The number kept as an idempotency key's object.
pub(super) fn number_of(object: &[u8]) -> Result<u64, Failure> {
    let bytes = object.try_into().map_err(|_| Failure::Row("what an idempotency key made is no number"))?;
    Ok(u64::from_be_bytes(bytes))
}

/// The id kept as an idempotency key's object.
pub(super) fn uuid_of(object: &[u8]) -> Result<Uuid, Failure> {
    Uuid::from_slice(object).map_err(|_| Failure::Row("what an idempotency key made is no id"))
}

/// What the mints of an app lock together, and who keeps them waiting alone.
pub(super) fn mint_lock(app: AppId) -> i64 {
    let (high, low) = app.uuid().as_u64_pair();
    (high ^ low).cast_signed()
}

/// Whether an app is there; if so it stays as it is until the transaction's end. What counts rows of an app or looks for a
/// name in it before it writes does this first.
pub(super) async fn lock_app(connection: &Connection, app: AppId) -> Result<bool, Failure> {
    let sql = "SELECT 1 FROM respoked.apps WHERE id = $1 FOR NO KEY UPDATE";
    Ok(!connection.query(sql, params![app.uuid()]).await?.is_empty())
}

/// Whether there is a row.
pub(super) async fn exists(connection: &Connection, sql: &str, params: &[Param<'_>]) -> Result<bool, Failure> {
    Ok(!connection.query(sql, params).await?.is_empty())
}

/// Runs a select that finds one row or none.
pub(super) async fn one<T>(
    connection: &Connection,
    sql: &str,
    params: &[Param<'_>],
    read: impl FnOnce(&mut Columns<'_>) -> Result<T, Failure>,
) -> Result<Option<T>, Failure> {
    connection.query(sql, params).await?.first().map(|row| read(&mut Columns::of(row))).transpose()
}

/// Runs a select that finds any number of rows.
pub(super) async fn all<T>(
    connection: &Connection,
    sql: &str,
    params: &[Param<'_>],
    read: impl Fn(&mut Columns<'_>) -> Result<T, Failure>,
) -> Result<Vec<T>, Failure> {
    connection.query(sql, params).await?.iter().map(|row| read(&mut Columns::of(row))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_key_made_is_what_was_kept_or_no_answer() {
        let id = Uuid::from_u128(7);
        assert_eq!((number_of(&7_u64.to_be_bytes()).unwrap(), uuid_of(id.as_bytes()).unwrap()), (7, id));
        for object in [&[0; 7][..], &[0; 9], &[]] {
            assert!(number_of(object).is_err() && uuid_of(object).is_err());
        }
    }
}
