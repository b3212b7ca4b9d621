-- name: load_positions
-- Every position with lots left.
SELECT
    position_id, instrument, layer, side, status, strategy_id, entry_timestamp, entry_bar_time, entry_price,
    entry_lots, entry_costs, lots, quantity, lot_size, point_value, initial_stop, current_stop, highest_close,
    atr, mark_price, mark_time, unrealized_pnl, realized_pnl, costs, exit_timestamp, exit_price, exit_reason,
    rollover_status, original_expiry, original_strike, original_entry_price, rollover_timestamp, rollover_pnl,
    rollover_count, strike, expiry, pe_symbol, ce_symbol, pe_order_id, ce_order_id, pe_entry_price,
    ce_entry_price, contract_month, futures_symbol, futures_order_id, limiter, risk_contribution,
    vol_contribution, is_base_position, version
FROM portfolio_positions
WHERE status IN ('open', 'partial')
ORDER BY position_id;

-- name: positions_by_id
-- Some positions, open or closed.
SELECT
    position_id, instrument, layer, side, status, strategy_id, entry_timestamp, entry_bar_time, entry_price,
    entry_lots, entry_costs, lots, quantity, lot_size, point_value, initial_stop, current_stop, highest_close,
    atr, mark_price, mark_time, unrealized_pnl, realized_pnl, costs, exit_timestamp, exit_price, exit_reason,
    rollover_status, original_expiry, original_strike, original_entry_price, rollover_timestamp, rollover_pnl,
    rollover_count, strike, expiry, pe_symbol, ce_symbol, pe_order_id, ce_order_id, pe_entry_price,
    ce_entry_price, contract_month, futures_symbol, futures_order_id, limiter, risk_contribution,
    vol_contribution, is_base_position, version
FROM portfolio_positions
WHERE position_id = any(%(position_ids)s::VARCHAR[]);

-- name: load_state
-- The portfolio's one row.
SELECT
    initial_capital, closed_equity, realized_total, flows_total, equity_high, total_risk_amount, total_risk_percent,
    total_vol_amount, margin_used, halted, statistics, version
FROM portfolio_state
WHERE id = 1;

-- name: load_pyramiding
-- Every instrument's pyramiding row.
SELECT
    instrument, last_pyramid_price, base_position_id, frozen_reason, accepted_difference, last_alert_seq, last_bar_atr,
    last_bar_time
FROM pyramiding_state
ORDER BY instrument;

-- name: load_orders
-- Every order of which more may come, in the order in which they were intended, with its fills' ids.
SELECT
    client_order_id, journal_seq, position_id, instrument, layer, side, purpose, attempt, lots, lot_size, point_value,
    reference_price, reason, plan, state, cancel_asked, filled_lots, average_price, broker_order_id, message,
    risk_reserved, vol_reserved, settled, leg, symbol, order_type, limit_price, trigger_price, leg_price, strike, near_price,
    roll_to, filled_before, try_over, sent_at, version,
    array(
        SELECT fills.fill_id FROM fills
        WHERE fills.client_order_id = orders.client_order_id
        ORDER BY fills.number
    ) AS fill_ids
FROM orders
WHERE NOT settled
ORDER BY journal_seq, client_order_id COLLATE "C";

-- name: origins_of_orders
-- The signals that the orders come from of which more may come: through what was told of an order before them, and so on.
WITH RECURSIVE origins AS (
    SELECT
        orders.client_order_id,
        orders.journal_seq
    FROM orders
    WHERE NOT orders.settled
    UNION
    SELECT
        origins.client_order_id,
        earlier.journal_seq
    FROM origins
    INNER JOIN decision_journal ON origins.journal_seq = decision_journal.seq
    INNER JOIN orders AS earlier ON decision_journal.input ->> 'client_order_id' = earlier.client_order_id
    WHERE decision_journal.kind IN ('report', 'send', 'try_over') AND earlier.journal_seq < origins.journal_seq
)

SELECT
    origins.client_order_id,
    decision_journal.fingerprint
FROM origins
INNER JOIN decision_journal ON origins.journal_seq = decision_journal.seq
WHERE decision_journal.fingerprint IS NOT NULL;

-- name: recent_broker_orders
-- What the broker's book may show of ours besides the orders that are not settled.
SELECT broker_order_id
FROM orders
WHERE broker_order_id IS NOT NULL
ORDER BY journal_seq DESC
LIMIT 5000;

