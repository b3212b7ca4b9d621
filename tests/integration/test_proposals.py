"""Proposals in a real database: kept with their signal, decided once, there again after a restart, proved by verify."""

import threading
from typing import Any

import psycopg2
import pytest
from msgspec.structs import replace

from core.db_state_manager import DatabaseStateManager
from core.decide import decide
from core.inputs import ApproveProposal, RejectProposal
from core.journal import Batch, Entry
from core.proposals import Proposal, proposal_id_of
from live.answers import Answer
from live.engine import LiveTradingEngine
from live.verify import Wrong
from tests.builders import a_signal, given, minutes, settings_with
from tests.engines import Clock, an_engine, rows_as_portfolio, status_of, without_waiting
from tests.integration.test_following import a_follower
from tests.queries import rows
from tests.verified import verified
from tests.waiting import eventually

GOLD: dict[str, Any] = {"instrument": "GOLD_MINI", "price": 72000, "stop": 71500, "atr": 500}
ASKING = without_waiting(settings_with(approval={"mode": "approve", "expires_seconds": 600}))
STATES = "SELECT state, version, decided_by, note, decided_lots FROM proposals ORDER BY journal_seq"


def an_asking_engine(dsn: str, clock: Clock | None = None) -> Any:
    return an_engine(dsn, settings=ASKING, clock=clock or Clock(minutes(1)), answer_within=30.0)


def proposed(engine: LiveTradingEngine, **fields: Any) -> Proposal:
    signal = a_signal(**fields)
    assert engine.process_signal(signal).outcome["status"] == "proposed"
    (proposal,) = engine.portfolio.proposals_of(signal.instrument)
    return proposal


def test_a_proposal_is_a_row_and_memory_is_the_rows(dsn: str) -> None:
    with an_asking_engine(dsn) as engine:
        proposal = proposed(engine)
        assert engine.portfolio == rows_as_portfolio(dsn, engine.portfolio)
        (row,) = engine.reads.proposals(states=None, instrument=None, limit=9, before=None)
    assert row["proposal_id"] == proposal.proposal_id == proposal_id_of(proposal.fingerprint)
    assert (row["state"], row["instrument"], row["lots"], row["rule"]) == ("pending", "BANK_NIFTY", 2, "mode")
    ((seq, fingerprint),) = rows(dsn, "SELECT seq, fingerprint FROM decision_journal WHERE kind = 'signal'")
    assert (row["journal_seq"], row["fingerprint"]) == (seq, fingerprint)
    assert rows(dsn, "SELECT processing_status FROM signal_log") == [("proposed",)]
    assert rows(dsn, "SELECT count(*) FROM portfolio_positions") == [(0,)]


def test_what_waits_waits_on_after_a_restart_and_is_done_then(dsn: str) -> None:
    with an_asking_engine(dsn) as engine:
        first, _ = proposed(engine), proposed(engine, **GOLD)
        before = engine.portfolio
    with an_asking_engine(dsn, Clock(minutes(2))) as engine:
        assert engine.portfolio.proposals == before.proposals
        answer = engine.command(ApproveProposal(proposal_id=first.proposal_id, operator="ada", note="go", lots=1))
        assert (status_of(answer), answer.outcome["lots"]) == ("executed", 1)
        assert engine.portfolio == rows_as_portfolio(dsn, engine.portfolio)
        # The signal stays what it was answered to be, and its duplicate is told so.
        again = engine.process_signal(a_signal())
        assert (again.kind, again.outcome["status"]) == ("duplicate", "proposed")
    assert rows(dsn, STATES) == [("modified", 2, "ada", "go", 1), ("pending", 1, None, None, None)]
    assert rows(dsn, "SELECT processing_status FROM signal_log ORDER BY id") == [("proposed",), ("proposed",)]
    assert verified(dsn).positions == 1


