-- The tree of portfolios, what hangs in it, and snapshots of it. Idempotent.

-- FUND > DESK > BOOK > STRATEGY: a parent is of a higher level, so a ring cannot exist, whoever writes at once: parent_type is
-- the parent's own node_type by the foreign key, and compared by a CHECK. Levels may be left out, and any may be a root.
CREATE TABLE IF NOT EXISTS book.portfolio_node (
    portfolio_node_id BIGINT GENERATED ALWAYS AS IDENTITY CONSTRAINT pk_portfolio_node PRIMARY KEY,
    name VARCHAR(100) NOT NULL,
    node_type VARCHAR(8) NOT NULL,
    parent_id BIGINT,
    parent_type VARCHAR(8),
    base_ccy VARCHAR(5) NOT NULL,
    metadata_json JSONB NOT NULL DEFAULT '{}',
    created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    updated_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    CONSTRAINT uq_portfolio_node_portfolio_node_id_node_type UNIQUE (portfolio_node_id, node_type),
    CONSTRAINT fk_portfolio_node_parent_id_parent_type FOREIGN KEY (parent_id, parent_type)
    REFERENCES book.portfolio_node (portfolio_node_id, node_type) ON UPDATE CASCADE,
    CONSTRAINT ck_portfolio_node_name CHECK (btrim(name) <> ''),
    CONSTRAINT ck_portfolio_node_node_type CHECK (node_type IN ('FUND', 'DESK', 'BOOK', 'STRATEGY')),
    CONSTRAINT ck_portfolio_node_parent CHECK ((parent_id IS NULL) = (parent_type IS NULL)),
    CONSTRAINT ck_portfolio_node_level CHECK (
        parent_type IS NULL
        OR (parent_type = 'FUND' AND node_type IN ('DESK', 'BOOK', 'STRATEGY'))
        OR (parent_type = 'DESK' AND node_type IN ('BOOK', 'STRATEGY'))
        OR (parent_type = 'BOOK' AND node_type = 'STRATEGY')
    ),
    CONSTRAINT ck_portfolio_node_base_ccy CHECK (base_ccy ~ '^[A-Z]{3,5}$'),
    CONSTRAINT ck_portfolio_node_metadata CHECK (jsonb_typeof(metadata_json) = 'object')
);

CREATE INDEX IF NOT EXISTS ix_portfolio_node_parent_id ON book.portfolio_node (parent_id);
CREATE UNIQUE INDEX IF NOT EXISTS uq_portfolio_node_parent_id_name ON book.portfolio_node (parent_id, name)
WHERE parent_id IS NOT NULL;
CREATE UNIQUE INDEX IF NOT EXISTS uq_portfolio_node_root_name ON book.portfolio_node (name) WHERE parent_id IS NULL;

-- So that who adds a node need not say what its parent is. What it finds is only a help: the foreign key holds it to the truth.
CREATE OR REPLACE FUNCTION book.look_up_parent_type() RETURNS TRIGGER
LANGUAGE plpgsql
AS $$
BEGIN
    NEW.parent_type := (SELECT n.node_type FROM book.portfolio_node AS n WHERE n.portfolio_node_id = NEW.parent_id);
    IF NEW.parent_id IS NOT NULL AND NEW.parent_type IS NULL THEN
        RAISE EXCEPTION 'portfolio_node %: there is no node % to be its parent', NEW.name, NEW.parent_id
            USING ERRCODE = 'foreign_key_violation';
    END IF;
    RETURN NEW;
END
$$;

CREATE OR REPLACE TRIGGER parent_type_is_looked_up BEFORE INSERT OR UPDATE OF parent_id ON book.portfolio_node
FOR EACH ROW EXECUTE FUNCTION book.look_up_parent_type();

-- Where a portfolio of the engine hangs: by its name, for it is a schema of its own.
CREATE TABLE IF NOT EXISTS book.live_portfolio (
    portfolio VARCHAR(30) CONSTRAINT pk_live_portfolio PRIMARY KEY,
    portfolio_node_id BIGINT NOT NULL,
    created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    CONSTRAINT fk_live_portfolio_portfolio_node_id FOREIGN KEY (portfolio_node_id)
    REFERENCES book.portfolio_node (portfolio_node_id),
    CONSTRAINT ck_live_portfolio_portfolio CHECK (portfolio ~ '^[a-z][a-z0-9_]{0,29}$')
);

CREATE INDEX IF NOT EXISTS ix_live_portfolio_portfolio_node_id ON book.live_portfolio (portfolio_node_id);