-- name: orders_by_id
-- Some orders, settled or not, each with its fills' ids.
SELECT
    client_order_id, journal_seq, position_id, instrument, layer, side, purpose, attempt, lots, lot_size, point_value,
    reference_price, reason, plan, state, cancel_asked, filled_lots, average_price, broker_order_id, message,
    risk_reserved, vol_reserved, settled, leg, symbol, order_type, limit_price, trigger_price, leg_price, strike, near_price,
    roll_to, filled_before, try_over, sent_at, version,
    array(
        SELECT fills.fill_id FROM fills
        WHERE fills.client_order_id = orders.client_order_id
        ORDER BY fills.number
    ) AS fill_ids
FROM orders
WHERE client_order_id = any(%(client_order_ids)s::VARCHAR[]);

-- name: last_seq
-- Where the journal ends, and the hash that the next entry is chained to.
SELECT seq, format, content_hash
FROM decision_journal
ORDER BY seq DESC
LIMIT 1;

-- name: journal_head
-- The same, and the fencing number that what is written next has to name.
SELECT
    seq, format, content_hash,
    coalesce((SELECT leadership.fencing_number FROM leadership WHERE leadership.id = 1), 0) AS fencing_number
FROM decision_journal
ORDER BY seq DESC
LIMIT 1;

-- name: last_settings
-- The settings in force.
SELECT input -> 'settings' AS settings
FROM decision_journal
WHERE kind = 'settings'
ORDER BY seq DESC
LIMIT 1;

-- name: last_contracts
-- The contracts in force.
SELECT input -> 'contracts' AS contracts
FROM decision_journal
WHERE kind = 'contracts'
ORDER BY seq DESC
LIMIT 1;

-- name: load_received
-- What was kept and not yet decided.
SELECT id, fingerprint, received_at, payload
FROM signal_log
WHERE processing_status = 'received' AND id > %(after_id)s
ORDER BY id
LIMIT %(limit)s;

-- name: find_signal
-- A signal by its fingerprint: what became of it, and with what body.
SELECT id, processing_status, outcome, payload
FROM signal_log
WHERE fingerprint = %(fingerprint)s;

-- name: find_request
-- An operator's command by its request id; what was answered is its outcome with the figures.
SELECT seq, kind, input, outcome || jsonb_build_object('sizing', figures) AS outcome
FROM decision_journal
WHERE request_id = %(request_id)s;

-- name: find_entry
-- Whether a batch landed: its last entry, with its term.
SELECT seq FROM decision_journal
WHERE seq = %(seq)s AND term = %(term)s;

-- name: lock_leadership
-- No transaction of an earlier connection of ours is still under way behind this lock.
SELECT term FROM leadership
WHERE id = 1
FOR UPDATE;

-- name: raise_fence
-- What was sent under our term before, and is still on its way, takes no effect behind this COMMIT.
UPDATE leadership
SET fencing_number = fencing_number + 1
WHERE id = 1 AND term = %(term)s
RETURNING fencing_number;

-- name: barrier
-- What was read before this COMMIT is replicated where replication is synchronous.
SELECT pg_logical_emit_message(TRUE, 'barrier', '');

-- name: barrier_of_standbys
-- The same; no row, and no COMMIT needed, where nothing is replicated synchronously: what is seen there is on the disk.
SELECT pg_logical_emit_message(TRUE, 'barrier', '') IS NOT NULL AS is_replicated
WHERE current_setting('synchronous_standby_names') <> '';

-- name: blockers
-- Backends that hold the leadership row, ours to end: they belong to a connection that was lost.
SELECT DISTINCT pg_locks.pid
FROM pg_locks
WHERE
    pg_locks.relation = 'leadership'::REGCLASS
    AND pg_locks.mode IN ('RowShareLock', 'RowExclusiveLock')
    AND pg_locks.database = (SELECT pg_database.oid FROM pg_database WHERE pg_database.datname = current_database())
    AND pg_locks.pid <> pg_backend_pid();

-- name: terminate_backend
-- End one backend.
SELECT pg_terminate_backend(%(pid)s);

-- name: try_lock
-- Take the portfolio's session lock, if it is free.
SELECT pg_try_advisory_lock(%(space)s::INTEGER, hashtext(%(portfolio)s)) AS held;

-- name: unlock
-- Give the portfolio's session lock up.
SELECT pg_advisory_unlock(%(space)s::INTEGER, hashtext(%(portfolio)s)) AS released;

