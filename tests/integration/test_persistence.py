"""Signals become rows, and rows become the same state again: after a stop, a crash, a stale read, from two threads."""

import random
import threading
from decimal import Decimal

import psycopg2
import pytest
from msgspec.structs import replace

from core.db_state_manager import DatabaseStateManager
from core.errors import ConfigurationError, StaleVersion
from core.inputs import ClosePositions, Halt, MoveCapital, Resume
from core.models import PositionStatus
from live.answers import AnswerKind
from tests.builders import NOON, a_position, a_signal, minutes
from tests.engines import Clock, an_engine, rows_as_portfolio, status_of
from tests.queries import rows


def test_signal_database_recovery(dsn):
    with an_engine(dsn) as engine:
        answer = engine.process_signal(a_signal())
        assert status_of(answer) == "executed"
        assert rows(
            dsn, "SELECT position_id, instrument, layer, lots, entry_price, status FROM portfolio_positions"
        ) == [(answer.outcome["position_id"], "BANK_NIFTY", "Long_1", 2, Decimal(52000), "open")]
        before = engine.portfolio
    with an_engine(dsn) as engine:
        assert engine.portfolio == before
        position = engine.positions[answer.outcome["position_id"]]
        assert (position.entry_price, position.lots, position.current_stop) == (Decimal(52000), 2, Decimal(51650))
        assert status_of(engine.process_signal(a_signal())) == "duplicate"
        assert len(engine.positions) == 1


def test_full_signal_sequence(dsn):
    with an_engine(dsn, clock=Clock(minutes(61))) as engine:
        assert status_of(engine.process_signal(a_signal(timestamp=minutes(60)))) == "executed"
        engine.process_signal(a_signal("MARKET_DATA", price=53000, timestamp=minutes(60.5)))
        pyramid = a_signal("PYRAMID", price=53000, stop=52900, atr=100, timestamp=minutes(61))
        assert status_of(engine.process_signal(pyramid)) == "executed"
        layers = rows(dsn, "SELECT layer, is_base_position, lots FROM portfolio_positions ORDER BY layer")
        assert layers == [("Long_1", True, 2), ("Long_2", False, 1)]
        ((last, base_id),) = rows(dsn, "SELECT last_pyramid_price, base_position_id FROM pyramiding_state")
        assert (last, base_id.startswith("BANK_NIFTY-Long_1-")) == (Decimal(53000), True)
        answer = engine.process_signal(a_signal("EXIT", layer="ALL", price=53100, timestamp=minutes(61.5)))
        assert status_of(answer) == "executed"
        assert len(answer.outcome["positions"]) == 2
    assert rows(dsn, "SELECT status, lots, exit_price FROM portfolio_positions") == [("closed", 0, Decimal(53100))] * 2
    profit = Decimal((53100 - 52000) * 2 * 30 + (53100 - 53000) * 30)
    assert rows(dsn, "SELECT closed_equity, realized_total, equity_high FROM portfolio_state") == [
        (5_000_000 + profit, profit, 5_000_000 + profit)
    ]
    assert rows(dsn, "SELECT last_pyramid_price, base_position_id FROM pyramiding_state") == [(None, None)]
    kinds = rows(dsn, "SELECT kind FROM decision_journal ORDER BY seq")
    assert [kind for (kind,) in kinds] == ["genesis", "settings", "term", "signal", "signal", "signal", "signal"]


def test_crash_recovery(dsn):
    """The process' own crash is in tests/e2e: here the engine is dropped without a word, between two signals."""
    manager = DatabaseStateManager(dsn)
    from live.engine import LiveTradingEngine
    from tests.engines import without_waiting

    engine = LiveTradingEngine(manager, without_waiting(), clock=Clock())
    engine.start()
    engine.process_signal(a_signal())
    before = engine.portfolio
    manager.close()
    with an_engine(dsn) as recovered:
        assert recovered.portfolio == before
        assert status_of(recovered.process_signal(a_signal("EXIT", price=52100, timestamp=minutes(1)))) == "executed"
    engine.stop()


