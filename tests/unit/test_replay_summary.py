"""A replay's figures: worked by hand, at the edges, and against a naive model."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal, localcontext
from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.models import Side
from live.replay.model import OpenTrade, ReplayResult, Trade
from live.replay.summary import Summary, equity_curve, monthly_returns, summarise

START = datetime(2024, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)


def on(day: float) -> datetime:
    return START + timedelta(days=day)


def a_trade(
    net_pnl: str | int | Decimal,
    entered: float = 0,
    left: float = 1,
    risk: str | int | Decimal | None = None,
    instrument: str = "BANK_NIFTY",
    number: int = 1,
) -> Trade:
    return Trade(
        number=number,
        instrument=instrument,
        layer="Long_1",
        side=Side.LONG,
        lots=2,
        entry_time=on(entered),
        entry_price=Decimal(52000),
        exit_time=on(left),
        exit_price=Decimal(52100),
        net_pnl=Decimal(net_pnl),
        initial_risk=None if risk is None else Decimal(risk),
    )


def an_open_trade(entered: float) -> OpenTrade:
    return OpenTrade(
        instrument="BANK_NIFTY",
        layer="Long_1",
        side=Side.LONG,
        lots=2,
        entry_time=on(entered),
        entry_price=Decimal(52000),
        mark_price=Decimal(52100),
        unrealized_pnl=Decimal("6900.5"),
    )


def a_result(
    *trades: Trade, capital: int | str = 1000, days: float = 10, still_open: tuple[OpenTrade, ...] = ()
) -> ReplayResult:
    return ReplayResult(
        capital=Decimal(capital),
        trades=trades,
        open_trades=still_open,
        started_at=START,
        ended_at=on(days),
        signals=2 * len(trades),
        outcomes={"executed": 2 * len(trades)},
    )


def summary_of(*trades: Trade, capital: int | str = 1000, days: float = 10) -> Summary:
    return summarise(a_result(*trades, capital=capital, days=days))


# --- by hand


def test_four_trades_come_to_the_figures_worked_by_hand() -> None:
    summary = summary_of(
        a_trade(200, 0, 1, risk=100, number=1),
        a_trade(-300, 2, 3, risk=150, number=2),
        a_trade(-100, 4, 5, number=3),
        a_trade(500, 6, 8, risk=200, number=4),
    )
    assert (summary.trades, summary.won, summary.lost, summary.win_rate) == (4, 2, 2, 50)
    assert (summary.net_pnl, summary.final_equity, summary.expectancy) == (300, 1300, 75)
    assert summary.expectancy_r == Decimal("0.833333")  # (2 - 2 + 2.5) / 3
    assert summary.profit_factor == Decimal("1.75")
    assert (summary.average_win, summary.average_loss) == (350, -200)
    assert summary.max_drawdown == 400
    assert summary.max_drawdown_percent == Decimal("33.333333")
    assert summary.best is not None
    assert summary.worst is not None
    assert (summary.best.number, summary.worst.number, summary.longest_losing_streak) == (4, 2, 2)
    assert (summary.exposure, summary.longest_flat) == (50, 2 * DAY)


def test_the_deepest_fall_in_per_cent_may_be_another_than_in_money() -> None:
    summary = summary_of(a_trade(-400), a_trade(9400), a_trade(-1000))
    assert (summary.max_drawdown, summary.max_drawdown_percent) == (1000, 40)


def test_a_first_loss_falls_from_the_capital() -> None:
    assert summary_of(a_trade(-50)).max_drawdown == 50


def test_equity_below_zero_is_a_fall_of_more_than_all() -> None:
    summary = summary_of(a_trade(-1500), days=800)
    assert (summary.max_drawdown_percent, summary.final_equity, summary.cagr) == (150, -500, None)


def test_a_trade_that_broke_even_is_neither_won_nor_lost_and_ends_a_losing_streak() -> None:
    summary = summary_of(a_trade(-1), a_trade(0), a_trade(-1))
    assert (summary.won, summary.lost, summary.longest_losing_streak) == (0, 2, 1)


def test_of_equal_trades_the_earlier_is_best_and_worst() -> None:
    summary = summary_of(a_trade(5, number=1), a_trade(5, number=2))
    assert summary.best is summary.worst
    assert summary.best is not None
    assert summary.best.number == 1


@pytest.mark.parametrize("risk", [None, 0, -10])
def test_a_trade_without_a_risk_has_no_multiple(risk: int | None) -> None:
    assert summary_of(a_trade(100, risk=risk)).expectancy_r is None


# --- growth a year


def test_capital_doubled_in_two_years_grew_by_the_square_root_of_two() -> None:
    assert summary_of(a_trade(1000), days=730.5).cagr == Decimal("41.421356")


def test_a_year_of_365_days_has_a_rate() -> None:
    assert summary_of(a_trade(100), days=365).cagr == Decimal("10.007181")  # 1.1 ^ (365.25 / 365)


def test_less_than_a_year_has_no_rate() -> None:
    assert summary_of(a_trade(100), days=364.99).cagr is None


@pytest.mark.parametrize("loss", [-1000, -1001])
def test_all_lost_has_no_rate(loss: int) -> None:
    assert summary_of(a_trade(loss), days=800).cagr is None


# --- time in the market


def test_overlapping_layers_are_one_time_in_the_market() -> None:
    summary = summary_of(a_trade(1, 1, 4), a_trade(1, 2, 3), a_trade(1, 3.5, 5))
    assert (summary.exposure, summary.longest_flat) == (40, 5 * DAY)


def test_an_entry_at_the_time_of_an_exit_leaves_no_gap() -> None:
    assert summary_of(a_trade(1, 0, 5), a_trade(1, 5, 10)).longest_flat == timedelta()


def test_the_time_before_the_first_entry_is_flat() -> None:
    assert summary_of(a_trade(1, 7, 9)).longest_flat == 7 * DAY


def test_an_open_trade_is_in_the_market_to_the_end_and_counted_nowhere_else() -> None:
    summary = summarise(a_result(a_trade(10, 0, 1), still_open=(an_open_trade(6),)))
    assert (summary.trades, summary.net_pnl, summary.open, summary.unrealized_pnl) == (1, 10, 1, Decimal("6900.5"))
    assert (summary.exposure, summary.longest_flat) == (50, 5 * DAY)


# --- edges


def test_no_trades_have_no_means_and_no_drawdown() -> None:
    summary = summary_of(days=400)
    assert (summary.trades, summary.net_pnl, summary.final_equity) == (0, 0, 1000)
    assert (summary.max_drawdown, summary.max_drawdown_percent, summary.cagr, summary.exposure) == (0, 0, 0, 0)
    undefined = (summary.win_rate, summary.expectancy, summary.expectancy_r, summary.profit_factor)
    assert undefined == (None, None, None, None)
    assert (summary.average_win, summary.average_loss, summary.best, summary.worst) == (None, None, None, None)
    assert summary.longest_flat == 400 * DAY
    assert summary.by_year == summary.by_instrument == ()


def test_open_trades_only_have_no_result_but_were_in_the_market() -> None:
    summary = summarise(a_result(still_open=(an_open_trade(0),)))
    assert (summary.trades, summary.final_equity, summary.exposure, summary.longest_flat) == (0, 1000, 100, timedelta())


def test_a_replay_of_one_moment_has_no_exposure() -> None:
    assert summary_of(a_trade(5, 0, 0), days=0).exposure is None


def test_all_won_has_no_profit_factor_and_no_average_loss() -> None:
    summary = summary_of(a_trade(5), a_trade(7))
    assert (summary.win_rate, summary.profit_factor, summary.average_loss, summary.max_drawdown) == (100, None, None, 0)


def test_all_lost_has_a_profit_factor_of_zero() -> None:
    summary = summary_of(a_trade(-5), a_trade(-7))
    assert (summary.win_rate, summary.profit_factor, summary.average_win) == (0, 0, None)
    assert (summary.max_drawdown, summary.longest_losing_streak) == (12, 2)


def test_without_capital_nothing_is_told_in_per_cent() -> None:
    summary = summary_of(a_trade(-5), capital=0, days=800)
    assert (summary.max_drawdown, summary.max_drawdown_percent, summary.cagr) == (5, None, None)
    assert summary.by_year[0].return_percent is None


def test_the_threads_decimal_context_changes_nothing() -> None:
    result = a_result(a_trade("123456789.1234"), a_trade("-98765432.9876", risk="33333.3333"), days=800)
    expected = summarise(result)
    with localcontext(prec=4):
        assert summarise(result) == expected
        curve = equity_curve(result)
    assert str(curve[-1].equity) == "24692356.1358"


# --- by year, instrument and month


def test_a_year_starts_from_the_equity_it_began_with() -> None:
    first, second = summary_of(a_trade(500, 0, 10), a_trade(-300, 370, 380), days=400).by_year
    assert (first.name, first.opening_equity, first.return_percent, first.max_drawdown) == ("2024", 1000, 50, 0)
    assert (second.name, second.opening_equity, second.return_percent) == ("2025", 1500, -20)
    assert (second.max_drawdown, second.max_drawdown_percent) == (300, 20)


def test_a_trade_counts_in_the_year_of_its_exit() -> None:
    assert [group.name for group in summary_of(a_trade(1, 0, 366), days=400).by_year] == ["2025"]


def test_each_instrument_is_taken_alone_from_the_capital() -> None:
    gold, nifty = summary_of(
        a_trade(-100, instrument="NIFTY"), a_trade(200, instrument="GOLD"), a_trade(-100, instrument="NIFTY")
    ).by_instrument
    assert (gold.name, gold.trades, gold.net_pnl, gold.max_drawdown) == ("GOLD", 1, 200, 0)
    assert (nifty.name, nifty.trades, nifty.return_percent, nifty.max_drawdown) == ("NIFTY", 2, -20, 200)


def test_a_month_without_an_exit_returned_nothing_and_every_month_is_there() -> None:
    months = monthly_returns(a_result(a_trade(100, 0, 5), a_trade(-110, 60, 65), days=100))
    assert [(month.month, month.net_pnl, month.return_percent) for month in months] == [
        (1, 100, 10),
        (2, 0, 0),
        (3, -110, -10),
        (4, 0, 0),
    ]


def test_the_months_of_two_years_follow_each_other() -> None:
    months = [(month.year, month.month) for month in monthly_returns(a_result(days=400))]
    assert months == [*((2024, month) for month in range(1, 13)), (2025, 1), (2025, 2)]


# --- against a naive model


@st.composite
def results(draw: st.DrawFn) -> ReplayResult:
    trades = []
    for number in range(draw(st.integers(0, 8))):
        entered = draw(st.integers(0, 900))
        left = draw(st.integers(entered, 900))
        trades.append(
            a_trade(
                draw(st.decimals(-5000, 5000, places=4)),
                entered,
                left,
                draw(st.none() | st.decimals(-10, 5000, places=4)),
                draw(st.sampled_from(["GOLD", "NIFTY"])),
                number,
            )
        )
    still_open = tuple(an_open_trade(entered) for entered in draw(st.lists(st.integers(0, 900), max_size=2)))
    trades.sort(key=lambda trade: trade.exit_time)
    return a_result(*trades, capital=10000, days=900, still_open=still_open)


def near(value: Decimal | None, exact: Fraction | None, decimals: int) -> bool:
    """The exact figure, rounded to so many decimals."""
    if value is None or exact is None:
        return value is None and exact is None
    return abs(Fraction(value) - exact) <= Fraction(1, 2 * 10**decimals)


def mean(values: list[Fraction]) -> Fraction | None:
    return sum(values, Fraction(0)) / len(values) if values else None


@given(results())
def test_money_and_ratios_are_those_of_a_naive_model(result: ReplayResult) -> None:
    summary = summarise(result)
    net = [Fraction(trade.net_pnl) for trade in result.trades]
    wins, losses = [pnl for pnl in net if pnl > 0], [pnl for pnl in net if pnl < 0]
    assert Fraction(summary.net_pnl) == sum(net)
    assert near(summary.expectancy, mean(net), 4)
    assert near(summary.average_win, mean(wins), 4)
    assert near(summary.average_loss, mean(losses), 4)
    assert near(summary.win_rate, Fraction(100 * len(wins), len(net)) if net else None, 6)
    assert near(summary.profit_factor, sum(wins) / -sum(losses) if losses else None, 6)
    risks = [trade for trade in result.trades if trade.initial_risk is not None and trade.initial_risk > 0]
    multiples = [Fraction(trade.net_pnl) / Fraction(trade.initial_risk or 1) for trade in risks]
    assert near(summary.expectancy_r, mean(multiples), 6)


@given(results())
def test_the_drawdown_is_the_largest_fall_between_any_two_points_of_equity(result: ReplayResult) -> None:
    equity = [Fraction(result.capital)]
    for trade in result.trades:
        equity.append(equity[-1] + Fraction(trade.net_pnl))
    falls = [earlier - later for i, earlier in enumerate(equity) for later in equity[i:]]
    highs = [max(equity[: i + 1]) for i in range(len(equity))]
    summary = summarise(result)
    assert Fraction(summary.max_drawdown) == max(falls)
    percents = [100 * (high - now) / high for now, high in zip(equity, highs, strict=True)]
    assert near(summary.max_drawdown_percent, max(percents), 6)


@given(results())
def test_the_time_in_the_market_is_that_of_counting_days(result: ReplayResult) -> None:
    spans = [(trade.entry_time, trade.exit_time) for trade in result.trades]
    spans += [(trade.entry_time, result.ended_at) for trade in result.open_trades]
    busy = [any(begin <= on(day) < end for begin, end in spans) for day in range(900)]
    touched = {on(day) for day in range(901) if any(on(day) in span for span in spans)} | {on(0), on(900)}
    runs = [
        later - earlier for earlier, later in pairwise(sorted(touched)) if not busy[(earlier - START) // DAY]
    ]  # between two marks all days are alike
    summary = summarise(result)
    assert near(summary.exposure, Fraction(100 * sum(busy), 900), 6)
    assert summary.longest_flat == max(runs, default=timedelta())


@given(results())
def test_years_and_instruments_each_sum_to_the_whole(result: ReplayResult) -> None:
    summary = summarise(result)
    for groups in (summary.by_year, summary.by_instrument):
        assert sum(group.trades for group in groups) == summary.trades
        assert sum(group.net_pnl for group in groups) == summary.net_pnl
    assert sum(month.net_pnl for month in monthly_returns(result)) == summary.net_pnl
    assert equity_curve(result)[-1].equity == summary.final_equity
