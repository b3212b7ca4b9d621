"""A PYRAMID: what it adds to an open base, and every reason for which it is refused, long and short."""

from decimal import Decimal
from typing import Any

import pytest
from msgspec.structs import replace

from core.models import Position, Side, Signal, Status
from core.portfolio import Portfolio
from tests.builders import (
    NOON,
    a_portfolio,
    a_position,
    a_signal,
    after,
    holding,
    minutes,
    mirrored,
    settings_with,
    told,
    with_state,
)

both_sides = pytest.mark.parametrize("side", Side)
OTHER = {Side.LONG: Side.SHORT, Side.SHORT: Side.LONG}


def held(side: Side = Side.LONG, number: int = 1, price: int = 52000, lots: int = 4, **changes: Any) -> Position:
    """A layer of BANK_NIFTY with R = 350 points; entry and stop are those of a long, reflected at 52000 for a short."""
    sign = side.sign
    entry = Decimal(52000 + sign * (price - 52000))
    fields: dict[str, Any] = {
        "instrument": "BANK_NIFTY",
        "layer": f"{side.value.capitalize()}_{number}",
        "entry_timestamp": minutes(number - 60),
        "entry_price": entry,
        "entry_lots": lots,
        "lots": lots,
        "lot_size": Decimal(30),
        "quantity": Decimal(30) * lots,
        "point_value": Decimal(30),
        "initial_stop": entry - sign * 350,
        "current_stop": entry - sign * 350,
        "atr": Decimal(350),
        "mark_price": entry,
        "highest_close": entry,
        "mark_time": minutes(number - 60),
        "is_base_position": number == 1,
    }
    return a_position(f"BANK_NIFTY-{number}", **fields | changes)


def pyramid(side: Side = Side.LONG, number: int = 2, price: float = 53000, **fields: Any) -> Signal:
    """An alert 1,000 points beyond the base of `held` with a stop 350 points behind."""
    fields = {"stop": price - 350, "atr": 350, **fields}
    return mirrored(a_signal("PYRAMID", layer=f"Long_{number}", price=price, **fields), side)


def with_base(side: Side = Side.LONG, *more: Position, lots: int = 4, **settings: Any) -> Portfolio:
    return holding(a_portfolio(settings_with(**settings)), held(side, lots=lots), *more)


def refused(portfolio: Portfolio, signal: Signal, status: Status, reason: str) -> dict[str, Any]:
    decision = told(portfolio, signal)
    assert (decision.outcome.status, decision.outcome.reason) == (status, reason)
    assert decision.events == ()
    assert decision.portfolio is portfolio
    return decision.outcome.sizing


@both_sides
def test_a_pyramid_opens_its_layer(side: Side) -> None:
    decision = told(with_base(side), pyramid(side))
    # discipline 4/2 = 2; profit 0.5 x (120,000 - 42,000) / 10,500 = 3.71; margin (3,000,000 - 1,080,000) / 270,000.
    assert (decision.outcome.lots, decision.outcome.limiter) == (2, "discipline")
    position = decision.portfolio.positions[decision.outcome.position_id or ""]
    assert (position.layer, position.is_base_position) == (f"{side.value.capitalize()}_2", False)
    assert (position.limiter, position.lots, position.risk_contribution) == ("discipline", 2, 21000)
    row = decision.portfolio.pyramiding_of("BANK_NIFTY")
    assert (row.last_pyramid_price, row.base_position_id) == (position.entry_price, "BANK_NIFTY-1")


