"""What can happen to a portfolio: a closed union. An event holds the new values, already rounded; evolve assigns and adds."""

from datetime import datetime
from decimal import Decimal
from typing import Any

from msgspec import Struct

from core.models import PortfolioState, Position, PositionStatus, PyramidingState, RolloverStatus
from core.orders import Order, OrderState, OrderType
from core.proposals import Proposal, ProposalState
from core.rollover import RolledFields


class _Event(Struct, frozen=True, kw_only=True, tag_field="event"):
    pass


class PortfolioStarted(_Event, frozen=True, kw_only=True, tag="portfolio_started"):
    """The first entry of a journal: the capital it starts from."""

    initial_capital: Decimal


class SettingsChanged(_Event, frozen=True, kw_only=True, tag="settings_changed"):
    """All that decides, in full (core.settings.Settings as JSON)."""

    settings: dict[str, Any]


class ContractsSet(_Event, frozen=True, kw_only=True, tag="contracts_set"):
    """The contracts that instruments are traded in, all of them (core.listed_contracts as JSON)."""

    contracts: dict[str, Any]


class PositionOpened(_Event, frozen=True, kw_only=True, tag="position_opened"):
    """A new layer, as it stands after its entry's fill."""

    position: Position


class PositionMarked(_Event, frozen=True, kw_only=True, tag="position_marked"):
    """A bar's close reached an open layer: mark, ATR, best close, stop and what follows from them."""

    position_id: str
    mark_price: Decimal
    mark_time: datetime
    atr: Decimal
    highest_close: Decimal
    current_stop: Decimal | None
    unrealized_pnl: Decimal
    risk_contribution: Decimal
    vol_contribution: Decimal


class PositionExited(_Event, frozen=True, kw_only=True, tag="position_exited"):
    """Lots of a layer were sold (all of them: it is closed). `pnl` and `costs` are this exit's own, `exit_price` the average."""

    position_id: str
    lots_sold: int
    fill_price: Decimal
    pnl: Decimal
    costs: Decimal
    status: PositionStatus
    lots: int
    quantity: Decimal
    exit_timestamp: datetime
    exit_price: Decimal
    exit_reason: str
    unrealized_pnl: Decimal
    risk_contribution: Decimal
    vol_contribution: Decimal


class PositionIncreased(_Event, frozen=True, kw_only=True, tag="position_increased"):
    """Another fill of the entry: `entry_price` is the lots-weighted average, `entry_costs` their sum."""

    position_id: str
    entry_price: Decimal
    entry_lots: int
    entry_costs: Decimal
    status: PositionStatus
    lots: int
    quantity: Decimal
    unrealized_pnl: Decimal
    risk_contribution: Decimal
    vol_contribution: Decimal


class OrderIntended(_Event, frozen=True, kw_only=True, tag="order_intended"):
    """An order is to be sent: kept before the broker hears of it."""

    order: Order


class OrderReported(_Event, frozen=True, kw_only=True, tag="order_reported"):
    """What a broker's books say of an order now; `fill_ids` are the fills that are new."""

    client_order_id: str
    state: OrderState
    broker_order_id: str | None
    message: str | None
    filled_lots: int
    average_price: Decimal | None
    fill_ids: tuple[str, ...]
    risk_reserved: Decimal
    vol_reserved: Decimal
    settled: bool


class RolloverMarked(_Event, frozen=True, kw_only=True, tag="rollover_marked"):
    """Where a position is on its way to the next contract."""

    position_id: str
    status: RolloverStatus


class PositionRolled(_Event, frozen=True, kw_only=True, tag="position_rolled"):
    """A position is in the far contract, by its symbols; `pnl` is what that earned, net (money)."""

    position_id: str
    pnl: Decimal
    fields: RolledFields
    futures_symbol: str | None
    ce_symbol: str | None
    pe_symbol: str | None


class OrderSent(_Event, frozen=True, kw_only=True, tag="order_sent"):
    """It goes to the broker now, in this form; kept before the broker hears of it, and not to be sent again after it."""

    client_order_id: str
    lots: int
    order_type: OrderType
    limit_price: Decimal | None
    sent_at: datetime
    risk_reserved: Decimal
    vol_reserved: Decimal


class OrderTryEnded(_Event, frozen=True, kw_only=True, tag="order_try_ended"):
    """It is cancelled; what was not filled of it is asked for in another order."""

    client_order_id: str


class OrderMoved(_Event, frozen=True, kw_only=True, tag="order_moved"):
    """A stop that waits at the broker is to be so large and to wait there."""

    client_order_id: str
    lots: int
    trigger_price: Decimal | None


