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

-- The marks named the row numbers below which all was over. What they have ended is born before change 1, which all of
-- them become.
UPDATE tokens SET born = 0 WHERE number IN (
    SELECT g.number FROM tokens g
    LEFT JOIN apps a ON a.id = g.app_id
    LEFT JOIN roles r ON r.app_id = g.app_id AND r.id = g.role_id
    LEFT JOIN endpoints e ON e.app_id = g.app_id AND e.endpoint = g.endpoint
    WHERE g.ended_at IS NULL AND (
        g.number < max(ifnull(a.tokens_from, 0), ifnull(r.tokens_from, 0), ifnull(e.tokens_from, 0))
        OR (g.number < a.issued_before_tokens AND g.created_at < a.issued_before)
        OR (g.number < r.issued_before_tokens AND g.created_at < r.issued_before)
        OR (g.number < e.issued_before_tokens AND g.created_at < e.issued_before)));
UPDATE sessions SET born = 0 WHERE number IN (
    SELECT g.number FROM sessions g
    LEFT JOIN apps a ON a.id = g.app_id
    LEFT JOIN roles r ON r.app_id = g.app_id AND r.id = g.role_id
    LEFT JOIN endpoints e ON e.app_id = g.app_id AND e.endpoint = g.endpoint
    WHERE g.ended_at IS NULL AND (
        g.number < max(ifnull(a.sessions_from, 0), ifnull(r.sessions_from, 0), ifnull(e.sessions_from, 0))
        OR (g.number < a.issued_before_sessions AND g.created_at < a.sessions_issued_before)
        OR (g.number < r.issued_before_sessions AND g.created_at < r.sessions_issued_before)
        OR (g.number < e.issued_before_sessions AND g.created_at < e.sessions_issued_before)));
UPDATE apps SET
    tokens_from = min(tokens_from, 1), issued_before_tokens = min(issued_before_tokens, 1),
    sessions_from = min(sessions_from, 1), issued_before_sessions = min(issued_before_sessions, 1);
UPDATE roles SET
    tokens_from = min(tokens_from, 1), issued_before_tokens = min(issued_before_tokens, 1),
    sessions_from = min(sessions_from, 1), issued_before_sessions = min(issued_before_sessions, 1);
UPDATE endpoints SET
    tokens_from = min(tokens_from, 1), issued_before_tokens = min(issued_before_tokens, 1),
    sessions_from = min(sessions_from, 1), issued_before_sessions = min(issued_before_sessions, 1);
