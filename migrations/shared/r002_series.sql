-- What series, curves and surfaces tell, and research signals. Idempotent. What is published again is another revision, with the time
-- at which it was told: a question as of a time sees what was known then, and nothing else.

-- All that is asked of a series is in its key's index: its rows, which come one a day, lie all over the table.
CREATE TABLE IF NOT EXISTS risk.macro_series (
    id BIGINT GENERATED ALWAYS AS IDENTITY,
    observation_date DATE NOT NULL,
    series_id BIGINT NOT NULL,
    revision SMALLINT NOT NULL DEFAULT 0,
    release_time TIMESTAMPTZ NOT NULL,
    value NUMERIC(28, 8) NOT NULL,
    created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    CONSTRAINT pk_macro_series PRIMARY KEY (id, observation_date),
    CONSTRAINT uq_macro_series_observation UNIQUE (series_id, observation_date, revision) INCLUDE (release_time, value),
    CONSTRAINT fk_macro_series_series_id FOREIGN KEY (series_id) REFERENCES risk.series_metadata (series_id),
    CONSTRAINT ck_macro_series_revision CHECK (revision >= 0),
    CONSTRAINT ck_macro_series_value CHECK (value < 'NaN')
);

CREATE INDEX IF NOT EXISTS ix_macro_series_observation_date ON risk.macro_series USING brin (observation_date);

-- Rates in per cent a year, by how many days away they are.
CREATE TABLE IF NOT EXISTS risk.curve_data (
    id BIGINT GENERATED ALWAYS AS IDENTITY,
    curve_date DATE NOT NULL,
    curve_id VARCHAR(50) NOT NULL,
    source_id BIGINT NOT NULL,
    tenor_days INTEGER NOT NULL,
    revision SMALLINT NOT NULL DEFAULT 0,
    release_time TIMESTAMPTZ NOT NULL,
    curve_type VARCHAR(9) NOT NULL,
    rate NUMERIC(18, 8) NOT NULL,
    created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    CONSTRAINT pk_curve_data PRIMARY KEY (id, curve_date),
    CONSTRAINT uq_curve_data_point UNIQUE (curve_id, source_id, curve_date, tenor_days, revision),
    CONSTRAINT fk_curve_data_source_id FOREIGN KEY (source_id) REFERENCES risk.data_source (source_id),
    CONSTRAINT ck_curve_data_curve_id CHECK (btrim(curve_id) <> ''),
    CONSTRAINT ck_curve_data_tenor_days CHECK (tenor_days >= 0),
    CONSTRAINT ck_curve_data_revision CHECK (revision >= 0),
    CONSTRAINT ck_curve_data_curve_type CHECK (
        curve_type IN ('par', 'zero', 'forward', 'swap', 'real', 'breakeven', 'spread')
    ),
    CONSTRAINT ck_curve_data_rate CHECK (rate < 'NaN')
);

CREATE INDEX IF NOT EXISTS ix_curve_data_source_id ON risk.curve_data (source_id);
CREATE INDEX IF NOT EXISTS ix_curve_data_curve_date ON risk.curve_data USING brin (curve_date);

-- Money or lots that went in or out of a market, of an instrument where one is named.
CREATE TABLE IF NOT EXISTS risk.flow_data (
    id BIGINT GENERATED ALWAYS AS IDENTITY,
    observation_date DATE NOT NULL,
    series_id BIGINT NOT NULL,
    instrument_id BIGINT,
    flow_type VARCHAR(50) NOT NULL,
    revision SMALLINT NOT NULL DEFAULT 0,
    release_time TIMESTAMPTZ NOT NULL,
    value NUMERIC(28, 8) NOT NULL,
    unit VARCHAR(20) NOT NULL,
    created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    CONSTRAINT pk_flow_data PRIMARY KEY (id, observation_date),
    CONSTRAINT uq_flow_data_flow UNIQUE NULLS NOT DISTINCT (series_id, flow_type, instrument_id, observation_date, revision),
    CONSTRAINT fk_flow_data_series_id FOREIGN KEY (series_id) REFERENCES risk.series_metadata (series_id),
    CONSTRAINT fk_flow_data_instrument_id FOREIGN KEY (instrument_id) REFERENCES book.instrument (instrument_id),
    CONSTRAINT ck_flow_data_flow_type CHECK (btrim(flow_type) <> ''),
    CONSTRAINT ck_flow_data_revision CHECK (revision >= 0),
    CONSTRAINT ck_flow_data_value CHECK (value < 'NaN')
);

CREATE INDEX IF NOT EXISTS ix_flow_data_instrument_id ON risk.flow_data (instrument_id);
CREATE INDEX IF NOT EXISTS ix_flow_data_observation_date ON risk.flow_data USING brin (observation_date);

