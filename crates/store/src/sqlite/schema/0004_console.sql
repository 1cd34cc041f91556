-- Admins with roles and second factors, the setup link of the first start, and figures over time.

-- 0 owner, 1 developer, 2 read-only. Who was an admin before there were roles is an owner.
ALTER TABLE admins ADD COLUMN role INTEGER NOT NULL DEFAULT 0;

CREATE TABLE second_factors (
    admin_id  BLOB PRIMARY KEY,
    -- The secret under a mask that the admin's password makes.
    sealed    BLOB NOT NULL,
    -- The last time step of which a code was taken.
    last_step INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE recovery_codes (
    admin_id BLOB NOT NULL,
    -- SHA-256 of the text.
    hash     BLOB NOT NULL,
    PRIMARY KEY (admin_id, hash)
) STRICT, WITHOUT ROWID;

CREATE TABLE setup_tokens (
    admin_id   BLOB PRIMARY KEY,
    -- SHA-256 of the text.
    hash       BLOB NOT NULL,
    expires_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- What was counted, in spans of ten minutes (600) and of six hours (21600).
CREATE TABLE figures (
    span_secs INTEGER NOT NULL,
    -- The span's beginning.
    at        INTEGER NOT NULL,
    -- Sixteen zeros are the whole server.
    app_id    BLOB NOT NULL,
    -- JSON.
    counts    TEXT NOT NULL,
    PRIMARY KEY (span_secs, at, app_id)
) STRICT, WITHOUT ROWID;
