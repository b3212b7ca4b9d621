"""Value at risk beside what came of it: a bar of P&L for each day, the line that was foreseen, a mark where it was passed."""

from collections.abc import Mapping, Sequence
from datetime import date
from math import ceil, floor, log10
from typing import Any

from msgspec import Struct

from live.dashboard.words import count, money, short_amount

HEIGHT = 300
TOP, BOTTOM = 14, 30
_TICKS = 5
# What is nearer to each other than this is one amount.
_LEAST_SPAN = 1e-12
_DATES = 6
_MONTHS_FROM = 45
# A likelihood that is smaller than this says that the model is not as it should be.
SIGNIFICANT = 0.05
# The height of a mark and its distance from the bar.
_MARK = 5


class Column(Struct, frozen=True, kw_only=True):
    """A day, at `x` of as many units as there are days: its bar from `y` down, and what is said of it."""

    x: int
    y: str
    height: str
    is_breach: bool
    title: str


class Tick(Struct, frozen=True, kw_only=True):
    """A line or a mark at a place, in pixels down or per cent to the right, with its label."""

    at: str
    label: str
    y: str = ""


class Plot(Struct, frozen=True, kw_only=True):
    """The chart, HEIGHT high and as wide as there is room: lengths to the right are days or per cent."""

    columns: list[Column]
    line: str
    zero: str
    breaches: list[Tick]
    amounts: list[Tick]
    dates: list[Tick]
    words: str


class Verdict(Struct, frozen=True, kw_only=True):
    """What a test says, in words; `is_wrong` where it is against the model."""

    name: str
    text: str
    is_wrong: bool


def plot_of(days: Sequence[Mapping[str, Any]]) -> Plot | None:
    """The chart of what risk.reckoned.value_at_risk_days tells; None where nothing was compared."""
    told = [day for day in days if day["breach"] is not None]
    if not told:
        return None
    amounts = ticks(
        min(min(day["pnl"], -day["value_at_risk"], 0.0) for day in told), max(max(day["pnl"], 0.0) for day in told)
    )
    low, high = amounts[0], amounts[-1]

    def down(value: float) -> float:
        return TOP + (high - value) / (high - low) * (HEIGHT - TOP - BOTTOM)

    columns = [
        Column(
            x=place,
            y=f"{down(max(day['pnl'], 0.0)):.2f}",
            height=f"{max(0.75, abs(down(day['pnl']) - down(0.0))):.2f}",
            is_breach=day["breach"],
            title=f"{day['day']}: P&L {money(day['pnl'], signed=True)}, value at risk {money(day['value_at_risk'])}"
            f"{', a breach' if day['breach'] else ''}",
        )
        for place, day in enumerate(days)
        if day["breach"] is not None
    ]
    return Plot(
        columns=columns,
        line=_line(days, down),
        zero=f"{down(0.0):.2f}",
        breaches=[
            Tick(
                at=f"{(place + 0.5) / len(days):.3%}",
                y=f"{min(down(day['pnl']) + _MARK, HEIGHT - BOTTOM - 1):.2f}",
                label=str(day["day"]),
            )
            for place, day in enumerate(days)
            if day["breach"]
        ],
        amounts=[Tick(at=f"{down(value):.2f}", label=short_amount(value)) for value in amounts],
        dates=_dates([day["day"] for day in days]),
        words=_words(told),
    )


def ticks(low: float, high: float) -> list[float]:
    """Round amounts from below the lowest one to above the highest, about five of them."""
    span = high - low if high - low > _LEAST_SPAN else 1.0
    size = 10.0 ** floor(log10(span / _TICKS))
    step = next(each * size for each in (1, 2, 5, 10) if each * size >= span / _TICKS * (1 - 1e-9))
    first, last = floor(low / step + 1e-9), ceil(high / step - 1e-9)
    return [place * step for place in range(first, max(last, first + 1) + 1)]


def _line(days: Sequence[Mapping[str, Any]], down: Any) -> str:
    """Steps along what was foreseen, interrupted where nothing was."""
    parts: list[str] = []
    is_open = False
    for place, day in enumerate(days):
        if day["value_at_risk"] is None:
            is_open = False
            continue
        y = f"{down(-day['value_at_risk']):.2f}"
        parts.append(f"{f'V{y}' if is_open else f'M{place} {y}'}H{place + 1}")
        is_open = True
    return "".join(parts)


def _dates(days: Sequence[date]) -> list[Tick]:
    """Of a few days some of them; else the first ones of months, the year where it is new."""
    if len(days) <= _MONTHS_FROM:
        places = list(range(len(days)))
    else:
        places = [place for place in range(1, len(days)) if days[place].month != days[place - 1].month]
    every = max(1, ceil(len(places) / _DATES))
    chosen = places[every // 2 :: every]
    told: list[Tick] = []
    for place, before in zip(chosen, [None, *chosen], strict=False):
        is_new = before is None or days[before].year != days[place].year
        label = f"{days[place]:%-d %b}" if len(days) <= _MONTHS_FROM else f"{days[place]:{'%b %Y' if is_new else '%b'}}"
        told.append(Tick(at=f"{(place + 0.5) / len(days):.3%}", label=label))
    return told


def _words(told: Sequence[Mapping[str, Any]]) -> str:
    found = sum(1 for day in told if day["breach"])
    worst = min(told, key=lambda day: day["pnl"])
    return (
        f"{count(len(told), 'day')} from {told[0]['day']} to {told[-1]['day']}: {count(found, 'breach', 'breaches')}. "
        f"The worst day was {worst['day']}, {money(worst['pnl'], signed=True)}, with {money(worst['value_at_risk'])} foreseen."
    )


def verdicts_of(tests: Mapping[str, Any] | None) -> list[Verdict]:
    """What Kupiec's and Christoffersen's tests say, as the newest day of them knew it."""
    if tests is None:
        return []
    if "reason" in tests:
        return [Verdict(name="Tests", text=f"not yet: {tests['reason']}", is_wrong=False)]
    breaches, expected = tests["breaches"], tests["expected"]
    figures = f"{breaches:.0f} of {count(int(tests['observations']), 'day')}, {expected:.1f} were to be expected"
    more = "more" if breaches > expected else "fewer"
    return [
        _verdict(
            "How many (Kupiec)",
            tests["kupiec"],
            f"{more} breaches than expected",
            "about as many breaches as expected",
            f" ({figures})",
        ),
        _verdict(
            "How spread (Christoffersen)",
            tests["independence"],
            "a breach depends on whether the day before was one",
            "nothing says that breaches come together",
        ),
        _verdict(
            "Both at once (Christoffersen)",
            tests["conditional_coverage"],
            "value at risk is not what it says",
            "value at risk may be what it says",
        ),
    ]


def _verdict(name: str, test: Mapping[str, float], wrong: str, right: str, more: str = "") -> Verdict:
    is_wrong = test["p_value"] < SIGNIFICANT
    return Verdict(
        name=name, text=f"{wrong if is_wrong else right}: {likelihood(test['p_value'])}{more}", is_wrong=is_wrong
    )


def likelihood(p_value: float) -> str:
    """`p = 0.03`; of small ones three decimals."""
    if p_value < 0.001:
        return "p < 0.001"
    return f"p = {p_value:.{3 if p_value < 0.01 else 2}f}"
