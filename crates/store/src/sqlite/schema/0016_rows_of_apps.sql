-- A table that is ordered by a key keeps 231 bytes of a row on its page, and whoever looks for a key there reads the rest of
-- the row as well, from pages of its own. Each look at a token or session looks for its app and role, whose texts are longer.
-- So these two are ordered by number, and an index finds them.

CREATE TABLE apps_by_number (
    id                     BLOB NOT NULL PRIMARY KEY,
    development_mode       INTEGER NOT NULL,
    tokens_from            INTEGER NOT NULL DEFAULT 0,
    sessions_from          INTEGER NOT NULL DEFAULT 0,
    issued_before          INTEGER NOT NULL DEFAULT 0,
    sessions_issued_before INTEGER NOT NULL DEFAULT 0,
    issued_before_tokens   INTEGER NOT NULL DEFAULT 0,
    issued_before_sessions INTEGER NOT NULL DEFAULT 0,
    account_id             BLOB NOT NULL,
    name                   TEXT NOT NULL,
    description            TEXT NOT NULL,
    permitted_domains      TEXT,
    ttl_secs_max           INTEGER NOT NULL,
    activation_secs        INTEGER NOT NULL,
    -- 0: a session's open sockets end with its time; 1: they stay.
    session_expiry         INTEGER NOT NULL DEFAULT 0,
    limits                 TEXT NOT NULL,
    created_at             INTEGER NOT NULL,
    updated_at             INTEGER NOT NULL
) STRICT;
INSERT INTO apps_by_number SELECT id, development_mode, tokens_from, sessions_from, issued_before, sessions_issued_before,
    issued_before_tokens, issued_before_sessions, account_id, name, description, permitted_domains, ttl_secs_max,
    activation_secs, session_expiry, limits, created_at, updated_at FROM apps ORDER BY id;
DROP TABLE apps;
ALTER TABLE apps_by_number RENAME TO apps;

CREATE TABLE roles_by_number (
    app_id                 BLOB NOT NULL,
    id                     BLOB NOT NULL,
    tokens_from            INTEGER NOT NULL DEFAULT 0,
    sessions_from          INTEGER NOT NULL DEFAULT 0,
    issued_before          INTEGER NOT NULL DEFAULT 0,
    sessions_issued_before INTEGER NOT NULL DEFAULT 0,
    issued_before_tokens   INTEGER NOT NULL DEFAULT 0,
    issued_before_sessions INTEGER NOT NULL DEFAULT 0,
    name                   TEXT NOT NULL,
    permissions            TEXT NOT NULL,
    created_at             INTEGER NOT NULL,
    updated_at             INTEGER NOT NULL,
    PRIMARY KEY (app_id, id),
    UNIQUE (app_id, name)
) STRICT;
INSERT INTO roles_by_number SELECT app_id, id, tokens_from, sessions_from, issued_before, sessions_issued_before,
    issued_before_tokens, issued_before_sessions, name, permissions, created_at, updated_at FROM roles ORDER BY app_id, id;
DROP TABLE roles;
ALTER TABLE roles_by_number RENAME TO roles;
CREATE INDEX roles_by_id ON roles (id);
