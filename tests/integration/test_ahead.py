"""A batch decided while the one before it is on its way takes effect as if it had been decided afterwards, or not at all."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from typing import Any

import pytest

import core.postgres.written
from core.config import default_settings
from core.db_state_manager import DatabaseStateManager, Kept
from core.errors import DatabaseAway, LeadershipLost, StaleVersion
from core.inputs import Command, Halt, MoveCapital
from core.journal import Batch
from core.models import Signal, SignalType
from core.postgres.errors import StatementFailed
from core.postgres.journal_stream import journal_stream
from core.postgres.written import Written
from core.settings import Settings
from live.answers import AnswerKind
from live.deliveries import Delivery, Waiting
from live.engine import LiveTradingEngine
from live.intake import Intake
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
            self.manager, portfolio, clock=lambda _: NOW, pause=lambda _: False, give_back=self.given_back.extend
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
    writing.writer.close("the test is over")
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


def test_what_was_decided_behind_nothing_but_duplicates_is_decided_again_without_reading_the_state(dsn, monkeypatch):
    first, second = signals(entry()), signals(bar(17))
    with a_writer(dsn) as writing:
        writing.keep(signals(entry()))
        writing.planned.clear()
        monkeypatch.setattr(writing.manager, "load", lambda: pytest.fail("there is nothing to read"))
        writing.keep(first, second)
        assert told(first, second) == [["duplicate"], ["executed"]]
        # A plan holds only on the very state it was made for.
        assert writing.planned == [1, 1, 1]


def test_what_is_decided_ahead_has_the_journals_numbers_that_it_gets(dsn):
    """An order's id hangs on its entry's number."""
    settings = without_waiting()
    by_broker = settings.model_copy(update={"execution": settings.execution.model_copy(update={"fills": "broker"})})
    first, second = signals(bar(15), bar(15.5)), signals(entry())
    with a_writer(dsn, settings=by_broker) as writing:
        writing.keep(first, second)
        (order,) = writing.writer.portfolio.orders.values()
        answer = second[0].answer
        assert answer is not None
        assert order.journal_seq == answer.journal_seq
        proved(dsn, writing)


def test_a_plan_whose_predecessor_never_came_is_refused_before_it_is_sent(dsn):
    with a_writer(dsn) as writing:
        writer = writing.writer
        first = writer._plan(signals(entry()), writer.portfolio)
        second = writer._plan(signals(leave()), first.left, first.written)
        assert second.written is not None
        with pytest.raises(StaleVersion, match="does not end where"):
            writing.manager.commit(second.written)
    assert statuses(dsn) == []


def test_a_command_that_is_known_takes_nothing_with_it_of_what_was_decided_with_it(dsn):
    def deposit() -> Delivery:
        return Delivery(MoveCapital(amount=Decimal(1000), note="more", request_id="r-1"))

    first, second = [deposit()], [deposit(), *signals(entry())]
    with a_writer(dsn) as writing:
        writing.keep(first, second)
        assert told(first, second) == [["executed"], ["duplicate", "executed"]]
        assert writing.planned == [1, 2, 1]
        proved(dsn, writing)


def spoil(monkeypatch: pytest.MonkeyPatch, spoilt: Callable[[Signal], bool]) -> None:
    """Let what is decided on these signals be nothing that could be written down."""
    real = core.postgres.written.batch_rows

    def rows_of(batch: Batch, **arguments: Any) -> dict[str, Any]:
        for one in batch.entries:
            signal = getattr(one.given, "signal", None)
            if signal is not None and spoilt(signal) and one.decision.outcome.status != "failed":
                raise ValueError("a mistake of ours")
        return real(batch, **arguments)

    monkeypatch.setattr(core.postgres.written, "batch_rows", rows_of)


@pytest.mark.parametrize("bad", [16, 17, 18])
def test_a_batch_that_cannot_be_written_down_is_taken_apart_before_anything_behind_it_is_begun_with(
    dsn, monkeypatch, bad
):
    spoil(monkeypatch, lambda signal: signal.timestamp == minutes(bad))
    first, second = signals(entry(), bar(17), bar(18)), signals(leave())
    with a_writer(dsn) as writing:
        writing.keep(first, second)
        assert [kind for kind, _ in statuses(dsn)] == [kind for kind, _ in A_TRADE]
        assert told(first)[0].count("failed") == 1
        proved(dsn, writing)


def test_what_was_decided_ahead_and_cannot_be_written_down_fails_when_its_turn_has_come(dsn, monkeypatch):
    spoil(monkeypatch, lambda signal: signal.type is SignalType.EXIT)
    first, second = signals(entry()), signals(leave())
    with a_writer(dsn) as writing:
        writing.keep(first, second)
        assert told(first, second) == [["executed"], ["failed"]]
        proved(dsn, writing)


def test_a_fault_in_deciding_ahead_leaves_the_batch_that_is_on_its_way_to_be_answered(dsn, monkeypatch):
    first, second = signals(entry()), signals(leave())
    with a_writer(dsn) as writing:
        real, failed = writing.writer._plan, []

        def plan(deliveries: list[Delivery], *arguments: Any) -> Any:
            if deliveries == second and not failed:
                failed.append(True)
                raise RuntimeError("a fault")
            return real(deliveries, *arguments)

        monkeypatch.setattr(writing.writer, "_plan", plan)
        writing.keep(first, second)
        assert told(first, second) == [["executed"], ["executed"]]
        proved(dsn, writing)


def test_a_statement_refused_at_first_lets_nothing_overtake(dsn, monkeypatch):
    command: Command = MoveCapital(amount=Decimal(1), note="n", request_id="q-1")
    first, second = [Delivery(command), *signals(entry(), bar(17), bar(18))], signals(leave())
    with a_writer(dsn) as writing:
        real, asked = writing.manager.find_request, []

        def find(request_id: str) -> Any:
            asked.append(request_id)
            if len(asked) == 1:
                raise StatementFailed("42501: no privilege")
            return real(request_id)

        monkeypatch.setattr(writing.manager, "find_request", find)
        writing.keep(first, second)
        assert told(first, second) == [["executed"] * 4, ["executed"]]
        proved(dsn, writing)
    assert statuses(dsn) == A_TRADE


def test_an_entry_that_has_to_wait_after_all_finds_its_exit_in_what_was_taken_behind_it(dsn):
    """The batch's first signal is known: without it the instrument is not flat, and the entry waits for its bar's EXIT."""
    at = minutes(17)
    again, waits = leave(16), a_signal(timestamp=at, bar_time=at)
    frees = a_signal("EXIT", price=52200, timestamp=at, bar_time=at)
    with a_writer(dsn, settings=default_settings()) as writing:
        for one in (entry(15), again, entry(15.9)):
            writing.keep(signals(one))
        writing.writer.parks = True
        first, second = signals(again, waits), signals(frees)
        writing.writer.keep(first, Batches(second))
        # Back in the queue, where it is looked for among what has arrived.
        assert (writing.given_back, writing.writer.ahead, len(writing.writer.parked)) == (second, [], 1)


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
    """Each commit waits at its door until it is let in."""

    def __init__(self, manager: DatabaseStateManager, monkeypatch: pytest.MonkeyPatch) -> None:
        self.real, self.arrived, self.let_in = manager.commit, threading.Semaphore(0), threading.Semaphore(0)
        monkeypatch.setattr(manager, "commit", self.commit)

    def commit(self, written: Written) -> Kept:
        self.arrived.release()
        assert self.let_in.acquire(timeout=60)
        return self.real(written)

    def wait(self) -> None:
        """Until a batch is there."""
        assert self.arrived.acquire(timeout=60)

    def step(self) -> None:
        """Let it in, and wait for the next one."""
        self.let_in.release()
        self.wait()

    def open(self) -> None:
        """Let everybody in."""
        for _ in range(1000):
            self.let_in.release()


@pytest.mark.parametrize("failure", [None, DatabaseAway("for a moment")])
def test_a_batch_is_answered_while_the_next_one_is_on_its_way_and_that_one_is_not(dsn, monkeypatch, failure):
    first, second = signals(entry()), signals(leave())
    with a_writer(dsn) as writing:
        gate = Gate(writing.manager, monkeypatch)
        thread = threading.Thread(target=writing.keep, args=(first, second))
        thread.start()
        gate.wait()
        gate.step()
        assert eventually(lambda: first[0].answer is not None)
        # What is shown is what is committed.
        assert second[0].answer is None
        assert len(writing.writer.portfolio.positions) == len(writing.manager.cache.current.positions) == 1
        if failure is not None:
            monkeypatch.setattr(gate, "real", refusing_once(gate.real, failure))
        gate.open()
        thread.join(60)
        assert told(first, second) == [["executed"], ["executed"]]
        assert not writing.writer.portfolio.positions
        proved(dsn, writing)


def refusing_once(real: Callable[[Written], Kept], failure: Exception) -> Callable[[Written], Kept]:
    failures = [failure]

    def commit(written: Written) -> Kept:
        if failures:
            raise failures.pop()
        return real(written)

    return commit


def test_the_next_batch_is_sent_before_those_who_wait_for_this_one_are_answered(dsn, monkeypatch):
    first, second = signals(entry()), signals(leave())
    with a_writer(dsn) as writing:
        gate = Gate(writing.manager, monkeypatch)
        gate.open()
        monkeypatch.setattr(
            writing.writer, "_observe", lambda batch: batch.before.positions or (gate.wait(), gate.wait())
        )
        writing.keep(first, second)
        assert told(first, second) == [["executed"], ["executed"]]


def test_whoever_fails_while_a_batch_is_on_its_way_waits_for_it(dsn, monkeypatch):
    class Faulty(Batches):
        def more(self, over: Callable[[], bool]) -> list[Delivery]:
            if not self.asked:
                return super().more(over)
            raise RuntimeError("a fault")

    first, second = signals(entry()), signals(leave())
    with a_writer(dsn) as writing:
        gate = Gate(writing.manager, monkeypatch)
        batches = Faulty(second)
        thread = threading.Thread(target=lambda: writing.writer.keep(first, batches))
        thread.start()
        gate.wait()
        gate.step()
        thread.join(60)
        # The second one is on its way now; what comes behind it cannot be had.
        threading.Timer(0.2, gate.open).start()
        with pytest.raises(RuntimeError, match="a fault"):
            writing.writer.keep(writing.writer.ahead, batches)
    assert [kind for kind, _ in statuses(dsn)] == ["BASE_ENTRY", "EXIT"]


# --- the engine


def begun(engine: LiveTradingEngine, *wanted: Signal) -> list[Delivery]:
    deliveries = [engine.begin(one, {}, lambda: None) for one in wanted]
    assert all(deliveries)
    return [one for one in deliveries if one is not None]


@pytest.fixture
def batches_of(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Batches of so many, each worth being decided ahead."""

    def of(count: int) -> None:
        monkeypatch.setattr("live.intake.AHEAD", count)
        monkeypatch.setattr("live.deliveries.MOST_AT_ONCE", count)

    of(1)
    return of


