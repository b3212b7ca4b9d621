-- Signals are counted once: how many of each kind there are up to a row that none comes before any more. Idempotent.
CREATE TABLE IF NOT EXISTS signal_totals (
    id SMALLINT NOT NULL,
    up_to_id BIGINT NOT NULL,
    -- A list of {"signal_type", "processing_status", "signals"}: one row, so that they are all of the same moment.
    counts JSONB NOT NULL,
    counted_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    CONSTRAINT pk_signal_totals PRIMARY KEY (id),
    CONSTRAINT ck_signal_totals_one_row CHECK (id = 1),
    CONSTRAINT ck_signal_totals_up_to_id CHECK (up_to_id >= 0)
);

-- How often signals came again goes on being counted, and is looked for among those that did.
CREATE INDEX IF NOT EXISTS ix_signal_log_duplicates ON signal_log (signal_type, processing_status, deliveries)
WHERE is_duplicate;
