"""What may be posted: alerts, and the operator's commands. null counts as absent in each."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, RootModel
from typing_extensions import TypeAliasType

from core.alert import MAX_ID, MAX_LOTS, MAX_SEQUENCE
from core.models import MONEY_LIMIT, MOST_LOTS, PRICE_LIMIT, QUANTITY_LIMIT
from core.numbers import PRICE_SCALE
from core.proposals import NOTE_LENGTH as PROPOSAL_NOTE_LENGTH
from core.strict_json import MAX_TEXT
from live.api.findings import REASON_LENGTH, SYMBOL_LENGTH
from live.api.operator import NOTE_LENGTH, POSITION_ID_LENGTH

_MOST_OF_A_PRICE = int(PRICE_LIMIT)
_LEAST_PRICE = 10.0**-PRICE_SCALE
_MOST_MONEY = int(MONEY_LIMIT)
_MOST_QUANTITY = int(QUANTITY_LIMIT)


def _in_a_string(pattern: str, example: str) -> Any:
    """A number as text: no reader on the way rounds it. The bounds of the number hold for it too."""
    return Field(
        pattern=pattern, description="A number in a string, within the bounds of the number.", examples=[example]
    )


PositiveNumeral = TypeAliasType(
    "PositiveNumeral", Annotated[str, _in_a_string(r"^[0-9]{1,10}(\.[0-9]{1,8})?$", "52000.5")]
)
SignedNumeral = TypeAliasType("SignedNumeral", Annotated[str, _in_a_string(r"^-?[0-9]{1,10}(\.[0-9]{1,8})?$", "-1.5")])
RatioNumeral = TypeAliasType("RatioNumeral", Annotated[str, _in_a_string(r"^(0(\.[0-9]{1,8})?|1)$", "0.82")])
WholeNumeral = TypeAliasType("WholeNumeral", Annotated[str, _in_a_string(r"^[0-9]{1,9}$", "2")])
MoneyNumeral = TypeAliasType(
    "MoneyNumeral", Annotated[str, _in_a_string(r"^-?[0-9]{1,16}(\.[0-9]{1,4})?$", "250000.25")]
)
# A string that is blank says nothing, like null.
Blank = Literal[""]
Price = Annotated[float, Field(ge=_LEAST_PRICE, lt=_MOST_OF_A_PRICE)] | PositiveNumeral
NotNegative = Annotated[float, Field(ge=0, lt=_MOST_OF_A_PRICE)] | PositiveNumeral
Number = Annotated[float, Field(gt=-_MOST_OF_A_PRICE, lt=_MOST_OF_A_PRICE)] | SignedNumeral
Ratio = Annotated[float, Field(ge=0, le=1)] | RatioNumeral
AlertLots = Annotated[int, Field(ge=0, le=MAX_LOTS)] | WholeNumeral
Sequence = Annotated[int, Field(ge=0, le=MAX_SEQUENCE)] | WholeNumeral
CommandLots = Annotated[int, Field(ge=1, le=MOST_LOTS)] | WholeNumeral
Money = Annotated[float, Field(gt=-_MOST_MONEY, lt=_MOST_MONEY)] | MoneyNumeral
Quantity = Annotated[float, Field(gt=-_MOST_QUANTITY, lt=_MOST_QUANTITY)] | SignedNumeral
InstrumentName = TypeAliasType(
    "InstrumentName",
    Annotated[str, Field(pattern="^[A-Za-z0-9_]{1,29}$", description="Letters of either case.")],
)
PortfolioName = Annotated[str, Field(pattern="^[A-Za-z][A-Za-z0-9_]{0,29}$")]
FiredAt = TypeAliasType(
    "FiredAt",
    Annotated[
        str,
        Field(
            pattern=r"^2[01][0-9]{2}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}(:[0-9]{2}([.,][0-9]+)?)?"
            r" ?([Zz]|[+-][0-9]{2}(:?[0-9]{2})?)?$",
            description="ISO 8601, in the years 2000 to 2100; without an offset it is of the configured zone.",
            examples=["2026-01-14T06:15:00Z"],
        ),
    ],
)
_NO_NUL = r"^[^\u0000]*$"
Text = Annotated[str, Field(max_length=MAX_TEXT, pattern=_NO_NUL)]
RequestId = Annotated[
    str,
    Field(
        min_length=1,
        max_length=100,
        description="Printable, not blank. A repeat with the same one answers the first outcome.",
        examples=["halt-1"],
    ),
]
Reason = Annotated[str, Field(max_length=REASON_LENGTH, pattern=_NO_NUL)]
ProposalNote = Annotated[str, Field(max_length=PROPOSAL_NOTE_LENGTH, pattern=_NO_NUL)]
PositionId = Annotated[str, Field(max_length=POSITION_ID_LENGTH, pattern=r"\S")]


# --- alerts


def _one_of(kind: str | list[str], *names: str) -> dict[str, Any]:
    """One of these fields is there, and not blank."""
    told = {"type": kind, "pattern": r"\S"}
    return {"anyOf": [{"required": [name], "properties": {name: told}} for name in names]}


_TIMED = _one_of("string", "timestamp", "bar_time")
_NUMBER = ["number", "string"]
_MEASURED: dict[str, Any] = {
    "allOf": [_TIMED, _one_of(_NUMBER, "stop", "stop_atr"), _one_of(_NUMBER, "atr", "atr_max_age_seconds")]
}


class _Alert(BaseModel):
    model_config = ConfigDict(extra="allow", json_schema_extra=_TIMED)

    instrument: InstrumentName
    price: Price
    timestamp: FiredAt | Blank | None = Field(default=None, description="When it fired.")
    bar_time: FiredAt | Blank | None = Field(
        default=None, description="The bar that it fired on. One of the two is required."
    )
    lots: AlertLots | Blank | None = Field(
        default=None, description="What the strategy would take; told, not followed."
    )
    supertrend: Number | Blank | None = None
    roc: Number | Blank | None = None
    reason: Text | None = None
    secret: Text | None = Field(default=None, description="The portfolio's, where one is set.")
    portfolio: PortfolioName | Blank | None = None
    seq: Sequence | Blank | None = Field(default=None, description="The alert's number: it rises by one an instrument.")
    position_size: Number | Blank | None = Field(
        default=None, description="The strategy's own position after this alert, signed."
    )
    market_position: Literal["long", "short", "flat"] | Blank | None = None
    trade_number: AlertLots | Blank | None = None
    alert_id: Annotated[str, Field(max_length=MAX_ID, pattern=_NO_NUL)] | float | None = Field(
        default=None, description="Part of what the alert is: another one is another alert."
    )
    stop_atr: Price | Blank | None = Field(
        default=None, description="In place of an entry's stop: so many ATR from its price."
    )
    atr_max_age_seconds: Price | Blank | None = Field(
        default=None,
        description="In place of an entry's ATR: that of the instrument's last bar, if it is no older at the entry's bar.",
    )


class _Entry(_Alert):
    model_config = ConfigDict(extra="allow", json_schema_extra=_MEASURED)

    stop: Price | Blank | None = None
    atr: Price | Blank | None = None
    er: Ratio


class BaseEntry(_Entry):
    """The first layer of a position."""

    type: Literal["BASE_ENTRY"]
    position: Literal["Long_1", "Short_1"]


class Pyramid(_Entry):
    """A further layer."""

    type: Literal["PYRAMID"]
    position: Annotated[str, Field(pattern="^(Long|Short)_([2-6]|next)$")]


class Exit(_Alert):
    """The end of a layer, or with `ALL` of all layers of the instrument."""

    type: Literal["EXIT"]
    position: Annotated[str, Field(pattern="^((Long|Short)_[1-6]|ALL)$")]
    stop: NotNegative | Blank | None = None
    atr: Price | Blank | None = None
    er: Ratio | Blank | None = None


class MarketData(_Alert):
    """A bar's close and ATR: they move marks and stops."""

    type: Literal["MARKET_DATA"]
    atr: Price
    stop: NotNegative | Blank | None = None
    er: Ratio | Blank | None = None


