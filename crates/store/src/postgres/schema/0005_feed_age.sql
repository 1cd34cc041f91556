-- How long ago a node had last followed all changes, as it last said, in milliseconds. A release before this one does not say.
ALTER TABLE respoked.nodes ADD COLUMN feed_age_millis BIGINT NOT NULL DEFAULT 0;
