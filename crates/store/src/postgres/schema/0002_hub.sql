-- What of the realtime hub is kept.

-- Groups with kept messages. A number is never given again, so that no mark can come to mean another group. Names may hold any
-- character, the one that TEXT does not take included.
CREATE SEQUENCE respoked.group_number;
CREATE TABLE respoked.message_groups (
    number   BIGINT PRIMARY KEY DEFAULT nextval('respoked.group_number'),
    -- How many messages are kept.
    messages BIGINT NOT NULL,
    -- The instant of the newest message that was ever kept of it, so that none that follows is kept as of an earlier one.
    last_at  BIGINT NOT NULL,
    -- Which history the offsets belong to.
    epoch    BIGINT NOT NULL,
    -- The offset of the newest message that was ever kept of it.
    head     BIGINT NOT NULL,
    app_id   UUID NOT NULL,
    name     BYTEA NOT NULL,
    UNIQUE (app_id, name)
) WITH (fillfactor = 50);

-- Groups that were ended and of which messages are still there: upkeep removes those, in small batches.
CREATE TABLE respoked.ended_groups (
    number BIGINT PRIMARY KEY,
    app_id UUID NOT NULL
);

-- Of two messages of an app the one that was said later has the higher number.
CREATE SEQUENCE respoked.message_number;
CREATE TABLE respoked.messages (
    number       BIGINT PRIMARY KEY DEFAULT nextval('respoked.message_number'),
    group_number BIGINT NOT NULL,
    at           BIGINT NOT NULL,
    -- 1, 2, 3 and so on, as the group's messages were delivered, without a gap.
    "offset"     BIGINT NOT NULL,
    sender       TEXT COLLATE "C" NOT NULL,
    -- The event as members got it, JSON.
    event        BYTEA NOT NULL
);
-- It is not compressed, so that what it takes is known beforehand.
ALTER TABLE respoked.messages ALTER COLUMN event SET STORAGE EXTERNAL;
CREATE INDEX messages_by_group ON respoked.messages (group_number, at, number);

-- Groups that an endpoint wrote to or has a mark in.
CREATE TABLE respoked.conversations (
    app_id       UUID NOT NULL,
    group_number BIGINT NOT NULL,
    -- Messages up to this instant were read.
    read_at      BIGINT NOT NULL,
    touched_at   BIGINT NOT NULL,
    endpoint     TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (app_id, endpoint, group_number)
) WITH (fillfactor = 80);

-- Messages that were said by a request with a key, so that its repetition says none.
CREATE SEQUENCE respoked.said_number;
CREATE TABLE respoked.said (
    number     BIGINT NOT NULL DEFAULT nextval('respoked.said_number'),
    at         BIGINT NOT NULL,
    -- How manieth of the app it is.
    nth        BIGINT NOT NULL,
    app_id     UUID NOT NULL,
    message_id UUID NOT NULL,
    key        BYTEA PRIMARY KEY,
    request    BYTEA NOT NULL
);
CREATE UNIQUE INDEX said_by_number ON respoked.said (number);
CREATE INDEX said_by_app ON respoked.said (app_id, nth);

CREATE TABLE respoked.push_tokens (
    app_id   UUID NOT NULL,
    id       UUID NOT NULL,
    -- 1 Google, 2 Apple
    service  BIGINT NOT NULL,
    seen_at  BIGINT NOT NULL,
    endpoint TEXT COLLATE "C" NOT NULL,
    -- SHA-256 of the text.
    hash     BYTEA NOT NULL,
    text     TEXT NOT NULL,
    PRIMARY KEY (app_id, id),
    UNIQUE (app_id, service, hash)
);
ALTER TABLE respoked.push_tokens ALTER COLUMN text SET STORAGE EXTERNAL;
CREATE INDEX push_tokens_by_endpoint ON respoked.push_tokens (app_id, endpoint, seen_at);
CREATE INDEX push_tokens_by_age ON respoked.push_tokens (seen_at);

CREATE SEQUENCE respoked.call_report_number;
CREATE TABLE respoked.call_reports (
    number   BIGINT PRIMARY KEY DEFAULT nextval('respoked.call_report_number'),
    app_id   UUID NOT NULL,
    at       BIGINT NOT NULL,
    -- None when the app's backend reported.
    endpoint TEXT COLLATE "C",
    -- JSON.
    report   BYTEA NOT NULL
);
ALTER TABLE respoked.call_reports ALTER COLUMN report SET STORAGE EXTERNAL;
CREATE INDEX call_reports_by_app ON respoked.call_reports (app_id, number);

-- How much is kept of what an app's clients say: messages and their groups, read marks, push tokens, call reports.
--
-- Each row counts with what it takes in its table and its indexes: `postgres/kept.rs` says how that was found, and computes the
-- same before a row is written. Triggers keep the sum, so that whatever adds or removes rows keeps it in the same transaction.
-- A statement locks the rows of the sums last of all, and those of several apps in order. Transactions of several statements may
-- meet in a circle there: upkeep then gives up for this time, and whoever else is ended is run again.
CREATE TABLE respoked.kept_bytes (
    app_id UUID PRIMARY KEY,
    bytes  BIGINT NOT NULL
) WITH (fillfactor = 20);