Gated = tuple[LiveTradingEngine, Gate, list[Delivery]]


@pytest.fixture
def gated(dsn: str, monkeypatch: pytest.MonkeyPatch, batches_of: Callable[[int], None]) -> Iterator[Gated]:
    """An engine with a bar on its way to the database, an entry on its way behind it when the gate lets that in, and another
    bar decided behind the entry."""
    with an_engine(dsn, clock=Clock(NOW)) as engine:
        gate = Gate(engine.db_manager, monkeypatch)
        first = begun(engine, bar(15))
        gate.wait()
        deliveries = [*first, *begun(engine, entry(), bar(17))]
        gate.step()
        assert eventually(lambda: engine._writer is not None and engine._writer.ahead == deliveries[2:])
        yield engine, gate, deliveries
        gate.open()


def test_the_engine_decides_ahead_and_goes_on_with_what_comes_alone_then(gated, batches_of):
    engine, gate, deliveries = gated
    batches_of(2)
    gate.step()
    gate.open()
    assert eventually(lambda: deliveries[2].answer is not None)
    # One alone is decided at once, although two would be wanted to be ahead.
    (last,) = begun(engine, leave())
    assert eventually(lambda: last.answer is not None)
    assert told(deliveries, [last]) == [["executed"] * 3, ["executed"]]


