-- name: roll_up
-- A node with all below it, or all there is, at the end of a day in one currency: by `node`, `instrument`, `sector` or `currency`.
-- `marked_on` is the newest day of marks up to it. Rounded once, for each node, instrument and currency: so whatever is added up adds up, whichever way.
WITH RECURSIVE
nodes AS (
    SELECT v.portfolio_node_id, v.name, v.node_type, v.parent_id, v.base_ccy
    FROM book.portfolio_node_version AS v
    WHERE
        (v.valid_from IS NULL OR v.valid_from < (%(day)s::DATE + 1)::TIMESTAMP AT TIME ZONE 'UTC')
        AND (v.valid_to IS NULL OR v.valid_to >= (%(day)s::DATE + 1)::TIMESTAMP AT TIME ZONE 'UTC')
),

branch AS (
    SELECT n.portfolio_node_id, ARRAY[n.portfolio_node_id] AS path
    FROM nodes AS n
    WHERE CASE WHEN %(node)s::BIGINT IS NULL THEN n.parent_id IS NULL ELSE n.portfolio_node_id = %(node)s::BIGINT END
    UNION ALL
    SELECT n.portfolio_node_id, b.path || n.portfolio_node_id
    FROM branch AS b
    INNER JOIN nodes AS n ON b.portfolio_node_id = n.parent_id
),

-- Groups of positions whose kept totals are of before something was written, or of which none are kept.
stale AS MATERIALIZED (
    SELECT g.portfolio_node_id, g.instrument_id, g.base_ccy
    FROM book.position_group AS g
    WHERE g.stale_from <= %(day)s::DATE
    UNION
    SELECT c.portfolio_node_id, c.instrument_id, c.base_ccy
    FROM book.total_change AS c
    WHERE c.from_day <= %(day)s::DATE AND c.position_ids IS NULL
    UNION
    SELECT p.portfolio_node_id, p.instrument_id, p.base_ccy
    FROM book.total_change AS c
    CROSS JOIN LATERAL unnest(c.position_ids) AS one (position_id)
    INNER JOIN book.portfolio_positions AS p ON one.position_id = p.id
    WHERE c.from_day <= %(day)s::DATE
),

kept AS (
    SELECT
        g.portfolio_node_id, g.instrument_id, g.base_ccy, t.positions, t.unmarked, t.longs, t.shorts,
        CASE WHEN t.day = %(day)s::DATE THEN t.day_pnl END AS day_pnl, t.realized_pnl, t.unrealized_pnl, t.dv01, t.var_contribution
    FROM book.position_group AS g
    -- A group that all positions have left is none.
    INNER JOIN LATERAL (
        SELECT o.*
        FROM book.group_total AS o
        WHERE o.group_id = g.group_id AND o.day <= %(day)s::DATE
        ORDER BY o.day DESC
        LIMIT 1
    ) AS t ON t.entered > 0
    WHERE
        (%(node)s::BIGINT IS NULL OR g.portfolio_node_id = any(array(SELECT b.portfolio_node_id FROM branch AS b)))
        AND NOT %(anew)s::BOOLEAN
        AND NOT EXISTS (
            SELECT FROM stale AS s
            WHERE s.portfolio_node_id = g.portfolio_node_id AND s.instrument_id = g.instrument_id AND s.base_ccy = g.base_ccy
        )
),

-- Their positions; `anew`: all there are.
reckoned AS (
    SELECT p.*
    FROM stale AS s
    INNER JOIN book.portfolio_positions AS p
        ON s.portfolio_node_id = p.portfolio_node_id AND s.instrument_id = p.instrument_id AND s.base_ccy = p.base_ccy
    WHERE NOT %(anew)s::BOOLEAN
    UNION ALL
    SELECT p.*
    FROM book.portfolio_positions AS p
    WHERE %(anew)s::BOOLEAN
),

