-- name: commit_batch
-- One batch of decisions in one statement, which is its own transaction: fence, claims, versioned rows, journal. All of it takes
-- effect or nothing does. Nothing, without an error: under another's term or fencing number, behind another end of the journal, or
-- where signals were decided before. Those are `known`; the others' ids are `claimed`.
WITH
-- FOR SHARE, not a plain read: a zombie's write must not land after the term has risen, nor a statement that was looked for and not
-- found after the fencing number has.
fence AS MATERIALIZED (
    SELECT leadership.fencing_number
    FROM leadership
    WHERE leadership.id = 1 AND leadership.term = (%(batch)s::JSONB ->> 'term')::BIGINT
    FOR SHARE
),

-- What was decided on is what is here: after a failover the journal may end earlier, or otherwise, than it was read.
continued AS MATERIALIZED (
    SELECT fence.fencing_number = (%(batch)s::JSONB ->> 'fencing_number')::BIGINT AS in_time
    FROM fence
    WHERE
        %(batch)s::JSONB ->> 'previous_hash' = coalesce(
            (SELECT decision_journal.content_hash FROM decision_journal ORDER BY decision_journal.seq DESC LIMIT 1),
            repeat('0', 64)
        )
),

given AS MATERIALIZED (
    SELECT
        s.instrument, s.signal_type, s.position, s.signal_timestamp, s.bar_time, s.fingerprint, s.received_at,
        s.processing_status, s.outcome, s.payload
    FROM continued, jsonb_populate_recordset(NULL::SIGNAL_LOG, %(batch)s::JSONB -> 'signals') AS s
    WHERE continued.in_time
),

-- Behind the fence nobody else decides: what is not there now is there at most as received when it is claimed.
known AS MATERIALIZED (
    SELECT signal_log.fingerprint
    FROM given
    INNER JOIN signal_log ON given.fingerprint = signal_log.fingerprint
    WHERE signal_log.processing_status <> 'received'
),

-- Nothing is touched unless every signal of the batch can be claimed. Where rows are joined with what is there, CASE has the document
-- read behind it: an error in it must not hide that the term is another's.
kept AS MATERIALIZED (
    SELECT TRUE AS whole FROM continued
    WHERE continued.in_time AND NOT EXISTS (SELECT 1 FROM known)
),

claimed AS (
    INSERT INTO signal_log (
        instrument, signal_type, position, signal_timestamp, bar_time, fingerprint, received_at, processed_at,
        processed_by_instance, processing_status, outcome, payload
    )
    SELECT
        given.instrument, given.signal_type, given.position, given.signal_timestamp, given.bar_time, given.fingerprint,
        given.received_at, now(), %(batch)s::JSONB ->> 'instance_id', given.processing_status, given.outcome, given.payload
    FROM kept, given
    ON CONFLICT (fingerprint) DO UPDATE
        SET
            processed_at = excluded.processed_at,
            processed_by_instance = excluded.processed_by_instance,
            processing_status = excluded.processing_status,
            outcome = excluded.outcome
        WHERE signal_log.processing_status = 'received'
    RETURNING fingerprint, id
),

