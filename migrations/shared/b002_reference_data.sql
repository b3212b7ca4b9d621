-- Reference data, the one master of instruments, and market data with where it came from. Idempotent.

CREATE TABLE IF NOT EXISTS book.reference_data (
    entity_id BIGINT GENERATED ALWAYS AS IDENTITY CONSTRAINT pk_reference_data PRIMARY KEY,
    entity_type VARCHAR(9) NOT NULL,
    name VARCHAR(200) NOT NULL,
    ticker VARCHAR(30),
    cusip VARCHAR(9),
    isin VARCHAR(12),
    parent_entity_id BIGINT,
    metadata_json JSONB NOT NULL DEFAULT '{}',
    created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    updated_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    CONSTRAINT fk_reference_data_parent_entity_id FOREIGN KEY (parent_entity_id) REFERENCES book.reference_data (entity_id),
    CONSTRAINT ck_reference_data_entity_type CHECK (entity_type IN ('ISSUER', 'SECTOR', 'GEOGRAPHY', 'CURRENCY')),
    CONSTRAINT ck_reference_data_name CHECK (btrim(name) <> ''),
    CONSTRAINT ck_reference_data_currency CHECK (entity_type <> 'CURRENCY' OR (ticker IS NOT NULL AND ticker ~ '^[A-Z]{3,5}$')),
    CONSTRAINT ck_reference_data_cusip CHECK (book.is_cusip(cusip)),
    CONSTRAINT ck_reference_data_isin CHECK (book.is_isin(isin)),
    CONSTRAINT ck_reference_data_metadata CHECK (jsonb_typeof(metadata_json) = 'object')
);

CREATE INDEX IF NOT EXISTS ix_reference_data_entity_type_name ON book.reference_data (entity_type, name);
CREATE INDEX IF NOT EXISTS ix_reference_data_ticker ON book.reference_data (ticker);
CREATE INDEX IF NOT EXISTS ix_reference_data_cusip ON book.reference_data (cusip);
CREATE INDEX IF NOT EXISTS ix_reference_data_isin ON book.reference_data (isin);
CREATE INDEX IF NOT EXISTS ix_reference_data_parent_entity_id ON book.reference_data (parent_entity_id);

-- A group's parent is not one of its own. Each row on the way up is locked: of two sessions that add half a ring each, one waits
-- for the other's row, and then sees it (or, in a transaction that may not, is told to try again).
CREATE OR REPLACE FUNCTION book.refuse_reference_cycle() RETURNS TRIGGER
LANGUAGE plpgsql
AS $$
DECLARE
    above BIGINT := NEW.parent_entity_id;
BEGIN
    WHILE above IS NOT NULL LOOP
        IF above = NEW.entity_id THEN
            RAISE EXCEPTION 'reference_data %: % is below it already', NEW.entity_id, NEW.parent_entity_id
                USING ERRCODE = 'integrity_constraint_violation';
        END IF;
        SELECT r.parent_entity_id INTO above FROM book.reference_data AS r WHERE r.entity_id = above FOR SHARE;
    END LOOP;
    RETURN NEW;
END
$$;

CREATE OR REPLACE TRIGGER reference_data_has_no_cycle BEFORE INSERT OR UPDATE OF parent_entity_id ON book.reference_data
FOR EACH ROW EXECUTE FUNCTION book.refuse_reference_cycle();

CREATE TABLE IF NOT EXISTS book.instrument (
    instrument_id BIGINT GENERATED ALWAYS AS IDENTITY CONSTRAINT pk_instrument PRIMARY KEY,
    symbol VARCHAR(29) NOT NULL,
    name VARCHAR(200) NOT NULL,
    asset_class VARCHAR(20) NOT NULL,
    kind VARCHAR(20) NOT NULL,
    exchange VARCHAR(20),
    currency VARCHAR(5) NOT NULL,
    lot_size NUMERIC(18, 8),
    point_value NUMERIC(18, 8),
    tick NUMERIC(18, 8),
    margin_per_lot NUMERIC(20, 4),
    cusip VARCHAR(9),
    isin VARCHAR(12),
    issuer_id BIGINT,
    sector_id BIGINT,
    is_active BOOLEAN NOT NULL DEFAULT TRUE,
    metadata_json JSONB NOT NULL DEFAULT '{}',
    created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    updated_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    CONSTRAINT uq_instrument_symbol UNIQUE (symbol),
    CONSTRAINT fk_instrument_issuer_id FOREIGN KEY (issuer_id) REFERENCES book.reference_data (entity_id),
    CONSTRAINT fk_instrument_sector_id FOREIGN KEY (sector_id) REFERENCES book.reference_data (entity_id),
    CONSTRAINT ck_instrument_symbol CHECK (symbol ~ '^[A-Z0-9_]{1,29}$'),
    CONSTRAINT ck_instrument_asset_class CHECK (
        asset_class IN ('EQUITY', 'EQUITY_INDEX', 'COMMODITY', 'FX', 'RATES', 'CREDIT', 'LOAN', 'CRYPTO', 'OTHER')
    ),
    CONSTRAINT ck_instrument_kind CHECK (
        kind IN ('future', 'synthetic_future', 'spot', 'perpetual', 'option', 'bond', 'loan', 'swap', 'forward')
    ),
    CONSTRAINT ck_instrument_currency CHECK (currency ~ '^[A-Z]{3,5}$'),
    CONSTRAINT ck_instrument_sizes CHECK (lot_size > 0 AND point_value > 0 AND tick > 0 AND margin_per_lot > 0),
    CONSTRAINT ck_instrument_cusip CHECK (book.is_cusip(cusip)),
    CONSTRAINT ck_instrument_isin CHECK (book.is_isin(isin)),
    CONSTRAINT ck_instrument_metadata CHECK (jsonb_typeof(metadata_json) = 'object')
);

