-- name: nodes_on
-- The nodes at the end of a day, and the portfolios of the engine that hang on them now.
SELECT
    v.portfolio_node_id, v.name, v.node_type, v.parent_id, v.base_ccy,
    array(
        SELECT l.portfolio::TEXT
        FROM book.live_portfolio AS l
        WHERE l.portfolio_node_id = v.portfolio_node_id
        ORDER BY l.portfolio
    ) AS portfolios
FROM book.portfolio_node_version AS v
WHERE
    (v.valid_from IS NULL OR v.valid_from < (%(day)s::DATE + 1)::TIMESTAMP AT TIME ZONE 'UTC')
    AND (v.valid_to IS NULL OR v.valid_to >= (%(day)s::DATE + 1)::TIMESTAMP AT TIME ZONE 'UTC')
ORDER BY v.portfolio_node_id;

-- name: rates_on
-- The newest rate of each pair on or before a day, and whose it is.
SELECT DISTINCT ON (s.pair) s.pair, s.rate, f.as_of_date, f.source
FROM book.fx_spot AS s
INNER JOIN book.market_data_feed AS f ON s.snapshot_id = f.feed_id
WHERE f.feed_type = 'FX_SPOT' AND f.validation_status IN ('PASS', 'WARN') AND f.as_of_date <= %(day)s::DATE
ORDER BY s.pair ASC, f.as_of_date DESC, f.feed_id DESC;

-- name: rate_of_day
-- The rate of a pair that holds on that very day; no row where there is none.
SELECT s.rate
FROM book.fx_spot AS s
INNER JOIN book.market_data_feed AS f ON s.snapshot_id = f.feed_id
WHERE
    s.pair = %(pair)s
    AND f.feed_type = 'FX_SPOT'
    AND f.validation_status IN ('PASS', 'WARN')
    AND f.as_of_date = %(day)s::DATE
ORDER BY f.feed_id DESC
LIMIT 1;

-- name: fx_rate
-- How much of one currency another is on a day; SQLSTATE BK001 where that is not known.
SELECT book.fx_rate(%(from_ccy)s, %(to_ccy)s, %(day)s::DATE) AS rate;

-- name: portfolios_with_settings
-- The portfolios of the engine in this database, each with what it decides by.
SELECT p.portfolio, book.settings_in_force(p.portfolio) AS settings
FROM book.portfolios() AS p
ORDER BY p.portfolio;

-- name: instruments_with_sectors
-- The master of instruments.
SELECT
    i.instrument_id, i.symbol, i.name, i.asset_class, i.kind, i.exchange, i.currency, s.name AS sector, i.lot_size,
    i.point_value, i.tick, i.margin_per_lot, i.isin, i.cusip, i.is_active
FROM book.instrument AS i
LEFT JOIN book.reference_data AS s ON i.sector_id = s.entity_id
ORDER BY i.symbol;

-- name: holdings_of_branch
-- What a node and all below it hold at the end of a day, by node, instrument and currency, in that currency; and the tree: a snapshot.
WITH RECURSIVE
branch AS (
    SELECT n.portfolio_node_id, n.name, n.node_type, n.parent_id, n.base_ccy
    FROM book.portfolio_node AS n
    WHERE n.portfolio_node_id = %(node)s::BIGINT
    UNION ALL
    SELECT n.portfolio_node_id, n.name, n.node_type, n.parent_id, n.base_ccy
    FROM branch AS b
    INNER JOIN book.portfolio_node AS n ON b.portfolio_node_id = n.parent_id
),

positions AS (
    SELECT
        p.portfolio_node_id, p.instrument_id, p.base_ccy,
        CASE p.direction WHEN 'LONG' THEN 1 ELSE -1 END * coalesce(h.quantity, e.quantity, p.quantity) AS quantity,
        CASE p.direction WHEN 'LONG' THEN 1 ELSE -1 END * abs(coalesce(h.notional_base, e.notional_base, p.notional_base)) AS notional
    FROM book.portfolio_positions AS p
    LEFT JOIN book.position_pnl_history AS h
        ON p.id = h.position_id AND h.snapshot_date = %(marked_on)s::DATE
    LEFT JOIN LATERAL (
        SELECT o.quantity, o.notional_base
        FROM book.position_pnl_history AS o
        WHERE o.position_id = p.id AND o.snapshot_date < %(marked_on)s::DATE AND h.position_id IS NULL
        ORDER BY o.snapshot_date DESC
        LIMIT 1
    ) AS e ON TRUE
    WHERE
        p.entry_timestamp < (%(day)s::DATE + 1)::TIMESTAMP AT TIME ZONE 'UTC'
        AND (p.exit_timestamp IS NULL OR p.exit_timestamp >= (%(day)s::DATE + 1)::TIMESTAMP AT TIME ZONE 'UTC')
        AND p.portfolio_node_id IN (SELECT b.portfolio_node_id FROM branch AS b)
    UNION ALL
    SELECT p.portfolio_node_id, p.instrument_id, p.base_ccy, p.quantity, p.quantity * p.average_price
    FROM book.position AS p
    WHERE
        p.status = 'ACTIVE'
        AND p.created_at < (%(day)s::DATE + 1)::TIMESTAMP AT TIME ZONE 'UTC'
        AND p.portfolio_node_id IN (SELECT b.portfolio_node_id FROM branch AS b)
),

holdings AS (
    SELECT
        p.portfolio_node_id, p.instrument_id, p.base_ccy, count(*) AS positions, sum(p.quantity) AS quantity,
        sum(abs(p.notional)) AS gross, sum(p.notional) AS net
    FROM positions AS p
    GROUP BY p.portfolio_node_id, p.instrument_id, p.base_ccy
)

SELECT
    'nodes' AS part,
    jsonb_build_object(
        'portfolio_node_id', b.portfolio_node_id, 'name', b.name, 'node_type', b.node_type, 'parent_id', b.parent_id,
        'base_ccy', b.base_ccy
    ) AS told,
    b.portfolio_node_id,
    '' AS symbol,
    '' AS base_ccy
FROM branch AS b
UNION ALL
SELECT
    'holdings',
    jsonb_build_object(
        'portfolio_node_id', h.portfolio_node_id, 'instrument', i.symbol, 'currency', h.base_ccy, 'positions', h.positions,
        'quantity', h.quantity, 'gross', h.gross, 'net', h.net
    ),
    h.portfolio_node_id, i.symbol, h.base_ccy
FROM holdings AS h
INNER JOIN book.instrument AS i ON h.instrument_id = i.instrument_id
ORDER BY portfolio_node_id, symbol, base_ccy;
