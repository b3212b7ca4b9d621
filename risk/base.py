"""What the risk lab's models have in common: their schema, and columns as the book has them."""

from decimal import Decimal
from typing import Annotated, ClassVar

from sqlalchemy import BigInteger, Identity, Index, MetaData, SmallInteger, String, text
from sqlalchemy.orm import DeclarativeBase, mapped_column

from book.base import Created, Document, Exact, Id, Price, Quantity, Text20, Text50, Text100, Text200, Time, Updated
from book.base import metadata as of_book

__all__ = [
    "Base",
    "Code5",
    "Created",
    "Document",
    "Id",
    "Number",
    "OptionType",
    "Price",
    "Quantity",
    "Reference",
    "Revision",
    "RowId",
    "Share",
    "Text20",
    "Text50",
    "Text100",
    "Text200",
    "Time",
    "Updated",
    "by_time",
    "metadata",
]

SCHEMA = "risk"
metadata = MetaData(schema=SCHEMA, naming_convention=of_book.naming_convention)


class Base(DeclarativeBase):
    """Base of the risk lab's tables. Their source are the files in migrations/shared; a test compares."""

    metadata: ClassVar[MetaData] = metadata


RowId = Annotated[int, mapped_column(BigInteger, Identity(always=True), primary_key=True)]
Reference = Annotated[int, mapped_column(BigInteger)]
Number = Annotated[Decimal, mapped_column(Exact(28, 8))]
Share = Annotated[Decimal, mapped_column(Exact(9, 8))]
Revision = Annotated[int, mapped_column(SmallInteger, server_default=text("0"))]
OptionType = Annotated[str, mapped_column(String(2))]
Code5 = Annotated[str, mapped_column(String(5))]


def by_time(column: str) -> Index:
    """Rows of a time are found by it without a key for each: they come more or less in its order."""
    return Index(None, column, postgresql_using="brin")
