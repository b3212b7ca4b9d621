"""What would this alert do now? The engine's own rules on a portfolio in memory, which stays as it is; nothing is written."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from msgspec import Struct
from msgspec.structs import asdict, replace

from core.decide import Outcome, decide
from core.events import Event, OrderIntended
from core.fingerprint import fingerprint_of
from core.inputs import OrderReport, SignalInput
from core.models import Signal
from core.ordering import signal_in_order_key
from core.orders import Fill, Order, OrderPurpose, OrderState
from core.portfolio import Portfolio
from risk.what_if.compare import Comparison, compare
from risk.what_if.measures import RiskInputs, measure
from risk.what_if.positions import Positions

# Beyond any journal's numbers: ids of orders are made of them.
_FIRST_SEQ = 1_000_000_000
_FILLED_HERE = (OrderPurpose.ENTRY, OrderPurpose.EXIT)


class Answer(Struct, frozen=True, kw_only=True):
    """What one signal would be answered, and the events of it. A duplicate has the `first` outcome and no other.

    `unfilled` are the orders that it has to wait for, by id, where a broker fills them and they were not taken as filled.
    """

    signal: Signal
    fingerprint: str
    outcome: Outcome | None
    first: dict[str, Any] | None = None
    events: tuple[Event, ...] = ()
    unfilled: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Foreseen:
    """What signals would do: the answers in the order in which they are decided, the portfolio before and after all."""

    answers: tuple[Answer, ...]
    before: Portfolio
    after: Portfolio


def foresee(
    portfolio: Portfolio,
    signals: Iterable[Signal],
    now: datetime,
    *,
    decided: Mapping[str, Mapping[str, Any]] | None = None,
    as_filled: bool = False,
) -> Foreseen:
    """Decide signals on a portfolio as the engine would at `now` (aware UTC), each on the state that the one before left.

    They are decided in the engine's order. `decided`: the outcomes of signals that were decided before, by fingerprint; these,
    and a signal that is there twice, are duplicates. Where a broker fills orders nothing is bought yet: `as_filled` takes
    entries and exits as filled whole, at the price that they refer to; an order of a synthetic future's leg has no such price.
    """
    known: dict[str, Mapping[str, Any]] = dict(decided or {})
    answers = []
    current = portfolio.settled()
    for number, signal in enumerate(sorted(signals, key=signal_in_order_key)):
        fingerprint = fingerprint_of(portfolio.name, signal)
        first = known.get(fingerprint)
        if first is not None:
            answers.append(Answer(signal=signal, fingerprint=fingerprint, outcome=None, first=dict(first)))
            continue
        given = SignalInput(signal=signal, fingerprint=fingerprint, received_at=now)
        decision = decide(replace(current, seq=_FIRST_SEQ + number), given, now)
        known[fingerprint] = asdict(decision.outcome)
        intended = _intended(decision.events)
        current, events = _filled(decision.portfolio, intended if as_filled else [], now)
        answers.append(
            Answer(
                signal=signal,
                fingerprint=fingerprint,
                outcome=decision.outcome,
                events=(*decision.events, *events),
                unfilled=tuple(order.client_order_id for order in intended if order.client_order_id in current.orders),
            )
        )
        current = current.settled()
    return Foreseen(answers=tuple(answers), before=portfolio, after=current)


def impact(foreseen: Foreseen, positions_of: Callable[[Portfolio], Positions], inputs: RiskInputs) -> Comparison:
    """Every measure before and after; `positions_of` makes positions of a portfolio, both times in the same way."""
    before, after = (measure(positions_of(portfolio), inputs) for portfolio in (foreseen.before, foreseen.after))
    return compare(before, after)


def _intended(events: Iterable[Event]) -> list[Order]:
    return [event.order for event in events if isinstance(event, OrderIntended) and event.order.purpose in _FILLED_HERE]


def _filled(portfolio: Portfolio, orders: Iterable[Order], now: datetime) -> tuple[Portfolio, tuple[Event, ...]]:
    """The portfolio after a broker has filled these, and the events of that: the kernel's own word on a report."""
    events: list[Event] = []
    for order in orders:
        if order.leg is not None:
            continue
        fill = Fill(fill_id=f"{order.client_order_id}-1", lots=order.lots, price=order.reference_price, filled_at=now)
        report = OrderReport(
            client_order_id=order.client_order_id,
            state=OrderState.FILLED,
            broker_order_id=f"{order.client_order_id}-what-if",
            fills=(fill,),
            settled=True,
        )
        decision = decide(portfolio, report, now)
        portfolio, events = decision.portfolio, [*events, *decision.events]
    return portfolio, tuple(events)
