"""A reckoned book worth looking at: half a year of a desk's days, two dozen instruments in two currencies, bad days too."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import numpy as np
from sqlalchemy import Engine, select, update
from sqlalchemy.orm import Session

from book.database import transaction
from book.fx import set_rate
from live.contracts_file import load_calendar
from risk.batch.given import Method
from risk.batch.run import run_batch
from risk.daily import PortfolioRisk
from risk.modelling import keeping, snapshots
from risk.models import DataSource, FactorDefinition, FlowData, MarketData, SeriesMetadata
from risk.reckoned import floats
from risk.seeds import seed
from risk.what_if.changes import Change, Remove, Resize, ShockPrices
from tests.book_world import a_held_position, a_node, an_instrument, kept
from tests.risk_world import bars

# A busy machine may take long to fill it.
PATIENCE_SECONDS = 120.0
LAST = date(2026, 1, 14)
AFTER = datetime(2026, 1, 14, 20, tzinfo=UTC)
END = datetime(2026, 1, 15, tzinfo=UTC)
DAYS = [day for day in (LAST - timedelta(days=back) for back in reversed(range(380))) if day.isoweekday() < 6][-261:]
# Of the last days so many are told of, made like the last one.
TOLD = 120
BEGINS = {"BANK_NIFTY": 52_000.0, "GOLD_MINI": 72_000.0, "COPPER": 500.0, "SILVER_MINI": 91_000.0, "CRUDE": 80.0}
FACTORS = {"index": 25_000.0, "gold": 4_000.0, "oil": 80.0, "usd_inr": 85.0}
MANY = 22
_USD = Decimal("85.25")


def fill(engine: Engine) -> dict[str, int]:
    """The nodes' numbers by name."""
    dice = np.random.Generator(np.random.PCG64(11))
    with transaction(engine, limit_seconds=PATIENCE_SECONDS) as session:
        nodes = _world(session, dice)
    run_batch(engine, LAST, calendar=load_calendar(), clock=lambda: AFTER, method=Method(paths=2_000))
    with transaction(engine, limit_seconds=PATIENCE_SECONDS) as session:
        _days_before(session, dice)
    _sessions(engine, nodes["Shares"])
    return nodes


def _sessions(engine: Engine, node: int) -> None:
    """Three: two with a snapshot, of which one was changed since, and one without."""
    told: dict[str, list[Change]] = {
        "Fewer shares": [Resize(position_id="position/7", lots=100), ShockPrices(shocks={"SHARE_02": -0.02})],
        "No shorts": [Remove(position_id="position/10"), Remove(position_id="position/15")],
        "Nothing yet": [],
    }
    for name, changes in told.items():
        with transaction(engine, limit_seconds=PATIENCE_SECONDS) as session:
            given = {"at": END, "by": "ada", "now": END, "calendar": load_calendar()}
            begun = keeping.begin(session, node=node, name=name, description="Before the budget", **given)
        for number, change in enumerate(changes):
            with transaction(engine, limit_seconds=PATIENCE_SECONDS) as session:
                keeping.change(session, begun.number, change, by="bob", now=END)
                if number == 0:
                    snapshots.snapshot(session, begun.number, by="ada", now=END)


def _world(session: Session, dice: np.random.Generator) -> dict[str, int]:
    fund = a_node(session, "Harbour")
    futures = a_node(session, "Futures", "DESK", parent_id=fund.portfolio_node_id)
    trend = a_node(session, "Trend", "BOOK", parent_id=futures.portfolio_node_id)
    shares = a_node(session, "Shares", "DESK", parent_id=fund.portfolio_node_id, base_ccy="USD")
    seed(session)
    source = kept(session, DataSource(name="here", kind="file")).source_id
    moves = {name: dice.standard_normal(260) * 0.011 for name in FACTORS}
    for name, share in (("gold", -0.3), ("oil", 0.4), ("usd_inr", -0.35)):
        moves[name] += share * moves["index"]
    for name, begin in FACTORS.items():
        of = an_instrument(session, f"F_{name}".upper()).instrument_id
        bars(session, of, source, _path(begin, moves[name]), DAYS)
        session.execute(update(FactorDefinition).filter_by(name=name).values(instrument_id=of))
    own = {name: dice.standard_normal(260) * 0.008 for name in BEGINS}
    betas = {"BANK_NIFTY": (1.2, 0, 0, 0), "GOLD_MINI": (-0.2, 0.9, 0, 0.4), "COPPER": (0.5, 0.2, 0.3, 0)}
    betas |= {"SILVER_MINI": (0, 1.3, 0, 0.3), "CRUDE": (0.2, 0, 0.95, 0)}
    for number, (symbol, begin) in enumerate(BEGINS.items()):
        move = own[symbol] + sum(beta * moves[name] for beta, name in zip(betas[symbol], FACTORS, strict=True))
        of = an_instrument(session, symbol, kind="future", exchange="NSE").instrument_id
        bars(session, of, source, _path(begin, move), DAYS)
        side = "SHORT" if symbol in ("GOLD_MINI", "CRUDE") else "LONG"
        size = Decimal(round(4_000_000 / begin / (number + 1)))
        _held(session, trend.portfolio_node_id, of, direction=side, quantity=size)
    for number in range(MANY):
        move = dice.standard_normal(260) * 0.012 + (1 - number / 12) * moves["index"]
        of = an_instrument(session, f"SHARE_{number:02}", kind="spot", exchange="NSE", currency="USD").instrument_id
        bars(session, of, source, _path(100.0 + number, move), DAYS)
        side = "SHORT" if number % 5 == 4 else "LONG"
        _held(
            session, shares.portfolio_node_id, of, direction=side, quantity=Decimal(400 - number * 12), base_ccy="USD"
        )
        if number == 4:
            _squeezed(session, of, source)
    _contracts(session, source)
    # Nobody knows its price.
    unknown = an_instrument(session, "TIN", kind="future", exchange="NSE").instrument_id
    _held(session, trend.portfolio_node_id, unknown, quantity=Decimal(5))
    set_rate(session, "USD/INR", _USD, LAST)
    named = (fund, futures, trend, shares)
    return {node.name: node.portfolio_node_id for node in named}


