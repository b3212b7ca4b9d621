-- What the daily batch reckons of the book, by date: factors and scenarios, what positions have to do with factors, covariances,
-- measures of positions and nodes, what scenarios cost, and the log of what was reckoned when. Idempotent. Estimates are floats:
-- finite where their absolute value is below 'Infinity', for PostgreSQL sorts NaN last. A position is named as `position/12` (of
-- book.portfolio_positions) or `holding/5` (of book.position).

CREATE TABLE IF NOT EXISTS risk.factor_definitions (
    factor_id BIGINT GENERATED ALWAYS AS IDENTITY CONSTRAINT pk_factor_definitions PRIMARY KEY,
    name VARCHAR(50) NOT NULL,
    display_name VARCHAR(100) NOT NULL,
    category VARCHAR(20) NOT NULL,
    factor_set VARCHAR(20) NOT NULL,
    unit VARCHAR(6) NOT NULL,
    meaning VARCHAR(200) NOT NULL,
    sort_order INTEGER NOT NULL,
    instrument_id BIGINT,
    series_id BIGINT,
    is_active BOOLEAN NOT NULL DEFAULT TRUE,
    created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    updated_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    CONSTRAINT uq_factor_definitions_name UNIQUE (name),
    CONSTRAINT fk_factor_definitions_instrument_id FOREIGN KEY (instrument_id) REFERENCES book.instrument (instrument_id),
    CONSTRAINT fk_factor_definitions_series_id FOREIGN KEY (series_id) REFERENCES risk.series_metadata (series_id),
    CONSTRAINT ck_factor_definitions_name CHECK (name ~ '^[a-z][a-z0-9_]*$' AND name <> 'specific'),
    CONSTRAINT ck_factor_definitions_unit CHECK (unit IN ('return', 'change')),
    CONSTRAINT ck_factor_definitions_told_by CHECK (num_nonnulls(instrument_id, series_id) <= 1)
);

CREATE INDEX IF NOT EXISTS ix_factor_definitions_instrument_id ON risk.factor_definitions (instrument_id);
CREATE INDEX IF NOT EXISTS ix_factor_definitions_series_id ON risk.factor_definitions (series_id);

CREATE TABLE IF NOT EXISTS risk.stress_scenarios (
    scenario_id BIGINT GENERATED ALWAYS AS IDENTITY CONSTRAINT pk_stress_scenarios PRIMARY KEY,
    name VARCHAR(100) NOT NULL,
    scenario_type VARCHAR(20) NOT NULL,
    sort_order INTEGER NOT NULL,
    first_day DATE,
    last_day DATE,
    is_active BOOLEAN NOT NULL DEFAULT TRUE,
    created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    updated_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    CONSTRAINT uq_stress_scenarios_name UNIQUE (name),
    CONSTRAINT ck_stress_scenarios_name CHECK (btrim(name) <> ''),
    CONSTRAINT ck_stress_scenarios_scenario_type CHECK (scenario_type IN ('sensitivity', 'historical', 'custom')),
    CONSTRAINT ck_stress_scenarios_days CHECK ((first_day IS NULL) = (last_day IS NULL) AND last_day >= first_day)
);

-- A shock of a return is a return (0.1 = 10 %), of a yield or a volatility a change (0.01 = a point).
CREATE TABLE IF NOT EXISTS risk.stress_scenario_shocks (
    scenario_id BIGINT NOT NULL,
    factor_id BIGINT NOT NULL,
    shock DOUBLE PRECISION NOT NULL,
    from_value DOUBLE PRECISION,
    to_value DOUBLE PRECISION,
    source VARCHAR(200),
    CONSTRAINT pk_stress_scenario_shocks PRIMARY KEY (scenario_id, factor_id),
    CONSTRAINT fk_stress_scenario_shocks_scenario_id FOREIGN KEY (scenario_id)
    REFERENCES risk.stress_scenarios (scenario_id) ON DELETE CASCADE,
    CONSTRAINT fk_stress_scenario_shocks_factor_id FOREIGN KEY (factor_id) REFERENCES risk.factor_definitions (factor_id),
    CONSTRAINT ck_stress_scenario_shocks_shock CHECK (abs(shock) < 'Infinity')
);

