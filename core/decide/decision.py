"""A decision: its outcome as answered and kept, its events, and the portfolio after them."""

from collections.abc import Sequence
from decimal import Decimal
from operator import attrgetter

from msgspec import Struct
from msgspec.structs import replace

from core.decide.protect import protect
from core.events import (
    EntriesFrozen,
    Event,
    OrderCancelAsked,
    OrderIntended,
    OrderReported,
    PortfolioMeasured,
    PositionExited,
    PositionIncreased,
    PositionMarked,
    PositionOpened,
    PositionRolled,
    PositionSaved,
    RolloverMarked,
)
from core.evolve import evolve, evolve_marks
from core.inputs import Input, SignalInput
from core.models import Status
from core.numbers import figure, percent_of
from core.orders import OrderPurpose
from core.portfolio import Portfolio, sizing_equity
from core.position_sizer import Figures

_MEASURED = attrgetter(*PortfolioMeasured.__struct_fields__)


class Outcome(Struct, frozen=True, kw_only=True):
    """What the caller is told, now and whenever the same signal comes again. `reason` names what refused it."""

    status: Status
    reason: str | None = None
    position_id: str | None = None
    positions: tuple[str, ...] = ()
    lots: int | None = None
    limiter: str | None = None
    sizing: Figures = {}


class Decision(Struct, frozen=True, kw_only=True):
    """`portfolio` is the one before, evolved by `events` in their order."""

    outcome: Outcome
    portfolio: Portfolio
    events: tuple[Event, ...] = ()


class Draft:
    """A decision being made: events applied as they are found, so that each rule sees what the one before did."""

    def __init__(self, portfolio: Portfolio) -> None:
        self.portfolio = portfolio
        self._events: list[Event] = []
        self._touched: dict[str, None] = {}

    def apply(self, event: Event) -> None:
        """Note `event` and go on from the portfolio after it."""
        self._events.append(event)
        self.portfolio = evolve(self.portfolio, event)
        if self.portfolio.settings.execution.fills == "broker":
            instrument = _exposed(self.portfolio, event)
            if instrument is not None:
                self.expose(instrument)

    def mark(self, instrument: str, marks: Sequence[PositionMarked]) -> None:
        """Note that a bar has marked these positions of the instrument, each another one."""
        self._events += marks
        self.portfolio = evolve_marks(self.portfolio, marks)
        if marks and self.portfolio.settings.execution.fills == "broker":
            self.expose(instrument)

    def expose(self, instrument: str) -> None:
        """Have the instrument's stops at the broker looked at when the decision is complete."""
        self._touched[instrument] = None

    @property
    def has_events(self) -> bool:
        """Whether anything happens."""
        return bool(self._events)

    def executed(self, **outcome: object) -> Decision:
        """The decision, once the portfolio's figures are measured."""
        return self._decision(Status.EXECUTED, outcome)

    def answered(self, **outcome: object) -> Decision:
        """The same, `accepted` where a broker has to do something first."""
        asks_broker = any(isinstance(event, OrderIntended | OrderCancelAsked) for event in self._events)
        return self._decision(Status.ACCEPTED if asks_broker else Status.EXECUTED, outcome)

    def proposed(self, **outcome: object) -> Decision:
        """The decision to have a human decide."""
        return self._decision(Status.PROPOSED, outcome)

    def _decision(self, status: Status, outcome: dict[str, object]) -> Decision:
        for instrument in list(self._touched):
            protect(self, instrument)
        self._measure()
        told = Outcome(status=status, **outcome)  # type: ignore[arg-type]
        return Decision(outcome=told, portfolio=self.portfolio, events=tuple(self._events))

    def _measure(self) -> None:
        state, totals = self.portfolio.state, self.portfolio.totals
        measured = PortfolioMeasured(
            equity_high=max(state.equity_high, state.closed_equity),
            total_risk_amount=totals.risk,
            total_risk_percent=percent_of(totals.risk, self._percent_base(state.closed_equity)),
            total_vol_amount=totals.volatility,
            margin_used=totals.margin,
        )
        if _MEASURED(state) != _MEASURED(measured):
            self.apply(measured)

    def _percent_base(self, closed_equity: Decimal) -> Decimal:
        # The high-water mark as it will be, not as it was before this input's own profit.
        if self.portfolio.settings.sizing.equity == "high_water":
            return max(self.portfolio.state.equity_high, closed_equity)
        return sizing_equity(self.portfolio)


def _exposed(portfolio: Portfolio, event: Event) -> str | None:
    """The instrument whose stops at the broker have to be looked at after this event."""
    match event:
        case PositionOpened() | PositionSaved():
            return event.position.instrument
        case PositionMarked() | PositionExited() | PositionIncreased() | RolloverMarked() | PositionRolled():
            return (portfolio.positions.get(event.position_id) or portfolio.closed[event.position_id]).instrument
        case OrderIntended():
            return event.order.instrument
        case OrderReported():
            order = portfolio.orders.get(event.client_order_id) or portfolio.settled_orders[event.client_order_id]
            # A stop that ended unasked is not placed again at once, or one that is refused would be for ever.
            unasked = order.purpose is OrderPurpose.STOP and not order.cancel_asked and not order.try_over
            return None if unasked else order.instrument
        case _:
            return None


def rejected(portfolio: Portfolio, reason: str, **figures: Decimal | int | str | bool | None) -> Decision:
    """What state or time refuses."""
    return _refused(portfolio, Status.REJECTED, reason, figures)


def blocked(
    portfolio: Portfolio, reason: str, *, limiter: str | None = None, figures: Figures | None = None
) -> Decision:
    """What a limit or a gate refuses."""
    decision = _refused(portfolio, Status.BLOCKED, reason, figures or {})
    if limiter is None:
        return decision
    return replace(decision, outcome=replace(decision.outcome, limiter=limiter, lots=0))


def failed(portfolio: Portfolio, given: Input, error: str) -> Decision:
    """An input that could not be decided or kept: final, and entries of its instrument freeze until a human looks."""
    outcome = Outcome(status=Status.FAILED, reason=error)
    if not isinstance(given, SignalInput):
        return Decision(outcome=outcome, portfolio=portfolio)
    event = EntriesFrozen(instrument=given.signal.instrument, reason=f"{given.fingerprint[:12]}: {error}"[:500])
    return Decision(outcome=outcome, portfolio=evolve(portfolio, event), events=(event,))


def shown(**figures: Decimal) -> Figures:
    """Figures for the answer and the journal, rounded for show."""
    return {name: figure(value) for name, value in figures.items()}


def _refused(portfolio: Portfolio, status: Status, reason: str, figures: Figures) -> Decision:
    return Decision(outcome=Outcome(status=status, reason=reason, sizing=figures), portfolio=portfolio)
