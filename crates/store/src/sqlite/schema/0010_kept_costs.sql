-- What is kept counts with what it takes in the file, instead of with its texts and a sum for the rest. A page of 4 KiB holds
-- whole rows, so that a message of 2 KiB takes a page, and what is looked for by several keys stands in several indexes.
-- The figures are measured: `sqlite/kept.rs` says how they came about, computes the same before a row is written, and
-- has the test that measures anew.

ALTER TABLE messages ADD COLUMN cost_bytes INTEGER AS (
    32 + CASE WHEN octet_length(event) + octet_length(sender) <= 4000
        THEN 4096 / (4072 / (octet_length(event) + octet_length(sender) + 24))
        ELSE 2048 + octet_length(event) + octet_length(sender) END) VIRTUAL;
ALTER TABLE message_groups ADD COLUMN cost_bytes INTEGER AS (64 + 3 * octet_length(name)) VIRTUAL;
ALTER TABLE conversations ADD COLUMN cost_bytes INTEGER AS (48 + 3 * octet_length(endpoint) / 2) VIRTUAL;
ALTER TABLE push_tokens ADD COLUMN cost_bytes INTEGER AS (
    CASE WHEN octet_length(text) + octet_length(endpoint) <= 900
        THEN 320 + 3 * (octet_length(text) + 2 * octet_length(endpoint)) / 2
        ELSE 5120 + octet_length(endpoint) END) VIRTUAL;
ALTER TABLE call_reports ADD COLUMN cost_bytes INTEGER AS (
    48 + CASE WHEN octet_length(report) + coalesce(octet_length(endpoint), 0) <= 4000
        THEN 4096 / (4056 / (octet_length(report) + coalesce(octet_length(endpoint), 0) + 40))
        ELSE 2048 + octet_length(report) + coalesce(octet_length(endpoint), 0) END) VIRTUAL;

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

-- What is there is counted by the migration that last changes what it counts with.
DELETE FROM kept_bytes;

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
