-- Portfolio management: positions in two currencies, proposals, drafts of journal entries, briefings, daily P&L. Idempotent.

-- A position of the engine's, of a person's, or of a file's. Money is in the base currency, and in US dollars where the rate is known:
-- entry_fx_rate is how much of the base currency one dollar was. A risk that the instrument does not have is NULL.
CREATE TABLE IF NOT EXISTS book.portfolio_positions (
    id BIGINT GENERATED ALWAYS AS IDENTITY CONSTRAINT pk_portfolio_positions PRIMARY KEY,
    portfolio_node_id BIGINT NOT NULL,
    instrument_id BIGINT NOT NULL,
    source VARCHAR(6) NOT NULL,
    portfolio VARCHAR(30),
    engine_position_id VARCHAR(50),
    batch_id BIGINT,
    direction VARCHAR(5) NOT NULL,
    quantity NUMERIC(28, 8) NOT NULL,
    base_ccy VARCHAR(5) NOT NULL,
    notional_base NUMERIC(20, 4) NOT NULL,
    notional_usd NUMERIC(20, 4),
    entry_fx_rate NUMERIC(18, 8),
    entry_price NUMERIC(18, 8) NOT NULL,
    entry_timestamp TIMESTAMPTZ NOT NULL,
    entry_dv01 NUMERIC(20, 4),
    entry_delta NUMERIC(18, 8),
    entry_convexity NUMERIC(18, 8),
    entry_var_contribution NUMERIC(20, 4),
    entry_spread_duration NUMERIC(12, 6),
    strategy_ids TEXT[] NOT NULL DEFAULT '{}',
    strategy_weights JSONB NOT NULL DEFAULT '{}',
    transaction_costs_base NUMERIC(20, 4) NOT NULL DEFAULT 0,
    realized_pnl_base NUMERIC(20, 4) NOT NULL DEFAULT 0,
    realized_pnl_usd NUMERIC(20, 4),
    is_open BOOLEAN NOT NULL DEFAULT TRUE,
    exit_price NUMERIC(18, 8),
    exit_fx_rate NUMERIC(18, 8),
    exit_timestamp TIMESTAMPTZ,
    notes VARCHAR(2000),
    created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    updated_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    CONSTRAINT uq_portfolio_positions_portfolio_engine_position_id UNIQUE (portfolio, engine_position_id),
    CONSTRAINT fk_portfolio_positions_portfolio_node_id FOREIGN KEY (portfolio_node_id)
    REFERENCES book.portfolio_node (portfolio_node_id),
    CONSTRAINT fk_portfolio_positions_instrument_id FOREIGN KEY (instrument_id) REFERENCES book.instrument (instrument_id),
    CONSTRAINT fk_portfolio_positions_portfolio FOREIGN KEY (portfolio) REFERENCES book.live_portfolio (portfolio),
    CONSTRAINT fk_portfolio_positions_batch_id FOREIGN KEY (batch_id) REFERENCES book.ingestion_batch (batch_id),
    CONSTRAINT ck_portfolio_positions_source CHECK (source IN ('engine', 'manual', 'import')),
    CONSTRAINT ck_portfolio_positions_of_engine CHECK (
        (source = 'engine') = (engine_position_id IS NOT NULL) AND (engine_position_id IS NULL) = (portfolio IS NULL)
    ),
    CONSTRAINT ck_portfolio_positions_direction CHECK (direction IN ('LONG', 'SHORT')),
    CONSTRAINT ck_portfolio_positions_quantity CHECK (quantity > 0),
    CONSTRAINT ck_portfolio_positions_base_ccy CHECK (base_ccy ~ '^[A-Z]{3,5}$'),
    CONSTRAINT ck_portfolio_positions_entry_fx_rate CHECK (
        entry_fx_rate > 0 AND (base_ccy <> 'USD' OR entry_fx_rate = 1)
    ),
    CONSTRAINT ck_portfolio_positions_exit_fx_rate CHECK (exit_fx_rate > 0 AND (base_ccy <> 'USD' OR exit_fx_rate = 1)),
    CONSTRAINT ck_portfolio_positions_notional_usd CHECK (
        (notional_usd IS NULL) = (entry_fx_rate IS NULL)
        AND (notional_usd IS NULL OR abs(notional_usd - notional_base / entry_fx_rate) <= 0.0001)
    ),
    CONSTRAINT ck_portfolio_positions_strategy_weights CHECK (
        jsonb_typeof(strategy_weights) = 'object' AND strategy_weights ?& strategy_ids
    ),
    CONSTRAINT ck_portfolio_positions_closed CHECK (is_open = (exit_timestamp IS NULL)),
    CONSTRAINT ck_portfolio_positions_exit CHECK (exit_timestamp >= entry_timestamp)
);

