DROP TABLE tokens;
DROP TABLE audit;

CREATE VIEW tokens (number, app_id, endpoint, role_id, secret_id, hash, born, created_at, activate_by, expires_at, ended_at,
                    session_number) AS
    SELECT number, app_id, endpoint, role_id, secret_id, hash, born, at, activate_by, expires_at, ended_at, session_number
    FROM log WHERE expires_at IS NOT NULL;

CREATE VIEW audit (number, at, account_id, app_id, actor_kind, actor_id, action, object, address, request_id,
                   fingerprint) AS
    SELECT number, at, account_id, app_id, actor_kind, iif(actor_kind = 3, ifnull(actor_id, secret_id), actor_id), action,
           ifnull(object, endpoint), address, request_id,
           ifnull(fingerprint, iif(hash IS NULL, NULL, lower(hex(substr(hash, 1, 6)))))
    FROM log WHERE action IS NOT NULL;
