-- The newest bar of an instrument whose ATR is kept: for entries that come without one. Idempotent.
ALTER TABLE pyramiding_state ADD COLUMN IF NOT EXISTS last_bar_atr NUMERIC(18, 8);
ALTER TABLE pyramiding_state ADD COLUMN IF NOT EXISTS last_bar_time TIMESTAMPTZ;

ALTER TABLE pyramiding_state DROP CONSTRAINT IF EXISTS ck_pyramiding_state_last_bar;
ALTER TABLE pyramiding_state ADD CONSTRAINT ck_pyramiding_state_last_bar CHECK (
    (last_bar_atr IS NULL) = (last_bar_time IS NULL) AND (last_bar_atr IS NULL OR last_bar_atr > 0)
);
