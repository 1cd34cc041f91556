-- A database as the program of 2026-11-25 left it (schema 5), dumped with sqlite3's .dump. A test brings it to the present.
PRAGMA foreign_keys=OFF;
BEGIN TRANSACTION;
CREATE TABLE meta (
    key   TEXT PRIMARY KEY,
    value BLOB NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO meta VALUES('seal_key',X'112879a720a704e099c4815fe8fe8b27');
CREATE TABLE accounts (
    id         BLOB PRIMARY KEY,
    name       TEXT NOT NULL,
    created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO accounts VALUES(X'695bac399dc741b2be89b13fac2e3e98','default',1795725063550);
CREATE TABLE admins (
    id            BLOB PRIMARY KEY,
    account_id    BLOB NOT NULL,
    username      TEXT NOT NULL UNIQUE,
    password_hash TEXT NOT NULL,
    created_at    INTEGER NOT NULL
, role INTEGER NOT NULL DEFAULT 0) STRICT, WITHOUT ROWID;
INSERT INTO admins VALUES(X'0d7e97bd98784e889f31b874e6f05884',X'695bac399dc741b2be89b13fac2e3e98','admin','$argon2id$v=19$m=19456,t=2,p=1$EJCYAfGz2qb1T3nIc8N1iw$DLbo7Cl6OQsqG3RKUtwnU3fenkTRsYemvyZo8qL65Nw',1795725063631,0);
CREATE TABLE admin_sessions (
    number     INTEGER PRIMARY KEY,
    admin_id   BLOB NOT NULL,
    hash       BLOB NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    ended_at   INTEGER
) STRICT;
CREATE TABLE apps (
    id                     BLOB PRIMARY KEY,
    account_id             BLOB NOT NULL,
    name                   TEXT NOT NULL,
    description            TEXT NOT NULL,
    development_mode       INTEGER NOT NULL,
    permitted_domains      TEXT,
    ttl_secs_max           INTEGER NOT NULL,
    activation_secs        INTEGER NOT NULL,
    limits                 TEXT NOT NULL,
    created_at             INTEGER NOT NULL,
    updated_at             INTEGER NOT NULL,
    tokens_from            INTEGER NOT NULL DEFAULT 0,
    sessions_from          INTEGER NOT NULL DEFAULT 0,
    issued_before          INTEGER NOT NULL DEFAULT 0,
    issued_before_tokens   INTEGER NOT NULL DEFAULT 0,
    issued_before_sessions INTEGER NOT NULL DEFAULT 0
, sessions_issued_before INTEGER NOT NULL DEFAULT 0, session_expiry INTEGER NOT NULL DEFAULT 0) STRICT, WITHOUT ROWID;
INSERT INTO apps VALUES(X'31f55874128a41d59625c4f9488e456f',X'695bac399dc741b2be89b13fac2e3e98','My first app','',0,NULL,86400,300,'{"app":{"perSecond":2000,"burst":10000},"endpoint":{"perSecond":50,"burst":200},"address":{"perSecond":500,"burst":2000},"connects":null,"endpointConnects":{"perSecond":10,"burst":100},"addressConnects":null,"messages":null,"endpointMessages":{"perSecond":200,"burst":1000},"addressMessages":null,"connections":100000,"endpointConnections":100,"groupsPerConnection":1000,"membersPerGroup":10000}',1795725063632,1795725063632,0,0,0,0,0,0,0);
CREATE TABLE app_owners (
    app_id     BLOB PRIMARY KEY,
    account_id BLOB NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO app_owners VALUES(X'31f55874128a41d59625c4f9488e456f',X'695bac399dc741b2be89b13fac2e3e98');
CREATE TABLE secrets (
    id            BLOB PRIMARY KEY,
    app_id        BLOB NOT NULL,
    name          TEXT NOT NULL,
    hint          TEXT NOT NULL,
    hash          BLOB NOT NULL UNIQUE,
    created_at    INTEGER NOT NULL,
    last_used_at  INTEGER,
    expires_at    INTEGER,
    revoked_at    INTEGER,
    keep_sessions INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;
INSERT INTO secrets VALUES(X'f70e7e8aa81c48259b3faddff817e1ca',X'31f55874128a41d59625c4f9488e456f','first','…5anr',X'737cb054a5140f675e64baa47b2dab6568722d9e05607b54bcb8d3f9c0303c03',1795725063632,1795725083627,NULL,NULL,0);
CREATE TABLE roles (
    app_id                 BLOB NOT NULL,
    id                     BLOB NOT NULL,
    name                   TEXT NOT NULL,
    permissions            TEXT NOT NULL,
    created_at             INTEGER NOT NULL,
    updated_at             INTEGER NOT NULL,
    tokens_from            INTEGER NOT NULL DEFAULT 0,
    sessions_from          INTEGER NOT NULL DEFAULT 0,
    issued_before          INTEGER NOT NULL DEFAULT 0,
    issued_before_tokens   INTEGER NOT NULL DEFAULT 0,
    issued_before_sessions INTEGER NOT NULL DEFAULT 0, sessions_issued_before INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (app_id, id),
    UNIQUE (app_id, name)
) STRICT, WITHOUT ROWID;
INSERT INTO roles VALUES(X'31f55874128a41d59625c4f9488e456f',X'cfd6f9a84c1c4c72bf57b46a38b1c633','speaker','{"groups":{"*":{"create":true,"getsubscribers":true,"publish":true,"subscribe":true,"unsubscribe":true}},"events":{},"mediaRelay":false,"pstnOut":[],"callerIds":[]}',1795725083627,1795725083627,1,1,0,0,0,0);
INSERT INTO roles VALUES(X'31f55874128a41d59625c4f9488e456f',X'e229cf1238794bde891c9a9fadbe5bba','member','{"groups":{"list":true,"*":{"create":true,"destroy":true,"getsubscribers":true,"publish":true,"subscribe":true,"unsubscribe":true}},"events":{},"mediaRelay":true,"pstnOut":[],"callerIds":[]}',1795725063633,1795725063633,1,1,0,0,0,0);
CREATE TABLE endpoints (
    app_id                 BLOB NOT NULL,
    endpoint               TEXT NOT NULL,
    tokens_from            INTEGER NOT NULL DEFAULT 0,
    sessions_from          INTEGER NOT NULL DEFAULT 0,
    issued_before          INTEGER NOT NULL DEFAULT 0,
    issued_before_tokens   INTEGER NOT NULL DEFAULT 0,
    issued_before_sessions INTEGER NOT NULL DEFAULT 0,
    banned_at              INTEGER,
    banned_until           INTEGER,
    ban_reason             TEXT, sessions_issued_before INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (app_id, endpoint)
) STRICT, WITHOUT ROWID;
INSERT INTO endpoints VALUES(X'31f55874128a41d59625c4f9488e456f','bob',4,3,0,0,0,NULL,NULL,NULL,0);
INSERT INTO endpoints VALUES(X'31f55874128a41d59625c4f9488e456f','carol',5,0,0,0,0,NULL,NULL,NULL,0);
INSERT INTO endpoints VALUES(X'31f55874128a41d59625c4f9488e456f','mallory',7,4,0,0,0,1795725083880,9223372036854775807,'spam',0);
CREATE TABLE tokens (
    number         INTEGER PRIMARY KEY,
    app_id         BLOB NOT NULL,
    endpoint       TEXT NOT NULL,
    role_id        BLOB,
    secret_id      BLOB,
    hash           BLOB NOT NULL,
    created_at     INTEGER NOT NULL,
    activate_by    INTEGER NOT NULL,
    expires_at     INTEGER NOT NULL,
    ended_at       INTEGER,
    -- The session it was redeemed for; none if it was revoked.
    session_number INTEGER
) STRICT;
INSERT INTO tokens VALUES(1,X'31f55874128a41d59625c4f9488e456f','alice',X'e229cf1238794bde891c9a9fadbe5bba',X'f70e7e8aa81c48259b3faddff817e1ca',X'1cd705b3c585736137f8f06e0703d55212e04640d003fe498875aae8a7d56565',1795725083704,1795725383704,1795811483000,1795725083708,1);
INSERT INTO tokens VALUES(2,X'31f55874128a41d59625c4f9488e456f','alice',X'e229cf1238794bde891c9a9fadbe5bba',X'f70e7e8aa81c48259b3faddff817e1ca',X'e481ffeb9ef648a9f1595f6e4ab135a6ac3ef826911006f020439cb7dfd547c0',1795725083739,1795725383739,1795811483000,NULL,NULL);
INSERT INTO tokens VALUES(3,X'31f55874128a41d59625c4f9488e456f','bob',X'e229cf1238794bde891c9a9fadbe5bba',X'f70e7e8aa81c48259b3faddff817e1ca',X'831b0ca656f581ee79bbbdd8a24aeda12845badda60a5d2f43311de2e125ee4f',1795725083763,1795725383763,1795811483000,1795725083765,2);
INSERT INTO tokens VALUES(4,X'31f55874128a41d59625c4f9488e456f','carol',X'e229cf1238794bde891c9a9fadbe5bba',X'f70e7e8aa81c48259b3faddff817e1ca',X'716c6e1f5ffca42fa85c8382c6ac363fc37fdbba28c0a54f4558c5a8e5893a83',1795725083780,1795725383780,1795811483000,NULL,NULL);
INSERT INTO tokens VALUES(5,X'31f55874128a41d59625c4f9488e456f','carol',X'e229cf1238794bde891c9a9fadbe5bba',X'f70e7e8aa81c48259b3faddff817e1ca',X'bdb0d46ab595cf09fdbcb2d6a0a8e1776c26eb16d75a580abcbb1e407703978c',1795725083840,1795725383840,1795811483000,NULL,NULL);
INSERT INTO tokens VALUES(6,X'31f55874128a41d59625c4f9488e456f','mallory',X'e229cf1238794bde891c9a9fadbe5bba',X'f70e7e8aa81c48259b3faddff817e1ca',X'e7b65d418dfee6a3da8a88895460cf0df9de0b58ef691ee3d570568f3670e340',1795725083852,1795725383852,1795811483000,1795725083867,3);
CREATE TABLE sessions (
    number       INTEGER PRIMARY KEY,
    token_number INTEGER NOT NULL,
    app_id       BLOB NOT NULL,
    endpoint     TEXT NOT NULL,
    role_id      BLOB,
    secret_id    BLOB,
    hash         BLOB NOT NULL,
    created_at   INTEGER NOT NULL,
    expires_at   INTEGER NOT NULL,
    last_seen_at INTEGER NOT NULL,
    address      TEXT NOT NULL,
    ended_at     INTEGER,
    -- 1 signed out, 2 revoked, 3 superseded
    ended_as     INTEGER
) STRICT;
INSERT INTO sessions VALUES(1,1,X'31f55874128a41d59625c4f9488e456f','alice',X'e229cf1238794bde891c9a9fadbe5bba',X'f70e7e8aa81c48259b3faddff817e1ca',X'c4aad9f1aa04b3f3d9b7a8f7508f1b79bc20d64a614f5ed5159f0c7f0f953765',1795725083708,1795811483000,1795725083708,'127.0.0.1',NULL,NULL);
INSERT INTO sessions VALUES(2,3,X'31f55874128a41d59625c4f9488e456f','bob',X'e229cf1238794bde891c9a9fadbe5bba',X'f70e7e8aa81c48259b3faddff817e1ca',X'04a126cd41d3977b367a236eebd384db21ac55f70fa94e06589239fa660bcb67',1795725083765,1795811483000,1795725083765,'127.0.0.1',NULL,NULL);
INSERT INTO sessions VALUES(3,6,X'31f55874128a41d59625c4f9488e456f','mallory',X'e229cf1238794bde891c9a9fadbe5bba',X'f70e7e8aa81c48259b3faddff817e1ca',X'e56681ed814d759c8a77b3abdd34eb81da6ac1650750c06b032b2ea4ad2deda2',1795725083867,1795811483000,1795725083867,'127.0.0.1',NULL,NULL);
CREATE TABLE audit (
    number      INTEGER PRIMARY KEY,
    at          INTEGER NOT NULL,
    account_id  BLOB,
    app_id      BLOB,
    -- 0 anonymous, 1 system, 2 admin, 3 secret, 4 endpoint
    actor_kind  INTEGER NOT NULL,
    actor_id    BLOB,
    action      INTEGER NOT NULL,
    object      TEXT NOT NULL,
    address     TEXT NOT NULL,
    request_id  BLOB NOT NULL,
    fingerprint TEXT
) STRICT;
INSERT INTO audit VALUES(1,1795725063631,X'695bac399dc741b2be89b13fac2e3e98',NULL,1,NULL,23,'admin','',X'd63d4b2804844556ba695bed6b9f2766',NULL);
INSERT INTO audit VALUES(2,1795725063632,NULL,X'31f55874128a41d59625c4f9488e456f',2,X'0d7e97bd98784e889f31b874e6f05884',30,'31f55874-128a-41d5-9625-c4f9488e456f','',X'075b903e58e14237b2a4917213cb6c50',NULL);
INSERT INTO audit VALUES(3,1795725063633,NULL,X'31f55874128a41d59625c4f9488e456f',2,X'0d7e97bd98784e889f31b874e6f05884',50,'E229CF12-3879-4BDE-891C-9A9FADBE5BBA','',X'075b903e58e14237b2a4917213cb6c50',NULL);
INSERT INTO audit VALUES(4,1795725083627,NULL,X'31f55874128a41d59625c4f9488e456f',3,X'f70e7e8aa81c48259b3faddff817e1ca',50,'CFD6F9A8-4C1C-4C72-BF57-B46A38B1C633','127.0.0.1',X'1f10423bfe704a50ac38946b10ed40ff',NULL);
INSERT INTO audit VALUES(5,1795725083704,NULL,X'31f55874128a41d59625c4f9488e456f',3,X'f70e7e8aa81c48259b3faddff817e1ca',1,'alice','127.0.0.1',X'564eb51d539f44d3bda30b31ef0bd7e3','1cd705b3c585');
INSERT INTO audit VALUES(6,1795725083708,NULL,X'31f55874128a41d59625c4f9488e456f',4,NULL,3,'alice','127.0.0.1',X'5e55a19c39634c04add365121a7147ba','1cd705b3c585');
INSERT INTO audit VALUES(7,1795725083739,NULL,X'31f55874128a41d59625c4f9488e456f',3,X'f70e7e8aa81c48259b3faddff817e1ca',1,'alice','127.0.0.1',X'c5f76e1425a3470fb889c54646c1cfd3','e481ffeb9ef6');
INSERT INTO audit VALUES(8,1795725083763,NULL,X'31f55874128a41d59625c4f9488e456f',3,X'f70e7e8aa81c48259b3faddff817e1ca',1,'bob','127.0.0.1',X'd48fa9ff3a034c7c9269d5f9f96e2985','831b0ca656f5');
INSERT INTO audit VALUES(9,1795725083765,NULL,X'31f55874128a41d59625c4f9488e456f',4,NULL,3,'bob','127.0.0.1',X'965ea0e62a84416b8c7e5b6773c1b51e','831b0ca656f5');
INSERT INTO audit VALUES(10,1795725083776,NULL,X'31f55874128a41d59625c4f9488e456f',3,X'f70e7e8aa81c48259b3faddff817e1ca',12,'bob','127.0.0.1',X'3ccc88297ffe4c828715138e8882c8a0',NULL);
INSERT INTO audit VALUES(11,1795725083780,NULL,X'31f55874128a41d59625c4f9488e456f',3,X'f70e7e8aa81c48259b3faddff817e1ca',1,'carol','127.0.0.1',X'766c9b3d30a0460aaec0ff7e0dc29cb9','716c6e1f5ffc');
INSERT INTO audit VALUES(12,1795725083840,NULL,X'31f55874128a41d59625c4f9488e456f',3,X'f70e7e8aa81c48259b3faddff817e1ca',2,'carol','127.0.0.1',X'c2fec48a314348aaa7c5b20710f9d157','bdb0d46ab595');
INSERT INTO audit VALUES(13,1795725083852,NULL,X'31f55874128a41d59625c4f9488e456f',3,X'f70e7e8aa81c48259b3faddff817e1ca',1,'mallory','127.0.0.1',X'717daffeb2df44c8aa621a25156b3c88','e7b65d418dfe');
INSERT INTO audit VALUES(14,1795725083867,NULL,X'31f55874128a41d59625c4f9488e456f',4,NULL,3,'mallory','127.0.0.1',X'f5e9950903134f33a721bd1568e3f487','e7b65d418dfe');
INSERT INTO audit VALUES(15,1795725083880,NULL,X'31f55874128a41d59625c4f9488e456f',3,X'f70e7e8aa81c48259b3faddff817e1ca',60,'mallory','127.0.0.1',X'7ee35dbae6264fa395e15ff6dae22a49',NULL);
CREATE TABLE idempotency (
    number  INTEGER PRIMARY KEY,
    key     BLOB NOT NULL UNIQUE,
    request BLOB NOT NULL,
    object  BLOB NOT NULL,
    at      INTEGER NOT NULL
) STRICT;
CREATE TABLE deleted_apps (
    app_id BLOB PRIMARY KEY
) STRICT, WITHOUT ROWID;
CREATE TABLE message_groups (
    number   INTEGER PRIMARY KEY AUTOINCREMENT,
    app_id   BLOB NOT NULL,
    name     TEXT NOT NULL,
    -- How many messages are kept.
    messages INTEGER NOT NULL,
    UNIQUE (app_id, name)
) STRICT;
INSERT INTO message_groups VALUES(1,X'31f55874128a41d59625c4f9488e456f','room',3);
CREATE TABLE messages (
    number       INTEGER PRIMARY KEY,
    group_number INTEGER NOT NULL,
    at           INTEGER NOT NULL,
    sender       TEXT NOT NULL,
    -- The event as members got it, JSON.
    event        TEXT NOT NULL
) STRICT;
INSERT INTO messages VALUES(1,1,1795725083916,'__SYSTEM__','{"header":{"type":"pubsub","from":"__SYSTEM__","channel":"room","timestamp":1795725083916,"requestId":"369795da-cf54-4989-a33c-4ad88ac06722","messageId":"369795DA-CF54-4989-A33C-4AD88AC06722"},"message":"number 0"}');
INSERT INTO messages VALUES(2,1,1795725083919,'__SYSTEM__','{"header":{"type":"pubsub","from":"__SYSTEM__","channel":"room","timestamp":1795725083919,"requestId":"912d7fd7-93ee-4b7f-a676-3742fae1d971","messageId":"912D7FD7-93EE-4B7F-A676-3742FAE1D971"},"message":"number 1"}');
INSERT INTO messages VALUES(3,1,1795725083920,'__SYSTEM__','{"header":{"type":"pubsub","from":"__SYSTEM__","channel":"room","timestamp":1795725083920,"requestId":"77ff0701-bf58-4a53-bb6a-f68a20992720","messageId":"77FF0701-BF58-4A53-BB6A-F68A20992720"},"message":"number 2"}');
CREATE TABLE conversations (
    app_id       BLOB NOT NULL,
    endpoint     TEXT NOT NULL,
    group_number INTEGER NOT NULL,
    -- Messages up to this instant were read.
    read_at      INTEGER NOT NULL,
    touched_at   INTEGER NOT NULL,
    PRIMARY KEY (app_id, endpoint, group_number)
) STRICT, WITHOUT ROWID;
INSERT INTO conversations VALUES(X'31f55874128a41d59625c4f9488e456f','__SYSTEM__',1,0,1795725083916);
CREATE TABLE push_tokens (
    app_id   BLOB NOT NULL,
    id       BLOB NOT NULL,
    endpoint TEXT NOT NULL,
    -- 1 Google, 2 Apple
    service  INTEGER NOT NULL,
    -- SHA-256 of the text.
    hash     BLOB NOT NULL,
    text     TEXT NOT NULL,
    seen_at  INTEGER NOT NULL,
    PRIMARY KEY (app_id, id),
    UNIQUE (app_id, service, hash)
) STRICT, WITHOUT ROWID;
CREATE TABLE call_reports (
    number   INTEGER PRIMARY KEY,
    app_id   BLOB NOT NULL,
    at       INTEGER NOT NULL,
    -- None when the app's backend reported.
    endpoint TEXT,
    report   TEXT NOT NULL
) STRICT;
INSERT INTO call_reports VALUES(1,X'31f55874128a41d59625c4f9488e456f',1795725083939,'alice','{"x": 1}');
CREATE TABLE second_factors (
    admin_id  BLOB PRIMARY KEY,
    -- The secret under a mask that the admin's password makes.
    sealed    BLOB NOT NULL,
    -- The last time step of which a code was taken.
    last_step INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE recovery_codes (
    admin_id BLOB NOT NULL,
    -- SHA-256 of the text.
    hash     BLOB NOT NULL,
    PRIMARY KEY (admin_id, hash)
) STRICT, WITHOUT ROWID;
CREATE TABLE setup_tokens (
    admin_id   BLOB PRIMARY KEY,
    -- SHA-256 of the text.
    hash       BLOB NOT NULL,
    expires_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO setup_tokens VALUES(X'0d7e97bd98784e889f31b874e6f05884',X'6818fd47c3846509f1907c9b31d5a6d8c1c2bf87047cefc86e57e68d0190d8ef',1795811463632);
CREATE TABLE figures (
    span_secs INTEGER NOT NULL,
    -- The span's beginning.
    at        INTEGER NOT NULL,
    -- Sixteen zeros are the whole server.
    app_id    BLOB NOT NULL,
    -- JSON.
    counts    TEXT NOT NULL,
    PRIMARY KEY (span_secs, at, app_id)
) STRICT, WITHOUT ROWID;
INSERT INTO figures VALUES(600,1795725000000,X'00000000000000000000000000000000','{"requests":18,"minted":6,"redeemed":3,"publications":3,"refused":{"method_not_allowed":1},"latencies":[1,0,0,1,2,0,3,1,4,4,2,0,0,0,0,0,0,0]}');
INSERT INTO figures VALUES(600,1795725000000,X'31f55874128a41d59625c4f9488e456f','{"requests":17,"minted":6,"redeemed":3,"publications":3,"latencies":[0,0,0,1,2,0,3,1,4,4,2,0,0,0,0,0,0,0]}');
INSERT INTO figures VALUES(21600,1795716000000,X'00000000000000000000000000000000','{"requests":18,"minted":6,"redeemed":3,"publications":3,"refused":{"method_not_allowed":1},"latencies":[1,0,0,1,2,0,3,1,4,4,2,0,0,0,0,0,0,0]}');
INSERT INTO figures VALUES(21600,1795716000000,X'31f55874128a41d59625c4f9488e456f','{"requests":17,"minted":6,"redeemed":3,"publications":3,"latencies":[0,0,0,1,2,0,3,1,4,4,2,0,0,0,0,0,0,0]}');
ANALYZE sqlite_schema;
INSERT INTO sqlite_stat1 VALUES('setup_tokens','setup_tokens','1 1');
INSERT INTO sqlite_stat1 VALUES('message_groups','sqlite_autoindex_message_groups_1','1 1 1');
INSERT INTO sqlite_stat1 VALUES('conversations','conversations','1 1 1 1');
INSERT INTO sqlite_stat1 VALUES('endpoints','endpoints_banned','1 1 1');
INSERT INTO sqlite_stat1 VALUES('endpoints','endpoints','3 3 1');
INSERT INTO sqlite_stat1 VALUES('roles','roles_by_id','2 1');
INSERT INTO sqlite_stat1 VALUES('roles','sqlite_autoindex_roles_2','2 2 1');
INSERT INTO sqlite_stat1 VALUES('roles','roles','2 2 1');
INSERT INTO sqlite_stat1 VALUES('call_reports','call_reports_by_app','1 1');
INSERT INTO sqlite_stat1 VALUES('messages','messages_by_group','3 3 1');
INSERT INTO sqlite_stat1 VALUES('secrets','secrets_by_app','1 1 1');
INSERT INTO sqlite_stat1 VALUES('secrets','sqlite_autoindex_secrets_2','1 1');
INSERT INTO sqlite_stat1 VALUES('secrets','secrets','1 1');
INSERT INTO sqlite_stat1 VALUES('figures','figures','4 2 2 1');
INSERT INTO sqlite_stat1 VALUES('app_owners','app_owners','1 1');
INSERT INTO sqlite_stat1 VALUES('meta','meta','1 1');
INSERT INTO sqlite_stat1 VALUES('apps','apps','1 1');
INSERT INTO sqlite_stat1 VALUES('accounts','accounts','1 1');
INSERT INTO sqlite_stat1 VALUES('admins','sqlite_autoindex_admins_2','1 1');
INSERT INTO sqlite_stat1 VALUES('admins','admins','1 1');
ANALYZE sqlite_schema;
DELETE FROM sqlite_sequence;
INSERT INTO sqlite_sequence VALUES('message_groups',1);
CREATE INDEX secrets_by_app ON secrets (app_id, created_at);
CREATE INDEX roles_by_id ON roles (id);
CREATE INDEX messages_by_group ON messages (group_number, at);
CREATE INDEX push_tokens_by_endpoint ON push_tokens (app_id, endpoint, seen_at);
CREATE INDEX push_tokens_by_age ON push_tokens (seen_at);
CREATE INDEX call_reports_by_app ON call_reports (app_id);
CREATE INDEX endpoints_banned ON endpoints (app_id, endpoint) WHERE banned_at IS NOT NULL;
COMMIT;
PRAGMA user_version=5;
