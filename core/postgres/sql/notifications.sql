-- name: notification_cursor
-- How far a channel has told of the journal.
SELECT told_seq, sending_seq, margin_level, drawdown_level
FROM notification_cursors
WHERE channel = %(channel)s;

-- name: new_notification_cursor
-- A channel that has told nothing yet begins where this leader began: what was before it is not told.
WITH fence AS (
    SELECT leadership.term FROM leadership
    WHERE leadership.term = %(term)s
    FOR SHARE
)

INSERT INTO notification_cursors (channel, told_seq)
SELECT
    %(channel)s::VARCHAR,
    coalesce(
        (
            SELECT decision_journal.seq FROM decision_journal
            WHERE decision_journal.kind = 'term'
            ORDER BY decision_journal.seq DESC
            LIMIT 1
        ), 0
    )
FROM fence
ON CONFLICT (channel) DO NOTHING
RETURNING told_seq;

-- name: begin_notification
-- A message about the entries behind told_seq up to sending_seq is about to be sent: by who leads, and if nobody else has begun.
-- No row: not by us.
WITH fence AS (
    SELECT leadership.term FROM leadership
    WHERE leadership.term = %(term)s
    FOR SHARE
)

UPDATE notification_cursors
SET sending_seq = %(sending_seq)s, updated_at = now()
FROM fence
WHERE
    notification_cursors.channel = %(channel)s
    AND notification_cursors.told_seq = %(told_seq)s
    AND notification_cursors.sending_seq IS NOT DISTINCT FROM %(begun_seq)s::BIGINT
RETURNING notification_cursors.sending_seq;

-- name: end_notification
-- It was sent, or there was nothing to send: all up to done_seq is done with. It is true whoever leads by now. No row: somebody
-- else has gone on from here.
UPDATE notification_cursors
SET
    told_seq = %(done_seq)s,
    sending_seq = NULL,
    margin_level = %(margin_level)s,
    drawdown_level = %(drawdown_level)s,
    updated_at = now()
WHERE
    channel = %(channel)s
    AND told_seq = %(told_seq)s
    AND sending_seq IS NOT DISTINCT FROM %(begun_seq)s::BIGINT
RETURNING told_seq;

-- name: journal_marks
-- Where the journal ends, and whether the entry that was read last is the one it was: it may have gone back, and on from there.
SELECT
    (SELECT decision_journal.content_hash FROM decision_journal WHERE decision_journal.seq = %(seq)s) AS content_hash,
    last_entry.seq AS end_seq,
    last_entry.content_hash AS end_hash
FROM (
    SELECT
        decision_journal.seq,
        decision_journal.content_hash
    FROM decision_journal
    ORDER BY decision_journal.seq DESC
    LIMIT 1
) AS last_entry;

-- name: journal_to_tell
-- Entries of a part of the journal of which there may be something to tell: not bars that have only moved marks and stops.
SELECT seq, kind, fingerprint, input, figures, outcome, events, term, decided_at
FROM decision_journal
WHERE
    seq > %(after_seq)s AND seq <= %(up_to_seq)s
    AND NOT (
        kind = 'signal'
        AND input -> 'signal' ->> 'type' = 'MARKET_DATA'
        AND outcome ->> 'status' IN ('executed', 'rejected')
        AND NOT jsonb_path_exists(
            events,
            '$[*] ? (@.event != "position_marked" && @.event != "portfolio_measured" && @.event != "alert_seen"
                && @.event != "bar_kept")'
        )
    )
ORDER BY seq;
