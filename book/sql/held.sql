-- name: open_positions
-- The largest positions that a node and all below it hold at the end of a day, in one currency, marked as the roll-up marks them.
WITH RECURSIVE
nodes AS (
    SELECT v.portfolio_node_id, v.name, v.parent_id
    FROM book.portfolio_node_version AS v
    WHERE
        (v.valid_from IS NULL OR v.valid_from < (%(day)s::DATE + 1)::TIMESTAMP AT TIME ZONE 'UTC')
        AND (v.valid_to IS NULL OR v.valid_to >= (%(day)s::DATE + 1)::TIMESTAMP AT TIME ZONE 'UTC')
),

branch AS (
    SELECT n.portfolio_node_id, n.name
    FROM nodes AS n
    WHERE n.portfolio_node_id = %(node)s::BIGINT
    UNION ALL
    SELECT n.portfolio_node_id, n.name
    FROM branch AS b
    INNER JOIN nodes AS n ON b.portfolio_node_id = n.parent_id
),

held AS (
    SELECT
        p.engine_position_id AS position_id, p.portfolio, p.instrument_id, b.name AS node, p.direction, p.base_ccy, p.entry_price,
        coalesce(h.quantity, e.quantity, p.quantity) AS quantity,
        coalesce(h.mark_price, e.mark_price) AS mark_price,
        abs(coalesce(h.notional_base, e.notional_base, p.notional_base)) AS notional,
        CASE WHEN h.snapshot_date = %(day)s::DATE THEN h.daily_pnl_base END AS day_pnl,
        coalesce(h.unrealized_pnl_base, e.unrealized_pnl_base) AS unrealized_pnl
    FROM book.portfolio_positions AS p
    INNER JOIN branch AS b ON p.portfolio_node_id = b.portfolio_node_id
    LEFT JOIN book.position_pnl_history AS h
        ON p.id = h.position_id AND h.snapshot_date = %(marked_on)s::DATE
    LEFT JOIN LATERAL (
        SELECT o.quantity, o.mark_price, o.notional_base, o.unrealized_pnl_base
        FROM book.position_pnl_history AS o
        WHERE o.position_id = p.id AND o.snapshot_date < %(marked_on)s::DATE AND h.position_id IS NULL
        ORDER BY o.snapshot_date DESC
        LIMIT 1
    ) AS e ON TRUE
    WHERE
        p.entry_timestamp < (%(day)s::DATE + 1)::TIMESTAMP AT TIME ZONE 'UTC'
        AND (p.exit_timestamp IS NULL OR p.exit_timestamp >= (%(day)s::DATE + 1)::TIMESTAMP AT TIME ZONE 'UTC')
    UNION ALL
    -- Holdings that were uploaded, at what they cost.
    SELECT
        NULL, NULL, p.instrument_id, b.name, CASE WHEN p.quantity < 0 THEN 'SHORT' ELSE 'LONG' END, p.base_ccy, p.average_price,
        abs(p.quantity), NULL, abs(p.quantity * p.average_price), NULL, NULL
    FROM book.position AS p
    INNER JOIN branch AS b ON p.portfolio_node_id = b.portfolio_node_id
    WHERE
        p.created_at < (%(day)s::DATE + 1)::TIMESTAMP AT TIME ZONE 'UTC'
        AND (p.status = 'ACTIVE' OR (p.status = 'CLOSED' AND p.updated_at >= (%(day)s::DATE + 1)::TIMESTAMP AT TIME ZONE 'UTC'))
),

rates AS MATERIALIZED (
    SELECT c.base_ccy, book.fx_rate(c.base_ccy, %(currency)s::TEXT, %(day)s::DATE) AS rate
    FROM (SELECT DISTINCT h.base_ccy FROM held AS h) AS c
)

SELECT
    h.position_id, h.portfolio, i.symbol AS instrument, h.node, h.direction, h.base_ccy, h.quantity, h.entry_price, h.mark_price,
    round(h.notional * r.rate, 4) AS notional, round(h.day_pnl * r.rate, 4) AS day_pnl,
    round(h.unrealized_pnl * r.rate, 4) AS unrealized_pnl, count(*) OVER () AS positions
FROM held AS h
INNER JOIN rates AS r ON h.base_ccy = r.base_ccy
INNER JOIN book.instrument AS i ON h.instrument_id = i.instrument_id
ORDER BY h.notional * r.rate DESC NULLS LAST, h.position_id ASC, i.symbol ASC, h.node ASC
LIMIT %(most)s::BIGINT;
