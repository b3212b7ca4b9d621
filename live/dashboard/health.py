"""Whether all is well, in words: what is wrong, and what has to be looked at."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal
from enum import StrEnum
from typing import Any

from msgspec import Struct

from core.decide.protect import lacks_stop
from core.findings import froze_it
from core.models import RolloverStatus
from core.orders import OrderState
from core.portfolio import Portfolio
from core.settings import Drawdown
from live.dashboard.asked import waits_in_words
from live.dashboard.words import count, percent, some

# Fewer wait for a moment and are gone before anybody has read it.
MANY_WAITING = 100


class Level(StrEnum):
    """How much of a hurry there is."""

    WELL = "well"
    LOOK = "look"
    ACT = "act"


TITLES = {Level.WELL: "All is well", Level.LOOK: "Have a look", Level.ACT: "Act now"}


class Remark(Struct, frozen=True):
    """One thing that is not as it should be."""

    level: Level
    text: str


class Moment(Struct, frozen=True, kw_only=True):
    """What is known of a portfolio now. `status` and `portfolio` are None until they are loaded, `away` says why the database
    could not be asked; `led_by` is who leads where that is another instance that is alive, None where nobody is known to."""

    role: str
    ready: bool
    backlog: int
    spool: Mapping[str, Any] | None
    status: Mapping[str, Any] | None
    portfolio: Portfolio | None
    away: str | None
    led_by: str | None
    redis_is_away: bool = False


def title(remarks: Sequence[Remark]) -> tuple[Level, str]:
    """The page's first words, and how much of a hurry there is."""
    levels = {remark.level for remark in remarks}
    level = Level.ACT if Level.ACT in levels else Level.LOOK if Level.LOOK in levels else Level.WELL
    first = next((remark.text for remark in remarks if remark.level is level), None)
    return level, TITLES[level] if first is None else f"{TITLES[level]}: {first}"


def remarks_on(moment: Moment) -> list[Remark]:
    """What is wrong, the worst first."""
    found = [Remark(level, words) for look in _LOOKS for level, words in look(moment)]
    return sorted(found, key=lambda remark: remark.level is not Level.ACT)


_Found = Iterator[tuple[Level, str]]


def _keeps_alerts(moment: Moment) -> _Found:
    if not moment.ready:
        yield Level.ACT, "not ready, alerts are answered 503 and nothing is kept"
    if moment.away is not None:
        kept = "alerts are kept on the local disk and decided when it is back" if moment.ready else moment.away
        yield Level.ACT, f"the database is away, {kept}"


def _leads(moment: Moment) -> _Found:
    if moment.role == "starting" and moment.away is None:
        yield Level.LOOK, "starting, the state is being loaded"
    elif moment.role == "follower" and moment.led_by is None and moment.away is None:
        yield Level.ACT, "nobody leads, alerts are kept and not decided"


def _asks(moment: Moment) -> _Found:
    words = None if moment.portfolio is None else waits_in_words(moment.portfolio)
    if words is not None:
        yield Level.LOOK, words


def _waits(moment: Moment) -> _Found:
    spool = moment.spool
    if spool is not None and spool["set_aside"]:
        yield Level.ACT, f"{count(spool['set_aside'], 'signal')} set aside that can never be decided: read the log"
    if spool is not None and spool["kept"]:
        yield Level.LOOK, f"{count(spool['kept'], 'signal')} on the local disk wait to be decided"
    if spool is not None and not spool["usable"]:
        yield Level.LOOK, "the local disk takes no signal: nothing would be kept if the database went away"
    if moment.backlog >= MANY_WAITING:
        yield Level.LOOK, f"{count(moment.backlog, 'input')} wait to be decided"


def _is_sound(moment: Moment) -> _Found:
    status = moment.status
    if status is None:
        return
    if status.get("halted"):
        yield Level.ACT, "trading is halted, entries are blocked and exits go on"
    for name in status.get("failed_invariants", ()):
        yield Level.ACT, f"an invariant failed at the start: {name}"


