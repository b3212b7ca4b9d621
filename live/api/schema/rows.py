"""What lists are lists of: the rows of the portfolio's tables, their fields named as the columns."""

from typing import Annotated, Any, get_args

from pydantic import ConfigDict, Field
from typing_extensions import TypeAliasType

from core.inputs import Input
from core.models import PositionStatus, RolloverStatus, Side, SignalType, Status
from core.orders import Leg, OrderPurpose, OrderState, OrderType
from core.proposals import ProposalState
from live.api.schema.values import Answered, Count, Day, DecimalText, Figures, Fingerprint, Kept, Lots, Time

_TAGS = [kind.__struct_config__.tag for kind in get_args(Input)]
InputKind = TypeAliasType("InputKind", Annotated[str, Field(json_schema_extra={"enum": _TAGS})])


class ProposedSignal(Answered):
    """The signal as it came, in canonical form; points, fields that it has not are null or absent."""

    model_config = ConfigDict(extra="allow")

    type: SignalType
    instrument: str
    layer: str
    price: DecimalText
    stop: DecimalText | None
    atr: DecimalText | None
    er: DecimalText | None


class Proposal(Answered):
    """A signal that waits, or waited, for a human. `lots` are those proposed, `decided_lots` and `decided_price` what came of
    it."""

    proposal_id: str
    journal_seq: int
    fingerprint: Fingerprint
    instrument: str
    signal_type: SignalType
    layer: str
    signal: ProposedSignal
    rule: str = Field(description="What asked for the human: mode, late, divergent, over_size or after_recovery.")
    lots: Count
    limiter: str | None
    proposed_at: Time
    expires_at: Time
    state: ProposalState
    decided_at: Time | None
    decided_by: str | None
    note: str | None
    decided_lots: Count | None
    decided_price: DecimalText | None
    version: Count
    created_at: Time
    updated_at: Time


class Position(Answered):
    """A layer from entry to close. Prices, stops and ATR are in points, money in the instrument's currency; `lots` and
    `quantity` are what is open now, 0 once it is closed."""

    position_id: str
    instrument: str
    layer: str
    side: Side
    status: PositionStatus
    strategy_id: str | None
    entry_timestamp: Time
    entry_bar_time: Time | None
    entry_price: DecimalText
    entry_lots: Lots
    entry_costs: DecimalText
    lots: Lots
    quantity: DecimalText
    lot_size: DecimalText
    point_value: DecimalText
    initial_stop: DecimalText | None
    current_stop: DecimalText | None
    highest_close: DecimalText = Field(description="The best close since the entry: of a short one the lowest.")
    atr: DecimalText | None
    mark_price: DecimalText
    mark_time: Time
    unrealized_pnl: DecimalText = Field(description="Before costs.")
    realized_pnl: DecimalText = Field(description="Net of costs, rolls included.")
    costs: DecimalText
    exit_timestamp: Time | None
    exit_price: DecimalText | None = Field(description="The average of all lots sold.")
    exit_reason: str | None
    rollover_status: RolloverStatus
    original_expiry: Day | None
    original_strike: DecimalText | None
    original_entry_price: DecimalText | None
    rollover_timestamp: Time | None
    rollover_pnl: DecimalText
    rollover_count: Count
    strike: DecimalText | None
    expiry: Day | None
    pe_symbol: str | None
    ce_symbol: str | None
    pe_order_id: str | None
    ce_order_id: str | None
    pe_entry_price: DecimalText | None
    ce_entry_price: DecimalText | None
    contract_month: str | None
    futures_symbol: str | None
    futures_order_id: str | None
    limiter: str | None = Field(description="Which constraint the size was bound by.")
    risk_contribution: DecimalText
    vol_contribution: DecimalText
    is_base_position: bool
    version: Count = Field(description="Rises with every change.")


class ListedPosition(Position):
    """A position as lists have it: also when its row was made and changed."""

    created_at: Time
    updated_at: Time


class Fill(Answered):
    """A trade of an order, as the broker reports it."""

    fill_id: str = Field(description="The broker's.")
    number: int
    lots: int
    price: DecimalText
    filled_at: Time
    journal_seq: int


class EntryPlan(Answered):
    """What an entry's first fill makes a position of."""

    entry_timestamp: Time
    entry_bar_time: Time | None
    mark_time: Time
    stop: DecimalText | None
    atr: DecimalText | None
    limiter: str
    is_base_position: bool
    expiry: Day | None = None
    contract_month: str | None = None
    strike: DecimalText | None = None
    ce_symbol: str | None = None
    pe_symbol: str | None = None