opened AS (
    INSERT INTO portfolio_positions (
        position_id, instrument, layer, side, status, strategy_id, entry_timestamp, entry_bar_time, entry_price,
        entry_lots, entry_costs, lots, quantity, lot_size, point_value, initial_stop, current_stop,
        highest_close, atr, mark_price, mark_time, unrealized_pnl, realized_pnl, costs, exit_timestamp,
        exit_price, exit_reason, rollover_status, original_expiry, original_strike, original_entry_price,
        rollover_timestamp, rollover_pnl, rollover_count, strike, expiry, pe_symbol, ce_symbol, pe_order_id,
        ce_order_id, pe_entry_price, ce_entry_price, contract_month, futures_symbol, futures_order_id, limiter,
        risk_contribution, vol_contribution, is_base_position, version
    )
    SELECT
        p.position_id, p.instrument, p.layer, p.side, p.status, p.strategy_id, p.entry_timestamp,
        p.entry_bar_time, p.entry_price, p.entry_lots, p.entry_costs, p.lots, p.quantity, p.lot_size,
        p.point_value, p.initial_stop, p.current_stop, p.highest_close, p.atr, p.mark_price, p.mark_time,
        p.unrealized_pnl, p.realized_pnl, p.costs, p.exit_timestamp, p.exit_price, p.exit_reason,
        p.rollover_status, p.original_expiry, p.original_strike, p.original_entry_price, p.rollover_timestamp,
        p.rollover_pnl, p.rollover_count, p.strike, p.expiry, p.pe_symbol, p.ce_symbol, p.pe_order_id,
        p.ce_order_id, p.pe_entry_price, p.ce_entry_price, p.contract_month, p.futures_symbol,
        p.futures_order_id, p.limiter, p.risk_contribution, p.vol_contribution, p.is_base_position, p.version
    FROM kept, jsonb_populate_recordset(NULL::PORTFOLIO_POSITIONS, %(batch)s::JSONB -> 'opened') AS p
    ON CONFLICT (position_id) DO NOTHING
    RETURNING position_id
),

changed AS (
    UPDATE portfolio_positions
    SET
        instrument = p.instrument,
        layer = p.layer,
        side = p.side,
        status = p.status,
        strategy_id = p.strategy_id,
        entry_timestamp = p.entry_timestamp,
        entry_bar_time = p.entry_bar_time,
        entry_price = p.entry_price,
        entry_lots = p.entry_lots,
        entry_costs = p.entry_costs,
        lots = p.lots,
        quantity = p.quantity,
        lot_size = p.lot_size,
        point_value = p.point_value,
        initial_stop = p.initial_stop,
        current_stop = p.current_stop,
        highest_close = p.highest_close,
        atr = p.atr,
        mark_price = p.mark_price,
        mark_time = p.mark_time,
        unrealized_pnl = p.unrealized_pnl,
        realized_pnl = p.realized_pnl,
        costs = p.costs,
        exit_timestamp = p.exit_timestamp,
        exit_price = p.exit_price,
        exit_reason = p.exit_reason,
        rollover_status = p.rollover_status,
        original_expiry = p.original_expiry,
        original_strike = p.original_strike,
        original_entry_price = p.original_entry_price,
        rollover_timestamp = p.rollover_timestamp,
        rollover_pnl = p.rollover_pnl,
        rollover_count = p.rollover_count,
        strike = p.strike,
        expiry = p.expiry,
        pe_symbol = p.pe_symbol,
        ce_symbol = p.ce_symbol,
        pe_order_id = p.pe_order_id,
        ce_order_id = p.ce_order_id,
        pe_entry_price = p.pe_entry_price,
        ce_entry_price = p.ce_entry_price,
        contract_month = p.contract_month,
        futures_symbol = p.futures_symbol,
        futures_order_id = p.futures_order_id,
        limiter = p.limiter,
        risk_contribution = p.risk_contribution,
        vol_contribution = p.vol_contribution,
        is_base_position = p.is_base_position,
        version = p.version,
        updated_at = now()
    FROM
        kept,
        jsonb_populate_recordset(
            NULL::PORTFOLIO_POSITIONS, CASE WHEN kept.whole THEN %(batch)s::JSONB -> 'changed' END
        ) AS p
    WHERE
        portfolio_positions.position_id = p.position_id
        AND portfolio_positions.version = (%(batch)s::JSONB -> 'expected' ->> p.position_id)::INTEGER
    RETURNING portfolio_positions.position_id
),

