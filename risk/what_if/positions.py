"""The positions that a what-if is of: a frozen copy with all that the measures need of each, None where it is unknown."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from itertools import pairwise
from typing import Any, Literal

import pandas as pd
from msgspec import Struct
from msgspec.structs import asdict, force_setattr, replace

from core.models import Position
from core.portfolio import Portfolio
from risk.analytics.greeks import Market, Option
from risk.analytics.refusals import LabelsDiffer, OutOfRange
from risk.what_if.checked import (
    converted,
    floats_by_name,
    make_floats,
    require_above_zero,
    require_names,
    require_utc_time,
    written,
)
from risk.what_if.refusals import PositionExists, UnknownPosition


class Leg(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One option in a lot: `ratio` of them (short below 0), strike in points, volatility a year (0.2 = 20 %) if it is known."""

    kind: Literal["CALL", "PUT"]
    strike: float
    expires_at: datetime
    ratio: float = 1.0
    volatility: float | None = None

    def __post_init__(self) -> None:
        make_floats(self, "leg", ("strike", "ratio", "volatility"))
        require_utc_time("leg", expires_at=self.expires_at)
        Option(kind=self.kind, strike=self.strike, expires_at=self.expires_at)
        require_above_zero("leg", volatility=self.volatility)
        if not self.ratio:
            raise OutOfRange("leg: `ratio`: a lot has none of it")


