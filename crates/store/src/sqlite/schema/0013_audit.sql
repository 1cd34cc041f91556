-- The log's own rows go on behind the last token's number, :base.
INSERT INTO log (number, action, at, app_id, actor_kind, actor_id, account_id, object, address, request_id, fingerprint)
SELECT number + :base, action, at, app_id, actor_kind, actor_id, account_id, object, address,
       request_id, fingerprint
FROM audit WHERE number > :after AND number <= :last;
DELETE FROM audit WHERE number > :after AND number <= :last;
