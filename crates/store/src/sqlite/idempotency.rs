//! What a request with an idempotency key made, so that the same request is answered alike.

use respoke_core::clock::Timestamp;
use respoke_core::idempotency::{Creation, IdempotencyKey};
use rusqlite::{OptionalExtension, params};
use uuid::Uuid;

use super::rows::defect;
use super::writer::Write;

/// What an idempotency key says of a request.
pub(super) enum Remembered {
    /// Nothing: go on, then [`remember`].
    Nothing,
    /// It made this object before.
    Made(Vec<u8>),
    /// It was used with another request.
    Otherwise,
}

/// Looks what a request's key says of it.
pub(super) fn remembered(write: &Write<'_>, once: Option<&IdempotencyKey>) -> rusqlite::Result<Remembered> {
    let Some(once) = once else { return Ok(Remembered::Nothing) };
    let found: Option<([u8; 32], Vec<u8>)> = write
        .connection
        .prepare_cached("SELECT request, object FROM idempotency WHERE key = ?1")?
        .query_row([&once.key[..]], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    Ok(match found {
        None => Remembered::Nothing,
        Some((request, object)) if request == once.request => Remembered::Made(object),
        Some(_) => Remembered::Otherwise,
    })
}

/// What creating something comes to without creating it: the object that the key made before, which `find` finds by its id,
/// or that the key was used otherwise. None: go on, then [`remember`].
pub(super) fn repeated<T, R>(
    write: &Write<'_>,
    once: Option<&IdempotencyKey>,
    find: impl FnOnce(Uuid) -> rusqlite::Result<Option<T>>,
) -> rusqlite::Result<Option<Creation<T, R>>> {
    Ok(match remembered(write, once)? {
        Remembered::Nothing => None,
        Remembered::Made(object) => Some(find(uuid_of(&object)?)?.map_or(Creation::KeyReused, Creation::Repeated)),
        Remembered::Otherwise => Some(Creation::KeyReused),
    })
}

/// Keeps what a request with a key made, in the transaction that made it.
pub(super) fn remember(
    write: &Write<'_>,
    once: Option<&IdempotencyKey>,
    object: &[u8],
    at: Timestamp,
) -> rusqlite::Result<()> {
    if let Some(once) = once {
        write
            .connection
            .prepare_cached("INSERT INTO idempotency (key, request, object, at) VALUES (?1, ?2, ?3, ?4)")?
            .execute(params![&once.key[..], &once.request[..], object, at.millis()])?;
    }
    Ok(())
}

/// The number kept as an idempotency key's object.
pub(super) fn number_of(object: &[u8]) -> rusqlite::Result<u64> {
    let bytes = object.try_into().map_err(|_| defect("what an idempotency key made is no number"))?;
    Ok(u64::from_be_bytes(bytes))
}

/// The id kept as an idempotency key's object.
fn uuid_of(object: &[u8]) -> rusqlite::Result<Uuid> {
    Uuid::from_slice(object).map_err(|_| defect("what an idempotency key made is no id"))
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
