"""Where margin and drawdown stand beside their levels: a state, told when it is another one than was told last."""

from collections.abc import Iterator
from enum import StrEnum

from msgspec import Struct

from core.notifications import Level
from core.numbers import ZERO
from core.portfolio import Portfolio, drawdown_percent, margin_percent
from live.notify.notices import Notice


class Margin(StrEnum):
    """The margin in use beside its levels."""

    NORMAL = "normal"
    WARNING = "warning"
    EMERGENCY = "emergency"


class Drawdown(StrEnum):
    """The drawdown beside its bands."""

    NORMAL = "normal"
    REDUCED = "reduced"
    RESTRICTED = "restricted"
    BLOCKED = "blocked"


class Standing(Struct, frozen=True, kw_only=True):
    """Both."""

    margin: Margin = Margin.NORMAL
    drawdown: Drawdown = Drawdown.NORMAL


_MARGIN = {
    Margin.NORMAL: (Level.INFO, "is below its warning level again"),
    Margin.WARNING: (Level.WARNING, "has reached its warning level"),
    Margin.EMERGENCY: (Level.CRITICAL, "has reached its emergency level"),
}
_DRAWDOWN = {
    Drawdown.NORMAL: (Level.INFO, "sizes are whole again"),
    Drawdown.REDUCED: (Level.WARNING, "sizes are reduced"),
    Drawdown.RESTRICTED: (Level.ERROR, "there are no base entries, and smaller pyramids"),
    Drawdown.BLOCKED: (Level.CRITICAL, "there are no entries"),
}


def standing_of(portfolio: Portfolio) -> Standing:
    """Where it stands."""
    return Standing(margin=_margin(portfolio), drawdown=_drawdown(portfolio))


def _margin(portfolio: Portfolio) -> Margin:
    limits, percent = portfolio.settings.limits, margin_percent(portfolio) or ZERO
    if percent >= limits.margin_emergency_percent:
        return Margin.EMERGENCY
    return Margin.WARNING if percent >= limits.margin_warning_percent else Margin.NORMAL


def _drawdown(portfolio: Portfolio) -> Drawdown:
    bands, percent = portfolio.settings.drawdown, drawdown_percent(portfolio.state)
    if percent > bands.block_above_percent:
        return Drawdown.BLOCKED
    if percent >= bands.restrict_from_percent:
        return Drawdown.RESTRICTED
    return Drawdown.REDUCED if percent >= bands.reduce_from_percent else Drawdown.NORMAL


def notices_between(told: Standing, now: Standing, portfolio: Portfolio, seq: int) -> Iterator[Notice]:
    """What there is to say where it stood by what was told last, and where it stands as of journal entry `seq`."""
    if now.margin is not told.margin:
        level, says = _MARGIN[now.margin]
        percent = f"{margin_percent(portfolio) or ZERO:.2f} % of the sizing equity"
        title = f"margin in use: {now.margin.value}"
        yield Notice(level=level, title=title, text=f"margin in use, {percent}, {says}", seq=seq)
    if now.drawdown is not told.drawdown:
        level, says = _DRAWDOWN[now.drawdown]
        percent = f"{drawdown_percent(portfolio.state):.2f} % of the high"
        title = f"drawdown: {now.drawdown.value}"
        yield Notice(level=level, title=title, text=f"drawdown of closed equity, {percent}: {says}", seq=seq)
