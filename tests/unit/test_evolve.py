"""decide and evolve over thousands of random inputs: what holds after each of them, whatever came."""

from collections import Counter
from collections.abc import Iterator
from decimal import ROUND_UP, Decimal, localcontext
from functools import reduce
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from core.decide import Decision, decide, failed
from core.events import (
    AlertSeen,
    BarKept,
    DifferenceAccepted,
    EntriesFrozen,
    EntriesUnfrozen,
    Event,
    PortfolioMeasured,
    PositionExited,
    PositionMarked,
    PositionOpened,
    PositionSaved,
    ProposalDecided,
    ProposalMade,
    PyramidingChanged,
    PyramidingSaved,
    RecoveryNoted,
    SettingsChanged,
    StateSaved,
)
from core.evolve import evolve, evolve_marks
from core.inputs import (
    AdoptPosition,
    ApproveProposal,
    ChangeSettings,
    Halt,
    IgnoreFinding,
    Input,
    MoveCapital,
    SaveRow,
    SignalInput,
    StartPortfolio,
    StartTerm,
    WriteOff,
)
from core.journal import (
    Batch,
    Entry,
    capital_flows,
    journal_record,
    kind_of,
    signal_record,
    signals_of,
    touched_positions,
)
from core.models import MarketPosition, PositionStatus, Side, Signal, Status
from core.portfolio import Portfolio, portfolio_from_rows
from core.settings import Settings
from tests.builders import (
    NOON,
    RandomTrading,
    a_portfolio,
    a_position,
    a_signal,
    after,
    given,
    minutes,
    settings_with,
    told,
)

COSTS = {"slippage_percent": "0.013", "costs": {"percent_of_turnover": "0.0173", "per_lot": "12.3456"}}
# A unit so small, and a price so fine, that every product has more decimals than a column of money.
COIN = {
    "lot_size": "0.00123",
    "point_value": "0.00123",
    "margin_per_lot": "0.7391",
    "initial_volatility_percent": "1",
    "ongoing_volatility_percent": "1.4",
    "max_pyramids": 5,
}


def plain() -> tuple[Settings, Decimal, dict[str, str] | None]:
    return settings_with(), Decimal(30_000_000), None


def costly() -> tuple[Settings, Decimal, dict[str, str] | None]:
    return settings_with(paper=COSTS), Decimal(5_000_000), None


def fractional() -> tuple[Settings, Decimal, dict[str, str] | None]:
    rules = settings_with(paper=COSTS | {"costs": {"percent_of_turnover": "0.01"}}, instruments={"COIN": COIN})
    return rules, Decimal("20000.1234"), {"COIN": "64123.12345678", "GOLD_MINI": "72000"}


def asked() -> tuple[Settings, Decimal, dict[str, str] | None]:
    rules = {
        "exits": True,
        "mode": "approve",
        "late": {"seconds": 30, "mode": "observe"},
        "over_size": {"lots": 3, "risk_percent": "0.9"},
        "after_recovery": {"seconds": 1200},
        "expires_seconds": 7200,
    }
    return settings_with(approval=rules), Decimal(30_000_000), None


def asked_now_and_then() -> tuple[Settings, Decimal, dict[str, str] | None]:
    rules = {"over_size": {"lots": 4}, "after_recovery": {"seconds": 3600}, "expires_seconds": 86_400}
    return settings_with(approval=rules), Decimal(30_000_000), None


WORLDS = [(world, seed) for world in (plain, costly, fractional) for seed in range(6)]
WORLDS += [(world, seed) for world in (asked, asked_now_and_then) for seed in range(3)]
INPUTS = 250


def story(world: Any, seed: int, inputs: int = INPUTS) -> Iterator[tuple[Portfolio, Input, Any, Decision]]:
    """What a portfolio was, was given and when, and decided, again and again."""
    rules, capital, prices = world()
    portfolio, trading = a_portfolio(rules, capital), RandomTrading(seed, prices)
    for _ in range(inputs):
        something, now = trading.next(portfolio)
        decision = decide(portfolio, something, now)
        yield portfolio, something, now, decision
        portfolio = decision.portfolio.settled()


