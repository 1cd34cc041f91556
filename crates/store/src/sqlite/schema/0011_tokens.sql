-- For tokens numbered behind :after, up to :last.
-- The marks named the row numbers below which all was over. What they have ended is born before change 1, which all of
-- them become.
UPDATE tokens SET born = 0 WHERE number IN (
    SELECT g.number FROM tokens g
    LEFT JOIN apps a ON a.id = g.app_id
    LEFT JOIN roles r ON r.app_id = g.app_id AND r.id = g.role_id
    LEFT JOIN endpoints e ON e.app_id = g.app_id AND e.endpoint = g.endpoint
    WHERE g.number > :after AND g.number <= :last AND g.ended_at IS NULL AND (
        g.number < max(ifnull(a.tokens_from, 0), ifnull(r.tokens_from, 0), ifnull(e.tokens_from, 0))
        OR (g.number < a.issued_before_tokens AND g.created_at < a.issued_before)
        OR (g.number < r.issued_before_tokens AND g.created_at < r.issued_before)
        OR (g.number < e.issued_before_tokens AND g.created_at < e.issued_before)));
