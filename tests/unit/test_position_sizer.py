"""Sizes against DOMAIN.md's worked table, and against a small model in plain fractions written from the text."""

from decimal import Decimal
from fractions import Fraction
from math import floor
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.decide import Decision
from core.models import Position, Side, Status
from core.portfolio import Portfolio
from core.position_sizer import LotFigures, PortfolioRoom, size_base, size_pyramid
from core.settings import Limits
from tests.builders import a_portfolio, a_position, a_signal, holding, minutes, settings_with, told, with_state

# DOMAIN.md's table of instruments, typed anew: lot size, point value, margin, initial risk %, volatility %, pyramids.
TABLE = {
    "BANK_NIFTY": (30, 30, 270_000, "1.0", "0.5", 5),
    "GOLD_MINI": (100, 10, 105_000, "1.0", "0.2", 3),
    "SILVER_MINI": (5, 5, 385_000, "1.0", "0.2", 5),
    "COPPER": (2500, 2500, 300_000, "1.0", "0.2", 3),
}


@pytest.mark.parametrize(
    "instrument, price, stop, atr, er, figures, lots, limiter",
    [
        ("BANK_NIFTY", 52000, 51650, 350, "0.82", ("3.904762", "2.380952", "11.111111"), 2, "volatility"),
        ("GOLD_MINI", 72000, 71500, 500, "0.75", ("7.500000", "2.000000", "28.571429"), 2, "volatility"),
        ("BANK_NIFTY", 52000, 51900, 100, "0.10", ("1.666667", "8.333333", "11.111111"), 1, "risk"),
    ],
)
@pytest.mark.parametrize("side", Side)
def test_the_worked_table_of_the_domain(
    instrument: str,
    price: int,
    stop: int,
    atr: int,
    er: str,
    figures: tuple[str, ...],
    lots: int,
    limiter: str,
    side: Side,
) -> None:
    if side is Side.SHORT:
        stop = 2 * price - stop
    layer = f"{side.value.capitalize()}_1"
    signal = a_signal(instrument=instrument, layer=layer, price=price, stop=stop, atr=atr, er=er)
    outcome = told(a_portfolio(), signal).outcome
    shown = tuple(str(outcome.sizing[name]) for name in ("risk", "volatility", "margin"))
    assert (outcome.status, outcome.lots, outcome.limiter, shown) == (Status.EXECUTED, lots, limiter, figures)


def test_a_size_says_what_it_was_computed_from() -> None:
    sizing = told(a_portfolio(), a_signal()).outcome.sizing
    assert {name: str(value) for name, value in sizing.items()} == {
        "risk": "3.904762",
        "volatility": "2.380952",
        "margin": "11.111111",
        "portfolio_risk": "71.428571",
        "portfolio_volatility": "23.809524",
        "equity": "5000000.000000",
        "risk_per_lot": "10500.000000",
        "volatility_per_lot": "10500.000000",
        "margin_per_lot": "270000.000000",
        "drawdown_percent": "0.000000",
        "drawdown_factor": "1.000000",
    }


# --- the model ----------------------------------------------------------------------------------------------------


def model_factor(drawdown: Fraction) -> Fraction:
    if drawdown < 5:
        return Fraction(1)
    return Fraction(3, 4) if drawdown < 10 else Fraction(1, 2)


def model_smallest(sizes: list[tuple[str, Fraction]], caps: list[tuple[str, Fraction]]) -> tuple[int, str]:
    limiter, size = "", None
    for name, value in sizes + caps:  # a tie goes to the first
        if size is None or max(Fraction(0), value) < size:
            limiter, size = name, max(Fraction(0), value)
    assert size is not None
    return floor(size), limiter


# The caps in per cent: risk, of pyramids, volatility, of pyramids, margin. The defaults, and some that bind sooner.
CAPS = {"usual": ("15", "12", "5", "4", "60"), "tight": ("1.5", "1.2", "1", "0.8", "100")}
CAP_NAMES = (
    "risk_percent",
    "pyramid_risk_percent",
    "volatility_percent",
    "pyramid_volatility_percent",
    "margin_percent",
)


