"""What is answered: to alerts, to commands, by lists and by views of how things are."""

from typing import Annotated, Literal

from pydantic import Field, RootModel
from typing_extensions import TypeAliasType

from core.findings import FindingKind
from core.models import SignalType, Status
from live.api.schema.rows import (
    Instance,
    JournalEntry,
    ListedBriefing,
    ListedPosition,
    LoggedSignal,
    Order,
    Outcome,
    Proposal,
    Term,
)
from live.api.schema.values import Answered, Count, Day, DecimalText, Figures, Fingerprint, Time

# Each code with what it says; docs/api.md tells the same.
CODES = {
    "bad_request": "the request is no HTTP that is understood here",
    "malformed": "a field or parameter is wrong: `field` names it, `message` the rule",
    "unknown_instrument": "the instrument is not configured",
    "unauthorized": "the secret or the operator's token is missing or wrong",
    "forbidden": "the operator's role does not allow it",
    "csrf": "a session's command without what GET /session tells",
    "forbidden_address": "alerts are not taken from this address",
    "web_page": "neither alerts nor tokens are taken from another site's page",
    "not_found": "there is nothing at this address, or no order, proposal or upload of this id, or briefing of this day",
    "unknown_portfolio": "the portfolio is not served here",
    "unknown_position": "there is no position of this id",
    "method_not_allowed": "the address takes other methods: header `Allow`",
    "request_timeout": "the request did not arrive in time",
    "rate_limited": "too often, or a wrong secret or token too often: header `Retry-After`",
    "busy": "another file comes or is being made, or a batch runs: one at a time; header `Retry-After`",
    "no_follower": "no other instance follows and could lead",
    "no_broker": "there is no broker to compare with",
    "too_large": "the body is larger than 64 KiB, or a file than `book.upload_max_bytes`",
    "rows_refused": "rows of a file are refused, and none was taken: `rows` says why",
    "headers_too_large": "the head of the request is too large",
    "unknown": "it may have been done: look before you send it again, or send it with the same `request_id`",
    "unavailable": "nothing was kept; send again",
    "database_away": "the database does not answer; send again",
    "broker_away": "the broker's positions cannot be read",
    "too_many_streams": "too many pages are open: ask for /dashboard/state from time to time",
    "book_not_migrated": "there is no book of record, or an older one: `migrate --book`",
    "unknown_node": "there is no such node of the book's tree",
    "node_exists": "another node has that name there",
    "unknown_entity": "there is no such issuer, sector, geography or currency",
    "entity_exists": "there is one of that type and name already, and it is another one",
    "instrument_exists": "there is an instrument of that symbol already, and it is another one",
    "other_position": "another position was entered under that `request_id`",
    "position_closed": "a position that is closed stays as it is",
    "not_entered": "only what a person entered is changed by hand",
    "wrong_level": "a node hangs on one of a higher level only",
    "missing_rate": "a rate between two currencies is missing on that day",
    "currency_needed": "roots are in different currencies: say which one is meant",
    "no_days": "nothing was marked on any of those days",
    "capital_needed": "returns are of some money: say how much",
    "library_missing": "what reckons is an extra that is not installed: requirements-book.txt, requirements-risk.txt",
    "unknown_day": "nothing was reckoned of that day, or of none yet: `risk batch --date DAY`",
    "unknown_scenario": "there is no such scenario, or it was not reckoned on that day",
    "unknown_bars": "there are no such bars",
    "unknown_session": "there is no such what-if session",
    "source_needed": "several sources tell such bars: say which one is meant",
    "no_trading_day": "nothing that is held was traded on that day, or it is not over",
    "batch_runs": "the batch of that day is being run already",
    "step_failed": "a step of the batch failed; what was done before it stays, and the next try goes on there",
    "not_ready": "signals cannot be kept yet",
    "overloaded": "too many requests wait, nothing was kept; send again",
    "internal": "a fault of ours, which was logged; send again",
}
ErrorCode = TypeAliasType("ErrorCode", Annotated[str, Field(json_schema_extra={"enum": list(CODES)})])
Role = Literal["leader", "follower", "starting"]
_Next = "The cursor of the next page, for `before`; null on the last one."


class Error(Answered):
    """What is wrong: a code for programs, a sentence for people, and the field or parameter if it is one."""

    code: ErrorCode
    message: str
    field: str | None = Field(default=None, description="Absent where it is none.")


class Failed(Answered):
    """The one form of an error."""

    error: Error


# --- alerts and commands