CREATE INDEX IF NOT EXISTS ix_portfolio_positions_portfolio_node_id_is_open
ON book.portfolio_positions (portfolio_node_id, is_open);
CREATE INDEX IF NOT EXISTS ix_portfolio_positions_instrument_id_is_open ON book.portfolio_positions (instrument_id, is_open);
CREATE INDEX IF NOT EXISTS ix_portfolio_positions_entry_timestamp ON book.portfolio_positions (entry_timestamp);
CREATE INDEX IF NOT EXISTS ix_portfolio_positions_batch_id ON book.portfolio_positions (batch_id);

-- What the journals say of signals that wait for a person, as the kernel's own `proposals` do: it can be made from them again. An EXIT
-- of ALL layers has no direction; the lots of a decision are what was done.
CREATE TABLE IF NOT EXISTS book.trade_proposals (
    id BIGINT GENERATED ALWAYS AS IDENTITY CONSTRAINT pk_trade_proposals PRIMARY KEY,
    portfolio VARCHAR(30) NOT NULL,
    proposal_id VARCHAR(17) NOT NULL,
    journal_seq BIGINT NOT NULL,
    fingerprint VARCHAR(64) NOT NULL,
    instrument VARCHAR(29) NOT NULL,
    signal_type VARCHAR(11) NOT NULL,
    layer VARCHAR(20) NOT NULL,
    direction VARCHAR(5),
    rule VARCHAR(20) NOT NULL,
    lots INTEGER NOT NULL,
    limiter VARCHAR(30),
    price NUMERIC(18, 8) NOT NULL,
    stop NUMERIC(18, 8),
    notional_base NUMERIC(20, 4),
    notional_usd NUMERIC(20, 4),
    risk_impact JSONB NOT NULL DEFAULT '{}',
    strategy_ids TEXT[] NOT NULL DEFAULT '{}',
    rationale VARCHAR(2000),
    status VARCHAR(8) NOT NULL DEFAULT 'PENDING',
    proposed_at TIMESTAMPTZ NOT NULL,
    expires_at TIMESTAMPTZ,
    decided_seq BIGINT,
    decided_at TIMESTAMPTZ,
    decided_by VARCHAR(100),
    decided_lots INTEGER,
    decided_price NUMERIC(18, 8),
    decision_note VARCHAR(2000),
    created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    updated_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    CONSTRAINT uq_trade_proposals_portfolio_proposal_id UNIQUE (portfolio, proposal_id),
    CONSTRAINT ck_trade_proposals_fingerprint CHECK (fingerprint ~ '^[0-9a-f]{64}$'),
    CONSTRAINT ck_trade_proposals_signal_type CHECK (signal_type IN ('BASE_ENTRY', 'PYRAMID', 'EXIT')),
    CONSTRAINT ck_trade_proposals_direction CHECK (direction IN ('LONG', 'SHORT')),
    CONSTRAINT ck_trade_proposals_direction_of_entries CHECK (signal_type = 'EXIT' OR direction IS NOT NULL),
    CONSTRAINT ck_trade_proposals_lots CHECK (lots >= 0 AND decided_lots >= 0),
    CONSTRAINT ck_trade_proposals_price CHECK (price > 0),
    CONSTRAINT ck_trade_proposals_status CHECK (status IN ('PENDING', 'APPROVED', 'REJECTED', 'MODIFIED', 'EXPIRED')),
    CONSTRAINT ck_trade_proposals_decided CHECK (
        (status = 'PENDING') = (decided_at IS NULL)
        AND (decided_at IS NULL) = (decided_seq IS NULL)
        AND decided_seq > journal_seq
    ),
    CONSTRAINT ck_trade_proposals_rejection_has_note CHECK (
        status <> 'REJECTED' OR btrim(coalesce(decision_note, '')) <> ''
    ),
    CONSTRAINT ck_trade_proposals_decided_lots CHECK (
        (status IN ('APPROVED', 'MODIFIED') OR decided_lots IS NULL) AND (status <> 'MODIFIED' OR decided_lots IS NOT NULL)
    ),
    CONSTRAINT ck_trade_proposals_risk_impact CHECK (jsonb_typeof(risk_impact) = 'object')
);

