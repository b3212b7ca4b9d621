-- What a desk calls nodes and positions, by date. Idempotent. A tag that was taken off keeps its row, so that a day's tags are known
-- for good. A position is named as in risk.position_risk, without a foreign key: that it is there is looked up as it is tagged.

CREATE TABLE IF NOT EXISTS risk.tags (
    tag_id BIGINT GENERATED ALWAYS AS IDENTITY CONSTRAINT pk_tags PRIMARY KEY,
    name VARCHAR(50) NOT NULL,
    tag_type VARCHAR(8) NOT NULL,
    colour VARCHAR(7),
    description VARCHAR(2000) NOT NULL DEFAULT '',
    created_by VARCHAR(100) NOT NULL,
    retired_by VARCHAR(100),
    retired_at TIMESTAMPTZ,
    created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    updated_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    CONSTRAINT ck_tags_name CHECK (name = btrim(name) AND name <> ''),
    CONSTRAINT ck_tags_tag_type CHECK (tag_type IN ('regular', 'strategy')),
    CONSTRAINT ck_tags_colour CHECK (colour ~ '^#[0-9a-f]{6}$'),
    CONSTRAINT ck_tags_retired CHECK ((retired_at IS NULL) = (retired_by IS NULL))
);

CREATE UNIQUE INDEX IF NOT EXISTS uq_tags_tag_type_name ON risk.tags (tag_type, lower(name));

CREATE TABLE IF NOT EXISTS risk.portfolio_tags (
    id BIGINT GENERATED ALWAYS AS IDENTITY CONSTRAINT pk_portfolio_tags PRIMARY KEY,
    tag_id BIGINT NOT NULL,
    portfolio_node_id BIGINT NOT NULL,
    added_by VARCHAR(100) NOT NULL,
    added_at TIMESTAMPTZ NOT NULL,
    removed_by VARCHAR(100),
    removed_at TIMESTAMPTZ,
    CONSTRAINT fk_portfolio_tags_tag_id FOREIGN KEY (tag_id) REFERENCES risk.tags (tag_id),
    CONSTRAINT fk_portfolio_tags_portfolio_node_id FOREIGN KEY (portfolio_node_id)
    REFERENCES book.portfolio_node (portfolio_node_id),
    CONSTRAINT ck_portfolio_tags_removed CHECK ((removed_at IS NULL) = (removed_by IS NULL) AND removed_at >= added_at)
);

CREATE INDEX IF NOT EXISTS ix_portfolio_tags_tag_id ON risk.portfolio_tags (tag_id);
CREATE INDEX IF NOT EXISTS ix_portfolio_tags_portfolio_node_id ON risk.portfolio_tags (portfolio_node_id);
CREATE UNIQUE INDEX IF NOT EXISTS uq_portfolio_tags_now ON risk.portfolio_tags (portfolio_node_id, tag_id) WHERE removed_at IS NULL;

CREATE TABLE IF NOT EXISTS risk.position_tags (
    id BIGINT GENERATED ALWAYS AS IDENTITY CONSTRAINT pk_position_tags PRIMARY KEY,
    tag_id BIGINT NOT NULL,
    position VARCHAR(30) NOT NULL,
    added_by VARCHAR(100) NOT NULL,
    added_at TIMESTAMPTZ NOT NULL,
    removed_by VARCHAR(100),
    removed_at TIMESTAMPTZ,
    CONSTRAINT fk_position_tags_tag_id FOREIGN KEY (tag_id) REFERENCES risk.tags (tag_id),
    CONSTRAINT ck_position_tags_position CHECK (position ~ '^(position|holding)/[1-9][0-9]*$'),
    CONSTRAINT ck_position_tags_removed CHECK ((removed_at IS NULL) = (removed_by IS NULL) AND removed_at >= added_at)
);

CREATE INDEX IF NOT EXISTS ix_position_tags_tag_id ON risk.position_tags (tag_id);
CREATE INDEX IF NOT EXISTS ix_position_tags_position ON risk.position_tags (position);
CREATE UNIQUE INDEX IF NOT EXISTS uq_position_tags_now ON risk.position_tags (position, tag_id) WHERE removed_at IS NULL;
