"""Ruin: known probabilities are met, the live rules are the engine's own, and the same seed gives the same bits."""

from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from core.decide.entry import drawdown_factor
from core.settings import Drawdown
from risk.analytics.refusals import NotFinite, OutOfRange, TooFewObservations, WrongShape
from risk.analytics.ruin import BLOCK, Ruin, as_traded, live_rule, simulate


def run(trades: object = (-1.0, 1.0), **changed: object) -> Ruin:
    given_ones = {
        "rule": as_traded,
        "initial_equity": 10.0,
        "ruin_equity": 0.0,
        "trades_per_path": 50,
        "paths": 40_000,
        "seed": 1,
        **changed,
    }
    return simulate(trades, given_ones.pop("rule"), **given_ones)


@pytest.mark.parametrize("chance, barrier", [(0.5, 10), (0.5, 5), (0.4, 10)])
def test_ruin_of_a_random_walk_is_as_likely_as_it_is(chance: float, barrier: int) -> None:
    trades = [1.0] * round(chance * 10) + [-1.0] * round((1 - chance) * 10)
    found = run(trades, ruin_equity=10.0 - barrier)
    assert found.probability == pytest.approx(_exact(chance, barrier, 50), abs=5 * found.standard_error)


@pytest.mark.parametrize("barrier", [1, 5, 10, 25])
def test_the_sum_over_walks_is_what_the_reflection_principle_says(barrier: int) -> None:
    """P(a fair walk reaches -a within n steps) = P(S_n <= -a) + P(S_n < -a)."""
    wins = stats.binom(50, 0.5)
    known = wins.cdf((50 - barrier) // 2) + wins.cdf((50 - barrier - 1) // 2)
    assert _exact(0.5, barrier, 50) == pytest.approx(known)


def _exact(chance: float, barrier: int, steps: int) -> float:
    """By adding up all walks, step by step; what has reached the barrier stays there."""
    standing = np.zeros(steps + barrier + 1)
    standing[barrier] = 1.0
    for _ in range(steps):
        moved = np.zeros_like(standing)
        moved[2:] += standing[1:-1] * chance
        moved[:-1] += standing[1:] * (1 - chance)
        moved[0] += standing[0]
        standing = moved
    return float(standing[0])


def test_the_same_seed_gives_the_same_bits_and_another_one_others() -> None:
    first, again, other = (run(paths=BLOCK + 10, seed=seed) for seed in (7, 7, 8))
    assert first.final_equity.tobytes() == again.final_equity.tobytes()
    assert first.max_drawdown.tobytes() == again.max_drawdown.tobytes()
    assert first.final_equity.tobytes() != other.final_equity.tobytes()


def test_more_paths_begin_with_the_same_ones() -> None:
    few, more = run(paths=BLOCK, seed=3), run(paths=2 * BLOCK, seed=3)
    assert (few.final_equity == more.final_equity[:BLOCK]).all()


def test_a_blocks_order_is_kept() -> None:
    # One loss in four, never two in a row: single draws put them together, blocks of four do not.
    trades = [1.0, 1.0, 1.0, -1.0] * 5
    assert run(trades, block=20, trades_per_path=20, paths=500).max_drawdown.max() == 1
    assert run(trades, block=1, trades_per_path=20, paths=500).max_drawdown.max() > 2
    assert run(trades, block=20, trades_per_path=20, paths=500).final_equity.tolist() == [20.0] * 500


def test_one_kind_of_trade_has_one_future() -> None:
    levels = Drawdown()
    rising = run([1.0, 1.0], rule=live_rule(1.0, levels), trades_per_path=100, paths=3, initial_equity=1e6)
    assert rising.final_equity == pytest.approx(1e6 * 1.01**100)
    assert rising.max_drawdown.tolist() == rising.max_drawdown_percent.tolist() == [0, 0, 0]
    assert (rising.probability, rising.stopped, rising.standard_error) == (0, 0, 0)


def test_losses_alone_end_where_base_entries_end() -> None:
    found = run([-1.0, -1.0], rule=live_rule(1.0, Drawdown()), trades_per_path=100, paths=2, initial_equity=1e6)
    equity = 1e6
    while 1e6 - equity < 1e5:
        equity -= equity * 0.01 * (1.0 if 1e6 - equity < 5e4 else 0.75)
    assert found.final_equity == pytest.approx(equity)
    assert found.stopped == 1
    assert found.max_drawdown_percent == pytest.approx((1e6 - equity) / 1e4)
    further = run(
        [-1.0, -1.0], rule=live_rule(1.0, Drawdown(), pyramids=True), trades_per_path=100, paths=2, initial_equity=1e6
    )
    assert further.max_drawdown_percent[0] > 15
    assert further.max_drawdown_percent[0] < 15.5


def test_a_ruined_path_trades_no_more() -> None:
    found = run([-3.0, -3.0], initial_equity=10.0, ruin_equity=2.0, paths=4)
    assert found.probability == 1
    assert found.final_equity.tolist() == [1.0] * 4
    assert found.stopped == 0


@given(st.decimals(1, 2_000_000, places=2), st.decimals(1, 2_000_000, places=2), st.booleans())
def test_the_live_rules_are_the_engines_own(closed: Decimal, other: Decimal, pyramids: bool) -> None:
    high, equity, levels = max(closed, other), min(closed, other), Drawdown()
    drawdown = (high - equity) * 100 / high
    ends = drawdown > levels.block_above_percent or (not pyramids and drawdown >= levels.restrict_from_percent)
    factor = Decimal(0) if ends else drawdown_factor(drawdown, levels)
    rule = live_rule(1.5, levels, pyramids=pyramids)
    assert rule(np.array([float(equity)]), np.array([float(high)]))[0] == pytest.approx(float(equity * factor) * 0.015)


def test_at_the_limits_the_rules_are_exact() -> None:
    equity = np.array([100.0, 95.01, 95.0, 90.0, 85.0, 84.99, 0.0, -5.0])
    high = np.full(8, 100.0)
    pyramids = live_rule(1.0, Drawdown(), pyramids=True)(equity, high)
    assert pyramids == pytest.approx([1.0, 0.9501, 0.95 * 0.75, 0.9 * 0.5, 0.85 * 0.5, 0, 0, 0])
    assert live_rule(1.0, Drawdown())(equity, high)[3:].tolist() == [0] * 5


def test_only_whole_lots_are_bought() -> None:
    rule = live_rule(1.0, Drawdown(), risk_per_lot=12_500.0)
    assert rule(np.array([5e6, 1.2e6, 3.7e6]), np.array([5e6, 1.2e6, 3.7e6])).tolist() == [50_000, 0, 25_000]


@given(st.integers(0, 1_000), st.integers(1, 5))
def test_drawdowns_are_never_below_what_was_lost_in_the_end(seed: int, block: int) -> None:
    found = run([-2.0, 1.0, 3.0, -1.0, 0.5], seed=seed, block=block, paths=50, initial_equity=1_000.0)
    assert (found.max_drawdown >= 1_000 - found.final_equity - 1e-9).all()
    assert (found.max_drawdown >= 0).all()
    table = found.quantiles((0.0, 0.5, 1.0))
    assert table.loc[1.0, "max_drawdown"] == found.max_drawdown.max()
    assert table.columns.to_list() == ["final_equity", "max_drawdown", "max_drawdown_percent"]


def test_bad_input_is_refused_by_name() -> None:
    with pytest.raises(TooFewObservations, match="1 observations; 2 are needed"):
        run([1.0])
    with pytest.raises(TooFewObservations, match="2 observations; 3 are needed"):
        run(block=3)
    with pytest.raises(NotFinite, match="trades"):
        run([1.0, np.nan])
    for name, value in (("ruin_equity", 10.0), ("ruin_equity", -1.0), ("initial_equity", 0.0), ("paths", 0), ("seed", -1),
                        ("trades_per_path", 0), ("block", 0)):  # fmt: skip
        with pytest.raises(OutOfRange, match=name):
            run(**{name: value})
    with pytest.raises(WrongShape, match="rule"):
        run(rule=lambda *_: np.ones(3))
    with pytest.raises(OutOfRange, match="rule"):
        run(rule=lambda equity, _: -equity)
    with pytest.raises(OutOfRange, match="risk_percent"):
        live_rule(0, Drawdown())
    with pytest.raises(OutOfRange, match="risk_per_lot"):
        live_rule(1, Drawdown(), risk_per_lot=0)
