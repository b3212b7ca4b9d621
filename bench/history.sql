-- name: signal_log
-- Copies of one real story's signals (the journal's entries 2 to 1 + signals, and nothing else is there yet), as wide as they
-- are, each with its own fingerprint and time.
INSERT INTO signal_log (
    instrument, signal_type, position, signal_timestamp, bar_time, fingerprint, received_at, processed_at,
    processed_by_instance, processing_status, outcome, payload
)
SELECT
    told.instrument, told.signal_type, told.position,
    told.signal_timestamp - (%(copies)s - copies.copy) * INTERVAL '1 minute',
    told.bar_time - (%(copies)s - copies.copy) * INTERVAL '1 minute',
    md5(copies.copy || '-' || entries.seq) || md5(entries.seq || '-' || copies.copy),
    told.received_at - (%(copies)s - copies.copy) * INTERVAL '1 minute',
    told.processed_at - (%(copies)s - copies.copy) * INTERVAL '1 minute',
    told.processed_by_instance, told.processing_status, told.outcome, told.payload
FROM generate_series(1, %(copies)s) AS copies (copy), signal_log AS told
INNER JOIN decision_journal AS entries ON told.fingerprint = entries.fingerprint;

-- name: decision_journal
-- The journal of the same.
INSERT INTO decision_journal (
    seq, format, kind, fingerprint, input, figures, outcome, events, term, rules_version, decided_at, recorded_at,
    content_hash
)
SELECT
    told.seq + copies.copy * %(signals)s, told.format, told.kind,
    md5(copies.copy || '-' || told.seq) || md5(told.seq || '-' || copies.copy),
    told.input, told.figures, told.outcome, told.events, told.term, told.rules_version,
    told.decided_at - (%(copies)s - copies.copy) * INTERVAL '1 minute',
    told.recorded_at - (%(copies)s - copies.copy) * INTERVAL '1 minute',
    told.content_hash
FROM generate_series(1, %(copies)s) AS copies (copy), decision_journal AS told
WHERE told.kind = 'signal';

-- name: portfolio_positions
-- The positions of all the story's trades, closed.
INSERT INTO portfolio_positions (
    position_id, instrument, layer, side, status, entry_timestamp, entry_bar_time, entry_price, entry_lots, entry_costs,
    lots, quantity, lot_size, point_value, initial_stop, current_stop, highest_close, atr, mark_price, mark_time,
    unrealized_pnl, realized_pnl, costs, exit_timestamp, exit_price, exit_reason, limiter, risk_contribution,
    vol_contribution, is_base_position, version, created_at, updated_at
)
SELECT
    told.instrument || '-' || told.layer || '-' || lpad(to_hex(copies.copy), 12, '0'),
    told.instrument, told.layer, told.side, told.status, told.entry_timestamp, told.entry_bar_time, told.entry_price,
    told.entry_lots, told.entry_costs, told.lots, told.quantity, told.lot_size, told.point_value, told.initial_stop,
    told.current_stop, told.highest_close, told.atr, told.mark_price, told.mark_time, told.unrealized_pnl,
    told.realized_pnl, told.costs, told.exit_timestamp, told.exit_price, told.exit_reason, told.limiter,
    told.risk_contribution, told.vol_contribution, told.is_base_position, told.version,
    told.created_at - (%(copies)s - copies.copy) * INTERVAL '1 minute',
    told.updated_at - (%(copies)s - copies.copy) * INTERVAL '1 minute'
FROM generate_series(1, %(copies)s) AS copies (copy), portfolio_positions AS told;

-- name: orders
-- An order to enter and one to leave for each of them, filled.
INSERT INTO orders (
    client_order_id, journal_seq, position_id, instrument, layer, side, purpose, attempt, lots, lot_size, point_value,
    reference_price, reason, plan, state, filled_lots, average_price, broker_order_id, settled, symbol, order_type,
    limit_price, sent_at, version, created_at, updated_at
)
SELECT
    substr(purposes.purpose, 2, 1) || lpad(to_hex(copies.copy), 12, '0') || '-' || told.instrument,
    2 + copies.copy * %(signals)s,
    told.instrument || '-' || told.layer || '-' || lpad(to_hex(copies.copy), 12, '0'),
    told.instrument, told.layer, told.side, purposes.purpose, 1, told.entry_lots, told.lot_size, told.point_value,
    told.entry_price, told.exit_reason, CASE WHEN purposes.purpose = 'entry' THEN '{}'::JSONB END, 'filled',
    told.entry_lots, told.entry_price,
    substr(purposes.purpose, 2, 1) || copies.copy || told.instrument,
    TRUE, told.instrument, 'LIMIT', told.entry_price,
    told.created_at - (%(copies)s - copies.copy) * INTERVAL '1 minute', 4,
    told.created_at - (%(copies)s - copies.copy) * INTERVAL '1 minute',
    told.created_at - (%(copies)s - copies.copy) * INTERVAL '1 minute'
FROM generate_series(1, %(copies)s) AS copies (copy), portfolio_positions AS told,
    (VALUES ('entry'), ('exit')) AS purposes (purpose)
WHERE told.position_id = ANY(%(positions)s);

-- name: fills
-- Their fills, one each.
INSERT INTO fills (client_order_id, fill_id, number, lots, price, filled_at, journal_seq)
SELECT
    orders.client_order_id, 'F' || orders.broker_order_id, 1, orders.lots, orders.reference_price, orders.sent_at,
    orders.journal_seq
FROM orders;

-- name: constraints
-- What keeps rows from being written quickly: foreign keys first, then keys, then what is only an index.
SELECT
    pg_constraint.conrelid::REGCLASS::TEXT AS table_name,
    'CONSTRAINT ' || quote_ident(pg_constraint.conname) AS name,
    pg_get_constraintdef(pg_constraint.oid) AS definition
FROM pg_constraint
WHERE
    pg_constraint.contype IN ('f', 'p', 'u')
    AND (pg_constraint.conrelid::REGCLASS::TEXT = ANY(%(tables)s) OR pg_constraint.confrelid::REGCLASS::TEXT = ANY(%(tables)s))
ORDER BY pg_constraint.contype <> 'f';

-- name: indexes
-- The indexes that are not a constraint's.
SELECT pg_class.relname AS name, pg_get_indexdef(pg_index.indexrelid) AS definition
FROM pg_index
INNER JOIN pg_class ON pg_index.indexrelid = pg_class.oid
WHERE
    pg_index.indrelid::REGCLASS::TEXT = ANY(%(tables)s)
    AND NOT EXISTS (SELECT FROM pg_constraint WHERE pg_constraint.conindid = pg_index.indexrelid);
