"""A day's Greeks of what is held: options and synthetic futures as they are reckoned by hand, and why others are not known."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from math import exp, log, log1p, sqrt
from typing import Any

import pytest
from scipy.stats import norm
from sqlalchemy import Engine, select, text
from sqlalchemy.orm import Session

from book.database import transaction
from book.models import PortfolioNode
from core.db_state_manager import DatabaseStateManager
from live.contracts_file import load_calendar
from risk.batch.run import run_batch
from risk.models import CurveData, DataSource, PositionRisk, VolSurface
from risk.option_terms import NotAnOption, UnknownInstrument, all_terms, set_terms
from tests.book_world import a_held_position, a_live_portfolio, an_instrument
from tests.builders import a_position
from tests.risk_world import AFTER, DAY, a_world, closes

EXPIRY = date(2026, 2, 24)
# Both trade on NSE until 15:30 in India.
AT, ENDS = datetime(2026, 1, 14, 10, tzinfo=UTC), datetime(2026, 2, 24, 10, tzinfo=UTC)
YEARS = (ENDS - AT).total_seconds() / 86_400 / 365
RATE = log1p(0.065 + (0.07 - 0.065) * (41 - 30) / (60 - 30))


@pytest.fixture
def world(book_engine: Engine) -> Engine:
    with transaction(book_engine) as session:
        a_world(session)
        source = session.scalars(select(DataSource.source_id).where(DataSource.name == "here")).one()
        for tenor, rate in ((30, "6.5"), (60, "7")):
            session.add(
                CurveData(
                    curve_date=DAY - timedelta(days=1),
                    curve_id="INR",
                    source_id=source,
                    tenor_days=tenor,
                    revision=0,
                    release_time=AT - timedelta(days=1),
                    curve_type="zero",
                    rate=Decimal(rate),
                )
            )
    return book_engine


def an_option(engine: Engine, strike: int, *, option_type: str = "CE", underlying: str = "NIFTY", **held: Any) -> None:
    """An option with its terms, of which five are held at 300."""
    with transaction(engine) as session:
        of = an_instrument(session, f"O_{strike}_{option_type}", kind="option", exchange="NSE")
        given = {"quantity": Decimal(5), "entry_price": Decimal(300), **held}
        a_held_position(session, 1, of.instrument_id, **given)
        terms = {"underlying": underlying, "option_type": option_type, "strike": Decimal(strike), "expiry": EXPIRY}
        assert set_terms(session, of.symbol, **terms)


def a_surface(engine: Engine, underlying: str, *points: tuple[int, str | None, str], day: date = DAY) -> None:
    with transaction(engine) as session:
        number = session.execute(
            text("SELECT instrument_id FROM book.instrument WHERE symbol = :name"), {"name": underlying}
        ).scalar_one()
        source = session.scalars(select(DataSource.source_id).where(DataSource.name == "here")).one()
        for strike, option_type, volatility in points:
            session.add(
                VolSurface(
                    surface_date=day,
                    instrument_id=number,
                    source_id=source,
                    expiry=EXPIRY,
                    strike=Decimal(strike),
                    option_type=option_type,
                    implied_volatility=Decimal(volatility),
                )
            )


def a_mark(engine: Engine, symbol: str, price: str) -> None:
    """The book's own mark of the day."""
    with transaction(engine) as session:
        session.execute(
            text(
                "INSERT INTO book.position_pnl_history (snapshot_date, position_id, quantity, mark_price, notional_base,"
                " unrealized_pnl_base, daily_pnl_base) SELECT :day, p.id, p.quantity, :price, 1, 0, 0"
                " FROM book.portfolio_positions AS p JOIN book.instrument AS i USING (instrument_id) WHERE i.symbol = :symbol"
            ),
            {"day": DAY, "price": Decimal(price), "symbol": symbol},
        )


def told(engine: Engine) -> dict[str, PositionRisk]:
    run_batch(engine, DAY, calendar=load_calendar(), clock=lambda: AFTER)
    with Session(engine) as session:
        return {each.symbol: each for each in session.scalars(select(PositionRisk))}


def black(forward: float, strike: float, volatility: float, *, call: bool) -> dict[str, float]:
    """Black (1976), of one unit, on a forward."""
    deviation, discount, sign = volatility * sqrt(YEARS), exp(-RATE * YEARS), 1 if call else -1
    d1 = log(forward / strike) / deviation + deviation / 2
    d2 = d1 - deviation
    return {
        "value": discount * sign * (forward * norm.cdf(sign * d1) - strike * norm.cdf(sign * d2)),
        "delta": discount * sign * norm.cdf(sign * d1),
        "gamma": discount * norm.pdf(d1) / forward / deviation,
        "vega_per_point": discount * forward * norm.pdf(d1) * sqrt(YEARS) / 100,
    }


