-- Tokens keep their numbers, which their texts carry.
INSERT INTO log (number, expires_at, at, app_id, endpoint, secret_id, hash, role_id, activate_by, born, ended_at, session_number)
SELECT number, expires_at, created_at, app_id, endpoint, secret_id, hash, role_id, activate_by, born, ended_at, session_number
FROM tokens WHERE number > :after AND number <= :last;
DELETE FROM tokens WHERE number > :after AND number <= :last;
