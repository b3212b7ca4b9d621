-- Totals of positions, kept by node, instrument and currency as of the end of days, so that a roll-up adds up groups and not
-- positions; and what was written since. Idempotent.

-- What totals are kept for. Those as of stale_from and later are no longer what the positions come to. has_late_marks: of some of
-- its positions there may be marks of after they were closed.
CREATE TABLE IF NOT EXISTS book.position_group (
    group_id BIGINT GENERATED ALWAYS AS IDENTITY CONSTRAINT pk_position_group PRIMARY KEY,
    portfolio_node_id BIGINT NOT NULL,
    instrument_id BIGINT NOT NULL,
    base_ccy VARCHAR(5) NOT NULL,
    stale_from DATE,
    has_late_marks BOOLEAN NOT NULL DEFAULT FALSE,
    CONSTRAINT uq_position_group_portfolio_node_id_instrument_id_base_ccy UNIQUE (portfolio_node_id, instrument_id, base_ccy)
);

-- A group at the end of a day (UTC), in its currency: it holds until the group's next row, day_pnl on that very day. entered: with
-- those that are closed; closed_pnl: what of realized_pnl is theirs.
CREATE TABLE IF NOT EXISTS book.group_total (
    group_id BIGINT NOT NULL,
    day DATE NOT NULL,
    entered BIGINT NOT NULL,
    positions BIGINT NOT NULL,
    unmarked BIGINT NOT NULL,
    longs NUMERIC(28, 4) NOT NULL,
    shorts NUMERIC(28, 4) NOT NULL,
    day_pnl NUMERIC(28, 4),
    realized_pnl NUMERIC(28, 4) NOT NULL,
    closed_pnl NUMERIC(28, 4) NOT NULL,
    unrealized_pnl NUMERIC(28, 4) NOT NULL,
    dv01 NUMERIC(28, 4),
    var_contribution NUMERIC(28, 4),
    CONSTRAINT pk_group_total PRIMARY KEY (group_id, day)
);

-- What was written and is not in the totals yet, kept by the transaction that wrote it: positions of a group, or marks of positions.
-- Who writes only adds to it, so that no writer waits for another; who reckons the totals takes it away. Which group a mark is of is
-- found when it is taken: whoever moves that position at the same time leaves a row of his own.
CREATE TABLE IF NOT EXISTS book.total_change (
    change_id BIGINT GENERATED ALWAYS AS IDENTITY CONSTRAINT pk_total_change PRIMARY KEY,
    portfolio_node_id BIGINT,
    instrument_id BIGINT,
    base_ccy VARCHAR(5),
    position_ids BIGINT[],
    from_day DATE NOT NULL,
    CONSTRAINT ck_total_change_of CHECK (
        (position_ids IS NULL) = (portfolio_node_id IS NOT NULL)
        AND (portfolio_node_id IS NULL) = (instrument_id IS NULL)
        AND (portfolio_node_id IS NULL) = (base_ccy IS NULL)
    )
);

-- A group's positions, and those of them that are open on a day or later.
CREATE INDEX IF NOT EXISTS ix_portfolio_positions_group_exit_timestamp
ON book.portfolio_positions (portfolio_node_id, instrument_id, exit_timestamp);

-- A position counts from its entry on, whatever of it changed. What is in no total may change without a word.
CREATE OR REPLACE FUNCTION book.note_changed_positions() RETURNS TRIGGER
LANGUAGE plpgsql
AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        INSERT INTO book.total_change (portfolio_node_id, instrument_id, base_ccy, from_day)
        SELECT n.portfolio_node_id, n.instrument_id, n.base_ccy, min((n.entry_timestamp AT TIME ZONE 'UTC')::DATE)
        FROM new_rows AS n
        GROUP BY n.portfolio_node_id, n.instrument_id, n.base_ccy;
    ELSIF TG_OP = 'DELETE' THEN
        INSERT INTO book.total_change (portfolio_node_id, instrument_id, base_ccy, from_day)
        SELECT o.portfolio_node_id, o.instrument_id, o.base_ccy, min((o.entry_timestamp AT TIME ZONE 'UTC')::DATE)
        FROM old_rows AS o
        GROUP BY o.portfolio_node_id, o.instrument_id, o.base_ccy;
    ELSE
        INSERT INTO book.total_change (portfolio_node_id, instrument_id, base_ccy, from_day)
        WITH
        before AS (
            SELECT
                id, portfolio_node_id, instrument_id, base_ccy, direction, notional_base, realized_pnl_base, entry_timestamp,
                exit_timestamp, entry_dv01, entry_var_contribution
            FROM old_rows
        ),

        now AS (
            SELECT
                id, portfolio_node_id, instrument_id, base_ccy, direction, notional_base, realized_pnl_base, entry_timestamp,
                exit_timestamp, entry_dv01, entry_var_contribution
            FROM new_rows
        ),

        changed AS (
            (SELECT * FROM before EXCEPT SELECT * FROM now)
            UNION ALL
            (SELECT * FROM now EXCEPT SELECT * FROM before)
        )

        SELECT c.portfolio_node_id, c.instrument_id, c.base_ccy, min((c.entry_timestamp AT TIME ZONE 'UTC')::DATE)
        FROM changed AS c
        GROUP BY c.portfolio_node_id, c.instrument_id, c.base_ccy;
    END IF;
    RETURN NULL;