CREATE INDEX IF NOT EXISTS ix_trade_proposals_portfolio_journal_seq ON book.trade_proposals (portfolio, journal_seq);
CREATE INDEX IF NOT EXISTS ix_trade_proposals_portfolio_status ON book.trade_proposals (portfolio, status);
CREATE INDEX IF NOT EXISTS ix_trade_proposals_proposed_at ON book.trade_proposals (proposed_at);

CREATE OR REPLACE FUNCTION book.keep_decided_proposal() RETURNS TRIGGER
LANGUAGE plpgsql
AS $$
BEGIN
    IF OLD.status <> 'PENDING' AND (NEW.status, NEW.decided_seq) <> (OLD.status, OLD.decided_seq) THEN
        RAISE EXCEPTION 'proposal % of % is %: % does not follow', OLD.proposal_id, OLD.portfolio, OLD.status, NEW.status
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NEW;
END
$$;

CREATE OR REPLACE TRIGGER proposals_are_decided_once BEFORE UPDATE ON book.trade_proposals
FOR EACH ROW EXECUTE FUNCTION book.keep_decided_proposal();

-- What a person writes before it is an entry of the kernel's journal, which it becomes under this request_id. Locked, it is what was
-- handed in: the engine keeps it in its one chain, and nobody changes it here.
CREATE TABLE IF NOT EXISTS book.decision_drafts (
    id BIGINT GENERATED ALWAYS AS IDENTITY CONSTRAINT pk_decision_drafts PRIMARY KEY,
    request_id VARCHAR(100) NOT NULL,
    portfolio VARCHAR(30) NOT NULL,
    entry_type VARCHAR(10) NOT NULL,
    author VARCHAR(100) NOT NULL,
    title VARCHAR(200) NOT NULL,
    body VARCHAR(10000) NOT NULL DEFAULT '',
    engine_position_id VARCHAR(50),
    proposal_id VARCHAR(17),
    tags TEXT[] NOT NULL DEFAULT '{}',
    market_snapshot JSONB NOT NULL DEFAULT '{}',
    portfolio_snapshot JSONB NOT NULL DEFAULT '{}',
    is_locked BOOLEAN NOT NULL DEFAULT FALSE,
    locked_at TIMESTAMPTZ,
    content_hash VARCHAR(64),
    created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    updated_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    CONSTRAINT uq_decision_drafts_request_id UNIQUE (request_id),
    CONSTRAINT ck_decision_drafts_entry_type CHECK (entry_type IN ('NOTE', 'APPROVAL', 'REJECTION', 'OVERRIDE')),
    CONSTRAINT ck_decision_drafts_title CHECK (btrim(title) <> ''),
    CONSTRAINT ck_decision_drafts_market_snapshot CHECK (jsonb_typeof(market_snapshot) = 'object'),
    CONSTRAINT ck_decision_drafts_portfolio_snapshot CHECK (jsonb_typeof(portfolio_snapshot) = 'object'),
    CONSTRAINT ck_decision_drafts_locked CHECK (
        is_locked = (content_hash IS NOT NULL) AND is_locked = (locked_at IS NOT NULL)
    )
);

CREATE INDEX IF NOT EXISTS ix_decision_drafts_portfolio_created_at ON book.decision_drafts (portfolio, created_at);

CREATE OR REPLACE TRIGGER locked_drafts_stay BEFORE INSERT OR UPDATE OR DELETE ON book.decision_drafts
FOR EACH ROW EXECUTE FUNCTION book.keep_locked_row();
CREATE OR REPLACE TRIGGER drafts_stay BEFORE TRUNCATE ON book.decision_drafts
FOR EACH STATEMENT EXECUTE FUNCTION book.refuse_change();
ALTER TABLE book.decision_drafts ENABLE ALWAYS TRIGGER locked_drafts_stay;
ALTER TABLE book.decision_drafts ENABLE ALWAYS TRIGGER drafts_stay;