CREATE INDEX IF NOT EXISTS ix_stress_scenario_shocks_factor_id ON risk.stress_scenario_shocks (factor_id);

-- A position on a day: what it is worth in its currency, how it moves, and why where that is not known.
CREATE TABLE IF NOT EXISTS risk.position_risk (
    calculation_date DATE NOT NULL,
    position VARCHAR(30) NOT NULL,
    portfolio_node_id BIGINT NOT NULL,
    instrument_id BIGINT NOT NULL,
    symbol VARCHAR(29) NOT NULL,
    direction VARCHAR(5) NOT NULL,
    quantity NUMERIC(28, 8) NOT NULL,
    currency VARCHAR(5) NOT NULL,
    price NUMERIC(18, 8),
    price_date DATE,
    price_source VARCHAR(50),
    value DOUBLE PRECISION,
    day_return DOUBLE PRECISION,
    observations INTEGER,
    volatility DOUBLE PRECISION,
    squeeze_level VARCHAR(7),
    greeks JSONB,
    reasons JSONB NOT NULL DEFAULT '{}',
    created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    CONSTRAINT pk_position_risk PRIMARY KEY (calculation_date, position),
    CONSTRAINT fk_position_risk_portfolio_node_id FOREIGN KEY (portfolio_node_id)
    REFERENCES book.portfolio_node (portfolio_node_id),
    CONSTRAINT fk_position_risk_instrument_id FOREIGN KEY (instrument_id) REFERENCES book.instrument (instrument_id),
    CONSTRAINT ck_position_risk_direction CHECK (direction IN ('LONG', 'SHORT')),
    CONSTRAINT ck_position_risk_squeeze_level CHECK (squeeze_level IN ('HIGH', 'MEDIUM', 'LOW', 'UNKNOWN')),
    CONSTRAINT ck_position_risk_finite CHECK (
        abs(value) < 'Infinity' AND abs(day_return) < 'Infinity' AND volatility >= 0 AND volatility < 'Infinity'
    ),
    CONSTRAINT ck_position_risk_value CHECK (value IS NOT NULL OR reasons ? 'value'),
    CONSTRAINT ck_position_risk_reasons CHECK (jsonb_typeof(reasons) = 'object')
);

CREATE INDEX IF NOT EXISTS ix_position_risk_portfolio_node_id ON risk.position_risk (portfolio_node_id);
CREATE INDEX IF NOT EXISTS ix_position_risk_instrument_id ON risk.position_risk (instrument_id);

-- What a position's return is per unit of a factor's, by regression; specific_variance a day, of what no factor explains.
CREATE TABLE IF NOT EXISTS risk.position_factor_exposures (
    calculation_date DATE NOT NULL,
    position VARCHAR(30) NOT NULL,
    factor_id BIGINT NOT NULL,
    beta DOUBLE PRECISION NOT NULL,
    standard_error DOUBLE PRECISION NOT NULL,
    r_squared DOUBLE PRECISION NOT NULL,
    specific_variance DOUBLE PRECISION NOT NULL,
    observations INTEGER NOT NULL,
    created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    CONSTRAINT pk_position_factor_exposures PRIMARY KEY (calculation_date, position, factor_id),
    CONSTRAINT fk_position_factor_exposures_factor_id FOREIGN KEY (factor_id) REFERENCES risk.factor_definitions (factor_id),
    CONSTRAINT ck_position_factor_exposures_finite CHECK (
        abs(beta) < 'Infinity'
        AND standard_error >= 0 AND standard_error < 'Infinity'
        AND r_squared <= 1
        AND specific_variance >= 0 AND specific_variance < 'Infinity'
    )
);

CREATE INDEX IF NOT EXISTS ix_position_factor_exposures_factor_id ON risk.position_factor_exposures (factor_id);

