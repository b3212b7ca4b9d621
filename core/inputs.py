"""What the engine decides on: a closed union. All of it is journalled in full, because all of it changes decisions."""

from datetime import date, datetime
from decimal import Decimal
from typing import Any

from msgspec import UNSET, Struct, UnsetType

from core.models import PortfolioState, Position, PyramidingState, Signal, require_utc
from core.orders import Fill, OrderState


class _Input(Struct, frozen=True, kw_only=True, tag_field="kind"):
    pass


class _Command(_Input, frozen=True, kw_only=True):
    """`operator` is who gave it, by name; unset where it was the process' own token, or the program itself."""

    request_id: str | None = None
    operator: str | UnsetType = UNSET


class SignalInput(_Input, frozen=True, kw_only=True, tag="signal"):
    """An alert. `received_at` is when it was first kept or came in; age runs from it where the alert has no timestamp."""

    signal: Signal
    fingerprint: str
    received_at: datetime

    def __post_init__(self) -> None:
        require_utc("SignalInput", received_at=self.received_at)


class Halt(_Command, frozen=True, kw_only=True, tag="halt"):
    """Operator: no entries until resumed."""

    reason: str | None = None


class Resume(_Command, frozen=True, kw_only=True, tag="resume"):
    """Operator: entries again; with `instrument`, lift only that instrument's freeze."""

    instrument: str | None = None


class Freeze(_Command, frozen=True, kw_only=True, tag="freeze"):
    """Operator, or a mismatch with the broker: no entry of this instrument until it is resumed; exits go on."""

    instrument: str
    reason: str | None = None


class ClosePositions(_Command, frozen=True, kw_only=True, tag="close"):
    """Operator: close one position, or every one (`ALL`), at `price` or, without it, at each one's mark."""

    position_id: str
    price: Decimal | None = None
    reason: str = "OPERATOR"


class MoveCapital(_Command, frozen=True, kw_only=True, tag="capital"):
    """Operator: a deposit (positive) or withdrawal (negative), in money."""

    amount: Decimal
    note: str | None = None


class AdoptPosition(_Command, frozen=True, kw_only=True, tag="adopt"):
    """Operator: lots that the broker holds and we do not are a layer of ours from now on, entered at `price` (points)."""

    instrument: str
    layer: str
    lots: int
    price: Decimal
    stop: Decimal | None = None
    atr: Decimal | None = None
    symbol: str | None = None


class WriteOff(_Command, frozen=True, kw_only=True, tag="write_off"):
    """Operator: lots of ours (None: all) that the broker no longer holds are booked as sold at `price`, without an order."""

    position_id: str
    lots: int | None = None
    price: Decimal
    reason: str = "WRITTEN_OFF"


class IgnoreFinding(_Command, frozen=True, kw_only=True, tag="ignore"):
    """Operator: the broker's quantity minus ours, in its units, is none of ours and stays; 0 forgets what was accepted."""

    instrument: str
    difference: Decimal


class ApproveProposal(_Command, frozen=True, kw_only=True, tag="approve"):
    """Operator: what is proposed is done now, at `price` (points; None: the latest that is known), with other `lots` or those
    proposed. Every limit is asked again."""

    proposal_id: str
    lots: int | None = None
    price: Decimal | None = None
    note: str | None = None


class RejectProposal(_Command, frozen=True, kw_only=True, tag="reject"):
    """Operator: what is proposed is not done; `note` says why."""

    proposal_id: str
    note: str


class ExpireProposals(_Input, frozen=True, kw_only=True, tag="expire"):
    """Those that nobody has decided by now end."""


class StartPortfolio(_Input, frozen=True, kw_only=True, tag="genesis"):
    """The first input of all."""

    initial_capital: Decimal


class ChangeSettings(_Input, frozen=True, kw_only=True, tag="settings"):
    """What decides from here on (core.settings.Settings as JSON)."""

    settings: dict[str, Any]


class SetContracts(_Input, frozen=True, kw_only=True, tag="contracts"):
    """The contracts that instruments are traded in from here on, by instrument (core.listed_contracts as JSON), and the
    months that could not be told, with why. An instrument that is not in it is traded by its own name."""

    contracts: dict[str, Any]


class StartTerm(_Input, frozen=True, kw_only=True, tag="term"):
    """An instance became the writer."""

    term: int
    instance_id: str


class SaveRow(_Input, frozen=True, kw_only=True, tag="manual"):
    """A whole row written through the manager, outside the engine."""

    position: Position | None = None
    state: PortfolioState | None = None
    pyramiding: PyramidingState | None = None


class OrderReport(_Input, frozen=True, kw_only=True, tag="report"):
    """What a broker's answer or books say of an order: `state` None where only fills are told. Fills may be told again."""

    client_order_id: str
    state: OrderState | None = None
    broker_order_id: str | None = None
    fills: tuple[Fill, ...] = ()
    message: str | None = None
    settled: bool = False


class SendOrder(_Input, frozen=True, kw_only=True, tag="send"):
    """The order is about to be sent; `quote` (points) is where it would trade now, None where that is not asked.

    `market` (points) is where the synthetic future would trade that the order is the first leg of.
    """

    client_order_id: str
    quote: Decimal | None = None
    market: Decimal | None = None


class EndTry(_Input, frozen=True, kw_only=True, tag="try_over"):
    """A limit order has had its time: what is left of it is cancelled and tried again."""

    client_order_id: str


class Roll(_Command, frozen=True, kw_only=True, tag="roll"):
    """What is due to be rolled on `day` (the exchange's date), marked so; with `execute` the roll begins.

    `position_id`: that one, due or not.
    """

    day: date
    execute: bool = False
    position_id: str | None = None


OrderInput = OrderReport | SendOrder | EndTry
FindingCommand = AdoptPosition | WriteOff | IgnoreFinding
ProposalCommand = ApproveProposal | RejectProposal
ProposalInput = ProposalCommand | ExpireProposals
TradingCommand = Halt | Resume | Freeze | ClosePositions | MoveCapital | Roll | FindingCommand
Command = TradingCommand | ProposalCommand
Input = (
    SignalInput
    | Command
    | StartPortfolio
    | ChangeSettings
    | SetContracts
    | StartTerm
    | SaveRow
    | OrderInput
    | ExpireProposals
)
