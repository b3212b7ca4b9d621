-- With TimescaleDB: position_pnl_history in chunks of 90 days, compressed after 60, a position's rows together. Without it nothing.
-- Idempotent: where the extension comes later, run this file by hand.

DO $$
DECLARE
    -- Triggers that see all rows of a statement (of b010) keep a table from becoming a hypertable; on one they may be.
    noting TEXT[];
    one RECORD;
    definition TEXT;
BEGIN
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_extension WHERE extname = 'timescaledb') THEN
        RETURN;
    END IF;
    FOR one IN
        SELECT t.tgname AS name, pg_get_triggerdef(t.oid) AS definition
        FROM pg_catalog.pg_trigger AS t
        WHERE t.tgrelid = 'book.position_pnl_history'::REGCLASS AND coalesce(t.tgoldtable, t.tgnewtable) IS NOT NULL
    LOOP
        noting := noting || one.definition;
        EXECUTE format('DROP TRIGGER %I ON book.position_pnl_history', one.name);
    END LOOP;
    PERFORM create_hypertable(
        'book.position_pnl_history', 'snapshot_date',
        chunk_time_interval => INTERVAL '90 days', if_not_exists => TRUE, migrate_data => TRUE
    );
    FOREACH definition IN ARRAY coalesce(noting, '{}')
    LOOP
        EXECUTE definition;
    END LOOP;
    IF NOT EXISTS (
        SELECT FROM timescaledb_information.hypertables
        WHERE hypertable_schema = 'book' AND hypertable_name = 'position_pnl_history' AND compression_enabled
    ) THEN
        -- Once: what is compressed already was compressed so, and cannot be told otherwise.
        ALTER TABLE book.position_pnl_history SET (
            timescaledb.compress,
            timescaledb.compress_segmentby = 'position_id',
            timescaledb.compress_orderby = 'snapshot_date DESC'
        );
    END IF;
    PERFORM add_compression_policy('book.position_pnl_history', INTERVAL '60 days', if_not_exists => TRUE);
END
$$;
