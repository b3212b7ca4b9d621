-- name: daily_pnl
-- P&L of each trading day from one on to another, in one currency: of a node with all below it as it hangs on the last day, or of a portfolio.
-- Rounded as the roll-up rounds, once for each node, instrument and currency of a day: so a day is what the tree says of it.
WITH RECURSIVE
nodes AS (
    SELECT v.portfolio_node_id, v.parent_id
    FROM book.portfolio_node_version AS v
    WHERE
        (v.valid_from IS NULL OR v.valid_from < (%(to_day)s::DATE + 1)::TIMESTAMP AT TIME ZONE 'UTC')
        AND (v.valid_to IS NULL OR v.valid_to >= (%(to_day)s::DATE + 1)::TIMESTAMP AT TIME ZONE 'UTC')
),

branch AS (
    SELECT n.portfolio_node_id
    FROM nodes AS n
    WHERE n.portfolio_node_id = %(node)s::BIGINT
    UNION ALL
    SELECT n.portfolio_node_id
    FROM branch AS b
    INNER JOIN nodes AS n ON b.portfolio_node_id = n.parent_id
),

cells AS MATERIALIZED (
    SELECT h.snapshot_date, p.portfolio_node_id, p.instrument_id, p.base_ccy, count(*) AS positions, sum(h.daily_pnl_base) AS pnl
    FROM book.position_pnl_history AS h
    INNER JOIN book.portfolio_positions AS p ON h.position_id = p.id
    WHERE
        h.snapshot_date BETWEEN %(from_day)s::DATE AND %(to_day)s::DATE
        AND (%(portfolio)s::TEXT IS NULL OR p.portfolio = %(portfolio)s::TEXT)
        AND (%(node)s::BIGINT IS NULL OR p.portfolio_node_id = any(array(SELECT b.portfolio_node_id FROM branch AS b)))
    GROUP BY h.snapshot_date, p.portfolio_node_id, p.instrument_id, p.base_ccy
),

rates AS MATERIALIZED (
    SELECT c.snapshot_date, c.base_ccy, book.fx_rate(c.base_ccy, %(currency)s::TEXT, c.snapshot_date) AS rate
    FROM (SELECT DISTINCT cells.snapshot_date, cells.base_ccy FROM cells) AS c
)

SELECT c.snapshot_date AS day, sum(c.positions)::BIGINT AS positions, sum(round(c.pnl * r.rate, 4)) AS pnl
FROM cells AS c
INNER JOIN rates AS r ON c.snapshot_date = r.snapshot_date AND c.base_ccy = r.base_ccy
GROUP BY c.snapshot_date
ORDER BY c.snapshot_date;

