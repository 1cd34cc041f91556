-- The bans of an app, without a look at all its endpoints.
CREATE INDEX endpoints_banned ON endpoints (app_id, endpoint) WHERE banned_at IS NOT NULL;
