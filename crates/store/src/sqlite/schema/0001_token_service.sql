-- Instants are milliseconds since the epoch, UTC. Ids are UUIDs of 16 bytes.
-- The five mark columns (see grant.rs) say how far tokens and sessions of a row have been ended.

CREATE TABLE meta (
    key   TEXT PRIMARY KEY,
    value BLOB NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE accounts (
    id         BLOB PRIMARY KEY,
    name       TEXT NOT NULL,
    created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE admins (
    id            BLOB PRIMARY KEY,
    account_id    BLOB NOT NULL,
    username      TEXT NOT NULL UNIQUE,
    password_hash TEXT NOT NULL,
    created_at    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE admin_sessions (
    number     INTEGER PRIMARY KEY,
    admin_id   BLOB NOT NULL,
    hash       BLOB NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    ended_at   INTEGER
) STRICT;

CREATE TABLE apps (
    id                     BLOB PRIMARY KEY,
    account_id             BLOB NOT NULL,
    name                   TEXT NOT NULL,
    description            TEXT NOT NULL,
    development_mode       INTEGER NOT NULL,
    permitted_domains      TEXT,
    ttl_secs_max           INTEGER NOT NULL,
    activation_secs        INTEGER NOT NULL,
    limits                 TEXT NOT NULL,
    created_at             INTEGER NOT NULL,
    updated_at             INTEGER NOT NULL,
    tokens_from            INTEGER NOT NULL DEFAULT 0,
    sessions_from          INTEGER NOT NULL DEFAULT 0,
    issued_before          INTEGER NOT NULL DEFAULT 0,
    issued_before_tokens   INTEGER NOT NULL DEFAULT 0,
    issued_before_sessions INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;

-- Outlives the app, so that its audit rows stay with the account.
CREATE TABLE app_owners (
    app_id     BLOB PRIMARY KEY,
    account_id BLOB NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE secrets (
    id            BLOB PRIMARY KEY,
    app_id        BLOB NOT NULL,
    name          TEXT NOT NULL,
    hint          TEXT NOT NULL,
    hash          BLOB NOT NULL UNIQUE,
    created_at    INTEGER NOT NULL,
    last_used_at  INTEGER,
    expires_at    INTEGER,
    revoked_at    INTEGER,
    keep_sessions INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;
CREATE INDEX secrets_by_app ON secrets (app_id, created_at);

CREATE TABLE roles (
    app_id                 BLOB NOT NULL,
    id                     BLOB NOT NULL,
    name                   TEXT NOT NULL,
    permissions            TEXT NOT NULL,
    created_at             INTEGER NOT NULL,
    updated_at             INTEGER NOT NULL,
    tokens_from            INTEGER NOT NULL DEFAULT 0,
    sessions_from          INTEGER NOT NULL DEFAULT 0,
    issued_before          INTEGER NOT NULL DEFAULT 0,
    issued_before_tokens   INTEGER NOT NULL DEFAULT 0,
    issued_before_sessions INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (app_id, id),
    UNIQUE (app_id, name)
) STRICT, WITHOUT ROWID;

-- An admin may name a role without its app.
CREATE INDEX roles_by_id ON roles (id);

-- Only endpoints that were banned, replaced or ended at some time have a row.
CREATE TABLE endpoints (
    app_id                 BLOB NOT NULL,
    endpoint               TEXT NOT NULL,
    tokens_from            INTEGER NOT NULL DEFAULT 0,
    sessions_from          INTEGER NOT NULL DEFAULT 0,
    issued_before          INTEGER NOT NULL DEFAULT 0,
    issued_before_tokens   INTEGER NOT NULL DEFAULT 0,
    issued_before_sessions INTEGER NOT NULL DEFAULT 0,
    banned_at              INTEGER,
    banned_until           INTEGER,
    ban_reason             TEXT,
    PRIMARY KEY (app_id, endpoint)
) STRICT, WITHOUT ROWID;

CREATE TABLE tokens (
    number         INTEGER PRIMARY KEY,
    app_id         BLOB NOT NULL,
    endpoint       TEXT NOT NULL,
    role_id        BLOB,
    secret_id      BLOB,
    hash           BLOB NOT NULL,
    created_at     INTEGER NOT NULL,
    activate_by    INTEGER NOT NULL,
    expires_at     INTEGER NOT NULL,
    ended_at       INTEGER,
    -- The session it was redeemed for; none if it was revoked.
    session_number INTEGER
) STRICT;

CREATE TABLE sessions (
    number       INTEGER PRIMARY KEY,
    token_number INTEGER NOT NULL,
    app_id       BLOB NOT NULL,
    endpoint     TEXT NOT NULL,
    role_id      BLOB,
    secret_id    BLOB,
    hash         BLOB NOT NULL,
    created_at   INTEGER NOT NULL,
    expires_at   INTEGER NOT NULL,
    last_seen_at INTEGER NOT NULL,
    address      TEXT NOT NULL,
    ended_at     INTEGER,
    -- 1 signed out, 2 revoked, 3 superseded
    ended_as     INTEGER
) STRICT;

CREATE TABLE audit (
    number      INTEGER PRIMARY KEY,
    at          INTEGER NOT NULL,
    account_id  BLOB,
    app_id      BLOB,
    -- 0 anonymous, 1 system, 2 admin, 3 secret, 4 endpoint
    actor_kind  INTEGER NOT NULL,
    actor_id    BLOB,
    action      INTEGER NOT NULL,
    object      TEXT NOT NULL,
    address     TEXT NOT NULL,
    request_id  BLOB NOT NULL,
    fingerprint TEXT
) STRICT;

CREATE TABLE idempotency (
    number  INTEGER PRIMARY KEY,
    key     BLOB NOT NULL UNIQUE,
    request BLOB NOT NULL,
    object  BLOB NOT NULL,
    at      INTEGER NOT NULL
) STRICT;