-- name: attributed_pnl
-- The P&L of the days behind one up to another, in one currency, by `instrument`, `strategy` (by its weight), `layer` or `node` (a child's).
-- Of a cell that the calendar rounds once, parts are the differences of its rounded running sum: by whatever is asked, all add up to it.
WITH RECURSIVE
nodes AS (
    SELECT v.portfolio_node_id, v.name, v.parent_id
    FROM book.portfolio_node_version AS v
    WHERE
        (v.valid_from IS NULL OR v.valid_from < (%(to_day)s::DATE + 1)::TIMESTAMP AT TIME ZONE 'UTC')
        AND (v.valid_to IS NULL OR v.valid_to >= (%(to_day)s::DATE + 1)::TIMESTAMP AT TIME ZONE 'UTC')
),

-- `child` is the node that is asked about, or the one below it on the way; of all there is, the root.
branch AS (
    SELECT n.portfolio_node_id, n.portfolio_node_id AS child
    FROM nodes AS n
    WHERE CASE WHEN %(node)s::BIGINT IS NULL THEN n.parent_id IS NULL ELSE n.portfolio_node_id = %(node)s::BIGINT END
    UNION ALL
    SELECT n.portfolio_node_id, CASE WHEN b.portfolio_node_id = %(node)s::BIGINT THEN n.portfolio_node_id ELSE b.child END
    FROM branch AS b
    INNER JOIN nodes AS n ON b.portfolio_node_id = n.parent_id
),

-- As the calendar's, with what a position is told apart by: so that a year of many positions is read once, and by several processes.
cells AS MATERIALIZED (
    SELECT
        h.snapshot_date, p.portfolio_node_id, p.instrument_id, p.base_ccy,
        CASE %(dimension)s::TEXT
            WHEN 'layer' THEN coalesce(split_part(p.engine_position_id, '-', 2), '')
            WHEN 'strategy' THEN p.strategy_weights::TEXT
        END AS own,
        sum(h.daily_pnl_base) AS pnl
    FROM book.position_pnl_history AS h
    INNER JOIN book.portfolio_positions AS p ON h.position_id = p.id
    WHERE
        h.snapshot_date > %(from_day)s::DATE
        AND h.snapshot_date <= %(to_day)s::DATE
        AND (%(portfolio)s::TEXT IS NULL OR p.portfolio = %(portfolio)s::TEXT)
        AND (%(node)s::BIGINT IS NULL OR p.portfolio_node_id = any(array(SELECT b.portfolio_node_id FROM branch AS b)))
    GROUP BY h.snapshot_date, p.portfolio_node_id, p.instrument_id, p.base_ccy, own
),

parts AS (
    SELECT
        c.snapshot_date, c.portfolio_node_id, c.instrument_id, c.base_ccy,
        CASE %(dimension)s::TEXT
            WHEN 'instrument' THEN i.symbol::TEXT
            WHEN 'node' THEN b.child::TEXT
            WHEN 'layer' THEN c.own
            WHEN 'strategy' THEN coalesce(w.strategy, '')
        END AS key,
        c.pnl * coalesce(w.weight::NUMERIC, 1) AS pnl
    FROM cells AS c
    INNER JOIN book.instrument AS i ON c.instrument_id = i.instrument_id
    INNER JOIN branch AS b ON c.portfolio_node_id = b.portfolio_node_id
    LEFT JOIN LATERAL jsonb_each_text(
        CASE WHEN %(dimension)s::TEXT = 'strategy' THEN c.own::JSONB END
    ) AS w (strategy, weight) ON TRUE
),

rates AS MATERIALIZED (
    SELECT c.snapshot_date, c.base_ccy, book.fx_rate(c.base_ccy, %(currency)s::TEXT, c.snapshot_date) AS rate
    FROM (SELECT DISTINCT cells.snapshot_date, cells.base_ccy FROM cells) AS c
),

running AS (
    SELECT
        p.key, p.pnl, r.rate,
        sum(p.pnl) OVER (
            PARTITION BY p.snapshot_date, p.portfolio_node_id, p.instrument_id, p.base_ccy
            ORDER BY p.key
            ROWS UNBOUNDED PRECEDING
        ) AS so_far
    FROM parts AS p
    INNER JOIN rates AS r ON p.snapshot_date = r.snapshot_date AND p.base_ccy = r.base_ccy
)

SELECT
    r.key,
    coalesce(n.name::TEXT, r.key) AS name,
    sum(round(r.so_far * r.rate, 4) - round((r.so_far - r.pnl) * r.rate, 4)) AS pnl
FROM running AS r
LEFT JOIN nodes AS n ON %(dimension)s::TEXT = 'node' AND r.key = n.portfolio_node_id::TEXT
GROUP BY r.key, n.name
ORDER BY r.key;

-- name: earned_until
-- What the positions of a node with all below it, or of a portfolio, have earned by their last marks up to a day; by their currencies.
WITH RECURSIVE
nodes AS (
    SELECT v.portfolio_node_id, v.parent_id
    FROM book.portfolio_node_version AS v
    WHERE
        (v.valid_from IS NULL OR v.valid_from < (%(tree_day)s::DATE + 1)::TIMESTAMP AT TIME ZONE 'UTC')
        AND (v.valid_to IS NULL OR v.valid_to >= (%(tree_day)s::DATE + 1)::TIMESTAMP AT TIME ZONE 'UTC')
),

branch AS (
    SELECT n.portfolio_node_id
    FROM nodes AS n
    WHERE n.portfolio_node_id = %(node)s::BIGINT
    UNION ALL
    SELECT n.portfolio_node_id
    FROM branch AS b
    INNER JOIN nodes AS n ON b.portfolio_node_id = n.parent_id
)

SELECT p.base_ccy, sum(e.earned) AS earned
FROM book.portfolio_positions AS p
CROSS JOIN
    LATERAL (
        SELECT h.unrealized_pnl_base + h.realized_pnl_base AS earned
        FROM book.position_pnl_history AS h
        WHERE h.position_id = p.id AND h.snapshot_date <= %(day)s::DATE
        ORDER BY h.snapshot_date DESC
        LIMIT 1
    ) AS e
WHERE
    (%(portfolio)s::TEXT IS NULL OR p.portfolio = %(portfolio)s::TEXT)
    AND (%(node)s::BIGINT IS NULL OR p.portfolio_node_id = any(array(SELECT b.portfolio_node_id FROM branch AS b)))
GROUP BY p.base_ccy
ORDER BY p.base_ccy;

-- name: last_days_of_marks
-- The newest day up to one of which there are marks, and the newest before that.
SELECT
    l.day AS newest,
    (SELECT max(h.snapshot_date) FROM book.position_pnl_history AS h WHERE h.snapshot_date < l.day) AS before
FROM (SELECT max(h.snapshot_date) AS day FROM book.position_pnl_history AS h WHERE h.snapshot_date <= %(day)s::DATE) AS l;
