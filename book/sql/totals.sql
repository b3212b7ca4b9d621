-- name: hold_totals
-- One reckons totals at a time, until its transaction ends. Nobody waits for it.
SELECT pg_try_advisory_xact_lock(hashtextextended('book.group_total', 0)) AS is_held;

-- name: for_totals
-- For the rest of the transaction: time for the first reckoning of years. Nobody waits for it.
SELECT set_config('statement_timeout', %(milliseconds)s::TEXT, TRUE);

-- name: take_changes
-- What was written becomes groups whose totals are stale from a day on.
WITH
taken AS (
    DELETE FROM book.total_change
    RETURNING portfolio_node_id, instrument_id, base_ccy, position_ids, from_day
),

touched AS (
    SELECT t.portfolio_node_id, t.instrument_id, t.base_ccy, t.from_day, FALSE AS has_late_marks
    FROM taken AS t
    WHERE t.position_ids IS NULL
    UNION ALL
    SELECT
        p.portfolio_node_id, p.instrument_id, p.base_ccy, t.from_day,
        coalesce(p.exit_timestamp < t.from_day::TIMESTAMP AT TIME ZONE 'UTC', FALSE) AS has_late_marks
    FROM taken AS t
    CROSS JOIN LATERAL unnest(t.position_ids) AS one (position_id)
    INNER JOIN book.portfolio_positions AS p ON one.position_id = p.id
),

stale AS (
    INSERT INTO book.position_group AS g (portfolio_node_id, instrument_id, base_ccy, stale_from, has_late_marks)
    SELECT t.portfolio_node_id, t.instrument_id, t.base_ccy, min(t.from_day), bool_or(t.has_late_marks)
    FROM touched AS t
    GROUP BY t.portfolio_node_id, t.instrument_id, t.base_ccy
    ON CONFLICT (portfolio_node_id, instrument_id, base_ccy)
    DO UPDATE
        SET
            stale_from = least(g.stale_from, excluded.stale_from), has_late_marks = g.has_late_marks OR excluded.has_late_marks
    RETURNING g.group_id
)

SELECT count(*) AS stale FROM stale;

-- name: stale_groups
-- So many groups whose totals are stale.
SELECT g.group_id
FROM book.position_group AS g
WHERE g.stale_from IS NOT NULL
ORDER BY g.group_id
LIMIT %(most)s::INTEGER;

-- name: forget_totals
-- The stale totals of these groups go.
WITH gone AS (
    DELETE FROM book.group_total AS t
    USING book.position_group AS g
    WHERE t.group_id = any(%(groups)s::BIGINT[]) AND g.group_id = t.group_id AND t.day >= g.stale_from
    RETURNING t.group_id
)

SELECT count(*) AS gone FROM gone;

-- name: reckon_totals
-- The totals of these groups from their first stale day on: of what was closed before by the last total before, which holds (no
-- position of which anything changed was entered before that day); of all others by their positions and marks alone.
WITH
asked AS MATERIALIZED (
    SELECT g.group_id, g.portfolio_node_id, g.instrument_id, g.base_ccy, g.stale_from, g.has_late_marks
    FROM book.position_group AS g
    WHERE g.group_id = any(%(groups)s::BIGINT[])
),

lives AS MATERIALIZED (
    SELECT
        g.group_id, p.id, p.direction, abs(p.notional_base) AS notional, p.realized_pnl_base AS realized_pnl, p.entry_dv01 AS dv01,
        p.entry_var_contribution AS var_contribution,
        greatest(g.stale_from, (p.entry_timestamp AT TIME ZONE 'UTC')::DATE) AS begins,
        coalesce((p.exit_timestamp AT TIME ZONE 'UTC')::DATE, DATE 'infinity') AS ends
    FROM asked AS g
    INNER JOIN book.portfolio_positions AS p
        ON g.portfolio_node_id = p.portfolio_node_id AND g.instrument_id = p.instrument_id AND g.base_ccy = p.base_ccy
    WHERE p.exit_timestamp IS NULL OR p.exit_timestamp >= g.stale_from::TIMESTAMP AT TIME ZONE 'UTC'
),

marks AS MATERIALIZED (
    SELECT
        l.group_id, l.id, h.snapshot_date AS day, l.direction, l.begins, l.ends, abs(h.notional_base) AS notional,
        h.realized_pnl_base AS realized_pnl, h.unrealized_pnl_base AS unrealized_pnl, h.daily_pnl_base AS day_pnl,
        coalesce(h.dv01, l.dv01) AS dv01, coalesce(h.var_contribution, l.var_contribution) AS var_contribution
    FROM lives AS l
    INNER JOIN book.position_pnl_history AS h ON l.id = h.position_id
    WHERE h.snapshot_date >= l.begins
),