END
$$;

CREATE OR REPLACE FUNCTION book.note_changed_marks() RETURNS TRIGGER
LANGUAGE plpgsql
AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        INSERT INTO book.total_change (position_ids, from_day)
        SELECT array_agg(own.position_id), min(own.from_day)
        FROM (SELECT n.position_id, min(n.snapshot_date) AS from_day FROM new_rows AS n GROUP BY n.position_id) AS own
        HAVING count(*) > 0;
    ELSIF TG_OP = 'DELETE' THEN
        INSERT INTO book.total_change (position_ids, from_day)
        SELECT array_agg(own.position_id), min(own.from_day)
        FROM (SELECT o.position_id, min(o.snapshot_date) AS from_day FROM old_rows AS o GROUP BY o.position_id) AS own
        HAVING count(*) > 0;
    ELSE
        INSERT INTO book.total_change (position_ids, from_day)
        WITH
        before AS (
            SELECT
                position_id, snapshot_date, notional_base, unrealized_pnl_base, realized_pnl_base, daily_pnl_base, dv01,
                var_contribution
            FROM old_rows
        ),

        now AS (
            SELECT
                position_id, snapshot_date, notional_base, unrealized_pnl_base, realized_pnl_base, daily_pnl_base, dv01,
                var_contribution
            FROM new_rows
        ),

        changed AS (
            (SELECT * FROM before EXCEPT SELECT * FROM now)
            UNION ALL
            (SELECT * FROM now EXCEPT SELECT * FROM before)
        )

        SELECT array_agg(DISTINCT c.position_id), min(c.snapshot_date) FROM changed AS c HAVING count(*) > 0;
    END IF;
    RETURN NULL;
END
$$;

CREATE OR REPLACE FUNCTION book.note_all_changed() RETURNS TRIGGER
LANGUAGE plpgsql
AS $$
BEGIN
    INSERT INTO book.total_change (portfolio_node_id, instrument_id, base_ccy, from_day)
    SELECT g.portfolio_node_id, g.instrument_id, g.base_ccy, DATE '0001-01-01'
    FROM book.position_group AS g;
    RETURN NULL;
END
$$;

CREATE OR REPLACE TRIGGER new_positions_are_noted AFTER INSERT ON book.portfolio_positions
REFERENCING NEW TABLE AS new_rows
FOR EACH STATEMENT EXECUTE FUNCTION book.note_changed_positions();
CREATE OR REPLACE TRIGGER changed_positions_are_noted AFTER UPDATE ON book.portfolio_positions
REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
FOR EACH STATEMENT EXECUTE FUNCTION book.note_changed_positions();
CREATE OR REPLACE TRIGGER deleted_positions_are_noted AFTER DELETE ON book.portfolio_positions
REFERENCING OLD TABLE AS old_rows
FOR EACH STATEMENT EXECUTE FUNCTION book.note_changed_positions();
CREATE OR REPLACE TRIGGER truncated_positions_are_noted AFTER TRUNCATE ON book.portfolio_positions
FOR EACH STATEMENT EXECUTE FUNCTION book.note_all_changed();

CREATE OR REPLACE TRIGGER new_marks_are_noted AFTER INSERT ON book.position_pnl_history
REFERENCING NEW TABLE AS new_rows
FOR EACH STATEMENT EXECUTE FUNCTION book.note_changed_marks();
CREATE OR REPLACE TRIGGER changed_marks_are_noted AFTER UPDATE ON book.position_pnl_history
REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
FOR EACH STATEMENT EXECUTE FUNCTION book.note_changed_marks();
CREATE OR REPLACE TRIGGER deleted_marks_are_noted AFTER DELETE ON book.position_pnl_history
REFERENCING OLD TABLE AS old_rows
FOR EACH STATEMENT EXECUTE FUNCTION book.note_changed_marks();
CREATE OR REPLACE TRIGGER truncated_marks_are_noted AFTER TRUNCATE ON book.position_pnl_history
FOR EACH STATEMENT EXECUTE FUNCTION book.note_all_changed();

-- What was there before these triggers, or while they were not: all of it is to be reckoned.
INSERT INTO book.total_change (portfolio_node_id, instrument_id, base_ccy, from_day)
SELECT p.portfolio_node_id, p.instrument_id, p.base_ccy, min((p.entry_timestamp AT TIME ZONE 'UTC')::DATE)
FROM book.portfolio_positions AS p
GROUP BY p.portfolio_node_id, p.instrument_id, p.base_ccy;
INSERT INTO book.total_change (portfolio_node_id, instrument_id, base_ccy, from_day)
SELECT g.portfolio_node_id, g.instrument_id, g.base_ccy, DATE '0001-01-01'
FROM book.position_group AS g;

-- Positions that a person entered: once, however often he asks for it; and of which day the price is that a day was marked at.
ALTER TABLE book.portfolio_positions ADD COLUMN IF NOT EXISTS request_id VARCHAR(100);
CREATE UNIQUE INDEX IF NOT EXISTS uq_portfolio_positions_request_id ON book.portfolio_positions (request_id);
ALTER TABLE book.position_pnl_history ADD COLUMN IF NOT EXISTS price_date DATE;