def test_a_pyramid_reports_every_constraint_and_every_gate() -> None:
    sizing = told(with_base(), pyramid()).outcome.sizing
    assert {name: str(value) for name, value in sizing.items()} == {
        "margin": "7.111111",
        "discipline": "2.000000",
        "profit": "3.714286",
        "portfolio_risk": "57.142857",
        "portfolio_volatility": "19.047619",
        "equity": "5000000.000000",
        "risk_per_lot": "10500.000000",
        "volatility_per_lot": "10500.000000",
        "margin_per_lot": "270000.000000",
        "drawdown_percent": "0.000000",
        "drawdown_factor": "1.000000",
        "beyond_base_points": "1000.000000",
        "initial_risk_points": "350.000000",
        "beyond_last_points": "1000.000000",
        "required_spacing_points": "175.000000",
        "open_pyramids": "0",
        "max_pyramids": "5",
        "instrument_pnl": "120000.000000",
    }


# --- rejected: what state refuses ---------------------------------------------------------------------------------


@both_sides
def test_without_a_base_a_pyramid_is_rejected(side: Side) -> None:
    refused(a_portfolio(), pyramid(side), Status.REJECTED, "no base position")


@both_sides
def test_a_pyramid_after_the_base_was_closed_is_rejected(side: Side) -> None:
    portfolio = holding(a_portfolio(), held(side, number=2))
    refused(portfolio, pyramid(side, number=3), Status.REJECTED, "no base position")


@both_sides
def test_a_pyramid_must_be_on_the_bases_side(side: Side) -> None:
    refused(with_base(side), pyramid(OTHER[side]), Status.REJECTED, "side")


@both_sides
def test_an_open_layer_is_not_opened_again(side: Side) -> None:
    portfolio = with_base(side, held(side, number=2, price=52500))
    refused(portfolio, pyramid(side), Status.REJECTED, "layer already open")


@both_sides
def test_layers_may_have_gaps(side: Side) -> None:
    assert told(with_base(side), pyramid(side, number=6)).outcome.status is Status.EXECUTED


@both_sides
def test_a_closed_layers_name_is_used_again(side: Side) -> None:
    base, first = held(side), pyramid(side, timestamp=NOON)
    portfolio = after(holding(a_portfolio(), base), first)
    exit_ = mirrored(a_signal("EXIT", layer="Long_2", price=53500, timestamp=minutes(30)), side)
    portfolio = after(portfolio, exit_)
    decision = told(portfolio, pyramid(side, price=54000, timestamp=minutes(60)))
    assert decision.outcome.status is Status.EXECUTED
    assert decision.outcome.position_id not in portfolio.closed


@both_sides
@pytest.mark.parametrize("stop", [53000, 53001])
def test_a_stop_that_is_not_behind_the_price_is_invalid_risk(side: Side, stop: int) -> None:
    figures = refused(with_base(side), pyramid(side, stop=stop), Status.REJECTED, "invalid_risk")
    assert figures["risk_points"] == 53000 - stop


# --- blocked: what a gate refuses ---------------------------------------------------------------------------------


@both_sides
def test_a_price_exactly_one_r_beyond_the_base_is_blocked(side: Side) -> None:
    figures = refused(with_base(side), pyramid(side, price=52350), Status.BLOCKED, "one_r")
    assert (figures["beyond_base_points"], figures["initial_risk_points"]) == (350, 350)
    assert told(with_base(side, lots=40), pyramid(side, price=52350.05)).outcome.reason != "one_r"


@both_sides
def test_one_r_is_of_the_initial_stop_not_of_the_trailed_one(side: Side) -> None:
    base = replace(held(side), current_stop=Decimal(52000))
    refused(holding(a_portfolio(), base), pyramid(side, price=52300), Status.BLOCKED, "one_r")


@both_sides
def test_one_r_is_a_setting(side: Side) -> None:
    portfolio = with_base(side, pyramiding={"requires_one_r": False})
    assert told(portfolio, pyramid(side, price=52300)).outcome.reason != "one_r"


@both_sides
def test_less_than_half_an_atr_beyond_the_last_entry_is_blocked(side: Side) -> None:
    portfolio = with_base(side, held(side, number=2, price=52900))
    figures = refused(portfolio, pyramid(side, 3, price=53074.95), Status.BLOCKED, "atr_spacing")
    assert figures["beyond_last_points"] == Decimal("174.95")
    assert figures["required_spacing_points"] == 175
    assert told(portfolio, pyramid(side, 3, price=53075)).outcome.status is Status.EXECUTED


