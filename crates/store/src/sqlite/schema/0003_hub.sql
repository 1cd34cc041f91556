-- What of the realtime hub is kept.

-- 0: a session's open sockets end with its time; 1: they stay.
ALTER TABLE apps ADD COLUMN session_expiry INTEGER NOT NULL DEFAULT 0;

-- Apps that were deleted and of which the tables below may still hold rows: upkeep removes those, in small batches.
CREATE TABLE deleted_apps (
    app_id BLOB PRIMARY KEY
) STRICT, WITHOUT ROWID;

-- Groups with kept messages. A number is never given again, so that no mark can come to mean another group.
CREATE TABLE message_groups (
    number   INTEGER PRIMARY KEY AUTOINCREMENT,
    app_id   BLOB NOT NULL,
    name     TEXT NOT NULL,
    -- How many messages are kept.
    messages INTEGER NOT NULL,
    UNIQUE (app_id, name)
) STRICT;

CREATE TABLE messages (
    number       INTEGER PRIMARY KEY,
    group_number INTEGER NOT NULL,
    at           INTEGER NOT NULL,
    sender       TEXT NOT NULL,
    -- The event as members got it, JSON.
    event        TEXT NOT NULL
) STRICT;
-- Histories are asked for by instant; the row's number, which every index entry ends with, orders equal ones.
CREATE INDEX messages_by_group ON messages (group_number, at);

-- Groups that an endpoint wrote to or has a mark in.
CREATE TABLE conversations (
    app_id       BLOB NOT NULL,
    endpoint     TEXT NOT NULL,
    group_number INTEGER NOT NULL,
    -- Messages up to this instant were read.
    read_at      INTEGER NOT NULL,
    touched_at   INTEGER NOT NULL,
    PRIMARY KEY (app_id, endpoint, group_number)
) STRICT, WITHOUT ROWID;

CREATE TABLE push_tokens (
    app_id   BLOB NOT NULL,
    id       BLOB NOT NULL,
    endpoint TEXT NOT NULL,
    -- 1 Google, 2 Apple
    service  INTEGER NOT NULL,
    -- SHA-256 of the text.
    hash     BLOB NOT NULL,
    text     TEXT NOT NULL,
    seen_at  INTEGER NOT NULL,
    PRIMARY KEY (app_id, id),
    UNIQUE (app_id, service, hash)
) STRICT, WITHOUT ROWID;
CREATE INDEX push_tokens_by_endpoint ON push_tokens (app_id, endpoint, seen_at);
CREATE INDEX push_tokens_by_age ON push_tokens (seen_at);

CREATE TABLE call_reports (
    number   INTEGER PRIMARY KEY,
    app_id   BLOB NOT NULL,
    at       INTEGER NOT NULL,
    -- None when the app's backend reported.
    endpoint TEXT,
    report   TEXT NOT NULL
) STRICT;
CREATE INDEX call_reports_by_app ON call_reports (app_id);
