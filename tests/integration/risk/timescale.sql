DO $$
DECLARE
    told RECORD;
BEGIN
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_extension WHERE extname = 'timescaledb') THEN
        RETURN;
    END IF;
    FOR told IN
        SELECT * FROM (VALUES
            ('market_data', 'timestamp', 'instrument_id', INTERVAL '30 days', INTERVAL '30 days'),
            ('macro_series', 'observation_date', 'series_id', INTERVAL '365 days', INTERVAL '90 days'),
            ('curve_data', 'curve_date', 'curve_id', INTERVAL '90 days', INTERVAL '90 days'),
            ('flow_data', 'observation_date', 'series_id', INTERVAL '365 days', INTERVAL '90 days'),
            ('fiscal_data', 'observation_date', 'series_id', INTERVAL '365 days', INTERVAL '180 days'),
            ('vol_surface', 'surface_date', 'instrument_id', INTERVAL '90 days', INTERVAL '90 days'),
            ('signal', 'signal_date', 'signal_name', INTERVAL '30 days', INTERVAL '90 days')
        ) AS settings (name, time_column, segment_by, chunk, compress_after)
    LOOP
        PERFORM create_hypertable(
            format('risk.%I', told.name)::REGCLASS, told.time_column::NAME,
            chunk_time_interval => told.chunk, create_default_indexes => FALSE, if_not_exists => TRUE, migrate_data => TRUE
        );
        IF NOT EXISTS (
            SELECT FROM timescaledb_information.hypertables AS h
            WHERE h.hypertable_schema = 'risk' AND h.hypertable_name = told.name AND h.compression_enabled
        ) THEN
            -- Once: what is compressed already was compressed so, and cannot be told otherwise.
            EXECUTE format(
                'ALTER TABLE risk.%I SET (timescaledb.compress, timescaledb.compress_segmentby = %L, timescaledb.compress_orderby = %L)',
                told.name, told.segment_by, told.time_column || ' DESC'
            );
        END IF;
        PERFORM add_compression_policy(format('risk.%I', told.name)::REGCLASS, told.compress_after, if_not_exists => TRUE);
    END LOOP;
END
$$;
