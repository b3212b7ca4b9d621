-- Lists by what is rare are found without reading the whole history. Idempotent.

-- Most signals are executed: a list of those is short of nothing, one of the others is not to read them all.
CREATE INDEX IF NOT EXISTS ix_signal_log_not_executed ON signal_log (processing_status, id)
WHERE processing_status <> 'executed';
CREATE INDEX IF NOT EXISTS ix_orders_not_filled ON orders (state, journal_seq) WHERE state <> 'filled';
CREATE INDEX IF NOT EXISTS ix_orders_instrument ON orders (instrument, journal_seq);
