"""A batch decided while the one before it is on its way takes effect as if it had been decided afterwards, or not at all."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from typing import Any

import pytest

from core.config import default_settings
from core.db_state_manager import DatabaseStateManager, Kept
from core.errors import DatabaseAway, LeadershipLost
from core.inputs import Command, Halt, MoveCapital
from core.models import Signal
from core.postgres.journal_stream import journal_stream
from core.postgres.written import Written
from core.settings import Settings
from live.answers import AnswerKind
from live.deliveries import Delivery
from live.engine import LiveTradingEngine
from live.recovery import recover
from live.verify import verify
from live.writer import PortfolioWriter
from tests.builders import a_signal, given, minutes
from tests.engines import Clock, an_engine, rows_as_portfolio, without_waiting
from tests.proxy import Cut, Proxy
from tests.queries import rows
from tests.waiting import eventually

NOW = minutes(20)


class Batches:
    """Upcoming batches, each there as soon as it is asked for, unless it is asked for while something is `over`."""

    def __init__(self, *batches: list[Delivery]) -> None:
        self.rest = list(batches)
        self.asked = 0

    def more(self, _over: Callable[[], bool]) -> list[Delivery]:
        self.asked += 1
        return self.rest.pop(0) if self.rest else []

    def look_again(self) -> None:
        pass


class Writing:
    """A writer as the engine uses it: what it is ahead with comes next, what it gives back is tried again."""

    def __init__(self, dsn: str, settings: Settings, **options: Any) -> None:
        self.manager = DatabaseStateManager(dsn, **options)
        self.given_back: list[Delivery] = []
        self.planned: list[int] = []
        portfolio = recover(self.manager, settings, None, NOW).portfolio
        self.writer = PortfolioWriter(
            self.manager, portfolio, clock=lambda: NOW, pause=lambda _: False, give_back=self.given_back.extend
        )
        real = self.writer._plan

        def plan(deliveries: list[Delivery], *arguments: Any) -> Any:
            self.planned.append(len(deliveries))
            return real(deliveries, *arguments)

        self.writer._plan = plan  # type: ignore[method-assign]

    def keep(self, first: list[Delivery], *upcoming: list[Delivery]) -> None:
        batches, in_hand = Batches(*upcoming), first
        while in_hand:
            self.writer.keep(in_hand, batches)
            in_hand = self.writer.ahead or list(self.given_back) or (batches.rest.pop(0) if batches.rest else [])
            self.given_back.clear()


@contextmanager
def a_writer(dsn: str, *, settings: Settings | None = None, **options: Any) -> Iterator[Writing]:
    writing = Writing(dsn, settings or without_waiting(), **options)
    yield writing
    writing.writer.close()
    writing.manager.close()


def signals(*wanted: Signal) -> list[Delivery]:
    return [Delivery(given(one)) for one in wanted]


def entry(minute: float = 16) -> Signal:
    return a_signal(timestamp=minutes(minute))


def bar(minute: float, price: int = 52100) -> Signal:
    return a_signal("MARKET_DATA", price=price, timestamp=minutes(minute), bar_time=minutes(minute))


def leave(minute: float = 19) -> Signal:
    return a_signal("EXIT", price=52200, timestamp=minutes(minute))


def told(*batches: list[Delivery]) -> list[list[str]]:
    return [[_told(one) for one in batch] for batch in batches]


def _told(delivery: Delivery) -> str:
    answer = delivery.answer
    assert answer is not None
    return str((answer.outcome or {}).get("status")) if answer.kind is AnswerKind.DECIDED else answer.kind.value


def statuses(dsn: str) -> list[tuple[str, str]]:
    return rows(
        dsn,
        "SELECT input -> 'signal' ->> 'type', outcome ->> 'status' FROM decision_journal WHERE kind = 'signal' ORDER BY seq",
    )


def proved(dsn: str, writing: Writing) -> None:
    assert rows_as_portfolio(dsn, writing.writer.portfolio) == writing.writer.portfolio
    with journal_stream(dsn, "main") as stream:
        verify(stream, "main")


A_TRADE = [("BASE_ENTRY", "executed"), ("MARKET_DATA", "executed"), ("MARKET_DATA", "executed"), ("EXIT", "executed")]


def a_trade() -> list[list[Delivery]]:
    """Four batches, each about what the one before it leaves behind."""
    return [signals(one) for one in (entry(), bar(17), bar(18), leave())]


def test_batches_that_follow_each_other_are_each_decided_once_and_on_what_the_one_before_left(dsn):
    batches = a_trade()
    with a_writer(dsn) as writing:
        writing.keep(*batches)
        assert told(*batches) == [["executed"]] * 4
        assert writing.planned == [1] * 4
        proved(dsn, writing)
    assert statuses(dsn) == A_TRADE


@pytest.mark.parametrize("number", range(1, 5))
@pytest.mark.parametrize("cut", [Cut.BEFORE, Cut.AFTER, Cut.FORWARDED, Cut.LATE, Cut.SILENT])
def test_a_batch_whose_commit_is_lost_takes_what_was_decided_behind_it_with_it_or_not(dsn, proxy, cut, number):
    batches = a_trade()
    with a_writer(proxy.dsn, commit_limit=0.5) as writing:
        proxy.cut_commit(number)
        proxy.cut = cut
        writing.keep(*batches)
        assert {status for (status,) in told(*batches)} <= {"executed", "duplicate"}
        proved(dsn, writing)
    assert statuses(dsn) == A_TRADE


def test_what_was_decided_behind_a_batch_that_did_not_take_place_is_decided_again(dsn):
    first, second = signals(entry(), bar(17)), signals(leave())
    with a_writer(dsn) as writing:
        writing.keep(signals(entry()))
        writing.planned.clear()
        # The entry is known, so that its batch is refused; the exit was decided as if the bar had been there.
        writing.keep(first, second)
        assert told(first, second) == [["duplicate", "executed"], ["executed"]]
        assert writing.planned == [2, 1, 1, 1]
        proved(dsn, writing)
    assert statuses(dsn) == [("BASE_ENTRY", "executed"), ("MARKET_DATA", "executed"), ("EXIT", "executed")]


def test_the_same_signal_in_two_batches_that_follow_each_other_is_decided_once(dsn):
    first, second = signals(entry()), signals(entry(), bar(17))
    with a_writer(dsn) as writing:
        writing.keep(first, second)
        assert told(first, second) == [["executed"], ["duplicate", "executed"]]
        proved(dsn, writing)


def test_the_same_command_in_two_batches_that_follow_each_other_is_done_once(dsn):
    def deposit() -> list[Delivery]:
        command: Command = MoveCapital(amount=Decimal(1000), note="more", request_id="r-1")
        return [Delivery(command)]

    first, second, third = deposit(), deposit(), [*deposit(), *signals(entry())]
    with a_writer(dsn) as writing:
        before = writing.writer.portfolio.state.closed_equity
        writing.keep(first, second, third)
        assert told(first, second, third) == [["executed"], ["duplicate"], ["duplicate", "executed"]]
        assert writing.writer.portfolio.state.closed_equity == before + 1000
        proved(dsn, writing)


def test_a_halt_that_is_on_its_way_holds_for_what_is_decided_meanwhile(dsn):
    first, second = [Delivery(Halt(reason="stop", request_id="h-1"))], signals(entry())
    with a_writer(dsn) as writing:
        writing.keep(first, second)
        assert told(first, second) == [["executed"], ["blocked"]]
        proved(dsn, writing)


def test_nothing_overtakes_a_batch_that_cannot_be_kept_for_now(dsn, proxy):
    first, second = signals(entry()), signals(leave())
    with a_writer(proxy.dsn) as writing:
        for delivery in (*first, *second):
            delivery.kept = True
        proxy.cut_all()
        proxy.refuse(True)
        writing.writer.keep(first, Batches(second))
        assert writing.given_back == [*first, *second]
        assert writing.writer.ahead == []
        proxy.refuse(False)
        writing.keep(list(writing.given_back))
        assert told(first, second) == [["executed"], ["executed"]]
        proved(dsn, writing)
    assert statuses(dsn) == [("BASE_ENTRY", "executed"), ("EXIT", "executed")]


def test_a_batch_that_is_taken_apart_has_nothing_begun_with_behind_its_parts(dsn, monkeypatch):
    """One input that the database refuses: the batch is redone one by one, and what comes next waits for all of them."""
    first, second = signals(entry(), bar(17), bar(18)), signals(leave())
    first[1].payload = {"text": "\x00"}
    with a_writer(dsn) as writing:
        writing.keep(first, second)
        assert told(first, second) == [["executed", "failed", "executed"], ["executed"]]
        proved(dsn, writing)
    assert statuses(dsn) == [
        ("BASE_ENTRY", "executed"),
        ("MARKET_DATA", "failed"),
        ("MARKET_DATA", "executed"),
        ("EXIT", "executed"),
    ]


def test_nothing_is_decided_behind_an_entry_that_waits_for_its_exit(dsn):
    batches = Batches(signals(bar(17)))
    with a_writer(dsn, settings=default_settings()) as writing:
        writing.keep(signals(entry(15)))
        writing.writer.parks = True
        # Not flat: it waits a moment for the EXIT of its own bar, which what comes next may hold.
        again, other = (
            entry(16),
            a_signal(instrument="GOLD_MINI", price=72000, stop=71500, atr=500, timestamp=minutes(16)),
        )
        writing.writer.keep(signals(again, other), batches)
        assert (len(writing.writer.parked), batches.asked, writing.writer.ahead) == (1, 0, [])


def test_who_is_replaced_keeps_nothing_of_what_it_had_begun_with(dsn):
    first, second = signals(entry()), signals(leave())
    with a_writer(dsn) as writing, DatabaseStateManager(dsn) as other:
        other.take_term()
        with pytest.raises(LeadershipLost):
            writing.keep(first, second)
        assert told(first) == [["not_taken"]]
        assert writing.writer.ahead == second
    assert statuses(dsn) == []


class Gate:
    """A manager's commit() that waits at its door from the second batch on."""

    def __init__(self, manager: DatabaseStateManager, monkeypatch: pytest.MonkeyPatch) -> None:
        self.real, self.arrived, self.opened, self.number = manager.commit, threading.Event(), threading.Event(), 0
        self.failure: Exception | None = None
        monkeypatch.setattr(manager, "commit", self.commit)

    def commit(self, written: Written) -> Kept:
        self.number += 1
        if self.number > 1:
            self.arrived.set()
            assert self.opened.wait(10)
        if self.number == 2 and self.failure is not None:
            raise self.failure
        return self.real(written)


