"""Contracts made from rules: expiry, lot, ticks, money per point, margin and roll date, corrected by hand field by field.

The rules are data (core/data/contract_rules.json, with their sources); what a month's contract is follows from them, the
instrument's settings and the trading calendar. A month that the calendar does not reach is refused, never guessed.
"""

from bisect import bisect_right
from calendar import monthrange
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, timedelta
from decimal import Decimal
from typing import Annotated, Self, TypeVar

from msgspec import Struct
from pydantic import Field, StringConstraints, model_validator

from core import numbers
from core.contracts import Instrument, Positive, PositiveMoney, Settled
from core.errors import Refused
from core.symbols import FutureSymbol
from core.trading_calendar import BeyondHorizon, Day, TradingCalendar

MONTH = r"^20\d\d-(0[1-9]|1[0-2])$"
Month = Annotated[str, StringConstraints(pattern=MONTH)]
_ONE_DAY = timedelta(days=1)
_Rule = TypeVar("_Rule")


class ContractRefused(Refused):
    """a correction or a rule does not make a contract"""


class TickBand(Settled):
    """The tick, in points, of prices above `above` points, up to the next band."""

    above: Annotated[Decimal, Field(ge=0, max_digits=18, decimal_places=8, allow_inf_nan=False)] = Decimal(0)
    tick: Positive


