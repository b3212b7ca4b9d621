-- With TimescaleDB: position_pnl_history in chunks of 90 days, compressed after 60, a position's rows together. Without it nothing.
-- Idempotent: where the extension comes later, run this file by hand.

DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_extension WHERE extname = 'timescaledb') THEN
        RETURN;
    END IF;
    PERFORM create_hypertable(
        'book.position_pnl_history', 'snapshot_date',
        chunk_time_interval => INTERVAL '90 days', if_not_exists => TRUE, migrate_data => TRUE
    );
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
