//! What failed, as the port names it.

use respoke_core::ports::StoreError;
use rusqlite::ErrorCode;

/// A failure of SQLite as the port names it.
pub(super) fn failure(error: rusqlite::Error) -> StoreError {
    match error {
        error if is_of_a_row(&error) => StoreError::Corrupt("a column holds what it never should"),
        // Refused by this program, in words: what SQLite's number means beside them says nothing.
        rusqlite::Error::SqliteFailure(code, Some(why)) if code.code == ErrorCode::ApiMisuse => {
            StoreError::Unavailable(why.into())
        }
        error => StoreError::Unavailable(Box::new(error)),
    }
}

/// A failure of the system as the port names it.
pub(super) fn unavailable(error: std::io::Error) -> StoreError {
    StoreError::Unavailable(Box::new(error))
}

/// Whether it is one row that cannot be read, because a column holds what it never should.
pub(super) fn is_of_a_row(error: &rusqlite::Error) -> bool {
    matches!(
        error,
        rusqlite::Error::FromSqlConversionFailure(..)
            | rusqlite::Error::InvalidColumnType(..)
            | rusqlite::Error::IntegralValueOutOfRange(..)
            | rusqlite::Error::Utf8Error(..)
    )
}

/// Whether SQLite says that the file is damaged.
pub(super) fn is_corruption(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase))
}

/// A failure of the system as one of SQLite's.
pub(super) fn thread_failed(error: std::io::Error) -> rusqlite::Error {
    rusqlite::Error::ToSqlConversionFailure(Box::new(error))
}

#[cfg(test)]
mod tests {
    use rusqlite::Connection;

    use super::*;

    #[test]
    fn a_row_that_cannot_be_read_is_no_reason_to_try_again() {
        let connection = Connection::open_in_memory().unwrap();
        let refused = [
            connection.query_row("SELECT x'01'", [], |row| row.get::<_, uuid::Uuid>(0)).unwrap_err(),
            connection.query_row("SELECT 'text'", [], |row| row.get::<_, i64>(0)).unwrap_err(),
            connection.query_row("SELECT -1", [], |row| row.get::<_, u64>(0)).unwrap_err(),
            connection.query_row("SELECT CAST(x'ff' AS TEXT)", [], |row| row.get::<_, String>(0)).unwrap_err(),
            connection
                .query_row("SELECT CAST(x'ff' AS TEXT)", [], |row| {
                    row.get_ref(0)?.as_str().map(str::to_owned).map_err(Into::into)
                })
                .unwrap_err(),
        ];
        for error in refused {
            assert!(is_of_a_row(&error), "{error:?}");
            let said = error.to_string();
            assert!(matches!(failure(error), StoreError::Corrupt(_)), "{said}");
        }
    }
}