in_every_world = pytest.mark.parametrize("world, seed", WORLDS)


@in_every_world
def test_a_decision_is_its_portfolio_evolved_by_its_events(world: Any, seed: int) -> None:
    for before, _, _, decision in story(world, seed):
        evolved = reduce(evolve, decision.events, before)
        for name in Portfolio.__struct_fields__:
            assert getattr(evolved, name) == getattr(decision.portfolio, name), name


@in_every_world
def test_decide_is_pure(world: Any, seed: int) -> None:
    for before, something, now, decision in story(world, seed, inputs=100):
        image = {name: getattr(before, name) for name in Portfolio.__struct_fields__}
        assert decide(before, something, now) == decision
        for name, value in image.items():
            assert getattr(before, name) is value


@in_every_world
def test_equity_is_capital_flows_and_realised_pnl_after_any_sequence(world: Any, seed: int) -> None:
    realized, flows, costs = Decimal(0), Decimal(0), Decimal(0)
    for before, something, _, decision in story(world, seed):
        state = decision.portfolio.state
        realized += sum((event.pnl for event in decision.events if isinstance(event, PositionExited)), Decimal(0))
        costs += sum((event.costs for event in decision.events if isinstance(event, PositionExited)), Decimal(0))
        if isinstance(something, MoveCapital) and decision.outcome.status is Status.EXECUTED:
            flows += something.amount
        assert (state.realized_total, state.flows_total) == (realized, flows)
        assert state.closed_equity == state.initial_capital + flows + realized
        assert state.statistics.costs == costs
        assert state.initial_capital == before.state.initial_capital
        assert state.equity_high >= state.closed_equity


@in_every_world
def test_the_sums_equal_what_the_positions_add_up_to_after_any_sequence(world: Any, seed: int) -> None:
    for _, _, _, decision in story(world, seed):
        portfolio = decision.portfolio
        totals, state, positions = portfolio.totals, portfolio.state, list(portfolio.positions.values())
        margins = {name: each.margin_per_lot for name, each in portfolio.settings.instruments.items()}
        assert totals.risk == state.total_risk_amount == sum(p.risk_contribution for p in positions)
        assert totals.volatility == state.total_vol_amount == sum(p.vol_contribution for p in positions)
        assert totals.unrealized == sum(p.unrealized_pnl for p in positions)
        assert totals.margin == state.margin_used == sum(margins[p.instrument] * p.lots for p in positions)


@in_every_world
def test_each_positions_figures_are_what_the_domain_says_of_it(world: Any, seed: int) -> None:
    for _, _, _, decision in story(world, seed):
        for p in decision.portfolio.positions.values():
            sign = p.side.sign
            assert p.unrealized_pnl == round(sign * (p.mark_price - p.entry_price) * p.lots * p.point_value, 4)
            distance = max(Decimal(0), sign * (p.entry_price - p.current_stop))
            assert p.risk_contribution == round(distance * p.lots * p.point_value, 4)
            assert p.vol_contribution == round(p.atr * p.lots * p.point_value, 4)
            assert p.quantity == p.lots * p.lot_size


@in_every_world
def test_the_portfolio_built_from_its_rows_is_the_evolved_one(world: Any, seed: int) -> None:
    for number, (_, _, _, decision) in enumerate(story(world, seed)):
        if number % 5 == 0:
            portfolio = decision.portfolio.settled()
            rows = sorted(portfolio.positions.values(), key=lambda p: p.position_id, reverse=True)
            rebuilt = portfolio_from_rows(
                portfolio.name,
                portfolio.settings,
                portfolio.state,
                rows,
                portfolio.pyramiding.values(),
                proposals=portfolio.pending_proposals(),
            )
            assert replace(rebuilt, recovered_at=portfolio.recovered_at) == portfolio


