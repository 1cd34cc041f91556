-- How much is kept of what an app's clients say: messages and their groups, read marks, push tokens, call reports.
--
-- Each row counts with its texts and about what its numbers and indexes take. Triggers keep the sum, so that whatever adds
-- or removes rows keeps it in the same transaction; nothing may replace rows by a conflict, for that calls no trigger.

CREATE TABLE kept_bytes (
    app_id BLOB PRIMARY KEY,
    bytes  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Every row that is kept, as it counts.
CREATE VIEW kept_rows (app_id, bytes) AS
    SELECT coalesce(g.app_id, e.app_id), octet_length(m.event) + octet_length(m.sender) + 48
    FROM messages m
    LEFT JOIN message_groups g ON g.number = m.group_number
    LEFT JOIN ended_groups e ON e.number = m.group_number
    UNION ALL SELECT app_id, 2 * octet_length(name) + 64 FROM message_groups
    UNION ALL SELECT app_id, octet_length(endpoint) + 64 FROM conversations
    UNION ALL SELECT app_id, octet_length(text) + 2 * octet_length(endpoint) + 192 FROM push_tokens
    UNION ALL SELECT app_id, octet_length(report) + coalesce(octet_length(endpoint), 0) + 64 FROM call_reports;

-- What is there is counted by the migration that follows, with what it counts for by then.

CREATE TRIGGER messages_come AFTER INSERT ON messages BEGIN
    INSERT INTO kept_bytes (app_id, bytes)
        SELECT app_id, octet_length(new.event) + octet_length(new.sender) + 48
        FROM message_groups WHERE number = new.group_number
        ON CONFLICT DO UPDATE SET bytes = bytes + excluded.bytes;
END;
CREATE TRIGGER messages_go AFTER DELETE ON messages BEGIN
    UPDATE kept_bytes SET bytes = bytes - (octet_length(old.event) + octet_length(old.sender) + 48)
    WHERE app_id = coalesce((SELECT app_id FROM message_groups WHERE number = old.group_number),
                            (SELECT app_id FROM ended_groups WHERE number = old.group_number));
END;

CREATE TRIGGER message_groups_come AFTER INSERT ON message_groups BEGIN
    INSERT INTO kept_bytes (app_id, bytes) VALUES (new.app_id, 2 * octet_length(new.name) + 64)
        ON CONFLICT DO UPDATE SET bytes = bytes + excluded.bytes;
END;
CREATE TRIGGER message_groups_go AFTER DELETE ON message_groups BEGIN
    UPDATE kept_bytes SET bytes = bytes - (2 * octet_length(old.name) + 64) WHERE app_id = old.app_id;
END;

CREATE TRIGGER conversations_come AFTER INSERT ON conversations BEGIN
    INSERT INTO kept_bytes (app_id, bytes) VALUES (new.app_id, octet_length(new.endpoint) + 64)
        ON CONFLICT DO UPDATE SET bytes = bytes + excluded.bytes;
END;
CREATE TRIGGER conversations_go AFTER DELETE ON conversations BEGIN
    UPDATE kept_bytes SET bytes = bytes - (octet_length(old.endpoint) + 64) WHERE app_id = old.app_id;
END;

CREATE TRIGGER push_tokens_come AFTER INSERT ON push_tokens BEGIN
    INSERT INTO kept_bytes (app_id, bytes)
        VALUES (new.app_id, octet_length(new.text) + 2 * octet_length(new.endpoint) + 192)
        ON CONFLICT DO UPDATE SET bytes = bytes + excluded.bytes;
END;
CREATE TRIGGER push_tokens_go AFTER DELETE ON push_tokens BEGIN
    UPDATE kept_bytes SET bytes = bytes - (octet_length(old.text) + 2 * octet_length(old.endpoint) + 192)
    WHERE app_id = old.app_id;
END;

CREATE TRIGGER call_reports_come AFTER INSERT ON call_reports BEGIN
    INSERT INTO kept_bytes (app_id, bytes)
        VALUES (new.app_id, octet_length(new.report) + coalesce(octet_length(new.endpoint), 0) + 64)
        ON CONFLICT DO UPDATE SET bytes = bytes + excluded.bytes;
END;
CREATE TRIGGER call_reports_go AFTER DELETE ON call_reports BEGIN
    UPDATE kept_bytes SET bytes = bytes - (octet_length(old.report) + coalesce(octet_length(old.endpoint), 0) + 64)
    WHERE app_id = old.app_id;
END;

-- Of an app that was deleted nothing is left in the end, this row included.
CREATE TRIGGER kept_bytes_none AFTER UPDATE ON kept_bytes WHEN new.bytes <= 0 BEGIN
    DELETE FROM kept_bytes WHERE app_id = new.app_id;
END;
