"""Broker symbols, the synthetic future, and numbers as an exchange takes them: strikes, ticks, quantities.

The symbols are OpenAlgo's (docs.openalgo.in, Symbol Format): underlying, expiry as DDMMMYY, then FUT or strike and CE or PE.
Prices are points of the quoted price, exact.
"""

import re
from datetime import date
from decimal import ROUND_HALF_EVEN, Decimal
from enum import StrEnum
from typing import Literal

from msgspec import Struct

from core.errors import Refused
from core.numbers import exactly, floor_to, product, quotient

# Written out: strftime would follow the machine's language.
_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_UNDERLYING = re.compile(r"[A-Z][A-Z0-9&-]*", re.ASCII)
_SYMBOL = re.compile(
    rf"(?P<underlying>[A-Z][A-Z0-9&-]*)(?P<day>\d\d)(?P<month>{'|'.join(_MONTHS)})(?P<year>\d\d)"
    r"(?:FUT|(?P<strike>\d+(?:\.\d+)?)(?P<right>CE|PE))",
    re.ASCII,
)


class SymbolRefused(Refused):
    """that is no symbol of a future or an option"""


class BelowOneTick(Refused):
    """no price above 0 is on the tick and no worse than the one that was asked for"""


class Right(StrEnum):
    """What an option gives: CE a call, PE a put."""

    CALL = "CE"
    PUT = "PE"


class Action(StrEnum):
    """Which way an order goes."""

    BUY = "BUY"
    SELL = "SELL"


class FutureSymbol(Struct, frozen=True, kw_only=True):
    """A future: `BANKNIFTY27JAN26FUT`."""

    underlying: str
    expiry: date

    def __post_init__(self) -> None:
        _require_writable(self.underlying, self.expiry)

    def __str__(self) -> str:
        return f"{self.underlying}{_written(self.expiry)}FUT"


class OptionSymbol(Struct, frozen=True, kw_only=True):
    """An option: `BANKNIFTY27JAN2658500CE`. The strike is in points, written without trailing zeros."""

    underlying: str
    expiry: date
    strike: Decimal
    right: Right

    def __post_init__(self) -> None:
        _require_writable(self.underlying, self.expiry)
        if not self.strike.is_finite() or self.strike <= 0:
            raise SymbolRefused(f"a strike must be above 0, not {self.strike}")

    def __str__(self) -> str:
        return f"{self.underlying}{_written(self.expiry)}{_plain(self.strike)}{self.right}"


def parse_symbol(text: str) -> FutureSymbol | OptionSymbol:
    """The future or option that a symbol names; raises SymbolRefused for anything that would not be written so."""
    match = _SYMBOL.fullmatch(text)
    if match is None:
        raise SymbolRefused(f"{text!r} is no symbol such as BANKNIFTY27JAN26FUT or BANKNIFTY27JAN2658500CE")
    try:
        expiry = date(2000 + int(match["year"]), 1 + _MONTHS.index(match["month"]), int(match["day"]))
    except ValueError as error:
        raise SymbolRefused(f"{text!r} holds no date: {error}") from error
    parsed = _parsed(match, expiry)
    if str(parsed) != text:
        raise SymbolRefused(f"{text!r} is written {parsed}")
    return parsed


def _parsed(match: re.Match[str], expiry: date) -> FutureSymbol | OptionSymbol:
    if match["strike"] is None:
        return FutureSymbol(underlying=match["underlying"], expiry=expiry)
    return OptionSymbol(
        underlying=match["underlying"],
        expiry=expiry,
        strike=Decimal(match["strike"]),
        right=Right(match["right"]),
    )


def _require_writable(underlying: str, expiry: date) -> None:
    if not _UNDERLYING.fullmatch(underlying):
        raise SymbolRefused(f"an underlying is of A-Z, 0-9, & and -, and begins with a letter: {underlying!r}")
    if not 2000 <= expiry.year <= 2099:
        raise SymbolRefused(f"a symbol has two digits for the year, so it must be 2000 to 2099: {expiry}")


def _written(expiry: date) -> str:
    return f"{expiry.day:02}{_MONTHS[expiry.month - 1]}{expiry.year % 100:02}"


def _plain(value: Decimal) -> str:
    text = f"{value:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def strike_near(price: Decimal, step: Decimal) -> Decimal:
    """The synthetic future's strike in points: the nearest multiple of `step`; a tie goes to the multiple of 2 x `step`.

    With a step of 500: 50250 -> 50000, 50750 -> 51000.
    """
    return product(quotient(price, step).to_integral_value(ROUND_HALF_EVEN), step)


@exactly
def synthetic_price(strike: Decimal, call: Decimal, put: Decimal) -> Decimal:
    """What a bought call and a sold put of one strike and expiry cost as a future, in points: strike + call - put."""
    return strike + call - put


class SyntheticSymbols(Struct, frozen=True, kw_only=True):
    """The two options of a synthetic future: long is call bought and put sold, short the other way round."""

    call: OptionSymbol
    put: OptionSymbol


def synthetic_symbols(underlying: str, expiry: date, strike: Decimal) -> SyntheticSymbols:
    """The call and the put of one strike and expiry."""
    return SyntheticSymbols(
        call=OptionSymbol(underlying=underlying, expiry=expiry, strike=strike, right=Right.CALL),
        put=OptionSymbol(underlying=underlying, expiry=expiry, strike=strike, right=Right.PUT),
    )


def limit_on_tick(price: Decimal, tick: Decimal, action: Action) -> Decimal:
    """A limit in points on the tick, never worse than asked: a buy rounds down, a sale up.

    Raises BelowOneTick for a buy below one tick: there is no such price.
    """
    rounded = floor_to(price, tick) if action == Action.BUY else _ceil_to(price, tick)
    if rounded <= 0:
        raise BelowOneTick(f"no price on a tick of {tick} is above 0 and no worse than {price}")
    return rounded


def trigger_on_tick(price: Decimal, tick: Decimal, action: Action) -> Decimal:
    """A stop's trigger in points on the tick, never later than asked.

    A selling stop (it protects a long) triggers on the way down, so it rounds up; a buying one on the way up, so it rounds
    down.
    """
    return limit_on_tick(price, tick, action)


def _ceil_to(value: Decimal, step: Decimal) -> Decimal:
    return product(-1, floor_to(product(-1, value), step))


QuantityUnit = Literal["contracts", "units"]


def order_quantity(lots: int, lot_size: Decimal, unit: QuantityUnit) -> Decimal:
    """What an order says for so many lots: `units` is lots x lot size (NFO always), `contracts` the lots (some on MCX)."""
    if lots <= 0:
        raise ValueError(f"an order is for at least one lot, not {lots}")
    return Decimal(lots) if unit == "contracts" else product(lots, lot_size)


class LotCount(Struct, frozen=True, kw_only=True):
    """A quantity in whole lots, and the units that make up no lot. Signed as the quantity was."""

    lots: int
    odd_units: Decimal


@exactly
def lots_of(quantity: Decimal, lot_size: Decimal, unit: QuantityUnit = "units") -> LotCount:
    """A broker's quantity in lots; what is no whole lot stays apart as units, towards zero on either side."""
    units = product(quantity, lot_size) if unit == "contracts" else quantity
    lots, odd_units = divmod(units, lot_size)  # a decimal's divmod goes towards zero
    return LotCount(lots=int(lots), odd_units=odd_units)