def test_what_the_engine_is_ahead_with_counts_as_waiting(gated):
    engine, _, _ = gated
    assert engine.backlog()["backlog"] == 2


def test_an_engine_that_stops_finishes_what_it_has_begun_with(dsn, gated):
    engine, gate, deliveries = gated
    others = begun(engine, bar(18), leave())
    committers = [one for one in threading.enumerate() if one.name.startswith("commit-main")]
    stopping = threading.Thread(target=engine.stop)
    stopping.start()
    assert eventually(lambda: engine._waiting.closed)
    gate.open()
    stopping.join(60)
    assert told(deliveries, others) == [["executed"] * 3, ["executed"] * 2]
    assert committers
    assert eventually(lambda: not any(one.is_alive() for one in committers))


def test_an_engine_that_has_to_stop_now_finishes_only_what_is_on_its_way(dsn, gated):
    engine, gate, deliveries = gated
    others = begun(engine, bar(18), leave())
    engine._waiting.close()
    engine._stopping.set()
    gate.open()
    assert eventually(lambda: all(one.answer is not None for one in others))
    # What was decided is sent at once behind what is on its way; nothing more is taken.
    assert told(deliveries, others) == [["executed"] * 3, ["not_taken"] * 2]
    assert len(statuses(dsn)) == 3


