-- The instant of the newest message that was ever kept of a group, so that none that follows is kept as of an earlier one.
ALTER TABLE message_groups ADD COLUMN last_at INTEGER NOT NULL DEFAULT 0;
UPDATE message_groups
SET last_at = coalesce((SELECT max(m.at) FROM messages m WHERE m.group_number = message_groups.number), 0);
-- What was not said yet was not read.
UPDATE conversations
SET read_at = (SELECT g.last_at FROM message_groups g WHERE g.number = conversations.group_number)
WHERE read_at > (SELECT g.last_at FROM message_groups g WHERE g.number = conversations.group_number);

-- Groups that were ended and of which messages are still there: upkeep removes those, in small batches.
CREATE TABLE ended_groups (
    number INTEGER PRIMARY KEY,
    app_id BLOB NOT NULL
) STRICT;