class DecidedAlert(Answered):
    """An alert was decided, durably. `executed`, `accepted` (orders are on their way), `proposed`; or `rejected` by state or
    time, `blocked` by a limit or a gate, `failed`: then `reason` says why."""

    status: Status
    signal_id: int | None
    fingerprint: Fingerprint
    journal_seq: int | None
    warnings: list[str] = Field(description="Fields of the alert that are not known.")
    position_id: str | None
    positions: list[str] = Field(description="What an EXIT of several layers closed.")
    lots: int | None
    limiter: str | None = Field(description="The smallest of the constraints in `sizing`.")
    reason: str | None
    sizing: Figures


class DuplicateAlert(Answered):
    """The alert came before. `first` is what was answered then; `differs`: the body was another one."""

    status: Literal["duplicate"]
    signal_id: int | None
    fingerprint: Fingerprint
    journal_seq: int | None
    warnings: list[str]
    first: Outcome
    differs: bool


class QueuedAlert(Answered):
    """The alert is kept, and decided as soon as it can be."""

    status: Literal["queued"]
    signal_id: int | None
    fingerprint: Fingerprint
    journal_seq: int | None
    warnings: list[str]
    reason: str


class Flip(Answered):
    """What became of an alert that is two signals, in their order: the end of one side, and the other one. `status` is the
    last one's."""

    status: str
    signals: list[DecidedAlert | DuplicateAlert | QueuedAlert]


class AnsweredAlert(RootModel[DecidedAlert | DuplicateAlert | Flip]):
    """What became of an alert."""


class KeptAlert(RootModel[QueuedAlert | Flip]):
    """The alert, or one of its signals, is kept, and decided as soon as it can be."""


class DecidedCommand(Answered):
    """A command was decided, durably, and is in the journal under `journal_seq`."""

    status: Status
    journal_seq: int | None
    reason: str | None
    position_id: str | None
    positions: list[str]
    lots: int | None
    sizing: Figures


class DuplicateCommand(Answered):
    """A command of this `request_id` was carried out before; `differs`: it was another one."""

    status: Literal["duplicate"]
    journal_seq: int | None
    first: Outcome
    differs: bool


class AnsweredCommand(RootModel[DecidedCommand | DuplicateCommand]):
    """What became of a command."""


class Handover(Answered):
    """Another instance leads from now on; or this one has been following already."""

    status: Literal["handed_over", "follower"]


class Finding(Answered):
    """One symbol: signed quantities in the broker's units."""

    kind: FindingKind
    symbol: str
    exchange: str
    instrument: str | None
    ours: DecimalText
    broker: DecimalText
    accepted: DecimalText = Field(description="What the operator has accepted that the broker holds besides ours.")


class Reconciled(Answered):
    """Ours beside the broker's positions."""

    findings: list[Finding]
    mismatches: Count


# --- lists


class Positions(Answered):
    """A page of positions, the newest first."""

    positions: list[ListedPosition]
    next: str | None = Field(description=_Next)


class Orders(Answered):
    """A page of orders, the newest first."""

    orders: list[Order]
    next: str | None = Field(description=_Next)


class Proposals(Answered):
    """A page of proposals, the newest first."""

    proposals: list[Proposal]
    next: int | None = Field(description=_Next)


class Signals(Answered):
    """A page of signals, the newest first."""

    signals: list[LoggedSignal]
    next: int | None = Field(description=_Next)


class Journal(Answered):
    """A page of the journal, the newest entry first."""

    journal: list[JournalEntry]
    next: int | None = Field(description=_Next)


class Instances(Answered):
    """The processes, the one that was alive last first; and a page of terms, the newest first."""

    instances: list[Instance]
    terms: list[Term]
    next: int | None = Field(description=_Next)


# --- what the dashboard is made of


class BoardChanges(Answered):
    """What a page shows that it did not show at `version`, or all of it."""

    version: str | None
    whole: bool = Field(description="What is not told is not there.")
    rows: dict[str, dict[str, dict[str, str] | None]] = Field(description="By section and key; null is gone.")


class EquityCurve(Answered):
    """As numbers to draw. Times are in seconds since 1970, `drawdown` in per cent."""

    time: list[float]
    equity: list[float]
    drawdown: list[float]
    whole: bool = Field(description="It goes back to the first trade.")


class Layer(Answered):
    """An open layer, as numbers to draw."""

    layer: str
    number: int
    lots: int
    entered: float
    entry: float
    initial_stop: float | None
    stop: float | None
    mark: float
    marked: float


class Ladder(Answered):
    """As numbers to draw. Times are in seconds since 1970."""

    instrument: str
    time: list[float]
    price: list[float]
    layers: list[Layer]


# --- how things are


class Spool(Answered):
    """What the local disk keeps while the database is away."""

    kept: Count
    set_aside: Count = Field(description="Signals that never could be decided: somebody has to look.")
    usable: bool


class Waiting(Answered):
    """How much waits to be decided, and how much of it the disk keeps (null without a spool)."""

    backlog: Count
    spool: Spool | None


