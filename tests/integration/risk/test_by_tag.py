"""A day by tag: its figures are those that are reckoned by hand, and what is not known of a tag is said, never 0."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from sqlalchemy import Engine, delete
from sqlalchemy.orm import Session

from book.database import transaction
from book.hierarchy import PortfolioNode, Position
from book.models import FxSpot
from book.portfolio_management import PositionPnLHistory
from book.refusals import CurrencyNeeded, UnknownNode
from risk.batch.given import Given
from risk.by_tag import ByTag, OfTag, day_by_tag
from risk.daily import PortfolioRisk
from risk.reading import NotReckoned
from risk.tagging import add_tag, create_tag, remove_tag, target
from tests.book_world import a_held_position, a_live_portfolio, a_node, kept, pnl_values
from tests.builders import a_signal
from tests.engines import Clock, an_engine
from tests.integration.book.test_projection import a_projector
from tests.integration.risk.test_batch import CALENDAR, by_hand, reckon, world_dsn
from tests.queries import rows
from tests.risk_world import AFTER, DAY, USD, a_world, closes

MORNING = datetime(2026, 1, 14, 6, tzinfo=UTC)


@pytest.fixture
def world(book_engine: Engine) -> Engine:
    """Fund: bank (position/1). Desk: gold short (position/2), copper in dollars (position/3), all metals; copper is carried too.
    The engine has closed a trade of bank that won two R on the day, and one of gold that lost one on the day before."""
    with transaction(book_engine) as session:
        a_world(session)
        a_live_portfolio(session, session.get_one(PortfolioNode, 1))
        for name, tag_type in (("metals", "regular"), ("Trend", "strategy"), ("carry", "strategy")):
            create_tag(session, name, tag_type, by="ada")
        put = {"by": "ada", "now": MORNING - timedelta(days=1)}
        add_tag(session, "metals", "regular", target("node/2"), **put)
        add_tag(session, "carry", "strategy", target("position/3"), **put)
        last = {name: Decimal(str(values[-1])) for name, values in closes().items()}
        for position, quantity, symbol, unrealized, daily in (
            (1, 60, "BANK_NIFTY", "-12000", "-500.5"),
            (3, 100, "COPPER", "300", "100"),
        ):
            marks = {"unrealized_pnl_base": Decimal(unrealized), "daily_pnl_base": Decimal(daily)}
            marks |= {"quantity": Decimal(quantity), "mark_price": last[symbol]}
            kept(session, PositionPnLHistory(**pnl_values(position_id=position, snapshot_date=DAY, **marks)))
    trades(book_engine)
    return book_engine


def trades(engine: Engine) -> None:
    clock = Clock(MORNING - timedelta(days=1))
    with an_engine(world_dsn(engine), clock=clock) as live:
        for begin, symbol, entry, stop, leave in (
            (MORNING - timedelta(days=1), {"instrument": "GOLD_MINI", "atr": 500, "er": "0.75"}, 72000, 71500, 71500),
            (MORNING, {}, 52000, 51650, 52700),
        ):
            clock.now = begin
            live.process_signal(a_signal(**symbol, price=entry, stop=stop, timestamp=begin))
            later = clock.now = begin + timedelta(hours=1)
            live.process_signal(a_signal("EXIT", **symbol, price=leave, timestamp=later))
    maker = a_projector(SessionsOn(engine), AFTER)
    maker.sync()
    ids = rows(world_dsn(engine), "SELECT id FROM book.portfolio_positions WHERE portfolio = 'main' ORDER BY id")
    with transaction(engine) as session:
        for (number,) in ids:
            on = target(f"position/{number}")
            add_tag(session, "trend", "strategy", on, by="ada", now=MORNING)


class SessionsOn:
    """As `a_projector` takes an engine."""

    def __init__(self, engine: Engine) -> None:
        self.kw = {"bind": engine}


def of(engine: Engine, **asked: Any) -> dict[str, OfTag]:
    found = whole(engine, **asked)
    return {each.tag: each for each in found.of}


def whole(engine: Engine, **asked: Any) -> ByTag:
    with transaction(engine) as session:
        return day_by_tag(session, Given(day=DAY, calendar=CALENDAR), **asked)


def closed_ids(engine: Engine) -> list[str]:
    asked = (
        "SELECT p.id FROM book.portfolio_positions p JOIN book.instrument USING (instrument_id) WHERE p.portfolio = 'main'"
        " ORDER BY symbol"
    )
    return [f"position/{number}" for (number,) in rows(world_dsn(engine), asked)]


def test_what_positions_of_a_tag_are_worth_and_risk_together_is_what_is_reckoned_by_hand(world: Engine) -> None:
    reckon(world)
    hand, found = by_hand(), of(world)
    assert list(found) == ["", "metals", "carry", "Trend"]
    metals = found["metals"]
    assert (metals.tag_type, metals.positions) == ("regular", ("position/2", "position/3"))
    values = hand["values"] * [0, 1, 1]
    exposure = metals.measures["exposure"]
    told = [exposure[name] for name in ("long", "short", "gross", "net")]
    assert np.allclose(told, [values[2], values[1], values[2] - values[1], values.sum()], rtol=1e-12)
    exposed = values @ hand["betas"]
    volatility = np.sqrt(exposed @ hand["covariance"] @ exposed + (values**2 * hand["specific"]).sum())
    assert np.isclose(metals.measures["volatility"]["daily"], volatility, rtol=1e-9)
    assert np.isclose(metals.measures["normal_99%"]["value_at_risk"], 2.3263478740408408 * volatility, rtol=1e-9)
    worst = np.sort(hand["own"] @ values)
    assert np.isclose(metals.measures["historical_95%"]["value_at_risk"], -worst[3], rtol=1e-9)
    assert metals.reasons["historical_99%"] == "TooFewObservations: 60 observations; 100 are needed"
    assert found["carry"].measures["exposure"]["net"] == pytest.approx(hand["values"][2], rel=1e-12)
    # One of them alone is not diversified, nor is it not.
    assert found["carry"].measures["diversification"]["score"] is None


def test_all_positions_and_the_tag_of_a_whole_node_are_what_the_batch_kept_of_it(world: Engine) -> None:
    reckon(world)
    found = of(world)
    with Session(world) as session:
        kept_of = {number: session.get_one(PortfolioRisk, (DAY, number)) for number in (1, 2)}
    for own, node in ((found[""], kept_of[1]), (found["metals"], kept_of[2])):
        assert own.measures.keys() - node.measures.keys() <= {"day_pnl", "pnl_since_entry", "closed_pnl"}
        for name, parts in node.measures.items():
            for part, value in parts.items():
                if not isinstance(value, dict):
                    assert own.measures[name][part] == pytest.approx(float(value), rel=1e-12), (name, part)
        assert {name: own.reasons[name] for name in node.reasons} == node.reasons


def test_what_a_scenario_costs_a_tag_is_what_is_reckoned_by_hand(world: Engine) -> None:
    reckon(world)
    hand = by_hand()
    shocks = np.array([hand["covariance"][0, 1] / hand["covariance"][1, 1] * -0.1, -0.1])
    cost = hand["values"] * (hand["betas"] @ shocks)
    found = {each["scenario"]: each for each in of(world)["metals"].stress}
    assert len(found) == 8
    assert found["Market Down 10%"]["pnl"] == pytest.approx(cost[1:].sum(), rel=1e-8)
    assert (found["Market Down 10%"]["left_out"], found["Market Down 10%"]["reason"]) == (0, None)
    without = found["Rates Up 0.25%"]
    assert (without["pnl"], without["left_out"]) == (None, 2)
    assert without["reason"].startswith("ImpossibleShocks: ")


def test_profit_is_by_the_books_marks_and_what_has_none_is_left_out_with_the_reason(world: Engine) -> None:
    reckon(world)
    found = of(world)
    metals, carry, everything = found["metals"], found["carry"], found[""]
    assert carry.measures["day_pnl"] == pytest.approx(100 * USD)
    assert carry.measures["pnl_since_entry"] == pytest.approx(300 * USD)
    assert metals.measures["day_pnl"] == carry.measures["day_pnl"]
    assert metals.left_out["position/2"] == {
        "day_pnl": "NoMark: the book has no mark of it on 2026-01-14",
        "pnl_since_entry": "NoMark: the book has no mark of it in the 10 days before",
    }
    # Of the day also what was closed on it: 2 lots of 30 units, 700 points.
    assert everything.measures["day_pnl"] == pytest.approx(100 * USD - 500.5 + 42_000)
    assert everything.measures["pnl_since_entry"] == pytest.approx(300 * USD - 12_000)
    # And of all before: 2 lots of gold at 10 rupees a point, -500 points.
    assert everything.measures["closed_pnl"] == pytest.approx(42_000 - 10_000)
    assert found["Trend"].measures["day_pnl"] == pytest.approx(42_000)


def test_trades_are_told_in_r_as_they_are_reckoned_by_hand(world: Engine) -> None:
    reckon(world)
    trend = of(world)["Trend"]
    assert (trend.positions, trend.measures["exposure"]["gross"]) == ((), 0.0)
    # 42,000 by 350 points x 2 x 30; -10,000 by 500 points x 2 x 10.
    assert trend.trades == {
        "closed": 2,
        "trades": 2,
        "won": 1,
        "win_rate": 0.5,
        "mean_r": 0.5,
        "total_r": 1.0,
        "best_r": 2.0,
        "worst_r": -1.0,
        "reasons": {},
        "without": {},
    }
    metals = of(world)["metals"].trades
    assert (metals["closed"], metals["trades"]) == (0, 0)
    assert set(metals["reasons"]) == {"win_rate", "mean_r", "total_r", "best_r", "worst_r"}


def test_a_trade_without_a_stop_has_no_r_and_says_why(world: Engine) -> None:
    bank, gold = closed_ids(world)
    rows(world_dsn(world), "UPDATE public.portfolio_positions SET initial_stop = NULL WHERE instrument = 'GOLD_MINI'")
    with transaction(world) as session:
        by_a_person = a_held_position(
            session, 2, 1, is_open=False, exit_timestamp=MORNING, realized_pnl_base=Decimal(-7)
        ).id
    reckon(world)
    found = of(world)
    trend, metals = found["Trend"].trades, found["metals"]
    assert (trend["closed"], trend["trades"], trend["win_rate"], trend["total_r"]) == (2, 1, 1.0, 2.0)
    assert trend["without"] == {gold: "NoRisk: no initial stop"}
    assert metals.measures["closed_pnl"] == -7
    assert metals.trades["without"] == {
        f"position/{by_a_person}": "NoRisk: the engine does not know it: its stop is not told"
    }
    assert (metals.trades["closed"], metals.trades["trades"]) == (1, 0)
    assert metals.trades["reasons"]["mean_r"] == "NoRisk: of no closed position an R is known"
    # It was closed on the day, and what it earned on it nobody has marked.
    assert metals.left_out[f"position/{by_a_person}"]["day_pnl"].startswith("NoMark: ")
    assert bank not in trend["without"]


def test_what_was_rolled_has_the_r_of_its_first_entry_and_stop_as_the_journal_tells_them(world: Engine) -> None:
    of_gold = (
        "UPDATE public.portfolio_positions SET rollover_count = 1, entry_price = 72900, initial_stop = 72600"
        " WHERE instrument = 'GOLD_MINI'"
    )
    rows(world_dsn(world), of_gold)
    reckon(world)
    # Still -10,000 by 500 points x 2 x 10, as it was entered.
    assert of(world)["Trend"].trades["worst_r"] == -1.0
    # An entry that the journal has not: it was long before.
    rows(world_dsn(world), of_gold.replace("SET", "SET entry_timestamp = '2025-06-01Z',"))
    (_, gold), trend = closed_ids(world), of(world)["Trend"].trades
    assert trend["without"] == {gold: "NoRisk: rolled: its first entry and stop are not told"}
    assert (trend["trades"], trend["worst_r"]) == (1, 2.0)


def test_the_tags_are_those_of_the_day_or_of_the_day_that_is_told(world: Engine) -> None:
    reckon(world)
    with transaction(world) as session:
        remove_tag(session, "carry", "strategy", target("position/3"), by="ada", now=AFTER)
        add_tag(session, "carry", "strategy", target("position/1"), by="ada", now=AFTER + timedelta(days=1))
    assert "carry" not in of(world)
    assert of(world, tagged_on=DAY - timedelta(days=1))["carry"].positions == ("position/3",)
    assert of(world, tagged_on=DAY + timedelta(days=1))["carry"].positions == ("position/1",)


def test_a_positions_own_strategy_is_a_strategy_tag_of_it_in_whatever_case(world: Engine) -> None:
    rows(
        world_dsn(world),
        "UPDATE book.portfolio_positions SET strategy_ids = '{TREND,breakout}',"
        ' strategy_weights = \'{"TREND": 0.5, "breakout": 0.5}\' WHERE id = 1',
    )
    reckon(world)
    found = of(world, tag_type="strategy")
    assert list(found) == ["", "breakout", "carry", "Trend"]
    assert found["breakout"].positions == found["Trend"].positions == ("position/1",)


def test_a_node_is_told_with_what_is_below_it_in_its_own_currency(world: Engine) -> None:
    rows(world_dsn(world), "UPDATE book.portfolio_node_version SET base_ccy = 'USD' WHERE portfolio_node_id = 2")
    reckon(world)
    found = whole(world, node=2)
    assert (found.node, found.currency) == (2, "USD")
    everything = found.of[0]
    assert everything.positions == ("position/2", "position/3")
    assert everything.measures["exposure"]["net"] == pytest.approx(by_hand()["values"][1:].sum() / USD, rel=1e-9)
    assert everything.measures["day_pnl"] == pytest.approx(100)


def test_a_missing_rate_is_named_wherever_it_is_missing(world: Engine) -> None:
    with transaction(world) as session:
        session.execute(delete(FxSpot))
    reckon(world)
    carry = of(world)["carry"]
    assert carry.measures.keys() <= {"closed_pnl"}
    told = carry.left_out["position/3"]
    assert set(told) == {"value", "day_pnl", "pnl_since_entry"}
    assert all(reason.startswith("MissingRate: ") for reason in told.values())
    assert carry.reasons["day_pnl"] == "NothingHeld: of none of 1 positions it is known"
    assert carry.reasons["exposure"] == "NothingHeld: no position has a value"
    assert carry.stress[0]["pnl"] is None
    assert "MissingRate" in carry.stress[0]["reason"]


def test_a_holding_has_its_value_and_says_that_nobody_knows_what_it_earned(world: Engine) -> None:
    with transaction(world) as session:
        kept(session, a_holding())
        add_tag(session, "metals", "regular", target("holding/1"), by="ada", now=MORNING)
    reckon(world)
    metals = of(world)["metals"]
    assert metals.positions == ("holding/1", "position/2", "position/3")
    assert set(metals.left_out["holding/1"].values()) == {
        "NoMark: the book keeps no P&L of holdings that were uploaded"
    }


def a_holding() -> Position:
    return Position(
        portfolio_node_id=1,
        instrument_id=2,
        quantity=Decimal(5),
        base_ccy="INR",
        created_at=MORNING - timedelta(days=5),
    )


def test_what_cannot_be_told_is_refused(world: Engine) -> None:
    with pytest.raises(NotReckoned, match="`risk batch --date 2026-01-14` does"):
        whole(world)
    reckon(world)
    with pytest.raises(UnknownNode, match="no node 9"):
        whole(world, node=9)
    with transaction(world) as session:
        a_node(session, "Other", base_ccy="USD")
    with pytest.raises(CurrencyNeeded, match="INR, USD"):
        whole(world)
