-- The same for sessions.
UPDATE sessions SET born = 0 WHERE number IN (
    SELECT g.number FROM sessions g
    LEFT JOIN apps a ON a.id = g.app_id
    LEFT JOIN roles r ON r.app_id = g.app_id AND r.id = g.role_id
    LEFT JOIN endpoints e ON e.app_id = g.app_id AND e.endpoint = g.endpoint
    WHERE g.number > :after AND g.number <= :last AND g.ended_at IS NULL AND (
        g.number < max(ifnull(a.sessions_from, 0), ifnull(r.sessions_from, 0), ifnull(e.sessions_from, 0))
        OR (g.number < a.issued_before_sessions AND g.created_at < a.sessions_issued_before)
        OR (g.number < r.issued_before_sessions AND g.created_at < r.sessions_issued_before)
        OR (g.number < e.issued_before_sessions AND g.created_at < e.sessions_issued_before)));