-- name: lock_is_free
-- Whether nobody has the portfolio's session lock.
SELECT
    NOT EXISTS (
        SELECT FROM pg_locks
        WHERE
            pg_locks.locktype = 'advisory'
            AND pg_locks.granted
            AND pg_locks.database = (SELECT oid FROM pg_database WHERE datname = current_database())
            AND pg_locks.classid = %(space)s::OID
            AND pg_locks.objid = (hashtext(%(portfolio)s)::BIGINT & 4294967295)::OID
    ) AS free;

-- name: lock_holder
-- Who holds the portfolio's lock.
SELECT pg_stat_activity.pid, pg_stat_activity.application_name, pg_stat_activity.backend_start
FROM pg_locks
INNER JOIN pg_stat_activity ON pg_locks.pid = pg_stat_activity.pid
WHERE
    pg_locks.locktype = 'advisory'
    AND pg_locks.granted
    AND pg_locks.classid = %(space)s::OID
    AND pg_locks.objid = (hashtext(%(portfolio)s)::BIGINT & 4294967295)::OID
    AND pg_locks.database = (SELECT pg_database.oid FROM pg_database WHERE pg_database.datname = current_database());

-- name: renew_lease
-- The holder of the portfolio's lock is alive, for so many seconds from now on.
INSERT INTO leader_lease (id, holder, expires_at)
VALUES (1, %(holder)s, clock_timestamp() + make_interval(secs => %(seconds)s))
ON CONFLICT (id) DO UPDATE SET holder = excluded.holder, expires_at = excluded.expires_at;

-- name: lease_elsewhere
-- The holder of the portfolio's lock is alive for as long as another lease of it lasts.
INSERT INTO leader_lease (id, holder, expires_at)
VALUES (1, %(holder)s, 'infinity')
ON CONFLICT (id) DO UPDATE SET holder = excluded.holder, expires_at = excluded.expires_at;

-- name: lease_state
-- Whether the leader has been silent for longer than its lease, and whether another lease tells of it.
SELECT expires_at < clock_timestamp() AS expired, expires_at = 'infinity' AS elsewhere, holder
FROM leader_lease;

-- name: end_holder
-- Hang up on who holds the portfolio's lock, if that is who the lease names still, and it was not renewed: the lock goes with
-- its session.
SELECT pg_terminate_backend(pg_locks.pid)
FROM pg_locks
WHERE
    pg_locks.locktype = 'advisory'
    AND pg_locks.granted
    AND pg_locks.classid = %(space)s::OID
    AND pg_locks.objid = (hashtext(%(portfolio)s)::BIGINT & 4294967295)::OID
    AND pg_locks.database = (SELECT pg_database.oid FROM pg_database WHERE pg_database.datname = current_database())
    AND EXISTS (
        SELECT FROM leader_lease
        WHERE
            leader_lease.holder = %(holder)s
            AND (leader_lease.expires_at < clock_timestamp() OR leader_lease.expires_at = 'infinity')
    )
    AND EXISTS (
        SELECT FROM pg_stat_activity
        WHERE pg_stat_activity.pid = pg_locks.pid AND pg_stat_activity.application_name = %(session)s
    );

-- name: leader
-- Who has the term, and where it listens.
SELECT leadership.term, leadership.instance_id, instance_metadata.hostname, instance_metadata.port
FROM leadership
LEFT JOIN instance_metadata ON leadership.instance_id = instance_metadata.instance_id
WHERE leadership.id = 1;

-- name: decided_signal
-- What was decided of a signal, and of which of its deliveries.
SELECT
    seq, fingerprint, outcome || jsonb_build_object('sizing', figures) AS outcome,
    (input ->> 'received_at')::TIMESTAMPTZ AS received_at
FROM decision_journal
WHERE fingerprint = %(fingerprint)s;

-- name: journal_after
-- An entry, and what was decided behind it; what was answered is the outcome with the figures.
SELECT
    seq, format, fingerprint, events::TEXT AS events, outcome || jsonb_build_object('sizing', figures) AS outcome,
    content_hash, (input ->> 'received_at')::TIMESTAMPTZ AS received_at
FROM decision_journal
WHERE seq >= %(seq)s
ORDER BY seq
LIMIT %(limit)s;