def test_an_engine_that_stops_finishes_a_command_that_it_has_begun_with(gated):
    """Which is not sent before its turn, so that nothing is on its way meanwhile."""
    engine, gate, _ = gated
    gate.step()
    command = Delivery(MoveCapital(amount=Decimal(1000), note="more", request_id="r-1"))
    engine._waiting.put(command)
    assert eventually(lambda: engine._writer is not None and engine._writer.ahead == [command])
    engine._waiting.close()
    gate.open()
    assert eventually(lambda: command.answer is not None)
    assert told([command]) == [["executed"]]


def test_an_engine_that_is_replaced_answers_what_it_had_begun_with(dsn, gated):
    _, gate, deliveries = gated
    with DatabaseStateManager(dsn) as other:
        other.take_term()
    gate.open()
    assert eventually(lambda: all(one.answer is not None for one in deliveries))
    assert told(deliveries) == [["executed", "not_taken", "not_taken"]]
    assert statuses(dsn) == [("MARKET_DATA", "executed")]


def test_an_engine_that_fails_does_not_say_of_what_is_on_its_way_that_it_was_not_taken(dsn, gated, monkeypatch):
    engine, gate, deliveries = gated

    def tidy(_: object) -> None:
        raise OSError("a fault")

    monkeypatch.setattr(engine._keeping, "tidy", tidy)
    gate.step()
    gate.open()
    assert eventually(lambda: all(one.answer is not None for one in deliveries))
    # It was committed: whoever sends it again is told so.
    assert told(deliveries) == [["executed", "executed", "unknown"]]
    assert eventually(lambda: len(statuses(dsn)) == 3)


def test_a_parked_entry_that_is_due_comes_with_what_is_taken_ahead(dsn):
    due = Delivery(given(entry()))
    due.wait_until = 0.0
    with a_writer(dsn) as writing:
        writing.writer.parked.put(due)
        intake = Intake(Waiting(), writing.writer, same_bar_seconds=Decimal(1), stopping=threading.Event())
        assert intake.more(lambda: True) == [due]


def test_who_waits_for_many_is_woken_when_the_queue_is_closed(dsn):
    waiting = Waiting()
    threading.Timer(0.1, waiting.close).start()
    assert waiting.take_many(5, lambda: False) == []


@pytest.mark.parametrize("cut", [Cut.BEFORE, Cut.AFTER])
@pytest.mark.parametrize("together", [1, 8])
def test_many_signals_through_lost_connections_are_each_decided_once_and_in_order(
    dsn, proxy: Proxy, batches_of, cut, together
):
    batches_of(together)
    with an_engine(proxy.dsn, clock=Clock(NOW), answer_within=20.0) as engine:
        deliveries = begun(engine, entry())
        for number in range(120):
            if number % 40 == 20:
                proxy.cut = cut
            deliveries += begun(engine, bar(16.05 + number / 40, price=52000 + number))
        answers = [engine.finish(one) for one in deliveries]
        assert {(answer.kind, answer.outcome["status"]) for answer in answers} == {(AnswerKind.DECIDED, "executed")}
        seqs = [answer.journal_seq for answer in answers if answer.journal_seq is not None]
        assert seqs == sorted(seqs)
        portfolio = engine.portfolio
    assert len(statuses(dsn)) == 121
    assert rows_as_portfolio(dsn, portfolio) == portfolio
    with journal_stream(dsn, "main") as stream:
        verify(stream, "main")