@pytest.mark.parametrize("failure", [None, DatabaseAway("for a moment")])
def test_a_batch_is_answered_while_the_next_one_is_on_its_way_and_that_one_is_not(dsn, monkeypatch, failure):
    first, second = signals(entry()), signals(leave())
    with a_writer(dsn) as writing:
        gate = Gate(writing.manager, monkeypatch)
        gate.failure = failure
        thread = threading.Thread(target=writing.keep, args=(first, second))
        thread.start()
        assert gate.arrived.wait(10)
        assert eventually(lambda: first[0].answer is not None)
        # What is shown is what is committed.
        assert second[0].answer is None
        assert len(writing.writer.portfolio.positions) == len(writing.manager.cache.current.positions) == 1
        gate.opened.set()
        thread.join(10)
        assert told(first, second) == [["executed"], ["executed"]]
        assert not writing.writer.portfolio.positions
        proved(dsn, writing)


# --- the engine


def begun(engine: LiveTradingEngine, *wanted: Signal) -> list[Delivery]:
    deliveries = [engine.begin(one, {}, lambda: None) for one in wanted]
    assert all(deliveries)
    return [one for one in deliveries if one is not None]


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever waits is worth a batch of its own."""
    monkeypatch.setattr("live.intake.AHEAD", 1)


@pytest.mark.usefixtures("at_once")
def test_an_engine_that_stops_finishes_what_is_on_its_way_and_what_it_has_begun_with(dsn, monkeypatch):
    with an_engine(dsn, clock=Clock(NOW)) as engine:
        gate = Gate(engine.db_manager, monkeypatch)
        gate.number = 1
        first = begun(engine, entry())
        assert gate.arrived.wait(10)
        others = begun(engine, bar(17), bar(18), leave())
        stopping = threading.Thread(target=engine.stop)
        stopping.start()
        gate.opened.set()
        stopping.join(10)
        assert told(first, others) == [["executed"], ["executed"] * 3]
    assert statuses(dsn) == A_TRADE


@pytest.mark.usefixtures("at_once")
def test_an_engine_that_may_not_go_on_answers_what_it_had_begun_with(dsn, monkeypatch):
    with an_engine(dsn, clock=Clock(NOW)) as engine, DatabaseStateManager(dsn) as other:
        gate = Gate(engine.db_manager, monkeypatch)
        gate.number = 1
        first = begun(engine, entry())
        assert gate.arrived.wait(10)
        others = begun(engine, bar(17), bar(18))
        other.take_term()
        gate.opened.set()
        assert eventually(lambda: all(one.answer is not None for one in others))
        assert told(first, others) == [["not_taken"], ["not_taken"] * 2]
    assert statuses(dsn) == []


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize("cut", [Cut.BEFORE, Cut.AFTER])
def test_many_signals_through_lost_connections_are_each_decided_once_and_in_order(dsn, proxy: Proxy, cut):
    with an_engine(proxy.dsn, clock=Clock(NOW), answer_within=20.0) as engine:
        deliveries = begun(engine, entry())
        for number in range(120):
            if number % 40 == 20:
                proxy.cut = cut
            deliveries += begun(engine, bar(16.05 + number / 40, price=52000 + number))
        answers = [engine.finish(one) for one in deliveries]
        assert {answer.kind for answer in answers} == {AnswerKind.DECIDED}
        assert {(answer.outcome["status"], answer.outcome["reason"]) for answer in answers} == {("executed", None)}
        seqs = [answer.journal_seq for answer in answers if answer.journal_seq is not None]
        assert seqs == sorted(seqs)
        portfolio = engine.portfolio
    assert len(statuses(dsn)) == 121
    assert rows_as_portfolio(dsn, portfolio) == portfolio
    with journal_stream(dsn, "main") as stream:
        verify(stream, "main")