-- name: list_positions
-- Positions, newest first, behind `before`.
SELECT
    position_id, instrument, layer, side, status, strategy_id, entry_timestamp, entry_bar_time, entry_price,
    entry_lots, entry_costs, lots, quantity, lot_size, point_value, initial_stop, current_stop, highest_close,
    atr, mark_price, mark_time, unrealized_pnl, realized_pnl, costs, exit_timestamp, exit_price, exit_reason,
    rollover_status, original_expiry, original_strike, original_entry_price, rollover_timestamp, rollover_pnl,
    rollover_count, strike, expiry, pe_symbol, ce_symbol, pe_order_id, ce_order_id, pe_entry_price,
    ce_entry_price, contract_month, futures_symbol, futures_order_id, limiter, risk_contribution,
    vol_contribution, is_base_position, version, created_at, updated_at
FROM portfolio_positions
WHERE
    (%(status)s::VARCHAR[] IS NULL OR status = any(%(status)s::VARCHAR[]))
    AND (%(instrument)s::VARCHAR IS NULL OR instrument = %(instrument)s::VARCHAR)
    AND (
        %(before)s::VARCHAR IS NULL
        OR (created_at, position_id) < (
            SELECT cursor_row.created_at, cursor_row.position_id
            FROM portfolio_positions AS cursor_row
            WHERE cursor_row.position_id = %(before)s::VARCHAR
        )
    )
ORDER BY created_at DESC, position_id DESC
LIMIT %(limit)s;

-- name: list_orders
-- Orders, newest first, behind `before`.
SELECT
    client_order_id, journal_seq, position_id, instrument, layer, side, purpose, attempt, lots, lot_size, point_value,
    reference_price, reason, plan, state, cancel_asked, filled_lots, average_price, broker_order_id, message,
    risk_reserved, vol_reserved, settled, leg, symbol, order_type, limit_price, trigger_price, leg_price, strike, near_price,
    roll_to, filled_before, try_over, sent_at, version, created_at, updated_at
FROM orders
WHERE
    (%(state)s::VARCHAR[] IS NULL OR state = any(%(state)s::VARCHAR[]))
    AND (%(instrument)s::VARCHAR IS NULL OR instrument = %(instrument)s::VARCHAR)
    AND (
        %(before)s::VARCHAR IS NULL
        OR (journal_seq, client_order_id) < (
            SELECT cursor_row.journal_seq, cursor_row.client_order_id
            FROM orders AS cursor_row
            WHERE cursor_row.client_order_id = %(before)s::VARCHAR
        )
    )
ORDER BY journal_seq DESC, client_order_id DESC
LIMIT %(limit)s;

-- name: fills_of_orders
-- The fills of some orders, each order's in the order in which they came.
SELECT client_order_id, fill_id, number, lots, price, filled_at, journal_seq
FROM fills
WHERE client_order_id = any(%(client_order_ids)s::VARCHAR[])
ORDER BY client_order_id COLLATE "C", number;

-- name: list_signals
-- Signals, newest first, behind `before`.
SELECT
    id, instrument, signal_type, position, signal_timestamp, bar_time, fingerprint, is_duplicate, deliveries,
    received_at, processed_at, processed_by_instance, processing_status, outcome, payload
FROM signal_log
WHERE
    (%(before)s::BIGINT IS NULL OR id < %(before)s::BIGINT)
    AND (%(instrument)s::VARCHAR IS NULL OR instrument = %(instrument)s::VARCHAR)
    AND (%(status)s::VARCHAR[] IS NULL OR processing_status = any(%(status)s::VARCHAR[]))
ORDER BY id DESC
LIMIT %(limit)s;

-- name: list_journal
-- Journal entries, newest first, behind `before`.
SELECT
    seq, format, kind, fingerprint, request_id, input, figures, outcome, events, term, rules_version, decided_at,
    recorded_at, content_hash
FROM decision_journal
WHERE (%(before)s::BIGINT IS NULL OR seq < %(before)s::BIGINT)
ORDER BY seq DESC
LIMIT %(limit)s;

-- name: server_facts
-- What /db/status tells of the server.
SELECT
    current_setting('server_version') AS server_version,
    pg_is_in_recovery() AS in_recovery,
    (SELECT count(*) FROM portfolio_positions WHERE status IN ('open', 'partial')) AS open_positions,
    (SELECT count(*) FROM signal_log WHERE processing_status = 'received') AS waiting_signals,
    (SELECT recorded_at FROM decision_journal ORDER BY seq DESC LIMIT 1) AS last_commit,
    coalesce(
        (
            SELECT jsonb_agg(jsonb_build_object('name', application_name, 'state', state, 'sync', sync_state))
            FROM pg_stat_replication
        ), '[]'
    ) AS replication;

