"""What an operator may do, and what starts a portfolio or changes its settings."""

from datetime import datetime

from core.decide.decision import Decision, Draft, Outcome, rejected
from core.decide.exit import EXIT_WORKING, NO_OPEN_POSITION, clear_if_flat, sell
from core.decide.orders import cancel_entries
from core.events import (
    CapitalMoved,
    ContractsSet,
    EntriesFrozen,
    EntriesUnfrozen,
    Event,
    PortfolioStarted,
    PositionSaved,
    PyramidingSaved,
    SettingsChanged,
    StateSaved,
    TradingHalted,
    TradingResumed,
)
from core.evolve import evolve
from core.inputs import (
    ChangeSettings,
    ClosePositions,
    Freeze,
    Halt,
    MoveCapital,
    Resume,
    SaveRow,
    SetContracts,
    StartPortfolio,
)
from core.models import ALL_LAYERS, MONEY_LIMIT, Status
from core.numbers import money
from core.portfolio import Portfolio


def decide_halt(portfolio: Portfolio, given: Halt) -> Decision:
    """No entries from here on; again is no error."""
    draft = Draft(portfolio)
    draft.apply(TradingHalted(reason=given.reason))
    return draft.executed()


def decide_freeze(portfolio: Portfolio, given: Freeze) -> Decision:
    """No entry of one instrument from here on. The reason that froze it first stays."""
    if portfolio.pyramiding_of(given.instrument).frozen_reason is not None:
        return rejected(portfolio, "instrument is frozen already")
    draft = Draft(portfolio)
    draft.apply(EntriesFrozen(instrument=given.instrument, reason=(given.reason or "operator")[:500]))
    return draft.executed()


def decide_resume(portfolio: Portfolio, given: Resume) -> Decision:
    """Entries again, or the end of one instrument's freeze."""
    draft = Draft(portfolio)
    if given.instrument is None:
        draft.apply(TradingResumed())
        return draft.executed()
    if portfolio.pyramiding_of(given.instrument).frozen_reason is None:
        return rejected(portfolio, "instrument is not frozen")
    draft.apply(EntriesUnfrozen(instrument=given.instrument))
    return draft.executed()


def decide_close(portfolio: Portfolio, given: ClosePositions, now: datetime) -> Decision:
    """Close one position or all of them, at the given price or at their marks; the exit time is `now`."""
    whole = given.position_id == ALL_LAYERS
    closing = [
        position
        for position in sorted(portfolio.positions.values(), key=lambda position: position.position_id)
        if whole or position.position_id == given.position_id
    ]
    working = [
        o for o in portfolio.orders.values() if o.plan and o.is_live and (whole or o.position_id == given.position_id)
    ]
    if not closing and not working:
        return rejected(portfolio, NO_OPEN_POSITION)
    if given.price is not None and given.price <= 0:
        return rejected(portfolio, "price is not above 0")
    if given.price is not None and len({position.instrument for position in closing}) > 1:
        return rejected(portfolio, "one price for several instruments")
    draft = Draft(portfolio)
    for order in sorted(working, key=lambda order: order.client_order_id):
        cancel_entries(draft, order.instrument, {order.position_id}, given.reason)
    selling = [position for position in closing if portfolio.lots_leaving(position) < position.lots]
    for position in selling:
        reference = position.mark_price if given.price is None else given.price
        sell(draft, position, position.lots, reference, now, given.reason)
    if not draft.has_events:
        return rejected(portfolio, EXIT_WORKING)
    for instrument in sorted({position.instrument for position in selling}):
        clear_if_flat(draft, instrument)
    ids = tuple(position.position_id for position in selling)
    one = None if whole else given.position_id
    return draft.answered(position_id=one, positions=ids, lots=sum(position.lots for position in selling))


def decide_capital(portfolio: Portfolio, given: MoveCapital) -> Decision:
    """A deposit or withdrawal; it moves closed equity and its high alike."""
    if not given.amount.is_finite() or abs(given.amount) >= MONEY_LIMIT:
        return rejected(portfolio, "amount is out of range")
    amount = money(given.amount)
    if amount == 0:
        return rejected(portfolio, "amount is 0")
    state = portfolio.state
    if (
        max(abs(state.closed_equity + amount), abs(state.equity_high + amount), abs(state.flows_total + amount))
        >= MONEY_LIMIT
    ):
        return rejected(portfolio, "amount is out of range")
    if amount < 0 and state.closed_equity + amount < 0:
        return rejected(portfolio, "withdrawal exceeds closed equity", closed_equity=state.closed_equity)
    draft = Draft(portfolio)
    draft.apply(CapitalMoved(amount=amount, note=given.note))
    return draft.executed()


def decide_start(portfolio: Portfolio, given: StartPortfolio) -> Decision:
    """The first entry of a journal, once."""
    if portfolio.state.version != 0:
        return rejected(portfolio, "the portfolio has started already")
    if given.initial_capital <= 0:
        return rejected(portfolio, "capital is not above 0")
    draft = Draft(portfolio)
    draft.apply(PortfolioStarted(initial_capital=money(given.initial_capital)))
    return draft.executed()


def decide_settings(portfolio: Portfolio, given: ChangeSettings) -> Decision:
    """Other settings from here on; margin and percentages follow them."""
    draft = Draft(portfolio)
    draft.apply(SettingsChanged(settings=given.settings))
    return draft.executed()


def decide_contracts(portfolio: Portfolio, given: SetContracts) -> Decision:
    """Other contracts from here on: entries are sized by them, and margin follows them. What is open stays in its own."""
    draft = Draft(portfolio)
    draft.apply(ContractsSet(contracts=given.contracts))
    return draft.executed()


def decide_save(portfolio: Portfolio, given: SaveRow) -> Decision:
    """A whole row written through the manager: kept as it is, nothing else follows from it."""
    event: Event
    if given.position is not None:
        event = PositionSaved(position=given.position)
    elif given.state is not None:
        event = StateSaved(state=given.state)
    else:
        assert given.pyramiding is not None  # noqa: S101 - the manager fills exactly one of the three
        event = PyramidingSaved(pyramiding=given.pyramiding)
    return Decision(outcome=Outcome(status=Status.EXECUTED), portfolio=evolve(portfolio, event), events=(event,))
