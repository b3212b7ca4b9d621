"""Stop and ATR of an entry that has none of its own: of the instrument's last bar, found when the entry is decided."""

from collections.abc import Callable
from decimal import Decimal

from msgspec import UNSET
from msgspec.structs import replace

from core.decide.decision import Decision, Draft, rejected
from core.decide.timing import duration
from core.events import BarKept
from core.models import PRICE_LIMIT, Signal
from core.numbers import figure, price, product
from core.portfolio import Portfolio
from core.position_sizer import Figures


def keep_bar(draft: Draft, signal: Signal, atr: Decimal) -> None:
    """Note a bar's ATR (points) where the settings keep it; one that is not the newest tells nothing."""
    if not draft.portfolio.settings.bars.keep_atr:
        return
    known = draft.portfolio.pyramiding_of(signal.instrument).last_bar_time
    if known is UNSET or signal.bar > known:
        draft.apply(BarKept(instrument=signal.instrument, atr=atr, time=signal.bar))


def with_last_bar(portfolio: Portfolio, signal: Signal, decided: Callable[[Signal], Decision]) -> Decision:
    """What `decided` makes of the entry once it has its stop and ATR; the outcome's figures tell them.

    An entry that has both costs nothing. Rejected where there is no bar, where it is too old, and where no such stop can be.
    """
    if signal.atr_max_age_seconds is UNSET and signal.stop_atr is UNSET:
        return decided(signal)
    figures: Figures = {}
    if signal.atr is None:
        row, most = portfolio.pyramiding_of(signal.instrument), signal.atr_max_age_seconds
        if row.last_bar_time is UNSET or row.last_bar_atr is UNSET or most is UNSET:
            return rejected(portfolio, "no bar's atr is kept")
        age = signal.bar - row.last_bar_time
        figures["atr_age_seconds"] = round(age.total_seconds())
        if age > duration(most):
            return rejected(portfolio, "the last bar's atr is too old", **figures, atr_max_age_seconds=figure(most))
        signal = replace(signal, atr=row.last_bar_atr)
    stop = _stop(signal)
    figures |= {name: figure(value) for name, value in (("atr", signal.atr), ("stop", stop)) if value is not None}
    if stop is not None and not 0 < stop < PRICE_LIMIT:
        return rejected(portfolio, "no stop is so far from the price", **figures)
    decision = decided(replace(signal, stop=stop))
    return replace(decision, outcome=replace(decision.outcome, sizing={**decision.outcome.sizing, **figures}))


def _stop(signal: Signal) -> Decimal | None:
    if signal.stop is not None or signal.stop_atr is UNSET or signal.atr is None:
        return signal.stop
    exact = signal.price - signal.side.sign * product(signal.stop_atr, signal.atr)
    return price(exact) if abs(exact) < PRICE_LIMIT else exact
