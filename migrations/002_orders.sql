-- Orders and their fills: what a broker is asked to do, and what came of it. Idempotent, as 001 is.

CREATE TABLE IF NOT EXISTS orders (
    client_order_id VARCHAR(40) CONSTRAINT pk_orders PRIMARY KEY,
    journal_seq BIGINT NOT NULL,
    position_id VARCHAR(50) NOT NULL,
    instrument VARCHAR(29) NOT NULL,
    layer VARCHAR(20) NOT NULL,
    side VARCHAR(5) NOT NULL,
    purpose VARCHAR(5) NOT NULL,
    attempt INTEGER NOT NULL,
    lots INTEGER NOT NULL,
    lot_size NUMERIC(18, 8) NOT NULL,
    point_value NUMERIC(18, 8) NOT NULL,
    reference_price NUMERIC(18, 8) NOT NULL,
    reason VARCHAR(1000),
    plan JSONB,
    state VARCHAR(9) NOT NULL,
    cancel_asked BOOLEAN NOT NULL DEFAULT FALSE,
    filled_lots INTEGER NOT NULL DEFAULT 0,
    average_price NUMERIC(18, 8),
    broker_order_id VARCHAR(100),
    message VARCHAR(1000),
    risk_reserved NUMERIC(20, 4) NOT NULL DEFAULT 0,
    vol_reserved NUMERIC(20, 4) NOT NULL DEFAULT 0,
    settled BOOLEAN NOT NULL DEFAULT FALSE,
    version INTEGER NOT NULL DEFAULT 1,
    created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    updated_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    CONSTRAINT fk_orders_journal FOREIGN KEY (journal_seq) REFERENCES decision_journal (seq),
    CONSTRAINT ck_orders_side CHECK (side IN ('long', 'short')),
    CONSTRAINT ck_orders_purpose CHECK (purpose IN ('entry', 'exit')),
    CONSTRAINT ck_orders_state CHECK (
        state IN ('intent', 'sent', 'working', 'partial', 'filled', 'cancelled', 'rejected', 'in_doubt')
    ),
    CONSTRAINT ck_orders_lots CHECK (lots > 0 AND filled_lots >= 0 AND filled_lots <= lots),
    CONSTRAINT ck_orders_filled CHECK ((state = 'filled') = (filled_lots = lots)),
    CONSTRAINT ck_orders_partial CHECK (state <> 'partial' OR filled_lots > 0),
    CONSTRAINT ck_orders_plan CHECK ((purpose = 'entry') = (plan IS NOT NULL)),
    CONSTRAINT ck_orders_settled CHECK (NOT settled OR state IN ('filled', 'cancelled', 'rejected')),
    CONSTRAINT ck_orders_version CHECK (version > 0)
);

-- What a start loads, and the dispatcher works on: a handful of rows, found without reading history.
CREATE INDEX IF NOT EXISTS ix_orders_unsettled ON orders (client_order_id) WHERE NOT settled;
CREATE INDEX IF NOT EXISTS ix_orders_position ON orders (position_id);
CREATE INDEX IF NOT EXISTS ix_orders_journal_seq ON orders (journal_seq);

CREATE TABLE IF NOT EXISTS fills (
    client_order_id VARCHAR(40) NOT NULL,
    fill_id VARCHAR(100) NOT NULL,
    number INTEGER NOT NULL,
    lots INTEGER NOT NULL,
    price NUMERIC(18, 8) NOT NULL,
    filled_at TIMESTAMPTZ NOT NULL,
    journal_seq BIGINT NOT NULL,
    CONSTRAINT pk_fills PRIMARY KEY (client_order_id, fill_id),
    CONSTRAINT fk_fills_order FOREIGN KEY (client_order_id) REFERENCES orders (client_order_id),
    CONSTRAINT fk_fills_journal FOREIGN KEY (journal_seq) REFERENCES decision_journal (seq),
    CONSTRAINT ck_fills_lots CHECK (lots > 0),
    CONSTRAINT ck_fills_price CHECK (price > 0)
);

-- The same table as core/orders.py holds: which state may follow which. The same state may be told again.
CREATE OR REPLACE FUNCTION require_legal_order_change() RETURNS TRIGGER
LANGUAGE plpgsql
SET search_path FROM CURRENT
AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        IF NEW.state <> 'intent' AND NEW.version = 1 THEN
            RAISE EXCEPTION 'order % begins as %, not as an intent', NEW.client_order_id, NEW.state
                USING ERRCODE = 'integrity_constraint_violation';
        END IF;
        RETURN NEW;
    END IF;
    IF NEW.filled_lots < OLD.filled_lots OR OLD.settled THEN
        RAISE EXCEPTION 'order %: what was filled or settled stays so', OLD.client_order_id
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    IF NEW.state <> OLD.state AND NOT (OLD.state, NEW.state) IN (
        ('intent', 'sent'), ('intent', 'working'), ('intent', 'partial'), ('intent', 'filled'),
        ('intent', 'cancelled'), ('intent', 'rejected'), ('intent', 'in_doubt'),
        ('sent', 'working'), ('sent', 'partial'), ('sent', 'filled'),
        ('sent', 'cancelled'), ('sent', 'rejected'), ('sent', 'in_doubt'),
        ('in_doubt', 'sent'), ('in_doubt', 'working'), ('in_doubt', 'partial'), ('in_doubt', 'filled'),
        ('in_doubt', 'cancelled'), ('in_doubt', 'rejected'),
        ('working', 'partial'), ('working', 'filled'), ('working', 'cancelled'), ('working', 'rejected'),
        ('working', 'in_doubt'),
        ('partial', 'filled'), ('partial', 'cancelled'), ('partial', 'rejected'), ('partial', 'in_doubt'),
        ('cancelled', 'filled'), ('rejected', 'filled')
    ) THEN
        RAISE EXCEPTION 'order %: % does not follow %', OLD.client_order_id, NEW.state, OLD.state
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NEW;
END
$$;

CREATE OR REPLACE TRIGGER order_changes_are_legal BEFORE INSERT OR UPDATE ON orders
FOR EACH ROW EXECUTE FUNCTION require_legal_order_change();

CREATE OR REPLACE FUNCTION refuse_fill_change() RETURNS TRIGGER
LANGUAGE plpgsql
SET search_path FROM CURRENT
AS $$
BEGIN
    RAISE EXCEPTION 'fills are append-only: % is refused', TG_OP USING ERRCODE = 'restrict_violation';
END
$$;

CREATE OR REPLACE TRIGGER fill_rows_stay BEFORE UPDATE OR DELETE ON fills
FOR EACH ROW EXECUTE FUNCTION refuse_fill_change();
CREATE OR REPLACE TRIGGER fills_stay BEFORE TRUNCATE ON fills
FOR EACH STATEMENT EXECUTE FUNCTION refuse_fill_change();

ALTER TABLE decision_journal DROP CONSTRAINT IF EXISTS ck_decision_journal_kind;
ALTER TABLE decision_journal ADD CONSTRAINT ck_decision_journal_kind CHECK (
    kind IN ('genesis', 'settings', 'term', 'signal', 'halt', 'resume', 'close', 'capital', 'manual', 'report', 'freeze')
);
