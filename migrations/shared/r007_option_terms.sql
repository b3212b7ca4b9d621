-- What an option of the master is a right to; and the strikes and expiries of the engine's positions, which are read and never
-- written. Idempotent.

CREATE TABLE IF NOT EXISTS risk.option_terms (
    instrument_id BIGINT CONSTRAINT pk_option_terms PRIMARY KEY,
    underlying_id BIGINT NOT NULL,
    option_type VARCHAR(2) NOT NULL,
    strike NUMERIC(18, 8) NOT NULL,
    expiry DATE NOT NULL,
    created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    updated_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    CONSTRAINT fk_option_terms_instrument_id FOREIGN KEY (instrument_id) REFERENCES book.instrument (instrument_id),
    CONSTRAINT fk_option_terms_underlying_id FOREIGN KEY (underlying_id) REFERENCES book.instrument (instrument_id),
    CONSTRAINT ck_option_terms_option_type CHECK (option_type IN ('CE', 'PE')),
    CONSTRAINT ck_option_terms_strike CHECK (strike > 0 AND strike < 'NaN'),
    CONSTRAINT ck_option_terms_underlying CHECK (underlying_id <> instrument_id)
);

CREATE INDEX IF NOT EXISTS ix_option_terms_underlying_id ON risk.option_terms (underlying_id);

-- One portfolio's positions that have a strike, as they are now; before their last roll they had the original one.
CREATE OR REPLACE FUNCTION risk.engine_legs(of_portfolio TEXT) RETURNS TABLE (
    position_id VARCHAR, strike NUMERIC, expiry DATE, original_strike NUMERIC, original_expiry DATE,
    rollover_timestamp TIMESTAMPTZ, rollover_count INTEGER
)
LANGUAGE plpgsql STABLE
AS $$
DECLARE
    its_schema TEXT := (SELECT p.schema_name FROM book.portfolios() AS p WHERE p.portfolio = of_portfolio);
BEGIN
    IF its_schema IS NULL THEN
        RAISE EXCEPTION 'there is no portfolio % whose positions you may read', of_portfolio USING ERRCODE = 'invalid_schema_name';
    END IF;
    RETURN QUERY EXECUTE format(
        'SELECT position_id, strike, expiry, original_strike, original_expiry, rollover_timestamp, rollover_count'
        ' FROM %I.portfolio_positions WHERE strike IS NOT NULL AND expiry IS NOT NULL',
        its_schema
    );
END
$$;