@both_sides
def test_the_limit_of_pyramids_counts_the_open_ones(side: Side) -> None:
    full = {"instruments": {"BANK_NIFTY": {"max_pyramids": 1}}}
    portfolio = with_base(side, held(side, number=4, price=52400), **full)
    figures = refused(portfolio, pyramid(side, 2), Status.BLOCKED, "max_pyramids")
    assert (figures["open_pyramids"], figures["max_pyramids"]) == (1, 1)
    closed = after(portfolio, mirrored(a_signal("EXIT", layer="Long_4", price=52500, timestamp=minutes(1)), side))
    assert told(closed, pyramid(side, 2, timestamp=minutes(2))).outcome.status is Status.EXECUTED


@both_sides
def test_an_instrument_that_does_not_earn_is_blocked(side: Side) -> None:
    # The base has gained 1,000 points on one lot, the pyramid lost 500 on two.
    loser = held(side, number=2, price=53500, lots=2)
    portfolio = holding(a_portfolio(), held(side, lots=1), loser)
    portfolio = replace(
        portfolio,
        pyramiding=portfolio.pyramiding.set(
            "BANK_NIFTY",
            replace(portfolio.pyramiding_of("BANK_NIFTY"), last_pyramid_price=held(side).entry_price),
        ),
    )
    figures = refused(portfolio, pyramid(side, number=3), Status.BLOCKED, "profit")
    assert figures["instrument_pnl"] == 0


@both_sides
def test_the_profit_is_before_costs(side: Side) -> None:
    dear = {"paper": {"costs": {"per_lot": "1000000"}}}
    assert told(with_base(side, **dear), pyramid(side)).outcome.sizing["instrument_pnl"] == 120_000


# --- blocked: what a limit refuses --------------------------------------------------------------------------------


@both_sides
def test_a_halted_portfolio_blocks(side: Side) -> None:
    refused(with_state(with_base(side), halted=True), pyramid(side), Status.BLOCKED, "halted")


@both_sides
@pytest.mark.parametrize("closed", ["-120000", "-120000.0001"])
def test_no_equity_blocks(side: Side, closed: str) -> None:
    portfolio = with_state(with_base(side), closed_equity=closed)
    refused(portfolio, pyramid(side), Status.BLOCKED, "equity")


@both_sides
@pytest.mark.parametrize(
    "closed, factor",
    [
        ("4750000.0001", 1),
        ("4750000", "0.75"),
        ("4500000.0001", "0.75"),
        ("4500000", "0.5"),  # a pyramid is still taken where a base is not
        ("4250000", "0.5"),  # exactly 15 %
        ("4249999.9999", None),  # beyond it
    ],
)
def test_a_drawdown_multiplies_a_pyramids_lots_before_flooring_at_the_exact_borders(
    side: Side, closed: str, factor: str | None
) -> None:
    portfolio = with_state(with_base(side, lots=10), closed_equity=closed)
    if factor is None:
        figures = refused(portfolio, pyramid(side), Status.BLOCKED, "drawdown")
        assert figures["drawdown_percent"] == 15  # rounded for show, compared unrounded
        return
    outcome = told(portfolio, pyramid(side)).outcome
    assert outcome.sizing["drawdown_factor"] == Decimal(factor)
    sizes = [
        (Decimal(closed) * 6 / 10 - 2_700_000) / 270_000,  # margin
        Decimal(5),  # discipline
        Decimal(300_000 - 105_000) / 2 / 10_500,  # profit
    ]
    assert (outcome.lots or 0) == int(max(Decimal(0), min(sizes)) * Decimal(factor))


