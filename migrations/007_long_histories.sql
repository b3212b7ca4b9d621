-- Lists by what is rare are found without reading the whole history; what changes with each bar stays where it is. Idempotent.

-- Most signals are executed: a list of those is short of nothing, one of the others is not to read them all.
CREATE INDEX IF NOT EXISTS ix_signal_log_not_executed ON signal_log (processing_status, id)
WHERE processing_status <> 'executed';
CREATE INDEX IF NOT EXISTS ix_orders_not_filled ON orders (state, journal_seq) WHERE state <> 'filled';
CREATE INDEX IF NOT EXISTS ix_orders_instrument ON orders (instrument, journal_seq);

-- A bar changes every open position of its instrument, and bars of all instruments come together: each page has to hold the
-- rows of it twice, or each change writes to every index of the table as well.
ALTER TABLE portfolio_positions SET (fillfactor = 50);
