-- Instants are milliseconds since the epoch, UTC. Text is ordered by its bytes. The six mark columns (see grant.rs) say how
-- far tokens and sessions of a row have been ended.

CREATE TABLE respoked.accounts (
    id         UUID PRIMARY KEY,
    name       TEXT NOT NULL,
    created_at BIGINT NOT NULL
);

CREATE TABLE respoked.admins (
    id            UUID PRIMARY KEY,
    account_id    UUID NOT NULL,
    username      TEXT COLLATE "C" NOT NULL UNIQUE,
    -- 0 owner, 1 developer, 2 read-only.
    role          BIGINT NOT NULL,
    password_hash TEXT NOT NULL,
    created_at    BIGINT NOT NULL
);
CREATE INDEX admins_by_account ON respoked.admins (account_id);

CREATE TABLE respoked.second_factors (
    admin_id  UUID PRIMARY KEY,
    -- The secret under a mask that the admin's password makes.
    sealed    BYTEA NOT NULL,
    -- The last time step of which a code was taken.
    last_step BIGINT NOT NULL
);

CREATE TABLE respoked.recovery_codes (
    admin_id UUID NOT NULL,
    -- SHA-256 of the text.
    hash     BYTEA NOT NULL,
    PRIMARY KEY (admin_id, hash)
);

CREATE TABLE respoked.setup_tokens (
    admin_id   UUID PRIMARY KEY,
    -- SHA-256 of the text.
    hash       BYTEA NOT NULL,
    expires_at BIGINT NOT NULL
);

-- From where each admin signed in lately.
CREATE TABLE respoked.known_addresses (
    admin_id UUID NOT NULL,
    -- An IPv4 address, or the 64-bit network of an IPv6 one.
    address  TEXT COLLATE "C" NOT NULL,
    at       BIGINT NOT NULL,
    PRIMARY KEY (admin_id, address)
);

CREATE SEQUENCE respoked.admin_session_number MAXVALUE 1099511627775;
CREATE TABLE respoked.admin_sessions (
    number     BIGINT PRIMARY KEY,
    admin_id   UUID NOT NULL,
    hash       BYTEA NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    ended_at   BIGINT
);
CREATE INDEX admin_sessions_by_admin ON respoked.admin_sessions (admin_id);

CREATE TABLE respoked.apps (
    id                     UUID PRIMARY KEY,
    account_id             UUID NOT NULL,
    name                   TEXT NOT NULL,
    description            TEXT NOT NULL,
    development_mode       BOOLEAN NOT NULL,
    -- One a line; none: every origin.
    permitted_domains      TEXT,
    ttl_secs_max           BIGINT NOT NULL,
    activation_secs        BIGINT NOT NULL,
    -- False: a session's open sockets end with its time; true: they stay.
    session_expiry         BOOLEAN NOT NULL,
    -- JSON.
    limits                 TEXT NOT NULL,
    created_at             BIGINT NOT NULL,
    updated_at             BIGINT NOT NULL,
    tokens_from            BIGINT NOT NULL DEFAULT 0,
    sessions_from          BIGINT NOT NULL DEFAULT 0,
    issued_before          BIGINT NOT NULL DEFAULT 0,
    sessions_issued_before BIGINT NOT NULL DEFAULT 0,
    issued_before_tokens   BIGINT NOT NULL DEFAULT 0,
    issued_before_sessions BIGINT NOT NULL DEFAULT 0
);
CREATE INDEX apps_by_account ON respoked.apps (account_id, created_at, id);

-- Outlives the app, so that its audit rows stay with the account.
CREATE TABLE respoked.app_owners (
    app_id     UUID PRIMARY KEY,
    account_id UUID NOT NULL
);
CREATE INDEX app_owners_by_account ON respoked.app_owners (account_id);

-- Apps that were deleted and of which rows are still there: nothing of them is found any more, and upkeep removes them, in small
-- batches.
CREATE TABLE respoked.deleted_apps (
    app_id UUID PRIMARY KEY
);

CREATE TABLE respoked.secrets (
    id            UUID PRIMARY KEY,
    app_id        UUID NOT NULL,
    name          TEXT NOT NULL,
    hint          TEXT NOT NULL,
    hash          BYTEA NOT NULL UNIQUE,
    created_at    BIGINT NOT NULL,
    last_used_at  BIGINT,
    expires_at    BIGINT,
    revoked_at    BIGINT,
    keep_sessions BOOLEAN NOT NULL DEFAULT false
) WITH (fillfactor = 50);
CREATE INDEX secrets_by_app ON respoked.secrets (app_id, created_at, id);

CREATE TABLE respoked.roles (
    app_id                 UUID NOT NULL,
    id                     UUID NOT NULL,
    name                   TEXT COLLATE "C" NOT NULL,
    -- JSON.
    permissions            TEXT NOT NULL,
    created_at             BIGINT NOT NULL,
    updated_at             BIGINT NOT NULL,
    tokens_from            BIGINT NOT NULL DEFAULT 0,
    sessions_from          BIGINT NOT NULL DEFAULT 0,
    issued_before          BIGINT NOT NULL DEFAULT 0,
    sessions_issued_before BIGINT NOT NULL DEFAULT 0,
    issued_before_tokens   BIGINT NOT NULL DEFAULT 0,
    issued_before_sessions BIGINT NOT NULL DEFAULT 0,
    PRIMARY KEY (app_id, id),
    UNIQUE (app_id, name)
);
-- An admin may name a role without its app.
CREATE INDEX roles_by_id ON respoked.roles (id);

