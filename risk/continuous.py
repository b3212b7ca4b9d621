"""One series of many contracts: what is held is rolled before it expires, and what came before is moved by the roll's spread."""

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum
from fractions import Fraction

from msgspec import Struct
from msgspec.structs import replace
from sqlalchemy import select
from sqlalchemy.orm import Session

from core.errors import Refused
from core.numbers import ZERO, exactly, price, quotient
from risk.as_of import Bar
from risk.market_data import MarketData


class Adjustment(StrEnum):
    """How what came before a roll is moved: by the difference of the contracts' closes, by their ratio, or not at all."""

    DIFFERENCE = "difference"
    RATIO = "ratio"
    NONE = "none"


class NoRoll(Refused):
    """two contracts have no bar of one time by which the one could be rolled into the other"""


class RollSpread(Struct, frozen=True, kw_only=True):
    """A roll from the near to the far contract at one bar's closes, in points; `ratio` is far / near, None where near is 0."""

    near: date
    far: date
    timestamp: datetime
    near_close: Decimal
    far_close: Decimal

    @property
    @exactly
    def spread(self) -> Decimal:
        """Far - near: how far everything that is a price of the chart moves."""
        return self.far_close - self.near_close

    @property
    @exactly
    def ratio(self) -> Decimal | None:
        """Far / near, to 8 decimals."""
        return price(quotient(self.far_close, self.near_close)) if self.near_close else None


class Continuous(Struct, frozen=True, kw_only=True):
    """Bars on the scale of the last contract, the contract that each is of, and the rolls, the first one first."""

    bars: tuple[Bar, ...]
    expiries: tuple[date, ...]
    rolls: tuple[RollSpread, ...]


def contracts_of(
    session: Session, instrument_id: int, source_id: int, *, timeframe: str = "1d", until: datetime
) -> dict[date, list[Bar]]:
    """The futures' bars by expiry, in order, of those that had opened by an aware instant."""
    names = Bar.__struct_fields__
    asked = (
        select(MarketData.expiry, *(getattr(MarketData, name) for name in names))
        .where(MarketData.instrument_id == instrument_id, MarketData.source_id == source_id)
        .where(MarketData.timeframe == timeframe, MarketData.expiry.isnot(None), MarketData.strike.is_(None))
        .where(MarketData.timestamp <= until)
        .order_by(MarketData.expiry, MarketData.timestamp)
    )
    found: dict[date, list[Bar]] = {}
    for row in session.execute(asked).mappings():
        found.setdefault(row["expiry"], []).append(Bar(**{name: row[name] for name in names}))
    return found


def roll_spread(contracts: Mapping[date, Sequence[Bar]], near: date, far: date, at: datetime) -> RollSpread:
    """The roll by the closes of the last bar until an aware instant that both contracts have. Raises NoRoll."""
    closes = {bar.timestamp: bar.close for bar in contracts.get(far, ()) if bar.timestamp <= at}
    for bar in reversed(contracts.get(near, ())):
        if bar.timestamp in closes:
            return RollSpread(
                near=near, far=far, timestamp=bar.timestamp, near_close=bar.close, far_close=closes[bar.timestamp]
            )
    raise NoRoll(f"the contracts of {near} and {far} have no bar in common until {at:%Y-%m-%d %H:%M} UTC")


def continuous(
    contracts: Mapping[date, Sequence[Bar]], *, roll_days: int, days: Mapping[datetime, date], adjustment: Adjustment
) -> Continuous:
    """One series. A contract is left at the close of its first bar with fewer than `roll_days` days to its expiry, as positions
    are rolled; `days` tells the exchange's day of each bar's time. Bars before a roll are moved by its spread.

    Raises NoRoll where a contract ends, the next one goes on, and they have no bar in common.
    """
    expiries = [expiry for expiry, bars in sorted(contracts.items()) if bars]
    if not expiries:
        return Continuous(bars=(), expiries=(), rolls=())
    held, *others = expiries
    rolls: list[RollSpread] = []
    parts: list[tuple[date, list[Bar]]] = []
    rest = list(contracts[held])
    for far in others:
        at = _roll_time(rest, contracts[far], held, days, roll_days)
        if at is None:
            break
        rolls.append(roll_spread(contracts, held, far, at))
        begins = rolls[-2].timestamp if len(rolls) > 1 else None
        parts.append(
            (held, [bar for bar in rest if bar.timestamp <= at and (begins is None or bar.timestamp > begins)])
        )
        held, rest = far, [bar for bar in contracts[far] if bar.timestamp >= at]
    begins = rolls[-1].timestamp if rolls else None
    parts.append((held, [bar for bar in rest if begins is None or bar.timestamp > begins]))
    return _joined(parts, rolls, adjustment)


def _roll_time(
    near: Sequence[Bar], far: Sequence[Bar], expiry: date, days: Mapping[datetime, date], roll_days: int
) -> datetime | None:
    """When the near contract is left; None where it is still held at the end."""
    there = {bar.timestamp for bar in far}
    common = [bar.timestamp for bar in near if bar.timestamp in there]
    due = next((time for time in common if (expiry - days[time]).days < roll_days), None)
    if due is not None:
        return due
    if near and far[-1].timestamp <= near[-1].timestamp:
        return None
    if not common:
        raise NoRoll(f"the contract that expires on {expiry} has no bar in common with the next one")
    return common[-1]


def _joined(
    parts: Sequence[tuple[date, Sequence[Bar]]], rolls: Sequence[RollSpread], adjustment: Adjustment
) -> Continuous:
    """The parts on the last one's scale. What is added up or multiplied is exact, and rounded once."""
    added, factor = ZERO, Fraction(1)
    bars: list[Bar] = []
    expiries: list[date] = []
    for number in reversed(range(len(parts))):
        if number < len(rolls):
            added += rolls[number].spread
            factor *= _factor(rolls[number], adjustment)
        expiry, own = parts[number]
        bars[:0] = [_moved(bar, added, factor, adjustment) for bar in own]
        expiries[:0] = [expiry] * len(own)
    return Continuous(bars=tuple(bars), expiries=tuple(expiries), rolls=tuple(rolls))


def _factor(roll: RollSpread, adjustment: Adjustment) -> Fraction:
    if adjustment is not Adjustment.RATIO:
        return Fraction(1)
    if roll.near_close <= 0 or roll.far_close <= 0:
        raise NoRoll(
            f"the roll of {roll.near} at {roll.near_close:f} -> {roll.far_close:f} has no ratio: adjust by difference"
        )
    return Fraction(roll.far_close) / Fraction(roll.near_close)


@exactly
def _moved(bar: Bar, added: Decimal, factor: Fraction, adjustment: Adjustment) -> Bar:
    def moved(value: Decimal) -> Decimal:
        if adjustment is Adjustment.DIFFERENCE:
            return price(value + added)
        scaled = Fraction(value) * factor
        return price(Decimal(scaled.numerator) / Decimal(scaled.denominator))

    if adjustment is Adjustment.NONE:
        return bar
    return replace(
        bar,
        open=moved(bar.open),
        high=moved(bar.high),
        low=moved(bar.low),
        close=moved(bar.close),
        settlement=None if bar.settlement is None else moved(bar.settlement),
    )
