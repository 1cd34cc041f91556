//! The tables of an installation, each named once: its columns, what a value of each is on either side, and in which order
//! rows are read. A test looks that no schema has a table or a column that is not named here.

/// What a column's values are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// INTEGER and BIGINT.
    Number,
    /// INTEGER, 0 or 1, and BOOLEAN.
    Flag,
    /// BLOB of 16 bytes and UUID.
    Id,
    /// BLOB and BYTEA.
    Bytes,
    /// TEXT, by which something is found or which is read by a rule. PostgreSQL holds none with U+0000.
    Text,
    /// TEXT that is only told. Where PostgreSQL would not hold it, U+FFFD stands for U+0000.
    Told,
    /// TEXT and BYTEA, for texts that may hold U+0000 or are not to be compressed.
    TextAsBytes,
}

/// A column.
#[derive(Clone, Copy, Debug)]
pub(super) struct Column {
    /// In SQLite.
    pub(super) file: &'static str,
    /// In PostgreSQL.
    pub(super) server: &'static str,
    pub(super) kind: Kind,
}

/// A table.
#[derive(Clone, Copy, Debug)]
pub(super) struct Table {
    pub(super) name: &'static str,
    pub(super) columns: &'static [Column],
    /// The columns that its rows are read by, in both alike; they find one row.
    pub(super) order: &'static [&'static str],
}

macro_rules! column {
    ($name:ident $kind:ident) => {
        Column { file: stringify!($name), server: stringify!($name), kind: Kind::$kind }
    };
    ($file:ident as $server:ident $kind:ident) => {
        Column { file: stringify!($file), server: stringify!($server), kind: Kind::$kind }
    };
}

macro_rules! tables {
    ($($name:ident by ($($order:ident),+): $($file:ident $(as $server:ident)? : $kind:ident),+;)*) => {
        &[$(Table {
            name: stringify!($name),
            columns: &[$(column!($file $(as $server)? $kind)),+],
            order: &[$(stringify!($order)),+],
        }),*]
    };
}

/// All of them, in the order in which they are filled: what a row is counted by comes before it.
pub(super) const TABLES: &[Table] = tables! {
    accounts by (id): id: Id, name: Told, created_at: Number;
    admins by (id):
        id: Id, account_id: Id, username: Text, role: Number, password_hash: Text, created_at: Number;
    second_factors by (admin_id): admin_id: Id, sealed: Bytes, last_step: Number;
    recovery_codes by (admin_id, hash): admin_id: Id, hash: Bytes;
    setup_tokens by (admin_id): admin_id: Id, hash: Bytes, expires_at: Number;
    known_addresses by (admin_id, address): admin_id: Id, address: Text, at: Number;
    admin_sessions by (number):
        number: Number, admin_id: Id, hash: Bytes, created_at: Number, expires_at: Number, ended_at: Number;
    apps by (id):
        id: Id, account_id: Id, name: Told, description: Told, development_mode: Flag, permitted_domains: Text,
        ttl_secs_max: Number, activation_secs: Number, session_expiry: Flag, limits: Text, created_at: Number,
        updated_at: Number, tokens_from: Number, sessions_from: Number, tokens_issued_before as issued_before: Number,
        sessions_issued_before: Number, issued_before_tokens: Number, issued_before_sessions: Number;
    app_owners by (app_id): app_id: Id, account_id: Id;
    deleted_apps by (app_id): app_id: Id;
    secrets by (id):
        id: Id, app_id: Id, name: Told, hint: Text, hash: Bytes, created_at: Number, last_used_at: Number,
        expires_at: Number, revoked_at: Number, keep_sessions: Flag;
    roles by (app_id, id):
        app_id: Id, id: Id, name: Text, permissions: Text, created_at: Number, updated_at: Number,
        tokens_from: Number, sessions_from: Number, tokens_issued_before as issued_before: Number,
        sessions_issued_before: Number, issued_before_tokens: Number, issued_before_sessions: Number;
    endpoints by (app_id, endpoint):
        app_id: Id, endpoint: Text, tokens_from: Number, sessions_from: Number,
        tokens_issued_before as issued_before: Number, sessions_issued_before: Number, issued_before_tokens: Number,
        issued_before_sessions: Number, banned_at: Number, banned_until: Number, ban_reason: Told;
    log by (number):
        number: Number, action: Number, expires_at: Number, at: Number, app_id: Id, endpoint: Text, secret_id: Id,
        hash: Bytes, role_id: Id, activate_by: Number, born: Number, ended_at: Number, session_number: Number,
        actor_kind: Number, actor_id: Id, account_id: Id, object: Told, address: Text, request_id: Id,
        fingerprint: Text;
    sessions by (number):
        number: Number, token_number: Number, app_id: Id, endpoint: Text, role_id: Id, secret_id: Id, hash: Bytes,
        born: Number, created_at: Number, expires_at: Number, last_seen_at: Number, address: Text, ended_at: Number,
        ended_as: Number;
    // SQLite numbers them in the order of their age.
    idempotency by (at, key): key: Bytes, request: Bytes, object: Bytes, at: Number;
    figures by (span_secs, at, app_id): span_secs: Number, at: Number, app_id: Id, counts: Text;
    // It stays the same history, so whoever follows it goes on where they are.
    feed by (one): one: Number, epoch: Number, head: Number;
    changes by (number): number: Number, what: Text, at: Number;
    message_groups by (number):
        number: Number, messages: Number, last_at: Number, epoch: Number, head: Number, app_id: Id, name: TextAsBytes;
    ended_groups by (number): number: Number, app_id: Id;
    messages by (number):
        number: Number, group_number: Number, at: Number, offset: Number, sender: Text, event: TextAsBytes;
    conversations by (app_id, endpoint, group_number):
        app_id: Id, group_number: Number, read_at: Number, touched_at: Number, endpoint: Text;
    said by (number):
        number: Number, at: Number, nth: Number, app_id: Id, message_id: Id, key: Bytes, request: Bytes;
    push_tokens by (app_id, id):
        app_id: Id, id: Id, service: Number, seen_at: Number, endpoint: Text, hash: Bytes, text: Text;
    call_reports by (number): number: Number, app_id: Id, at: Number, endpoint: Text, report: TextAsBytes;
};

