"""Closed trades in R: of what was risked at the entry; what has no R says why."""

from decimal import Decimal
from typing import Any

import pandas as pd
import pytest
from hypothesis import given as any_of
from hypothesis import strategies as st

from core.decide import decide
from core.events import PositionExited
from core.models import Position
from core.settings import Drawdown
from risk.analytics.refusals import LabelsDiffer
from risk.analytics.ruin import live_rule, simulate
from risk.what_if.positions import Tags
from risk.what_if.refusals import NoRisk
from risk.what_if.trades import by_tag, r_of_trades, risk_at_entry
from tests.builders import a_portfolio, a_position, a_signal, after, given, minutes


def closed(position_id: str = "GOLD_MINI-Long_1-abc", pnl: Any = 15_000, **changed: Any) -> Position:
    """Two lots of GOLD_MINI from 72000, stop 71500: 10,000 were risked."""
    fields = {"lots": 0, "realized_pnl": Decimal(pnl), "exit_timestamp": minutes(10), **changed}
    return a_position(position_id, **fields)


def test_r_is_what_was_earned_by_what_was_risked() -> None:
    trades = r_of_trades(
        [
            closed("b", pnl=-10_500, exit_timestamp=minutes(30)),
            closed("c", layer="Short_1", initial_stop=Decimal(72_250), pnl=2_500, exit_timestamp=minutes(20)),
            closed("a", entry_lots=4, pnl=60_000),
        ]
    )
    assert trades.r.to_dict() == {"a": 3.0, "c": 0.5, "b": -1.05}
    assert [one.risk for one in trades.trades] == [20_000, 5_000, 10_000]
    assert trades.without == {}


def test_what_was_sold_in_parts_and_whose_stop_has_moved_is_of_its_entry() -> None:
    (one,) = r_of_trades([closed(entry_lots=3, current_stop=Decimal(73_000), pnl=7_500)]).trades
    assert (one.risk, one.r) == (15_000, 0.5)


def test_the_engines_own_closed_trades_have_r() -> None:
    opened = after(a_portfolio(), a_signal())
    signal = a_signal("EXIT", price=52_700, timestamp=minutes(60))
    decision = decide(opened, given(signal), minutes(61))
    assert any(isinstance(event, PositionExited) for event in decision.events)
    (one,) = r_of_trades(decision.portfolio.closed.values()).trades
    assert (one.risk, one.pnl, one.r) == (2 * 350 * 30, 2 * 700 * 30, 2.0)


@pytest.mark.parametrize(
    "position, words",
    [
        (a_position(), "still open"),
        (closed(initial_stop=None), "no initial stop"),
        (closed(initial_stop=Decimal(72_500)), "its stop 72500 is not behind its entry 72000"),
        (closed(initial_stop=Decimal(72_000)), "is not behind its entry"),
        (closed(rollover_count=1), "rolled: its first entry and stop are not told"),
    ],
)
def test_what_has_no_r_says_why_and_is_not_left_out(position: Position, words: str) -> None:
    told = r_of_trades([position, closed("other")])
    assert list(told.r.index) == ["other"]
    assert words in told.without[position.position_id]


def test_a_rolled_trade_is_of_its_first_entry() -> None:
    rolled = closed(rollover_count=2, entry_price=Decimal(73_000), initial_stop=Decimal(72_700), pnl=5_000)
    told = r_of_trades([rolled], as_entered={rolled.position_id: a_position()})
    assert told.r.to_dict() == {rolled.position_id: 0.5}
    with pytest.raises(NoRisk, match="as entered it is other"):
        risk_at_entry(rolled, a_position("other"))
    with pytest.raises(NoRisk, match="rolled"):
        risk_at_entry(rolled, rolled)


def test_a_position_is_there_once() -> None:
    with pytest.raises(LabelsDiffer, match="more than once"):
        r_of_trades([closed(), closed()])


def test_ruin_is_drawn_from_them() -> None:
    trades = r_of_trades([closed("a"), closed("b", pnl=-10_000), closed("c", pnl=-10_000)])
    found = simulate(
        trades.r, live_rule(1.0, Drawdown()), initial_equity=5e6, ruin_equity=4e6, trades_per_path=20, paths=100, seed=1
    )
    assert 0 <= found.probability <= 1


def test_trades_are_told_by_tag_and_by_strategy() -> None:
    trades = r_of_trades(
        [closed("a", strategy_id="trend"), closed("b", pnl=-10_000), closed("c", pnl=0)],
        tags={"a": Tags(regular=("core", "x")), "b": Tags(regular=("core",), strategy=("trend", "trend"))},
    )
    table = by_tag(trades.trades)
    assert table.index.to_list() == [("all", ""), ("regular", "core"), ("regular", "x"), ("strategy", "trend")]
    assert table.loc[("all", "")].to_dict() == {
        "trades": 3,
        "won": 1,
        "mean_r": pytest.approx(0.5 / 3),
        "total_r": 0.5,
        "gained_r": 1.5,
        "lost_r": -1.0,
        "best_r": 1.5,
        "worst_r": -1.0,
    }
    assert table.loc[("strategy", "trend"), "total_r"] == 0.5
    assert table.loc[("regular", "x"), "trades"] == 1
    assert by_tag([]).empty


@any_of(st.lists(st.tuples(st.integers(-(10**6), 10**6), st.sampled_from(("core", "hedge"))), min_size=1, max_size=8))
def test_one_tag_each_adds_up_to_all(drawn: list[tuple[int, str]]) -> None:
    positions = [closed(f"p{number}", pnl=pnl) for number, (pnl, _) in enumerate(drawn)]
    tags = {f"p{number}": Tags(regular=(tag,)) for number, (_, tag) in enumerate(drawn)}
    table = by_tag(r_of_trades(positions, tags=tags).trades)
    sums = table.loc["regular"][["trades", "won", "total_r", "gained_r", "lost_r"]].sum()
    pd.testing.assert_series_equal(
        sums.astype(float), table.loc[("all", ""), sums.index].astype(float), check_names=False, rtol=1e-9, atol=1e-9
    )
