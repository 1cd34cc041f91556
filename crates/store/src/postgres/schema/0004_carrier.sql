-- What nodes tell each other, where this database carries it (`postgres/carrier.rs`). It is nothing that is kept: the tables are
-- unlogged, and what is older than ten seconds is gone. They are no part of an installation.
--
-- There are three tables. Which is written changes every five seconds, by the clock of this database: all nodes agree on it
-- without a word. A row is written to the table of the turn in which its statement began. Rows of the present turn and of the one
-- before it are read. The third table holds what is older than that turn, five seconds at least, so it may be emptied: nobody
-- writes to it or reads from it then, except who began five seconds ago. The rule stands here, in the functions, and nowhere else.
DO $$
BEGIN
    FOR n IN 0..2 LOOP
        -- Nothing is vacuumed: no row is ever dead, and vacuuming would keep the table from being emptied.
        EXECUTE format('CREATE UNLOGGED TABLE respoked.carrier_%s (
                            from_node   BIGINT NOT NULL,
                            incarnation BIGINT NOT NULL,
                            to_node     BIGINT NOT NULL,
                            -- Of one life of a sender, in the order in which it sent.
                            seq         BIGINT NOT NULL,
                            -- When the statement began that wrote it, in microseconds by the clock of this database.
                            at          BIGINT NOT NULL,
                            frame       BYTEA NOT NULL
                        ) WITH (autovacuum_enabled = off, toast.autovacuum_enabled = off)', n);
        EXECUTE format('ALTER TABLE respoked.carrier_%s ALTER COLUMN frame SET STORAGE EXTERNAL', n);
        EXECUTE format('CREATE INDEX carrier_%1$s_by_way ON respoked.carrier_%1$s (to_node, from_node, incarnation, seq)', n);
    END LOOP;
END $$;

CREATE FUNCTION respoked.carrier_clock() RETURNS BIGINT LANGUAGE sql VOLATILE RETURN
    (extract(epoch FROM clock_timestamp()) * 1000000)::bigint;

-- Which table is written now; the next one is the one to empty, and the one before holds what was written before.
CREATE FUNCTION respoked.carrier_turn(clock BIGINT) RETURNS BIGINT LANGUAGE sql IMMUTABLE RETURN clock / 5000000 % 3;

-- Writes frames of a life of a sender, numbered from `first_seq` on, and wakes those nodes that wait for some.
CREATE FUNCTION respoked.carry(sender BIGINT, life BIGINT, first_seq BIGINT, receivers BIGINT[], frames BYTEA[], woken BIGINT[])
RETURNS VOID LANGUAGE plpgsql AS $$
DECLARE
    began BIGINT := respoked.carrier_clock();
BEGIN
    -- Nobody waits until it is on a disk, here or on a standby.
    PERFORM set_config('synchronous_commit', 'off', TRUE);
    CASE respoked.carrier_turn(began)
    WHEN 0 THEN
        INSERT INTO respoked.carrier_0 (from_node, incarnation, to_node, seq, at, frame)
            SELECT sender, life, f.receiver, first_seq + f.nth - 1, began, f.frame
            FROM unnest(receivers, frames) WITH ORDINALITY f (receiver, frame, nth);
    WHEN 1 THEN
        INSERT INTO respoked.carrier_1 (from_node, incarnation, to_node, seq, at, frame)
            SELECT sender, life, f.receiver, first_seq + f.nth - 1, began, f.frame
            FROM unnest(receivers, frames) WITH ORDINALITY f (receiver, frame, nth);
    WHEN 2 THEN
        INSERT INTO respoked.carrier_2 (from_node, incarnation, to_node, seq, at, frame)
            SELECT sender, life, f.receiver, first_seq + f.nth - 1, began, f.frame
            FROM unnest(receivers, frames) WITH ORDINALITY f (receiver, frame, nth);
    END CASE;
    PERFORM pg_notify('respoked_carrier_' || w.node, '') FROM unnest(woken) w (node);
END $$;

-- What is there for a node of each of those lives of others, behind what it has read of it: so many frames of each at most, and no
-- more once so many bytes of it are there. With each row: of which of them it is, its number, and how many microseconds ago it was
-- written.
--
-- The plan is made once, with or without statistics. (One that is made for the values of each call costs more than the reading.)
CREATE FUNCTION respoked.carried(receiver BIGINT, senders BIGINT[], lives BIGINT[], seqs BIGINT[], most BIGINT, bytes BIGINT)
RETURNS TABLE (nth BIGINT, seq BIGINT, ago BIGINT, frame BYTEA)
LANGUAGE plpgsql STABLE SET plan_cache_mode = force_generic_plan AS $$
#variable_conflict use_column
DECLARE
    clock BIGINT := respoked.carrier_clock();
