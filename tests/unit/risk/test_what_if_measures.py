"""Every measure of positions is a figure, or the reason why there is none, by position; contributions add up."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume
from hypothesis import given as any_of
from hypothesis import settings as hypothesis_settings
from msgspec.structs import replace

from core.errors import Refused
from risk.analytics.definitions import Scenario, Shock
from risk.analytics.diversification import diversification_ratio, diversification_score
from risk.analytics.factor_risk import position_risk
from risk.analytics.refusals import (
    InputRefused,
    LabelsDiffer,
    NotFinite,
    NotPositiveSemidefinite,
    OutOfRange,
    WrongShape,
)
from risk.what_if.measured import Measured, Measures, Rows, measures_from_json, refusal_of
from risk.what_if.measures import RiskInputs, measure
from risk.what_if.positions import HeldPosition, Positions
from risk.what_if.pricing import greeks_per_lot, pnl_of
from risk.what_if.refusals import MissingFigure, MissingPrice
from tests.unit.risk.what_if import (
    COVARIANCE,
    a_leg,
    a_position,
    an_option,
    gold,
    held,
    inputs,
    many,
    quick,
    synthetic,
    terms,
)

LONG, SHORT = 3_120_000.0, -2_160_000.0


def value(measures: Measures, *key: str) -> float:
    row = measures.of(*key)
    assert row.value is not None, row.reason
    return row.value


def reason(measures: Measures, *key: str) -> str:
    row = measures.of(*key)
    assert row.reason is not None, row.value
    return row.reason


def sides(measures: Measures, *part: str) -> list[float]:
    return [value(measures, side, *part) for side in ("long", "short", "gross", "net")]


def test_exposures_are_told_of_the_whole_and_of_its_parts() -> None:
    measures = measure(
        held(a_position(), gold(currency="USD", rate=2, tags=("core", "hedge"), strategies=())), inputs()
    )
    short = 2 * SHORT
    assert sides(measures) == [LONG, short, LONG - short, LONG + short]
    assert sides(measures, "currency", "USD") == [0, short, -short, short]
    assert sides(measures, "node", "Fund") == [LONG, short, LONG - short, LONG + short]
    assert sides(measures, "node", "Fund/Metals") == [0, short, -short, short]
    assert sides(measures, "instrument", "BANK_NIFTY") == [LONG, 0, LONG, LONG]
    assert sides(measures, "sector", "Metals") == [0, short, -short, short]
    assert sides(measures, "tag", "core") == sides(measures)
    assert sides(measures, "tag", "hedge") == [0, short, -short, short]
    assert sides(measures, "strategy", "trend") == [LONG, 0, LONG, LONG]
    assert value(measures, "exposure", "position", "bank-1") == LONG


def test_margin_and_heat_are_of_lots_and_stops() -> None:
    measures = measure(held(), inputs())
    assert value(measures, "margin") == 2 * 270_000 + 3 * 105_000
    assert value(measures, "open_heat") == 2 * 350 * 30 + 3 * 500 * 10
    assert value(measures, "open_heat", "position", "gold-1") == 15_000
    beyond = measure(held(a_position(stop=53_000)), inputs())
    assert value(beyond, "open_heat") == 0


def test_factor_exposures_volatility_and_where_it_comes_from() -> None:
    measures = measure(held(), inputs())
    assert value(measures, "factor_exposure", "factor", "index") == pytest.approx(1.1 * LONG)
    assert value(measures, "factor_exposure", "factor", "gold") == SHORT
    x = np.array([1.1 * LONG, SHORT])
    variance = x @ COVARIANCE.to_numpy() @ x + LONG**2 * 1e-5 + SHORT**2 * 4e-6
    assert value(measures, "volatility") == pytest.approx(variance**0.5)
    told = position_risk(
        pd.Series({"bank-1": LONG, "gold-1": SHORT}),
        pd.DataFrame([[1.1, 0.0], [0.0, 1.0]], index=["bank-1", "gold-1"], columns=["index", "gold"]),
        COVARIANCE,
        pd.Series({"bank-1": 1e-5, "gold-1": 4e-6}),
    )
    for by, series in (("factor", told.contributions), ("position", told.by_position)):
        for label, figure in series.items():
            assert value(measures, "contribution", by, str(label)) == pytest.approx(figure)


def test_layers_of_one_instrument_move_as_one() -> None:
    whole = measure(held(a_position(signed_quantity=4), gold()), inputs())
    layers = measure(held(a_position(signed_quantity=3), a_position("bank-2", signed_quantity=1), gold()), inputs())
    for name in ("volatility", "diversification_score", "diversification_ratio", "historical_value_at_risk", "margin"):
        assert value(layers, name) == pytest.approx(value(whole, name))
    parts = [value(layers, "contribution", "position", label) for label in ("bank-1", "bank-2")]
    assert sum(parts) == pytest.approx(value(whole, "contribution", "position", "bank-1"))
    assert parts[0] == pytest.approx(3 * parts[1])


def test_diversification_is_of_what_the_factors_and_the_rest_make() -> None:
    betas, own = np.array([[1.1, 0.0], [0.0, 1.0]]), np.array([1e-5, 4e-6])
    together = betas @ COVARIANCE.to_numpy() @ betas.T + np.diag(own)
    scale = np.sqrt(np.diag(together))
    names = ["bank", "gold"]
    correlations = together / np.outer(scale, scale)
    np.fill_diagonal(correlations, 1.0)
    related = pd.DataFrame(correlations, index=names, columns=names)
    worth = pd.Series([LONG, SHORT], index=names)
    measures = measure(held(), inputs())
    assert value(measures, "diversification_score") == pytest.approx(diversification_score(worth, related))
    ratio = diversification_ratio(worth, pd.Series(scale, index=names), related)
    assert value(measures, "diversification_ratio") == pytest.approx(ratio)


def test_one_thing_has_no_diversification_and_what_does_not_move_no_correlations() -> None:
    one = measure(held(a_position()), inputs())
    assert reason(one, "diversification_score") == "fewer than two things are held"
    assert value(one, "diversification_ratio") == pytest.approx(1)
    still = measure(held(a_position(betas={"index": 0.0, "gold": 0.0}, specific_variance=0.0), gold()), inputs())
    assert reason(still, "diversification_score") == "BANK_NIFTY does not move: it has no correlations"
    assert value(still, "contribution", "position", "bank-1") == 0
    flat = measure(held(a_position(), a_position("bank-2", signed_quantity=-2)), inputs())
    assert reason(flat, "diversification_ratio") == "what is held does not move"
    assert value(flat, "volatility") == 0
    assert value(flat, "contribution", "position", "bank-2") == 0


def test_value_at_risk_is_parametric_and_historical() -> None:
    measures = measure(held(), inputs(confidence=0.99, horizon=4))
    volatility = value(measures, "volatility")
    assert value(measures, "parametric_value_at_risk") == pytest.approx(2 * 2.3263478740 * volatility)
    assert value(measures, "parametric_expected_shortfall") == pytest.approx(2 * 2.6652142203 * volatility)
    returns = inputs().returns
    assert returns is not None
    worst = np.sort(LONG * returns["BANK_NIFTY"] + SHORT * returns["GOLD_MINI"])[2]
    assert value(measures, "historical_value_at_risk") == pytest.approx(-2 * worst)
    assert (measures.confidence, measures.horizon) == (0.99, 4)


def test_stress_is_told_of_the_whole_and_by_node() -> None:
    measures = measure(held(), inputs())
    gold_shock = 0.10 * 2e-5 / 1.6e-4
    bank, metal = LONG * 1.1 * 0.10, SHORT * gold_shock
    assert value(measures, "stress", "scenario", "Market Up 10%") == pytest.approx(bank + metal)
    assert value(measures, "stress", "scenario", "Market Down 10%") == pytest.approx(-bank - metal)
    assert value(measures, "stress: Market Up 10%", "node", "Fund/Metals") == pytest.approx(metal)
    assert value(measures, "stress: Market Up 10%", "node", "Fund") == pytest.approx(bank + metal)


def test_options_are_exposed_by_delta_and_stressed_by_what_they_would_be_worth() -> None:
    call = an_option()
    measures = measure(held(call, a_position()), inputs())
    greeks = greeks_per_lot(call)
    assert value(measures, "exposure", "position", "call-1") == pytest.approx(greeks.delta * 52_000 * 30)
    assert value(measures, "value", "position", "call-1") == 1_100 * 30
    up, down = (pnl_of(call, sign * 0.11) for sign in (1, -1))
    assert up + down > 1_000  # gamma
    linear = LONG * 0.11
    assert value(measures, "stress", "scenario", "Market Up 10%") == pytest.approx(up + linear)
    assert value(measures, "stress", "scenario", "Market Down 10%") == pytest.approx(down - linear)
    returns = inputs().returns
    assert returns is not None
    earned = np.array([pnl_of(call, move) for move in returns["BANK_NIFTY"]]) + LONG * returns["BANK_NIFTY"]
    assert value(measures, "historical_value_at_risk") == pytest.approx(-np.sort(earned)[12])


def test_a_scenario_of_volatility_changes_what_options_are_worth() -> None:
    names = ["index", "implied_volatility"]
    covariance = pd.DataFrame([[1e-4, 0.0], [0.0, 1e-4]], index=names, columns=names)
    betas = {"index": 1.0, "implied_volatility": 0.0}
    up = Scenario(
        name="up", scenario_type="sensitivity", sort_order=1, shocks={"implied_volatility": Shock(shock=0.05)}
    )
    measures = measure(held(an_option(betas=betas)), inputs(factor_covariance=covariance, scenarios=(up,)))
    assert value(measures, "stress", "scenario", "up") == pytest.approx(pnl_of(an_option(), 0.0, 0.05))
    assert pnl_of(an_option(), 0.0, 0.05) > 0


def test_greeks_are_of_options_and_delta_of_everything() -> None:
    call = an_option()
    measures = measure(held(call, a_position(), gold()), inputs())
    greeks = greeks_per_lot(call).times(30)
    assert value(measures, "delta", "underlying", "BANK_NIFTY") == pytest.approx(greeks.delta + 60)
    assert value(measures, "delta", "position", "gold-1") == -30
    for name in ("gamma", "vega_per_point", "theta_per_day", "rho_per_point"):
        assert value(measures, name, "position", "call-1") == pytest.approx(getattr(greeks, name))
        assert value(measures, name, "underlying", "BANK_NIFTY") == pytest.approx(getattr(greeks, name))
    assert value(measures, "vega_per_point") == pytest.approx(greeks.vega_per_point)
    with pytest.raises(MissingFigure, match="no gamma by position bank-1"):
        measures.of("gamma", "position", "bank-1")
    with pytest.raises(MissingFigure):
        measures.of("delta")


def test_a_synthetic_future_is_exposed_as_the_future_and_has_greeks_where_its_volatility_is_known() -> None:
    measures = measure(held(a_position(option=synthetic())), inputs())
    assert value(measures, "exposure", "position", "bank-1") == LONG
    assert value(measures, "gamma", "position", "bank-1") == pytest.approx(0, abs=1e-9)
    unknown = measure(held(a_position(option=terms(a_leg(volatility=None), a_leg("PUT", ratio=-1.0)))), inputs())
    assert value(unknown, "volatility") == value(measures, "volatility")
    assert reason(unknown, "delta", "position", "bank-1") == "bank-1: no volatility of the call at 52000"


@pytest.mark.parametrize(
    "changed, key, words",
    [
        ({"price": None}, ("net",), "gold-1: no price"),
        ({"price": None}, ("net", "node", "Fund"), "gold-1: no price"),
        ({"price": None}, ("volatility",), "gold-1: no price"),
        ({"price": None}, ("historical_value_at_risk",), "gold-1: no price"),
        ({"price": None}, ("factor_exposure", "factor", "gold"), "gold-1: no price"),
        ({"price": None}, ("open_heat",), "gold-1: no price"),
        ({"rate": None}, ("net",), "gold-1: no rate of INR"),
        ({"rate": None}, ("margin",), "gold-1: no rate of INR"),
        ({"rate": None}, ("delta", "position", "gold-1"), "gold-1: no rate of INR"),
        ({"betas": None}, ("volatility",), "gold-1: no beta to index, gold"),
        ({"betas": {"gold": 1.0}}, ("factor_exposure", "factor", "index"), "gold-1: no beta to index"),
        ({"betas": {"gold": 1.0}}, ("stress", "scenario", "Market Up 10%"), "gold-1: no beta to index"),
        ({"betas": {"gold": 1.0}}, ("parametric_value_at_risk",), "gold-1: no beta to index"),
        (
            {"betas": {"index": 0.0, "gold": 1.0, "tin": 0.1}},
            ("volatility",),
            "a beta to tin, of which there is no cov",
        ),
        ({"specific_variance": None}, ("diversification_score",), "gold-1: no specific variance"),
        ({"specific_variance": None}, ("contribution", "position", "bank-1"), "gold-1: no specific variance"),
        ({"stop": None}, ("open_heat",), "gold-1: no stop"),
        ({"margin_per_lot": None}, ("margin",), "gold-1: no margin per lot"),
        ({"instrument": "TIN"}, ("historical_expected_shortfall",), "gold-1: no past returns of TIN"),
    ],
)
def test_what_is_not_known_is_said_by_position_and_is_never_a_nought(
    changed: dict, key: tuple[str, ...], words: str
) -> None:
    assert words in reason(measure(held(a_position(), gold(**changed)), inputs()), *key)


def test_what_does_not_need_the_missing_figure_is_told_all_the_same() -> None:
    measures = measure(held(a_position(), gold(price=None, betas={"gold": 1.0})), inputs())
    assert sides(measures, "instrument", "BANK_NIFTY") == [LONG, 0, LONG, LONG]
    assert value(measures, "margin") == 855_000
    assert value(measures, "stress: Market Up 10%", "node", "Fund/Equity") == pytest.approx(LONG * 0.11)


def test_without_covariance_returns_or_the_factor_of_a_scenario_that_is_the_reason() -> None:
    bare = measure(held(), RiskInputs(scenarios=inputs().scenarios))
    for key in (
        ("volatility",),
        ("factor_exposure",),
        ("stress", "scenario", "Market Up 10%"),
        ("parametric_value_at_risk",),
    ):
        assert reason(bare, *key) == "no covariance of factors was given"
    assert reason(bare, "historical_value_at_risk") == "no past returns were given"
    gold_alone = COVARIANCE.loc[["gold"], ["gold"]]
    other = measure(held(gold(betas={"gold": 1.0})), inputs(factor_covariance=gold_alone))
    assert "none of which is a factor here" in reason(other, "stress", "scenario", "Market Up 10%")
    assert value(other, "volatility") > 0


def test_returns_that_are_no_numbers_or_too_few_are_the_reason() -> None:
    returns = pd.DataFrame({"BANK_NIFTY": [0.01, np.nan], "GOLD_MINI": [0.0, 0.0]})
    assert "returns of BANK_NIFTY`: not finite at 1" in reason(
        measure(held(), inputs(returns=returns)), "historical_value_at_risk"
    )
    few = measure(held(gold()), inputs(returns=returns))
    assert "2 observations; 20 are needed" in reason(few, "historical_value_at_risk")


def test_an_expired_option_is_the_reason_and_so_is_a_fall_of_everything() -> None:
    late = an_option("late", terms(at=a_leg().expires_at))
    assert "it expired at" in reason(measure(held(late), inputs()), "net")
    returns = pd.DataFrame({"BANK_NIFTY": [-1.0] * 20})
    assert "falls by 1 of itself" in reason(
        measure(held(an_option()), inputs(returns=returns)), "historical_value_at_risk"
    )


def test_many_reasons_are_cut_short() -> None:
    unknown = held(*(gold(f"g{number}", price=None) for number in range(7)))
    assert reason(measure(unknown, inputs()), "net").endswith("g4: no price; and 2 more")
    mixed = refusal_of([MissingPrice("a"), MissingFigure("b"), 1.0, MissingPrice("a")])
    assert (type(mixed), str(mixed)) == (InputRefused, "a; b")


def test_no_positions_are_worth_nothing_and_risk_nothing() -> None:
    empty = measure(held().without("bank-1").without("gold-1"), inputs())
    assert sides(empty) == [0, 0, 0, 0]
    for name in ("volatility", "margin", "open_heat", "parametric_value_at_risk", "historical_value_at_risk"):
        assert value(empty, name) == 0
    assert value(empty, "stress", "scenario", "Market Up 10%") == 0
    assert value(empty, "factor_exposure", "factor", "index") == 0
    assert reason(empty, "diversification_score") == "fewer than two things are held"


@hypothesis_settings(max_examples=50)
@any_of(many())
def test_contributions_and_parts_add_up_to_the_whole(positions: Positions) -> None:
    measures = measure(positions, quick())
    volatility = value(measures, "volatility")
    for by in ("factor", "position"):
        parts = [row.value for row in measures.rows if row.measure == "contribution" and row.by == by]
        np.testing.assert_allclose(sum(filter(None, parts)), volatility, rtol=1e-7, atol=1e-7)
    gross = value(measures, "gross")
    for by in ("currency", "instrument", "sector"):
        parts = [row.value for row in measures.rows if row.measure == "net" and row.by == by]
        np.testing.assert_allclose(sum(filter(None, parts)), value(measures, "net"), rtol=1e-9, atol=1e-9 * gross)
    by_factor = [value(measures, "factor_exposure", "factor", name) for name in COVARIANCE.columns]
    assert len(by_factor) == 2


@hypothesis_settings(max_examples=50)
@any_of(many(least=1))
def test_twice_the_positions_are_twice_the_risk(positions: Positions) -> None:
    doubled = positions.replaced(*(_doubled(one) for one in positions.held))
    one, two = (measure(each, quick()) for each in (positions, doubled))
    assume(value(one, "volatility") > 1e-6 * value(one, "gross"))
    for key in (
        ("gross",),
        ("volatility",),
        ("margin",),
        ("historical_value_at_risk",),
        ("stress", "scenario", "Market Up 10%"),
    ):
        np.testing.assert_allclose(value(two, *key), 2 * value(one, *key), rtol=1e-6, atol=1e-6)


def _doubled(one: HeldPosition) -> HeldPosition:
    return replace(one, signed_quantity=2 * one.signed_quantity)


@hypothesis_settings(max_examples=50)
@any_of(many())
def test_measures_are_kept_as_json_and_shown_as_a_frame(positions: Positions) -> None:
    measures = measure(positions, quick())
    assert measures_from_json(measures.to_json()) == measures
    frame = measures.frame()
    assert len(frame) == len(measures.rows)
    assert frame.index.is_unique
    assert (frame["value"].isna() != frame["reason"].isna()).all()


@pytest.mark.parametrize(
    "changed, refusal, words",
    [
        ({"confidence": 1.0}, OutOfRange, "confidence"),
        ({"horizon": 0}, OutOfRange, "horizon"),
        ({"factor_covariance": [[1.0]]}, WrongShape, "a frame is needed"),
        ({"factor_covariance": -COVARIANCE}, NotPositiveSemidefinite, "factor_covariance"),
        ({"factor_covariance": COVARIANCE.rename(columns={"gold": "tin"})}, LabelsDiffer, "gold"),
        ({"factor_covariance": pd.DataFrame([[1.0]], index=[0], columns=[0])}, OutOfRange, "0 is no name"),
        ({"returns": [0.1]}, WrongShape, "returns"),
        ({"returns": pd.DataFrame([[0.1, 0.1]], columns=["A", "A"])}, LabelsDiffer, "A more than once"),
        ({"scenarios": inputs().scenarios * 2}, LabelsDiffer, "Market Down 10%"),
    ],
)
def test_inputs_that_cannot_be_are_refused_at_once(changed: dict, refusal: type[Refused], words: str) -> None:
    with pytest.raises(refusal, match=words):
        inputs(**changed)


def test_the_order_of_the_covariances_rows_is_of_no_account_and_it_is_copied() -> None:
    given = COVARIANCE.copy()
    one, two = inputs(factor_covariance=given), inputs(factor_covariance=COVARIANCE.loc[["gold", "index"]])
    given.iloc[0, 0] = 1.0
    assert measure(held(), one).rows == measure(held(), two).rows == measure(held(), inputs()).rows


def test_what_is_too_large_is_the_reason() -> None:
    rows = Rows()
    rows.add("net", "portfolio", "", float("inf"))
    rows.add("short", "portfolio", "", -0.0)
    assert [row.reason for row in rows.all()] == ["too large to be a number", None]
    assert str(rows.all()[1].value) == "0.0"


def test_a_measure_is_a_figure_or_a_reason() -> None:
    with pytest.raises(MissingFigure, match="a value or a reason"):
        Measured(measure="net", by="portfolio", label="")
    with pytest.raises(MissingFigure, match="a value or a reason"):
        Measured(measure="net", by="portfolio", label="", value=1.0, reason="because")
    with pytest.raises(NotFinite):
        Measured(measure="net", by="portfolio", label="", value=float("nan"))
