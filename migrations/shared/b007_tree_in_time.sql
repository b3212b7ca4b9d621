-- The tree as it was on a day, rates between any two currencies, and what the engine's portfolios are set to. Idempotent.

-- What a node was called and where it hung, from when until when. The first version has no beginning: what is known of a node is
-- taken to have been so for as long as positions of it reach back.
CREATE TABLE IF NOT EXISTS book.portfolio_node_version (
    version_id BIGINT GENERATED ALWAYS AS IDENTITY CONSTRAINT pk_portfolio_node_version PRIMARY KEY,
    portfolio_node_id BIGINT NOT NULL,
    name VARCHAR(100) NOT NULL,
    node_type VARCHAR(8) NOT NULL,
    parent_id BIGINT,
    base_ccy VARCHAR(5) NOT NULL,
    valid_from TIMESTAMPTZ,
    valid_to TIMESTAMPTZ,
    CONSTRAINT ck_portfolio_node_version_valid CHECK (valid_to >= valid_from)
);

CREATE UNIQUE INDEX IF NOT EXISTS uq_portfolio_node_version_now ON book.portfolio_node_version (portfolio_node_id)
WHERE valid_to IS NULL;
CREATE INDEX IF NOT EXISTS ix_portfolio_node_version_portfolio_node_id_valid_from
ON book.portfolio_node_version (portfolio_node_id, valid_from);

CREATE OR REPLACE FUNCTION book.keep_node_version() RETURNS TRIGGER
LANGUAGE plpgsql
AS $$
DECLARE
    -- Not now(): of two transactions the one that began first may change a node last, and time does not go back.
    moment TIMESTAMPTZ := clock_timestamp();
BEGIN
    IF TG_OP <> 'INSERT' THEN
        UPDATE book.portfolio_node_version AS v SET valid_to = greatest(moment, v.valid_from)
        WHERE v.portfolio_node_id = OLD.portfolio_node_id AND v.valid_to IS NULL;
    END IF;
    IF TG_OP <> 'DELETE' THEN
        INSERT INTO book.portfolio_node_version (portfolio_node_id, name, node_type, parent_id, base_ccy, valid_from)
        VALUES (
            NEW.portfolio_node_id, NEW.name, NEW.node_type, NEW.parent_id, NEW.base_ccy,
            CASE TG_OP WHEN 'UPDATE' THEN moment END
        );
    END IF;
    RETURN NULL;
END
$$;

CREATE OR REPLACE TRIGGER node_versions_are_kept
AFTER INSERT OR DELETE OR UPDATE OF name, node_type, parent_id, base_ccy ON book.portfolio_node
FOR EACH ROW EXECUTE FUNCTION book.keep_node_version();

INSERT INTO book.portfolio_node_version (portfolio_node_id, name, node_type, parent_id, base_ccy)
SELECT n.portfolio_node_id, n.name, n.node_type, n.parent_id, n.base_ccy
FROM book.portfolio_node AS n
WHERE NOT EXISTS (
    SELECT FROM book.portfolio_node_version AS v WHERE v.portfolio_node_id = n.portfolio_node_id AND v.valid_to IS NULL
);

-- What a portfolio of this database decides by, as its journal has it; NULL where it has never been started.
CREATE OR REPLACE FUNCTION book.settings_in_force(of_portfolio TEXT) RETURNS JSONB
LANGUAGE plpgsql STABLE
AS $$
DECLARE
    its_schema TEXT := (SELECT p.schema_name FROM book.portfolios() AS p WHERE p.portfolio = of_portfolio);
    settings JSONB;
BEGIN
    IF its_schema IS NULL THEN
        RAISE EXCEPTION 'there is no portfolio % whose journal you may read', of_portfolio USING ERRCODE = 'invalid_schema_name';
    END IF;
    EXECUTE format(
        'SELECT input -> ''settings'' FROM %I.decision_journal WHERE kind = ''settings'' ORDER BY seq DESC LIMIT 1', its_schema
    ) INTO settings;
    RETURN settings;
END
$$;

-- The newest rate of a pair on or before a day, as it was brought or turned around, and of which day it is; no row where there is
-- none. Of one day the feed that came last, and the pair as it was asked for.
CREATE OR REPLACE FUNCTION book.quoted_rate(from_ccy TEXT, to_ccy TEXT, on_day DATE) RETURNS TABLE (rate NUMERIC, as_of_date DATE)
LANGUAGE sql STABLE PARALLEL SAFE
AS $$
    SELECT
        -- Thirty decimals: a rate turned around is to lose nothing that money would show.
        CASE WHEN s.pair = from_ccy || '/' || to_ccy THEN s.rate ELSE 1::NUMERIC(31, 30) / s.rate END,
        f.as_of_date
    FROM book.fx_spot AS s
    INNER JOIN book.market_data_feed AS f ON s.snapshot_id = f.feed_id
    WHERE s.pair IN (from_ccy || '/' || to_ccy, to_ccy || '/' || from_ccy)
        AND f.feed_type = 'FX_SPOT'
        AND f.validation_status IN ('PASS', 'WARN')
        AND f.as_of_date <= on_day
    ORDER BY f.as_of_date DESC, f.feed_id DESC, s.pair = from_ccy || '/' || to_ccy DESC
    LIMIT 1
$$;

-- How much of the second currency one of the first is on a day: by the pair itself, or through US dollars where both their rates are
-- of a later day than the pair's. Without either it fails: an amount is never taken for what it is not.
CREATE OR REPLACE FUNCTION book.fx_rate(from_ccy TEXT, to_ccy TEXT, on_day DATE) RETURNS NUMERIC
LANGUAGE plpgsql STABLE PARALLEL SAFE
AS $$
DECLARE
    direct RECORD;
    first_leg RECORD;
    second_leg RECORD;
BEGIN
    IF from_ccy = to_ccy THEN
        RETURN 1;
    END IF;
    SELECT q.rate, q.as_of_date INTO direct FROM book.quoted_rate(from_ccy, to_ccy, on_day) AS q;
    IF 'USD' NOT IN (from_ccy, to_ccy) THEN
        SELECT q.rate, q.as_of_date INTO first_leg FROM book.quoted_rate(from_ccy, 'USD', on_day) AS q;
        SELECT q.rate, q.as_of_date INTO second_leg FROM book.quoted_rate('USD', to_ccy, on_day) AS q;
        -- Without one of the legs it is NULL, which is no later day.
        IF first_leg.rate * second_leg.rate IS NOT NULL
            AND (direct.rate IS NULL OR least(first_leg.as_of_date, second_leg.as_of_date) > direct.as_of_date)
        THEN
            RETURN first_leg.rate * second_leg.rate;
        END IF;
    END IF;
    IF direct.rate IS NULL THEN
        RAISE EXCEPTION 'there is no rate between % and % on or before %, nor through USD', from_ccy, to_ccy, on_day
            USING ERRCODE = 'BK001', HINT = 'book fx set keeps one';
    END IF;
    RETURN direct.rate;
END
$$;
