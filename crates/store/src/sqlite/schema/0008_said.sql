-- Messages that were said by a request with a key, so that its repetition says none. Apart from what was created with one:
-- here the oldest make room, and nobody who talks much makes others forget what they created.
CREATE TABLE said (
    number     INTEGER PRIMARY KEY,
    key        BLOB NOT NULL UNIQUE,
    request    BLOB NOT NULL,
    message_id BLOB NOT NULL,
    at         INTEGER NOT NULL
) STRICT;
