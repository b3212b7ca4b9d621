"""What all models have in common: the schema, the names of constraints, and columns that refuse what they could not keep."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any, ClassVar

from sqlalchemy import BigInteger, CheckConstraint, DateTime, Dialect, Identity, MetaData, Numeric, String, func, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, TEXT
from sqlalchemy.orm import DeclarativeBase, mapped_column
from sqlalchemy.types import TypeDecorator

from core.numbers import decimals_of

SCHEMA = "book"
metadata = MetaData(
    schema=SCHEMA,
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
    },
)


class Base(DeclarativeBase):
    """Base of the book's tables. Their source are the files in migrations/shared; a test compares."""

    metadata: ClassVar[MetaData] = metadata


class Exact(TypeDecorator[Decimal]):
    """NUMERIC(digits, scale) that takes what it can keep: PostgreSQL would round surplus decimals, and half away from zero."""

    impl = Numeric
    cache_ok = True

    def __init__(self, digits: int, scale: int) -> None:
        self.digits = digits
        self.scale = scale
        super().__init__(digits, scale)

    def process_bind_param(self, value: Decimal | None, dialect: Dialect) -> Decimal | None:  # noqa: ARG002 - SQLAlchemy's
        """`value`; TypeError for what is not exact, ValueError for what does not fit."""
        if value is None:
            return None
        given: object = value
        if isinstance(given, bool) or not isinstance(given, Decimal | int):
            raise TypeError(f"{value!r} is a {type(value).__name__}: a column of numbers takes decimals")
        number = Decimal(given)
        limit = 10 ** (self.digits - self.scale)
        if not (number.is_finite() and decimals_of(number) <= self.scale and abs(number) < limit):
            raise ValueError(f"{value} does not fit: {self.digits} digits, {self.scale} of them decimals")
        return number


class AwareTime(TypeDecorator[datetime]):
    """TIMESTAMPTZ that takes aware times only, and gives them in UTC."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002 - as above
        """`value`; ValueError where it does not say of which zone it is."""
        if value is not None and value.utcoffset() is None:
            raise ValueError(f"{value} has no time zone")
        return value

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002 - as above
        """The same instant in UTC."""
        return None if value is None else value.astimezone(UTC)


Id = Annotated[int, mapped_column(BigInteger, Identity(always=True), primary_key=True)]
BigInt = Annotated[int, mapped_column(BigInteger)]
Money = Annotated[Decimal, mapped_column(Exact(20, 4))]
NoMoneyYet = Annotated[Decimal, mapped_column(Exact(20, 4), server_default=text("0"))]
Total = Annotated[Decimal, mapped_column(Exact(28, 4))]
Price = Annotated[Decimal, mapped_column(Exact(18, 8))]
Quantity = Annotated[Decimal, mapped_column(Exact(28, 8))]
Years = Annotated[Decimal, mapped_column(Exact(12, 6))]
Time = Annotated[datetime, mapped_column(AwareTime)]
Created = Annotated[datetime, mapped_column(AwareTime, server_default=func.now())]
Updated = Annotated[datetime, mapped_column(AwareTime, server_default=func.now(), onupdate=func.now())]
Currency = Annotated[str, mapped_column(String(5))]
PortfolioName = Annotated[str, mapped_column(String(30))]
Text20 = Annotated[str, mapped_column(String(20))]
Text50 = Annotated[str, mapped_column(String(50))]
Text100 = Annotated[str, mapped_column(String(100))]
Text200 = Annotated[str, mapped_column(String(200))]
Text2000 = Annotated[str, mapped_column(String(2000))]
Sha256 = Annotated[str, mapped_column(String(64))]
Document = Annotated[dict[str, Any], mapped_column(JSONB, server_default=text("'{}'"))]
Documents = Annotated[list[Any], mapped_column(JSONB, server_default=text("'[]'"))]
Texts = Annotated[list[str], mapped_column(ARRAY(TEXT), server_default=text("'{}'"))]


def one_of(column: str, *values: str) -> CheckConstraint:
    """The column holds one of these words."""
    listed = ", ".join(f"'{value}'" for value in values)
    return CheckConstraint(f"{column} IN ({listed})", name=column)


def is_currency(column: str) -> CheckConstraint:
    """The column holds a currency's letters, such as USD."""
    return CheckConstraint(f"{column} ~ '^[A-Z]{{3,5}}$'", name=column)


def is_object(column: str, name: str) -> CheckConstraint:
    """The column holds a JSON object."""
    return CheckConstraint(f"jsonb_typeof({column}) = 'object'", name=name)


def is_array(column: str, name: str) -> CheckConstraint:
    """The column holds a JSON array."""
    return CheckConstraint(f"jsonb_typeof({column}) = 'array'", name=name)
