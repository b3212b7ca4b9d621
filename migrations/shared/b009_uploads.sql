-- Uploads row by row, prices beside the other feeds, and what was exported. Idempotent.
CREATE TABLE IF NOT EXISTS book.ingestion_row (
    batch_id BIGINT NOT NULL,
    line INTEGER NOT NULL,
    payload_json JSONB NOT NULL,
    validation_status VARCHAR(7) NOT NULL,
    reasons TEXT[] NOT NULL DEFAULT '{}',
    CONSTRAINT pk_ingestion_row PRIMARY KEY (batch_id, line),
    CONSTRAINT fk_ingestion_row_batch_id FOREIGN KEY (batch_id) REFERENCES book.ingestion_batch (batch_id),
    CONSTRAINT ck_ingestion_row_line CHECK (line > 0),
    CONSTRAINT ck_ingestion_row_payload CHECK (jsonb_typeof(payload_json) = 'object'),
    CONSTRAINT ck_ingestion_row_validation_status CHECK (validation_status IN ('PENDING', 'PASS', 'WARN', 'FAIL')),
    CONSTRAINT ck_ingestion_row_reasons CHECK (validation_status NOT IN ('WARN', 'FAIL') OR cardinality(reasons) > 0)
);

ALTER TABLE book.market_data_feed DROP CONSTRAINT IF EXISTS ck_market_data_feed_feed_type;
ALTER TABLE book.market_data_feed ADD CONSTRAINT ck_market_data_feed_feed_type CHECK (
    feed_type IN ('YIELD_CURVE', 'CREDIT_SPREAD', 'FX_SPOT', 'RATING', 'PRICE')
);

CREATE TABLE IF NOT EXISTS book.price (
    instrument_id BIGINT NOT NULL,
    as_of_date DATE NOT NULL,
    feed_id BIGINT NOT NULL,
    price NUMERIC(18, 8) NOT NULL,
    currency VARCHAR(5) NOT NULL,
    CONSTRAINT pk_price PRIMARY KEY (instrument_id, as_of_date, feed_id),
    CONSTRAINT fk_price_instrument_id FOREIGN KEY (instrument_id) REFERENCES book.instrument (instrument_id),
    CONSTRAINT fk_price_feed_id FOREIGN KEY (feed_id) REFERENCES book.market_data_feed (feed_id),
    CONSTRAINT ck_price_price CHECK (price > 0),
    CONSTRAINT ck_price_currency CHECK (currency ~ '^[A-Z]{3,5}$')
);

CREATE INDEX IF NOT EXISTS ix_price_feed_id ON book.price (feed_id);

CREATE TABLE IF NOT EXISTS book.loan_servicing (
    instrument_id BIGINT NOT NULL,
    as_of_date DATE NOT NULL,
    batch_id BIGINT NOT NULL,
    outstanding_balance NUMERIC(20, 4) NOT NULL,
    principal_paid NUMERIC(20, 4) NOT NULL,
    interest_paid NUMERIC(20, 4) NOT NULL,
    days_past_due INTEGER NOT NULL,
    CONSTRAINT pk_loan_servicing PRIMARY KEY (instrument_id, as_of_date, batch_id),
    CONSTRAINT fk_loan_servicing_instrument_id FOREIGN KEY (instrument_id) REFERENCES book.instrument (instrument_id),
    CONSTRAINT fk_loan_servicing_batch_id FOREIGN KEY (batch_id) REFERENCES book.ingestion_batch (batch_id),
    CONSTRAINT ck_loan_servicing_days_past_due CHECK (days_past_due >= 0),
    CONSTRAINT ck_loan_servicing_outstanding_balance CHECK (outstanding_balance >= 0)
);

CREATE INDEX IF NOT EXISTS ix_loan_servicing_batch_id ON book.loan_servicing (batch_id);

-- What left the book: added to, never changed.
CREATE TABLE IF NOT EXISTS book.export_history (
    export_id BIGINT GENERATED ALWAYS AS IDENTITY CONSTRAINT pk_export_history PRIMARY KEY,
    content VARCHAR(20) NOT NULL,
    format VARCHAR(7) NOT NULL,
    portfolio VARCHAR(30),
    parameters_json JSONB NOT NULL DEFAULT '{}',
    rows_total INTEGER NOT NULL,
    content_hash VARCHAR(64) NOT NULL,
    exported_by VARCHAR(100),
    exported_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    CONSTRAINT ck_export_history_format CHECK (format IN ('csv', 'json', 'parquet', 'fix')),
    CONSTRAINT ck_export_history_rows CHECK (rows_total >= 0),
    CONSTRAINT ck_export_history_content_hash CHECK (content_hash ~ '^[0-9a-f]{64}$'),
    CONSTRAINT ck_export_history_parameters CHECK (jsonb_typeof(parameters_json) = 'object')
);

CREATE INDEX IF NOT EXISTS ix_export_history_exported_at ON book.export_history (exported_at DESC);
CREATE OR REPLACE TRIGGER export_rows_stay BEFORE UPDATE OR DELETE ON book.export_history
FOR EACH ROW EXECUTE FUNCTION book.refuse_change();
CREATE OR REPLACE TRIGGER exports_stay BEFORE TRUNCATE ON book.export_history
FOR EACH STATEMENT EXECUTE FUNCTION book.refuse_change();
ALTER TABLE book.export_history ENABLE ALWAYS TRIGGER export_rows_stay;
ALTER TABLE book.export_history ENABLE ALWAYS TRIGGER exports_stay;
