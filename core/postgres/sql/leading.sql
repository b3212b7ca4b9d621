-- name: take_term
-- Become the writer: the term rises by one, whoever had it before can write no more. Each term is remembered.
WITH taken AS (
    INSERT INTO leadership (id, term, instance_id)
    VALUES (1, 1, %(instance_id)s)
    ON CONFLICT (id) DO UPDATE
        SET
            term = leadership.term + 1, fencing_number = 0, instance_id = excluded.instance_id, acquired_at = now()
    RETURNING term, instance_id, acquired_at
)

INSERT INTO leadership_history (term, instance_id, acquired_at, hostname, port, version)
SELECT
    taken.term, taken.instance_id, taken.acquired_at, instance_metadata.hostname, instance_metadata.port,
    instance_metadata.version
FROM taken
LEFT JOIN instance_metadata ON taken.instance_id = instance_metadata.instance_id
RETURNING term;

-- name: register_instance
-- This instance starts, or tells anew what it is.
INSERT INTO instance_metadata (
    instance_id, started_at, last_heartbeat, is_leader, leader_acquired_at, status, hostname, port, version
)
VALUES (%(instance_id)s, now(), now(), FALSE, NULL, 'recovering', %(hostname)s, %(port)s, %(version)s)
ON CONFLICT (instance_id) DO UPDATE SET
    last_heartbeat = now(), status = excluded.status, hostname = excluded.hostname, port = excluded.port,
    version = excluded.version, stopped_at = NULL, updated_at = now();

-- name: heartbeat
-- This instance is alive.
UPDATE instance_metadata
SET
    last_heartbeat = now(),
    last_signal_processed = coalesce(%(last_signal)s::TIMESTAMPTZ, last_signal_processed),
    leader_acquired_at = CASE WHEN %(is_leader)s::BOOLEAN THEN coalesce(leader_acquired_at, now()) END,
    is_leader = %(is_leader)s::BOOLEAN,
    status = %(status)s::VARCHAR,
    updated_at = now()
WHERE instance_id = %(instance_id)s;

-- name: mark_crashed
-- Whoever holds the portfolio's lock knows that no other instance leads, and which ones have fallen silent.
UPDATE instance_metadata
SET status = 'crashed', is_leader = FALSE, updated_at = now()
WHERE
    instance_id <> %(instance_id)s
    AND (
        status = 'active'
        OR (status <> 'crashed' AND stopped_at IS NULL AND last_heartbeat < now() - INTERVAL '5 seconds')
    );

-- name: leave_instance
-- This instance ends as it was asked to.
UPDATE instance_metadata
SET status = 'standby', is_leader = FALSE, leader_acquired_at = NULL, stopped_at = now(), updated_at = now()
WHERE instance_id = %(instance_id)s;