def test_concurrent_updates(dsn):
    with DatabaseStateManager(dsn) as manager:
        manager.save_position(a_position())
        read = manager.get_position("GOLD_MINI-Long_1-abc")
        start = threading.Barrier(2)
        outcomes = []

        def move_stop(stop: int) -> None:
            start.wait()
            try:
                outcomes.append(manager.save_position(replace(read, current_stop=Decimal(stop))))
            except StaleVersion:
                outcomes.append("stale")

        threads = [threading.Thread(target=move_stop, args=(stop,)) for stop in (71600, 71700)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(map(str, outcomes)) == ["True", "stale"]
        assert rows(dsn, "SELECT version FROM portfolio_positions") == [(2,)]


def test_a_bar_writes_what_it_changed_and_only_on_the_row_that_it_was_decided_on(dsn):
    bar = {"price": 52300, "atr": 340}
    with an_engine(dsn, clock=Clock(minutes(2))) as engine:
        engine.process_signal(a_signal())
        rows(dsn, "UPDATE portfolio_positions SET strategy_id = 'by hand', current_stop = 51700, version = version + 1")
        # The row has moved on: it is read anew, and the bar is decided on what it says.
        assert status_of(engine.process_signal(a_signal("MARKET_DATA", **bar, timestamp=minutes(1)))) == "executed"
        (position,) = engine.positions.values()
        assert (position.strategy_id, position.mark_price, position.version) == ("by hand", 52300, 3)
        # What no bar changes is not written by one, not even as it was.
        rows(dsn, "UPDATE portfolio_positions SET strategy_id = 'again'")
        assert status_of(engine.process_signal(a_signal("MARKET_DATA", **bar, timestamp=minutes(2)))) == "executed"
        assert rows(dsn, "SELECT strategy_id, version FROM portfolio_positions") == [("again", 4)]


def test_ten_concurrent_saves_all_land(dsn):
    with DatabaseStateManager(dsn) as manager:
        manager.save_position(a_position("first"))
        threads = [
            threading.Thread(target=manager.save_position, args=(a_position(f"p{number}", layer="Long_2"),))
            for number in range(10)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert rows(dsn, "SELECT count(*) FROM portfolio_positions") == [(11,)]
    assert rows(dsn, "SELECT count(*), max(seq) FROM decision_journal") == [(11, 11)]


def test_a_closed_trade_is_not_overwritten_by_the_next_use_of_its_layer(dsn):
    with an_engine(dsn, clock=Clock(minutes(10))) as engine:
        first = engine.process_signal(a_signal(timestamp=minutes(6)))
        engine.process_signal(a_signal("EXIT", price=52100, timestamp=minutes(7)))
        second = engine.process_signal(a_signal(timestamp=minutes(8)))
        assert first.outcome["position_id"] != second.outcome["position_id"]
    assert rows(dsn, "SELECT layer, status FROM portfolio_positions ORDER BY entry_timestamp") == [
        ("Long_1", "closed"),
        ("Long_1", "open"),
    ]


def test_memory_equals_the_rows_after_each_of_a_thousand_random_signals(dsn):
    dice = random.Random(20260114)
    clock = Clock(minutes(1))
    checked = 0
    with an_engine(dsn, clock=clock) as engine, DatabaseStateManager(dsn) as reader:
        prices = {"BANK_NIFTY": 52000.0, "GOLD_MINI": 72000.0, "SILVER_MINI": 90000.0, "COPPER": 800.0}
        for number in range(1000):
            clock.forward(seconds=30)
            signal = _random_signal(dice, prices, clock)
            engine.process_signal(signal)
            if number % 97 == 0:
                engine.command(MoveCapital(amount=Decimal(dice.randint(-1000, 1000))))
            loaded = reader.load()
            portfolio = engine.portfolio
            assert {p.position_id: p for p in loaded.positions} == dict(portfolio.positions)
            assert loaded.state == portfolio.state
            assert {row.instrument: row for row in loaded.pyramiding} == dict(portfolio.pyramiding)
            checked += 1
        before = engine.portfolio
    assert checked == 1000
    statuses = dict(rows(dsn, "SELECT processing_status, count(*) FROM signal_log GROUP BY 1"))
    assert statuses["executed"] > 100
    assert statuses.get("failed", 0) == 0
    assert rows_as_portfolio(dsn, before) == before
    seqs = [seq for (seq,) in rows(dsn, "SELECT seq FROM decision_journal ORDER BY seq")]
    assert seqs == list(range(1, len(seqs) + 1))


def _random_signal(dice: random.Random, prices: dict[str, float], clock: Clock):
    instrument = dice.choice(sorted(prices))
    prices[instrument] *= 1 + dice.uniform(-0.004, 0.006)
    price, atr = round(prices[instrument], 2), round(prices[instrument] * 0.006, 2)
    kind = dice.choices(("BASE_ENTRY", "PYRAMID", "EXIT", "MARKET_DATA"), (3, 4, 1, 6))[0]
    side = dice.choice(("Long", "Long", "Short"))
    stop = round(price - atr if side == "Long" else price + atr, 2)
    layer = {
        "BASE_ENTRY": f"{side}_1",
        "PYRAMID": f"{side}_{dice.randint(2, 6)}",
        "EXIT": dice.choice(("ALL", f"{side}_1", f"{side}_2")),
        "MARKET_DATA": "",
    }[kind]
    return a_signal(kind, instrument, layer, price=price, atr=atr, er="0.9", stop=stop, timestamp=clock.now)


# --- what a start makes of what it finds


def test_the_first_start_writes_the_capital_and_a_later_one_keeps_it(dsn):
    with an_engine(dsn, initial_capital=Decimal(2_500_000)) as engine:
        assert engine.portfolio.state.initial_capital == 2_500_000
    with an_engine(dsn) as engine:
        assert engine.portfolio.state.initial_capital == 2_500_000
    with an_engine(dsn, initial_capital=Decimal(2_500_000)) as engine:
        assert engine.portfolio.state.closed_equity == 2_500_000


def test_an_explicitly_different_capital_refuses_to_start(dsn):
    with an_engine(dsn):
        pass
    with (
        pytest.raises(ConfigurationError, match="capital changes by a flow"),
        an_engine(dsn, initial_capital=Decimal(1)),
    ):
        pass


def test_an_open_positions_instrument_must_stay_configured(dsn, settings):
    with an_engine(dsn) as engine:
        engine.process_signal(a_signal())
    fewer = settings.model_copy(update={"instruments": {"COPPER": settings.instruments["COPPER"]}})
    with pytest.raises(ConfigurationError, match="BANK_NIFTY"), an_engine(dsn, settings=fewer):
        pass


def test_changed_settings_are_journalled_once(dsn, settings):
    with an_engine(dsn, settings=settings):
        pass
    other = settings.model_copy(update={"limits": settings.limits.model_copy(update={"risk_percent": Decimal(10)})})
    for given in (other, other, settings):
        with an_engine(dsn, settings=given):
            pass
    journalled = rows(
        dsn, "SELECT input #>> '{settings,limits,risk_percent}' FROM decision_journal WHERE kind = 'settings'"
    )
    assert journalled == [("15",), ("10",), ("15",)]


def test_each_start_takes_the_next_term(dsn):
    for term in (1, 2, 3):
        with an_engine(dsn) as engine:
            assert engine.status()["term"] == term


@pytest.mark.parametrize(
    "damage, sentence",
    [
        ("UPDATE portfolio_state SET closed_equity = closed_equity + 1", "closed equity"),
        ("UPDATE portfolio_positions SET current_stop = NULL", "has no stop"),
        (
            "UPDATE portfolio_positions SET is_base_position = FALSE; UPDATE pyramiding_state SET base_position_id = NULL",
            "pyramids",
        ),
        ("UPDATE portfolio_state SET total_risk_amount = 1", "total_risk_amount"),
    ],
)
def test_a_broken_invariant_leaves_exits_only_and_says_which(dsn, damage, sentence):
    with an_engine(dsn) as engine:
        engine.process_signal(a_signal())
    connection = psycopg2.connect(dsn)
    with connection, connection.cursor() as cursor:
        cursor.execute(damage)
    connection.close()
    with an_engine(dsn) as engine:
        assert any(sentence in broken for broken in engine.status()["failed_invariants"])
        gold = a_signal(instrument="GOLD_MINI", price=72000, stop=71500, atr=500)
        assert status_of(engine.process_signal(gold)) == "blocked: halted"
        assert status_of(engine.process_signal(a_signal("EXIT", price=52100, timestamp=minutes(0.5)))) == "executed"


def test_a_signal_that_was_kept_but_not_decided_is_decided_after_the_start(dsn):
    with DatabaseStateManager(dsn) as manager:
        from core.fingerprint import fingerprint_of

        signal = a_signal()
        manager.log_signal(signal, fingerprint_of("main", signal), received_at=NOON)
    with an_engine(dsn) as engine:
        assert status_of(engine.process_signal(a_signal())) == "duplicate"
        assert len(engine.positions) == 1
    assert rows(dsn, "SELECT processing_status, count(*) FROM signal_log GROUP BY 1") == [("executed", 1)]


# --- operators


def test_halt_survives_a_restart_and_resume_ends_it(dsn):
    with an_engine(dsn) as engine:
        assert status_of(engine.command(Halt(reason="lunch"))) == "executed"
    with an_engine(dsn) as engine:
        assert status_of(engine.process_signal(a_signal())) == "blocked: halted"
        engine.command(Resume())
        assert status_of(engine.process_signal(a_signal(timestamp=minutes(0.5)))) == "executed"


def test_a_repeated_request_id_answers_the_first_outcome_also_after_a_restart(dsn):
    deposit = MoveCapital(request_id="r1", amount=Decimal(1000))
    with an_engine(dsn) as engine:
        first = engine.command(deposit)
        again = engine.command(deposit)
        assert (first.kind, again.kind, again.journal_seq) == (
            AnswerKind.DECIDED,
            AnswerKind.DUPLICATE,
            first.journal_seq,
        )
    with an_engine(dsn) as engine:
        assert engine.command(deposit).kind is AnswerKind.DUPLICATE
        assert engine.command(replace(deposit, amount=Decimal(5))).differs is True
        assert engine.portfolio.state.closed_equity == 5_001_000
    assert rows(dsn, "SELECT amount FROM capital_flows") == [(Decimal(1000),)]


def test_an_operator_closes_one_position_at_its_mark_and_all_of_them(dsn):
    with an_engine(dsn) as engine:
        bank = engine.process_signal(a_signal()).outcome["position_id"]
        engine.process_signal(a_signal(instrument="GOLD_MINI", price=72000, stop=71500, atr=500))
        engine.process_signal(a_signal("MARKET_DATA", price=52050, timestamp=minutes(0.1)))
        answer = engine.close_position(bank)
        assert status_of(answer) == "executed"
        assert engine.position(bank).status is PositionStatus.CLOSED
        assert engine.position(bank).exit_price == 52050
        assert status_of(engine.close_position(bank)) == "rejected: no open position"
        assert status_of(engine.command(ClosePositions(position_id="ALL"))) == "executed"
        assert not engine.positions
