-- name: signal_counts
-- Signals by type and outcome, with how often they came again.
WITH counted AS (
    SELECT
        c.signal_type,
        c.processing_status,
        c.signals,
        0 AS duplicates
    FROM
        signal_totals,
        jsonb_to_recordset(signal_totals.counts) AS c (signal_type VARCHAR, processing_status VARCHAR, signals BIGINT)
    UNION ALL
    SELECT signal_type, processing_status, count(*), 0
    FROM signal_log
    WHERE id > (SELECT coalesce(max(signal_totals.up_to_id), 0) FROM signal_totals)
    GROUP BY signal_type, processing_status
    UNION ALL
    SELECT signal_type, processing_status, 0, sum(deliveries - 1)
    FROM signal_log
    WHERE is_duplicate
    GROUP BY signal_type, processing_status
)

SELECT signal_type, processing_status, sum(signals)::BIGINT AS signals, sum(duplicates)::BIGINT AS duplicates
FROM counted
GROUP BY signal_type, processing_status
ORDER BY signal_type, processing_status;

-- name: count_signals
-- Count on, at most so many signals, up to one that was decided a while before anybody who writes now began: whoever was given a
-- smaller id has committed by now, or never will; a commit that waits for a standby still writes. What waits to be decided is not counted yet. No row: there was nothing to count, or somebody else has just done so.
-- `more`: there may be more to count at once.
WITH counted AS (
    SELECT coalesce(max(up_to_id), 0) AS up_to_id, coalesce(max(counts::TEXT)::JSONB, '[]') AS counts
    FROM signal_totals
),

looked_at AS MATERIALIZED (
    SELECT signal_log.id, signal_log.signal_type, signal_log.processing_status, signal_log.processed_at
    FROM signal_log
    WHERE signal_log.id > (SELECT counted.up_to_id FROM counted)
    ORDER BY signal_log.id
    LIMIT %(limit)s
),

-- Of whom nothing else may be seen, nobody knows since when.
writing AS (
    SELECT min(coalesce(pg_stat_activity.xact_start, '-infinity')) AS since
    FROM pg_stat_activity
    WHERE pg_stat_activity.datname = current_database() AND pg_stat_activity.backend_xid IS NOT NULL
),

bound AS (
    SELECT
        count(*) = %(limit)s AS more,
        least(
            coalesce(
                max(id) FILTER (
                    WHERE processed_at < least(now(), (SELECT writing.since FROM writing)) - make_interval(secs => %(settled_seconds)s)
                ),
                0
            ),
            (SELECT min(signal_log.id) - 1 FROM signal_log WHERE signal_log.processing_status = 'received')
        ) AS up_to_id
    FROM looked_at
),

known AS (
    SELECT
        c.signal_type,
        c.processing_status,
        c.signals
    FROM
        counted,
        jsonb_to_recordset(counted.counts) AS c (signal_type VARCHAR, processing_status VARCHAR, signals BIGINT)
),

new AS (
    SELECT looked_at.signal_type, looked_at.processing_status, count(*) AS signals
    FROM looked_at, bound
    WHERE looked_at.id <= bound.up_to_id
    GROUP BY looked_at.signal_type, looked_at.processing_status
),

sums AS (
    SELECT
        coalesce(known.signal_type, new.signal_type) AS signal_type,
        coalesce(known.processing_status, new.processing_status) AS processing_status,
        coalesce(known.signals, 0) + coalesce(new.signals, 0) AS signals
    FROM known
    FULL JOIN new ON known.signal_type = new.signal_type AND known.processing_status = new.processing_status
)

INSERT INTO signal_totals (id, up_to_id, counts)
SELECT 1, bound.up_to_id, (SELECT coalesce(jsonb_agg(to_jsonb(sums)), '[]') FROM sums)
FROM bound, counted
WHERE bound.up_to_id > counted.up_to_id
ON CONFLICT (id) DO UPDATE
    SET up_to_id = excluded.up_to_id, counts = excluded.counts, counted_at = now()
    WHERE signal_totals.up_to_id = (SELECT counted.up_to_id FROM counted)
RETURNING up_to_id, (SELECT bound.more FROM bound) AS more;
