-- And the marks themselves.
UPDATE apps SET
    tokens_from = min(tokens_from, 1), issued_before_tokens = min(issued_before_tokens, 1),
    sessions_from = min(sessions_from, 1), issued_before_sessions = min(issued_before_sessions, 1);
UPDATE roles SET
    tokens_from = min(tokens_from, 1), issued_before_tokens = min(issued_before_tokens, 1),
    sessions_from = min(sessions_from, 1), issued_before_sessions = min(issued_before_sessions, 1);
UPDATE endpoints SET
    tokens_from = min(tokens_from, 1), issued_before_tokens = min(issued_before_tokens, 1),
    sessions_from = min(sessions_from, 1), issued_before_sessions = min(issued_before_sessions, 1);
