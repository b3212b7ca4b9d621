"""Alerts that never came: a gap in their numbers, or a strategy that is not where we are. Entries freeze, exits go on."""

from collections.abc import Callable, Iterable
from functools import reduce

from msgspec.structs import replace

from core.decide.decision import Decision
from core.decide.entry import NOT_YET_FLAT
from core.decide.exit import entered_before
from core.events import AlertSeen, EntriesFrozen, EntriesUnfrozen, Event
from core.evolve import evolve
from core.models import ENTRIES, MarketPosition, Position, Signal
from core.portfolio import Portfolio

_COUNTING_BEGINS = (0, 1)


def beside_its_strategy(portfolio: Portfolio, signal: Signal, decided: Callable[[Portfolio], Decision]) -> Decision:
    """What `decided` makes of the signal, after its number was looked at and before its strategy's position is.

    Whatever becomes of the signal: a refused one has come too. One that tells neither costs nothing.
    """
    strategy = signal.strategy_position
    if signal.seq is None and strategy is None:
        return decided(portfolio)
    before = _counted(portfolio, signal)
    decision = decided(_evolved(portfolio, before))
    if signal.type in ENTRIES and any(isinstance(event, EntriesFrozen) for event in before):
        decision = _or_waiting(decision, decided(portfolio))
    after: tuple[Event, ...] = ()
    # An older alert than the last tells where the strategy was.
    if strategy is not None and not _is_late(portfolio, signal):
        after = _apart(decision.portfolio, signal, strategy)
        decision = _with_strategy(decision, signal, strategy)
    return replace(decision, portfolio=_evolved(decision.portfolio, after), events=(*before, *decision.events, *after))


def _counted(portfolio: Portfolio, signal: Signal) -> tuple[Event, ...]:
    """A number that is not the next one freezes the instrument, unless it begins anew or comes late."""
    row, seq = portfolio.pyramiding_of(signal.instrument), signal.seq
    last = row.last_alert_seq
    if seq is None or seq == last:
        return ()
    if _is_late(portfolio, signal):
        # The one that was missing: alerts of one bar can come, and are decided, in another order than they were numbered.
        filled = row.frozen_reason == _gap(seq - 1, seq + 1)
        return (EntriesUnfrozen(instrument=signal.instrument),) if filled else ()
    seen = AlertSeen(instrument=signal.instrument, seq=seq)
    if last is None or seq <= last + 1 or row.frozen_reason is not None:
        return (seen,)
    return EntriesFrozen(instrument=signal.instrument, reason=_gap(last, seq)), seen


def _is_late(portfolio: Portfolio, signal: Signal) -> bool:
    last = portfolio.pyramiding_of(signal.instrument).last_alert_seq
    return last is not None and signal.seq is not None and signal.seq < last and signal.seq not in _COUNTING_BEGINS


def _gap(last: int, seq: int) -> str:
    return f"missed alerts: seq {seq} after {last}"


def _or_waiting(frozen: Decision, unfrozen: Decision) -> Decision:
    """The EXIT that an entry of its bar has to wait for may be the very alert that is missing: it is told to wait."""
    return replace(frozen, outcome=unfrozen.outcome) if unfrozen.outcome.reason in NOT_YET_FLAT else frozen


def _apart(portfolio: Portfolio, signal: Signal, strategy: MarketPosition) -> tuple[Event, ...]:
    """A freeze where we hold what the strategy does not."""
    held = [
        position.layer
        for position in portfolio.positions_of(signal.instrument)
        if position.side.value != strategy.value and _stays(portfolio, position, signal)
    ]
    if not held or portfolio.pyramiding_of(signal.instrument).frozen_reason is not None:
        return ()
    reason = f"the strategy is {strategy.value}, we hold {', '.join(held)}"
    return (EntriesFrozen(instrument=signal.instrument, reason=reason),)


def _stays(portfolio: Portfolio, position: Position, signal: Signal) -> bool:
    """Whether lots are left that nothing sells yet, of a position that the alert can know."""
    intrabar = portfolio.settings.timing.intrabar_exits
    known = entered_before(position.entry_timestamp, position.entry_bar_time, signal, intrabar=intrabar)
    return known and portfolio.lots_leaving(position) < position.lots


def _with_strategy(decision: Decision, signal: Signal, strategy: MarketPosition) -> Decision:
    """A strategy that is in a position where we are in none is told, no more: a refusal of ours explains it."""
    portfolio, instrument = decision.portfolio, signal.instrument
    in_it = portfolio.positions_of(instrument) or portfolio.working_entries_of(instrument)
    if strategy is MarketPosition.FLAT or in_it:
        return decision
    sizing = {**decision.outcome.sizing, "strategy_position": strategy.value}
    return replace(decision, outcome=replace(decision.outcome, sizing=sizing))


def _evolved(portfolio: Portfolio, events: Iterable[Event]) -> Portfolio:
    return reduce(evolve, events, portfolio)