-- What only a bar has touched, by columns. Each row brings the version that it is expected at.
marked AS (
    UPDATE portfolio_positions
    SET
        mark_price = m.mark_price,
        mark_time = m.mark_time,
        atr = m.atr,
        highest_close = m.highest_close,
        current_stop = m.current_stop,
        unrealized_pnl = m.unrealized_pnl,
        risk_contribution = m.risk_contribution,
        vol_contribution = m.vol_contribution,
        version = m.version,
        updated_at = now()
    FROM
        kept,
        jsonb_to_record(CASE WHEN kept.whole THEN %(batch)s::JSONB -> 'marked' END) AS columns (
            position_id VARCHAR[],
            mark_price NUMERIC[],
            mark_time TIMESTAMPTZ[],
            atr NUMERIC[],
            highest_close NUMERIC[],
            current_stop NUMERIC[],
            unrealized_pnl NUMERIC[],
            risk_contribution NUMERIC[],
            vol_contribution NUMERIC[],
            version INTEGER[],
            expected INTEGER[]
        ),
        unnest(
            columns.position_id, columns.mark_price, columns.mark_time, columns.atr, columns.highest_close,
            columns.current_stop, columns.unrealized_pnl, columns.risk_contribution, columns.vol_contribution,
            columns.version, columns.expected
        ) AS m (
            position_id, mark_price, mark_time, atr, highest_close, current_stop, unrealized_pnl,
            risk_contribution, vol_contribution, version, expected
        )
    WHERE portfolio_positions.position_id = m.position_id AND portfolio_positions.version = m.expected
    RETURNING portfolio_positions.position_id
),

state_started AS (
    INSERT INTO portfolio_state (
        id, initial_capital, closed_equity, realized_total, flows_total, equity_high, total_risk_amount,
        total_risk_percent, total_vol_amount, margin_used, halted, statistics, version
    )
    SELECT
        1, r.initial_capital, r.closed_equity, r.realized_total, r.flows_total, r.equity_high, r.total_risk_amount,
        r.total_risk_percent, r.total_vol_amount, r.margin_used, r.halted, r.statistics, r.version
    FROM kept, jsonb_populate_recordset(NULL::PORTFOLIO_STATE, %(batch)s::JSONB -> 'state_started') AS r
    ON CONFLICT (id) DO NOTHING
    RETURNING id
),

state_changed AS (
    UPDATE portfolio_state
    SET
        initial_capital = r.initial_capital,
        closed_equity = r.closed_equity,
        realized_total = r.realized_total,
        flows_total = r.flows_total,
        equity_high = r.equity_high,
        total_risk_amount = r.total_risk_amount,
        total_risk_percent = r.total_risk_percent,
        total_vol_amount = r.total_vol_amount,
        margin_used = r.margin_used,
        halted = r.halted,
        statistics = r.statistics,
        version = r.version,
        updated_at = now()
    FROM
        kept,
        jsonb_populate_recordset(
            NULL::PORTFOLIO_STATE, CASE WHEN kept.whole THEN %(batch)s::JSONB -> 'state_changed' END
        ) AS r
    WHERE portfolio_state.id = 1 AND portfolio_state.version = (%(batch)s::JSONB ->> 'state_expected')::INTEGER
    RETURNING portfolio_state.id
),

pyramids AS (
    INSERT INTO pyramiding_state (
        instrument, last_pyramid_price, base_position_id, frozen_reason, accepted_difference, last_alert_seq,
        last_bar_atr, last_bar_time
    )
    SELECT
        y.instrument, y.last_pyramid_price, y.base_position_id, y.frozen_reason, y.accepted_difference, y.last_alert_seq,
        y.last_bar_atr, y.last_bar_time
    FROM kept, jsonb_populate_recordset(NULL::PYRAMIDING_STATE, %(batch)s::JSONB -> 'pyramiding') AS y
    ON CONFLICT (instrument) DO UPDATE
        SET
            last_pyramid_price = excluded.last_pyramid_price,
            base_position_id = excluded.base_position_id,
            frozen_reason = excluded.frozen_reason,
            accepted_difference = excluded.accepted_difference,
            last_alert_seq = excluded.last_alert_seq,
            last_bar_atr = excluded.last_bar_atr,
            last_bar_time = excluded.last_bar_time,
            updated_at = now()
    RETURNING instrument
),