def _contracts(session: Session, source: int) -> None:
    """Four of them, the last one of which did not trade of late."""
    of = an_instrument(session, "ZINC", kind="future", exchange="MCX").instrument_id
    for place, expiry in enumerate((date(2026, 1, 20), date(2026, 2, 27), date(2026, 3, 31), date(2026, 4, 30))):
        day = LAST - timedelta(days=30 if place == 3 else 0)
        price = Decimal("301.25") + Decimal("2.35") * place
        at = datetime(day.year, day.month, day.day, tzinfo=UTC) - timedelta(hours=5, minutes=30)
        row = MarketData(timestamp=at, instrument_id=of, source_id=source, timeframe="1d", expiry=expiry)
        row.open = row.high = row.low = row.close = row.settlement = price
        session.add(row)
    session.flush()


def _path(begin: float, moves: np.ndarray) -> list[float]:
    return [round(float(value), 4) for value in begin * np.concatenate([[1.0], np.cumprod(1 + moves)])]


def _held(session: Session, node: int, instrument: int, **others: object) -> None:
    begun = datetime(2025, 1, 5, 6, tzinfo=UTC)
    a_held_position(session, node, instrument, entry_timestamp=begun, **others)


def _squeezed(session: Session, instrument: int, source: int) -> None:
    series = kept(session, SeriesMetadata(source_id=source, series_code="borrow", name="Cost to borrow")).series_id
    told = {"cost_to_borrow": 14, "days_to_cover": 6}
    for name, value in told.items():
        row = FlowData(
            instrument_id=instrument, series_id=series, flow_type=name, observation_date=LAST, value=Decimal(value)
        )
        row.unit, row.release_time = "number", datetime(2026, 1, 14, 12, tzinfo=UTC)
        kept(session, row)


def _days_before(session: Session, dice: np.random.Generator) -> None:
    """What the last day is, a little otherwise, of the days before it: what they foresaw, and what came of it."""
    for row in session.scalars(select(PortfolioRisk).filter_by(calculation_date=LAST)).all():
        measures = floats(row.measures)
        foreseen = measures.get("historical_95%", {}).get("value_at_risk")
        if foreseen is None:
            continue
        size = 1.0
        for place, day in enumerate(DAYS[-TOLD:]):
            size = 0.9 * size + 0.1 * float(dice.uniform(0.6, 1.5))
            pnl = float(dice.standard_normal()) * foreseen / 1.5
            told = _told(pnl, foreseen * size, DAYS[-TOLD + place - 1], place)
            snapshot = {**floats(row.snapshot), "backtests": {"historical_95%": told}}
            if day == LAST:
                row.snapshot = snapshot
                continue
            given = {"measures": measures, "reasons": row.reasons, "left_out": row.left_out, "snapshot": snapshot}
            of = {"calculation_date": day, "portfolio_node_id": row.portfolio_node_id, "currency": row.currency}
            session.add(PortfolioRisk(**of, **given, positions=row.positions))


def _told(pnl: float, foreseen: float, made_on: date, place: int) -> dict[str, object]:
    if place % 40 == 17:
        return {"reason": f"the day before, {made_on}, was not reckoned"}
    test = {"statistic": 4.7, "p_value": 0.03}
    quiet = {"statistic": 0.4, "p_value": 0.53}
    tests = {"observations": place + 1, "breaches": 9, "expected": (place + 1) / 20, "kupiec": test}
    tests |= {"independence": quiet, "conditional_coverage": {"statistic": 5.1, "p_value": 0.078}}
    return {"made_on": str(made_on), "value_at_risk": foreseen, "pnl": pnl, "breach": -pnl > foreseen, "tests": tests}