class Away(Answered):
    """The database does not answer; what is known without it."""

    error: Error
    backlog: Count = Field(default=0, description="Absent where nothing could be asked.")
    spool: Spool | None = None


class DatabaseAway(Away):
    """The same, of the database itself."""

    connected: Literal[False] = False


class ServedPortfolio(Waiting):
    """A portfolio of this process."""

    portfolio: str
    role: Role
    ready: bool


class Portfolios(Answered):
    """The portfolios of this process."""

    portfolios: list[ServedPortfolio]


class Statistics(Answered):
    """Counts and sums over closed positions; money net of costs."""

    trades_closed: Count
    trades_won: Count
    gross_profit: DecimalText
    gross_loss: DecimalText
    costs: DecimalText


class Leader(Answered):
    """Who leads, where it listens. Empty where nobody does."""

    instance_id: str = Field(default="", description="Absent where nobody leads.")
    hostname: str | None = None
    port: int | None = None


class PortfolioStatus(Waiting):
    """A portfolio's figures, and who serves it. Percentages are of the sizing equity, null where that is not positive."""

    portfolio: str
    initial_capital: DecimalText
    closed_equity: DecimalText
    realized_total: DecimalText
    flows_total: DecimalText
    equity_high: DecimalText
    total_risk_amount: DecimalText
    total_risk_percent: DecimalText | None
    total_vol_amount: DecimalText
    total_vol_percent: DecimalText | None
    margin_used: DecimalText
    margin_percent: DecimalText | None
    halted: bool
    statistics: Statistics
    version: Count
    open_equity: DecimalText
    blended_equity: DecimalText
    sizing_equity: DecimalText
    unrealized_total: DecimalText
    open_heat: DecimalText = Field(description="What is lost if every stop is hit now.")
    drawdown_percent: DecimalText = Field(description="Of closed equity from its high.")
    open_positions: Count
    leader: bool
    led_by: Leader | None = Field(default=None, description="Absent where this instance leads.")
    term: int | None
    instance_id: str
    pid: int
    ready: bool
    fills: Literal["paper", "broker"]
    orders: dict[str, int] = Field(description="Orders of which more may come, by state.")
    proposals: Count = Field(description="Signals that wait for a human.")
    failed_invariants: list[str] = Field(description="Of the last start.")
    frozen: dict[str, str] = Field(description="By instrument why its entries are frozen.")


class SignalCount(Answered):
    """Signals of one type and outcome."""

    signal_type: SignalType
    processing_status: Status
    signals: Count
    duplicates: Count = Field(description="How often they came again.")


class SignalCounts(Answered):
    """Signals by type and outcome, and how often they came again."""

    signals: Count
    duplicates: Count
    by_type: dict[str, int]
    by_outcome: dict[str, int]
    counts: list[SignalCount]


class Pool(Answered):
    """Connections for reading."""

    in_use: Count
    size: Count


class Cache(Answered):
    """How often a position was found in memory."""

    hits: Count
    misses: Count


class Standby(Answered):
    """A server that replicates this one."""

    name: str | None
    state: str | None
    sync: str | None


class DatabaseStatus(Waiting):
    """The database as it is now."""

    connected: Literal[True]
    server_version: str
    in_recovery: bool
    open_positions: Count
    waiting_signals: Count
    last_commit: Time | None
    replication: list[Standby]
    latency_ms: float
    pool: Pool
    cache: Cache
    migration_version: str | None
    term: int | None


class Briefings(Answered):
    """A page of the archive."""

    briefings: list[ListedBriefing]
    next: Day | None = Field(description=_Next)


class Alive(Answered):
    """The process is alive."""

    status: Literal["alive"]


class Ready(Answered):
    """Signals can be kept; of several portfolios `not_ready` names those of which they cannot."""

    ready: Literal[True]
    not_ready: list[str] = Field(default_factory=list, description="Absent where all are ready.")


class NotReady(Answered):
    """Signals cannot be kept yet."""

    error: Error
    ready: Literal[False] = False


class Leads(Answered):
    """This instance leads the portfolio."""

    leader: Literal[True]


class DoesNotLead(Answered):
    """It does not; or it cannot be asked: then `error` says why."""

    leader: Literal[False] = Field(default=False, description="Absent where it could not be asked.")
    error: Error | None = Field(default=None, description="Absent where it could.")


class Session(Answered):
    """Who is signed in, with what role."""

    operator: str
    role: Literal["viewer", "trader", "admin"]
    csrf_token: str | None = Field(description="What commands of a session carry as X-CSRF-Token; null for a token.")


class SignedOut(Answered):
    """There is no session any more."""

    status: Literal["signed_out"]


class Document(RootModel[dict[str, object]]):
    """An OpenAPI 3.1 document."""
