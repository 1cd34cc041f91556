-- `issued_before` was for tokens and sessions alike, so that ending sessions by time ended tokens that were to be spared.
-- It is the tokens' from here on, and sessions have their own.

ALTER TABLE apps ADD COLUMN sessions_issued_before INTEGER NOT NULL DEFAULT 0;
ALTER TABLE roles ADD COLUMN sessions_issued_before INTEGER NOT NULL DEFAULT 0;
ALTER TABLE endpoints ADD COLUMN sessions_issued_before INTEGER NOT NULL DEFAULT 0;
UPDATE apps SET sessions_issued_before = issued_before WHERE issued_before > 0;
UPDATE roles SET sessions_issued_before = issued_before WHERE issued_before > 0;
UPDATE endpoints SET sessions_issued_before = issued_before WHERE issued_before > 0;
