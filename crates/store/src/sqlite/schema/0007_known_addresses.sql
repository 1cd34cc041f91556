-- From where each admin signed in lately: who guesses from elsewhere makes nobody wait there, also after a restart.
CREATE TABLE known_addresses (
    admin_id BLOB NOT NULL,
    -- An IPv4 address, or the 64-bit network of an IPv6 one.
    address  TEXT NOT NULL,
    -- When the admin last signed in from there.
    at       INTEGER NOT NULL,
    PRIMARY KEY (admin_id, address)
) STRICT, WITHOUT ROWID;