class Model:
    """What DOMAIN.md says of a portfolio, in fractions: closed equity, its high, and what its open positions carry."""

    def __init__(self, portfolio: Portfolio, caps: str = "usual") -> None:
        state = portfolio.state
        self.caps = [Fraction(cap) / 100 for cap in CAPS[caps]]
        positions = list(portfolio.positions.values())
        self.closed, self.high = Fraction(state.closed_equity), Fraction(state.equity_high)
        self.unrealized = sum((self.pnl(p, p.mark_price) for p in positions), Fraction(0))
        self.risk = sum(
            (max(Fraction(0), self.pnl(p, p.current_stop) * -1) for p in positions), Fraction(0)
        )  # s x (entry - stop) is the loss at the stop
        self.volatility = sum((Fraction(p.atr or 0) * p.lots * Fraction(p.point_value) for p in positions), Fraction(0))
        self.margin = sum((Fraction(TABLE[p.instrument][2]) * p.lots for p in positions), Fraction(0))

    @staticmethod
    def pnl(position: Position, price: Decimal | None) -> Fraction:
        assert price is not None
        sign = 1 if position.layer.startswith("Long") else -1
        return (
            sign * (Fraction(price) - Fraction(position.entry_price)) * position.lots * Fraction(position.point_value)
        )

    def equity(self, which: str) -> Fraction:
        return {
            "closed": self.closed,
            "open": self.closed + self.unrealized,
            "blended": self.closed + self.unrealized / 2,
            "high_water": self.high,
        }[which]

    @property
    def drawdown(self) -> Fraction:
        return (self.high - self.closed) / self.high * 100


def model_base(
    model: Model, which: str, instrument: str, price: Fraction, risk_points: Fraction, atr: Fraction, er: Fraction
) -> Any:
    if risk_points <= 0:
        return "invalid_risk"
    equity = model.equity(which)
    if equity <= 0:
        return "equity"
    if model.drawdown >= 10:
        return "drawdown"
    _, pv, margin, risk_percent, vol_percent, _ = TABLE[instrument]
    per_lot, vol_per_lot = risk_points * pv, atr * pv
    risk_percent_now = Fraction(risk_percent) * model_factor(model.drawdown)
    sizes = [
        ("risk", equity * risk_percent_now / 100 / per_lot * er),
        ("volatility", equity * Fraction(vol_percent) / 100 / vol_per_lot),
        ("margin", (equity * model.caps[4] - model.margin) / margin),
    ]
    caps = [
        ("portfolio_risk", (equity * model.caps[0] - model.risk) / per_lot),
        ("portfolio_volatility", (equity * model.caps[2] - model.volatility) / vol_per_lot),
    ]
    return model_smallest(sizes, caps)


def model_pyramid(
    model: Model, which: str, layers: list[Position], sign: int, price: Fraction, stop: Fraction, atr: Fraction
) -> Any:
    base = layers[0]
    _, pv, margin, _, _, most = TABLE[base.instrument]
    per_lot, vol_per_lot = sign * (price - stop) * pv, atr * pv
    if per_lot <= 0:
        return "invalid_risk"
    equity = model.equity(which)
    if equity <= 0:
        return "equity"
    if model.drawdown > 15:
        return "drawdown"
    entry, last = Fraction(base.entry_price), Fraction(layers[-1].entry_price)
    one_r = abs(entry - Fraction(base.initial_stop or 0))
    pnl = sum((model.pnl(p, Decimal(price.numerator) / price.denominator) for p in layers), Fraction(0))
    if not sign * (price - entry) > one_r:
        return "one_r"
    if not sign * (price - last) >= atr / 2:
        return "atr_spacing"
    if not len(layers) - 1 < most:
        return "max_pyramids"
    if not pnl > 0:
        return "profit"
    factor = model_factor(model.drawdown)
    base_risk = one_r * base.lots * pv
    sizes = [
        ("margin", (equity * model.caps[4] - model.margin) / margin * factor),
        ("discipline", Fraction(layers[-1].entry_lots, 2) * factor),
        ("profit", Fraction(1, 2) * max(Fraction(0), pnl - base_risk) / per_lot * factor),
    ]
    caps = [
        ("portfolio_risk", (equity * model.caps[1] - model.risk) / per_lot),
        ("portfolio_volatility", (equity * model.caps[3] - model.volatility) / vol_per_lot),
    ]
    return model_smallest(sizes, caps)


