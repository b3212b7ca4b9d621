-- How an order is executed: its contract, its type and prices, its tries, the legs of a synthetic future; what an operator
-- makes of a difference with the broker, and how far alerts were seen. Idempotent.

ALTER TABLE orders ADD COLUMN IF NOT EXISTS leg VARCHAR(2);
ALTER TABLE orders ADD COLUMN IF NOT EXISTS symbol VARCHAR(50);
ALTER TABLE orders ADD COLUMN IF NOT EXISTS order_type VARCHAR(11);
ALTER TABLE orders ADD COLUMN IF NOT EXISTS limit_price NUMERIC(18, 8);
ALTER TABLE orders ADD COLUMN IF NOT EXISTS trigger_price NUMERIC(18, 8);
ALTER TABLE orders ADD COLUMN IF NOT EXISTS leg_price NUMERIC(18, 8);
ALTER TABLE orders ADD COLUMN IF NOT EXISTS strike NUMERIC(18, 8);
ALTER TABLE orders ADD COLUMN IF NOT EXISTS near_price NUMERIC(18, 8);
ALTER TABLE orders ADD COLUMN IF NOT EXISTS roll_to VARCHAR(7);
ALTER TABLE orders ADD COLUMN IF NOT EXISTS filled_before INTEGER NOT NULL DEFAULT 0;
ALTER TABLE orders ADD COLUMN IF NOT EXISTS try_over BOOLEAN NOT NULL DEFAULT FALSE;
ALTER TABLE orders ADD COLUMN IF NOT EXISTS sent_at TIMESTAMPTZ;
ALTER TABLE orders ALTER COLUMN purpose TYPE VARCHAR(8);

ALTER TABLE orders DROP CONSTRAINT IF EXISTS ck_orders_purpose;
ALTER TABLE orders ADD CONSTRAINT ck_orders_purpose CHECK (
    purpose IN ('entry', 'exit', 'stop', 'roll_out', 'roll_in', 'undo')
);
ALTER TABLE orders DROP CONSTRAINT IF EXISTS ck_orders_leg;
ALTER TABLE orders ADD CONSTRAINT ck_orders_leg CHECK (leg IN ('ce', 'pe'));
ALTER TABLE orders DROP CONSTRAINT IF EXISTS ck_orders_order_type;
ALTER TABLE orders ADD CONSTRAINT ck_orders_order_type CHECK (order_type IN ('MARKET', 'LIMIT', 'STOP_MARKET'));
ALTER TABLE orders DROP CONSTRAINT IF EXISTS ck_orders_plan;
ALTER TABLE orders ADD CONSTRAINT ck_orders_plan CHECK (purpose <> 'entry' OR plan IS NOT NULL);
ALTER TABLE orders DROP CONSTRAINT IF EXISTS ck_orders_filled_before;
ALTER TABLE orders ADD CONSTRAINT ck_orders_filled_before CHECK (filled_before >= 0);

-- The same table as core/orders.py holds: which state may follow which. The same state may be told again. An order goes
-- back from sent to intent only where the broker was not reached, so that there is no order of it.
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
    IF (OLD.state, NEW.state) = ('sent', 'intent') AND NEW.broker_order_id IS NULL THEN
        RETURN NEW;
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

-- The broker's units that are none of ours, signed (its minus ours); and the last `seq` of an alert.
ALTER TABLE pyramiding_state ADD COLUMN IF NOT EXISTS accepted_difference NUMERIC(20, 8);
ALTER TABLE pyramiding_state ADD COLUMN IF NOT EXISTS last_alert_seq BIGINT;

ALTER TABLE decision_journal DROP CONSTRAINT IF EXISTS ck_decision_journal_kind;
ALTER TABLE decision_journal ADD CONSTRAINT ck_decision_journal_kind CHECK (
    kind IN (
        'genesis', 'settings', 'term', 'signal', 'halt', 'resume', 'close', 'capital', 'manual', 'report', 'freeze',
        'send', 'try_over', 'contracts', 'roll', 'adopt', 'write_off', 'ignore'
    )
);

CREATE INDEX IF NOT EXISTS ix_decision_journal_contracts ON decision_journal (seq) WHERE kind = 'contracts';
