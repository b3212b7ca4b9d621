"""A portfolio in memory: its open positions, its row, its settings, and sums kept up as positions change."""

from collections.abc import Iterable
from decimal import Decimal
from typing import assert_never

import immutables
from msgspec import Struct
from msgspec.structs import replace

from core.models import PortfolioState, Position, PyramidingState, layer_number
from core.numbers import ZERO, exactly, percent_of, product
from core.settings import Settings


class Totals(Struct, frozen=True, kw_only=True):
    """Sums over the open positions, in money: what makes a decision independent of how many there are."""

    unrealized: Decimal = ZERO
    risk: Decimal = ZERO
    volatility: Decimal = ZERO
    margin: Decimal = ZERO


class Portfolio(Struct, frozen=True, kw_only=True):
    """All that a decision may depend on. `closed` holds what this batch closed, until it is committed."""

    name: str
    settings: Settings
    state: PortfolioState
    positions: immutables.Map[str, Position] = immutables.Map()
    by_instrument: immutables.Map[str, tuple[str, ...]] = immutables.Map()
    pyramiding: immutables.Map[str, PyramidingState] = immutables.Map()
    closed: immutables.Map[str, Position] = immutables.Map()
    totals: Totals = Totals()

    def positions_of(self, instrument: str) -> list[Position]:
        """The instrument's open positions, by layer."""
        return [self.positions[position_id] for position_id in self.by_instrument.get(instrument, ())]

    def pyramiding_of(self, instrument: str) -> PyramidingState:
        """The instrument's pyramiding row, an empty one if it has none yet."""
        return self.pyramiding.get(instrument) or PyramidingState(instrument=instrument)

    def base_of(self, instrument: str) -> Position | None:
        """The instrument's open base position."""
        return next((position for position in self.positions_of(instrument) if position.is_base_position), None)

    def with_position(self, position: Position) -> "Portfolio":
        """This portfolio with that position as it now is: opened, changed or closed; indexes and sums follow."""
        before = self.positions.get(position.position_id)
        totals = self._moved(before, -1, self.totals)
        if not position.is_open:
            return replace(
                self,
                positions=self.positions.delete(position.position_id) if before else self.positions,
                by_instrument=self._index_without(before),
                closed=self.closed.set(position.position_id, position),
                totals=totals,
            )
        return replace(
            self,
            positions=self.positions.set(position.position_id, position),
            by_instrument=self._index_with(position, before),
            totals=self._moved(position, 1, totals),
        )

    def with_settings(self, settings: Settings) -> "Portfolio":
        """This portfolio under other settings; margin follows the new margin per lot."""
        changed = replace(self, settings=settings)
        margin = sum((changed.margin_of(position) for position in self.positions.values()), ZERO)
        return replace(changed, totals=replace(self.totals, margin=margin))

    def settled(self) -> "Portfolio":
        """This portfolio after its batch was committed: what was closed is a row, no longer state."""
        return replace(self, closed=immutables.Map()) if self.closed else self

    def margin_of(self, position: Position) -> Decimal:
        """The planning margin of a position, in money; 0 for an instrument that is no longer configured."""
        instrument = self.settings.instruments.get(position.instrument)
        return ZERO if instrument is None else product(instrument.margin_per_lot, position.lots)

    def _moved(self, position: Position | None, sign: int, totals: Totals) -> Totals:
        if position is None:
            return totals
        return Totals(
            unrealized=totals.unrealized + sign * position.unrealized_pnl,
            risk=totals.risk + sign * position.risk_contribution,
            volatility=totals.volatility + sign * position.vol_contribution,
            margin=totals.margin + sign * self.margin_of(position),
        )

    def _index_with(self, position: Position, before: Position | None) -> immutables.Map[str, tuple[str, ...]]:
        if before is not None and (before.instrument, before.layer) == (position.instrument, position.layer):
            return self.by_instrument
        index = self._index_without(before)
        ids = [*index.get(position.instrument, ()), position.position_id]
        known = self.positions.set(position.position_id, position)
        ids.sort(key=lambda position_id: (layer_number(known[position_id].layer), position_id))
        return index.set(position.instrument, tuple(ids))

    def _index_without(self, position: Position | None) -> immutables.Map[str, tuple[str, ...]]:
        if position is None:
            return self.by_instrument
        known = self.by_instrument.get(position.instrument, ())
        ids = tuple(position_id for position_id in known if position_id != position.position_id)
        if ids or not known:
            return self.by_instrument.set(position.instrument, ids) if ids else self.by_instrument
        return self.by_instrument.delete(position.instrument)


@exactly
def portfolio_from_rows(
    name: str,
    settings: Settings,
    state: PortfolioState,
    positions: Iterable[Position],
    pyramiding: Iterable[PyramidingState],
) -> Portfolio:
    """The portfolio that the rows of its tables are; equal to the one that wrote them."""
    portfolio = Portfolio(
        name=name,
        settings=settings,
        state=state,
        pyramiding=immutables.Map({row.instrument: row for row in pyramiding}),
    )
    for position in positions:
        portfolio = portfolio.with_position(position)
    return portfolio


def open_equity(portfolio: Portfolio) -> Decimal:
    """Closed equity and all unrealised P&L, in money."""
    return portfolio.state.closed_equity + portfolio.totals.unrealized


def blended_equity(portfolio: Portfolio) -> Decimal:
    """Closed equity and half of the unrealised P&L, in money."""
    return portfolio.state.closed_equity + portfolio.totals.unrealized / 2


def sizing_equity(portfolio: Portfolio) -> Decimal:
    """The equity that sizes and percentages are of, by the `sizing.equity` setting."""
    match portfolio.settings.sizing.equity:
        case "blended":
            return blended_equity(portfolio)
        case "closed":
            return portfolio.state.closed_equity
        case "open":
            return open_equity(portfolio)
        case "high_water":
            return portfolio.state.equity_high
        case _:
            assert_never(portfolio.settings.sizing.equity)


def margin_percent(portfolio: Portfolio) -> Decimal | None:
    """The planning margin in use, in per cent of the sizing equity; None where that is not positive."""
    return percent_of(portfolio.totals.margin, sizing_equity(portfolio))


def drawdown_percent(state: PortfolioState) -> Decimal:
    """(equity_high - closed_equity) / equity_high in per cent, exact enough to compare; 0 at the high."""
    if state.closed_equity >= state.equity_high:
        return ZERO
    if state.equity_high <= 0:
        return Decimal(100)
    return (state.equity_high - state.closed_equity) * 100 / state.equity_high