-- A row of which one value may be so long that it leaves it.
CREATE FUNCTION respoked.row_cost(rest BIGINT, long BIGINT) RETURNS BIGINT LANGUAGE sql IMMUTABLE RETURN
    CASE WHEN rest + long <= 2032
        THEN 8192 / (8168 / ((rest + long + 7) / 8 * 8 + 4))
        ELSE 8192 / (8168 / ((rest + 27) / 8 * 8 + 4)) + long + long / 32 + 1450 END;
CREATE FUNCTION respoked.message_cost(sender TEXT, event BYTEA) RETURNS BIGINT LANGUAGE sql IMMUTABLE RETURN
    80 + respoked.row_cost(64 + octet_length(sender), octet_length(event));
CREATE FUNCTION respoked.group_cost(name BYTEA) RETURNS BIGINT LANGUAGE sql IMMUTABLE RETURN 260 + 4 * octet_length(name);
CREATE FUNCTION respoked.conversation_cost(endpoint TEXT) RETURNS BIGINT LANGUAGE sql IMMUTABLE RETURN
    160 + 3 * octet_length(endpoint);
CREATE FUNCTION respoked.push_token_cost(text TEXT, endpoint TEXT) RETURNS BIGINT LANGUAGE sql IMMUTABLE RETURN
    256 + 5 * octet_length(endpoint) / 3 + respoked.row_cost(113 + octet_length(endpoint), octet_length(text));
CREATE FUNCTION respoked.call_report_cost(report BYTEA, endpoint TEXT) RETURNS BIGINT LANGUAGE sql IMMUTABLE RETURN
    92 + respoked.row_cost(64 + coalesce(octet_length(endpoint), 0), octet_length(report));

-- For messages that came or went.
CREATE FUNCTION respoked.count_messages() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO respoked.kept_bytes AS k (app_id, bytes)
        SELECT coalesce(g.app_id, e.app_id) AS app,
               sum(respoked.message_cost(c.sender, c.event)) * CASE TG_OP WHEN 'INSERT' THEN 1 ELSE -1 END
        FROM changed c
        LEFT JOIN respoked.message_groups g ON g.number = c.group_number
        LEFT JOIN respoked.ended_groups e ON e.number = c.group_number
        WHERE coalesce(g.app_id, e.app_id) IS NOT NULL GROUP BY app ORDER BY app
        ON CONFLICT (app_id) DO UPDATE SET bytes = k.bytes + excluded.bytes;
    RETURN NULL;
END $$;

-- For rows of a table with an app's id, which cost what the argument says.
CREATE FUNCTION respoked.count_rows() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE 'INSERT INTO respoked.kept_bytes AS k (app_id, bytes)
                 SELECT app_id, $1 * sum(' || TG_ARGV[0] || ') FROM changed GROUP BY app_id ORDER BY app_id
                 ON CONFLICT (app_id) DO UPDATE SET bytes = k.bytes + excluded.bytes'
        USING CASE TG_OP WHEN 'INSERT' THEN 1 ELSE -1 END;
    RETURN NULL;
END $$;

CREATE TRIGGER come AFTER INSERT ON respoked.messages REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION respoked.count_messages();
CREATE TRIGGER go AFTER DELETE ON respoked.messages REFERENCING OLD TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION respoked.count_messages();
CREATE TRIGGER come AFTER INSERT ON respoked.message_groups REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION respoked.count_rows('respoked.group_cost(name)');
CREATE TRIGGER go AFTER DELETE ON respoked.message_groups REFERENCING OLD TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION respoked.count_rows('respoked.group_cost(name)');
CREATE TRIGGER come AFTER INSERT ON respoked.conversations REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION respoked.count_rows('respoked.conversation_cost(endpoint)');
CREATE TRIGGER go AFTER DELETE ON respoked.conversations REFERENCING OLD TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION respoked.count_rows('respoked.conversation_cost(endpoint)');
CREATE TRIGGER come AFTER INSERT ON respoked.push_tokens REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION respoked.count_rows('respoked.push_token_cost(text, endpoint)');
CREATE TRIGGER go AFTER DELETE ON respoked.push_tokens REFERENCING OLD TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION respoked.count_rows('respoked.push_token_cost(text, endpoint)');
CREATE TRIGGER come AFTER INSERT ON respoked.call_reports REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION respoked.count_rows('respoked.call_report_cost(report, endpoint)');
CREATE TRIGGER go AFTER DELETE ON respoked.call_reports REFERENCING OLD TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION respoked.count_rows('respoked.call_report_cost(report, endpoint)');

-- Of an app that was deleted nothing is left in the end, this row included.
CREATE FUNCTION respoked.forget_nothing_kept() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM respoked.kept_bytes WHERE app_id = new.app_id AND bytes <= 0;
    RETURN NULL;
END $$;
CREATE TRIGGER none AFTER UPDATE ON respoked.kept_bytes
    FOR EACH ROW WHEN (new.bytes <= 0) EXECUTE FUNCTION respoked.forget_nothing_kept();