def told_of(decision: Decision) -> Any:
    outcome = decision.outcome
    if outcome.limiter is None:
        return outcome.reason
    assert (outcome.status is Status.EXECUTED) == bool(outcome.lots)
    assert outcome.status in (Status.EXECUTED, Status.BLOCKED)
    return outcome.lots, outcome.limiter


# --- the model against decide -------------------------------------------------------------------------------------

PRICES = {"BANK_NIFTY": 52_000, "GOLD_MINI": 72_000, "SILVER_MINI": 91_000, "COPPER": 830}


def ticks(points: Decimal) -> Decimal:
    """Two decimals: with these point values money is then exact, and the model needs no rounding."""
    return round(points, 2)


def hundredths(low: int, high: int) -> st.SearchStrategy[Decimal]:
    return st.integers(low * 100, high * 100).map(lambda value: Decimal(value) / 100)


@st.composite
def layers_of(draw: st.DrawFn, instrument: str, sign: int, count: int) -> list[Position]:
    """A base and its pyramids, each further on than the one before; the mark anywhere."""
    lot_size, pv = TABLE[instrument][:2]
    side = "Long" if sign == 1 else "Short"
    price, found = Decimal(PRICES[instrument]), []
    for number in range(1, count + 1):
        lots = draw(st.integers(1, 12))
        stop = price - sign * ticks(draw(hundredths(-1, 9)) * price / 1000)
        atr = ticks(draw(hundredths(1, 9)) * price / 1000)
        mark = price + sign * ticks(draw(hundredths(-20, 40)) * price / 1000)
        found.append(
            a_position(
                f"{instrument}-{number}",
                instrument=instrument,
                layer=f"{side}_{number}",
                entry_timestamp=minutes(number - 60),
                entry_price=price,
                entry_lots=lots + draw(st.integers(0, 3)),
                lots=lots,
                lot_size=Decimal(lot_size),
                quantity=Decimal(lot_size) * lots,
                point_value=Decimal(pv),
                initial_stop=stop,
                current_stop=stop,
                atr=atr,
                mark_price=mark,
                unrealized_pnl=sign * (mark - price) * lots * pv,
                risk_contribution=max(Decimal(0), sign * (price - stop)) * lots * pv,
                vol_contribution=atr * lots * pv,
                is_base_position=number == 1,
            )
        )
        price += sign * ticks(draw(hundredths(0, 8)) * PRICES[instrument] / 1000)
    return found


@st.composite
def portfolios(draw: st.DrawFn, without: str) -> tuple[Portfolio, str, str]:
    """A portfolio in some drawdown, holding what it may of the other instruments, sized by some equity."""
    which = draw(st.sampled_from(["blended", "closed", "open", "high_water"]))
    high = draw(st.sampled_from([500_000, 5_000_000, 20_000_000, 50_000_000, 3_000_000_000])) + draw(hundredths(0, 99))
    # Whole and odd tenths of a per cent: the bands' borders themselves, and both sides of them.
    lost = draw(st.sampled_from([0, 0, 0, 0, 0, 0, 1, 49, 50, 51, 99, 100, 101, 149, 150, 151, 1000, 1100]))
    caps = draw(st.sampled_from(sorted(CAPS)))
    limits = dict(zip(CAP_NAMES, CAPS[caps], strict=True))
    portfolio = a_portfolio(settings_with(sizing={"equity": which}, limits=limits), capital=high)
    portfolio = with_state(portfolio, closed_equity=round(high * (1000 - lost) / 1000, 4), equity_high=high)
    for instrument in sorted(set(TABLE) - {without}):
        count = draw(st.integers(0, 2))
        portfolio = holding(portfolio, *draw(layers_of(instrument, draw(st.sampled_from([1, -1])), count)))
    return portfolio, which, caps


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data(), instrument=st.sampled_from(sorted(TABLE)), sign=st.sampled_from([1, -1]))
def test_a_base_entry_is_sized_as_the_model_sizes_it(data: st.DataObject, instrument: str, sign: int) -> None:
    portfolio, which, caps = data.draw(portfolios(instrument))
    price = Decimal(PRICES[instrument])
    distance = ticks(data.draw(hundredths(-1, 60)) * price / 10_000)
    atr = ticks(data.draw(hundredths(1, 60)) * price / 10_000)
    er = data.draw(st.sampled_from([Decimal(n) / 100 for n in (0, 1, 10, 33, 75, 82, 100)]))
    layer = "Long_1" if sign == 1 else "Short_1"
    signal = a_signal(instrument=instrument, layer=layer, price=price, stop=price - sign * distance, atr=atr, er=er)
    expected = model_base(
        Model(portfolio, caps), which, instrument, Fraction(price), Fraction(distance), Fraction(atr), Fraction(er)
    )
    assert told_of(told(portfolio, signal)) == expected


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data(), instrument=st.sampled_from(sorted(TABLE)), sign=st.sampled_from([1, -1]))
def test_a_pyramid_is_gated_and_sized_as_the_model_does_it(data: st.DataObject, instrument: str, sign: int) -> None:
    portfolio, which, caps = data.draw(portfolios(instrument))
    layers = data.draw(layers_of(instrument, sign, data.draw(st.integers(1, min(5, TABLE[instrument][5] + 1)))))
    portfolio = holding(portfolio, *layers)
    price = layers[-1].entry_price + sign * ticks(data.draw(hundredths(-1, 20)) * PRICES[instrument] / 1000)
    stop = price - sign * ticks(data.draw(hundredths(-1, 60)) * PRICES[instrument] / 10_000)
    atr = ticks(data.draw(hundredths(1, 90)) * PRICES[instrument] / 10_000)
    layer = f"{'Long' if sign == 1 else 'Short'}_6"
    signal = a_signal("PYRAMID", instrument, layer, price=price, stop=stop, atr=atr)
    model = Model(portfolio, caps)
    expected = model_pyramid(model, which, layers, sign, Fraction(price), Fraction(stop), Fraction(atr))
    assert told_of(told(portfolio, signal)) == expected