-- name: safety_settings
-- What must be on for an acknowledged commit to survive a crash.
SELECT
    current_setting('synchronous_commit') AS synchronous_commit,
    current_setting('fsync') AS fsync,
    current_setting('full_page_writes') AS full_page_writes;

-- name: server_looked_at
-- What `doctor` tells of a server, and the server's clock.
SELECT
    current_setting('server_version') AS server_version,
    current_setting('server_version_num')::INTEGER AS version_number,
    current_setting('synchronous_commit') AS synchronous_commit,
    clock_timestamp() AS now;

-- name: timeline
-- Which timeline a primary writes; none of a standby.
SELECT
    CASE
        WHEN NOT pg_is_in_recovery()
            THEN ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::BIT(32)::INTEGER
    END AS timeline;

-- name: version_table
-- Whether `migrate` has ever run here.
SELECT to_regclass('alembic_version') IS NOT NULL AS present;

-- name: migration_version
-- What `migrate` has brought the schema to.
SELECT version_num FROM alembic_version;

-- name: instances
-- Who served the portfolio, latest first.
SELECT
    instance_id, started_at, last_heartbeat, last_signal_processed, is_leader, leader_acquired_at, status, hostname,
    port, version
FROM instance_metadata
ORDER BY last_heartbeat DESC, instance_id DESC
LIMIT %(limit)s;

-- name: followers
-- Who may take the lead when it is free.
SELECT instance_id
FROM instance_metadata
WHERE status = 'standby' AND stopped_at IS NULL AND last_heartbeat > now() - INTERVAL '3 seconds';

-- name: leadership_history
-- Who led, the newest term first, behind `before`; the one before ended when the next began.
SELECT term, instance_id, acquired_at, hostname, port, version
FROM leadership_history
WHERE (%(before)s::BIGINT IS NULL OR term < %(before)s::BIGINT)
ORDER BY term DESC
LIMIT %(limit)s;

-- name: server_clock
-- The time of what is written by hand, outside the engine.
SELECT now() AS now;

-- name: stream_journal
-- The whole journal from its first entry; its JSON as text, which is decoded once, by what is known of it.
SELECT
    seq, format, kind, fingerprint, request_id, input::TEXT AS input, figures::TEXT AS figures, outcome::TEXT AS outcome,
    events::TEXT AS events, term, rules_version, decided_at, content_hash
FROM decision_journal
ORDER BY seq;

-- name: signals_by_fingerprint
-- What the signal log says of some signals.
SELECT fingerprint, processing_status, outcome::TEXT AS outcome
FROM signal_log
WHERE fingerprint = any(%(fingerprints)s::VARCHAR[]);

-- name: table_counts
-- How many rows the journal has to account for.
SELECT
    (SELECT count(*) FROM portfolio_positions) AS positions,
    (SELECT count(*) FROM signal_log WHERE processing_status <> 'received') AS signals,
    (SELECT count(*) FROM capital_flows) AS flows,
    (SELECT coalesce(sum(amount), 0) FROM capital_flows) AS flowed,
    (SELECT count(*) FROM orders) AS orders,
    (SELECT count(*) FROM fills) AS fills,
    (SELECT count(*) FROM proposals) AS proposals,
    (SELECT coalesce(max(leadership.term), 0) FROM leadership) AS term;

-- name: fills_of_entries
-- The fills that these journal entries booked for these orders.
SELECT client_order_id, fill_id, number, lots, price, filled_at, journal_seq
FROM fills
WHERE client_order_id = any(%(client_order_ids)s::VARCHAR[]) AND journal_seq = any(%(seqs)s::BIGINT[])
ORDER BY journal_seq, client_order_id COLLATE "C", number;

-- name: explained_entry
-- The journal's entry of that number, or the one that decided the signal of that fingerprint, or of its first digits.
SELECT seq, kind, input, figures, outcome, term, decided_at
FROM decision_journal
WHERE
    seq = %(seq)s::BIGINT
    OR (fingerprint >= %(fingerprint)s::VARCHAR AND fingerprint <= %(fingerprint)s::VARCHAR || repeat('f', 64))
ORDER BY seq
LIMIT 1;
