-- The kernel's schema of one portfolio. Idempotent, without transaction control, schema name or psql command:
-- `migrate` runs it inside the portfolio's schema, and `psql -f` by hand does the same in the first schema of search_path.
-- Prices NUMERIC(18,8) in points, money NUMERIC(20,4), percentages NUMERIC(12,6), times TIMESTAMPTZ.

CREATE TABLE IF NOT EXISTS portfolio_positions (
    position_id VARCHAR(50) CONSTRAINT pk_portfolio_positions PRIMARY KEY,
    instrument VARCHAR(29) NOT NULL,
    layer VARCHAR(20) NOT NULL,
    side VARCHAR(5) NOT NULL,
    status VARCHAR(10) NOT NULL,
    strategy_id VARCHAR(50),
    entry_timestamp TIMESTAMPTZ NOT NULL,
    entry_bar_time TIMESTAMPTZ,
    entry_price NUMERIC(18, 8) NOT NULL,
    entry_lots INTEGER NOT NULL,
    entry_costs NUMERIC(20, 4) NOT NULL DEFAULT 0,
    lots INTEGER NOT NULL,
    quantity NUMERIC(18, 8) NOT NULL,
    lot_size NUMERIC(18, 8) NOT NULL,
    point_value NUMERIC(18, 8) NOT NULL,
    initial_stop NUMERIC(18, 8),
    current_stop NUMERIC(18, 8),
    highest_close NUMERIC(18, 8) NOT NULL,
    atr NUMERIC(18, 8),
    mark_price NUMERIC(18, 8) NOT NULL,
    mark_time TIMESTAMPTZ NOT NULL,
    unrealized_pnl NUMERIC(20, 4) NOT NULL DEFAULT 0,
    realized_pnl NUMERIC(20, 4) NOT NULL DEFAULT 0,
    costs NUMERIC(20, 4) NOT NULL DEFAULT 0,
    exit_timestamp TIMESTAMPTZ,
    exit_price NUMERIC(18, 8),
    exit_reason VARCHAR(1000),
    rollover_status VARCHAR(11) NOT NULL DEFAULT 'none',
    original_expiry DATE,
    original_strike NUMERIC(18, 8),
    original_entry_price NUMERIC(18, 8),
    rollover_timestamp TIMESTAMPTZ,
    rollover_pnl NUMERIC(20, 4) NOT NULL DEFAULT 0,
    rollover_count INTEGER NOT NULL DEFAULT 0,
    strike NUMERIC(18, 8),
    expiry DATE,
    pe_symbol VARCHAR(50),
    ce_symbol VARCHAR(50),
    pe_order_id VARCHAR(64),
    ce_order_id VARCHAR(64),
    pe_entry_price NUMERIC(18, 8),
    ce_entry_price NUMERIC(18, 8),
    contract_month VARCHAR(20),
    futures_symbol VARCHAR(50),
    futures_order_id VARCHAR(64),
    limiter VARCHAR(30),
    risk_contribution NUMERIC(20, 4) NOT NULL DEFAULT 0,
    vol_contribution NUMERIC(20, 4) NOT NULL DEFAULT 0,
    is_base_position BOOLEAN NOT NULL DEFAULT FALSE,
    version INTEGER NOT NULL DEFAULT 1,
    created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    updated_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    CONSTRAINT ck_portfolio_positions_side CHECK (side IN ('long', 'short')),
    CONSTRAINT ck_portfolio_positions_status CHECK (status IN ('open', 'closed', 'partial')),
    CONSTRAINT ck_portfolio_positions_rollover_status
    CHECK (rollover_status IN ('none', 'pending', 'in_progress', 'rolled', 'failed')),
    CONSTRAINT ck_portfolio_positions_entry_lots CHECK (entry_lots > 0),
    CONSTRAINT ck_portfolio_positions_lots CHECK (lots >= 0 AND lots <= entry_lots),
    CONSTRAINT ck_portfolio_positions_status_fits_lots CHECK (
        (status = 'open' AND lots = entry_lots)
        OR (status = 'partial' AND lots > 0 AND lots < entry_lots)
        OR (status = 'closed' AND lots = 0)
    ),
    CONSTRAINT ck_portfolio_positions_quantity CHECK (quantity = lots * lot_size),
    CONSTRAINT ck_portfolio_positions_version CHECK (version > 0)
);

CREATE INDEX IF NOT EXISTS ix_portfolio_positions_instrument_status ON portfolio_positions (instrument, status);
CREATE INDEX IF NOT EXISTS ix_portfolio_positions_status ON portfolio_positions (status);
CREATE INDEX IF NOT EXISTS ix_portfolio_positions_created_at ON portfolio_positions (created_at);
CREATE INDEX IF NOT EXISTS ix_portfolio_positions_instrument_entry ON portfolio_positions (instrument, entry_timestamp);
CREATE INDEX IF NOT EXISTS ix_portfolio_positions_rollover ON portfolio_positions (rollover_status, expiry);