class OptionTerms(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What a lot of options is made of, and the market of their underlying (points; rates a year) at `at`."""

    legs: tuple[Leg, ...]
    underlying: Literal["FUTURE", "SPOT"]
    underlying_price: float
    rate: float
    at: datetime
    dividend_yield: float = 0.0

    def __post_init__(self) -> None:
        make_floats(self, "option", ("underlying_price", "rate", "dividend_yield"))
        require_utc_time("option", at=self.at)
        force_setattr(self, "legs", tuple(self.legs))
        if not self.legs:
            raise OutOfRange("option: `legs`: there are none")
        for leg in self.legs:
            self.market_of(leg)

    def market_of(self, leg: Leg) -> Market:
        """What a leg is valued by; a volatility of 0 where it is not known."""
        return Market(
            at=self.at,
            underlying=self.underlying,
            price=self.underlying_price,
            volatility=leg.volatility or 0.0,
            rate=self.rate,
            dividend_yield=self.dividend_yield,
        )

    @property
    def is_synthetic_future(self) -> bool:
        """Whether a lot is as many long calls as short puts (or the other way) of one strike and expiry."""
        by_kind = {leg.kind: leg for leg in self.legs}
        if len(self.legs) != len(by_kind) or len(by_kind) == 1:
            return False
        call, put = by_kind["CALL"], by_kind["PUT"]
        return (call.strike, call.expires_at, call.ratio) == (put.strike, put.expires_at, -put.ratio)


class HeldPosition(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One position. None says that something is not known: what needs it then tells so.

    `signed_quantity` in lots, long +, short -, never 0; `point_value`: money in `currency` per point per lot; `price` and
    `stop` in points, `rate`: units of the base currency for one of `currency`. `betas` by factor: its return per unit of the
    factor's (of the underlying's, for options); `specific_variance`: of its return that no factor explains, over the same
    period as the factors' covariance. `margin_per_lot` in `currency`. `node` is its place in the tree, as `Fund/Desk`.
    Positions of one `underlying` (of one `instrument`, where that is empty) move as one.
    """

    position_id: str
    instrument: str
    currency: str
    signed_quantity: float
    point_value: float
    price: float | None = None
    rate: float | None = None
    node: str = ""
    sector: str = ""
    contract: str = ""
    underlying: str = ""
    betas: dict[str, float] | None = None
    specific_variance: float | None = None
    stop: float | None = None
    margin_per_lot: float | None = None
    tags: tuple[str, ...] = ()
    strategies: tuple[str, ...] = ()
    option: OptionTerms | None = None

    def __post_init__(self) -> None:
        whose = f"position {self.position_id}"
        require_names(whose, position_id=self.position_id, instrument=self.instrument, currency=self.currency)
        make_floats(self, whose, _FIGURES)
        if not self.signed_quantity:
            raise OutOfRange(f"{whose}: `signed_quantity`: nothing is held")
        require_above_zero(whose, point_value=self.point_value, rate=self.rate)
        for name in ("specific_variance", "margin_per_lot"):
            if (getattr(self, name) or 0) < 0:
                raise OutOfRange(f"{whose}: `{name}`: {getattr(self, name)} is below 0")
        if self.betas is not None:
            force_setattr(self, "betas", floats_by_name(whose, "beta to", self.betas))
        for name in ("tags", "strategies"):
            force_setattr(self, name, tuple(sorted(set(getattr(self, name)))))

    @property
    def source(self) -> str:
        """What it moves with: its underlying, or itself."""
        return self.underlying or self.instrument

    @property
    def is_option(self) -> bool:
        """Whether its price is not the price of what it moves with: a synthetic future's is."""
        return self.option is not None and not self.option.is_synthetic_future


_SEPARATOR = "/"
_FIGURES = (
    "signed_quantity",
    "point_value",
    "price",
    "rate",
    "specific_variance",
    "stop",
    "margin_per_lot",
)


def nodes_of(position: HeldPosition) -> Iterator[str]:
    """Its node, and all above it."""
    parts = position.node.split(_SEPARATOR) if position.node else []
    for depth in range(1, len(parts) + 1):
        yield _SEPARATOR.join(parts[:depth])


class Positions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Positions as they were at `as_of`, measured in the currency `base`; each id once, in the order of the ids.

    Raises LabelsDiffer where an id is there twice; OutOfRange where positions that move as one are told to move otherwise, or
    the rate of the base currency is not 1.
    """

    base: str
    as_of: datetime
    held: tuple[HeldPosition, ...] = ()

    def __post_init__(self) -> None:
        require_names("positions", base=self.base)
        require_utc_time("positions", as_of=self.as_of)
        force_setattr(self, "held", tuple(sorted(self.held, key=_id)))
        ids = [_id(position) for position in self.held]
        if twice := sorted({one for one, other in pairwise(ids) if one == other}):
            raise LabelsDiffer(f"positions: {', '.join(twice)} more than once")
        for position in self.held:
            if position.currency == self.base and position.rate not in (None, 1.0):
                raise OutOfRange(f"position {position.position_id}: `rate`: {position.rate} of {self.base} to itself")
        self._require_moving_as_one()

    def _require_moving_as_one(self) -> None:
        for name in ("betas", "specific_variance"):
            known: dict[str, HeldPosition] = {}
            for position in self.held:
                if getattr(position, name) is None:
                    continue
                first = known.setdefault(position.source, position)
                if getattr(first, name) != getattr(position, name):
                    raise OutOfRange(
                        f"`{name}`: {first.position_id} and {position.position_id} both move with {position.source}, and differ"
                    )

    def of(self, position_id: str) -> HeldPosition:
        """The position of that id. Raises UnknownPosition."""
        found = next((position for position in self.held if position.position_id == position_id), None)
        if found is None:
            raise UnknownPosition(f"there is no position {position_id}")
        return found

    def with_position(self, position: HeldPosition) -> "Positions":
        """These and one more. Raises PositionExists, and as a new one."""
        if any(one.position_id == position.position_id for one in self.held):
            raise PositionExists(f"there is a position {position.position_id} already")
        return replace(self, held=(*self.held, position))

    def without(self, position_id: str) -> "Positions":
        """These but one. Raises UnknownPosition."""
        gone = self.of(position_id)
        return replace(self, held=tuple(position for position in self.held if position is not gone))

    def replaced(self, *changed: HeldPosition) -> "Positions":
        """These, each of the changed ones in place of the one of its id."""
        new = {position.position_id: position for position in changed}
        return replace(self, held=tuple(new.get(position.position_id, position) for position in self.held))

    def frame(self) -> pd.DataFrame:
        """A row for each position, a column for each field, indexed by position."""
        rows = [asdict(position) for position in self.held]
        return pd.DataFrame(rows, columns=list(HeldPosition.__struct_fields__)).set_index("position_id")

    @property
    def content_hash(self) -> str:
        """SHA-256 hex of all that is in it: the same where, and only where, nothing differs."""
        return hashlib.sha256(written(self)).hexdigest()


def positions_from_rows(rows: Iterable[Mapping[str, Any]], *, base: str, as_of: datetime) -> Positions:
    """Positions of plain rows, each with the fields of HeldPosition by their names. Raises WrongShape naming a field that is
    unknown, missing or of another type, and what HeldPosition and Positions refuse."""
    return Positions(base=base, as_of=as_of, held=tuple(converted(dict(row), HeldPosition, "position") for row in rows))


class Tags(Struct, frozen=True, kw_only=True):
    """What somebody calls a position or a portfolio, and the strategies that it is part of."""

    regular: tuple[str, ...] = ()
    strategy: tuple[str, ...] = ()


NO_TAGS = Tags()


class Described(Struct, frozen=True, kw_only=True):
    """What is known of an instrument besides what the engine has. Fields are those of HeldPosition."""

    node: str = ""
    sector: str = ""
    underlying: str = ""
    betas: dict[str, float] | None = None
    specific_variance: float | None = None
    tags: Tags = NO_TAGS
    option: OptionTerms | None = None


def positions_of(
    portfolio: Portfolio,
    *,
    base: str,
    as_of: datetime,
    rates: Mapping[str, float] | None = None,
    described: Mapping[str, Described] | None = None,
    tags: Tags = NO_TAGS,
    tagged: Mapping[str, Tags] | None = None,
) -> Positions:
    """The open positions of an engine's portfolio, at their marks. The portfolio is read, and stays as it is.

    `rates`: units of `base` for one of a currency, by currency; `described`: by instrument. A position without either lacks
    what they tell. `tags` are the portfolio's, and so every position's; `tagged`: by position, besides; a position's own
    strategy is one of its strategies. `node` is the portfolio's name where nothing else is said. `option` is of an instrument
    that is held as options; a synthetic future that comes without is taken as the future it is.
    Raises OutOfRange for an instrument that is not configured, and what Positions does.
    """
    known = {**(rates or {}), base: 1.0}
    held = (
        _held(
            portfolio,
            position,
            (described or {}).get(position.instrument, Described()),
            known,
            (tags, (tagged or {}).get(position.position_id, NO_TAGS)),
        )
        for position in portfolio.positions.values()
    )
    return Positions(base=base, as_of=as_of, held=tuple(held))


def _held(
    portfolio: Portfolio, position: Position, known: Described, rates: Mapping[str, float], tags: tuple[Tags, Tags]
) -> HeldPosition:
    settings = portfolio.settings.instruments.get(position.instrument)
    if settings is None:
        raise OutOfRange(f"position {position.position_id}: {position.instrument} is not configured")
    own = () if position.strategy_id is None else (position.strategy_id,)
    whole, its = tags
    return HeldPosition(
        position_id=position.position_id,
        instrument=position.instrument,
        currency=settings.currency,
        signed_quantity=float(position.side.sign * position.lots),
        point_value=float(position.point_value),
        price=float(position.mark_price),
        rate=rates.get(settings.currency),
        node=known.node or portfolio.name,
        sector=known.sector,
        contract=position.contract_month or "",
        underlying=known.underlying,
        betas=known.betas,
        specific_variance=known.specific_variance,
        stop=None if position.current_stop is None else float(position.current_stop),
        margin_per_lot=float(portfolio.margin_of(position)) / position.lots,
        tags=(*known.tags.regular, *whole.regular, *its.regular),
        strategies=(*known.tags.strategy, *whole.strategy, *its.strategy, *own),
        option=known.option,
    )


def _id(position: HeldPosition) -> str:
    return position.position_id
