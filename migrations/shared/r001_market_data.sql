-- The risk lab: its schema, sources and series, and what they tell. Idempotent. Instruments are those of the one master,
-- book.instrument. Each table of times has the time in its key, as a hypertable needs it, and is a plain table without TimescaleDB.
-- A number is finite where it is below 'NaN', which PostgreSQL sorts last; infinity fits no NUMERIC with a scale.

DO $$
BEGIN
    -- Looked for first: IF NOT EXISTS asks for the privilege to create even where there is nothing to do.
    IF to_regnamespace('risk') IS NULL THEN
        CREATE SCHEMA risk;
    END IF;
END
$$;

CREATE TABLE IF NOT EXISTS risk.data_source (
    source_id BIGINT GENERATED ALWAYS AS IDENTITY CONSTRAINT pk_data_source PRIMARY KEY,
    name VARCHAR(50) NOT NULL,
    kind VARCHAR(8) NOT NULL,
    base_url VARCHAR(500),
    auth_type VARCHAR(20) NOT NULL DEFAULT 'none',
    requests_per_minute INTEGER,
    is_active BOOLEAN NOT NULL DEFAULT TRUE,
    metadata_json JSONB NOT NULL DEFAULT '{}',
    created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    updated_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    CONSTRAINT uq_data_source_name UNIQUE (name),
    CONSTRAINT ck_data_source_name CHECK (name ~ '^[a-z][a-z0-9_.-]*$'),
    CONSTRAINT ck_data_source_kind CHECK (kind IN ('exchange', 'chart', 'vendor', 'broker', 'engine', 'file')),
    CONSTRAINT ck_data_source_auth_type CHECK (auth_type IN ('none', 'api_key', 'basic', 'token', 'oauth2')),
    CONSTRAINT ck_data_source_requests_per_minute CHECK (requests_per_minute > 0),
    CONSTRAINT ck_data_source_metadata CHECK (jsonb_typeof(metadata_json) = 'object')
);

-- A series of a source, by the source's own code of it.
CREATE TABLE IF NOT EXISTS risk.series_metadata (
    series_id BIGINT GENERATED ALWAYS AS IDENTITY CONSTRAINT pk_series_metadata PRIMARY KEY,
    source_id BIGINT NOT NULL,
    series_code VARCHAR(100) NOT NULL,
    name VARCHAR(200) NOT NULL,
    instrument_id BIGINT,
    frequency VARCHAR(9) NOT NULL DEFAULT 'irregular',
    unit VARCHAR(50),
    country VARCHAR(2),
    currency VARCHAR(5),
    is_active BOOLEAN NOT NULL DEFAULT TRUE,
    metadata_json JSONB NOT NULL DEFAULT '{}',
    created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    updated_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    CONSTRAINT uq_series_metadata_source_id_series_code UNIQUE (source_id, series_code),
    CONSTRAINT fk_series_metadata_source_id FOREIGN KEY (source_id) REFERENCES risk.data_source (source_id),
    CONSTRAINT fk_series_metadata_instrument_id FOREIGN KEY (instrument_id) REFERENCES book.instrument (instrument_id),
    CONSTRAINT ck_series_metadata_series_code CHECK (btrim(series_code) <> ''),
    CONSTRAINT ck_series_metadata_name CHECK (btrim(name) <> ''),
    CONSTRAINT ck_series_metadata_frequency CHECK (
        frequency IN ('intraday', 'daily', 'weekly', 'monthly', 'quarterly', 'yearly', 'irregular')
    ),
    CONSTRAINT ck_series_metadata_country CHECK (country ~ '^[A-Z]{2}$'),
    CONSTRAINT ck_series_metadata_currency CHECK (currency ~ '^[A-Z]{3,5}$'),
    CONSTRAINT ck_series_metadata_metadata CHECK (jsonb_typeof(metadata_json) = 'object')
);

CREATE INDEX IF NOT EXISTS ix_series_metadata_instrument_id ON risk.series_metadata (instrument_id);

