-- A page has 1 KiB: a mint writes the pages that its rows are on, and so a third less than with 4. What that asks of tables:
--
-- - A table that is ordered by a key keeps 231 bytes of a row on its page, and 104 at least. So what each look at a token or
--   session reads of an app or role stands before the texts; and push tokens, which have more, are ordered by number.
-- - Rows take other shares of pages, and so what is kept counts anew (`sqlite/kept.rs` says how).

ALTER TABLE apps RENAME TO apps_before;
CREATE TABLE apps (
    id                     BLOB PRIMARY KEY,
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
) STRICT, WITHOUT ROWID;
INSERT INTO apps SELECT id, development_mode, tokens_from, sessions_from, issued_before, sessions_issued_before,
    issued_before_tokens, issued_before_sessions, account_id, name, description, permitted_domains, ttl_secs_max,
    activation_secs, session_expiry, limits, created_at, updated_at FROM apps_before;
DROP TABLE apps_before;

ALTER TABLE roles RENAME TO roles_before;
CREATE TABLE roles (
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
) STRICT, WITHOUT ROWID;
INSERT INTO roles SELECT app_id, id, tokens_from, sessions_from, issued_before, sessions_issued_before,
    issued_before_tokens, issued_before_sessions, name, permissions, created_at, updated_at FROM roles_before;
DROP TABLE roles_before;
CREATE INDEX roles_by_id ON roles (id);

DROP TRIGGER messages_come;
DROP TRIGGER messages_go;
DROP TRIGGER message_groups_come;
DROP TRIGGER message_groups_go;
DROP TRIGGER conversations_come;
DROP TRIGGER conversations_go;
DROP TRIGGER push_tokens_come;
DROP TRIGGER push_tokens_go;
DROP TRIGGER call_reports_come;
DROP TRIGGER call_reports_go;
DROP VIEW kept_rows;


ALTER TABLE push_tokens RENAME TO push_tokens_before;
DROP INDEX push_tokens_by_endpoint;
DROP INDEX push_tokens_by_age;
CREATE TABLE push_tokens (
    app_id     BLOB NOT NULL,
    id         BLOB NOT NULL,
    endpoint   TEXT NOT NULL,
    -- 1 Google, 2 Apple
    service    INTEGER NOT NULL,
    -- SHA-256 of the text.
    hash       BLOB NOT NULL,
    text       TEXT NOT NULL,
    seen_at    INTEGER NOT NULL,
    row_bytes  INTEGER AS (octet_length(text) + octet_length(endpoint) + 80) VIRTUAL,
    cost_bytes INTEGER AS (iif(row_bytes <= 989, 1024 / (1016 / (row_bytes + 6)),
        iif((row_bytes - 104) % 1020 <= 885,
            (row_bytes - 104) / 1020 * 1024 + 1024 / (1016 / ((row_bytes - 104) % 1020 + 114)),
            ((row_bytes - 104) / 1020 + 1) * 1024 + 128))
        + iif(octet_length(endpoint) <= 195, 180 + 3 * octet_length(endpoint) / 2, 1332)) VIRTUAL,
    PRIMARY KEY (app_id, id),
    UNIQUE (app_id, service, hash)
) STRICT;
INSERT INTO push_tokens (app_id, id, endpoint, service, hash, text, seen_at)
    SELECT app_id, id, endpoint, service, hash, text, seen_at FROM push_tokens_before;
DROP TABLE push_tokens_before;
CREATE INDEX push_tokens_by_endpoint ON push_tokens (app_id, endpoint, seen_at);
CREATE INDEX push_tokens_by_age ON push_tokens (seen_at);

ALTER TABLE messages DROP COLUMN cost_bytes;
ALTER TABLE messages ADD COLUMN row_bytes INTEGER AS (octet_length(event) + octet_length(sender) + 24) VIRTUAL;
ALTER TABLE messages ADD COLUMN cost_bytes INTEGER AS (32 + iif(row_bytes <= 989, 1024 / (1016 / (row_bytes + 6)),
        iif((row_bytes - 104) % 1020 <= 885,
            (row_bytes - 104) / 1020 * 1024 + 1024 / (1016 / ((row_bytes - 104) % 1020 + 114)),
            ((row_bytes - 104) / 1020 + 1) * 1024 + 128))) VIRTUAL;
ALTER TABLE message_groups DROP COLUMN cost_bytes;
ALTER TABLE message_groups ADD COLUMN cost_bytes INTEGER AS (
    iif(octet_length(name) <= 205, 64 + 3 * octet_length(name), 1536)) VIRTUAL;
ALTER TABLE conversations DROP COLUMN cost_bytes;
ALTER TABLE conversations ADD COLUMN cost_bytes INTEGER AS (
    iif(octet_length(endpoint) <= 190, 48 + 3 * octet_length(endpoint) / 2, 1184)) VIRTUAL;
ALTER TABLE call_reports DROP COLUMN cost_bytes;
ALTER TABLE call_reports ADD COLUMN row_bytes INTEGER AS (
    octet_length(report) + coalesce(octet_length(endpoint), 0) + 30) VIRTUAL;
ALTER TABLE call_reports ADD COLUMN cost_bytes INTEGER AS (48 + iif(row_bytes <= 989, 1024 / (1016 / (row_bytes + 6)),
        iif((row_bytes - 104) % 1020 <= 885,
            (row_bytes - 104) / 1020 * 1024 + 1024 / (1016 / ((row_bytes - 104) % 1020 + 114)),
            ((row_bytes - 104) / 1020 + 1) * 1024 + 128))) VIRTUAL;

