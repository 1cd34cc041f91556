-- A group's messages have an offset each: 1, 2, 3 and so on, as they were delivered, without a gap. `epoch` says which history
-- the offsets belong to: another group of the same name has another one, and so has each group of a restored database.
ALTER TABLE message_groups ADD COLUMN epoch INTEGER NOT NULL DEFAULT 0;
-- The offset of the newest message that was ever kept of it.
ALTER TABLE message_groups ADD COLUMN head INTEGER NOT NULL DEFAULT 0;
UPDATE message_groups SET epoch = random() & 0x7fffffffffffffff, head = messages;
ALTER TABLE messages ADD COLUMN offset INTEGER NOT NULL DEFAULT 0;