@in_every_world
def test_every_event_raises_the_version_of_its_row_by_one(world: Any, seed: int) -> None:
    positional = (PositionOpened, PositionMarked, PositionExited)
    stateless = (
        PositionOpened,
        PositionMarked,
        PyramidingChanged,
        EntriesFrozen,
        EntriesUnfrozen,
        SettingsChanged,
        ProposalMade,
        ProposalDecided,
        RecoveryNoted,
    )
    for before, _, _, decision in story(world, seed):
        touched = Counter(
            event.position.position_id if isinstance(event, PositionOpened) else event.position_id
            for event in decision.events
            if isinstance(event, positional)
        )
        after_all = {**before.positions, **decision.portfolio.closed, **decision.portfolio.positions}
        for position_id, position in after_all.items():
            was = before.positions[position_id].version if position_id in before.positions else 0
            assert position.version == was + touched[position_id]
        own = sum(not isinstance(event, stateless) for event in decision.events)
        assert decision.portfolio.state.version == before.state.version + own


@in_every_world
def test_no_stop_ever_loosens_and_no_closed_position_comes_back(world: Any, seed: int) -> None:
    stops: dict[str, tuple[int, Decimal]] = {}
    gone: set[str] = set()
    for _, _, _, decision in story(world, seed):
        assert not gone & set(decision.portfolio.positions)
        for position_id, position in {**decision.portfolio.positions, **decision.portfolio.closed}.items():
            _, last = stops.get(position_id, (0, position.current_stop))
            assert position.side.sign * (position.current_stop - last) >= 0
            stops[position_id] = (0, position.current_stop)
        gone |= set(decision.portfolio.closed)


@in_every_world
def test_one_base_per_instrument_and_every_pyramid_knows_its_base(world: Any, seed: int) -> None:
    for _, _, _, decision in story(world, seed):
        portfolio = decision.portfolio
        for instrument, ids in portfolio.by_instrument.items():
            held = [portfolio.positions[i] for i in ids]
            assert sum(p.is_base_position for p in held) <= 1
            assert len({p.side for p in held}) == 1
            assert len({p.layer for p in held}) == len(held)
            base_id = portfolio.pyramiding_of(instrument).base_position_id
            assert base_id is not None
            base = portfolio.base_of(instrument)
            assert base is None or base.position_id == base_id
        for instrument, row in portfolio.pyramiding.items():
            if instrument not in portfolio.by_instrument:
                assert (row.last_pyramid_price, row.base_position_id) == (None, None)


@in_every_world
def test_what_is_refused_changes_nothing_and_what_is_executed_says_what_it_did(world: Any, seed: int) -> None:
    for before, something, _, decision in story(world, seed):
        outcome = decision.outcome
        if outcome.status in (Status.REJECTED, Status.BLOCKED):
            assert decision.events == ()
            assert decision.portfolio is before
            assert outcome.reason
        else:
            assert outcome.status in (Status.EXECUTED, Status.PROPOSED)
            opened = [e.position for e in decision.events if isinstance(e, PositionOpened)]
            assert [p.position_id for p in opened] == ([outcome.position_id] if opened else [])
            if opened:
                assert isinstance(something, SignalInput | ApproveProposal)
                assert (outcome.lots, outcome.limiter) == (opened[0].lots, opened[0].limiter)
            sold = {e.position_id for e in decision.events if isinstance(e, PositionExited)}
            assert (set(outcome.positions) if outcome.status is Status.EXECUTED else set()) == sold


