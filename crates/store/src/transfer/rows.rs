//! A row in the one form in which both sides compare and carry it: as COPY's binary format has it, each value behind its
//! length.

use bytes::{Buf, Bytes, BytesMut};
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Row, Statement, ToSql};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::tables::{Kind, Table};

/// What a stream of rows begins with.
///
/// # Source
///
/// PostgreSQL's COPY, "Binary Format": the signature, no flags, no extension.
pub(super) const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
/// What it ends with: a row of less than none.
pub(super) const TRAILER: &[u8] = &(-1_i16).to_be_bytes();
/// How a value begins that is none.
const NULL: i32 = -1;

/// What a table holds: how many rows, and their hash in the order in which they are read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sum {
    pub(super) rows: u64,
    pub(super) hash: [u8; 32],
}

/// Comes to a [`Sum`].
#[derive(Default)]
pub(super) struct Summing {
    rows: u64,
    hash: Sha256,
}

impl Summing {
    /// Takes a row, or several in one piece.
    pub(super) fn take(&mut self, rows: u64, bytes: &[u8]) {
        self.rows += rows;
        self.hash.update(bytes);
    }

    pub(super) fn sum(self) -> Sum {
        Sum { rows: self.rows, hash: self.hash.finalize().into() }
    }
}

/// Writes a row of SQLite behind `out`, and says how many texts are not told as they stand.
pub(super) fn put(table: &Table, row: &Row<'_>, out: &mut BytesMut) -> Result<u64, Fault> {
    let mut replaced = 0;
    let columns =
        i16::try_from(table.columns.len()).map_err(|_| Fault::of(table, row, "", "it has too many columns"))?;
    out.extend_from_slice(&columns.to_be_bytes());
    for (at, column) in table.columns.iter().enumerate() {
        let fault = |why| Fault::of(table, row, column.file, why);
        let value = row.get_ref(at).map_err(|_| fault("it cannot be read"))?;
        match (column.kind, value) {
            (_, ValueRef::Null) => out.extend_from_slice(&NULL.to_be_bytes()),
            (Kind::Number, ValueRef::Integer(number)) => sized(out, &number.to_be_bytes()).map_err(fault)?,
            (Kind::Flag, ValueRef::Integer(flag @ (0 | 1))) => sized(out, &[u8::from(flag == 1)]).map_err(fault)?,
            (Kind::Id, ValueRef::Blob(id)) if id.len() == 16 => sized(out, id).map_err(fault)?,
            (Kind::Bytes, ValueRef::Blob(bytes)) => sized(out, bytes).map_err(fault)?,
            (Kind::Text | Kind::Told | Kind::TextAsBytes, ValueRef::Text(text)) => {
                let text = std::str::from_utf8(text).map_err(|_| fault("its text is not UTF-8"))?;
                if column.kind == Kind::TextAsBytes || !text.contains('\0') {
                    sized(out, text.as_bytes()).map_err(fault)?;
                } else if column.kind == Kind::Told {
                    replaced += 1;
                    sized(out, text.replace('\0', "\u{fffd}").as_bytes()).map_err(fault)?;
                } else {
                    return Err(fault("its text has U+0000, which PostgreSQL does not hold"));
                }
            }
            (Kind::Flag, _) => return Err(fault("it is neither 0 nor 1")),
            (Kind::Id, _) => return Err(fault("it is no id of 16 bytes")),
            (Kind::Number | Kind::Bytes | Kind::Text | Kind::Told | Kind::TextAsBytes, _) => {
                return Err(fault("it is of another type"));
            }
        }
    }
    Ok(replaced)
}

fn sized(out: &mut BytesMut, value: &[u8]) -> Result<(), &'static str> {
    let len = i32::try_from(value.len()).map_err(|_| "it is too long")?;
    out.extend_from_slice(&len.to_be_bytes());
    out.extend_from_slice(value);
    Ok(())
}

/// A row that cannot be carried over.
#[derive(Debug, thiserror::Error)]
#[error("the row {key} of the table {table} cannot be carried over: {column}: {why}")]
pub(super) struct Fault {
    table: &'static str,
    key: String,
    column: &'static str,
    why: &'static str,
}

impl Fault {
    fn of(table: &Table, row: &Row<'_>, column: &'static str, why: &'static str) -> Self {
        let key = |name: &&str| {
            let at = table.columns.iter().position(|column| column.file == *name);
            at.map_or_else(|| "?".to_owned(), |at| row.get_ref(at).map_or_else(|_| "?".to_owned(), shown))
        };
        let key = table.order.iter().map(|name| format!("{name}={}", key(name))).collect::<Vec<_>>().join(" ");
        Self { table: table.name, key, column, why }
    }
}

/// A value by which a row is found. Of hashes the beginning is enough to find it.
fn shown(value: ValueRef<'_>) -> String {
    match value {
        ValueRef::Null => "NULL".to_owned(),
        ValueRef::Integer(number) => number.to_string(),
        ValueRef::Real(number) => number.to_string(),
        ValueRef::Text(text) => format!("{:?}", String::from_utf8_lossy(text)),
        ValueRef::Blob(bytes) => Uuid::from_slice(bytes).map_or_else(
            |_| bytes.iter().take(6).fold("x'".to_owned(), |text, byte| format!("{text}{byte:02x}")) + "...'",
            |id| id.to_string(),
        ),
    }
}