journalled AS (
    INSERT INTO decision_journal (
        seq, format, kind, fingerprint, request_id, input, figures, outcome, events, term, rules_version, decided_at,
        content_hash
    )
    SELECT
        j.seq, j.format, j.kind, j.fingerprint, j.request_id, j.input, j.figures, j.outcome, j.events, j.term,
        j.rules_version, j.decided_at, j.content_hash
    FROM kept, jsonb_populate_recordset(NULL::DECISION_JOURNAL, %(batch)s::JSONB -> 'journal') AS j
    RETURNING seq
),

flowed AS (
    INSERT INTO capital_flows (journal_seq, amount, note, flowed_at)
    SELECT f.journal_seq, f.amount, f.note, f.flowed_at
    FROM kept, jsonb_populate_recordset(NULL::CAPITAL_FLOWS, %(batch)s::JSONB -> 'flows') AS f
    RETURNING journal_seq
),

intended AS (
    INSERT INTO orders (
        client_order_id, journal_seq, position_id, instrument, layer, side, purpose, attempt, lots, lot_size, point_value,
        reference_price, reason, plan, state, cancel_asked, filled_lots, average_price, broker_order_id, message,
        risk_reserved, vol_reserved, settled, leg, symbol, order_type, limit_price, trigger_price, leg_price, strike, near_price,
        roll_to, filled_before, try_over, sent_at, version
    )
    SELECT
        o.client_order_id, o.journal_seq, o.position_id, o.instrument, o.layer, o.side, o.purpose, o.attempt, o.lots, o.lot_size,
        o.point_value, o.reference_price, o.reason, o.plan, o.state, o.cancel_asked, o.filled_lots,
        o.average_price, o.broker_order_id, o.message, o.risk_reserved, o.vol_reserved, o.settled, o.leg, o.symbol,
        o.order_type, o.limit_price, o.trigger_price, o.leg_price, o.strike, o.near_price, o.roll_to,
        o.filled_before, o.try_over, o.sent_at, o.version
    FROM kept, jsonb_populate_recordset(NULL::ORDERS, %(batch)s::JSONB -> 'orders_intended') AS o
    ON CONFLICT (client_order_id) DO NOTHING
    RETURNING client_order_id
),

reported AS (
    UPDATE orders
    SET
        lots = o.lots,
        reason = o.reason,
        state = o.state,
        cancel_asked = o.cancel_asked,
        filled_lots = o.filled_lots,
        average_price = o.average_price,
        broker_order_id = o.broker_order_id,
        message = o.message,
        risk_reserved = o.risk_reserved,
        vol_reserved = o.vol_reserved,
        settled = o.settled,
        symbol = o.symbol,
        order_type = o.order_type,
        limit_price = o.limit_price,
        trigger_price = o.trigger_price,
        try_over = o.try_over,
        sent_at = o.sent_at,
        version = o.version,
        updated_at = now()
    FROM
        kept,
        jsonb_populate_recordset(
            NULL::ORDERS, CASE WHEN kept.whole THEN %(batch)s::JSONB -> 'orders_changed' END
        ) AS o
    WHERE
        orders.client_order_id = o.client_order_id
        AND orders.version = (%(batch)s::JSONB -> 'orders_expected' ->> o.client_order_id)::INTEGER
    RETURNING orders.client_order_id
),