@in_every_world
def test_a_closed_trade_adds_up_from_its_own_exits(world: Any, seed: int) -> None:
    pnl: Counter[str] = Counter()
    costs: Counter[str] = Counter()
    sold: Counter[str] = Counter()
    for _, _, _, decision in story(world, seed):
        for event in decision.events:
            if isinstance(event, PositionExited):
                pnl[event.position_id] += event.pnl
                costs[event.position_id] += event.costs
                sold[event.position_id] += event.lots_sold
        for position_id, position in decision.portfolio.closed.items():
            assert (position.realized_pnl, position.costs) == (pnl[position_id], costs[position_id])
            assert (position.entry_lots, position.status) == (sold[position_id], PositionStatus.CLOSED)
            assert position.costs >= position.entry_costs


# --- the thread's decimal context ---------------------------------------------------------------------------------


@in_every_world
def test_no_thread_decimal_context_changes_a_decision(world: Any, seed: int) -> None:
    for before, something, now, decision in story(world, seed, inputs=150):
        with localcontext(prec=9, rounding=ROUND_UP):
            narrow = decide(before, something, now)
        assert narrow == decision


@in_every_world
def test_a_wider_decimal_context_changes_no_decision(world: Any, seed: int) -> None:
    # So at least the usual 28 digits lose nothing.
    for before, something, now, decision in story(world, seed, inputs=150):
        with localcontext(prec=60, rounding=ROUND_UP):
            wide = decide(before, something, now)
        assert wide == decision


# --- the journal --------------------------------------------------------------------------------------------------


def exact(value: Any) -> Any:
    """A structure in which decimals differ where their text does."""
    return msgspec.json.encode(value)


@in_every_world
def test_every_input_and_event_survives_the_journal_unchanged(world: Any, seed: int) -> None:
    for _, something, _, decision in story(world, seed):
        assert msgspec.json.decode(exact(something), type=Input) == something
        decoded = msgspec.json.decode(exact(decision.events), type=tuple[Event, ...])
        assert decoded == decision.events
        assert exact(decoded) == exact(decision.events)


def test_the_rarer_inputs_and_events_survive_the_journal_too() -> None:
    portfolio = after(a_portfolio(), a_signal())
    state, row = portfolio.state, portfolio.pyramiding_of("BANK_NIFTY")
    inputs: list[Input] = [
        StartPortfolio(initial_capital=Decimal("5000000.0000")),
        StartTerm(term=7, instance_id="b2c1"),
        Halt(request_id="r1", reason=None),
        SaveRow(position=a_position(status=PositionStatus.PARTIAL, lots=1, expiry=NOON.date())),
        SaveRow(state=state),
        SaveRow(pyramiding=row),
        ChangeSettings(settings=portfolio.settings.model_dump(mode="json")),
        AdoptPosition(request_id="r", instrument="COPPER", layer="Long_1", lots=2, price=Decimal("830.50")),
        WriteOff(position_id="p", price=Decimal("830.5"), lots=None),
        IgnoreFinding(instrument="COPPER", difference=Decimal("-2500.0")),
        SaveRow(pyramiding=replace(row, last_bar_atr=Decimal("285.40"), last_bar_time=NOON)),
        given(a_signal(stop=None, atr=None, stop_atr=Decimal("1.50"), atr_max_age_seconds=Decimal(900))),
        given(a_signal(seq=7, position_size=Decimal("-2.50"), market_position=MarketPosition.SHORT)),
    ]
    events: list[Event] = [
        PositionSaved(position=a_position()),
        StateSaved(state=state),
        PyramidingSaved(pyramiding=row),
        EntriesFrozen(instrument="COPPER", reason="boom"),
        EntriesUnfrozen(instrument="COPPER"),
        DifferenceAccepted(instrument="COPPER", difference=Decimal("-2500.00000000")),
        DifferenceAccepted(instrument="COPPER", difference=None),
        AlertSeen(instrument="COPPER", seq=10**15 - 1),
        BarKept(instrument="COPPER", atr=Decimal("3.50"), time=NOON),
        PortfolioMeasured(
            equity_high=Decimal("1.0000"),
            total_risk_amount=Decimal(0),
            total_risk_percent=None,
            total_vol_amount=Decimal("1E+3"),
            margin_used=Decimal("0.0001"),
        ),
    ]
    for something in inputs:
        decoded_input = msgspec.json.decode(exact(something), type=Input)
        assert (decoded_input, exact(decoded_input)) == (something, exact(something))
    for event in events:
        decoded_event = msgspec.json.decode(exact(event), type=Event)
        assert (decoded_event, exact(decoded_event)) == (event, exact(event))