def test_many_who_approve_at_once_open_one_position(dsn: str) -> None:
    with an_asking_engine(dsn) as engine:
        proposal = proposed(engine)
        answers: list[Answer] = []

        def approve() -> None:
            answers.append(engine.command(ApproveProposal(proposal_id=proposal.proposal_id)))

        threads = [threading.Thread(target=approve) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(map(status_of, answers)) == ["executed", *["rejected: no such proposal waits"] * 7]
        assert len(engine.positions) == 1
    assert rows(dsn, "SELECT state, version FROM proposals") == [("approved", 2)]


def test_a_repeated_request_is_told_the_first_outcome(dsn: str) -> None:
    with an_asking_engine(dsn) as engine:
        command = ApproveProposal(proposal_id=proposed(engine).proposal_id, request_id="once")
        first, second = engine.command(command), engine.command(command)
        assert (second.kind, second.outcome["position_id"]) == ("duplicate", first.outcome["position_id"])


def test_proposed_and_decided_within_one_batch_it_is_a_row_of_its_end(dsn: str) -> None:
    with an_asking_engine(dsn) as engine:
        before = engine.portfolio
    with DatabaseStateManager(dsn) as manager:
        manager.take_term()
        manager.load()
        signal = given(a_signal())
        first = decide(replace(before, seq=manager.next_seq), signal, minutes(1))
        word = RejectProposal(proposal_id=proposal_id_of(signal.fingerprint), note="at once")
        second = decide(first.portfolio, word, minutes(1))
        entries = (
            Entry(given=signal, decision=first, decided_at=minutes(1)),
            Entry(given=word, decision=second, decided_at=minutes(1)),
        )
        manager.commit(Batch(before=before, after=second.portfolio, entries=entries))
    assert rows(dsn, STATES) == [("rejected", 2, None, "at once", None)]


def test_nobody_answers_in_time_and_the_clock_ends_it_once(dsn: str) -> None:
    clock = Clock(minutes(1))
    with an_asking_engine(dsn, clock) as engine:
        proposed(engine)
        engine.look_into_proposals()
        assert engine.portfolio.proposals
        clock.forward(minutes=10)
        engine.look_into_proposals()
        engine.look_into_proposals()
        assert eventually(lambda: not engine.portfolio.proposals)
    assert rows(dsn, STATES) == [("expired", 2, None, "the proposal has expired", None)]
    assert rows(dsn, "SELECT count(*) FROM decision_journal WHERE kind = 'expire'") == [(1,)]
    verified(dsn)


def test_a_follower_knows_what_waits_and_decides_it_once_it_leads(dsn: str) -> None:
    with an_asking_engine(dsn) as leader:
        proposal = proposed(leader)
        with a_follower(dsn) as follower:
            assert eventually(lambda: follower.portfolio.proposals == leader.portfolio.proposals)
            told = follower.command(ApproveProposal(proposal_id=proposal.proposal_id))
            assert told.kind == "not_taken"
            leader.stop()
            follower.start()
            answer = follower.command(ApproveProposal(proposal_id=proposal.proposal_id))
            assert status_of(answer) == "executed"
    verified(dsn)


@pytest.mark.parametrize(
    "forged, named",
    [
        ("UPDATE proposals SET lots = 9 WHERE state = 'pending'", "proposals: P"),
        ("UPDATE proposals SET note = 'other' WHERE state = 'rejected'", "proposals: P"),
        ("DELETE FROM proposals WHERE state = 'rejected'", "proposals: P"),
        ("DELETE FROM proposals WHERE state = 'pending'", "proposals: P"),
        (
            (
                "INSERT INTO proposals SELECT 'P0000000000000000', journal_seq, fingerprint, instrument, signal_type, layer,"
                " signal, rule, lots, limiter, proposed_at, expires_at, state, decided_at, decided_by, note, decided_lots,"
                " decided_price, version FROM proposals WHERE state = 'rejected'"
            ),
            "proposals: rows: 3, the journal accounts for 2",
        ),
    ],
)
def test_verify_finds_what_was_changed_of_a_proposal(dsn: str, forged: str, named: str) -> None:
    with an_asking_engine(dsn) as engine:
        first, _ = proposed(engine), proposed(engine, **GOLD)
        engine.command(RejectProposal(proposal_id=first.proposal_id, note="no"))
    verified(dsn)
    rows(dsn, f"{forged} RETURNING 1")
    with pytest.raises(Wrong, match=named):
        verified(dsn)


@pytest.mark.parametrize(
    "changed",
    [
        "state = 'rejected', version = 2, decided_at = now()",
        "state = 'maybe'",
        "version = 2",
        "lots = -1",
        "expires_at = proposed_at",
    ],
)
def test_the_database_refuses_a_proposal_that_cannot_be(dsn: str, changed: str) -> None:
    with an_asking_engine(dsn) as engine:
        proposed(engine)
    with pytest.raises(psycopg2.errors.CheckViolation):
        rows(dsn, f"UPDATE proposals SET {changed} RETURNING 1")