-- Of a day, in the factors' units squared: each pair once, the lower number first, the diagonal too.
CREATE TABLE IF NOT EXISTS risk.factor_covariance (
    calculation_date DATE NOT NULL,
    factor1_id BIGINT NOT NULL,
    factor2_id BIGINT NOT NULL,
    covariance DOUBLE PRECISION NOT NULL,
    shrinkage DOUBLE PRECISION NOT NULL,
    observations INTEGER NOT NULL,
    created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    CONSTRAINT pk_factor_covariance PRIMARY KEY (calculation_date, factor1_id, factor2_id),
    CONSTRAINT fk_factor_covariance_factor1_id FOREIGN KEY (factor1_id) REFERENCES risk.factor_definitions (factor_id),
    CONSTRAINT fk_factor_covariance_factor2_id FOREIGN KEY (factor2_id) REFERENCES risk.factor_definitions (factor_id),
    CONSTRAINT ck_factor_covariance_pair CHECK (factor1_id <= factor2_id),
    CONSTRAINT ck_factor_covariance_covariance CHECK (
        abs(covariance) < 'Infinity' AND (factor1_id <> factor2_id OR covariance >= 0)
    ),
    CONSTRAINT ck_factor_covariance_shrinkage CHECK (shrinkage >= 0 AND shrinkage <= 1)
);

CREATE INDEX IF NOT EXISTS ix_factor_covariance_factor1_id ON risk.factor_covariance (factor1_id);
CREATE INDEX IF NOT EXISTS ix_factor_covariance_factor2_id ON risk.factor_covariance (factor2_id);

-- The same of what positions are of.
CREATE TABLE IF NOT EXISTS risk.instrument_covariance (
    calculation_date DATE NOT NULL,
    instrument1_id BIGINT NOT NULL,
    instrument2_id BIGINT NOT NULL,
    covariance DOUBLE PRECISION NOT NULL,
    shrinkage DOUBLE PRECISION NOT NULL,
    observations INTEGER NOT NULL,
    created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    CONSTRAINT pk_instrument_covariance PRIMARY KEY (calculation_date, instrument1_id, instrument2_id),
    CONSTRAINT fk_instrument_covariance_instrument1_id FOREIGN KEY (instrument1_id) REFERENCES book.instrument (instrument_id),
    CONSTRAINT fk_instrument_covariance_instrument2_id FOREIGN KEY (instrument2_id) REFERENCES book.instrument (instrument_id),
    CONSTRAINT ck_instrument_covariance_pair CHECK (instrument1_id <= instrument2_id),
    CONSTRAINT ck_instrument_covariance_covariance CHECK (
        abs(covariance) < 'Infinity' AND (instrument1_id <> instrument2_id OR covariance >= 0)
    ),
    CONSTRAINT ck_instrument_covariance_shrinkage CHECK (shrinkage >= 0 AND shrinkage <= 1)
);

CREATE INDEX IF NOT EXISTS ix_instrument_covariance_instrument1_id ON risk.instrument_covariance (instrument1_id);
CREATE INDEX IF NOT EXISTS ix_instrument_covariance_instrument2_id ON risk.instrument_covariance (instrument2_id);

-- A node with all below it, in its own currency. Of each measure either what it is or, in reasons, why there is none; left_out says by
-- position what of it is not in the measures, and why.
CREATE TABLE IF NOT EXISTS risk.portfolio_risk (
    calculation_date DATE NOT NULL,
    portfolio_node_id BIGINT NOT NULL,
    currency VARCHAR(5) NOT NULL,
    positions INTEGER NOT NULL,
    measures JSONB NOT NULL DEFAULT '{}',
    reasons JSONB NOT NULL DEFAULT '{}',
    left_out JSONB NOT NULL DEFAULT '{}',
    snapshot JSONB,
    created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    CONSTRAINT pk_portfolio_risk PRIMARY KEY (calculation_date, portfolio_node_id),
    CONSTRAINT fk_portfolio_risk_portfolio_node_id FOREIGN KEY (portfolio_node_id)
    REFERENCES book.portfolio_node (portfolio_node_id),
    CONSTRAINT ck_portfolio_risk_positions CHECK (positions >= 0),
    CONSTRAINT ck_portfolio_risk_measures CHECK (jsonb_typeof(measures) = 'object'),
    CONSTRAINT ck_portfolio_risk_reasons CHECK (jsonb_typeof(reasons) = 'object'),
    CONSTRAINT ck_portfolio_risk_left_out CHECK (jsonb_typeof(left_out) = 'object'),
    CONSTRAINT ck_portfolio_risk_snapshot CHECK (jsonb_typeof(snapshot) = 'object')
);

