-- A batch is one statement and its own COMMIT. One whose connection is lost may still be on its way when it has been looked for and not
-- found: whoever looks raises the number that each batch has to name. Idempotent.
ALTER TABLE leadership ADD COLUMN IF NOT EXISTS fencing_number BIGINT NOT NULL DEFAULT 0;

-- An error of its own for a batch that would not take effect as a whole: the statement, and so the transaction, is undone.
CREATE OR REPLACE FUNCTION refuse_batch(wanted BIGINT, met BIGINT) RETURNS BIGINT
LANGUAGE plpgsql
SET search_path FROM CURRENT
AS $$
BEGIN
    RAISE EXCEPTION 'a row has moved on since it was read; nothing was changed (wanted % rows, met %)', wanted, met
        USING ERRCODE = 'PM001';
END
$$;
