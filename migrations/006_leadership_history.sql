-- Who led, term by term: what the one row of leadership forgets. Idempotent.

CREATE TABLE IF NOT EXISTS leadership_history (
    term BIGINT CONSTRAINT pk_leadership_history PRIMARY KEY,
    instance_id VARCHAR(64) NOT NULL,
    acquired_at TIMESTAMPTZ NOT NULL,
    hostname VARCHAR(255),
    port INTEGER,
    version VARCHAR(20),
    CONSTRAINT ck_leadership_history_term CHECK (term > 0)
);

INSERT INTO leadership_history (term, instance_id, acquired_at, hostname, port, version)
SELECT
    leadership.term, leadership.instance_id, leadership.acquired_at, instance_metadata.hostname, instance_metadata.port,
    instance_metadata.version
FROM leadership
LEFT JOIN instance_metadata ON leadership.instance_id = instance_metadata.instance_id
ON CONFLICT (term) DO NOTHING;
