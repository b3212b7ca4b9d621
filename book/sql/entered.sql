-- name: hold_entered_marks
-- One keeps marks of entered positions, or brings prices for them, at a time: neither misses what the other does.
SELECT pg_advisory_xact_lock(hashtextextended('book.entered_marks', 0));

-- name: entered_positions
-- Positions that a person entered, the latest first, each with its last mark.
SELECT
    p.id, p.portfolio_node_id, n.name AS node, i.symbol AS instrument, p.direction, p.quantity, p.base_ccy AS currency, p.entry_price,
    p.entry_timestamp, p.notional_base, p.notional_usd, p.entry_fx_rate, p.strategy_weights AS strategies, p.is_open, p.exit_price,
    p.exit_timestamp, p.transaction_costs_base, p.realized_pnl_base, p.notes, m.snapshot_date AS marked_on, m.mark_price, m.price_date,
    coalesce(m.price_date < m.snapshot_date, FALSE) AS is_stale, m.unrealized_pnl_base, m.daily_pnl_base
FROM book.portfolio_positions AS p
INNER JOIN book.portfolio_node AS n ON p.portfolio_node_id = n.portfolio_node_id
INNER JOIN book.instrument AS i ON p.instrument_id = i.instrument_id
LEFT JOIN LATERAL (
    SELECT h.*
    FROM book.position_pnl_history AS h
    WHERE h.position_id = p.id
    ORDER BY h.snapshot_date DESC
    LIMIT 1
) AS m ON TRUE
WHERE
    p.source = 'manual'
    AND (%(is_open)s::BOOLEAN IS NULL OR p.is_open = %(is_open)s::BOOLEAN)
    AND (%(before)s::BIGINT IS NULL OR p.id < %(before)s::BIGINT)
ORDER BY p.id DESC
LIMIT %(limit)s::INTEGER;