-- What a state takes, spends and owes.
CREATE TABLE IF NOT EXISTS risk.fiscal_data (
    id BIGINT GENERATED ALWAYS AS IDENTITY,
    observation_date DATE NOT NULL,
    series_id BIGINT NOT NULL,
    fiscal_metric VARCHAR(50) NOT NULL,
    revision SMALLINT NOT NULL DEFAULT 0,
    release_time TIMESTAMPTZ NOT NULL,
    value NUMERIC(28, 8) NOT NULL,
    unit VARCHAR(20) NOT NULL,
    created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    CONSTRAINT pk_fiscal_data PRIMARY KEY (id, observation_date),
    CONSTRAINT uq_fiscal_data_metric UNIQUE (series_id, fiscal_metric, observation_date, revision),
    CONSTRAINT fk_fiscal_data_series_id FOREIGN KEY (series_id) REFERENCES risk.series_metadata (series_id),
    CONSTRAINT ck_fiscal_data_fiscal_metric CHECK (btrim(fiscal_metric) <> ''),
    CONSTRAINT ck_fiscal_data_revision CHECK (revision >= 0),
    CONSTRAINT ck_fiscal_data_value CHECK (value < 'NaN')
);

CREATE INDEX IF NOT EXISTS ix_fiscal_data_observation_date ON risk.fiscal_data USING brin (observation_date);

-- Implied volatilities in per cent a year, by strike or by delta, of calls, of puts, or of both where no type is told.
CREATE TABLE IF NOT EXISTS risk.vol_surface (
    id BIGINT GENERATED ALWAYS AS IDENTITY,
    surface_date DATE NOT NULL,
    instrument_id BIGINT NOT NULL,
    source_id BIGINT NOT NULL,
    expiry DATE NOT NULL,
    strike NUMERIC(18, 8),
    delta NUMERIC(9, 8),
    option_type VARCHAR(2),
    implied_volatility NUMERIC(12, 6) NOT NULL,
    created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    CONSTRAINT pk_vol_surface PRIMARY KEY (id, surface_date),
    CONSTRAINT uq_vol_surface_point UNIQUE NULLS NOT DISTINCT (
        instrument_id, source_id, surface_date, expiry, strike, delta, option_type
    ),
    CONSTRAINT fk_vol_surface_instrument_id FOREIGN KEY (instrument_id) REFERENCES book.instrument (instrument_id),
    CONSTRAINT fk_vol_surface_source_id FOREIGN KEY (source_id) REFERENCES risk.data_source (source_id),
    CONSTRAINT ck_vol_surface_expiry CHECK (expiry >= surface_date),
    CONSTRAINT ck_vol_surface_place CHECK (num_nonnulls(strike, delta) = 1),
    CONSTRAINT ck_vol_surface_strike CHECK (strike > 0 AND strike < 'NaN'),
    CONSTRAINT ck_vol_surface_delta CHECK (delta >= -1 AND delta <= 1),
    CONSTRAINT ck_vol_surface_option_type CHECK (option_type IN ('CE', 'PE')),
    CONSTRAINT ck_vol_surface_implied_volatility CHECK (implied_volatility > 0 AND implied_volatility < 'NaN')
);

CREATE INDEX IF NOT EXISTS ix_vol_surface_source_id ON risk.vol_surface (source_id);
CREATE INDEX IF NOT EXISTS ix_vol_surface_surface_date ON risk.vol_surface USING brin (surface_date);

-- What research says of an instrument or a series, or of neither: never an alert, and nothing that the engine reads.
CREATE TABLE IF NOT EXISTS risk.signal (
    id BIGINT GENERATED ALWAYS AS IDENTITY,
    signal_date TIMESTAMPTZ NOT NULL,
    signal_name VARCHAR(50) NOT NULL,
    model_version VARCHAR(20),
    instrument_id BIGINT,
    series_id BIGINT,
    direction VARCHAR(5) NOT NULL,
    strength NUMERIC(28, 8) NOT NULL,
    confidence NUMERIC(9, 8),
    metadata_json JSONB NOT NULL DEFAULT '{}',
    created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    CONSTRAINT pk_signal PRIMARY KEY (id, signal_date),
    CONSTRAINT uq_signal_said UNIQUE NULLS NOT DISTINCT (signal_name, model_version, instrument_id, series_id, signal_date),
    CONSTRAINT fk_signal_instrument_id FOREIGN KEY (instrument_id) REFERENCES book.instrument (instrument_id),
    CONSTRAINT fk_signal_series_id FOREIGN KEY (series_id) REFERENCES risk.series_metadata (series_id),
    CONSTRAINT ck_signal_signal_name CHECK (btrim(signal_name) <> ''),
    CONSTRAINT ck_signal_direction CHECK (direction IN ('LONG', 'SHORT', 'FLAT')),
    CONSTRAINT ck_signal_strength CHECK (strength < 'NaN'),
    CONSTRAINT ck_signal_confidence CHECK (confidence >= 0 AND confidence <= 1),
    CONSTRAINT ck_signal_metadata CHECK (jsonb_typeof(metadata_json) = 'object')
);

CREATE INDEX IF NOT EXISTS ix_signal_instrument_id ON risk.signal (instrument_id);
CREATE INDEX IF NOT EXISTS ix_signal_series_id ON risk.signal (series_id);
CREATE INDEX IF NOT EXISTS ix_signal_signal_date ON risk.signal USING brin (signal_date);