CREATE INDEX IF NOT EXISTS ix_instrument_cusip ON book.instrument (cusip);
CREATE INDEX IF NOT EXISTS ix_instrument_isin ON book.instrument (isin);
CREATE INDEX IF NOT EXISTS ix_instrument_issuer_id ON book.instrument (issuer_id);
CREATE INDEX IF NOT EXISTS ix_instrument_sector_id ON book.instrument (sector_id);

CREATE TABLE IF NOT EXISTS book.ingestion_batch (
    batch_id BIGINT GENERATED ALWAYS AS IDENTITY CONSTRAINT pk_ingestion_batch PRIMARY KEY,
    batch_type VARCHAR(15) NOT NULL,
    status VARCHAR(10) NOT NULL DEFAULT 'STARTED',
    source_name VARCHAR(255) NOT NULL,
    content_hash VARCHAR(64) NOT NULL,
    rows_total INTEGER NOT NULL DEFAULT 0,
    rows_taken INTEGER NOT NULL DEFAULT 0,
    rows_refused INTEGER NOT NULL DEFAULT 0,
    validation_errors_json JSONB NOT NULL DEFAULT '[]',
    uploaded_by VARCHAR(100),
    started_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    completed_at TIMESTAMPTZ,
    CONSTRAINT ck_ingestion_batch_batch_type CHECK (batch_type IN ('LOAN_SERVICING', 'MARKET_DATA', 'POSITION_UPLOAD')),
    CONSTRAINT ck_ingestion_batch_status CHECK (status IN ('STARTED', 'VALIDATING', 'COMPLETED', 'FAILED')),
    CONSTRAINT ck_ingestion_batch_content_hash CHECK (content_hash ~ '^[0-9a-f]{64}$'),
    CONSTRAINT ck_ingestion_batch_rows CHECK (rows_taken >= 0 AND rows_refused >= 0 AND rows_taken + rows_refused <= rows_total),
    CONSTRAINT ck_ingestion_batch_completed_at CHECK ((status IN ('COMPLETED', 'FAILED')) = (completed_at IS NOT NULL)),
    CONSTRAINT ck_ingestion_batch_validation_errors CHECK (jsonb_typeof(validation_errors_json) = 'array')
);

CREATE INDEX IF NOT EXISTS ix_ingestion_batch_batch_type_started_at ON book.ingestion_batch (batch_type, started_at DESC);
-- The same file is taken once; one that failed may come again.
CREATE UNIQUE INDEX IF NOT EXISTS uq_ingestion_batch_batch_type_content_hash ON book.ingestion_batch (batch_type, content_hash)
WHERE status <> 'FAILED';

CREATE TABLE IF NOT EXISTS book.market_data_feed (
    feed_id BIGINT GENERATED ALWAYS AS IDENTITY CONSTRAINT pk_market_data_feed PRIMARY KEY,
    feed_type VARCHAR(13) NOT NULL,
    as_of_date DATE NOT NULL,
    source VARCHAR(100) NOT NULL,
    payload_json JSONB NOT NULL DEFAULT '{}',
    validation_status VARCHAR(7) NOT NULL DEFAULT 'PENDING',
    validation_errors_json JSONB NOT NULL DEFAULT '[]',
    batch_id BIGINT,
    created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    CONSTRAINT fk_market_data_feed_batch_id FOREIGN KEY (batch_id) REFERENCES book.ingestion_batch (batch_id),
    CONSTRAINT ck_market_data_feed_feed_type CHECK (feed_type IN ('YIELD_CURVE', 'CREDIT_SPREAD', 'FX_SPOT', 'RATING')),
    CONSTRAINT ck_market_data_feed_validation_status CHECK (validation_status IN ('PENDING', 'PASS', 'WARN', 'FAIL')),
    CONSTRAINT ck_market_data_feed_validation_errors CHECK (jsonb_typeof(validation_errors_json) = 'array')
);

