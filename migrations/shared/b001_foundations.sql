-- The book of record: its schema, and what its tables are checked with. Idempotent, without transaction control or psql command.
-- Once per database, whatever portfolios there are; names are written with their schema, so that any search_path will do.

DO $$
BEGIN
    -- Looked for first: IF NOT EXISTS asks for the privilege to create even where there is nothing to do.
    IF to_regnamespace('book') IS NULL THEN
        CREATE SCHEMA book;
    END IF;
END
$$;

-- SHA-256 (hex) of a document, as PostgreSQL writes it: keys sorted, each once, numbers exact.
CREATE OR REPLACE FUNCTION book.content_hash(document JSONB) RETURNS VARCHAR
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
AS $$ SELECT encode(sha256(convert_to(document::TEXT, 'UTF8')), 'hex') $$;

-- The hash of a whole row: of every column but content_hash itself, those that a later migration adds too. What is NULL is left
-- out, so that a new column that a row never had does not change its hash. In UTC: a time is the same whoever asks.
CREATE OR REPLACE FUNCTION book.row_hash(given ANYELEMENT) RETURNS VARCHAR
LANGUAGE sql STABLE PARALLEL SAFE
SET timezone TO 'UTC'
AS $$
    SELECT book.content_hash(jsonb_object_agg(columns.key, columns.value))
    FROM jsonb_each(to_jsonb(given)) AS columns
    WHERE columns.key <> 'content_hash' AND columns.value <> 'null'
$$;

-- An ISIN: country, nine letters or digits, and the digit that makes the sum of Luhn's rule a multiple of ten, letters being 10 to 35.
CREATE OR REPLACE FUNCTION book.is_isin(identifier TEXT) RETURNS BOOLEAN
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
AS $$
    SELECT CASE
        WHEN identifier !~ '^[A-Z]{2}[A-Z0-9]{9}[0-9]$' THEN FALSE
        ELSE (
            SELECT sum(weighed.value / 10 + weighed.value % 10) % 10 = 0
            FROM (
                SELECT string_agg(CASE WHEN one ~ '[A-Z]' THEN (ascii(one) - 55)::TEXT ELSE one END, '' ORDER BY place) AS digits
                FROM regexp_split_to_table(identifier, '') WITH ORDINALITY AS letters (one, place)
            ) AS spelt
            CROSS JOIN LATERAL (
                SELECT digit::INTEGER * (2 - place::INTEGER % 2) AS value
                FROM regexp_split_to_table(reverse(spelt.digits), '') WITH ORDINALITY AS figures (digit, place)
            ) AS weighed
        )
    END
$$;

-- A CUSIP: eight of digits, letters (10 to 35), * (36), @ (37) and # (38), every second one doubled, and a check digit.
CREATE OR REPLACE FUNCTION book.is_cusip(identifier TEXT) RETURNS BOOLEAN
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
AS $$
    SELECT CASE
        WHEN identifier !~ '^[A-Z0-9*@#]{8}[0-9]$' THEN FALSE
        ELSE (
            SELECT sum(weighed.value / 10 + weighed.value % 10) % 10 = 0
            FROM (
                SELECT (strpos('0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ*@#', one) - 1) * (2 - place::INTEGER % 2) AS value
                FROM regexp_split_to_table(identifier, '') WITH ORDINALITY AS letters (one, place)
            ) AS weighed
        )
    END
$$;

-- For tables of drafts: what is locked is sealed by its hash, and neither changed nor removed any more; a draft may be both.
CREATE OR REPLACE FUNCTION book.keep_locked_row() RETURNS TRIGGER
LANGUAGE plpgsql
AS $$
BEGIN
    IF TG_OP <> 'INSERT' AND OLD.is_locked THEN
        RAISE EXCEPTION '%.% % is locked: % is refused', TG_TABLE_SCHEMA, TG_TABLE_NAME, OLD.id, TG_OP
            USING ERRCODE = 'restrict_violation', HINT = 'a mistake is put right by a new entry';
    END IF;
    IF TG_OP = 'DELETE' THEN
        -- NEW is NULL here: returned, it would keep the row and say nothing.
        RETURN OLD;
    END IF;
    NEW.locked_at := CASE WHEN NEW.is_locked THEN coalesce(NEW.locked_at, now()) END;
    NEW.content_hash := CASE WHEN NEW.is_locked THEN book.row_hash(NEW) END;
    RETURN NEW;
END
$$;

-- For tables that are only added to, and for TRUNCATE, which asks no row.
CREATE OR REPLACE FUNCTION book.refuse_change() RETURNS TRIGGER
LANGUAGE plpgsql
AS $$
BEGIN
    RAISE EXCEPTION '%.% keeps what it has: % is refused', TG_TABLE_SCHEMA, TG_TABLE_NAME, TG_OP
        USING ERRCODE = 'restrict_violation';
END
$$;