# --- the sizer alone ----------------------------------------------------------------------------------------------

amounts = st.decimals(Decimal("0.0001"), 10**10, places=4)
used = st.one_of(st.just(Decimal(0)), amounts)
ratios = st.decimals(0, 1, places=4)


@settings(deadline=None, max_examples=200)
@given(equity=amounts, risk=used, volatility=used, margin=used, per_lot=st.tuples(amounts, amounts, amounts), er=ratios)
def test_a_base_never_exceeds_any_constraint(
    equity: Decimal, risk: Decimal, volatility: Decimal, margin: Decimal, per_lot: tuple[Decimal, ...], er: Decimal
) -> None:
    lot = LotFigures(risk=per_lot[0], volatility=per_lot[1], margin=per_lot[2])
    room = PortfolioRoom(equity=equity, risk_amount=risk, volatility_amount=volatility, margin_used=margin)
    sized = size_base(
        room,
        lot,
        Limits(),
        risk_percent=Decimal(1),
        volatility_percent=Decimal("0.5"),
        efficiency_ratio=er,
        drawdown_factor=Decimal("0.75"),
    )
    assert sized.lots >= 0
    if sized.lots:
        lots, money = sized.lots, Fraction(equity)
        assert lots * Fraction(lot.risk) <= money / 100 * Fraction(3, 4) * Fraction(er)
        assert lots * Fraction(lot.volatility) <= money * 5 / 1000
        assert Fraction(margin) + lots * Fraction(lot.margin) <= money * 60 / 100
        assert Fraction(risk) + lots * Fraction(lot.risk) <= money * 15 / 100
        assert Fraction(volatility) + lots * Fraction(lot.volatility) <= money * 5 / 100
    # One lot more would exceed the limiter that is named.
    shown = {name: Decimal(str(value)) for name, value in sized.figures.items()}
    assert sized.limiter == min(shown, key=lambda name: shown[name]) or shown[sized.limiter] == min(shown.values())