class OrderCancelAsked(_Event, frozen=True, kw_only=True, tag="order_cancel_asked"):
    """The order is no longer wanted; whether it could be cancelled, the broker tells. What an entry is filled after this
    is sold again, for `reason`."""

    client_order_id: str
    reason: str


class PyramidingChanged(_Event, frozen=True, kw_only=True, tag="pyramiding_changed"):
    """What the instrument's next pyramid is measured against; None for both once it is flat."""

    instrument: str
    last_pyramid_price: Decimal | None
    base_position_id: str | None


class EntriesFrozen(_Event, frozen=True, kw_only=True, tag="entries_frozen"):
    """No entry of this instrument until an operator lifts it."""

    instrument: str
    reason: str


class EntriesUnfrozen(_Event, frozen=True, kw_only=True, tag="entries_unfrozen"):
    """The operator lifted the freeze."""

    instrument: str


class DifferenceAccepted(_Event, frozen=True, kw_only=True, tag="difference_accepted"):
    """The broker's quantity minus ours that an operator has accepted, in the broker's units; None: none any more."""

    instrument: str
    difference: Decimal | None


class AlertSeen(_Event, frozen=True, kw_only=True, tag="alert_seen"):
    """The instrument's alerts have come up to this number."""

    instrument: str
    seq: int


class BarKept(_Event, frozen=True, kw_only=True, tag="bar_kept"):
    """The instrument's newest bar, of that time, had this ATR (points)."""

    instrument: str
    atr: Decimal
    time: datetime


class ProposalMade(_Event, frozen=True, kw_only=True, tag="proposal_made"):
    """A signal waits for a human."""

    proposal: Proposal


class ProposalDecided(_Event, frozen=True, kw_only=True, tag="proposal_decided"):
    """It waits no longer: a human decided, its time was over, or it was overtaken. `lots` and `price` are what was done."""

    proposal_id: str
    instrument: str
    state: ProposalState
    decided_at: datetime
    decided_by: str | None = None
    note: str | None = None
    lots: int | None = None
    price: Decimal | None = None


class RecoveryNoted(_Event, frozen=True, kw_only=True, tag="recovery_noted"):
    """An instance became the one that decides; noted where a rule asks how long that is ago."""

    at: datetime


class CapitalMoved(_Event, frozen=True, kw_only=True, tag="capital_moved"):
    """A deposit (positive) or withdrawal (negative), in money."""

    amount: Decimal
    note: str | None


class TradingHalted(_Event, frozen=True, kw_only=True, tag="trading_halted"):
    """No entries at all; exits go on."""

    reason: str | None


class TradingResumed(_Event, frozen=True, kw_only=True, tag="trading_resumed"):
    """Entries are decided again."""


class PortfolioMeasured(_Event, frozen=True, kw_only=True, tag="portfolio_measured"):
    """The portfolio's figures after everything else this input did."""

    equity_high: Decimal
    total_risk_amount: Decimal
    total_risk_percent: Decimal | None
    total_vol_amount: Decimal
    margin_used: Decimal


class PositionSaved(_Event, frozen=True, kw_only=True, tag="position_saved"):
    """A whole row written by hand through the manager."""

    position: Position


class StateSaved(_Event, frozen=True, kw_only=True, tag="state_saved"):
    """The portfolio's whole row written by hand through the manager."""

    state: PortfolioState


class PyramidingSaved(_Event, frozen=True, kw_only=True, tag="pyramiding_saved"):
    """An instrument's whole row written by hand through the manager."""

    pyramiding: PyramidingState


OrderChange = OrderReported | OrderSent | OrderTryEnded | OrderMoved | OrderCancelAsked
Event = (
    PortfolioStarted
    | SettingsChanged
    | ContractsSet
    | PositionOpened
    | PositionMarked
    | PositionExited
    | PositionIncreased
    | RolloverMarked
    | PositionRolled
    | OrderIntended
    | OrderReported
    | OrderSent
    | OrderTryEnded
    | OrderMoved
    | OrderCancelAsked
    | PyramidingChanged
    | EntriesFrozen
    | EntriesUnfrozen
    | DifferenceAccepted
    | AlertSeen
    | BarKept
    | ProposalMade
    | ProposalDecided
    | RecoveryNoted
    | CapitalMoved
    | TradingHalted
    | TradingResumed
    | PortfolioMeasured
    | PositionSaved
    | StateSaved
    | PyramidingSaved
)