-- Every row that is kept, as it counts.
CREATE VIEW kept_rows (app_id, bytes) AS
    SELECT coalesce(g.app_id, e.app_id), m.cost_bytes
    FROM messages m
    LEFT JOIN message_groups g ON g.number = m.group_number
    LEFT JOIN ended_groups e ON e.number = m.group_number
    UNION ALL SELECT app_id, cost_bytes FROM message_groups
    UNION ALL SELECT app_id, cost_bytes FROM conversations
    UNION ALL SELECT app_id, cost_bytes FROM push_tokens
    UNION ALL SELECT app_id, cost_bytes FROM call_reports;

-- What is there counts by the new rules at once. An app may so keep more than it may: then it keeps nothing new until rows
-- went.
DELETE FROM kept_bytes;
-- Each sum in the order of an index: the rows of a big database are sorted nowhere.
INSERT INTO kept_bytes (app_id, bytes)
    SELECT app_id, sum(cost_bytes) FROM message_groups WHERE true GROUP BY app_id
    ON CONFLICT DO UPDATE SET bytes = bytes + excluded.bytes;
INSERT INTO kept_bytes (app_id, bytes)
    SELECT app_id, sum((SELECT coalesce(sum(cost_bytes), 0) FROM messages WHERE group_number = g.number))
    FROM message_groups g WHERE true GROUP BY app_id
    ON CONFLICT DO UPDATE SET bytes = bytes + excluded.bytes;
INSERT INTO kept_bytes (app_id, bytes)
    SELECT app_id, (SELECT coalesce(sum(cost_bytes), 0) FROM messages WHERE group_number = e.number)
    FROM ended_groups e WHERE true
    ON CONFLICT DO UPDATE SET bytes = bytes + excluded.bytes;
INSERT INTO kept_bytes (app_id, bytes)
    SELECT app_id, sum(cost_bytes) FROM conversations WHERE true GROUP BY app_id
    ON CONFLICT DO UPDATE SET bytes = bytes + excluded.bytes;
INSERT INTO kept_bytes (app_id, bytes)
    SELECT app_id, sum(cost_bytes) FROM push_tokens WHERE true GROUP BY app_id
    ON CONFLICT DO UPDATE SET bytes = bytes + excluded.bytes;
INSERT INTO kept_bytes (app_id, bytes)
    SELECT app_id, sum(cost_bytes) FROM call_reports WHERE true GROUP BY app_id
    ON CONFLICT DO UPDATE SET bytes = bytes + excluded.bytes;
DELETE FROM kept_bytes WHERE bytes = 0;

CREATE TRIGGER messages_come AFTER INSERT ON messages BEGIN
    INSERT INTO kept_bytes (app_id, bytes)
        SELECT app_id, new.cost_bytes FROM message_groups WHERE number = new.group_number
        ON CONFLICT DO UPDATE SET bytes = bytes + excluded.bytes;
END;
CREATE TRIGGER messages_go AFTER DELETE ON messages BEGIN
    UPDATE kept_bytes SET bytes = bytes - old.cost_bytes
    WHERE app_id = coalesce((SELECT app_id FROM message_groups WHERE number = old.group_number),
                            (SELECT app_id FROM ended_groups WHERE number = old.group_number));
END;

CREATE TRIGGER message_groups_come AFTER INSERT ON message_groups BEGIN
    INSERT INTO kept_bytes (app_id, bytes) VALUES (new.app_id, new.cost_bytes)
        ON CONFLICT DO UPDATE SET bytes = bytes + excluded.bytes;
END;
CREATE TRIGGER message_groups_go AFTER DELETE ON message_groups BEGIN
    UPDATE kept_bytes SET bytes = bytes - old.cost_bytes WHERE app_id = old.app_id;
END;

CREATE TRIGGER conversations_come AFTER INSERT ON conversations BEGIN
    INSERT INTO kept_bytes (app_id, bytes) VALUES (new.app_id, new.cost_bytes)
        ON CONFLICT DO UPDATE SET bytes = bytes + excluded.bytes;
END;
CREATE TRIGGER conversations_go AFTER DELETE ON conversations BEGIN
    UPDATE kept_bytes SET bytes = bytes - old.cost_bytes WHERE app_id = old.app_id;
END;

CREATE TRIGGER push_tokens_come AFTER INSERT ON push_tokens BEGIN
    INSERT INTO kept_bytes (app_id, bytes) VALUES (new.app_id, new.cost_bytes)
        ON CONFLICT DO UPDATE SET bytes = bytes + excluded.bytes;
END;
CREATE TRIGGER push_tokens_go AFTER DELETE ON push_tokens BEGIN
    UPDATE kept_bytes SET bytes = bytes - old.cost_bytes WHERE app_id = old.app_id;
END;

CREATE TRIGGER call_reports_come AFTER INSERT ON call_reports BEGIN
    INSERT INTO kept_bytes (app_id, bytes) VALUES (new.app_id, new.cost_bytes)
        ON CONFLICT DO UPDATE SET bytes = bytes + excluded.bytes;
END;
CREATE TRIGGER call_reports_go AFTER DELETE ON call_reports BEGIN
    UPDATE kept_bytes SET bytes = bytes - old.cost_bytes WHERE app_id = old.app_id;
END;
