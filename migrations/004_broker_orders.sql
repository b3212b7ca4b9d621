-- An order at the broker belongs to one order of ours. Idempotent.

CREATE INDEX IF NOT EXISTS ix_orders_broker_order ON orders (broker_order_id) WHERE broker_order_id IS NOT NULL;

-- Not a unique index: rows that were taken for the same order before this was looked after must not keep a database from
-- being migrated, and a broker may number its orders anew on another day.
CREATE OR REPLACE FUNCTION require_broker_order_of_its_own() RETURNS TRIGGER
LANGUAGE plpgsql
SET search_path FROM CURRENT
AS $$
BEGIN
    IF TG_OP = 'UPDATE' AND NEW.broker_order_id IS NOT DISTINCT FROM OLD.broker_order_id THEN
        RETURN NEW;
    END IF;
    IF EXISTS (
        SELECT FROM orders o
        WHERE o.broker_order_id = NEW.broker_order_id
            AND o.client_order_id <> NEW.client_order_id
            AND o.sent_at > NEW.sent_at - INTERVAL '12 hours'
            AND o.sent_at < NEW.sent_at + INTERVAL '12 hours'
    ) THEN
        RAISE EXCEPTION 'order %: the broker''s order % is another order of ours already',
            NEW.client_order_id, NEW.broker_order_id
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NEW;
END
$$;

CREATE OR REPLACE TRIGGER broker_order_is_of_one_order BEFORE INSERT OR UPDATE ON orders
FOR EACH ROW WHEN (new.broker_order_id IS NOT NULL) EXECUTE FUNCTION require_broker_order_of_its_own();