CREATE TABLE IF NOT EXISTS portfolio_state (
    id SMALLINT CONSTRAINT pk_portfolio_state PRIMARY KEY,
    initial_capital NUMERIC(20, 4) NOT NULL,
    closed_equity NUMERIC(20, 4) NOT NULL,
    realized_total NUMERIC(20, 4) NOT NULL DEFAULT 0,
    flows_total NUMERIC(20, 4) NOT NULL DEFAULT 0,
    equity_high NUMERIC(20, 4) NOT NULL,
    total_risk_amount NUMERIC(20, 4) NOT NULL DEFAULT 0,
    total_risk_percent NUMERIC(12, 6),
    total_vol_amount NUMERIC(20, 4) NOT NULL DEFAULT 0,
    margin_used NUMERIC(20, 4) NOT NULL DEFAULT 0,
    halted BOOLEAN NOT NULL DEFAULT FALSE,
    statistics JSONB NOT NULL DEFAULT '{}',
    version INTEGER NOT NULL DEFAULT 1,
    updated_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    CONSTRAINT ck_portfolio_state_single_row CHECK (id = 1),
    CONSTRAINT ck_portfolio_state_initial_capital CHECK (initial_capital > 0),
    CONSTRAINT ck_portfolio_state_version CHECK (version > 0)
);

CREATE TABLE IF NOT EXISTS pyramiding_state (
    instrument VARCHAR(29) CONSTRAINT pk_pyramiding_state PRIMARY KEY,
    last_pyramid_price NUMERIC(18, 8),
    base_position_id VARCHAR(50),
    frozen_reason VARCHAR(500),
    updated_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    CONSTRAINT fk_pyramiding_state_base_position FOREIGN KEY (base_position_id)
    REFERENCES portfolio_positions (position_id) ON DELETE SET NULL
);

CREATE TABLE IF NOT EXISTS signal_log (
    id BIGINT GENERATED ALWAYS AS IDENTITY CONSTRAINT pk_signal_log PRIMARY KEY,
    instrument VARCHAR(29) NOT NULL,
    signal_type VARCHAR(11) NOT NULL,
    position VARCHAR(20) NOT NULL,
    signal_timestamp TIMESTAMPTZ NOT NULL,
    bar_time TIMESTAMPTZ,
    fingerprint VARCHAR(64) NOT NULL CONSTRAINT uq_signal_log_fingerprint UNIQUE,
    is_duplicate BOOLEAN NOT NULL DEFAULT FALSE,
    deliveries INTEGER NOT NULL DEFAULT 1,
    received_at TIMESTAMPTZ NOT NULL,
    processed_at TIMESTAMPTZ,
    processed_by_instance VARCHAR(64),
    processing_status VARCHAR(8) NOT NULL DEFAULT 'received',
    outcome JSONB,
    payload JSONB NOT NULL DEFAULT '{}',
    CONSTRAINT ck_signal_log_signal_type CHECK (signal_type IN ('BASE_ENTRY', 'PYRAMID', 'EXIT', 'MARKET_DATA')),
    CONSTRAINT ck_signal_log_processing_status CHECK (
        processing_status IN ('received', 'accepted', 'proposed', 'rejected', 'blocked', 'executed', 'failed')
    ),
    CONSTRAINT ck_signal_log_fingerprint CHECK (fingerprint ~ '^[0-9a-f]{64}$'),
    CONSTRAINT ck_signal_log_deliveries CHECK (deliveries > 0),
    CONSTRAINT ck_signal_log_final_has_outcome CHECK (processing_status = 'received' OR outcome IS NOT NULL)
);

CREATE INDEX IF NOT EXISTS ix_signal_log_processed_at ON signal_log (processed_at);
CREATE INDEX IF NOT EXISTS ix_signal_log_instrument_timestamp ON signal_log (instrument, signal_timestamp);
-- What waits to be decided at a start: a handful of rows, found without reading history.
CREATE INDEX IF NOT EXISTS ix_signal_log_received ON signal_log (id) WHERE processing_status = 'received';

CREATE TABLE IF NOT EXISTS instance_metadata (
    instance_id VARCHAR(64) CONSTRAINT pk_instance_metadata PRIMARY KEY,
    started_at TIMESTAMPTZ NOT NULL,
    last_heartbeat TIMESTAMPTZ NOT NULL,
    last_signal_processed TIMESTAMPTZ,
    is_leader BOOLEAN NOT NULL DEFAULT FALSE,
    leader_acquired_at TIMESTAMPTZ,
    status VARCHAR(10) NOT NULL,
    hostname VARCHAR(255) NOT NULL,
    port INTEGER,
    version VARCHAR(20) NOT NULL,
    created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    updated_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    CONSTRAINT ck_instance_metadata_status CHECK (status IN ('active', 'standby', 'recovering', 'crashed')),
    CONSTRAINT ck_instance_metadata_port CHECK (port BETWEEN 0 AND 65535)
);

