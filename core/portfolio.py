"""A portfolio in memory: its open positions, its row, its settings, and sums kept up as positions change."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, assert_never

import immutables
from msgspec import Struct
from msgspec.structs import replace

from core.listed_contracts import ListedContracts
from core.models import PortfolioState, Position, PyramidingState, layer_number
from core.numbers import ZERO, exactly, percent_of, product
from core.orders import Order, OrderPurpose
from core.proposals import Proposal
from core.settings import Settings

NO_CONTRACTS: immutables.Map[str, ListedContracts] = immutables.Map()


class Totals(Struct, frozen=True, kw_only=True):
    """Sums over the open positions and what working entries reserve, in money: what makes a decision independent of how
    many there are."""

    unrealized: Decimal = ZERO
    risk: Decimal = ZERO
    volatility: Decimal = ZERO
    margin: Decimal = ZERO


class Portfolio(Struct, frozen=True, kw_only=True):
    """All that a decision may depend on.

    `contracts` are those of the instruments that are traded by contract. `orders` are those of which more may come; `closed`
    and `settled_orders` hold what this batch ended, until it is committed; so does `decided_proposals`, while `proposals` are
    those that wait, by instrument, oldest first. `recovered_at` is when an instance last became the one that decides, where a
    rule asks for it: it is no row, and every start notes it anew. `seq` is the journal's number of the input that is decided
    now, 0 once that is committed.
    """

    name: str
    settings: Settings
    state: PortfolioState
    positions: immutables.Map[str, Position] = immutables.Map()
    by_instrument: immutables.Map[str, tuple[str, ...]] = immutables.Map()
    pyramiding: immutables.Map[str, PyramidingState] = immutables.Map()
    closed: immutables.Map[str, Position] = immutables.Map()
    totals: Totals = Totals()
    orders: immutables.Map[str, Order] = immutables.Map()
    orders_by_instrument: immutables.Map[str, tuple[str, ...]] = immutables.Map()
    settled_orders: immutables.Map[str, Order] = immutables.Map()
    contracts: immutables.Map[str, ListedContracts] = NO_CONTRACTS
    proposals: immutables.Map[str, tuple[Proposal, ...]] = immutables.Map()
    decided_proposals: immutables.Map[str, Proposal] = immutables.Map()
    recovered_at: datetime | None = None
    seq: int = 0

    def positions_of(self, instrument: str) -> list[Position]:
        """The instrument's open positions, by layer."""
        return [self.positions[position_id] for position_id in self.by_instrument.get(instrument, ())]

    def orders_of(self, instrument: str) -> list[Order]:
        """The instrument's orders of which more may come, oldest first."""
        return [self.orders[order_id] for order_id in self.orders_by_instrument.get(instrument, ())]

    def working_entries_of(self, instrument: str) -> list[Order]:
        """The instrument's entries that may still be filled."""
        return [order for order in self.orders_of(instrument) if order.purpose is OrderPurpose.ENTRY and order.is_live]

    def exits_of(self, position: Position) -> list[Order]:
        """The orders that sell a position, of which more may come."""
        return [
            order
            for order in self.orders_of(position.instrument)
            if order.position_id == position.position_id and order.purpose is OrderPurpose.EXIT
        ]

    def lots_leaving(self, position: Position) -> int:
        """Lots of a position that exit orders sell already, or may turn out to have sold."""
        if position.instrument not in self.orders_by_instrument:
            return 0
        # A stop at the broker may have sold some of them first.
        return min(position.lots, sum(order.lots_to_come for order in self.exits_of(position)))

    def proposals_of(self, instrument: str) -> tuple[Proposal, ...]:
        """The instrument's proposals that wait, oldest first."""
        return self.proposals.get(instrument, ())

    def pending_proposals(self) -> list[Proposal]:
        """All that wait, oldest first."""
        found = [proposal for own in self.proposals.values() for proposal in own]
        return sorted(found, key=_proposal_order)

    @property
    def waiting_proposals(self) -> int:
        """How many wait."""
        return sum(map(len, self.proposals.values()))

    def pending_proposal(self, proposal_id: str) -> Proposal | None:
        """The one of that id, if it waits."""
        return next((p for own in self.proposals.values() for p in own if p.proposal_id == proposal_id), None)

    def pyramiding_of(self, instrument: str) -> PyramidingState:
        """The instrument's pyramiding row, an empty one if it has none yet."""
        return self.pyramiding.get(instrument) or PyramidingState(instrument=instrument)

    def base_of(self, instrument: str) -> Position | None:
        """The instrument's open base position."""
        return next((position for position in self.positions_of(instrument) if position.is_base_position), None)

    def with_position(self, position: Position) -> "Portfolio":
        """This portfolio with that position as it now is: opened, changed or closed; indexes and sums follow."""
        before = self.positions.get(position.position_id)
        if not position.is_open:
            return replace(
                self,
                positions=self.positions.delete(position.position_id) if before else self.positions,
                by_instrument=self._index_without(before),
                closed=self.closed.set(position.position_id, position),
                totals=self._moved(before, -1, self.totals),
            )
        return replace(
            self,
            positions=self.positions.set(position.position_id, position),
            by_instrument=self._index_with(position, before),
            totals=self._moved(position, 1, self.totals) if before is None else self._changed(before, position),
        )

    def with_marked(self, positions: Sequence[Position]) -> "Portfolio":
        """This portfolio with these open positions, each another one, as a bar has marked them: as `with_position` of each."""
        totals = self.totals
        unrealized, risk, volatility = totals.unrealized, totals.risk, totals.volatility
        with self.positions.mutate() as known:
            for position in positions:
                before = known[position.position_id]
                unrealized += position.unrealized_pnl - before.unrealized_pnl
                risk += position.risk_contribution - before.risk_contribution
                volatility += position.vol_contribution - before.vol_contribution
                known[position.position_id] = position
            marked = known.finish()
        return replace(
            self,
            positions=marked,
            totals=Totals(unrealized=unrealized, risk=risk, volatility=volatility, margin=totals.margin),
        )

    def with_order(self, order: Order) -> "Portfolio":
        """This portfolio with that order as it now is: intended, reported or settled; index and sums follow."""
        before = self.orders.get(order.client_order_id)
        totals = self._reserved(order, 1, self._reserved(before, -1, self.totals))
        index = self.orders_by_instrument.get(order.instrument, ())
        if not order.settled:
            if before is None:
                known = self.orders.set(order.client_order_id, order)
                ids = (*index, order.client_order_id)
                index = tuple(sorted(ids, key=lambda order_id: (known[order_id].journal_seq, order_id)))
            return replace(
                self,
                orders=self.orders.set(order.client_order_id, order),
                orders_by_instrument=self.orders_by_instrument.set(order.instrument, index),
                totals=totals,
            )
        index = tuple(order_id for order_id in index if order_id != order.client_order_id)
        by_instrument = self.orders_by_instrument
        return replace(
            self,
            orders=self.orders.delete(order.client_order_id) if before else self.orders,
            orders_by_instrument=(
                by_instrument.set(order.instrument, index) if index else by_instrument.delete(order.instrument)
            ),
            settled_orders=self.settled_orders.set(order.client_order_id, order),
            totals=totals,
        )

    def with_proposal(self, proposal: Proposal) -> "Portfolio":
        """This portfolio with that proposal as it now is: made or decided."""
        instrument = proposal.signal.instrument
        others = tuple(p for p in self.proposals_of(instrument) if p.proposal_id != proposal.proposal_id)
        if proposal.is_pending:
            waiting = tuple(sorted((*others, proposal), key=_proposal_order))
            return replace(self, proposals=self.proposals.set(instrument, waiting))
        known = instrument in self.proposals
        left = self.proposals.set(instrument, others) if others else self.proposals
        return replace(
            self,
            proposals=left.delete(instrument) if known and not others else left,
            decided_proposals=self.decided_proposals.set(proposal.proposal_id, proposal),
        )

    def with_settings(self, settings: Settings) -> "Portfolio":
        """This portfolio under other settings; margin follows the new margin per lot."""
        return _with_margin_summed(replace(self, settings=settings))

    def with_contracts(self, contracts: immutables.Map[str, ListedContracts]) -> "Portfolio":
        """This portfolio with other contracts; margin follows theirs."""
        return _with_margin_summed(replace(self, contracts=contracts))

    def settled(self) -> "Portfolio":
        """This portfolio after its batch was committed: what was closed is a row, no longer state."""
        if not self.closed and not self.settled_orders and not self.decided_proposals and not self.seq:
            return self
        ended: immutables.Map[str, Any] = immutables.Map()
        return replace(self, closed=ended, settled_orders=ended, decided_proposals=ended, seq=0)

    def margin_of(self, position: Position) -> Decimal:
        """The planning margin of a position, in money; 0 for an instrument that is no longer configured."""
        return self.margin_of_lots(position.instrument, position.contract_month, position.lots)

    def margin_of_lots(self, instrument: str, contract_month: str | None, lots: int) -> Decimal:
        """The planning margin of so many lots of an instrument, or of its contract, in money."""
        return product(self._margin_per_lot(instrument, contract_month), lots)

    def margin_reserved(self, order: Order) -> Decimal:
        """The planning margin that the unfilled lots of a working entry hold, in money."""
        if order.purpose is not OrderPurpose.ENTRY:
            return ZERO
        month = None if order.plan is None else order.plan.contract_month
        return product(self._margin_per_lot(order.instrument, month), order.lots_left)

    def _margin_per_lot(self, instrument: str, contract_month: str | None) -> Decimal:
        """The contract's own where it is known; else, as of one that expired long ago, the instrument's."""
        settings, listed = self.settings.instruments.get(instrument), self.contracts.get(instrument)
        contract = None if listed is None else listed.of_month(contract_month)
        if settings is None:
            return ZERO
        return settings.margin_per_lot if contract is None else contract.margin_per_lot

    def _reserved(self, order: Order | None, sign: int, totals: Totals) -> Totals:
        if order is None:
            return totals
        return replace(
            totals,
            risk=totals.risk + sign * order.risk_reserved,
            volatility=totals.volatility + sign * order.vol_reserved,
            margin=totals.margin + sign * self.margin_reserved(order),
        )

    def _moved(self, position: Position | None, sign: int, totals: Totals) -> Totals:
        if position is None:
            return totals
        return Totals(
            unrealized=totals.unrealized + sign * position.unrealized_pnl,
            risk=totals.risk + sign * position.risk_contribution,
            volatility=totals.volatility + sign * position.vol_contribution,
            margin=totals.margin + sign * self.margin_of(position),
        )

    def _changed(self, before: Position, position: Position) -> Totals:
        totals, margin = self.totals, self.totals.margin
        if (before.lots, before.contract_month, before.instrument) != (
            position.lots,
            position.contract_month,
            position.instrument,
        ):
            margin += self.margin_of(position) - self.margin_of(before)
        return Totals(
            unrealized=totals.unrealized + position.unrealized_pnl - before.unrealized_pnl,
            risk=totals.risk + position.risk_contribution - before.risk_contribution,
            volatility=totals.volatility + position.vol_contribution - before.vol_contribution,
            margin=margin,
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


def _with_margin_summed(portfolio: Portfolio) -> Portfolio:
    margin = sum((portfolio.margin_of(position) for position in portfolio.positions.values()), ZERO)
    margin += sum((portfolio.margin_reserved(order) for order in portfolio.orders.values()), ZERO)
    return replace(portfolio, totals=replace(portfolio.totals, margin=margin))


@exactly
def portfolio_from_rows(
    name: str,
    settings: Settings,
    state: PortfolioState,
    positions: Iterable[Position],
    pyramiding: Iterable[PyramidingState],
    orders: Iterable[Order] = (),
    contracts: immutables.Map[str, ListedContracts] = NO_CONTRACTS,
    by_id: immutables.Map[str, Position] | None = None,
    proposals: Iterable[Proposal] = (),
) -> Portfolio:
    """The portfolio that the rows of its tables are; equal to the one that wrote them. `positions` are open ones, `by_id` the
    same where that is known already; `orders` are in their order, and so are the `proposals` that wait."""
    portfolio = Portfolio(
        name=name,
        settings=settings,
        state=state,
        pyramiding=immutables.Map({row.instrument: row for row in pyramiding}),
        contracts=contracts,
    )
    held = tuple(positions)
    by_id = immutables.Map({position.position_id: position for position in held}) if by_id is None else by_id
    portfolio = _with_positions(replace(portfolio, positions=by_id), held)
    for order in orders:
        portfolio = portfolio.with_order(order)
    for proposal in proposals:
        portfolio = portfolio.with_proposal(proposal)
    return portfolio


def _with_positions(portfolio: Portfolio, held: Sequence[Position]) -> Portfolio:
    """Indexes and sums, as `with_position` of each would have kept them up; all at once."""
    by_instrument: dict[str, list[Position]] = defaultdict(list)
    for position in held:
        by_instrument[position.instrument].append(position)
    return replace(
        portfolio,
        by_instrument=immutables.Map({instrument: _by_layer(own) for instrument, own in by_instrument.items()}),
        totals=Totals(
            unrealized=sum([position.unrealized_pnl for position in held], ZERO),
            risk=sum([position.risk_contribution for position in held], ZERO),
            volatility=sum([position.vol_contribution for position in held], ZERO),
            margin=sum([_margin_of_instrument(portfolio, own) for own in by_instrument.values()], ZERO),
        ),
    )


def _margin_of_instrument(portfolio: Portfolio, positions: list[Position]) -> Decimal:
    margin, instrument = ZERO, positions[0].instrument
    for month in {position.contract_month for position in positions}:
        lots = sum([position.lots for position in positions if position.contract_month == month])
        margin += portfolio.margin_of_lots(instrument, month, lots)
    return margin


def _proposal_order(proposal: Proposal) -> tuple[int, str]:
    return proposal.journal_seq, proposal.proposal_id


def _by_layer(positions: list[Position]) -> tuple[str, ...]:
    ordered = sorted([(layer_number(position.layer), position.position_id) for position in positions])
    return tuple([position_id for _, position_id in ordered])


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
