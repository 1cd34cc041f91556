-- The mark by which tokens end that were issued before an instant was called `issued_before`, from when it was for sessions too
-- (0002); the program calls it `tokens_issued_before`. A build that does not know the new name cannot read the database, as it
-- refuses any schema that is newer than its own. The last release has schema 5, so nobody who could go back loses that here.
ALTER TABLE apps RENAME COLUMN issued_before TO tokens_issued_before;
ALTER TABLE roles RENAME COLUMN issued_before TO tokens_issued_before;
ALTER TABLE endpoints RENAME COLUMN issued_before TO tokens_issued_before;