-- Bars. Of a contract where expiry is told, of an option where strike and option_type are too; else of the instrument itself, or of
-- the continuous contract that a chart shows. Without foreign keys, which cost more than the rest of an insert: an import takes its
-- numbers from rows that it locks, and the trigger below keeps those rows. timestamp is when the bar opened; of a bar of a day or a week, 00:00 of its first day
-- on the exchange's clock. Volume and open interest are as their source counts them.
CREATE TABLE IF NOT EXISTS risk.market_data (
    id BIGINT GENERATED ALWAYS AS IDENTITY,
    timestamp TIMESTAMPTZ NOT NULL,
    instrument_id BIGINT NOT NULL,
    source_id BIGINT NOT NULL,
    timeframe VARCHAR(3) NOT NULL,
    expiry DATE,
    strike NUMERIC(18, 8),
    option_type VARCHAR(2),
    open NUMERIC(18, 8) NOT NULL,
    high NUMERIC(18, 8) NOT NULL,
    low NUMERIC(18, 8) NOT NULL,
    close NUMERIC(18, 8) NOT NULL,
    settlement NUMERIC(18, 8),
    volume NUMERIC(28, 8),
    open_interest NUMERIC(28, 8),
    created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    CONSTRAINT pk_market_data PRIMARY KEY (id, timestamp),
    CONSTRAINT uq_market_data_bar UNIQUE NULLS NOT DISTINCT (
        instrument_id, timeframe, source_id, expiry, strike, option_type, timestamp
    ),
    CONSTRAINT ck_market_data_timeframe CHECK (
        timeframe IN ('1m', '3m', '5m', '10m', '15m', '30m', '45m', '1h', '2h', '3h', '4h', '1d', '1w')
    ),
    CONSTRAINT ck_market_data_option_type CHECK (option_type IN ('CE', 'PE')),
    CONSTRAINT ck_market_data_option CHECK (
        (strike IS NULL) = (option_type IS NULL) AND (strike IS NULL OR expiry IS NOT NULL AND strike > 0 AND strike < 'NaN')
    ),
    CONSTRAINT ck_market_data_prices CHECK (low <= least(open, close) AND high >= greatest(open, close) AND high < 'NaN'),
    CONSTRAINT ck_market_data_settlement CHECK (settlement < 'NaN'),
    CONSTRAINT ck_market_data_volume CHECK (volume >= 0 AND volume < 'NaN'),
    CONSTRAINT ck_market_data_open_interest CHECK (open_interest >= 0 AND open_interest < 'NaN')
);

CREATE INDEX IF NOT EXISTS ix_market_data_timestamp ON risk.market_data USING brin (timestamp);

-- What a foreign key would do where bars are: an instrument or a source of theirs is not removed (its number is always the database's). The row is locked
-- before this is asked, so that an import that has it is over. As a foreign key does, it looks with the owner's rights.
CREATE OR REPLACE FUNCTION risk.keep_what_bars_are_of() RETURNS TRIGGER
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF TG_TABLE_NAME = 'instrument' THEN
        IF EXISTS (SELECT FROM risk.market_data AS m WHERE m.instrument_id = OLD.instrument_id) THEN
            RAISE EXCEPTION 'instrument %: there are bars of it in risk.market_data', OLD.symbol
                USING ERRCODE = 'foreign_key_violation';
        END IF;
    ELSIF EXISTS (SELECT FROM risk.market_data AS m WHERE m.source_id = OLD.source_id) THEN
        RAISE EXCEPTION 'data source %: there are bars of it in risk.market_data', OLD.name
            USING ERRCODE = 'foreign_key_violation';
    END IF;
    RETURN OLD;
END
$$;

CREATE OR REPLACE TRIGGER bars_keep_their_instrument BEFORE DELETE ON book.instrument
FOR EACH ROW EXECUTE FUNCTION risk.keep_what_bars_are_of();
CREATE OR REPLACE TRIGGER bars_keep_their_source BEFORE DELETE ON risk.data_source
FOR EACH ROW EXECUTE FUNCTION risk.keep_what_bars_are_of();