class Order(Answered):
    """What a broker is asked to do for a position, and what came of it."""

    client_order_id: str
    journal_seq: int = Field(description="The journal's entry that decided it.")
    position_id: str
    instrument: str
    layer: str
    side: Side = Field(description="The position's.")
    purpose: OrderPurpose
    attempt: int
    lots: int
    lot_size: DecimalText
    point_value: DecimalText
    reference_price: DecimalText = Field(description="The signal's price.")
    reason: str | None
    plan: EntryPlan | None
    state: OrderState
    cancel_asked: bool
    filled_lots: Lots
    average_price: DecimalText | None
    broker_order_id: str | None
    message: str | None
    risk_reserved: DecimalText
    vol_reserved: DecimalText
    settled: bool = Field(description="Nothing more comes of it.")
    leg: Leg | None
    symbol: str | None
    order_type: OrderType | None
    limit_price: DecimalText | None
    trigger_price: DecimalText | None
    leg_price: DecimalText | None
    strike: DecimalText | None
    near_price: DecimalText | None
    roll_to: str | None
    filled_before: Lots
    try_over: bool
    sent_at: Time | None
    version: Count
    created_at: Time
    updated_at: Time
    fills: list[Fill]


class Outcome(Answered):
    """What was decided, as it was told at first. `reason` names what refused it."""

    status: Status
    reason: str | None
    position_id: str | None
    positions: list[str]
    lots: int | None
    limiter: str | None
    sizing: Figures


class LoggedSignal(Answered):
    """An alert and what became of it."""

    id: int
    instrument: str
    signal_type: SignalType
    position: str = Field(description="The layer; empty for MARKET_DATA.")
    signal_timestamp: Time
    bar_time: Time | None
    fingerprint: Fingerprint
    is_duplicate: bool = Field(description="It came again.")
    deliveries: int
    received_at: Time
    processed_at: Time | None
    processed_by_instance: str | None
    processing_status: Status
    outcome: Outcome | None
    payload: Kept = Field(description="The body without its secret; empty once it is old.")


class JournalEntry(Answered):
    """An input with what was decided on it."""

    seq: int
    format: int
    kind: InputKind
    fingerprint: Fingerprint | None
    request_id: str | None
    input: Kept
    figures: Kept = Field(description="What was reckoned with.")
    outcome: Kept
    events: list[dict[str, Any]]
    term: int
    rules_version: int
    decided_at: Time
    recorded_at: Time
    content_hash: str = Field(description="Over this entry and the hash of the one before.")


class Instance(Answered):
    """A process that serves, or served, the portfolio."""

    instance_id: str
    started_at: Time
    last_heartbeat: Time
    last_signal_processed: Time | None
    is_leader: bool
    leader_acquired_at: Time | None
    status: str = Field(json_schema_extra={"enum": ["active", "standby", "recovering", "crashed"]})
    hostname: str
    port: int | None
    version: str


class Term(Answered):
    """Who led in a term; it ended when the next one began."""

    term: int
    instance_id: str
    acquired_at: Time
    hostname: str | None
    port: int | None
    version: str | None


class ToLookAt(Answered):
    """What somebody has to look at."""

    kind: str = Field(description="halted, frozen, proposal, roll, stop, stale or failed.")
    text: str


class ListedBriefing(Answered):
    """A day of a portfolio, in a sentence."""

    portfolio: str
    briefing_date: Day
    journal_seq: Count
    generated_at: Time
    is_locked: bool = Field(description="It was sent, and stays as it is.")
    headline: str
    action_items: list[ToLookAt]


class Briefing(Answered):
    """A day of a portfolio, up to the journal's entry `journal_seq`. Decimals are strings."""

    portfolio: str
    briefing_date: Day
    journal_seq: Count
    generated_at: Time
    is_locked: bool
    content_hash: Fingerprint | None = Field(description="Over all of it, once it is locked.")
    deliveries: Kept = Field(description="By channel when a message was begun with, and when it was taken.")
    portfolio_snapshot: Kept
    market_snapshot: Kept
    risk_summary: Kept
    action_items: list[ToLookAt]
    sections: Kept = Field(description="P&L, stops near, rolls due, proposals, signals, what is stale, reconciliation.")
