"""Who and what there is: issuers, sectors, geographies, currencies, ratings, and the one master of instruments."""

from datetime import date

from sqlalchemy import CheckConstraint, ForeignKey, Index, String, UniqueConstraint, desc, text
from sqlalchemy.orm import Mapped, mapped_column, validates

from book.base import (
    Base,
    Created,
    Currency,
    Document,
    Id,
    Money,
    Price,
    Text20,
    Text200,
    Updated,
    is_currency,
    is_object,
    one_of,
)
from book.identifiers import require_cusip, require_isin

ASSET_CLASSES = ("EQUITY", "EQUITY_INDEX", "COMMODITY", "FX", "RATES", "CREDIT", "LOAN", "CRYPTO", "OTHER")
INSTRUMENT_KINDS = ("future", "synthetic_future", "spot", "perpetual", "option", "bond", "loan", "swap", "forward")
AGENCIES = ("SP", "MOODYS", "FITCH", "DBRS")


class _Identified:
    """What may have an ISIN and a CUSIP. Setting a wrong one raises NotAnIdentifier."""

    cusip: Mapped[str | None] = mapped_column(String(9), index=True)
    isin: Mapped[str | None] = mapped_column(String(12), index=True)

    @validates("cusip")
    def _checked_cusip(self, _key: str, value: str | None) -> str | None:
        return None if value is None else require_cusip(value)

    @validates("isin")
    def _checked_isin(self, _key: str, value: str | None) -> str | None:
        return None if value is None else require_isin(value)


def _identified() -> tuple[CheckConstraint, CheckConstraint]:
    return CheckConstraint("book.is_cusip(cusip)", name="cusip"), CheckConstraint("book.is_isin(isin)", name="isin")


class ReferenceData(_Identified, Base):
    """An issuer, a sector, a geography or a currency (its letters are the ticker); parents make groups, never rings."""

    __tablename__ = "reference_data"
    __table_args__ = (
        one_of("entity_type", "ISSUER", "SECTOR", "GEOGRAPHY", "CURRENCY"),
        CheckConstraint("btrim(name) <> ''", name="name"),
        CheckConstraint(
            "entity_type <> 'CURRENCY' OR (ticker IS NOT NULL AND ticker ~ '^[A-Z]{3,5}$')", name="currency"
        ),
        *_identified(),
        is_object("metadata_json", "metadata"),
        Index(None, "entity_type", "name"),
    )

    entity_id: Mapped[Id]
    entity_type: Mapped[str] = mapped_column(String(9))
    name: Mapped[Text200]
    ticker: Mapped[str | None] = mapped_column(String(30), index=True)
    parent_entity_id: Mapped[int | None] = mapped_column(ForeignKey("book.reference_data.entity_id"), index=True)
    metadata_json: Mapped[Document]
    created_at: Mapped[Created]
    updated_at: Mapped[Updated]


class Instrument(_Identified, Base):
    """One tradable thing, by the name that alerts and the kernel know it by. Lots in units, margin in its currency."""

    __tablename__ = "instrument"
    __table_args__ = (
        UniqueConstraint("symbol"),
        CheckConstraint("symbol ~ '^[A-Z0-9_]{1,29}$'", name="symbol"),
        one_of("asset_class", *ASSET_CLASSES),
        one_of("kind", *INSTRUMENT_KINDS),
        is_currency("currency"),
        CheckConstraint("lot_size > 0 AND point_value > 0 AND tick > 0 AND margin_per_lot > 0", name="sizes"),
        *_identified(),
        is_object("metadata_json", "metadata"),
    )

    instrument_id: Mapped[Id]
    symbol: Mapped[str] = mapped_column(String(29))
    name: Mapped[Text200]
    asset_class: Mapped[Text20]
    kind: Mapped[Text20]
    exchange: Mapped[Text20 | None]
    currency: Mapped[Currency]
    lot_size: Mapped[Price | None]
    point_value: Mapped[Price | None]
    tick: Mapped[Price | None]
    margin_per_lot: Mapped[Money | None]
    issuer_id: Mapped[int | None] = mapped_column(ForeignKey("book.reference_data.entity_id"), index=True)
    sector_id: Mapped[int | None] = mapped_column(ForeignKey("book.reference_data.entity_id"), index=True)
    is_active: Mapped[bool] = mapped_column(server_default=text("true"))
    metadata_json: Mapped[Document]
    created_at: Mapped[Created]
    updated_at: Mapped[Updated]


class RatingHistory(Base):
    """What an agency thought of an issuer from a day on."""

    __tablename__ = "rating_history"
    __table_args__ = (
        UniqueConstraint("entity_id", "agency", "as_of_date"),
        one_of("agency", *AGENCIES),
        CheckConstraint("btrim(rating) <> ''", name="rating"),
        one_of("outlook", "POSITIVE", "STABLE", "NEGATIVE", "DEVELOPING"),
        Index("ix_rating_history_entity_id_as_of_date", "entity_id", desc("as_of_date")),
    )

    rating_id: Mapped[Id]
    entity_id: Mapped[int] = mapped_column(ForeignKey("book.reference_data.entity_id"))
    agency: Mapped[str] = mapped_column(String(6))
    rating: Mapped[str] = mapped_column(String(10))
    outlook: Mapped[str | None] = mapped_column(String(10))
    as_of_date: Mapped[date]
    feed_id: Mapped[int | None] = mapped_column(ForeignKey("book.market_data_feed.feed_id"), index=True)
    created_at: Mapped[Created]


class FxSpot(Base):
    """How many of a pair's second currency are paid for one of its first (`USD/INR`), in the feed that is its snapshot."""

    __tablename__ = "fx_spot"
    __table_args__ = (
        CheckConstraint(
            "pair ~ '^[A-Z]{3,5}/[A-Z]{3,5}$' AND split_part(pair, '/', 1) <> split_part(pair, '/', 2)", name="pair"
        ),
        CheckConstraint("rate > 0", name="rate"),
    )

    pair: Mapped[str] = mapped_column(String(11), primary_key=True)
    snapshot_id: Mapped[int] = mapped_column(ForeignKey("book.market_data_feed.feed_id"), primary_key=True, index=True)
    rate: Mapped[Price]
