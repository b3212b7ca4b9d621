-- The kernel's journals, to be read. No table of the kernel is named but when it is read: a view over the tables themselves would keep
-- the kernel from altering them, show the old one after a restore, and vanish with a portfolio that is dropped. Idempotent.

-- The portfolios of this database whose journal the caller may read, and the schema that each lives in.
CREATE OR REPLACE FUNCTION book.portfolios() RETURNS TABLE (portfolio TEXT, schema_name TEXT)
LANGUAGE sql STABLE
AS $$
    SELECT
        CASE spaces.nspname WHEN 'public' THEN 'main' ELSE spaces.nspname::TEXT END,
        spaces.nspname::TEXT
    FROM pg_catalog.pg_class AS tables
    INNER JOIN pg_catalog.pg_namespace AS spaces ON tables.relnamespace = spaces.oid
    WHERE tables.relname = 'decision_journal'
        AND tables.relkind = 'r'
        AND spaces.nspname ~ '^[a-z][a-z0-9_]{0,29}$'
        AND spaces.nspname !~ '^(book|risk|pg_.*|scratch_[0-9a-f]{12})$'
        AND has_schema_privilege(spaces.oid, 'USAGE')
        AND has_table_privilege(tables.oid, 'SELECT')
$$;

-- The entries of one portfolio's journal behind after_seq up to up_to_seq, in their order; found by the journal's key.
CREATE OR REPLACE FUNCTION book.journal_entries(
    of_portfolio TEXT, after_seq BIGINT DEFAULT 0, up_to_seq BIGINT DEFAULT 9223372036854775807
) RETURNS TABLE (
    seq BIGINT, format SMALLINT, kind VARCHAR, fingerprint VARCHAR, request_id VARCHAR, input JSONB, figures JSONB, outcome JSONB,
    events JSONB, term BIGINT, rules_version INTEGER, decided_at TIMESTAMPTZ, recorded_at TIMESTAMPTZ, content_hash VARCHAR
)
LANGUAGE plpgsql STABLE
AS $$
DECLARE
    its_schema TEXT := (SELECT p.schema_name FROM book.portfolios() AS p WHERE p.portfolio = of_portfolio);
BEGIN
    IF its_schema IS NULL THEN
        RAISE EXCEPTION 'there is no portfolio % whose journal you may read', of_portfolio USING ERRCODE = 'invalid_schema_name';
    END IF;
    RETURN QUERY EXECUTE format(
        'SELECT seq, format, kind, fingerprint, request_id, input, figures, outcome, events, term, rules_version, decided_at,'
        ' recorded_at, content_hash FROM %I.decision_journal WHERE seq > $1 AND seq <= $2 ORDER BY seq',
        its_schema
    ) USING after_seq, up_to_seq;
END
$$;

CREATE OR REPLACE VIEW book.decision_journal AS
SELECT
    portfolios.portfolio, entries.seq, entries.format, entries.kind, entries.fingerprint, entries.request_id, entries.input,
    entries.figures, entries.outcome, entries.events, entries.term, entries.rules_version, entries.decided_at, entries.recorded_at,
    entries.content_hash
FROM book.portfolios() AS portfolios
CROSS JOIN LATERAL book.journal_entries(portfolios.portfolio) AS entries;
