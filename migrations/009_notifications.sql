-- How far each channel of notifications has told of the journal. Idempotent.
CREATE TABLE IF NOT EXISTS notification_cursors (
    channel VARCHAR(40) NOT NULL,
    -- All entries up to this one are done with: told, or nothing to be told of.
    told_seq BIGINT NOT NULL,
    -- A message about the entries behind told_seq up to this one was begun with: it may have been sent.
    sending_seq BIGINT,
    -- Where margin and drawdown stood by what was told last.
    margin_level VARCHAR(20) NOT NULL DEFAULT 'normal',
    drawdown_level VARCHAR(20) NOT NULL DEFAULT 'normal',
    updated_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    CONSTRAINT pk_notification_cursors PRIMARY KEY (channel),
    CONSTRAINT ck_notification_cursors_told_seq CHECK (told_seq >= 0),
    CONSTRAINT ck_notification_cursors_sending_seq CHECK (sending_seq >= told_seq)
);
