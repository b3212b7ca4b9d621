-- Several instances of one portfolio: until when the one that leads is to be taken for alive, and which ones ended as they were
-- asked to. Idempotent.

CREATE TABLE IF NOT EXISTS leader_lease (
    id SMALLINT CONSTRAINT pk_leader_lease PRIMARY KEY,
    holder VARCHAR(100) NOT NULL,
    expires_at TIMESTAMPTZ NOT NULL,
    CONSTRAINT ck_leader_lease_single_row CHECK (id = 1)
);

ALTER TABLE instance_metadata ADD COLUMN IF NOT EXISTS stopped_at TIMESTAMPTZ;
