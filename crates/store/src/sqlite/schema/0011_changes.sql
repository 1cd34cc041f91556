-- The feed: what was taken away or changed, numbered without a gap in the order of commits (docs/adr/0006).

CREATE TABLE feed (
    -- There is one row.
    one   INTEGER PRIMARY KEY CHECK (one = 1),
    -- Which history the numbers belong to. A restored database begins another.
    epoch INTEGER NOT NULL,
    -- The number of the newest change.
    head  INTEGER NOT NULL
) STRICT;
-- Number 1 stands for all that was ended before there was a feed.
INSERT INTO feed (one, epoch, head) VALUES (1, random() & 0x7fffffffffffffff, 1);

CREATE TABLE changes (
    number INTEGER PRIMARY KEY,
    -- In words; none if nobody remembers it and no socket stands on it.
    what   TEXT,
    at     INTEGER NOT NULL
) STRICT;

-- The newest change when the row came into being: 1 for what was there before the feed, if no mark had ended it.
ALTER TABLE tokens ADD COLUMN born INTEGER NOT NULL DEFAULT 1;
ALTER TABLE sessions ADD COLUMN born INTEGER NOT NULL DEFAULT 1;
