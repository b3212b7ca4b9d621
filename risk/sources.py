"""Who tells market data, and which series each of them has. Instruments are those of the book's one master."""

from sqlalchemy import CheckConstraint, ForeignKey, String, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from book.base import is_currency, is_object, one_of
from book.reference_data import Instrument
from risk.base import Base, Code5, Created, Document, Id, Text20, Text50, Text100, Text200, Updated

SOURCE_KINDS = ("exchange", "chart", "vendor", "broker", "engine", "file")
FREQUENCIES = ("intraday", "daily", "weekly", "monthly", "quarterly", "yearly", "irregular")


class DataSource(Base):
    """Who tells something, and how it is asked: address, way to log in, requests a minute that it allows."""

    __tablename__ = "data_source"
    __table_args__ = (
        UniqueConstraint("name"),
        CheckConstraint("name ~ '^[a-z][a-z0-9_.-]*$'", name="name"),
        one_of("kind", *SOURCE_KINDS),
        one_of("auth_type", "none", "api_key", "basic", "token", "oauth2"),
        CheckConstraint("requests_per_minute > 0", name="requests_per_minute"),
        is_object("metadata_json", "metadata"),
    )

    source_id: Mapped[Id]
    name: Mapped[Text50]
    kind: Mapped[str] = mapped_column(String(8))
    base_url: Mapped[str | None] = mapped_column(String(500))
    auth_type: Mapped[Text20] = mapped_column(server_default="none")
    requests_per_minute: Mapped[int | None]
    is_active: Mapped[bool] = mapped_column(server_default=text("true"))
    metadata_json: Mapped[Document]
    created_at: Mapped[Created]
    updated_at: Mapped[Updated]


class SeriesMetadata(Base):
    """A series of a source, by the source's own code of it; of an instrument where it is about one."""

    __tablename__ = "series_metadata"
    __table_args__ = (
        UniqueConstraint("source_id", "series_code"),
        CheckConstraint("btrim(series_code) <> ''", name="series_code"),
        CheckConstraint("btrim(name) <> ''", name="name"),
        one_of("frequency", *FREQUENCIES),
        CheckConstraint("country ~ '^[A-Z]{2}$'", name="country"),
        is_currency("currency"),
        is_object("metadata_json", "metadata"),
    )

    series_id: Mapped[Id]
    source_id: Mapped[int] = mapped_column(ForeignKey(DataSource.source_id))
    series_code: Mapped[Text100]
    name: Mapped[Text200]
    instrument_id: Mapped[int | None] = mapped_column(ForeignKey(Instrument.instrument_id), index=True)
    frequency: Mapped[str] = mapped_column(String(9), server_default="irregular")
    unit: Mapped[Text50 | None]
    country: Mapped[str | None] = mapped_column(String(2))
    currency: Mapped[Code5 | None]
    is_active: Mapped[bool] = mapped_column(server_default=text("true"))
    metadata_json: Mapped[Document]
    created_at: Mapped[Created]
    updated_at: Mapped[Updated]