/// What is wrong with what a server sends.
pub(super) type Garbled = &'static str;

/// Rows out of a stream that comes in pieces of any length.
#[derive(Default)]
pub(super) struct Splitter {
    pending: BytesMut,
    begun: bool,
    over: bool,
}

impl Splitter {
    /// Takes the next piece.
    pub(super) fn take(&mut self, piece: &[u8]) {
        self.pending.extend_from_slice(piece);
    }

    /// The next row that is whole; none: more has to come, or it is the end.
    pub(super) fn next(&mut self) -> Result<Option<Bytes>, Garbled> {
        if !self.begun {
            if self.pending.len() < HEADER.len() {
                return Ok(None);
            }
            if self.pending.split_to(HEADER.len()) != HEADER {
                return Err("what the database sends is not in COPY's binary format");
            }
            self.begun = true;
        }
        if self.over {
            return if self.pending.is_empty() { Ok(None) } else { Err("the database sends more behind the end") };
        }
        let Some(columns) = self.pending.first_chunk().map(|bytes| i16::from_be_bytes(*bytes)) else { return Ok(None) };
        if columns < 0 {
            self.pending.advance(2);
            self.over = true;
            return self.next();
        }
        let mut end = 2;
        for _ in 0..columns {
            let Some(len) = self.pending.get(end..).and_then(<[u8]>::first_chunk) else { return Ok(None) };
            end += 4 + usize::try_from(i32::from_be_bytes(*len)).unwrap_or(0);
        }
        Ok((self.pending.len() >= end).then(|| self.pending.split_to(end).freeze()))
    }

    /// Whether the end has come.
    pub(super) const fn is_over(&self) -> bool {
        self.over
    }
}

/// Binds the values of a row, in the order of the columns, as SQLite keeps them.
pub(super) fn bind(table: &Table, mut row: &[u8], statement: &mut Statement<'_>) -> Result<(), Unbound> {
    const SHORT: Unbound = Unbound::Garbled("a row that the database sends is not as long as it says");
    row = row.get(2..).ok_or(SHORT)?;
    for (at, column) in table.columns.iter().enumerate() {
        let (len, rest) = row.split_first_chunk().ok_or(SHORT)?;
        let len = i32::from_be_bytes(*len);
        let (value, rest) = match usize::try_from(len) {
            Ok(len) => rest.split_at_checked(len).map(|(value, rest)| (Some(value), rest)).ok_or(SHORT)?,
            Err(_) => (None, rest),
        };
        row = rest;
        let value =
            value.map_or(Ok(ValueRef::Null), |value| as_in_file(column.kind, value)).map_err(Unbound::Garbled)?;
        statement.raw_bind_parameter(at + 1, Bound(value))?;
    }
    if row.is_empty() { Ok(()) } else { Err(SHORT) }
}

fn as_in_file(kind: Kind, value: &[u8]) -> Result<ValueRef<'_>, Garbled> {
    match kind {
        Kind::Number => value.try_into().map(i64::from_be_bytes).map(ValueRef::Integer).map_err(|_| "a number is none"),
        Kind::Flag => match value {
            [flag @ (0 | 1)] => Ok(ValueRef::Integer(i64::from(*flag))),
            _ => Err("a yes or no is neither"),
        },
        Kind::Id if value.len() != 16 => Err("an id is none"),
        Kind::Id | Kind::Bytes => Ok(ValueRef::Blob(value)),
        Kind::Text | Kind::Told | Kind::TextAsBytes => {
            std::str::from_utf8(value).map_err(|_| "a text is not UTF-8")?;
            Ok(ValueRef::Text(value))
        }
    }
}

/// Why the values of a row were not bound.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unbound {
    #[error("{0}")]
    Garbled(Garbled),
    #[error(transparent)]
    Failed(#[from] rusqlite::Error),
}

struct Bound<'a>(ValueRef<'a>);

impl ToSql for Bound<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_come_out_of_pieces_of_any_length() {
        let rows: [&[u8]; 3] =
            [b"\0\x02\0\0\0\x03abc\xff\xff\xff\xff", b"\0\x02\xff\xff\xff\xff\0\0\0\x01x", b"\0\x01\0\0\0\0"];
        let whole = [HEADER, rows[0], rows[1], rows[2], TRAILER].concat();
        for len in 1..=whole.len() {
            let (mut splitter, mut found) = (Splitter::default(), Vec::new());
            for piece in whole.chunks(len) {
                assert!(!splitter.is_over());
                splitter.take(piece);
                while let Some(row) = splitter.next().unwrap() {
                    found.push(row);
                }
            }
            assert!(splitter.is_over() && found == rows, "{len}");
        }
        let mut splitter = Splitter::default();
        splitter.take(&whole[..whole.len() - 1]);
        while splitter.next().unwrap().is_some() {}
        assert!(!splitter.is_over(), "one that is cut short is not over");
        splitter.take(&[whole[whole.len() - 1], 0]);
        assert!(splitter.next().is_err());
        let mut splitter = Splitter::default();
        splitter.take(&[b'x'; 100]);
        assert!(splitter.next().is_err());
    }
}