class Alert(RootModel[Annotated[BaseEntry | Pyramid | Exit | MarketData, Field(discriminator="type")]]):
    """One alert. Fields that are not known are told of in `warnings`. The Content-Type may be any. A portfolio with an
    intake profile takes alerts of another shape besides."""


# --- sessions


class Login(BaseModel):
    """An operator's token."""

    token: str | None = None


class LinkApproval(BaseModel):
    """A proposal is approved by a link: empty fields leave lots and price to the engine."""

    model_config = ConfigDict(extra="forbid")

    lots: str | None = None
    price: str | None = None
    note: str | None = Field(default=None, max_length=500)


class LinkRejection(BaseModel):
    """A proposal is rejected by a link, and why."""

    model_config = ConfigDict(extra="forbid")

    note: str = Field(min_length=1, max_length=500)


# --- commands


class _Command(BaseModel):
    model_config = ConfigDict(extra="forbid")

    request_id: RequestId | None = None


class Halt(_Command):
    """No entries, or none of one instrument."""

    instrument: InstrumentName | None = None
    reason: Reason | None = None


class Resume(_Command):
    """Entries again, or the end of one instrument's freeze."""

    instrument: InstrumentName | None = None


class Capital(_Command):
    """A deposit, or with a negative amount a withdrawal; at most 4 decimals."""

    amount: Money
    note: Annotated[str, Field(max_length=NOTE_LENGTH)] | None = None


class Close(_Command):
    """At a price with at most 8 decimals, else at the marks."""

    price: Price | None = None
    reason: Reason | None = Field(default=None, description="OPERATOR where it is absent.")


class Approval(_Command):
    """At a price, else at the latest that is known; with other lots, else with those that were proposed."""

    lots: CommandLots | None = None
    price: Price | None = None
    note: ProposalNote | None = None


class Rejection(_Command):
    """Why it is not done."""

    note: Annotated[ProposalNote, Field(min_length=1, pattern=r"\S")]


class NoMore(_Command):
    """Nothing has to be said."""


class Rollover(_Command):
    """What is due, or the one position that is named, due or not."""

    position_id: PositionId | Blank | None = None


class Resolution(_Command):
    """The end of an order as the operator saw it at the broker. `lots` and `price` come together: what was filled and is
    not booked yet; where it was filled they are needed."""

    state: Literal["cancelled", "rejected", "filled"]
    lots: CommandLots | None = None
    price: Price | None = None
    broker_order_id: Annotated[str, Field(max_length=100)] | None = None


class Adoption(_Command):
    """Lots that the broker holds and we do not are a layer of ours from now on."""

    instrument: InstrumentName
    layer: Annotated[str, Field(pattern="^(Long|Short)_[1-6]$")]
    lots: CommandLots
    price: Price
    stop: Price | None = None
    atr: Price | None = None
    symbol: Annotated[str, Field(max_length=SYMBOL_LENGTH)] | None = None


class WriteOff(_Command):
    """Lots of ours that the broker no longer holds are booked as sold, without an order."""

    position_id: PositionId
    lots: CommandLots | None = Field(default=None, description="All of them where it is absent.")
    price: Price
    reason: Reason | None = Field(default=None, description="WRITTEN_OFF where it is absent.")


class Ignored(_Command):
    """The broker's quantity minus ours, in its units, is none of ours; 0 forgets what was accepted."""

    instrument: InstrumentName
    difference: Quantity
