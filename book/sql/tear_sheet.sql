-- name: daily_pnl_of_branch
-- What a node and all below it earned on each day of which there are marks, in one currency by that day's rates; how many positions had one.
WITH RECURSIVE
branch AS (
    SELECT n.portfolio_node_id
    FROM book.portfolio_node AS n
    WHERE n.portfolio_node_id = %(node)s::BIGINT
    UNION ALL
    SELECT n.portfolio_node_id
    FROM branch AS b
    INNER JOIN book.portfolio_node AS n ON b.portfolio_node_id = n.parent_id
),

days AS (
    SELECT h.snapshot_date, p.base_ccy, sum(h.daily_pnl_base) AS pnl, count(*) AS positions
    FROM branch AS b
    INNER JOIN book.portfolio_positions AS p ON b.portfolio_node_id = p.portfolio_node_id
    INNER JOIN book.position_pnl_history AS h ON p.id = h.position_id
    WHERE %(ends)s::DATE IS NULL OR h.snapshot_date <= %(ends)s::DATE
    GROUP BY h.snapshot_date, p.base_ccy
)

SELECT
    d.snapshot_date AS day,
    sum(round(d.pnl * book.fx_rate(d.base_ccy, %(currency)s::TEXT, d.snapshot_date), 4)) AS pnl,
    sum(d.positions)::BIGINT AS positions
FROM days AS d
GROUP BY d.snapshot_date
ORDER BY d.snapshot_date;

-- name: portfolios_of_branch
-- The portfolios of the engine that hang on a node or below it, and the currency of the node that each hangs on.
WITH RECURSIVE
branch AS (
    SELECT n.portfolio_node_id, n.base_ccy
    FROM book.portfolio_node AS n
    WHERE n.portfolio_node_id = %(node)s::BIGINT
    UNION ALL
    SELECT n.portfolio_node_id, n.base_ccy
    FROM branch AS b
    INNER JOIN book.portfolio_node AS n ON b.portfolio_node_id = n.parent_id
)

SELECT l.portfolio, b.base_ccy
FROM branch AS b
INNER JOIN book.live_portfolio AS l ON b.portfolio_node_id = l.portfolio_node_id
ORDER BY l.portfolio;

-- name: capital_of_portfolio
-- What a portfolio began with, and what was paid in and out since, in the order of its journal.
SELECT
    (j.decided_at AT TIME ZONE 'UTC')::DATE AS day,
    coalesce(e.event ->> 'initial_capital', e.event ->> 'amount')::NUMERIC AS amount
FROM book.journal_entries(%(portfolio)s::TEXT) AS j
CROSS JOIN LATERAL jsonb_array_elements(j.events) AS e (event)
WHERE e.event ->> 'event' IN ('portfolio_started', 'capital_moved')
ORDER BY j.seq;

-- name: exchanges_of_branch
-- The exchanges that positions of a node and all below it are traded on.
WITH RECURSIVE
branch AS (
    SELECT n.portfolio_node_id
    FROM book.portfolio_node AS n
    WHERE n.portfolio_node_id = %(node)s::BIGINT
    UNION ALL
    SELECT n.portfolio_node_id
    FROM branch AS b
    INNER JOIN book.portfolio_node AS n ON b.portfolio_node_id = n.parent_id
)

SELECT DISTINCT i.exchange
FROM branch AS b
INNER JOIN book.portfolio_positions AS p ON b.portfolio_node_id = p.portfolio_node_id
INNER JOIN book.instrument AS i ON p.instrument_id = i.instrument_id
WHERE i.exchange IS NOT NULL
ORDER BY i.exchange;
