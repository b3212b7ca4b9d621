-- Signals that wait for a human: made by one entry of the journal, decided by another. Idempotent.
CREATE TABLE IF NOT EXISTS proposals (
    proposal_id VARCHAR(17) CONSTRAINT pk_proposals PRIMARY KEY,
    journal_seq BIGINT NOT NULL,
    fingerprint VARCHAR(64) NOT NULL,
    instrument VARCHAR(29) NOT NULL,
    signal_type VARCHAR(11) NOT NULL,
    layer VARCHAR(20) NOT NULL,
    signal JSONB NOT NULL,
    rule VARCHAR(20) NOT NULL,
    lots INTEGER NOT NULL,
    limiter VARCHAR(30),
    proposed_at TIMESTAMPTZ NOT NULL,
    expires_at TIMESTAMPTZ NOT NULL,
    state VARCHAR(8) NOT NULL,
    decided_at TIMESTAMPTZ,
    decided_by VARCHAR(100),
    note VARCHAR(500),
    decided_lots INTEGER,
    decided_price NUMERIC(18, 8),
    version INTEGER NOT NULL,
    created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    updated_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    CONSTRAINT fk_proposals_journal FOREIGN KEY (journal_seq) REFERENCES decision_journal (seq),
    CONSTRAINT ck_proposals_signal_type CHECK (signal_type IN ('BASE_ENTRY', 'PYRAMID', 'EXIT')),
    CONSTRAINT ck_proposals_state CHECK (state IN ('pending', 'approved', 'modified', 'rejected', 'expired')),
    CONSTRAINT ck_proposals_decided CHECK ((state = 'pending') = (decided_at IS NULL)),
    CONSTRAINT ck_proposals_note CHECK (state <> 'rejected' OR note IS NOT NULL),
    CONSTRAINT ck_proposals_lots CHECK (lots >= 0 AND decided_lots >= 0),
    CONSTRAINT ck_proposals_times CHECK (expires_at > proposed_at),
    CONSTRAINT ck_proposals_version CHECK (version = CASE WHEN state = 'pending' THEN 1 ELSE 2 END)
);

-- What a start loads: a handful of rows, found without reading history.
CREATE INDEX IF NOT EXISTS ix_proposals_pending ON proposals (journal_seq) WHERE state = 'pending';
CREATE INDEX IF NOT EXISTS ix_proposals_journal_seq ON proposals (journal_seq);
CREATE INDEX IF NOT EXISTS ix_proposals_fingerprint ON proposals (fingerprint);

ALTER TABLE decision_journal DROP CONSTRAINT IF EXISTS ck_decision_journal_kind;
ALTER TABLE decision_journal ADD CONSTRAINT ck_decision_journal_kind CHECK (
    kind IN (
        'genesis', 'settings', 'term', 'signal', 'halt', 'resume', 'close', 'capital', 'manual', 'report', 'freeze',
        'send', 'try_over', 'contracts', 'roll', 'adopt', 'write_off', 'ignore', 'approve', 'reject', 'expire'
    )
);