-- Only endpoints that were banned, replaced or ended at some time have a row.
CREATE TABLE respoked.endpoints (
    app_id                 UUID NOT NULL,
    endpoint               TEXT COLLATE "C" NOT NULL,
    tokens_from            BIGINT NOT NULL DEFAULT 0,
    sessions_from          BIGINT NOT NULL DEFAULT 0,
    issued_before          BIGINT NOT NULL DEFAULT 0,
    sessions_issued_before BIGINT NOT NULL DEFAULT 0,
    issued_before_tokens   BIGINT NOT NULL DEFAULT 0,
    issued_before_sessions BIGINT NOT NULL DEFAULT 0,
    banned_at              BIGINT,
    banned_until           BIGINT,
    ban_reason             TEXT,
    PRIMARY KEY (app_id, endpoint)
) WITH (fillfactor = 70);
CREATE INDEX endpoints_banned ON respoked.endpoints (app_id, endpoint) WHERE banned_at IS NOT NULL;

-- A token and what the audit log says of its minting are one row (docs/adr/0010). Its numbers only find: what came first, and
-- what was there before an end, they do not say.
CREATE SEQUENCE respoked.log_number MAXVALUE 1099511627775;
CREATE TABLE respoked.log (
    number         BIGINT PRIMARY KEY DEFAULT nextval('respoked.log_number'),
    -- What was done. None: the log does not tell of it any more.
    action         BIGINT,
    -- When a token's session would end. None: no token, or none any more.
    expires_at     BIGINT,
    -- When it was done, and a token minted.
    at             BIGINT NOT NULL,
    app_id         UUID,

    -- The token. Its endpoint, secret and the beginning of its hash stay when it goes: the log tells them.
    endpoint       TEXT COLLATE "C",
    secret_id      UUID,
    hash           BYTEA,
    role_id        UUID,
    activate_by    BIGINT,
    -- The newest change when it was minted.
    born           BIGINT,
    ended_at       BIGINT,
    -- The session it was redeemed for; none if it was revoked.
    session_number BIGINT,

    -- The rest of what the log tells.
    -- 0 anonymous, 1 system, 2 admin, 3 secret, 4 endpoint
    actor_kind     BIGINT,
    -- None of a token's own secret.
    actor_id       UUID,
    account_id     UUID,
    -- None: the token's endpoint.
    object         TEXT,
    address        TEXT,
    request_id     UUID,
    -- None: the first six bytes of the token's hash.
    fingerprint    TEXT
) WITH (fillfactor = 85);

CREATE VIEW respoked.tokens (number, app_id, endpoint, role_id, secret_id, hash, born, created_at, activate_by, expires_at,
                             ended_at, session_number) AS
    SELECT number, app_id, endpoint, role_id, secret_id, hash, born, at, activate_by, expires_at, ended_at, session_number
    FROM respoked.log WHERE expires_at IS NOT NULL;

CREATE VIEW respoked.audit (number, at, account_id, app_id, actor_kind, actor_id, action, object, address, request_id,
                            fingerprint) AS
    SELECT number, at, account_id, app_id, actor_kind, CASE WHEN actor_kind = 3 THEN coalesce(actor_id, secret_id) ELSE actor_id END,
           action, coalesce(object, endpoint), address, request_id,
           coalesce(fingerprint, encode(substr(hash, 1, 6), 'hex'))
    FROM respoked.log WHERE action IS NOT NULL;

CREATE SEQUENCE respoked.session_number MAXVALUE 1099511627775;
CREATE TABLE respoked.sessions (
    number       BIGINT PRIMARY KEY,
    token_number BIGINT NOT NULL,
    app_id       UUID NOT NULL,
    endpoint     TEXT COLLATE "C" NOT NULL,
    role_id      UUID,
    secret_id    UUID,
    hash         BYTEA NOT NULL,
    -- The newest change when it was opened.
    born         BIGINT NOT NULL,
    created_at   BIGINT NOT NULL,
    expires_at   BIGINT NOT NULL,
    last_seen_at BIGINT NOT NULL,
    address      TEXT NOT NULL,
    ended_at     BIGINT,
    -- 1 signed out, 2 revoked, 3 superseded
    ended_as     BIGINT
) WITH (fillfactor = 85);

-- What was created by requests with a key.
CREATE TABLE respoked.idempotency (
    key     BYTEA PRIMARY KEY,
    request BYTEA NOT NULL,
    object  BYTEA NOT NULL,
    at      BIGINT NOT NULL
);
CREATE INDEX idempotency_by_age ON respoked.idempotency (at);

-- What was counted, in spans of ten minutes (600) and of six hours (21600).
CREATE TABLE respoked.figures (
    span_secs BIGINT NOT NULL,
    -- The span's beginning.
    at        BIGINT NOT NULL,
    -- Sixteen zeros are the whole server.
    app_id    UUID NOT NULL,
    -- JSON.
    counts    TEXT NOT NULL,
    PRIMARY KEY (span_secs, at, app_id)
);

-- The feed: what was taken away or changed, numbered without a gap in the order of commits (docs/adr/0006).
CREATE TABLE respoked.feed (
    one   BIGINT PRIMARY KEY CHECK (one = 1),
    -- Which history the numbers belong to. A restored database begins another.
    epoch BIGINT NOT NULL,
    -- The number of the newest change.
    head  BIGINT NOT NULL
) WITH (fillfactor = 10);

CREATE TABLE respoked.changes (
    number BIGINT PRIMARY KEY,
    -- In words; none if nobody remembers it and no socket stands on it.
    what   TEXT,
    at     BIGINT NOT NULL
);