def _is_protected(moment: Moment) -> _Found:
    if moment.portfolio is None:
        return
    portfolio, held = moment.portfolio, list(moment.portfolio.positions.values())
    bare = sorted(p.position_id for p in held if p.current_stop is None)
    if bare:
        yield Level.ACT, f"{count(len(bare), 'position')} without a stop: {some(bare)}"
    naked = sorted(p.position_id for p in held if lacks_stop(portfolio, p))
    if naked:
        yield Level.ACT, f"{count(len(naked), 'position')} without a stop at the broker: {some(naked)}"
    stuck = sorted(p.position_id for p in held if p.rollover_status is RolloverStatus.FAILED)
    if stuck:
        yield Level.ACT, f"{count(len(stuck), 'roll')} to the next contract failed: {some(stuck)}"


def _agrees(moment: Moment) -> _Found:
    if moment.portfolio is None:
        return
    frozen = {row.instrument: row.frozen_reason for row in moment.portfolio.pyramiding.values() if row.frozen_reason}
    differing = sorted(name for name, reason in frozen.items() if froze_it(reason))
    if differing:
        yield Level.ACT, f"what the broker holds differs from ours: {some(differing)}"
    others = sorted(set(frozen) - set(differing))
    if others:
        yield Level.LOOK, f"entries are frozen: {some(others)}"
    doubtful = [o.client_order_id for o in moment.portfolio.orders.values() if o.state is OrderState.IN_DOUBT]
    if doubtful:
        yield Level.ACT, f"nobody knows what became of {count(len(doubtful), 'order')}: {some(doubtful)}"


def _keeps_within_limits(moment: Moment) -> _Found:
    if moment.portfolio is None or moment.status is None:
        return
    limits, status = moment.portfolio.settings.limits, moment.status
    yield from _near(
        "risk", status.get("total_risk_percent"), limits.pyramid_risk_percent, limits.risk_percent, "no more pyramids"
    )
    yield from _near(
        "volatility",
        status.get("total_vol_percent"),
        limits.pyramid_volatility_percent,
        limits.volatility_percent,
        "no more pyramids",
    )
    margin = status.get("margin_percent")
    if margin is not None and margin >= limits.margin_emergency_percent:
        yield (
            Level.ACT,
            f"margin is {percent(margin)}, above its emergency level of {percent(limits.margin_emergency_percent)}",
        )
    else:
        yield from _near("margin", margin, limits.margin_warning_percent, limits.margin_percent, "near its limit")
    yield from _drawdown(status.get("drawdown_percent"), moment.portfolio.settings.drawdown)


def _near(name: str, value: Decimal | None, level: Decimal, limit: Decimal, meaning: str) -> _Found:
    if value is None:
        yield Level.ACT, f"{name} cannot be told: the equity is not above 0"
    elif value >= limit:
        yield Level.LOOK, f"{name} is {percent(value)}, at its limit of {percent(limit)}: no entries"
    elif value >= level:
        yield Level.LOOK, f"{name} is {percent(value)} of {percent(limit)}: {meaning}"


def _drawdown(value: Decimal | None, levels: Drawdown) -> _Found:
    if value is None:
        return
    if value > levels.block_above_percent:
        yield Level.ACT, f"the drawdown is {percent(value)}, entries are blocked"
    elif value >= levels.restrict_from_percent:
        yield Level.LOOK, f"the drawdown is {percent(value)}, sizes x {levels.restrict_factor} and no base entries"
    elif value >= levels.reduce_from_percent:
        yield Level.LOOK, f"the drawdown is {percent(value)}, sizes x {levels.reduce_factor}"


def _reaches_redis(moment: Moment) -> _Found:
    if moment.redis_is_away and moment.away is None:
        yield Level.LOOK, "Redis does not answer, the lease is kept in PostgreSQL"


_LOOKS: tuple[Callable[[Moment], _Found], ...] = (
    # Of what is not urgent, this alone is over when nobody looks.
    _asks,
    _keeps_alerts,
    _leads,
    _is_sound,
    _is_protected,
    _agrees,
    _waits,
    _keeps_within_limits,
    _reaches_redis,
)