-- Marks of after a position was closed count on their day alone: where there are any, all that is closed is looked at.
late_marks AS (
    SELECT g.group_id, h.snapshot_date AS day, h.daily_pnl_base AS day_pnl
    FROM asked AS g
    INNER JOIN book.portfolio_positions AS p
        ON g.portfolio_node_id = p.portfolio_node_id AND g.instrument_id = p.instrument_id AND g.base_ccy = p.base_ccy
    INNER JOIN book.position_pnl_history AS h ON p.id = h.position_id
    WHERE
        g.has_late_marks
        AND p.exit_timestamp < g.stale_from::TIMESTAMP AT TIME ZONE 'UTC'
        AND h.snapshot_date >= g.stale_from
),

late_from_now_on AS (
    UPDATE book.position_group AS g SET has_late_marks = TRUE
    WHERE
        NOT g.has_late_marks
        AND g.group_id = any(array(SELECT m.group_id FROM marks AS m WHERE m.day > m.ends))
    RETURNING g.group_id
),

-- What a position counts for from a day on, until its next row here.
states AS (
    -- As it begins, if it is open then: at its mark of that day, else at the last one before, else at its entry.
    SELECT
        l.group_id, l.id, l.begins AS day, 1 AS positions, (m.id IS NULL AND e.position_id IS NULL)::INTEGER AS unmarked, l.direction,
        coalesce(m.notional, e.notional, l.notional) AS notional, coalesce(m.realized_pnl, e.realized_pnl, l.realized_pnl) AS realized_pnl,
        0 AS closed_pnl, coalesce(m.unrealized_pnl, e.unrealized_pnl, 0) AS unrealized_pnl, coalesce(m.dv01, e.dv01, l.dv01) AS dv01,
        coalesce(m.var_contribution, e.var_contribution, l.var_contribution) AS var_contribution
    FROM lives AS l
    LEFT JOIN marks AS m ON l.id = m.id AND l.begins = m.day
    LEFT JOIN LATERAL (
        SELECT
            h.position_id, abs(h.notional_base) AS notional, h.realized_pnl_base AS realized_pnl,
            h.unrealized_pnl_base AS unrealized_pnl, h.dv01, h.var_contribution
        FROM book.position_pnl_history AS h
        WHERE h.position_id = l.id AND h.snapshot_date < l.begins AND m.id IS NULL
        ORDER BY h.snapshot_date DESC
        LIMIT 1
    ) AS e ON TRUE
    WHERE l.begins < l.ends
    UNION ALL
    -- At each mark after that, while it is open.
    SELECT
        m.group_id, m.id, m.day, 1, 0, m.direction, m.notional, m.realized_pnl, 0, m.unrealized_pnl, m.dv01, m.var_contribution
    FROM marks AS m
    WHERE m.day > m.begins AND m.day < m.ends
    UNION ALL
    -- Closed: what it has earned stays.
    SELECT l.group_id, l.id, l.ends, 0, 0, l.direction, 0, l.realized_pnl, l.realized_pnl AS closed_pnl, 0, NULL, NULL
    FROM lives AS l
    WHERE l.ends < DATE 'infinity'
),

steps AS (
    SELECT
        s.group_id, s.day, s.direction,
        (lag(s.id) OVER w IS NULL)::INTEGER AS entered,
        s.positions - coalesce(lag(s.positions) OVER w, 0) AS positions,
        s.unmarked - coalesce(lag(s.unmarked) OVER w, 0) AS unmarked,
        s.notional - coalesce(lag(s.notional) OVER w, 0) AS notional,
        s.realized_pnl - coalesce(lag(s.realized_pnl) OVER w, 0) AS realized_pnl,
        s.closed_pnl - coalesce(lag(s.closed_pnl) OVER w, 0) AS closed_pnl,
        s.unrealized_pnl - coalesce(lag(s.unrealized_pnl) OVER w, 0) AS unrealized_pnl,
        coalesce(s.dv01, 0) - coalesce(lag(s.dv01) OVER w, 0) AS dv01,
        (s.dv01 IS NOT NULL)::INTEGER - (lag(s.dv01) OVER w IS NOT NULL)::INTEGER AS with_dv01,
        coalesce(s.var_contribution, 0) - coalesce(lag(s.var_contribution) OVER w, 0) AS var_contribution,
        (s.var_contribution IS NOT NULL)::INTEGER - (lag(s.var_contribution) OVER w IS NOT NULL)::INTEGER AS with_var_contribution
    FROM states AS s
    WINDOW w AS (PARTITION BY s.id ORDER BY s.day)
),

