-- A token and what the audit log says of its minting are one row: the second write of a mint was nearly half of it. Either part
-- goes in its own time, and the row with the last of them. So the log's rows and tokens are numbered together, by numbers
-- that are never given again.
CREATE TABLE log (
    number         INTEGER PRIMARY KEY,
    -- What was done. None: the log does not tell of it any more.
    action         INTEGER,
    -- When a token's session would end. None: no token, or none any more.
    expires_at     INTEGER,
    -- When it was done, and a token minted.
    at             INTEGER NOT NULL,
    app_id         BLOB,

    -- The token. Its endpoint, secret and the beginning of its hash stay when it goes: the log tells them.
    endpoint       TEXT,
    secret_id      BLOB,
    hash           BLOB,
    role_id        BLOB,
    activate_by    INTEGER,
    -- The newest change when it was minted.
    born           INTEGER,
    ended_at       INTEGER,
    -- The session it was redeemed for; none if it was revoked.
    session_number INTEGER,

    -- The rest of what the log tells.
    -- 0 anonymous, 1 system, 2 admin, 3 secret, 4 endpoint
    actor_kind     INTEGER,
    -- None of a token's own secret.
    actor_id       BLOB,
    account_id     BLOB,
    -- None: the token's endpoint.
    object         TEXT,
    address        TEXT,
    request_id     BLOB,
    -- None: the first six bytes of the token's hash.
    fingerprint    TEXT
) STRICT;
