-- name: export_snapshot
-- This transaction's moment, for others to read at; when that is, and on which version of PostgreSQL.
SELECT
    pg_export_snapshot() AS snapshot,
    now() AS taken_at,
    current_setting('server_version_num')::INTEGER / 10000 AS server_major;

-- name: backup_facts
-- What a backup says of what is in it.
SELECT
    (SELECT leadership.term FROM leadership) AS term,
    (SELECT count(*) FROM signal_log) AS signals,
    (SELECT count(*) FROM signal_log WHERE signal_log.processing_status = 'received') AS undecided,
    (SELECT count(*) FROM portfolio_positions WHERE portfolio_positions.status IN ('open', 'partial')) AS open_positions;

-- name: server_major
-- On which version of PostgreSQL this is.
SELECT current_setting('server_version_num')::INTEGER / 10000 AS server_major;

-- name: tables_present
-- Which of these tables the schema has.
SELECT pg_class.relname AS name
FROM pg_class
WHERE
    pg_class.relnamespace = to_regnamespace(%(schema)s)
    AND pg_class.relkind = 'r'
    AND pg_class.relname = any(%(names)s::TEXT[])
ORDER BY pg_class.relname;

-- name: functions_present
-- Which of these functions the schema has, as ALTER FUNCTION names them.
SELECT
    pg_proc.proname AS name,
    pg_get_function_identity_arguments(pg_proc.oid) AS arguments
FROM pg_proc
WHERE pg_proc.pronamespace = to_regnamespace(%(schema)s) AND pg_proc.proname = any(%(names)s::TEXT[])
ORDER BY pg_proc.proname;

-- name: foreign_keys
-- The schema's foreign keys, as they are made.
SELECT
    pg_class.relname AS table_name,
    pg_constraint.conname AS name,
    pg_get_constraintdef(pg_constraint.oid) AS definition
FROM pg_constraint
INNER JOIN pg_class ON pg_constraint.conrelid = pg_class.oid
WHERE
    pg_constraint.contype = 'f'
    AND pg_class.relnamespace = to_regnamespace(%(schema)s)
    AND pg_class.relname = any(%(names)s::TEXT[])
ORDER BY pg_class.relname, pg_constraint.conname;

-- name: insert_triggers
-- What is asked of every new row, besides its constraints.
SELECT
    pg_class.relname AS table_name,
    pg_trigger.tgname AS name
FROM pg_trigger
INNER JOIN pg_class ON pg_trigger.tgrelid = pg_class.oid
WHERE
    pg_class.relnamespace = to_regnamespace(%(schema)s)
    AND pg_class.relname = any(%(names)s::TEXT[])
    AND NOT pg_trigger.tgisinternal
    AND pg_trigger.tgenabled = 'O'
ORDER BY pg_class.relname, pg_trigger.tgname;

-- name: identity_columns
-- Columns whose values the database numbers.
SELECT
    pg_class.relname AS table_name,
    pg_attribute.attname AS name
FROM pg_attribute
INNER JOIN pg_class ON pg_attribute.attrelid = pg_class.oid
WHERE
    pg_class.relnamespace = to_regnamespace(%(schema)s)
    AND pg_class.relname = any(%(names)s::TEXT[])
    AND pg_attribute.attidentity <> ''
ORDER BY pg_class.relname, pg_attribute.attname;

-- name: table_grants
-- Which rights others have been given on the tables.
SELECT
    pg_class.relname AS name,
    granted.privilege_type AS privilege,
    pg_roles.rolname AS role
FROM pg_class
CROSS JOIN LATERAL aclexplode(pg_class.relacl) AS granted
LEFT JOIN pg_roles ON granted.grantee = pg_roles.oid
WHERE
    pg_class.relnamespace = to_regnamespace(%(schema)s)
    AND pg_class.relname = any(%(names)s::TEXT[])
    AND granted.grantee <> pg_class.relowner
ORDER BY pg_class.relname, granted.privilege_type;

-- name: function_grants
-- Which rights others have on the functions; who may use one without having been told is not here.
SELECT
    pg_proc.proname AS name,
    pg_get_function_identity_arguments(pg_proc.oid) AS arguments,
    pg_roles.rolname AS role
FROM pg_proc
CROSS JOIN LATERAL aclexplode(pg_proc.proacl) AS granted
LEFT JOIN pg_roles ON granted.grantee = pg_roles.oid
WHERE
    pg_proc.pronamespace = to_regnamespace(%(schema)s)
    AND pg_proc.proname = any(%(names)s::TEXT[])
ORDER BY pg_proc.proname;

-- name: set_term
-- A term above all that were ever given: whoever had one of these can write no more.
WITH given AS (
    INSERT INTO leadership (id, term, instance_id)
    VALUES (1, %(term)s, %(instance_id)s)
    ON CONFLICT (id) DO UPDATE
        SET
            term = excluded.term, fencing_number = 0, instance_id = excluded.instance_id, acquired_at = now()
    RETURNING term, instance_id, acquired_at
)

INSERT INTO leadership_history (term, instance_id, acquired_at)
SELECT given.term, given.instance_id, given.acquired_at
FROM given;