def test_an_unknown_event_or_input_is_refused() -> None:
    for kind, document in ((Event, b'{"event":"gone"}'), (Input, b'{"kind":"gone"}')):
        with pytest.raises(msgspec.ValidationError):
            msgspec.json.decode(document, type=kind)


def test_settings_survive_the_journal() -> None:
    rules = settings_with(paper=COSTS, instruments={"COIN": COIN})
    event = SettingsChanged(settings=rules.model_dump(mode="json"))
    decoded = msgspec.json.decode(exact(event), type=Event)
    assert isinstance(decoded, SettingsChanged)
    assert evolve(a_portfolio(), decoded).settings == rules


def test_an_entry_of_the_journal_says_all_of_its_input() -> None:
    something = given(a_signal())
    decision = told(a_portfolio(), a_signal())
    entry = Entry(given=something, decision=decision, decided_at=minutes(1))
    record = journal_record(entry, seq=7, term=3)
    assert (record["seq"], record["term"], record["kind"], record["fingerprint"]) == (
        7,
        3,
        "signal",
        something.fingerprint,
    )
    assert record["input"] is something
    assert record["events"] == decision.events
    assert record["figures"] == decision.outcome.sizing
    assert record["outcome"]["sizing"] == {}
    assert signal_record(entry, something)["processing_status"] is Status.EXECUTED
    assert touched_positions([entry]) == {decision.outcome.position_id: False}
    halt = Entry(given=Halt(request_id="r1"), decision=decide(a_portfolio(), Halt(), NOON), decided_at=None)
    assert (halt.fingerprint, kind_of(halt.given), touched_positions([halt])) == (None, "halt", {})
    assert journal_record(halt, 8, 3)["request_id"] == "r1"
    assert Batch(before=a_portfolio(), after=decision.portfolio, entries=(entry,)).entries == (entry,)


def test_a_batch_knows_its_signals_flows_and_touched_positions() -> None:
    opened = told(a_portfolio(), a_signal())
    stopped = told(opened.portfolio, a_signal("MARKET_DATA", price=50000, timestamp=minutes(15)))
    flow, halt = MoveCapital(amount=Decimal(5), note="top up"), Halt()
    entries = [
        Entry(given=given(a_signal()), decision=opened, decided_at=NOON),
        Entry(given=halt, decision=decide(stopped.portfolio, halt, NOON), decided_at=NOON),
        Entry(given=flow, decision=decide(stopped.portfolio, flow, NOON), decided_at=minutes(1)),
        Entry(given=given(a_signal("EXIT")), decision=stopped, decided_at=NOON),
    ]
    assert [entry for entry, _ in signals_of(entries)] == [entries[0], entries[3]]
    assert capital_flows(entries, first_seq=7) == [
        {"journal_seq": 9, "amount": Decimal(5), "note": "top up", "flowed_at": minutes(1)}
    ]
    assert touched_positions(entries) == {opened.outcome.position_id: False}


def test_a_position_is_only_marked_where_nothing_else_happens_to_it() -> None:
    opened = told(a_portfolio(), a_signal())
    marked = told(opened.portfolio, a_signal("MARKET_DATA", price=52300, timestamp=minutes(15)))
    sold = told(marked.portfolio, a_signal("EXIT", price=52300, timestamp=minutes(30)))
    decisions = [Entry(given=Halt(), decision=decision, decided_at=NOON) for decision in (opened, marked, sold)]
    position_id = opened.outcome.position_id
    assert touched_positions(decisions[1:2]) == {position_id: True}
    assert touched_positions(decisions[:2]) == touched_positions(decisions[1:]) == {position_id: False}