class DatedTicks(Settled):
    """The ticks that hold on every contract from a trading day on. Bands rise; the first begins at 0."""

    from_day: Day
    bands: Annotated[tuple[TickBand, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _bands_rise_from_zero(self) -> Self:
        starts = [band.above for band in self.bands]
        if starts != sorted(set(starts)) or starts[0] != 0:
            raise ValueError("bands must rise by `above`, the first one from 0")
        return self

    def tick_at(self, level: Decimal) -> Decimal:
        """The tick at a level in points; a level on a border belongs to the band below it."""
        return next(band.tick for band in reversed(self.bands) if band.above < level or band.above == 0)


class DatedExpiry(Settled):
    """Where in its month a contract of `from_month` or later expires; on a day without trading, the trading day before.

    Either the last `last_weekday` (1 Monday .. 7 Sunday), or day `day` of the month, at most its last one (31: the last day).
    """

    from_month: Month
    last_weekday: Annotated[int, Field(ge=1, le=7)] | None = None
    day: Annotated[int, Field(ge=1, le=31)] | None = None

    @model_validator(mode="after")
    def _one_of_two(self) -> Self:
        if (self.last_weekday is None) == (self.day is None):
            raise ValueError("give either last_weekday or day")
        return self


class DatedLot(Settled):
    """The lot, in units, of the contracts of `from_month` and later."""

    from_month: Month
    lot_size: Positive


class ContractRules(Settled):
    """How one instrument's contracts follow from their months. Every dated list rises."""

    symbol: Annotated[str, StringConstraints(pattern=r"^[A-Z][A-Z0-9&-]*$")]
    months: frozenset[Annotated[int, Field(ge=1, le=12)]] = frozenset(range(1, 13))
    expiries: Annotated[tuple[DatedExpiry, ...], Field(min_length=1)]
    lots: Annotated[tuple[DatedLot, ...], Field(min_length=1)]
    ticks: Annotated[tuple[DatedTicks, ...], Field(min_length=1)]
    option_tick: Positive | None = None
    strike_step: Positive | None = None
    roll_days_before_expiry: Annotated[int, Field(ge=1, le=60)]
    sources: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _dates_rise(self) -> Self:
        for name, starts in (
            ("expiries", [expiry.from_month for expiry in self.expiries]),
            ("lots", [lot.from_month for lot in self.lots]),
            ("ticks", [ticks.from_day.isoformat() for ticks in self.ticks]),
        ):
            if starts != sorted(set(starts)):
                raise ValueError(f"{name} must rise by their dates")
        return self

    def lists(self, month: str) -> bool:
        """Whether the instrument has a contract of that month."""
        return _month_of(month).month in self.months


class Correction(Settled):
    """What is put right by hand on one contract; what is not given follows from the rules, and from what is given.

    A corrected expiry moves the roll date, a corrected lot the money per point and the margin, unless these are given too.
    """

    expiry: Day | None = None
    lot_size: Positive | None = None
    point_value: Positive | None = None
    margin_per_lot: PositiveMoney | None = None
    roll_date: Day | None = None
    ticks: Annotated[tuple[DatedTicks, ...], Field(min_length=1)] | None = None
    option_tick: Positive | None = None
    note: str = Field(default="", max_length=500)


Corrections = Mapping[str, Mapping[str, Correction]]


class Contract(Settled):
    """One contract. Lot in units, point value and margin in money per lot, ticks in points, dates of the exchange.

    `roll_date` is the first trading day with fewer days to expiry than the instrument's setting. `corrected` names the fields
    that were put right by hand.
    """

    instrument: str
    exchange: str
    symbol: str
    month: Month
    expiry: Day
    roll_date: Day
    lot_size: Positive
    point_value: Positive
    margin_per_lot: PositiveMoney
    ticks: Annotated[tuple[DatedTicks, ...], Field(min_length=1)]
    option_tick: Positive | None = None
    strike_step: Positive | None = None
    corrected: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _rolls_before_it_expires(self) -> Self:
        if self.roll_date > self.expiry:
            raise ValueError(f"roll_date {self.roll_date} comes after expiry {self.expiry}")
        return self

    @property
    def name(self) -> str:
        """Instrument and month, as messages and corrections call it: `BANK_NIFTY 2026-01`."""
        return f"{self.instrument} {self.month}"

    @property
    def futures_symbol(self) -> str:
        """The future as brokers call it: `BANKNIFTY27JAN26FUT`."""
        return str(FutureSymbol(underlying=self.symbol, expiry=self.expiry))

    def tick_on(self, day: date, level: Decimal) -> Decimal:
        """The future's tick on a trading day, in points, for a price at that level.

        NSE fixes an index future's tick once a month by the index's level, not by the order's price (FAOP circulars of
        2025): near a border give the level that the exchange looked at, or the higher one: its tick fits the finer grid too.
        """
        past = [ticks for ticks in self.ticks if ticks.from_day <= day]
        if not past:
            raise ContractRefused(f"{self.name}: no ticks are known on {day}")
        return past[-1].tick_at(level)


class BeyondRules(Struct, frozen=True, kw_only=True):
    """A month whose contract cannot be told, and why. `month` is empty where no contract lasts so long."""

    instrument: str
    month: str
    reason: str


class Contracts(Struct, frozen=True, kw_only=True):
    """An instrument's contracts that could be made, by expiry, and the months that could not, by month."""

    instrument: str
    known: tuple[Contract, ...]
    refused: tuple[BeyondRules, ...] = ()


def contracts_of(
    name: str,
    instrument: Instrument,
    months: tuple[str, str],
    *,
    rules: ContractRules,
    calendar: TradingCalendar,
    corrections: Mapping[str, Correction] | None = None,
) -> Contracts:
    """The contracts of an instrument from the first to the last of `months` (`2026-01`), both included.

    A month beyond the calendar is in `refused` unless a correction gives what is missing. Raises ContractRefused for a
    correction of a month that is not listed, or one that makes no contract.
    """
    corrections = corrections or {}
    _refuse_unlisted(name, rules, corrections)
    known: list[Contract] = []
    refused: list[BeyondRules] = []
    for month in _months_between(*months):
        if not rules.lists(month):
            continue
        made = contract_of(name, instrument, month, rules=rules, calendar=calendar, correction=corrections.get(month))
        if isinstance(made, Contract):
            known.append(made)
        else:
            refused.append(made)
    return Contracts(
        instrument=name, known=tuple(sorted(known, key=lambda contract: contract.expiry)), refused=tuple(refused)
    )


def contract_of(
    name: str,
    instrument: Instrument,
    month: str,
    *,
    rules: ContractRules,
    calendar: TradingCalendar,
    correction: Correction | None = None,
) -> Contract | BeyondRules:
    """One month's contract, or why it cannot be told. Raises ContractRefused for a correction that makes none."""
    correction = correction or Correction()
    try:
        expiry, roll_date = _dates(name, instrument.exchange, month, rules, calendar, correction)
        lot_size = _lot_size(rules, month) if correction.lot_size is None else correction.lot_size
    except (BeyondHorizon, _NotRuled) as error:
        return BeyondRules(instrument=name, month=month, reason=str(error))
    return Contract(
        instrument=name,
        exchange=instrument.exchange,
        symbol=rules.symbol,
        month=month,
        expiry=expiry,
        roll_date=roll_date,
        lot_size=lot_size,
        point_value=correction.point_value or numbers.price(_per_lot(instrument.point_value, instrument, lot_size)),
        margin_per_lot=correction.margin_per_lot
        or numbers.money(_per_lot(instrument.margin_per_lot, instrument, lot_size)),
        ticks=correction.ticks or rules.ticks,
        option_tick=correction.option_tick or rules.option_tick,
        strike_step=rules.strike_step,
        corrected=tuple(sorted(correction.model_fields_set - {"note"})),
    )


def check_corrections(corrections: Corrections, rules: Mapping[str, ContractRules]) -> None:
    """Refuse, by name, corrections of an instrument without rules or of a month that it does not list."""
    for name, of_instrument in corrections.items():
        if name not in rules:
            known = ", ".join(sorted(rules)) or "none"
            raise ContractRefused(f"{name}: there are no contract rules for it (known: {known})")
        _refuse_unlisted(name, rules[name], of_instrument)


def front_contract(contracts: Contracts, day: date) -> Contract | BeyondRules:
    """What a new position is opened in on that day: the first contract to expire that is not due to be rolled yet.

    Where an earlier month could not be told, that month's refusal: the contract after it would be the wrong one.
    """
    usable = [contract for contract in contracts.known if day < contract.roll_date]
    return _first_to_expire(contracts, usable, f"{day:%Y-%m}", day)


def next_contract(contracts: Contracts, near: Contract, day: date) -> Contract | BeyondRules:
    """What a position in `near` is rolled into on that day: the first to expire after it that is not itself due."""
    later = [contract for contract in contracts.known if day < contract.roll_date and contract.expiry > near.expiry]
    return _first_to_expire(contracts, later, max(f"{day:%Y-%m}", near.month), day)


def _first_to_expire(
    contracts: Contracts, candidates: Sequence[Contract], from_month: str, day: date
) -> Contract | BeyondRules:
    found = min(candidates, key=lambda contract: contract.expiry, default=None)
    for gap in contracts.refused:
        if from_month <= gap.month and (found is None or gap.month < found.month):
            return gap
    if found is None:
        return BeyondRules(instrument=contracts.instrument, month="", reason=f"no contract lasts beyond {day}")
    return found


class _NotRuled(Exception):
    """The month comes before the first of the rules."""


def _dates(
    name: str,
    exchange: str,
    month: str,
    rules: ContractRules,
    calendar: TradingCalendar,
    correction: Correction,
) -> tuple[date, date]:
    expiry = correction.expiry
    if expiry is None:
        expiry = calendar.expiry_day_until(exchange, _nominal_expiry(rules, month))
    elif not _may_trade(calendar, exchange, expiry):
        raise ContractRefused(f"{name} {month}: expiry {expiry} is no trading day of {exchange}")
    roll_date = correction.roll_date
    if roll_date is None:
        first_due = expiry - (rules.roll_days_before_expiry - 1) * _ONE_DAY
        roll_date = calendar.trading_day_from(exchange, first_due)
    elif not _may_trade(calendar, exchange, roll_date):
        raise ContractRefused(f"{name} {month}: roll_date {roll_date} is no trading day of {exchange}")
    if roll_date > expiry:
        raise ContractRefused(f"{name} {month}: roll_date {roll_date} comes after expiry {expiry}")
    return expiry, roll_date


def _may_trade(calendar: TradingCalendar, exchange: str, day: date) -> bool:
    # By hand one may go beyond the horizon: that is what corrections are for.
    try:
        return calendar.is_trading_day(exchange, day)
    except BeyondHorizon:
        return True


def _nominal_expiry(rules: ContractRules, month: str) -> date:
    rule = _in_force(rules.expiries, [expiry.from_month for expiry in rules.expiries], month)
    first = _month_of(month)
    last = first.replace(day=monthrange(first.year, first.month)[1])
    if rule.last_weekday is not None:
        return last - (last.isoweekday() - rule.last_weekday) % 7 * _ONE_DAY
    assert rule.day is not None  # noqa: S101 - held by DatedExpiry
    return min(last, first + (rule.day - 1) * _ONE_DAY)


def _lot_size(rules: ContractRules, month: str) -> Decimal:
    return _in_force(rules.lots, [lot.from_month for lot in rules.lots], month).lot_size


def _in_force(rules: Sequence[_Rule], starts: Sequence[str], month: str) -> _Rule:
    index = bisect_right(starts, month)
    if index == 0:
        raise _NotRuled(f"the rules begin with {starts[0]}, {month} comes before")
    return rules[index - 1]


def _per_lot(money: Decimal, instrument: Instrument, lot_size: Decimal) -> Decimal:
    # The instrument's figures are of its own lot; another lot of the same units has its share.
    return numbers.quotient(numbers.product(money, lot_size), instrument.lot_size)


def _refuse_unlisted(name: str, rules: ContractRules, corrections: Mapping[str, Correction]) -> None:
    for month in corrections:
        if not rules.lists(month):
            raise ContractRefused(f"{name} {month}: there is no contract of that month to be corrected")


def _month_of(month: str) -> date:
    try:
        return date.fromisoformat(f"{month}-01")
    except ValueError as error:
        raise ContractRefused(f"{month!r} is no month such as 2026-01") from error


def _months_between(first: str, last: str) -> Iterator[str]:
    month, end = _month_of(first), _month_of(last)
    while month <= end:
        yield f"{month:%Y-%m}"
        month = (month + 31 * _ONE_DAY).replace(day=1)