-- At their mark of that day, else at the last one before, else as they began.
marked AS (
    SELECT
        p.portfolio_node_id, p.instrument_id, p.base_ccy, p.direction,
        p.exit_timestamp IS NULL OR p.exit_timestamp >= (%(day)s::DATE + 1)::TIMESTAMP AT TIME ZONE 'UTC' AS is_open,
        h.position_id IS NOT NULL OR e.position_id IS NOT NULL AS is_marked,
        abs(coalesce(h.notional_base, e.notional_base, p.notional_base)) AS notional,
        CASE WHEN h.snapshot_date = %(day)s::DATE THEN h.daily_pnl_base END AS day_pnl,
        CASE
            WHEN p.exit_timestamp < (%(day)s::DATE + 1)::TIMESTAMP AT TIME ZONE 'UTC' THEN p.realized_pnl_base
            ELSE coalesce(h.realized_pnl_base, e.realized_pnl_base, p.realized_pnl_base)
        END AS realized_pnl,
        coalesce(h.unrealized_pnl_base, e.unrealized_pnl_base) AS unrealized_pnl,
        coalesce(h.dv01, e.dv01, p.entry_dv01) AS dv01,
        coalesce(h.var_contribution, e.var_contribution, p.entry_var_contribution) AS var_contribution
    FROM reckoned AS p
    LEFT JOIN book.position_pnl_history AS h
        ON p.id = h.position_id AND h.snapshot_date = %(marked_on)s::DATE
    LEFT JOIN LATERAL (
        SELECT o.*
        FROM book.position_pnl_history AS o
        WHERE
            o.position_id = p.id
            AND o.snapshot_date < %(marked_on)s::DATE
            AND h.position_id IS NULL
            AND (p.exit_timestamp IS NULL OR p.exit_timestamp >= (%(day)s::DATE + 1)::TIMESTAMP AT TIME ZONE 'UTC')
        ORDER BY o.snapshot_date DESC
        LIMIT 1
    ) AS e ON TRUE
    WHERE
        p.entry_timestamp < (%(day)s::DATE + 1)::TIMESTAMP AT TIME ZONE 'UTC'
        AND (%(node)s::BIGINT IS NULL OR p.portfolio_node_id = any(array(SELECT b.portfolio_node_id FROM branch AS b)))
),

held AS (
    SELECT
        portfolio_node_id, instrument_id, base_ccy, positions, unmarked, 0 AS unvalued, longs, shorts, day_pnl, realized_pnl,
        unrealized_pnl, dv01, var_contribution
    FROM kept
    UNION ALL
    SELECT
        portfolio_node_id, instrument_id, base_ccy,
        count(*) FILTER (WHERE is_open) AS positions,
        count(*) FILTER (WHERE is_open AND NOT is_marked) AS unmarked,
        0 AS unvalued,
        sum(notional) FILTER (WHERE is_open AND direction = 'LONG') AS longs,
        sum(notional) FILTER (WHERE is_open AND direction = 'SHORT') AS shorts,
        sum(day_pnl) AS day_pnl,
        sum(realized_pnl) AS realized_pnl,
        sum(unrealized_pnl) FILTER (WHERE is_open) AS unrealized_pnl,
        sum(dv01) FILTER (WHERE is_open) AS dv01,
        sum(var_contribution) FILTER (WHERE is_open) AS var_contribution
    FROM marked
    GROUP BY portfolio_node_id, instrument_id, base_ccy
    UNION ALL
    -- Holdings that were uploaded, at what they cost: no file marks them.
    SELECT
        p.portfolio_node_id, p.instrument_id, p.base_ccy,
        count(*), count(*), count(*) FILTER (WHERE p.average_price IS NULL),
        sum(p.quantity * p.average_price) FILTER (WHERE p.quantity > 0),
        sum(-p.quantity * p.average_price) FILTER (WHERE p.quantity < 0),
        NULL, NULL, NULL, NULL, NULL
    FROM book.position AS p
    WHERE
        p.created_at < (%(day)s::DATE + 1)::TIMESTAMP AT TIME ZONE 'UTC'
        AND (p.status = 'ACTIVE' OR (p.status = 'CLOSED' AND p.updated_at >= (%(day)s::DATE + 1)::TIMESTAMP AT TIME ZONE 'UTC'))
        AND (%(node)s::BIGINT IS NULL OR p.portfolio_node_id = any(array(SELECT b.portfolio_node_id FROM branch AS b)))
    GROUP BY p.portfolio_node_id, p.instrument_id, p.base_ccy
),

rates AS MATERIALIZED (
    SELECT c.base_ccy, book.fx_rate(c.base_ccy, %(currency)s::TEXT, %(day)s::DATE) AS rate
    FROM (SELECT DISTINCT h.base_ccy FROM held AS h) AS c
),