CREATE TABLE IF NOT EXISTS book.position (
    position_id BIGINT GENERATED ALWAYS AS IDENTITY CONSTRAINT pk_position PRIMARY KEY,
    portfolio_node_id BIGINT NOT NULL,
    instrument_id BIGINT NOT NULL,
    quantity NUMERIC(28, 8) NOT NULL,
    average_price NUMERIC(18, 8),
    base_ccy VARCHAR(5) NOT NULL,
    status VARCHAR(7) NOT NULL DEFAULT 'ACTIVE',
    tags_json JSONB NOT NULL DEFAULT '{}',
    batch_id BIGINT,
    created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    updated_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    CONSTRAINT fk_position_portfolio_node_id FOREIGN KEY (portfolio_node_id)
    REFERENCES book.portfolio_node (portfolio_node_id),
    CONSTRAINT fk_position_instrument_id FOREIGN KEY (instrument_id) REFERENCES book.instrument (instrument_id),
    CONSTRAINT fk_position_batch_id FOREIGN KEY (batch_id) REFERENCES book.ingestion_batch (batch_id),
    CONSTRAINT ck_position_status CHECK (status IN ('ACTIVE', 'CLOSED', 'DELETED')),
    CONSTRAINT ck_position_base_ccy CHECK (base_ccy ~ '^[A-Z]{3,5}$'),
    CONSTRAINT ck_position_tags CHECK (jsonb_typeof(tags_json) = 'object')
);

CREATE INDEX IF NOT EXISTS ix_position_portfolio_node_id_instrument_id ON book.position (portfolio_node_id, instrument_id);
CREATE INDEX IF NOT EXISTS ix_position_instrument_id ON book.position (instrument_id);
CREATE INDEX IF NOT EXISTS ix_position_batch_id ON book.position (batch_id);
-- A node holds an instrument once; what was closed is history.
CREATE UNIQUE INDEX IF NOT EXISTS uq_position_active ON book.position (portfolio_node_id, instrument_id)
WHERE status = 'ACTIVE';

-- What a snapshot holds, once for all moments at which it was the same: found, and refused a second time, by its own hash.
CREATE TABLE IF NOT EXISTS book.portfolio_snapshot_content (
    payload_hash VARCHAR(64) GENERATED ALWAYS AS (book.content_hash(payload_json)) STORED
    CONSTRAINT pk_portfolio_snapshot_content PRIMARY KEY,
    payload_json JSONB NOT NULL,
    created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    CONSTRAINT ck_portfolio_snapshot_content_payload CHECK (jsonb_typeof(payload_json) = 'object')
);

CREATE TABLE IF NOT EXISTS book.portfolio_snapshot (
    snapshot_id BIGINT GENERATED ALWAYS AS IDENTITY CONSTRAINT pk_portfolio_snapshot PRIMARY KEY,
    portfolio_node_id BIGINT NOT NULL,
    as_of_date DATE NOT NULL,
    taken_at TIMESTAMPTZ NOT NULL,
    payload_hash VARCHAR(64) NOT NULL,
    CONSTRAINT uq_portfolio_snapshot_portfolio_node_id_taken_at UNIQUE (portfolio_node_id, taken_at),
    CONSTRAINT fk_portfolio_snapshot_portfolio_node_id FOREIGN KEY (portfolio_node_id)
    REFERENCES book.portfolio_node (portfolio_node_id),
    CONSTRAINT fk_portfolio_snapshot_payload_hash FOREIGN KEY (payload_hash)
    REFERENCES book.portfolio_snapshot_content (payload_hash)
);

CREATE INDEX IF NOT EXISTS ix_portfolio_snapshot_portfolio_node_id_as_of_date
ON book.portfolio_snapshot (portfolio_node_id, as_of_date DESC);
CREATE INDEX IF NOT EXISTS ix_portfolio_snapshot_payload_hash ON book.portfolio_snapshot (payload_hash);

CREATE OR REPLACE TRIGGER snapshot_content_rows_stay BEFORE UPDATE OR DELETE ON book.portfolio_snapshot_content
FOR EACH ROW EXECUTE FUNCTION book.refuse_change();
CREATE OR REPLACE TRIGGER snapshot_content_stays BEFORE TRUNCATE ON book.portfolio_snapshot_content
FOR EACH STATEMENT EXECUTE FUNCTION book.refuse_change();
CREATE OR REPLACE TRIGGER snapshot_rows_stay BEFORE UPDATE OR DELETE ON book.portfolio_snapshot
FOR EACH ROW EXECUTE FUNCTION book.refuse_change();
CREATE OR REPLACE TRIGGER snapshots_stay BEFORE TRUNCATE ON book.portfolio_snapshot
FOR EACH STATEMENT EXECUTE FUNCTION book.refuse_change();
-- ALWAYS: also in a session that calls itself a replica.
ALTER TABLE book.portfolio_snapshot_content ENABLE ALWAYS TRIGGER snapshot_content_rows_stay;
ALTER TABLE book.portfolio_snapshot_content ENABLE ALWAYS TRIGGER snapshot_content_stays;
ALTER TABLE book.portfolio_snapshot ENABLE ALWAYS TRIGGER snapshot_rows_stay;
ALTER TABLE book.portfolio_snapshot ENABLE ALWAYS TRIGGER snapshots_stay;