changes AS (
    SELECT
        s.group_id, s.day, sum(s.entered) AS entered, sum(s.positions) AS positions, sum(s.unmarked) AS unmarked,
        coalesce(sum(s.notional) FILTER (WHERE s.direction = 'LONG'), 0) AS longs,
        coalesce(sum(s.notional) FILTER (WHERE s.direction = 'SHORT'), 0) AS shorts,
        NULL::NUMERIC AS day_pnl, sum(s.realized_pnl) AS realized_pnl, sum(s.closed_pnl) AS closed_pnl,
        sum(s.unrealized_pnl) AS unrealized_pnl,
        sum(s.dv01) AS dv01, sum(s.with_dv01) AS with_dv01, sum(s.var_contribution) AS var_contribution,
        sum(s.with_var_contribution) AS with_var_contribution
    FROM steps AS s
    GROUP BY s.group_id, s.day
    UNION ALL
    -- Of what was closed that day, too.
    SELECT m.group_id, m.day, 0, 0, 0, 0, 0, sum(m.day_pnl), 0, 0, 0, 0, 0, 0, 0
    FROM marks AS m
    GROUP BY m.group_id, m.day
    UNION ALL
    SELECT m.group_id, m.day, 0, 0, 0, 0, 0, sum(m.day_pnl), 0, 0, 0, 0, 0, 0, 0
    FROM late_marks AS m
    GROUP BY m.group_id, m.day
    UNION ALL
    -- What was closed before. A group of which nothing is left holds nothing from that day on.
    SELECT
        g.group_id, g.stale_from, coalesce(b.entered - b.positions, 0), 0, 0, 0, 0, NULL, coalesce(b.closed_pnl, 0),
        coalesce(b.closed_pnl, 0), 0, 0, 0, 0, 0
    FROM asked AS g
    LEFT JOIN LATERAL (
        SELECT t.*
        FROM book.group_total AS t
        WHERE t.group_id = g.group_id AND t.day < g.stale_from
        ORDER BY t.day DESC
        LIMIT 1
    ) AS b ON TRUE
),

days AS (
    SELECT
        c.group_id, c.day, sum(c.entered) AS entered, sum(c.positions) AS positions, sum(c.unmarked) AS unmarked,
        sum(c.longs) AS longs, sum(c.shorts) AS shorts, sum(c.day_pnl) AS day_pnl, sum(c.realized_pnl) AS realized_pnl,
        sum(c.closed_pnl) AS closed_pnl, sum(c.unrealized_pnl) AS unrealized_pnl, sum(c.dv01) AS dv01, sum(c.with_dv01) AS with_dv01,
        sum(c.var_contribution) AS var_contribution, sum(c.with_var_contribution) AS with_var_contribution
    FROM changes AS c
    GROUP BY c.group_id, c.day
),

reckoned AS (
    INSERT INTO book.group_total (
        group_id, day, entered, positions, unmarked, longs, shorts, day_pnl, realized_pnl, closed_pnl, unrealized_pnl, dv01,
        var_contribution
    )
    SELECT
        d.group_id, d.day, sum(d.entered) OVER w, sum(d.positions) OVER w, sum(d.unmarked) OVER w, sum(d.longs) OVER w,
        sum(d.shorts) OVER w, d.day_pnl, sum(d.realized_pnl) OVER w, sum(d.closed_pnl) OVER w, sum(d.unrealized_pnl) OVER w,
        CASE WHEN sum(d.with_dv01) OVER w > 0 THEN sum(d.dv01) OVER w END,
        CASE WHEN sum(d.with_var_contribution) OVER w > 0 THEN sum(d.var_contribution) OVER w END
    FROM days AS d
    WINDOW w AS (PARTITION BY d.group_id ORDER BY d.day)
    RETURNING group_id
)

SELECT count(*) AS reckoned FROM reckoned;

-- name: totals_are_fresh
-- What these groups' totals are is what their positions come to.
WITH fresh AS (
    UPDATE book.position_group SET stale_from = NULL WHERE group_id = any(%(groups)s::BIGINT[]) RETURNING group_id
)

SELECT count(*) AS fresh FROM fresh;
