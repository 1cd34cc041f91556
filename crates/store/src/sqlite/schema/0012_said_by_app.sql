-- Which app said what with a key, and how manieth of the app that was: each app makes its own oldest keys forgotten, and not
-- another's. What was said before is of no app, and goes by age within a day.
ALTER TABLE said ADD COLUMN app_id BLOB NOT NULL DEFAULT x'00000000000000000000000000000000';
ALTER TABLE said ADD COLUMN nth INTEGER NOT NULL DEFAULT 0;
CREATE INDEX said_by_app ON said (app_id, nth);
