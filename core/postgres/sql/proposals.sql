-- name: load_proposals
-- Every proposal that waits, oldest first.
SELECT
    proposal_id, journal_seq, fingerprint, signal, rule, lots, limiter, proposed_at, expires_at, state, decided_at, decided_by,
    note, decided_lots, decided_price, version
FROM proposals
WHERE state = 'pending'
ORDER BY journal_seq, proposal_id COLLATE "C";

-- name: proposals_by_id
-- These proposals, decided or not.
SELECT
    proposal_id, journal_seq, fingerprint, signal, rule, lots, limiter, proposed_at, expires_at, state, decided_at, decided_by,
    note, decided_lots, decided_price, version
FROM proposals
WHERE proposal_id = any(%(proposal_ids)s::VARCHAR[]);

-- name: list_proposals
-- The newest first: one state only, or all; those made before a journal entry.
SELECT
    proposal_id, journal_seq, fingerprint, instrument, signal_type, layer, signal, rule, lots, limiter, proposed_at, expires_at,
    state, decided_at, decided_by, note, decided_lots, decided_price, version, created_at, updated_at
FROM proposals
WHERE
    (%(state)s::VARCHAR[] IS NULL OR state = any(%(state)s))
    AND (%(instrument)s::VARCHAR IS NULL OR instrument = %(instrument)s)
    AND (%(before)s::BIGINT IS NULL OR journal_seq < %(before)s)
ORDER BY journal_seq DESC
LIMIT %(limit)s;
