"""A copy of the book: what was held at an instant, what is known of it, and why the rest is not."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import msgspec
import numpy as np
import pytest
from msgspec.structs import replace
from sqlalchemy import Double, Engine, Text, literal, select, update
from sqlalchemy.orm import Session

from book.database import transaction
from book.day_ends import DayEnds
from book.hierarchy import Position
from book.journal_walk import JournalEntry
from book.models import Instrument, PortfolioPosition, PositionPnLHistory, ReferenceData
from book.nodes import add_node, move_node, node_of
from book.projection import Projector
from core.db_state_manager import DatabaseStateManager
from core.events import Event, PositionIncreased, PositionOpened, PositionRolled, PositionSaved
from core.models import PositionStatus, RolloverStatus
from core.rollover import RolledFields
from live.as_of import portfolio_then
from risk.analytics.greeks import Option, greeks
from risk.daily import FactorCovariance, PortfolioRisk, PositionFactorExposure
from risk.factors import StressScenario, StressScenarioShock
from risk.modelling.clone import NO_BATCH
from risk.modelling.engine_positions import _Followed
from risk.modelling.refusals import (
    BookBehind,
    NodeNotThen,
)
from risk.models import CurveData, DataSource, VolSurface
from risk.option_terms import set_terms
from risk.tagging import add_tag, create_tag, target
from tests.book_world import a_held_position, a_live_portfolio, a_node, an_instrument, kept, pnl_values
from tests.builders import NOON, a_position, minutes
from tests.crash.scenario import NOW, SETTINGS, story, tell
from tests.engines import Clock, an_engine
from tests.integration.risk.test_batch import by_hand
from tests.modelling_world import CALENDAR, DESK, END, FUND, NAMES, begun, clone, synced
from tests.queries import rows
from tests.risk_world import DAY, FACTORS, SYMBOLS, USD, closes

# --- the copy


def test_a_copy_has_what_was_held_and_what_the_batch_knows_of_it(world: Engine) -> None:
    found, hand = clone(world), by_hand()
    assert [one.position_id for one in found.positions.held] == list(NAMES)
    assert [one.instrument for one in found.positions.held] == list(SYMBOLS)
    assert [one.node for one in found.positions.held] == ["Fund", "Fund/Desk", "Fund/Desk"]
    assert [one.rate for one in found.positions.held] == [1.0, 1.0, USD]
    values = [one.signed_quantity * one.point_value * one.price * one.rate for one in found.positions.held]
    np.testing.assert_allclose(values, hand["values"], rtol=1e-12)
    betas = [[one.betas[factor] for factor in FACTORS] for one in found.positions.held]
    np.testing.assert_allclose(betas, hand["betas"], rtol=1e-9)
    assert found.inputs.batch_day == DAY
    assert found.inputs.factors == FACTORS
    assert found.inputs.notes == {}
    assert len(found.inputs.days) == 60
    np.testing.assert_allclose(
        found.inputs.returns["COPPER"], closes()["COPPER"][1:] / closes()["COPPER"][:-1] - 1, rtol=1e-12
    )


def test_what_is_measured_before_is_what_the_batch_reckoned(world: Engine) -> None:
    with Session(world) as session:
        told = session.get_one(PortfolioRisk, (DAY, FUND)).measures
    found = begun(world).impact
    assert found.of("volatility").before == pytest.approx(float(told["volatility"]["daily"]), rel=1e-12)
    assert found.of("gross").before == pytest.approx(float(told["exposure"]["gross"]), rel=1e-12)
    tail = float(told["normal_99%"]["value_at_risk"])
    assert found.of("parametric_value_at_risk").before == pytest.approx(tail, rel=1e-12)


def test_what_is_minus_zero_is_kept_as_the_zero_that_it_is(world: Engine) -> None:
    # As a literal of SQL it would be 0 before it came to the column.
    minus_zero = literal("-0", Text).cast(Double)
    with transaction(world) as session:
        pairs = FactorCovariance.factor1_id != FactorCovariance.factor2_id
        session.execute(update(FactorCovariance).where(pairs).values(covariance=minus_zero))
        session.execute(update(PositionFactorExposure).values(beta=minus_zero))
        session.execute(update(StressScenarioShock).values(shock=minus_zero))
    assert begun(world).impact.of("volatility").before > 0


def test_a_copy_of_a_desk_has_its_own_only(world: Engine) -> None:
    assert [one.position_id for one in clone(world, DESK).positions.held] == ["position/2", "position/3"]


def test_a_copy_is_as_of_its_instant(held: Engine) -> None:
    entered = NOON - timedelta(days=10)
    with transaction(held) as session:
        closing = update(PortfolioPosition).where(PortfolioPosition.id == 2)
        left = {"is_open": False, "exit_timestamp": NOON, "exit_price": Decimal(1)}
        session.execute(closing.values(**left))
        session.execute(update(PortfolioPosition).where(PortfolioPosition.id == 3).values(entry_timestamp=NOON))
    names = {at: [one.position_id for one in clone(held, at=at).positions.held] for at in (entered, NOON, minutes(1))}
    assert names == {
        entered: [],
        NOON: ["position/1", "position/2"],
        minutes(1): ["position/1", "position/3"],
    }


def test_a_copy_knows_no_price_of_a_day_that_was_not_over(held: Engine) -> None:
    prices = {one.position_id: one.price for one in clone(held, at=minutes(0)).positions.held}
    assert prices["position/1"] == closes()["BANK_NIFTY"][-2]
    assert clone(held).positions.of("position/1").price == closes()["BANK_NIFTY"][-1]


def test_a_mark_of_the_day_comes_before_its_close(held: Engine) -> None:
    with transaction(held) as session:
        kept(
            session,
            PositionPnLHistory(**pnl_values(snapshot_date=DAY, mark_price=Decimal(40_000), quantity=Decimal(30))),
        )
    found = clone(held).positions.of("position/1")
    assert (found.price, found.signed_quantity) == (40_000.0, 30.0)


def test_a_node_is_where_it_was(held: Engine, book_dsn: str) -> None:
    began = datetime.now(UTC)
    with transaction(held) as session:
        other = add_node(session, "Other", "FUND", base_ccy="INR")[0].portfolio_node_id
        move_node(session, DESK, other)
    assert [one.node for one in clone(held, at=began).positions.held] == ["Fund", "Fund/Desk", "Fund/Desk"]
    later = datetime.now(UTC)
    assert [one.node for one in clone(held, at=later).positions.held] == ["Fund"]
    rows(book_dsn, "UPDATE book.portfolio_node_version SET valid_from = now() WHERE name = 'Other'")
    with pytest.raises(NodeNotThen, match="`book node list`"):
        clone(held, other, at=began)


def test_what_is_not_known_is_none_and_says_why(held: Engine) -> None:
    with transaction(held) as session:
        tin = an_instrument(session, "TIN", kind="future", currency="EUR")
        option = an_instrument(session, "NIFTY_CALL", kind="option")
        for instrument, currency in ((tin, "EUR"), (option, "INR")):
            a_held_position(session, FUND, instrument.instrument_id, base_ccy=currency)
        session.execute(update(StressScenario).values(is_active=False))
    found = clone(held)
    tin_held, option_held = found.positions.of("position/4"), found.positions.of("position/5")
    assert (tin_held.price, tin_held.rate, tin_held.betas, option_held.price) == (None, None, None, None)
    assert [note.partition(":")[0] for note in found.inputs.notes["position/4"]] == ["price", "rate", "betas"]
    assert "MissingRate" in found.inputs.notes["position/4"][1]
    notes = found.inputs.notes["position/5"]
    assert [note.partition(":")[0] for note in notes] == ["price", "option", "betas"]
    assert notes[1].endswith("`risk option set NIFTY_CALL`")
    assert found.inputs.notes["position/1"] == (NO_BATCH,)
    assert (found.inputs.batch_day, found.inputs.covariance_frame, found.inputs.scenarios) == (None, None, ())
    impact = begun(held).impact
    assert impact.of("net").before is None
    assert impact.of("volatility").before_reason is not None


def test_an_option_is_what_it_is_a_right_to_and_moves_as_its_underlying(world: Engine) -> None:
    with transaction(world) as session:
        option = an_instrument(session, "BANK_CALL", kind="option", exchange="NSE")
        a_held_position(session, FUND, option.instrument_id, quantity=Decimal(30))
        terms = {"option_type": "CE", "strike": Decimal(52_000), "expiry": date(2026, 2, 24)}
        set_terms(session, "BANK_CALL", underlying="BANK_NIFTY", **terms)
        source = session.scalars(select(DataSource.source_id).where(DataSource.name == "here")).one()
        number = session.scalars(select(Instrument.instrument_id).where(Instrument.symbol == "BANK_NIFTY")).one()
        told = {"surface_date": DAY, "instrument_id": number, "source_id": source, "expiry": terms["expiry"]}
        session.add(VolSurface(**told, strike=Decimal(52_000), implied_volatility=Decimal(15)))
        point = {"curve_date": DAY, "curve_id": "INR", "source_id": source, "tenor_days": 30, "revision": 0}
        session.add(
            CurveData(**point, release_time=datetime(2026, 1, 14, 9, tzinfo=UTC), curve_type="zero", rate=Decimal(7))
        )
        given = pnl_values(position_id=4, mark_price=Decimal(900), quantity=Decimal(30))
        session.add(PositionPnLHistory(**given))
    found = clone(world)
    own, bank = found.positions.of("position/4"), found.positions.of("position/1")
    assert (own.underlying, own.price, own.betas) == ("BANK_NIFTY", 900, bank.betas)
    assert own.option is not None
    (leg,) = own.option.legs
    assert (leg.kind, leg.strike, leg.volatility, own.option.underlying_price) == ("CALL", 52_000, 0.15, bank.price)
    assert "position/4" not in found.inputs.notes
    option = Option(kind="CALL", strike=leg.strike, expires_at=leg.expires_at)
    delta = greeks(option, own.option.market_of(leg)).delta
    without = sum(one.signed_quantity * one.point_value * one.price * one.rate for one in found.positions.held[:3])
    assert begun(world).impact.of("net").before == pytest.approx(without + 30 * delta * bank.price, rel=1e-12)


def test_a_copys_positions_have_the_tags_of_then(world: Engine) -> None:
    with transaction(world) as session:
        for name, kind, on, at in (
            ("core", "regular", f"node/{FUND}", END - timedelta(hours=1)),
            ("trend", "strategy", "position/1", END - timedelta(hours=1)),
            ("late", "regular", "position/1", END + timedelta(hours=1)),
        ):
            create_tag(session, name, kind, by="ada")
            add_tag(session, name, kind, target(on), by="ada", now=at)
    bank, gold = (clone(world).positions.of(name) for name in NAMES[:2])
    assert (bank.tags, bank.strategies, gold.tags, gold.strategies) == (("core",), ("trend",), ("core",), ())


def test_a_price_too_old_is_none(held: Engine) -> None:
    later = END + timedelta(days=20)
    found = clone(held, at=later)
    assert found.positions.of("position/1").price is None
    assert "more than 10 days before" in found.inputs.notes["position/1"][0]


def test_an_uploaded_holding_is_held_too(held: Engine) -> None:
    with transaction(held) as session:
        gold = session.scalars(select(Instrument).filter_by(symbol="GOLD_MINI")).one()
        given = {"portfolio_node_id": DESK, "instrument_id": gold.instrument_id, "base_ccy": "INR"}
        kept(session, Position(**given, quantity=Decimal(-250), average_price=Decimal(70_000), created_at=NOON))
    found = clone(held).positions.of("holding/1")
    assert (found.signed_quantity, found.node, found.price) == (-250.0, "Fund/Desk", closes()["GOLD_MINI"][-1])
    assert "holding/1" not in [one.position_id for one in clone(held, at=NOON).positions.held]


def test_a_sector_is_the_instruments(held: Engine) -> None:
    with transaction(held) as session:
        copper = session.scalars(select(Instrument).filter_by(symbol="COPPER")).one()
        copper.sector_id = kept(session, ReferenceData(entity_type="SECTOR", name="Metals")).entity_id
    assert clone(held).positions.of("position/3").sector == "Metals"


# --- the engine's


@pytest.mark.parametrize("minute", [0, 0.5, 15.5, 30.5, 59.5, 60.5])
def test_the_engines_positions_are_as_its_journal_says_at_any_instant(
    traded: tuple[Engine, str], minute: float
) -> None:
    engine, dsn = traded
    synced(engine)
    at = minutes(minute)
    found = clone(engine, at=at).positions.held
    with DatabaseStateManager(dsn) as manager:
        # Nothing was decided at these very instants but the entry, which had not come before noon.
        then = portfolio_then(manager, at).positions.values() if minute else []
    assert [(one.signed_quantity, one.point_value, one.price, one.stop) for one in found] == [
        (float(own.lots), float(own.point_value), float(own.mark_price), float(own.current_stop)) for own in then
    ]
    lots = {0: [], 0.5: [2], 15.5: [2], 30.5: [1], 59.5: [1], 60.5: []}[minute]
    assert [one.signed_quantity for one in found] == lots


def test_after_each_step_of_a_story_the_copy_is_what_the_engine_holds(book_engine: Engine, book_dsn: str) -> None:
    """The story of the crash tests: pyramids, bars, exits, peels, commands."""
    most = 0
    with an_engine(book_dsn, settings=SETTINGS, clock=Clock(NOW)) as engine:
        for one in story():
            tell(engine, one)
            Projector(book_engine, "main", DayEnds(CALENDAR, 300), clock=lambda: NOW).sync()
            names = dict(rows(book_dsn, "SELECT 'position/' || id, engine_position_id FROM book.portfolio_positions"))
            found = clone(book_engine, at=NOW + timedelta(days=1))
            copied = {names[held.position_id]: held for held in found.positions.held}
            assert set(copied) == set(engine.positions)
            for name, own in engine.positions.items():
                copy = copied[name]
                assert copy.signed_quantity == own.side.sign * own.lots
                assert (copy.point_value, copy.price) == (float(own.point_value), float(own.mark_price))
                assert copy.stop == (None if own.current_stop is None else float(own.current_stop))
                assert copy.contract == (own.contract_month or "")
                assert found.inputs.expiries.get(copy.position_id) == own.expiry
            most = max(most, len(copied))
    assert most > 1


def test_a_book_that_has_not_heard_of_a_position_is_no_copy(traded: tuple[Engine, str]) -> None:
    engine, _ = traded
    with transaction(engine) as session:
        a_live_portfolio(session, a_node(session, "default"))
    with pytest.raises(BookBehind, match="`book sync`"):
        clone(engine, at=minutes(45))
    assert clone(engine, at=minutes(0)).positions.held == ()
    synced(engine)
    assert len(clone(engine, at=minutes(45)).positions.held) == 1


def test_what_the_journal_does_not_tell_of_is_as_the_book_has_it_and_says_so(held: Engine) -> None:
    with transaction(held) as session:
        a_live_portfolio(session, node_of(session, FUND))
        bank = session.scalars(select(Instrument).filter_by(symbol="BANK_NIFTY")).one()
        of_engine = {"source": "engine", "portfolio": "main", "engine_position_id": "elsewhere"}
        a_held_position(session, FUND, bank.instrument_id, **of_engine)
    found = clone(held)
    assert found.positions.of("position/4").signed_quantity == 10.0
    assert "the journal does not tell of it" in found.inputs.notes["position/4"][0]


def entry(seq: int, *events: Event, minute: float = 0) -> JournalEntry:
    text = msgspec.json.Encoder(decimal_format="string").encode(events).decode()
    return JournalEntry(seq=seq, format=1, events=text, figures="{}", decided_at=minutes(minute), content_hash="0" * 64)


@pytest.mark.parametrize(
    "minute, lots, contract", [(5, 2, None), (11, 3, None), (21, 3, "2026-03"), (31, 1, "2026-04")]
)
def test_fills_rolls_and_rows_by_hand_count_from_their_own_time_on(
    book_engine: Engine, minute: float, lots: int, contract: str | None
) -> None:
    opened = a_position()
    none = Decimal(0)
    increased = PositionIncreased(
        position_id=opened.position_id,
        entry_price=Decimal(72_010),
        entry_lots=3,
        entry_costs=none,
        status=PositionStatus.OPEN,
        lots=3,
        quantity=Decimal(300),
        unrealized_pnl=none,
        risk_contribution=none,
        vol_contribution=none,
    )
    fields = RolledFields(
        entry_price=Decimal(72_300),
        entry_lots=3,
        lots=3,
        quantity=Decimal(300),
        lot_size=Decimal(100),
        point_value=Decimal(10),
        initial_stop=Decimal(71_800),
        current_stop=Decimal(71_800),
        highest_close=Decimal(72_300),
        mark_price=Decimal(72_300),
        unrealized_pnl=none,
        realized_pnl=none,
        costs=none,
        risk_contribution=none,
        vol_contribution=none,
        rollover_status=RolloverStatus.ROLLED,
        rollover_timestamp=minutes(20),
        rollover_pnl=none,
        rollover_count=1,
        original_expiry=None,
        original_strike=None,
        original_entry_price=Decimal(72_010),
        expiry=date(2026, 3, 5),
        strike=None,
        contract_month="2026-03",
    )
    rolled = PositionRolled(
        position_id=opened.position_id, pnl=none, fields=fields, futures_symbol=None, ce_symbol=None, pe_symbol=None
    )
    status = PositionStatus.PARTIAL
    by_hand = replace(opened, lots=1, quantity=Decimal(100), status=status, contract_month="2026-04")
    with transaction(book_engine) as session:
        followed = _Followed(session, "main", {opened.position_id}, minutes(minute))
        followed.take(entry(1))
        followed.take(entry(2, PositionOpened(position=opened)))
        followed.take(entry(3, increased, minute=10))
        followed.take(entry(4, rolled, minute=22))
        followed.take(entry(5, PositionSaved(position=by_hand), minute=30))
    found = followed.positions[opened.position_id]
    assert (found.lots, found.contract_month) == (lots, contract)


def test_what_the_engine_sold_behind_the_books_back_is_not_held(traded: tuple[Engine, str]) -> None:
    """The book's own row says that it is open: it is the journal that is asked."""
    engine, dsn = traded
    synced(engine)
    rows(
        dsn,
        "UPDATE book.portfolio_positions SET is_open = TRUE, exit_timestamp = NULL, exit_price = NULL, exit_fx_rate = NULL",
    )
    assert clone(engine, at=minutes(61)).positions.held == ()
