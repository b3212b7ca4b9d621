-- name: tree
-- A fund of so many desks, each of five books, each of so many strategies.
WITH fund AS (
    INSERT INTO book.portfolio_node (name, node_type, base_ccy) VALUES ('Fund', 'FUND', 'INR') RETURNING portfolio_node_id
),

desks AS (
    INSERT INTO book.portfolio_node (name, node_type, parent_id, parent_type, base_ccy)
    SELECT 'Desk ' || n, 'DESK', fund.portfolio_node_id, 'FUND', 'INR'
    FROM fund, generate_series(1, %(desks)s) AS n
    RETURNING portfolio_node_id
)

SELECT count(*) FROM desks;

-- name: books
-- The books of every desk.
INSERT INTO book.portfolio_node (name, node_type, parent_id, base_ccy)
SELECT 'Book ' || n, 'BOOK', d.portfolio_node_id, 'INR'
FROM book.portfolio_node AS d, generate_series(1, 5) AS n
WHERE d.node_type = 'DESK';

-- name: strategies
-- The strategies of every book.
INSERT INTO book.portfolio_node (name, node_type, parent_id, base_ccy)
SELECT 'Strategy ' || n, 'STRATEGY', b.portfolio_node_id, 'INR'
FROM book.portfolio_node AS b, generate_series(1, %(strategies)s) AS n
WHERE b.node_type = 'BOOK';

-- name: sectors
-- Ten of them.
INSERT INTO book.reference_data (entity_type, name) SELECT 'SECTOR', 'Sector ' || n FROM generate_series(1, 10) AS n;

-- name: instruments
-- Two hundred, in four currencies.
INSERT INTO book.instrument (symbol, name, asset_class, kind, currency, sector_id)
SELECT
    'BENCH_' || n, 'Bench ' || n, 'OTHER', 'future', (ARRAY['INR', 'USD', 'EUR', 'JPY'])[1 + n %% 4],
    (SELECT r.entity_id FROM book.reference_data AS r WHERE r.name = 'Sector ' || 1 + n %% 10)
FROM generate_series(1, 200) AS n;

-- name: feeds
-- A feed of rates each day.
INSERT INTO book.market_data_feed (feed_type, as_of_date, source, validation_status)
SELECT 'FX_SPOT', %(day)s::DATE - n, 'bench', 'PASS' FROM generate_series(%(days)s - 1, 0, -1) AS n;

-- name: rates
-- Three pairs in each of them.
INSERT INTO book.fx_spot (pair, snapshot_id, rate)
SELECT pairs.pair, f.feed_id, pairs.rate + f.feed_id %% 100 / 100.0
FROM book.market_data_feed AS f, (VALUES ('USD/INR', 85), ('EUR/USD', 1.1), ('USD/JPY', 150)) AS pairs (pair, rate);

-- name: positions
-- A strategy's are of twenty instruments: open since before the first day, or entered over all days and left after so many.
INSERT INTO book.portfolio_positions (
    portfolio_node_id, instrument_id, source, direction, quantity, base_ccy, notional_base, entry_price, entry_timestamp, entry_dv01,
    is_open, exit_timestamp, realized_pnl_base
)
SELECT
    nodes.ids[1 + n %% cardinality(nodes.ids)],
    i.instrument_id, 'manual', CASE n %% 3 WHEN 0 THEN 'SHORT' ELSE 'LONG' END, 1 + n %% 50, i.currency, 1000 + n %% 5000, 100,
    life.entered, n %% 40, life.entered + %(held)s::INTEGER > %(day)s::DATE IS NOT FALSE,
    CASE WHEN life.entered + %(held)s::INTEGER <= %(day)s::DATE THEN life.entered + %(held)s::INTEGER END, n %% 90
FROM generate_series(1, %(positions)s) AS n
CROSS JOIN LATERAL (
    SELECT
        %(day)s::DATE - %(days)s::INTEGER
        + CASE WHEN %(held)s::INTEGER IS NULL THEN 0 ELSE 1 + (n::BIGINT * %(days)s::INTEGER / (%(positions)s::INTEGER + 1))::INTEGER END
            AS entered
) AS life
CROSS JOIN (
    SELECT array_agg(s.portfolio_node_id ORDER BY s.portfolio_node_id) AS ids
    FROM book.portfolio_node AS s
    WHERE s.node_type = 'STRATEGY'
) AS nodes
INNER JOIN book.instrument AS i
    ON i.symbol = 'BENCH_' || 1 + (n %% cardinality(nodes.ids) * 7 + n / cardinality(nodes.ids) %% 20) %% 200;

-- name: history
-- A mark of every position on each of its days.
INSERT INTO book.position_pnl_history (
    snapshot_date, position_id, quantity, mark_price, notional_base, unrealized_pnl_base, realized_pnl_base, daily_pnl_base, dv01,
    var_contribution
)
SELECT
    d.day::DATE, p.id, p.quantity, 100 + p.id %% 20, p.notional_base + (d.day::DATE - DATE '2020-01-01') %% 20,
    p.id %% 200 - 100, 0, p.id %% 20 - 10, p.entry_dv01, p.id %% 30
FROM generate_series(%(day)s::DATE - %(days)s::INTEGER + 1, %(day)s::DATE, INTERVAL '1 day') AS d (day)
INNER JOIN book.portfolio_positions AS p
    ON p.entry_timestamp <= d.day AND (p.entry_timestamp >= d.day - %(held)s::INTEGER * INTERVAL '1 day' OR %(held)s::INTEGER IS NULL);

-- name: next_day
-- A mark of every open position on the day after.
INSERT INTO book.position_pnl_history (
    snapshot_date, position_id, quantity, mark_price, notional_base, unrealized_pnl_base, realized_pnl_base, daily_pnl_base, dv01,
    var_contribution
)
SELECT
    %(day)s::DATE + 1, p.id, p.quantity, 100, p.notional_base, p.id %% 200 - 100, 0, p.id %% 20 - 10, p.entry_dv01, p.id %% 30
FROM book.portfolio_positions AS p
WHERE p.is_open;

-- name: raw_marks
-- The limit: the marks of one day added up, whatever they are of.
SELECT
    sum(h.notional_base), sum(h.daily_pnl_base), sum(h.realized_pnl_base), sum(h.unrealized_pnl_base), sum(h.dv01),
    sum(h.var_contribution)
FROM book.position_pnl_history AS h
WHERE h.snapshot_date = %(day)s::DATE;