/// A sequence of PostgreSQL's, and the table whose numbers come from it.
pub(super) struct Sequence {
    pub(super) name: &'static str,
    pub(super) table: &'static str,
    /// What SQLite gives the next number by, if it must be none that was given before.
    pub(super) in_file: InFile,
}

/// How a number that was given stays given in SQLite.
pub(super) enum InFile {
    /// The next is one more than the newest row's, whatever came before.
    NewestRow,
    /// The same, but the newest row stays so that none is given again. A row of the number `?1` that is over and is nobody's.
    KeptBy(&'static str),
    /// By a sequence of SQLite's own.
    Sequence,
}

pub(super) const SEQUENCES: &[Sequence] = &[
    Sequence {
        name: "log_number",
        table: "log",
        in_file: InFile::KeptBy(
            "INSERT INTO log (number, at) SELECT ?1, coalesce((SELECT at FROM log ORDER BY number DESC LIMIT 1), 0)",
        ),
    },
    Sequence {
        name: "session_number",
        table: "sessions",
        in_file: InFile::KeptBy(
            "INSERT INTO sessions (number, token_number, app_id, endpoint, hash, born, created_at, expires_at,
                                   last_seen_at, address, ended_at, ended_as)
             VALUES (?1, 0, zeroblob(16), '-', zeroblob(32), 0, 0, 0, 0, '', 0, 2)",
        ),
    },
    Sequence {
        name: "admin_session_number",
        table: "admin_sessions",
        in_file: InFile::KeptBy(
            "INSERT INTO admin_sessions (number, admin_id, hash, created_at, expires_at, ended_at)
             VALUES (?1, zeroblob(16), zeroblob(32), 0, 0, 0)",
        ),
    },
    Sequence { name: "group_number", table: "message_groups", in_file: InFile::Sequence },
    Sequence { name: "message_number", table: "messages", in_file: InFile::NewestRow },
    Sequence { name: "said_number", table: "said", in_file: InFile::NewestRow },
    Sequence { name: "call_report_number", table: "call_reports", in_file: InFile::NewestRow },
];

/// What is not carried over.
pub(super) mod left {
    /// Tables whose rows follow from the others', or are carried by name: what is kept is counted at the end, as it costs
    /// there, and of `meta` only the key of the tokens goes along.
    pub(in crate::transfer) const TABLES: &[&str] = &["kept_bytes", "meta"];
    /// Tables and sequences that belong to the nodes, not to what they serve: a copy is another cluster. Nobody locks them, and
    /// where an installation left they are as they were.
    #[cfg(test)]
    pub(in crate::transfer) const OF_NODES: &[&str] = &["carrier_0", "carrier_1", "carrier_2", "cluster", "nodes"];
    #[cfg(test)]
    pub(in crate::transfer) const SEQUENCES_OF_NODES: &[&str] = &["node_life"];
    /// Columns that only one side has and fills by itself.
    #[cfg(test)]
    pub(in crate::transfer) const COLUMNS: &[(&str, &str)] = &[("idempotency", "number")];
}