def test_an_options_greeks_are_those_reckoned_by_hand_with_the_surfaces_volatility(world: Engine) -> None:
    an_option(world, 25_000)
    a_surface(world, "NIFTY", (24_000, None, "14"), (26_000, None, "16"), day=DAY - timedelta(days=1))
    a_surface(world, "NIFTY", (25_000, None, "99"), day=DAY - timedelta(days=3))
    found = told(world)["O_25000_CE"]
    # NIFTY is traded as a synthetic future here: its price is a forward's.
    by_hand = black(closes()["NIFTY"][-1], 25_000, 0.15, call=True)
    assert found.greeks is not None
    for name in ("delta", "gamma", "vega_per_point"):
        assert float(found.greeks[name]) == pytest.approx(5 * by_hand[name], rel=1e-9)
    assert float(found.greeks["volatility"]) == pytest.approx(0.15)
    assert (found.greeks["volatility_of"], "greeks" in found.reasons) == ("surface", False)


def test_without_a_surface_an_options_own_price_implies_its_volatility(world: Engine) -> None:
    an_option(world, 25_500, option_type="PE", direction="SHORT")
    forward = closes()["NIFTY"][-1]
    by_hand = black(forward, 25_500, 0.2, call=False)
    a_mark(world, "O_25500_PE", f"{by_hand['value']:.6f}")
    found = told(world)["O_25500_PE"].greeks
    assert found is not None
    assert (float(found["volatility"]), found["volatility_of"]) == (pytest.approx(0.2, rel=1e-6), "price")
    assert float(found["delta"]) == pytest.approx(-5 * by_hand["delta"], rel=1e-6)


def test_on_spot_the_underlyings_growth_is_in_an_options_greeks(world: Engine) -> None:
    with transaction(world) as session:
        session.execute(text("UPDATE book.instrument SET kind = 'spot' WHERE symbol = 'NIFTY'"))
    an_option(world, 25_000)
    a_surface(world, "NIFTY", (25_000, "CE", "15"), (25_000, "PE", "30"))
    found = told(world)["O_25000_CE"].greeks
    spot, growth = closes()["NIFTY"][-1], exp(RATE * YEARS)
    by_hand = black(spot * growth, 25_000, 0.15, call=True)
    assert found is not None
    assert float(found["delta"]) == pytest.approx(5 * by_hand["delta"] * growth, rel=1e-9)


def test_what_an_options_greeks_lack_is_said(world: Engine) -> None:
    an_option(world, 25_000)
    an_option(world, 30_000)
    an_option(world, 10, underlying="COPPER")
    with transaction(world) as session:
        bare = an_instrument(session, "BARE", kind="option", exchange="NSE")
        a_held_position(session, 1, bare.instrument_id)
        dollars = an_instrument(session, "DOLLARS", kind="option", exchange="NSE")
        a_held_position(session, 1, dollars.instrument_id, base_ccy="USD")
        terms = {"option_type": "CE", "strike": Decimal(1), "expiry": EXPIRY}
        set_terms(session, "DOLLARS", underlying="NIFTY", **terms)
        below = an_instrument(session, "BELOW", kind="future", exchange="NSE")
        untold = an_instrument(session, "UNTOLD", kind="option", exchange="NSE")
        a_held_position(session, 1, untold.instrument_id)
        set_terms(session, "UNTOLD", underlying=below.symbol, **terms)
        gone = an_instrument(session, "GONE", kind="option", exchange="NSE")
        a_held_position(session, 1, gone.instrument_id)
        set_terms(session, "GONE", underlying="NIFTY", **{**terms, "expiry": DAY - timedelta(days=1)})
        a_held_position(session, 1, an_instrument(session, "BOND", kind="bond", exchange="NSE").instrument_id)
    a_surface(world, "NIFTY", (24_000, None, "14"), (26_000, None, "16"))
    a_mark(world, "O_10_CE", "0.0001")
    found = {symbol: row.reasons.get("greeks") for symbol, row in told(world).items()}
    assert found["O_25000_CE"] is None
    assert found["O_30000_CE"] == "NoSurface: CE 2026-02-24: known from 24000 to 26000, not at 30000"
    assert str(found["O_10_CE"]).startswith("NoSurface: no volatility of CE that expire on 2026-02-24: `risk import")
    assert "; and its price implies none: no volatility makes the CALL at 10.0 worth 0.0001" in str(found["O_10_CE"])
    assert found["BARE"] == "NotLinear: option: neither its strike nor its expiry is known: `risk option set BARE`"
    assert found["DOLLARS"] == "NoRate: no curve `USD` of the last 10 days: `risk import curves`"
    assert found["UNTOLD"] == "NotLinear: BELOW, its underlying, has no daily bars"
    assert str(found["GONE"]).startswith("NoSurface: no volatility of CE that expire on 2026-01-13")
    assert found["BOND"] == "NotLinear: bond: the book has not what its value follows from"
    assert found["BANK_NIFTY"] is None


# --- synthetic futures

NAME = "BANK_NIFTY-Long_1-aa"