@settings(deadline=None, max_examples=200)
@given(
    equity=amounts,
    risk=used,
    volatility=used,
    margin=used,
    per_lot=st.tuples(amounts, amounts, amounts),
    previous=st.integers(1, 10**6),
    profit=st.decimals(-(10**9), 10**9, places=4),
    base_risk=used,
)
def test_a_pyramid_never_exceeds_any_constraint(
    equity: Decimal,
    risk: Decimal,
    volatility: Decimal,
    margin: Decimal,
    per_lot: tuple[Decimal, ...],
    previous: int,
    profit: Decimal,
    base_risk: Decimal,
) -> None:
    lot = LotFigures(risk=per_lot[0], volatility=per_lot[1], margin=per_lot[2])
    room = PortfolioRoom(equity=equity, risk_amount=risk, volatility_amount=volatility, margin_used=margin)
    sized = size_pyramid(
        room,
        lot,
        Limits(),
        previous_entry_lots=previous,
        discipline_share=Decimal("0.5"),
        profit=profit,
        base_risk=base_risk,
        profit_share=Decimal("0.5"),
        drawdown_factor=Decimal("0.5"),
    )
    assert sized.lots >= 0
    if sized.lots:
        lots, money = sized.lots, Fraction(equity)
        assert lots * Fraction(lot.margin) <= (money * 60 / 100 - Fraction(margin)) / 2
        assert lots <= Fraction(previous, 4)
        assert lots * Fraction(lot.risk) <= (Fraction(profit) - Fraction(base_risk)) / 4
        assert Fraction(risk) + lots * Fraction(lot.risk) <= money * 12 / 100
        assert Fraction(volatility) + lots * Fraction(lot.volatility) <= money * 4 / 100


def test_a_size_that_28_digits_would_make_a_lot_too_small_is_whole() -> None:
    # 1 % of the equity is 7 lots exactly, but 0.33333333 does not divide it in 28 digits after the ER's third.
    lot = LotFigures(risk=Decimal("0.33333333"), volatility=Decimal(1), margin=Decimal(1))
    sized = size_base(
        PortfolioRoom(
            equity=Decimal("699.999993"), risk_amount=Decimal(0), volatility_amount=Decimal(0), margin_used=Decimal(0)
        ),
        lot,
        Limits(),
        risk_percent=Decimal(1),
        volatility_percent=Decimal(100),
        efficiency_ratio=Decimal(1) / 3,
        drawdown_factor=Decimal(1),
    )
    assert (sized.lots, sized.limiter) == (6, "risk")  # a third in 28 digits is less than a third
    assert sized.figures["risk"] == 7


@pytest.mark.parametrize(
    "per_lot, limiter",
    [((1, 1, 120), "risk"), ((2, 1, 120), "risk"), ((1, "0.5", 60), "risk"), ((1, 1, 60), "volatility")],
)
def test_a_tie_goes_to_risk_then_volatility_then_margin(per_lot: tuple[Any, ...], limiter: str) -> None:
    # Of 100: risk 1 %, volatility 0.5 %, margin 60 %.
    ratio = {"risk": Decimal("0.5"), "volatility": Decimal(1)}[limiter]
    lot = LotFigures(risk=Decimal(per_lot[0]), volatility=Decimal(per_lot[1]), margin=Decimal(per_lot[2]))
    sized = size_base(
        PortfolioRoom(
            equity=Decimal(100), risk_amount=Decimal(0), volatility_amount=Decimal(0), margin_used=Decimal(0)
        ),
        lot,
        Limits(),
        risk_percent=Decimal(1),
        volatility_percent=Decimal("0.5"),
        efficiency_ratio=ratio,
        drawdown_factor=Decimal(1),
    )
    assert sized.limiter == limiter


def test_without_the_efficiency_ratio_the_risk_is_whole() -> None:
    portfolio = a_portfolio(settings_with(sizing={"efficiency_ratio_scales_risk": False}))
    assert told(portfolio, a_signal(er="0.1")).outcome.sizing["risk"] == Decimal("4.761905")


def test_an_efficiency_ratio_of_zero_buys_nothing_and_says_so() -> None:
    outcome = told(a_portfolio(), a_signal(er=0)).outcome
    assert (outcome.status, outcome.lots, outcome.limiter, outcome.reason) == (Status.BLOCKED, 0, "risk", "risk")


def test_negative_room_counts_as_none_and_a_tie_of_nothing_goes_to_the_first() -> None:
    portfolio = holding(a_portfolio(), a_position(lots=40, entry_lots=40))  # 4.2 million of margin of 3 allowed
    outcome = told(portfolio, a_signal(er=0)).outcome
    assert outcome.limiter == "risk"
    assert outcome.sizing["margin"] == 0
    assert told(portfolio, a_signal()).outcome.limiter == "margin"