converted AS (
    SELECT
        h.portfolio_node_id,
        CASE %(dimension)s::TEXT
            WHEN 'instrument' THEN i.symbol
            WHEN 'sector' THEN coalesce(s.name, '')
            WHEN 'currency' THEN h.base_ccy
        END AS key,
        sum(h.positions) AS positions,
        sum(h.unmarked) AS unmarked,
        sum(h.unvalued) AS unvalued,
        sum(round(h.longs * r.rate, 4)) AS longs,
        sum(round(h.shorts * r.rate, 4)) AS shorts,
        sum(round(h.day_pnl * r.rate, 4)) AS day_pnl,
        sum(round(h.realized_pnl * r.rate, 4)) AS realized_pnl,
        sum(round(h.unrealized_pnl * r.rate, 4)) AS unrealized_pnl,
        sum(round(h.dv01 * r.rate, 4)) AS dv01,
        sum(round(h.var_contribution * r.rate, 4)) AS var_contribution
    FROM held AS h
    INNER JOIN rates AS r ON h.base_ccy = r.base_ccy
    INNER JOIN book.instrument AS i ON h.instrument_id = i.instrument_id
    LEFT JOIN book.reference_data AS s ON i.sector_id = s.entity_id
    GROUP BY h.portfolio_node_id, key
),

rolled AS (
    SELECT
        k.key,
        coalesce(sum(c.positions), 0)::BIGINT AS positions,
        coalesce(sum(c.unmarked), 0)::BIGINT AS unmarked,
        coalesce(sum(c.unvalued), 0)::BIGINT AS unvalued,
        coalesce(sum(c.longs), 0) AS longs,
        coalesce(sum(c.shorts), 0) AS shorts,
        sum(c.day_pnl) AS day_pnl,
        coalesce(sum(c.realized_pnl), 0) AS realized_pnl,
        coalesce(sum(c.unrealized_pnl), 0) AS unrealized_pnl,
        sum(c.dv01) AS dv01,
        sum(c.var_contribution) AS var_contribution
    FROM branch AS b
    LEFT JOIN converted AS c ON b.portfolio_node_id = c.portfolio_node_id
    -- A node's figures are its own and those of every node above it.
    CROSS JOIN LATERAL unnest(CASE %(dimension)s::TEXT WHEN 'node' THEN b.path::TEXT[] ELSE ARRAY[c.key] END) AS k (key)
    WHERE %(dimension)s::TEXT = 'node' OR c.portfolio_node_id IS NOT NULL
    GROUP BY k.key
)

SELECT
    r.key, r.positions, r.unmarked, r.unvalued, r.longs + r.shorts AS gross, r.longs - r.shorts AS net, r.day_pnl, r.realized_pnl,
    r.unrealized_pnl, r.dv01, r.var_contribution, n.portfolio_node_id, n.name, n.node_type, n.parent_id, n.base_ccy
FROM rolled AS r
LEFT JOIN nodes AS n ON %(dimension)s::TEXT = 'node' AND r.key = n.portfolio_node_id::TEXT
ORDER BY r.key;

-- name: marked_on
-- The newest day up to this one of which there are marks.
SELECT max(h.snapshot_date) AS marked_on
FROM book.position_pnl_history AS h
WHERE h.snapshot_date <= %(day)s::DATE;

-- name: for_a_roll_up
-- For the rest of the transaction: room to add up in, and help where a million rows are read. Compiling takes longer than it saves.
SELECT
    set_config('work_mem', '256MB', TRUE),
    set_config('max_parallel_workers_per_gather', '2', TRUE),
    set_config('jit', 'off', TRUE);

-- name: much_is_stale
-- Whether it is quicker to read all positions than those whose groups are stale.
SELECT
    (SELECT 3 * count(*) FROM book.position_group AS g WHERE g.stale_from <= %(day)s::DATE)
    > (SELECT count(*) FROM book.position_group)
    OR (SELECT 3 * sum(cardinality(c.position_ids)) FROM book.total_change AS c WHERE c.from_day <= %(day)s::DATE)
    > (SELECT p.reltuples FROM pg_catalog.pg_class AS p WHERE p.oid = 'book.portfolio_positions'::REGCLASS)
    OR (SELECT count(*) FROM book.total_change AS c WHERE c.position_ids IS NULL AND c.from_day <= %(day)s::DATE)
    > (SELECT count(*) FROM book.position_group) AS much_is_stale;