BEGIN
    CASE respoked.carrier_turn(clock)
    WHEN 0 THEN
        RETURN QUERY SELECT c.nth, f.seq, clock - f.at, f.frame
        FROM unnest(senders, lives, seqs) WITH ORDINALITY c (sender, life, seq, nth), LATERAL (
            SELECT u.seq, u.at, u.frame,
                   sum(octet_length(u.frame)) OVER (ORDER BY u.seq ROWS UNBOUNDED PRECEDING) - octet_length(u.frame) AS before
            FROM ((SELECT o.seq, o.at, o.frame FROM respoked.carrier_2 o
                   WHERE o.to_node = receiver AND o.from_node = c.sender AND o.incarnation = c.life AND o.seq > c.seq
                   ORDER BY o.seq LIMIT most)
                  UNION ALL
                  (SELECT n.seq, n.at, n.frame FROM respoked.carrier_0 n
                   WHERE n.to_node = receiver AND n.from_node = c.sender AND n.incarnation = c.life AND n.seq > c.seq
                   ORDER BY n.seq LIMIT most)
                  ORDER BY seq LIMIT most) u
        ) f WHERE f.before < bytes;
    WHEN 1 THEN
        RETURN QUERY SELECT c.nth, f.seq, clock - f.at, f.frame
        FROM unnest(senders, lives, seqs) WITH ORDINALITY c (sender, life, seq, nth), LATERAL (
            SELECT u.seq, u.at, u.frame,
                   sum(octet_length(u.frame)) OVER (ORDER BY u.seq ROWS UNBOUNDED PRECEDING) - octet_length(u.frame) AS before
            FROM ((SELECT o.seq, o.at, o.frame FROM respoked.carrier_0 o
                   WHERE o.to_node = receiver AND o.from_node = c.sender AND o.incarnation = c.life AND o.seq > c.seq
                   ORDER BY o.seq LIMIT most)
                  UNION ALL
                  (SELECT n.seq, n.at, n.frame FROM respoked.carrier_1 n
                   WHERE n.to_node = receiver AND n.from_node = c.sender AND n.incarnation = c.life AND n.seq > c.seq
                   ORDER BY n.seq LIMIT most)
                  ORDER BY seq LIMIT most) u
        ) f WHERE f.before < bytes;
    WHEN 2 THEN
        RETURN QUERY SELECT c.nth, f.seq, clock - f.at, f.frame
        FROM unnest(senders, lives, seqs) WITH ORDINALITY c (sender, life, seq, nth), LATERAL (
            SELECT u.seq, u.at, u.frame,
                   sum(octet_length(u.frame)) OVER (ORDER BY u.seq ROWS UNBOUNDED PRECEDING) - octet_length(u.frame) AS before
            FROM ((SELECT o.seq, o.at, o.frame FROM respoked.carrier_1 o
                   WHERE o.to_node = receiver AND o.from_node = c.sender AND o.incarnation = c.life AND o.seq > c.seq
                   ORDER BY o.seq LIMIT most)
                  UNION ALL
                  (SELECT n.seq, n.at, n.frame FROM respoked.carrier_2 n
                   WHERE n.to_node = receiver AND n.from_node = c.sender AND n.incarnation = c.life AND n.seq > c.seq
                   ORDER BY n.seq LIMIT most)
                  ORDER BY seq LIMIT most) u
        ) f WHERE f.before < bytes;
    END CASE;
END $$;

-- Empties the table that nobody writes to or reads from now, unless it is empty or somebody has it: a dump holds it for as long as it
-- takes, and whoever waited for it would keep everybody waiting. Says whether it was emptied (none: it was empty), and how many bytes
-- all three take.
CREATE FUNCTION respoked.turn_carrier(OUT emptied BOOLEAN, OUT bytes BIGINT) LANGUAGE plpgsql AS $$
DECLARE
    turn BIGINT := respoked.carrier_clock() / 5000000;
    oldest TEXT := 'respoked.carrier_' || (turn + 1) % 3;
BEGIN
    IF pg_relation_size(oldest::regclass) > 0 THEN
        BEGIN
            -- Behind a standby that is gone it would hold the table until somebody gave up.
            PERFORM set_config('synchronous_commit', 'off', TRUE), set_config('lock_timeout', '20ms', TRUE);
            EXECUTE 'LOCK TABLE ONLY ' || oldest || ' IN ACCESS EXCLUSIVE MODE NOWAIT';
            -- Whoever has the lock is alone with it: what is there now was written in an earlier turn, if it is still this one.
            emptied := respoked.carrier_clock() / 5000000 = turn;
            IF emptied THEN
                EXECUTE 'TRUNCATE ONLY ' || oldest;
            END IF;
        EXCEPTION WHEN lock_not_available THEN
            emptied := FALSE;
        END;
    END IF;
    SELECT sum(pg_total_relation_size(('respoked.carrier_' || n)::regclass)) INTO bytes FROM generate_series(0, 2) n;
END $$;