-- One a portfolio and trading day; locked once it was sent. journal_seq: up to which entry it tells.
CREATE TABLE IF NOT EXISTS book.daily_briefings (
    id BIGINT GENERATED ALWAYS AS IDENTITY CONSTRAINT pk_daily_briefings PRIMARY KEY,
    portfolio VARCHAR(30) NOT NULL,
    briefing_date DATE NOT NULL,
    journal_seq BIGINT NOT NULL,
    portfolio_snapshot JSONB NOT NULL DEFAULT '{}',
    market_snapshot JSONB NOT NULL DEFAULT '{}',
    risk_summary JSONB NOT NULL DEFAULT '{}',
    action_items JSONB NOT NULL DEFAULT '[]',
    sections JSONB NOT NULL DEFAULT '{}',
    generated_at TIMESTAMPTZ NOT NULL,
    is_locked BOOLEAN NOT NULL DEFAULT FALSE,
    locked_at TIMESTAMPTZ,
    content_hash VARCHAR(64),
    created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    CONSTRAINT uq_daily_briefings_portfolio_briefing_date UNIQUE (portfolio, briefing_date),
    CONSTRAINT ck_daily_briefings_journal_seq CHECK (journal_seq >= 0),
    CONSTRAINT ck_daily_briefings_portfolio_snapshot CHECK (jsonb_typeof(portfolio_snapshot) = 'object'),
    CONSTRAINT ck_daily_briefings_market_snapshot CHECK (jsonb_typeof(market_snapshot) = 'object'),
    CONSTRAINT ck_daily_briefings_risk_summary CHECK (jsonb_typeof(risk_summary) = 'object'),
    CONSTRAINT ck_daily_briefings_action_items CHECK (jsonb_typeof(action_items) = 'array'),
    CONSTRAINT ck_daily_briefings_sections CHECK (jsonb_typeof(sections) = 'object'),
    CONSTRAINT ck_daily_briefings_locked CHECK (
        is_locked = (content_hash IS NOT NULL) AND is_locked = (locked_at IS NOT NULL)
    )
);

CREATE INDEX IF NOT EXISTS ix_daily_briefings_briefing_date ON book.daily_briefings (briefing_date);

CREATE OR REPLACE TRIGGER locked_briefings_stay BEFORE INSERT OR UPDATE OR DELETE ON book.daily_briefings
FOR EACH ROW EXECUTE FUNCTION book.keep_locked_row();
CREATE OR REPLACE TRIGGER briefings_stay BEFORE TRUNCATE ON book.daily_briefings
FOR EACH STATEMENT EXECUTE FUNCTION book.refuse_change();
ALTER TABLE book.daily_briefings ENABLE ALWAYS TRIGGER locked_briefings_stay;
ALTER TABLE book.daily_briefings ENABLE ALWAYS TRIGGER briefings_stay;

-- A position's marks, one a day. With TimescaleDB it is a hypertable: therefore the key has the day in it, and position_id is that of
-- a portfolio_positions row without a foreign key.
CREATE TABLE IF NOT EXISTS book.position_pnl_history (
    id BIGINT GENERATED ALWAYS AS IDENTITY,
    snapshot_date DATE NOT NULL,
    position_id BIGINT NOT NULL,
    quantity NUMERIC(28, 8) NOT NULL,
    mark_price NUMERIC(18, 8) NOT NULL,
    fx_rate NUMERIC(18, 8),
    notional_base NUMERIC(20, 4) NOT NULL,
    notional_usd NUMERIC(20, 4),
    unrealized_pnl_base NUMERIC(20, 4) NOT NULL,
    unrealized_pnl_usd NUMERIC(20, 4),
    realized_pnl_base NUMERIC(20, 4) NOT NULL DEFAULT 0,
    realized_pnl_usd NUMERIC(20, 4),
    daily_pnl_base NUMERIC(20, 4) NOT NULL,
    daily_pnl_usd NUMERIC(20, 4),
    dv01 NUMERIC(20, 4),
    delta NUMERIC(18, 8),
    var_contribution NUMERIC(20, 4),
    created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    CONSTRAINT pk_position_pnl_history PRIMARY KEY (id, snapshot_date),
    CONSTRAINT uq_position_pnl_history_position_id_snapshot_date UNIQUE (position_id, snapshot_date),
    CONSTRAINT ck_position_pnl_history_fx_rate CHECK (fx_rate > 0),
    CONSTRAINT ck_position_pnl_history_usd CHECK (
        (fx_rate IS NULL) = (notional_usd IS NULL)
        AND (fx_rate IS NULL) = (unrealized_pnl_usd IS NULL)
        AND (fx_rate IS NULL) = (realized_pnl_usd IS NULL)
        AND (fx_rate IS NULL) = (daily_pnl_usd IS NULL)
    )
);

CREATE INDEX IF NOT EXISTS ix_position_pnl_history_snapshot_date ON book.position_pnl_history (snapshot_date);
