-- Which nodes serve together (docs/adr/0012). None of it is part of an installation: a copy of one is another cluster.

-- What all nodes of the cluster have in common. Who begins a life locks this row, so that one does so at a time.
CREATE TABLE respoked.cluster (
    one BIGINT PRIMARY KEY CHECK (one = 1),
    -- Its name, where several use one carrier.
    id  BYTEA NOT NULL,
    -- By what its nodes know what each other tells.
    key BYTEA NOT NULL
);

-- Each life of a node has a number of its own, which is greater than those before, and a node has that of its first life.
CREATE SEQUENCE respoked.node_life MAXVALUE 4294967295;

CREATE TABLE respoked.nodes (
    id             BIGINT PRIMARY KEY,
    incarnation    BIGINT NOT NULL,
    -- 1 tables of the database, 2 NATS
    carrier        BIGINT NOT NULL,
    -- Which versions of what goes over the bus it reads.
    codec_min      BIGINT NOT NULL,
    codec_max      BIGINT NOT NULL,
    since          BIGINT NOT NULL,
    beat_at        BIGINT NOT NULL,
    -- Since when its beats had no break.
    unbroken_since BIGINT NOT NULL,
    -- When it was seen that it is late and in a newcomer's way. Of no account if it beat since.
    doubted_at     BIGINT,
    -- When its life ended. None: it lives.
    gone_at        BIGINT,
    -- 0 starting, 1 serving, 2 draining
    state          BIGINT NOT NULL,
    is_to_drain    BOOLEAN NOT NULL DEFAULT false,
    sockets        BIGINT NOT NULL DEFAULT 0,
    connections    BIGINT NOT NULL DEFAULT 0,
    lag_millis     BIGINT NOT NULL DEFAULT 0,
    skew_millis    BIGINT NOT NULL DEFAULT 0,
    -- What only one process has at a time.
    place          TEXT,
    name           TEXT NOT NULL,
    address        TEXT NOT NULL,
    version        TEXT NOT NULL
) WITH (fillfactor = 20);
