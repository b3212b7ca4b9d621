"""What /api/book takes and answers."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field
from typing_extensions import TypeAliasType

from live.api.schema.answers import Error
from live.api.schema.bodies import PositiveNumeral
from live.api.schema.values import Answered, Count, Day, DecimalText, Fingerprint, Kept, Time

CurrencyCode = TypeAliasType("CurrencyCode", Annotated[str, Field(pattern="^[A-Za-z]{3,5}$", examples=["USD"])])
NodeType = Literal["FUND", "DESK", "BOOK", "STRATEGY"]
BatchId = Annotated[int, Field(ge=1)]
BatchStatus = Literal["STARTED", "VALIDATING", "COMPLETED", "FAILED"]
NodeId = Annotated[int, Field(ge=1)]


class BookFigures(Answered):
    """What is added up of positions, in the currency of the answer."""

    positions: Count = Field(description="Those that were open.")
    unmarked: Count = Field(description="Of them those without a mark: they count at their entry.")
    unvalued: Count = Field(description="Of them those without any price: they count for nothing.")
    gross: DecimalText
    net: DecimalText = Field(description="Long minus short.")
    day_pnl: DecimalText | None = Field(description="Of that very day; null where nothing was marked on it.")
    realized_pnl: DecimalText = Field(description="So far, of what is closed too.")
    unrealized_pnl: DecimalText
    dv01: DecimalText | None = Field(description="Null where no position has one.")
    var_contribution: DecimalText | None = Field(description="Null where no position has one.")


class NodeFigures(BookFigures):
    """A node with all below it; `depth` is how far below the first one it is."""

    portfolio_node_id: NodeId
    name: str
    node_type: NodeType
    parent_id: NodeId | None
    base_ccy: CurrencyCode
    depth: Count


class KeyedFigures(BookFigures):
    """Of one instrument, sector (blank: of none) or currency."""

    key: str


class BookTree(Answered):
    """The tree at the end of a day (UTC), each node followed by what is below it."""

    as_of: Day
    currency: CurrencyCode
    marked_on: Day | None = Field(description="The newest day of which there were marks; null where there were none.")
    nodes: list[NodeFigures]


class BookSnapshot(Answered):
    """A moment at which the node was kept as it was."""

    snapshot_id: int
    as_of_date: Day
    taken_at: Time
    payload_hash: Fingerprint


class BookNode(BookTree):
    """A node with all below it, and the same by what it holds."""

    by_instrument: list[KeyedFigures]
    by_sector: list[KeyedFigures]
    by_currency: list[KeyedFigures]
    snapshots: list[BookSnapshot] = Field(description="The latest ones, the newest first.")


class ListedNode(Answered):
    """A node, and the engine's portfolios that hang on it."""

    portfolio_node_id: NodeId
    name: str
    node_type: NodeType
    parent_id: NodeId | None
    base_ccy: CurrencyCode
    portfolios: list[str]


class BookNodes(Answered):
    """Every node, the oldest first."""

    nodes: list[ListedNode]


class MasterInstrument(Answered):
    """An instrument of the master. Lots in units, margin in its currency."""

    instrument_id: int
    symbol: str
    name: str
    asset_class: str
    kind: str
    exchange: str | None
    currency: CurrencyCode
    sector: str | None
    lot_size: DecimalText | None
    point_value: DecimalText | None
    tick: DecimalText | None
    margin_per_lot: DecimalText | None
    isin: str | None
    cusip: str | None
    is_active: bool


class BookInstruments(Answered):
    """The master of instruments, by symbol."""

    instruments: list[MasterInstrument]


class BookRate(Answered):
    """How many of the pair's second currency are paid for one of its first."""

    pair: str
    rate: DecimalText
    as_of_date: Day
    source: str


class BookRates(Answered):
    """The newest rate of each pair on or before a day."""

    as_of: Day
    rates: list[BookRate]


class CalendarDay(Answered):
    """A trading day: what so many positions earned on it."""

    date: Day
    daily_pnl: DecimalText
    positions: Count


class PnLCalendar(Answered):
    """The days of a period of which there are marks, the earliest first; `total` is their sum."""

    from_date: Day
    to_date: Day
    currency: CurrencyCode
    total: DecimalText
    days: list[CalendarDay]


class PnLPart(Answered):
    """What one instrument, strategy, layer or child node earned."""

    key: str = Field(description="Blank: of no strategy or layer. Of a node its number.")
    name: str
    pnl: DecimalText


