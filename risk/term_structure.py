"""What an instrument's contracts cost beside each other as of an instant, and what a roll from one to the next would see."""

from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from itertools import zip_longest
from typing import Literal

from msgspec import Struct
from msgspec.structs import replace
from sqlalchemy import exists, select
from sqlalchemy.orm import Session

from book.reference_data import Instrument
from core.numbers import figure
from risk.as_of import Bar, NoSuchBars, SourceNeeded
from risk.continuous import NoRoll, RollSpread, contracts_of, roll_spread
from risk.market_data import TIMEFRAMES, MarketData
from risk.sources import DataSource

STALE_DAYS = 10
_DAYS_IN_A_YEAR = 365
Shape = Literal["contango", "backwardation", "flat", "mixed"]


class Contract(Struct, frozen=True, kw_only=True):
    """A contract: the close (points) of its last bar that was over, when that was, and the roll to the next contract.

    `days`: to expiry. `spread` is next - this at the last bar that both have, which was over at `spread_time`: by it prices of
    the chart move in a roll (core.rollover). `carry_percent` is spread / this a year, simple interest by the days between
    the two expiries of 365. `held`: a position would be in this one. What is None has its `reason`, but for the last one's roll.
    """

    expiry: date
    days: int
    price: Decimal | None = None
    time: datetime | None = None
    settlement: Decimal | None = None
    open_interest: Decimal | None = None
    spread: Decimal | None = None
    spread_time: datetime | None = None
    carry_percent: Decimal | None = None
    shape: Shape | None = None
    held: bool = False
    reason: str | None = None


class TermStructure(Struct, frozen=True, kw_only=True):
    """An instrument's contracts that have not expired, the nearest first; `shape` is of all known spreads, None without any."""

    instrument: str
    as_of: datetime
    source: str
    timeframe: str
    shape: Shape | None
    contracts: tuple[Contract, ...]


class Of(Struct, frozen=True, kw_only=True):
    """Whose contracts: numbers and names of the instrument and of who tells its bars."""

    instrument_id: int
    instrument: str
    exchange: str
    source_id: int
    source: str
    timeframe: str


def contracts_told(session: Session, instrument: str, timeframe: str = "1d", *, source: str | None = None) -> Of:
    """Who tells bars of an instrument's contracts. Raises NoSuchBars, and SourceNeeded where several do."""
    asked = select(Instrument.instrument_id, Instrument.exchange).where(Instrument.symbol == instrument)
    master = session.execute(asked).one_or_none()
    if master is None:
        raise NoSuchBars(f"{instrument} is not in the master of instruments")
    of_contracts = exists().where(
        MarketData.instrument_id == master.instrument_id,
        MarketData.timeframe == timeframe,
        MarketData.source_id == DataSource.source_id,
        MarketData.expiry.isnot(None),
        MarketData.strike.is_(None),
    )
    sources = select(DataSource.source_id, DataSource.name).where(of_contracts).order_by(DataSource.name)
    if source is not None:
        sources = sources.where(DataSource.name == source)
    found = session.execute(sources).all()
    if not found:
        by = f" by {source}" if source else ""
        raise NoSuchBars(f"there are no bars of contracts of {instrument} {timeframe}{by}")
    if len(found) > 1:
        names = ", ".join(row.name for row in found)
        raise SourceNeeded(f"{instrument} {timeframe}: name one of the sources {names}")
    return Of(
        instrument_id=master.instrument_id,
        instrument=instrument,
        exchange=master.exchange or "",
        source_id=found[0].source_id,
        source=found[0].name,
        timeframe=timeframe,
    )


def term_structure_as_of(
    session: Session, of: Of, at: datetime, day: date, *, roll_days: int, stale_days: int = STALE_DAYS
) -> TermStructure:
    """The contracts as they were known at an aware instant, which is of `day` where they are traded."""
    length = TIMEFRAMES[of.timeframe]
    known = contracts_of(session, of.instrument_id, of.source_id, timeframe=of.timeframe, until=at - length)
    contracts = structured(known, at=at, day=day, length=length, roll_days=roll_days, stale_days=stale_days)
    return TermStructure(
        instrument=of.instrument,
        as_of=at,
        source=of.source,
        timeframe=of.timeframe,
        shape=_shape_of([each.spread for each in contracts if each.spread is not None]),
        contracts=contracts,
    )


def structured(
    known: Mapping[date, Sequence[Bar]],
    *,
    at: datetime,
    day: date,
    length: timedelta,
    roll_days: int,
    stale_days: int = STALE_DAYS,
) -> tuple[Contract, ...]:
    """The contracts of bars, each so long, by expiry; a position leaves its contract with fewer than `roll_days` days to expiry.

    A bar that was over more than `stale_days` days before is no price of today, and no roll's.
    """
    own = {expiry: list(bars) for expiry, bars in sorted(known.items()) if expiry >= day and bars}
    expiries = list(own)
    held = next((expiry for expiry in expiries if (expiry - day).days >= roll_days), None)
    oldest = at - length - timedelta(days=stale_days)
    found = []
    for expiry, following in zip_longest(expiries, expiries[1:]):
        contract = Contract(expiry=expiry, days=(expiry - day).days, held=expiry == held)
        contract = _priced(contract, own[expiry][-1], oldest, length)
        if following is not None:
            contract = _rolled(contract, own, following, at, oldest, length)
        found.append(contract)
    return tuple(found)


def _priced(contract: Contract, bar: Bar, oldest: datetime, length: timedelta) -> Contract:
    over = bar.timestamp + length
    if bar.timestamp < oldest:
        return replace(contract, reason=f"stale: its last bar was over at {over:%Y-%m-%d %H:%M} UTC")
    return replace(contract, price=bar.close, time=over, settlement=bar.settlement, open_interest=bar.open_interest)


def _rolled(
    contract: Contract,
    own: Mapping[date, Sequence[Bar]],
    following: date,
    at: datetime,
    oldest: datetime,
    length: timedelta,
) -> Contract:
    if contract.price is None:
        return contract
    try:
        roll = roll_spread(own, contract.expiry, following, at)
    except NoRoll as error:
        return replace(contract, reason=f"no roll: {error}")
    over = roll.timestamp + length
    if roll.timestamp < oldest:
        both = f"the last bar in common with the next was over at {over:%Y-%m-%d %H:%M} UTC"
        return replace(contract, reason=f"stale: {both}")
    return replace(
        contract,
        spread=roll.spread,
        spread_time=over,
        carry_percent=carry_percent(roll),
        shape=_shape_of([roll.spread]),
        reason=None if roll.near_close > 0 else "no carry: a price is not above 0",
    )


def carry_percent(roll: RollSpread) -> Decimal | None:
    """What holding the far contract in place of the near one costs a year, in per cent of the near one, to 6 decimals.

    (far - near) / near x 365 / (days between the expiries) x 100: simple interest, as the basis is annualised (Hull, Options,
    Futures and Other Derivatives, chapter 5, has the continuous one). None where the near price is not above 0.
    """
    if roll.near_close <= 0:
        return None
    days = (roll.far - roll.near).days
    return figure(Fraction(roll.spread) / Fraction(roll.near_close) * Fraction(_DAYS_IN_A_YEAR * 100, days))


def _shape_of(spreads: Sequence[Decimal]) -> Shape | None:
    if not spreads:
        return None
    signs = {(spread > 0) - (spread < 0) for spread in spreads}
    shapes: dict[int, Shape] = {1: "contango", -1: "backwardation", 0: "flat"}
    return shapes[signs.pop()] if len(signs) == 1 else "mixed"