@both_sides
def test_a_drawdown_multiplies_whatever_limits_a_pyramid(side: Side) -> None:
    # At the high the margin leaves 2.07 lots; 5 % down 1.87, and 1.40 after the factor.
    rules = settings_with(limits={"margin_percent": "22"})
    portfolio = holding(a_portfolio(rules), held(side, lots=2, entry_lots=20))
    down = with_state(portfolio, closed_equity=4_750_000)
    up = told(portfolio, pyramid(side, price=55000, stop=54650)).outcome
    sizing = told(down, pyramid(side, price=55000, stop=54650)).outcome.sizing
    assert up.sizing["margin"] == round(Decimal(1_100_000 - 540_000) / 270_000, 6)
    assert sizing["margin"] == round(Decimal(1_045_000 - 540_000) / 270_000 * 3 / 4, 6)
    assert sizing["discipline"] == Decimal("7.5")
    assert sizing["profit"] == round(Decimal(180_000 - 21_000) / 2 / 10_500 * 3 / 4, 6)
    assert (up.lots, told(down, pyramid(side, price=55000, stop=54650)).outcome.lots) == (2, 1)
    # The portfolio's own caps do not shrink: they are of the equity that is left.
    assert sizing["portfolio_risk"] == round(Decimal(4_750_000) * 12 / 100 / 10_500, 6)


@both_sides
@pytest.mark.parametrize(
    "limiter, lots, settings, fields",
    [
        ("margin", 4, {"limits": {"margin_percent": "26"}}, {}),
        ("discipline", 1, {}, {}),
        ("profit", 4, {}, {"price": 52400}),
        ("portfolio_risk", 4, {"limits": {"pyramid_risk_percent": "0.2"}}, {}),
        ("portfolio_volatility", 4, {"limits": {"pyramid_volatility_percent": "0.2"}}, {}),
    ],
)
def test_a_size_of_no_lots_is_blocked_by_its_limiter_with_every_figure(
    side: Side, limiter: str, lots: int, settings: dict[str, Any], fields: dict[str, Any]
) -> None:
    portfolio = with_base(side, lots=lots, **settings)
    decision = told(portfolio, pyramid(side, **fields))
    figures = refused(portfolio, pyramid(side, **fields), Status.BLOCKED, limiter)
    assert (decision.outcome.limiter, decision.outcome.lots) == (limiter, 0)
    constraints = {"margin", "discipline", "profit", "portfolio_risk", "portfolio_volatility"}
    assert constraints | {"beyond_base_points", "beyond_last_points", "instrument_pnl", "open_pyramids"} <= set(figures)
    assert min(constraints, key=lambda name: Decimal(str(figures[name]))) == limiter


@both_sides
def test_the_portfolio_step_of_a_pyramid_uses_12_and_4_per_cent(side: Side) -> None:
    # 600,000 and 200,000 are allowed; 585,000 and 185,000 taken: 1.43 lots of 10,500 are left of either.
    for figure, limiter in (("risk_contribution", "portfolio_risk"), ("vol_contribution", "portfolio_volatility")):
        taken = Decimal(585_000 if limiter == "portfolio_risk" else 185_000)
        crowd = a_position(lots=1, entry_lots=1, **{figure: taken})
        portfolio = holding(with_base(side), crowd)
        outcome = told(portfolio, pyramid(side)).outcome
        assert (outcome.lots, outcome.limiter) == (1, limiter)


@both_sides
def test_discipline_is_half_of_the_entry_lots_of_the_open_layer_entered_last(side: Side) -> None:
    # Long_5 was entered before Long_3; two of the six lots of the latter were sold since.
    fifth = held(side, number=5, price=52400, lots=10, entry_timestamp=minutes(-50))
    third = held(side, number=3, price=52700, lots=4, entry_lots=6, entry_timestamp=minutes(-20))
    outcome = told(with_base(side, fifth, third), pyramid(side)).outcome
    assert outcome.sizing["discipline"] == 3