CREATE INDEX IF NOT EXISTS ix_market_data_feed_feed_type_as_of_date ON book.market_data_feed (feed_type, as_of_date DESC);
CREATE INDEX IF NOT EXISTS ix_market_data_feed_batch_id ON book.market_data_feed (batch_id);

CREATE TABLE IF NOT EXISTS book.data_lineage (
    lineage_id BIGINT GENERATED ALWAYS AS IDENTITY CONSTRAINT pk_data_lineage PRIMARY KEY,
    feed_id BIGINT,
    batch_id BIGINT,
    source_system VARCHAR(100) NOT NULL,
    source_reference VARCHAR(500),
    transformation_chain TEXT[] NOT NULL DEFAULT '{}',
    quality_checks_passed BOOLEAN,
    quality_checks_json JSONB NOT NULL DEFAULT '{}',
    metadata_json JSONB NOT NULL DEFAULT '{}',
    ingested_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    CONSTRAINT fk_data_lineage_feed_id FOREIGN KEY (feed_id) REFERENCES book.market_data_feed (feed_id),
    CONSTRAINT fk_data_lineage_batch_id FOREIGN KEY (batch_id) REFERENCES book.ingestion_batch (batch_id),
    CONSTRAINT ck_data_lineage_of_something CHECK (feed_id IS NOT NULL OR batch_id IS NOT NULL),
    CONSTRAINT ck_data_lineage_quality_checks CHECK (jsonb_typeof(quality_checks_json) = 'object'),
    CONSTRAINT ck_data_lineage_metadata CHECK (jsonb_typeof(metadata_json) = 'object')
);

CREATE INDEX IF NOT EXISTS ix_data_lineage_feed_id ON book.data_lineage (feed_id);
CREATE INDEX IF NOT EXISTS ix_data_lineage_batch_id ON book.data_lineage (batch_id);

-- A rate of a pair, such as USD/INR: how many of the second are paid for one of the first. The feed that brought it is its
-- snapshot, and says of which day it is.
CREATE TABLE IF NOT EXISTS book.fx_spot (
    pair VARCHAR(11) NOT NULL,
    snapshot_id BIGINT NOT NULL,
    rate NUMERIC(18, 8) NOT NULL,
    CONSTRAINT pk_fx_spot PRIMARY KEY (pair, snapshot_id),
    CONSTRAINT fk_fx_spot_snapshot_id FOREIGN KEY (snapshot_id) REFERENCES book.market_data_feed (feed_id),
    CONSTRAINT ck_fx_spot_pair CHECK (
        pair ~ '^[A-Z]{3,5}/[A-Z]{3,5}$' AND split_part(pair, '/', 1) <> split_part(pair, '/', 2)
    ),
    CONSTRAINT ck_fx_spot_rate CHECK (rate > 0)
);

CREATE INDEX IF NOT EXISTS ix_fx_spot_snapshot_id ON book.fx_spot (snapshot_id);

CREATE TABLE IF NOT EXISTS book.rating_history (
    rating_id BIGINT GENERATED ALWAYS AS IDENTITY CONSTRAINT pk_rating_history PRIMARY KEY,
    entity_id BIGINT NOT NULL,
    agency VARCHAR(6) NOT NULL,
    rating VARCHAR(10) NOT NULL,
    outlook VARCHAR(10),
    as_of_date DATE NOT NULL,
    feed_id BIGINT,
    created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    CONSTRAINT uq_rating_history_entity_id_agency_as_of_date UNIQUE (entity_id, agency, as_of_date),
    CONSTRAINT fk_rating_history_entity_id FOREIGN KEY (entity_id) REFERENCES book.reference_data (entity_id),
    CONSTRAINT fk_rating_history_feed_id FOREIGN KEY (feed_id) REFERENCES book.market_data_feed (feed_id),
    CONSTRAINT ck_rating_history_agency CHECK (agency IN ('SP', 'MOODYS', 'FITCH', 'DBRS')),
    CONSTRAINT ck_rating_history_rating CHECK (btrim(rating) <> ''),
    CONSTRAINT ck_rating_history_outlook CHECK (outlook IN ('POSITIVE', 'STABLE', 'NEGATIVE', 'DEVELOPING'))
);

CREATE INDEX IF NOT EXISTS ix_rating_history_entity_id_as_of_date ON book.rating_history (entity_id, as_of_date DESC);
CREATE INDEX IF NOT EXISTS ix_rating_history_feed_id ON book.rating_history (feed_id);