CREATE INDEX IF NOT EXISTS ix_instance_metadata_last_heartbeat ON instance_metadata (last_heartbeat);

-- One row, changed at handover only: every write transaction locks it FOR SHARE and must not meet renewals there.
CREATE TABLE IF NOT EXISTS leadership (
    id SMALLINT CONSTRAINT pk_leadership PRIMARY KEY,
    term BIGINT NOT NULL,
    instance_id VARCHAR(64) NOT NULL,
    acquired_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    CONSTRAINT ck_leadership_single_row CHECK (id = 1),
    CONSTRAINT ck_leadership_term CHECK (term > 0)
);

-- One row per input. seq is given by the writer, without gaps: a database sequence leaves some. content_hash is over the
-- row and the hash of the row before it; what was written is never changed or removed, also not by the owner.
CREATE TABLE IF NOT EXISTS decision_journal (
    seq BIGINT CONSTRAINT pk_decision_journal PRIMARY KEY,
    format SMALLINT NOT NULL,
    kind VARCHAR(20) NOT NULL,
    fingerprint VARCHAR(64),
    request_id VARCHAR(100),
    input JSONB NOT NULL,
    figures JSONB NOT NULL,
    outcome JSONB NOT NULL,
    events JSONB NOT NULL,
    term BIGINT NOT NULL,
    rules_version INTEGER NOT NULL,
    decided_at TIMESTAMPTZ NOT NULL,
    recorded_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    content_hash VARCHAR(64) NOT NULL,
    CONSTRAINT ck_decision_journal_content_hash CHECK (content_hash ~ '^[0-9a-f]{64}$'),
    CONSTRAINT ck_decision_journal_seq CHECK (seq > 0),
    CONSTRAINT ck_decision_journal_kind CHECK (
        kind IN ('genesis', 'settings', 'term', 'signal', 'halt', 'resume', 'close', 'capital', 'manual')
    )
);

CREATE UNIQUE INDEX IF NOT EXISTS uq_decision_journal_fingerprint ON decision_journal (fingerprint)
WHERE fingerprint IS NOT NULL;
CREATE UNIQUE INDEX IF NOT EXISTS uq_decision_journal_request_id ON decision_journal (request_id)
WHERE request_id IS NOT NULL;
-- The settings in force are the last entry of their kind.
CREATE INDEX IF NOT EXISTS ix_decision_journal_settings ON decision_journal (seq) WHERE kind = 'settings';

CREATE OR REPLACE FUNCTION refuse_journal_change() RETURNS TRIGGER
LANGUAGE plpgsql
SET search_path FROM CURRENT
AS $$
BEGIN
    RAISE EXCEPTION 'decision_journal is append-only: % is refused', TG_OP
        USING ERRCODE = 'restrict_violation', HINT = 'a mistake is put right by a new entry';
END
$$;

CREATE OR REPLACE TRIGGER journal_rows_stay BEFORE UPDATE OR DELETE ON decision_journal
FOR EACH ROW EXECUTE FUNCTION refuse_journal_change();
CREATE OR REPLACE TRIGGER journal_stays BEFORE TRUNCATE ON decision_journal
FOR EACH STATEMENT EXECUTE FUNCTION refuse_journal_change();
-- ALWAYS: also in a session that calls itself a replica.
ALTER TABLE decision_journal ENABLE ALWAYS TRIGGER journal_rows_stay;
ALTER TABLE decision_journal ENABLE ALWAYS TRIGGER journal_stays;

CREATE TABLE IF NOT EXISTS capital_flows (
    journal_seq BIGINT CONSTRAINT pk_capital_flows PRIMARY KEY,
    amount NUMERIC(20, 4) NOT NULL,
    note VARCHAR(500),
    flowed_at TIMESTAMPTZ NOT NULL,
    CONSTRAINT fk_capital_flows_journal FOREIGN KEY (journal_seq) REFERENCES decision_journal (seq),
    CONSTRAINT ck_capital_flows_amount CHECK (amount <> 0)
);

-- Empties payloads of decided signals older than that many days; says how many. Fingerprint and outcome stay, so that
-- an old alert never becomes executable again; what waits to be decided is spared.
CREATE OR REPLACE FUNCTION cleanup_old_signals(retention_days INTEGER DEFAULT 30) RETURNS BIGINT
LANGUAGE sql
SET search_path FROM CURRENT
AS $$
    WITH emptied AS (
        UPDATE signal_log
        SET payload = '{}'
        WHERE processed_at < now() - make_interval(days => retention_days)
            AND processing_status <> 'received'
            AND payload <> '{}'
        RETURNING id
    )
    SELECT count(*) FROM emptied;
$$;
