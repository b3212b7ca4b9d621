"""Before and after: differences add up, and what is not known on one side has none."""

from datetime import timedelta

import msgspec
import numpy as np
import pytest
from hypothesis import given as any_of
from hypothesis import settings as hypothesis_settings
from msgspec.structs import replace

from risk.what_if.changes import Add, Remove, Resize, apply
from risk.what_if.compare import Comparison, compare, comparison_from_json
from risk.what_if.measures import RiskInputs, measure
from risk.what_if.positions import Positions
from risk.what_if.refusals import MissingFigure, NotComparable
from tests.unit.risk.what_if import AT, COVARIANCE, a_position, an_option, gold, held, inputs, many, quick

QUICK = quick()


def compared(before: Positions, after: Positions) -> Comparison:
    return compare(measure(before, QUICK), measure(after, QUICK))


def test_a_removed_position_takes_its_measures_with_it() -> None:
    told = compared(held(), apply(held(), Remove(position_id="gold-1")))
    net = told.of("net")
    assert (net.before, net.after, net.difference) == (960_000, 3_120_000, 2_160_000)
    metals = told.of("short", "node", "Fund/Metals")
    assert (metals.before, metals.after, metals.difference) == (-2_160_000, 0, 2_160_000)
    assert told.of("exposure", "position", "gold-1").after == 0
    assert {row.label: row.difference for row in told.factor_exposures} == {"index": 0.0, "gold": 2_160_000.0}
    score = told.of("diversification_score")
    assert (score.after, score.difference, score.after_reason) == (None, None, "fewer than two things are held")
    assert score.before is not None


def test_an_added_option_brings_its_greeks() -> None:
    told = compared(held(), apply(held(), Add(position=an_option())))
    vega = told.of("vega_per_point", "underlying", "BANK_NIFTY")
    assert (vega.before, vega.difference) == (0, vega.after)
    assert vega.after > 0
    delta = told.of("delta", "underlying", "BANK_NIFTY")
    assert (delta.before, delta.difference) == (60, pytest.approx(delta.after - 60))


def test_what_was_not_measured_has_no_difference() -> None:
    with_scenarios, bare = measure(held(), inputs()), measure(held(), inputs(scenarios=()))
    for told, side in ((compare(with_scenarios, bare), "after"), (compare(bare, with_scenarios), "before")):
        for key in (("stress", "scenario", "Market Up 10%"), ("stress: Market Up 10%", "node", "Fund")):
            row = told.of(*key)
            assert (getattr(row, side), row.difference) == (None, None)
            assert getattr(row, f"{side}_reason") == "not measured"
    with pytest.raises(MissingFigure, match="no stress by scenario Boom"):
        compare(bare, bare).of("stress", "scenario", "Boom")
    one_factor = inputs(factor_covariance=COVARIANCE.loc[["gold"], ["gold"]])
    told = compare(with_scenarios, measure(held(gold()), one_factor))
    assert told.of("factor_exposure", "factor", "index").after_reason == "not measured"


def test_reasons_stand_where_figures_do_not() -> None:
    told = compared(held(), held(a_position(price=None), gold()))
    net = told.of("net")
    assert (net.before, net.after, net.difference, net.before_reason) == (960_000, None, None, None)
    assert net.after_reason == "bank-1: no price"


@pytest.mark.parametrize(
    "positions, changed, words",
    [
        (held(base="USD"), {}, "another base"),
        (held(), {"confidence": 0.9, "horizon": 2}, "another confidence and horizon"),
    ],
)
def test_measures_of_different_kinds_are_not_compared(positions: Positions, changed: dict, words: str) -> None:
    with pytest.raises(NotComparable, match=words):
        compare(measure(held(), inputs()), measure(positions, inputs(**changed)))


def test_a_comparison_is_json_without_what_json_has_not_and_a_frame() -> None:
    later = replace(held(gold()), as_of=AT + timedelta(days=1))
    told = compare(measure(held(), inputs()), measure(later, RiskInputs(confidence=0.95)))
    assert (told.before_as_of, told.after_as_of) == (AT, AT + timedelta(days=1))
    text = told.to_json()
    assert comparison_from_json(text) == told
    assert b"NaN" not in text
    assert msgspec.json.decode(text)["rows"][0]["measure"] == "long"
    frame = told.frame()
    assert len(frame) == len(told.rows)
    assert frame.loc[("net", "portfolio", ""), "difference"] == -3_120_000


@any_of(many())
def test_nothing_differs_from_itself(positions: Positions) -> None:
    assert {row.difference for row in compared(positions, positions).rows} <= {0.0, None}


@hypothesis_settings(max_examples=40)
@any_of(many(), many(), many())
def test_differences_add_up(first: Positions, second: Positions, third: Positions) -> None:
    whole = compared(first, third)
    one, two = by_key(compared(first, second)), by_key(compared(second, third))
    for row in whole.rows:
        steps = [part.get((row.measure, row.by, row.label), 0.0) for part in (one, two)]
        if row.difference is None or None in steps:
            continue
        size = 1e-9 * max(abs(row.before or 0), abs(row.after or 0), *(abs(step) for step in steps if step))
        np.testing.assert_allclose(sum(filter(None, steps)), row.difference, rtol=1e-9, atol=size)
        assert row.after == pytest.approx((row.before or 0) + row.difference, rel=1e-9, abs=size)


def by_key(told: Comparison) -> dict[tuple[str, str, str], float | None]:
    return {(row.measure, row.by, row.label): row.difference for row in told.rows}


@hypothesis_settings(max_examples=40)
@any_of(many(least=1))
def test_parts_differ_by_what_the_whole_does(positions: Positions) -> None:
    one = positions.held[0]
    changed = apply(positions, Resize(position_id=one.position_id, lots=abs(one.signed_quantity) + 1))
    told = compared(positions, changed)
    for name in ("exposure", "margin", "open_heat", "value"):
        parts = sum(row.difference or 0.0 for row in told.rows if (row.measure, row.by) == (name, "position"))
        whole = told.of("net" if name == "exposure" else name)
        scale = 1e-9 * (abs(whole.before or 0) + abs(whole.after or 0) + (told.of("gross").after or 0))
        np.testing.assert_allclose(parts, whole.difference, rtol=1e-9, atol=scale)
