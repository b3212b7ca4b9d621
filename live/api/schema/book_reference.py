"""What /api/book takes and answers of entities, instruments, and what was known on a day."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from live.api.schema.bodies import Money, Price
from live.api.schema.book import CurrencyCode
from live.api.schema.values import Answered, Day, DecimalText, Kept, Time

EntityType = Literal["ISSUER", "SECTOR", "GEOGRAPHY", "CURRENCY"]
EntityId = Annotated[int, Field(ge=1)]
AssetClass = Literal["EQUITY", "EQUITY_INDEX", "COMMODITY", "FX", "RATES", "CREDIT", "LOAN", "CRYPTO", "OTHER"]
InstrumentKind = Literal["future", "synthetic_future", "spot", "perpetual", "option", "bond", "loan", "swap", "forward"]
_Name = Annotated[str, Field(min_length=1, max_length=200)]
_Isin = Annotated[str, Field(pattern="^[A-Z]{2}[A-Z0-9]{9}[0-9]$", description="With its check digit.")]
_Cusip = Annotated[str, Field(pattern="^[A-Z0-9*@#]{8}[0-9]$", description="With its check digit.")]


class Entity(Answered):
    """An issuer, sector, geography or currency; `parent` is the group it is in."""

    entity_id: EntityId
    entity_type: EntityType
    name: str
    ticker: str | None
    isin: str | None
    cusip: str | None
    parent_entity_id: EntityId | None
    parent: str | None


class Entities(Answered):
    """All of them, by type and name."""

    entities: list[Entity]


class ChangedEntity(Answered):
    """The entity, and whether anything is other than before."""

    entity_id: EntityId
    changed: bool


class ChangedInstrument(Answered):
    """The instrument, and whether anything is other than before."""

    symbol: str
    changed: bool


class Rating(Answered):
    """What an agency thought of an issuer from a day on."""

    entity_id: EntityId
    issuer: str
    agency: Literal["SP", "MOODYS", "FITCH", "DBRS"]
    rating: str
    outlook: Literal["POSITIVE", "STABLE", "NEGATIVE", "DEVELOPING"] | None
    as_of_date: Day


class Ratings(Answered):
    """The newest of each issuer by each agency on or before a day."""

    as_of: Day
    ratings: list[Rating]


class UploadedPrice(Answered):
    """What an instrument cost, and who says so."""

    instrument: str
    price: DecimalText
    currency: CurrencyCode
    as_of_date: Day
    source: str


class Prices(Answered):
    """The newest of each instrument on or before a day."""

    as_of: Day
    prices: list[UploadedPrice]


class LoanStood(Answered):
    """Where a loan stood, in its currency."""

    instrument: str
    currency: CurrencyCode
    as_of_date: Day
    outstanding_balance: DecimalText
    principal_paid: DecimalText
    interest_paid: DecimalText
    days_past_due: Annotated[int, Field(ge=0)]


class Servicing(Answered):
    """The newest of each loan on or before a day."""

    as_of: Day
    servicing: list[LoanStood]


class LineageOf(Answered):
    """Of the upload itself, or of a feed that it brought: what was done to it in order, and what was checked."""

    lineage_id: Annotated[int, Field(ge=1)]
    feed_id: int | None
    feed_type: str | None
    as_of_date: Day | None
    source_system: str
    source_reference: str | None
    transformation_chain: list[str]
    quality_checks_passed: bool | None
    quality_checks_json: Kept
    metadata_json: Kept
    ingested_at: Time


class Lineage(Answered):
    """Where an upload came from."""

    lineage: list[LineageOf]


# --- what may be posted


class _Given(BaseModel):
    model_config = ConfigDict(extra="forbid")


class EntityChange(_Given):
    """What is to be otherwise."""

    name: _Name | None = None
    ticker: Annotated[str, Field(max_length=30, description="Of a currency its letters.")] | None = None
    isin: _Isin | None = None
    cusip: _Cusip | None = None
    parent_id: Annotated[EntityId, Field(description="A group of the same type.")] | None = None


class NewEntity(EntityChange):
    """An entity. The same one again changes nothing."""

    entity_type: EntityType
    name: _Name


class InstrumentChange(_Given):
    """What is to be otherwise. Of what the engine trades its settings say kind, exchange, currency and sizes."""

    name: _Name | None = None
    asset_class: AssetClass | None = None
    kind: InstrumentKind | None = None
    currency: CurrencyCode | None = None
    exchange: Annotated[str, Field(max_length=20)] | None = None
    lot_size: Annotated[Price, Field(description="In units.")] | None = None
    point_value: Annotated[Price, Field(description="Money per point and lot.")] | None = None
    tick: Price | None = None
    margin_per_lot: Money | None = None
    issuer_id: EntityId | None = None
    sector_id: EntityId | None = None
    isin: _Isin | None = None
    cusip: _Cusip | None = None
    is_active: bool | None = None


class NewInstrument(InstrumentChange):
    """An instrument of the master. The same one again changes nothing."""

    symbol: Annotated[str, Field(pattern="^[A-Za-z0-9_]{1,29}$")]
    asset_class: AssetClass
    kind: InstrumentKind
    currency: CurrencyCode