# --- evolve alone -------------------------------------------------------------------------------------------------


def test_an_event_of_a_position_that_is_not_there_is_an_error() -> None:
    event = next(e for _, _, _, d in story(plain, 1) for e in d.events if isinstance(e, PositionMarked))
    with pytest.raises(KeyError):
        evolve(a_portfolio(), event)


def test_positions_marked_together_are_those_marked_one_after_the_other() -> None:
    before, marks = a_portfolio(), []
    for number in range(1, 7):
        side = "Short" if number == 6 else "Long"
        position = a_position(position_id=f"P{number}", layer=f"{side}_{number}", side=Side(side.lower()))
        before = before.with_position(position)
        marks.append(
            PositionMarked(
                position_id=f"P{number}",
                mark_price=Decimal(72000 + number),
                mark_time=NOON,
                atr=Decimal("500.5"),
                highest_close=Decimal(72000 + number),
                current_stop=None if number == 3 else Decimal(71000 + number),
                unrealized_pnl=Decimal(number) - 3,
                risk_contribution=Decimal("0.1") * number,
                vol_contribution=Decimal("0.0001") * number,
            )
        )
    together = evolve_marks(before, marks)
    assert together == reduce(evolve, marks, before)
    assert together.totals.unrealized == before.totals.unrealized + 3
    assert evolve_marks(before, []) == before
    with pytest.raises(KeyError):
        evolve_marks(before, [replace(marks[0], position_id="nobody's")])
    with pytest.raises(ValueError, match="unrealized_pnl has more than 4 decimals"):
        evolve_marks(before, [replace(marks[0], unrealized_pnl=Decimal("0.00001"))])


def test_a_failed_input_freezes_its_instrument_and_evolves_like_any_other() -> None:
    before = a_portfolio()
    decision = failed(before, given(a_signal()), "boom")
    assert reduce(evolve, decision.events, before) == decision.portfolio


def test_evolving_leaves_the_portfolio_that_was() -> None:
    before = a_portfolio()
    evolve(before, PositionOpened(position=a_position()))
    assert before == a_portfolio()


def test_statistics_count_a_trade_once_it_is_closed_and_by_its_whole_result() -> None:
    portfolio = a_portfolio().with_position(a_position(realized_pnl=Decimal(-500)))
    exited = PositionExited(
        position_id="GOLD_MINI-Long_1-abc",
        lots_sold=1,
        fill_price=Decimal(72010),
        pnl=Decimal(100),
        costs=Decimal(2),
        status=PositionStatus.PARTIAL,
        lots=1,
        quantity=Decimal(100),
        exit_timestamp=NOON,
        exit_price=Decimal(72010),
        exit_reason="PEEL_OFF",
        unrealized_pnl=Decimal(100),
        risk_contribution=Decimal(5000),
        vol_contribution=Decimal(5000),
    )
    partial = evolve(portfolio, exited)
    assert (partial.state.statistics.trades_closed, partial.state.statistics.costs) == (0, 2)
    whole = replace(exited, status=PositionStatus.CLOSED, lots=0, quantity=Decimal(0))
    statistics = evolve(partial, whole).state.statistics
    assert (statistics.trades_closed, statistics.trades_won) == (1, 0)
    assert (statistics.gross_profit, statistics.gross_loss, statistics.costs) == (0, 300, 4)


def test_a_signal_is_not_changed_by_being_decided() -> None:
    signal: Signal = a_signal()
    told(a_portfolio(), signal)
    assert signal == a_signal()


def test_a_trade_that_earns_nothing_is_not_won() -> None:
    flat = after(a_portfolio(), a_signal(), a_signal("EXIT", timestamp=minutes(15)))
    assert (flat.state.statistics.trades_closed, flat.state.statistics.trades_won) == (1, 0)
