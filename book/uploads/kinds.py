"""The kinds of upload: which columns each has, and what of a row can be said without looking at anything else."""

import re
from datetime import date
from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, ValidationError

from book.uploads.files import FileRow

_NUMBER = re.compile(r"[+-]?(?:\d{1,20}(?:\.\d{0,20})?|\.\d{1,20})(?:[eE][+-]?\d{1,2})?", re.ASCII)


def _number(value: Any) -> Decimal:
    """Exact, from text as from a number; a float never comes here."""
    is_number = isinstance(value, int | Decimal) and not isinstance(value, bool)
    if not is_number and not (isinstance(value, str) and _NUMBER.fullmatch(value)):
        raise ValueError("must be a number such as 1234.5, without groups")
    return Decimal(value)


def _whole(number: Decimal) -> int:
    if number != number.to_integral_value():
        raise ValueError("must be a whole number")
    return int(number)


def _day(value: Any) -> Any:
    if isinstance(value, str):
        try:
            return date.fromisoformat(value)
        except ValueError:
            raise ValueError("must be a day such as 2026-01-14") from None
    if type(value) is not date:
        raise ValueError("must be a day such as 2026-01-14")
    return value


_Exact = BeforeValidator(_number)
Text = Annotated[str, StringConstraints(strict=True, min_length=1, max_length=200)]
Symbol = Annotated[str, StringConstraints(strict=True, to_upper=True, pattern=r"^[A-Za-z0-9_]{1,29}$")]
Currency = Annotated[str, StringConstraints(strict=True, to_upper=True, pattern=r"^[A-Za-z]{3,5}$")]
Quantity = Annotated[Decimal, _Exact, Field(max_digits=28, decimal_places=8, allow_inf_nan=False)]
Price = Annotated[Decimal, _Exact, Field(gt=0, max_digits=18, decimal_places=8, allow_inf_nan=False)]
Money = Annotated[Decimal, _Exact, Field(max_digits=20, decimal_places=4, allow_inf_nan=False)]
Balance = Annotated[Decimal, _Exact, Field(ge=0, max_digits=20, decimal_places=4, allow_inf_nan=False)]
Day = Annotated[date, BeforeValidator(_day)]
Days = Annotated[int, BeforeValidator(lambda value: _whole(_number(value))), Field(ge=0, le=36_500)]


class Row(BaseModel):
    """A row of an upload; other columns than these are refused, so that a misspelt one is no empty one."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class PositionRow(Row):
    """What a node holds of an instrument: `node` is its path from the root (`Fund/Desk/Book`); quantity in units, 0 closes it."""

    node: Text
    instrument: Symbol
    quantity: Quantity
    average_price: Price | None = None
    currency: Currency


class PriceRow(Row):
    """An instrument's price on a day."""

    instrument: Symbol
    as_of_date: Day
    price: Price
    currency: Currency


class FxRow(Row):
    """How many of the pair's second currency are paid for one of its first, on a day: `USD/INR`."""

    pair: Annotated[str, StringConstraints(strict=True, to_upper=True, pattern=r"^[A-Za-z]{3,5}/[A-Za-z]{3,5}$")]
    as_of_date: Day
    rate: Price


class RatingRow(Row):
    """What an agency thinks of an issuer from a day on; the issuer by ISIN, CUSIP, ticker or name."""

    issuer: Text
    agency: Literal["SP", "MOODYS", "FITCH", "DBRS"]
    rating: Annotated[str, StringConstraints(strict=True, min_length=1, max_length=10)]
    outlook: Literal["POSITIVE", "STABLE", "NEGATIVE", "DEVELOPING"] | None = None
    as_of_date: Day


class ServicingRow(Row):
    """Where a loan stands on a day, money in its currency."""

    instrument: Symbol
    as_of_date: Day
    outstanding_balance: Balance
    principal_paid: Money = Decimal(0)
    interest_paid: Money = Decimal(0)
    days_past_due: Days = 0


# By the word that the command takes: the columns, and the type of the batch.
KINDS: dict[str, type[Row]] = {
    "positions": PositionRow,
    "prices": PriceRow,
    "fx": FxRow,
    "ratings": RatingRow,
    "servicing": ServicingRow,
}
BATCH_TYPES = {
    "positions": "POSITION_UPLOAD",
    "prices": "MARKET_DATA",
    "fx": "MARKET_DATA",
    "ratings": "MARKET_DATA",
    "servicing": "LOAN_SERVICING",
}


def read_row(kind: str, row: FileRow) -> tuple[Row | None, list[str]]:
    """The row in the kind's columns; None and why not, each reason naming its column."""
    if row.problem is not None:
        return None, [row.problem]
    given = {column: value for column, value in row.values.items() if value is not None}
    try:
        return KINDS[kind].model_validate(given), []
    except ValidationError as error:
        return None, [_reason(item["loc"], item["msg"], item["type"]) for item in error.errors(include_input=False)]


def _reason(place: tuple[Any, ...], message: str, kind: str) -> str:
    column = place[0] if place else "row"
    if kind == "extra_forbidden":
        return f"`{column}`: is no column of this kind"
    if kind == "missing":
        return f"`{column}`: is missing"
    return f"`{column}`: {message.removeprefix('Value error, ')}"