CREATE INDEX IF NOT EXISTS ix_portfolio_risk_portfolio_node_id ON risk.portfolio_risk (portfolio_node_id);

-- What a scenario costs a position, in its currency, or a node with all below it, in the node's; losses are negative.
CREATE TABLE IF NOT EXISTS risk.stress_results (
    id BIGINT GENERATED ALWAYS AS IDENTITY CONSTRAINT pk_stress_results PRIMARY KEY,
    calculation_date DATE NOT NULL,
    scenario_id BIGINT NOT NULL,
    position VARCHAR(30),
    portfolio_node_id BIGINT,
    currency VARCHAR(5) NOT NULL,
    pnl DOUBLE PRECISION,
    left_out INTEGER NOT NULL DEFAULT 0,
    reason VARCHAR(500),
    created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    CONSTRAINT uq_stress_results_of UNIQUE NULLS NOT DISTINCT (calculation_date, scenario_id, position, portfolio_node_id),
    CONSTRAINT fk_stress_results_scenario_id FOREIGN KEY (scenario_id) REFERENCES risk.stress_scenarios (scenario_id),
    CONSTRAINT fk_stress_results_portfolio_node_id FOREIGN KEY (portfolio_node_id)
    REFERENCES book.portfolio_node (portfolio_node_id),
    CONSTRAINT ck_stress_results_whose CHECK (num_nonnulls(position, portfolio_node_id) = 1),
    CONSTRAINT ck_stress_results_pnl CHECK (abs(pnl) < 'Infinity' AND (pnl IS NULL) = (reason IS NOT NULL)),
    CONSTRAINT ck_stress_results_left_out CHECK (left_out >= 0)
);

CREATE INDEX IF NOT EXISTS ix_stress_results_scenario_id ON risk.stress_results (scenario_id);
CREATE INDEX IF NOT EXISTS ix_stress_results_portfolio_node_id ON risk.stress_results (portfolio_node_id);

-- Each attempt at a step of a day's run; one that was asked for again is another run.
CREATE TABLE IF NOT EXISTS risk.calculation_audit_log (
    id BIGINT GENERATED ALWAYS AS IDENTITY CONSTRAINT pk_calculation_audit_log PRIMARY KEY,
    calculation_type VARCHAR(50) NOT NULL,
    portfolio_node_id BIGINT,
    calculation_date DATE NOT NULL,
    run INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    start_time TIMESTAMPTZ NOT NULL,
    end_time TIMESTAMPTZ,
    status VARCHAR(20) NOT NULL,
    records_processed INTEGER,
    error_message TEXT,
    created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    CONSTRAINT uq_calculation_audit_log_attempt UNIQUE NULLS NOT DISTINCT (
        calculation_date, calculation_type, portfolio_node_id, run, attempt
    ),
    CONSTRAINT fk_calculation_audit_log_portfolio_node_id FOREIGN KEY (portfolio_node_id)
    REFERENCES book.portfolio_node (portfolio_node_id),
    CONSTRAINT ck_calculation_audit_log_calculation_type CHECK (btrim(calculation_type) <> ''),
    CONSTRAINT ck_calculation_audit_log_status CHECK (status IN ('running', 'completed', 'failed')),
    CONSTRAINT ck_calculation_audit_log_run CHECK (run > 0 AND attempt > 0),
    CONSTRAINT ck_calculation_audit_log_ended CHECK (
        (status = 'running') = (end_time IS NULL)
        AND (status = 'completed') = (records_processed IS NOT NULL)
        AND (status = 'failed') = (error_message IS NOT NULL)
    ),
    CONSTRAINT ck_calculation_audit_log_records_processed CHECK (records_processed >= 0)
);

CREATE INDEX IF NOT EXISTS ix_calculation_audit_log_portfolio_node_id ON risk.calculation_audit_log (portfolio_node_id);