@pytest.fixture
def synthetic(world: Engine) -> Engine:
    """The engine holds 60 units of a synthetic future at 52,000, of which the book has the mark 52,100."""
    with transaction(world) as session:
        a_live_portfolio(session, session.get_one(PortfolioNode, 1))
        session.execute(text("DELETE FROM book.portfolio_positions WHERE id = 1"))
        session.execute(
            text("UPDATE book.instrument SET kind = 'synthetic_future', exchange = 'NSE' WHERE symbol = 'BANK_NIFTY'")
        )
        asked = text("SELECT instrument_id FROM book.instrument WHERE symbol = 'BANK_NIFTY'")
        number = session.execute(asked).scalar_one()
        given = {"source": "engine", "portfolio": "main", "engine_position_id": NAME, "quantity": Decimal(60)}
        a_held_position(session, 1, number, **given, entry_price=Decimal(52_000))
    a_mark(world, "BANK_NIFTY", "52100")
    return world


def the_engine_has(dsn: str, **legs: Any) -> None:
    with DatabaseStateManager(dsn) as manager:
        given = {"strike": Decimal(52_000), "expiry": EXPIRY, **legs}
        assert manager.save_position(a_position(position_id=NAME, **given))


def test_a_synthetic_futures_legs_and_their_sum_are_those_reckoned_by_hand(book_dsn: str, synthetic: Engine) -> None:
    the_engine_has(book_dsn)
    a_surface(synthetic, "BANK_NIFTY", (52_000, "CE", "15"), (52_000, "PE", "16"))
    found = told(synthetic)["BANK_NIFTY"].greeks
    call, put = black(52_100, 52_000, 0.15, call=True), black(52_100, 52_000, 0.16, call=False)
    assert found is not None
    legs = found["legs"]
    assert (legs["strike"], legs["expiry"]) == (52_000, "2026-02-24")
    for name in ("delta", "gamma", "vega_per_point"):
        assert float(legs["call"][name]) == pytest.approx(60 * call[name], rel=1e-9)
        assert float(legs["put"][name]) == pytest.approx(-60 * put[name], rel=1e-9)
        assert float(found[name]) == pytest.approx(60 * (call[name] - put[name]), rel=1e-9)


def test_of_a_synthetic_future_without_volatilities_the_sum_is_told(book_dsn: str, synthetic: Engine) -> None:
    the_engine_has(book_dsn)
    found = told(synthetic)["BANK_NIFTY"].greeks
    assert found is not None
    assert float(found["delta"]) == pytest.approx(60 * exp(-RATE * YEARS), rel=1e-9)
    assert float(found["vega_per_point"]) == pytest.approx(0, abs=1e-6)
    assert str(found["legs"]["reason"]).startswith("NoSurface: no volatility of CE that expire on 2026-02-24")


@pytest.mark.parametrize(
    "rolls, rolled_at, expiry",
    [
        (1, AFTER - timedelta(days=1), "2026-02-24"),
        (1, AFTER + timedelta(days=1), "2026-01-27"),
        (2, AFTER + timedelta(days=1), None),
    ],
    ids=["before", "behind the day", "twice"],
)
def test_before_its_roll_a_synthetic_future_had_its_original_legs(
    book_dsn: str, synthetic: Engine, rolls: int, rolled_at: datetime, expiry: str | None
) -> None:
    the_engine_has(
        book_dsn,
        original_strike=Decimal(51_000),
        original_expiry=date(2026, 1, 27),
        rollover_timestamp=rolled_at,
        rollover_count=rolls,
    )
    found = told(synthetic)["BANK_NIFTY"]
    if expiry is None:
        assert found.reasons["greeks"] == "NotLinear: synthetic_future: the strike and expiry of its legs are not known"
    else:
        assert found.greeks is not None
        assert found.greeks["legs"]["expiry"] == expiry


# --- what an option is a right to


def test_what_an_option_is_a_right_to_is_said_once_and_can_be_mended(world: Engine) -> None:
    terms = {"underlying": "NIFTY", "option_type": "CE", "strike": Decimal(25_000), "expiry": EXPIRY}
    with transaction(world) as session:
        an_instrument(session, "AN_OPTION", kind="option")
        an_instrument(session, "ANOTHER", kind="option")
        assert set_terms(session, "AN_OPTION", **terms)
        assert not set_terms(session, "AN_OPTION", **terms)
        assert set_terms(session, "AN_OPTION", **{**terms, "strike": Decimal("25000.5")})
    with transaction(world) as session:
        assert all_terms(session) == [
            {"instrument": "ANOTHER", **dict.fromkeys(("underlying", "option_type", "strike", "expiry"))},
            {"instrument": "AN_OPTION", **terms, "strike": Decimal("25000.5")},
        ]
        for option, below, error in (
            ("NOBODY", "NIFTY", UnknownInstrument),
            ("AN_OPTION", "NOBODY", UnknownInstrument),
            ("NIFTY", "COPPER", NotAnOption),
            ("AN_OPTION", "ANOTHER", NotAnOption),
        ):
            with pytest.raises(error):
                set_terms(session, option, **{**terms, "underlying": below})
