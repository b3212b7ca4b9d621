-- What the book keeps of the engine's journals: how far it has come in each, and how far a briefing is told. Idempotent.

-- Up to which entry of a portfolio's journal the book tells, and that entry's hash: where the journal has another one there, it has
-- gone back. checkpoint is the portfolio as of checkpoint_seq: a start reads the journal from there.
CREATE TABLE IF NOT EXISTS book.projection_cursor (
    portfolio VARCHAR(30) NOT NULL CONSTRAINT pk_projection_cursor PRIMARY KEY,
    seq BIGINT NOT NULL,
    content_hash VARCHAR(64) NOT NULL,
    checkpoint_seq BIGINT NOT NULL DEFAULT 0,
    checkpoint BYTEA,
    updated_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    CONSTRAINT ck_projection_cursor_seq CHECK (seq >= 0 AND checkpoint_seq BETWEEN 0 AND seq),
    CONSTRAINT ck_projection_cursor_content_hash CHECK (content_hash ~ '^[0-9a-f]{64}$'),
    CONSTRAINT ck_projection_cursor_checkpoint CHECK ((checkpoint IS NULL) = (checkpoint_seq = 0))
);

-- By channel, when a message about it was begun with and when it was taken. Without a default: a row that is locked keeps its hash.
ALTER TABLE book.daily_briefings ADD COLUMN IF NOT EXISTS deliveries JSONB;
ALTER TABLE book.daily_briefings DROP CONSTRAINT IF EXISTS ck_daily_briefings_deliveries;
ALTER TABLE book.daily_briefings ADD CONSTRAINT ck_daily_briefings_deliveries CHECK (jsonb_typeof(deliveries) = 'object');