-- Made once, decided once: a row that is decided already is not touched again.
proposed AS (
    INSERT INTO proposals (
        proposal_id, journal_seq, fingerprint, instrument, signal_type, layer, signal, rule, lots, limiter, proposed_at,
        expires_at, state, decided_at, decided_by, note, decided_lots, decided_price, version
    )
    SELECT
        p.proposal_id, p.journal_seq, p.fingerprint, p.instrument, p.signal_type, p.layer, p.signal, p.rule, p.lots,
        p.limiter, p.proposed_at, p.expires_at, p.state, p.decided_at, p.decided_by, p.note, p.decided_lots,
        p.decided_price, p.version
    FROM kept, jsonb_populate_recordset(NULL::PROPOSALS, %(batch)s::JSONB -> 'proposals') AS p
    ON CONFLICT (proposal_id) DO UPDATE
        SET
            state = excluded.state,
            decided_at = excluded.decided_at,
            decided_by = excluded.decided_by,
            note = excluded.note,
            decided_lots = excluded.decided_lots,
            decided_price = excluded.decided_price,
            version = excluded.version,
            updated_at = now()
        WHERE proposals.version = 1 AND excluded.version = 2 AND proposals.fingerprint = excluded.fingerprint
    RETURNING proposal_id
),

filled AS (
    INSERT INTO fills (client_order_id, fill_id, number, lots, price, filled_at, journal_seq)
    SELECT f.client_order_id, f.fill_id, f.number, f.lots, f.price, f.filled_at, f.journal_seq
    FROM kept, jsonb_populate_recordset(NULL::FILLS, %(batch)s::JSONB -> 'fills') AS f
    RETURNING fill_id
),

effects AS MATERIALIZED (
    SELECT count(*) AS met
    FROM (
        SELECT 1 FROM claimed
        UNION ALL
        SELECT 1 FROM opened
        UNION ALL
        SELECT 1 FROM changed
        UNION ALL
        SELECT 1 FROM marked
        UNION ALL
        SELECT 1 FROM state_started
        UNION ALL
        SELECT 1 FROM state_changed
        UNION ALL
        SELECT 1 FROM pyramids
        UNION ALL
        SELECT 1 FROM journalled
        UNION ALL
        SELECT 1 FROM flowed
        UNION ALL
        SELECT 1 FROM intended
        UNION ALL
        SELECT 1 FROM reported
        UNION ALL
        SELECT 1 FROM proposed
        UNION ALL
        SELECT 1 FROM filled
    ) AS written
)

SELECT
    exists(SELECT 1 FROM fence) AS fenced,
    exists(SELECT 1 FROM continued) AS continued,
    exists(SELECT 1 FROM continued WHERE continued.in_time) AS in_time,
    (SELECT coalesce(jsonb_agg(known.fingerprint), '[]') FROM known) AS known,
    (SELECT coalesce(jsonb_object_agg(claimed.fingerprint, claimed.id), '{}') FROM claimed) AS claimed,
    CASE
        WHEN effects.met = (%(batch)s::JSONB ->> 'effects')::INTEGER OR NOT EXISTS (SELECT 1 FROM kept) THEN effects.met
        ELSE refuse_batch((%(batch)s::JSONB ->> 'effects')::INTEGER, effects.met)
    END AS effects
FROM effects;

-- name: insert_received
-- Keep a signal to be decided later; needs no term. No row: its fingerprint is known already.
INSERT INTO signal_log (
    instrument, signal_type, position, signal_timestamp, bar_time, fingerprint, received_at, payload
)
VALUES (
    %(instrument)s, %(signal_type)s, %(position)s, %(signal_timestamp)s, %(bar_time)s, %(fingerprint)s,
    %(received_at)s, %(payload)s
)
ON CONFLICT (fingerprint) DO NOTHING
RETURNING id;

-- name: wake
-- Tell whoever listens that there is something to look at.
SELECT pg_notify(%(channel)s, '');

-- name: count_delivery
-- A signal came again: counted outside its deciding transaction, best effort.
UPDATE signal_log
SET deliveries = deliveries + 1, is_duplicate = TRUE
WHERE fingerprint = %(fingerprint)s;