@both_sides
def test_the_bases_initial_risk_uses_its_open_lots(side: Side) -> None:
    base = held(side, lots=2, entry_lots=4)
    outcome = told(holding(a_portfolio(), base), pyramid(side)).outcome
    # 60,000 of profit, 350 x 2 x 30 of risk.
    assert outcome.sizing["profit"] == round(Decimal(60_000 - 21_000) / 2 / 10_500, 6)


def test_sizes_are_exact_though_the_bases_risk_has_more_decimals_than_money() -> None:
    # Profit and base risk each have a tail below 4 decimals; exactly one lot is due, and 0.99... after rounding to money.
    tiny = {"lot_size": "1", "point_value": "0.0001", "margin_per_lot": "0.0001", "max_pyramids": 5}
    rules = settings_with(instruments={"TINY": tiny}, pyramiding={"requires_one_r": True})
    base = a_position(
        "TINY-1",
        instrument="TINY",
        lot_size=Decimal(1),
        point_value=Decimal("0.0001"),
        entry_price=Decimal(100),
        initial_stop=Decimal(99),
        current_stop=Decimal(99),
        entry_lots=10,
        lots=10,
        quantity=Decimal(10),
        is_base_position=True,
    )
    portfolio = holding(a_portfolio(rules), base)
    # P&L (102.14 - 100) x 10 x 0.0001 = 0.00214, base risk 0.001: half of 0.00114 over 0.57 x 0.0001 is 10 lots exactly.
    signal = a_signal("PYRAMID", "TINY", price="102.14", stop="101.57", atr="0.5")
    assert told(portfolio, signal).outcome.sizing["profit"] == 10


def test_a_profit_below_a_ten_thousandth_is_a_profit() -> None:
    rules = settings_with(instruments={"TINY": {"lot_size": "1", "point_value": "0.0001", "margin_per_lot": "1"}})
    base = a_position(
        "TINY-1",
        instrument="TINY",
        lot_size=Decimal(1),
        point_value=Decimal("0.0001"),
        entry_price=Decimal(100),
        initial_stop=Decimal("99.9"),
        current_stop=Decimal("99.9"),
        entry_lots=1,
        lots=1,
        quantity=Decimal(1),
    )
    signal = a_signal("PYRAMID", "TINY", price="100.3", stop="99.7", atr="0.5")  # 0.00003 of profit
    # Past the gate: it was sized, and no lot of so small a profit fits.
    assert told(holding(a_portfolio(rules), base), signal).outcome.limiter == "profit"


# --- the next layer -----------------------------------------------------------------------------------------------


@both_sides
@pytest.mark.parametrize("taken, expected", [((), 2), ((2,), 3), ((2, 3), 4), ((3,), 2)])
def test_the_next_layer_is_the_first_that_is_free(side: Side, taken: tuple[int, ...], expected: int) -> None:
    portfolio = with_base(side, *(held(side, number, 52000 + 100 * number, lots=2) for number in taken), lots=2)
    signal = pyramid(side, price=54000)
    decision = told(portfolio, replace(signal, layer=f"{side.value.capitalize()}_next"))
    assert decision.outcome.status is Status.EXECUTED
    (position,) = set(decision.portfolio.positions) - set(portfolio.positions)
    assert decision.portfolio.positions[position].layer == f"{side.value.capitalize()}_{expected}"
    assert position == decision.outcome.position_id
    assert position.startswith(f"BANK_NIFTY-{side.value.capitalize()}_{expected}-")


def test_the_next_layer_of_a_portfolio_without_a_base_is_refused_as_a_named_one_is() -> None:
    signal = replace(pyramid(), layer="Long_next")
    assert told(a_portfolio(), signal).outcome.reason == "no base position"
    assert told(with_base(Side.SHORT), signal).outcome.reason == "side"


def test_with_every_layer_taken_there_is_no_next_one() -> None:
    portfolio = with_base(Side.LONG, *(held(Side.LONG, number) for number in range(2, 7)))
    assert told(portfolio, replace(pyramid(price=54000), layer="Long_next")).outcome.reason == "layer already open"