class EquityChange(Answered):
    """`to_equity` - `from_equity` = `flows` + the P&L + `revaluation`."""

    from_equity: DecimalText
    to_equity: DecimalText
    flows: DecimalText = Field(description="What was paid in, less what was paid out.")
    revaluation: DecimalText = Field(description="What rates made of the equity that was there already.")


class PnLAttribution(Answered):
    """The change from the end of one day to that of another; `pnl` is the sum of the lines."""

    from_date: Day
    to_date: Day
    by: Literal["instrument", "strategy", "layer", "node"]
    currency: CurrencyCode
    pnl: DecimalText
    lines: list[PnLPart]
    equity: EquityChange | None = Field(description="Null where no portfolio of the engine is in it.")


class ChangedNode(Answered):
    """The node, and whether anything is other than before."""

    portfolio_node_id: NodeId
    changed: bool


class KeptRate(Answered):
    """The rate, and whether it is other than before."""

    pair: str
    rate: DecimalText
    as_of_date: Day
    changed: bool


class OddRow(Answered):
    """A row that was refused, or looks odd, and why."""

    line: Annotated[int, Field(ge=1, description="Of JSON and Parquet the number of the row, from 1.")]
    status: Literal["WARN", "FAIL"]
    reasons: list[str]


class Uploaded(Answered):
    """What became of a file."""

    batch_id: BatchId
    status: BatchStatus
    rows_total: Count
    rows_taken: Count
    rows_refused: Count
    rows_warned: Count
    already: bool = Field(description="The same file was taken before: nothing has changed.")
    rows: list[OddRow] = Field(description="The first ones of those that are refused or look odd, by line.")
    more_rows: Count = Field(description="How many more there are: the rows' own address tells them.")


class RefusedUpload(Uploaded):
    """None of the file was taken: what is wrong with its rows is kept beside them."""

    error: Error


class ListedUpload(Answered):
    """A file that came in."""

    batch_id: BatchId
    batch_type: str
    status: BatchStatus
    source_name: str
    content_hash: Fingerprint
    rows_total: Count
    rows_taken: Count
    rows_refused: Count
    uploaded_by: str | None
    started_at: Time
    completed_at: Time | None


class Uploads(Answered):
    """Files that came in, the newest first."""

    uploads: list[ListedUpload]
    next: int | None


class UploadedRow(Answered):
    """A row as it came, and what was found of it."""

    line: Annotated[int, Field(ge=1)]
    status: Literal["PENDING", "PASS", "WARN", "FAIL"]
    reasons: list[str]
    values: Kept


class UploadedRows(Answered):
    """Rows of a file that came in, in its order; `next` is what to ask for as `after`."""

    rows: list[UploadedRow]
    next: int | None


class ListedExport(Answered):
    """A file that went out; `content_hash` is its SHA-256."""

    export_id: Annotated[int, Field(ge=1)]
    content: str
    format: str
    portfolio: str | None
    begins: Day | None
    ends: Day | None
    rows_total: Count
    content_hash: Fingerprint
    exported_by: str | None
    exported_at: Time


class Exports(Answered):
    """Files that went out, the newest first."""

    exports: list[ListedExport]
    next: int | None


# --- what may be posted


class _Given(BaseModel):
    model_config = ConfigDict(extra="forbid")


_Name = Annotated[str, Field(max_length=100)]
_NodeNumber = Annotated[int, Field(ge=0, description="A node; 0 is none.")]


class NewNode(_Given):
    """A node. Without `base_ccy` its money is in its parent's currency. The same one again changes nothing."""

    name: Annotated[str, Field(min_length=1, max_length=100, pattern=r"\S")]
    node_type: NodeType
    parent_id: _NodeNumber | None = None
    base_ccy: CurrencyCode | None = None


class NodeChange(_Given):
    """Another name, another parent, or both; a node moves with all below it."""

    name: _Name | None = None
    parent_id: _NodeNumber | None = None


class HungPortfolio(_Given):
    """A portfolio of the engine."""

    portfolio: Annotated[str, Field(min_length=1, max_length=30)]


class NewRate(_Given):
    """A rate, as of today or of the day that is named. The same one again changes nothing."""

    pair: Annotated[str, Field(pattern="^[A-Za-z]{3,5}/[A-Za-z]{3,5}$", examples=["USD/INR"])]
    rate: Annotated[float, Field(gt=0, lt=10_000_000_000)] | PositiveNumeral
    as_of: Annotated[str, Field(pattern="^[0-9]{4}-[0-9]{2}-[0-9]{2}$")] | None = None
    source: _Name | None = Field(default=None, description="Who says so; without it, who asks.")
