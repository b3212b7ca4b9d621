"""Stress: what is shocked stays as it is shocked, what is not moves as it would be expected to."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from risk.analytics import definitions
from risk.analytics.refusals import (
    ImpossibleShocks,
    LabelsDiffer,
    NotFinite,
    NotPositiveSemidefinite,
    OutOfRange,
    WrongShape,
)
from risk.analytics.stress import correlated_shocks, stress, uncorrelated_shocks
from tests.unit.risk.samples import correlations_of, framed, generator, names, seeds, series

VOLATILITIES = series([0.20, 0.10, 0.05])
CORRELATIONS = framed([[1.0, 0.8, 0.6], [0.8, 1.0, 0.5], [0.6, 0.5, 1.0]])


def test_the_third_factor_moves_as_it_is_expected_to() -> None:
    moved = correlated_shocks({"f0": -0.10, "f1": -0.08}, VOLATILITIES, CORRELATIONS)
    assert round(moved["f2"] * 100, 2) == -1.61
    assert moved["f2"] == pytest.approx(-0.05 * 0.116 / 0.36)
    assert moved[["f0", "f1"]].to_list() == [-0.10, -0.08]


def test_one_shock_moves_another_factor_by_its_beta() -> None:
    moved = correlated_shocks({"f1": 0.10}, VOLATILITIES, CORRELATIONS)
    assert moved.to_list() == pytest.approx([0.8 * 0.20 / 0.10 * 0.10, 0.10, 0.5 * 0.05 / 0.10 * 0.10])


@given(seeds, st.integers(1, 6), st.data())
def test_shocked_factors_stay_and_no_shock_moves_nothing(seed: int, size: int, data: st.DataObject) -> None:
    drawn = generator(seed)
    root = drawn.standard_normal((size, size + 2))
    spread = framed(root @ root.T)
    scale = series(np.sqrt(np.diag(spread)))
    chosen = data.draw(st.sets(st.sampled_from(names(size))))
    shocks = {name: float(drawn.standard_normal()) for name in chosen}
    moved = correlated_shocks(shocks, scale, correlations_of(spread))
    assert {name: moved[name] for name in chosen} == shocks
    if not chosen:
        assert not moved.any()
    twice = correlated_shocks({name: 2 * shock for name, shock in shocks.items()}, scale, correlations_of(spread))
    np.testing.assert_allclose(twice, 2 * moved, rtol=1e-9, atol=1e-12)


@given(seeds, st.integers(2, 6))
def test_one_shocked_factor_moves_the_others_by_their_regression_on_it(seed: int, size: int) -> None:
    drawn = generator(seed)
    returns = pd.DataFrame(drawn.standard_normal((50, size)) @ drawn.standard_normal((size, size)), columns=names(size))
    spread = returns.cov()
    moved = correlated_shocks({"f0": 0.7}, returns.std(), correlations_of(spread))
    for other in names(size)[1:]:
        slope = np.polyfit(returns["f0"], returns[other], 1)[0]
        assert moved[other] == pytest.approx(slope * 0.7, rel=1e-6, abs=1e-9)


def test_two_factors_that_are_one_are_shocked_alike_or_not_at_all() -> None:
    scale, one = series([0.2, 0.1, 0.3]), framed([[1, 1, 0.5], [1, 1, 0.5], [0.5, 0.5, 1]])
    moved = correlated_shocks({"f0": -0.2, "f1": -0.1}, scale, one)
    assert moved["f2"] == pytest.approx(-0.5 * 0.3)
    with pytest.raises(ImpossibleShocks, match="cannot happen together"):
        correlated_shocks({"f0": -0.2, "f1": 0.1}, scale, one)


def test_a_factor_that_does_not_move_is_not_moved_nor_shocked() -> None:
    scale = series([0.2, 0.0, 0.1])
    assert correlated_shocks({"f0": -0.2}, scale, CORRELATIONS)["f1"] == 0
    with pytest.raises(ImpossibleShocks, match="does not move"):
        correlated_shocks({"f1": 0.1}, scale, CORRELATIONS)


def test_without_correlations_only_what_is_shocked_moves() -> None:
    assert uncorrelated_shocks({"f1": 0.3}, names(3)).to_list() == [0, 0.3, 0]
    with pytest.raises(ImpossibleShocks, match="no such factor: g, h"):
        uncorrelated_shocks({"h": 0.3, "g": 1}, names(3))


def test_the_cost_is_told_in_money_by_position_factor_and_node() -> None:
    values = series([1_000_000, -400_000, 200_000], ["bank", "gold", "copper"])
    betas = pd.DataFrame(
        [[1.1, 0.0], [0.1, 1.0], [0.5, 0.2]], index=["bank", "gold", "copper"], columns=["index", "gold"]
    )
    nodes = pd.Series({"copper": "Fund/Metals", "bank": "Fund/Equity", "gold": "Fund/Metals"})
    cost = stress(values, betas, uncorrelated_shocks({"index": -0.1, "gold": 0.02}, ["index", "gold"]), nodes)
    assert cost.by_position.to_list() == pytest.approx([-110_000, -400_000 * (-0.01 + 0.02), 200_000 * (-0.05 + 0.004)])
    assert cost.by_node.to_dict() == pytest.approx({"Fund": -123_200, "Fund/Equity": -110_000, "Fund/Metals": -13_200})
    assert cost.by_factor.to_dict() == pytest.approx({"index": -110_000 + 4_000 - 10_000, "gold": -8_000 + 800})
    assert cost.total == pytest.approx(-123_200)
    turned = stress(values, betas[["gold", "index"]].iloc[::-1], cost.shocks)
    assert turned.by_position.to_dict() == pytest.approx(cost.by_position.to_dict())
    assert turned.by_node.empty


def test_bad_input_is_refused_by_name() -> None:
    with pytest.raises(OutOfRange, match="volatilities"):
        correlated_shocks({"f0": 0.1}, series([-0.2, 0.1, 0.1]), CORRELATIONS)
    with pytest.raises(NotPositiveSemidefinite):
        correlated_shocks({"f0": 0.1}, series([1, 1, 1]), framed([[1, 0.9, -0.9], [0.9, 1, 0.9], [-0.9, 0.9, 1]]))
    with pytest.raises(NotFinite, match="shocks"):
        correlated_shocks({"f0": np.nan}, VOLATILITIES, CORRELATIONS)
    with pytest.raises(WrongShape, match="volatilities"):
        correlated_shocks({"f0": 0.1}, [0.1], CORRELATIONS)
    values, betas = series([1.0], ["p"]), pd.DataFrame([[1.0]], index=["p"], columns=["f0"])
    with pytest.raises(LabelsDiffer, match="betas"):
        stress(values, betas, series([0.1, 0.1]))
    with pytest.raises(LabelsDiffer, match="nodes"):
        stress(values, betas, series([0.1]), pd.Series({"q": "Fund"}))
    with pytest.raises(WrongShape, match="series are needed"):
        stress([1.0], betas, series([0.1]))


# --- factors and scenarios as data


def test_the_eight_factors_are_the_specifications_and_a_futures_book_has_its_own() -> None:
    told = definitions.factors()
    assert [factor.sort_order for factor in told] == list(range(1, 17))
    assert len({factor.name for factor in told}) == 16
    assert [(factor.name, factor.category) for factor in told if factor.set == "equity"] == [
        ("market_beta", "style"),
        ("momentum", "style"),
        ("value", "style"),
        ("growth", "style"),
        ("quality", "style"),
        ("size", "style"),
        ("short_interest", "technical"),
        ("volatility", "technical"),
    ]
    assert [factor.name for factor in told if factor.set == "futures"] == [
        "index", "gold", "silver", "copper", "usd_inr", "rates", "oil", "implied_volatility",
    ]  # fmt: skip


def test_the_eight_scenarios_are_the_specifications_with_shocks_of_known_factors() -> None:
    told = definitions.scenarios()
    assert [scenario.name for scenario in told] == [
        "Market Up 10%",
        "Market Down 10%",
        "Rates Up 0.25%",
        "Rates Down 0.25%",
        "Oil Up 5%",
        "Oil Down 5%",
        "2008 Financial Crisis",
        "COVID-19 Crash",
    ]
    assert [scenario.sort_order for scenario in told] == list(range(1, 9))
    known = {factor.name for factor in definitions.factors()}
    assert all(scenario.shocks and set(scenario.shocks) <= known for scenario in told)
    assert told[3].shocks_of(["rates", "oil"]) == {"rates": -0.0025}


@pytest.mark.parametrize("scenario", definitions.scenarios()[6:], ids=lambda scenario: scenario.name)
def test_what_has_happened_says_when_from_what_to_what_and_who_says_so(scenario: definitions.Scenario) -> None:
    assert scenario.first_day is not None
    assert scenario.last_day is not None
    assert scenario.first_day < scenario.last_day
    units = {factor.name: factor.unit for factor in definitions.factors()}
    for name, each in scenario.shocks.items():
        assert each.source
        assert each.start is not None
        assert each.end is not None
        moved = each.end - each.start if units[name] == "change" else each.end / each.start - 1
        assert each.shock == pytest.approx(moved, abs=0.006 if "rounded" in each.source else 0.0001)


def test_a_scenario_that_shocks_nothing_of_a_book_is_refused() -> None:
    with pytest.raises(ImpossibleShocks, match="Oil Up 5% shocks oil"):
        definitions.scenarios()[4].shocks_of(["market_beta"])
