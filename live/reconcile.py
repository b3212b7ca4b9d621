"""Ours beside the broker's: what each says is held of every symbol. It compares and proposes, and fabricates nothing."""

from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal

import structlog
from msgspec import Struct

from core.findings import DIFFERENCES, MISMATCHES, FindingKind
from core.inputs import Freeze
from core.models import Position
from core.numbers import ZERO
from core.orders import Order, OrderState
from core.portfolio import Portfolio
from live.answers import Answer
from live.books import Market
from live.brokers.port import Broker, BrokerPosition
from live.contract_markets import NO_CONTRACT_MARKETS, ContractMarkets

__all__ = ["MISMATCHES", "Finding", "FindingKind", "Reconciler", "compare"]

log = structlog.get_logger(__name__)
TRIES = 3
# A symbol and the exchange that it is traded at.
Key = tuple[str, str]


class Finding(Struct, frozen=True, kw_only=True):
    """One symbol: signed quantities in the broker's units; `instrument` None for one that none of ours is traded as.

    `accepted` is what the operator has accepted that the broker holds besides ours: the two match where broker = ours + it.
    """

    kind: FindingKind
    symbol: str
    exchange: str
    instrument: str | None
    ours: Decimal
    broker: Decimal
    accepted: Decimal = ZERO


def compare(
    portfolio: Portfolio,
    held: Iterable[BrokerPosition],
    markets: Mapping[str, Market],
    by_contract: ContractMarkets = NO_CONTRACT_MARKETS,
) -> tuple[Finding, ...]:
    """A finding for each symbol that either side holds, or should, by symbol; a position without a market counts as missing.

    An instrument's positions in two contracts are two symbols, and so are the two options of a synthetic future.
    """
    instruments = {(market.symbol, market.exchange): name for name, market in markets.items()}
    instruments |= by_contract.instruments(portfolio)
    ours: dict[Key, Decimal] = {}
    for position in portfolio.positions.values():
        for key, quantity in _held_as(position, markets, by_contract):
            instruments.setdefault(key, position.instrument)
            ours[key] = ours.get(key, ZERO) + quantity
    broker: dict[Key, Decimal] = {}
    for held_there in held:
        key = (held_there.symbol, held_there.exchange)
        broker[key] = broker.get(key, ZERO) + held_there.quantity
    accepted = _accepted(portfolio, markets, instruments, ours, broker)
    return tuple(
        _finding(portfolio, key, instruments.get(key), ours.get(key, ZERO), broker.get(key, ZERO), accepted)
        for key in sorted(ours.keys() | broker.keys() | accepted.keys())
    )


def compare_rows(portfolio: Portfolio, rows: Iterable[Position]) -> tuple[Finding, ...]:
    """A finding for each open position whose row is not, field for field, what memory says; `broker` is the row's quantity."""
    kept = {row.position_id: row for row in rows}
    differing = [
        key for key in kept.keys() | portfolio.positions.keys() if kept.get(key) != portfolio.positions.get(key)
    ]
    return tuple(
        Finding(
            kind=FindingKind.DATABASE,
            symbol=key,
            exchange="",
            instrument=(kept.get(key) or portfolio.positions[key]).instrument,
            ours=_quantity(portfolio.positions.get(key)),
            broker=_quantity(kept.get(key)),
        )
        for key in sorted(differing)
    )


def _quantity(position: Position | None) -> Decimal:
    return ZERO if position is None else position.side.sign * position.quantity


def _held_as(
    position: Position, markets: Mapping[str, Market], by_contract: ContractMarkets
) -> Iterable[tuple[Key, Decimal]]:
    """The symbols and exchanges under which the broker should hold a position, and how much of each, signed."""
    lots = position.side.sign * position.lots
    for contract, sign in by_contract.held_as(position):
        yield (contract.symbol, contract.exchange), sign * lots * contract.units_per_lot
    if by_contract.has(position):
        return
    market = markets.get(position.instrument)
    if market is None:
        yield (position.instrument, ""), lots * position.lot_size
    else:
        yield (market.symbol, market.exchange), lots * market.units_per_lot


def _accepted(
    portfolio: Portfolio,
    markets: Mapping[str, Market],
    instruments: dict[Key, str],
    ours: Mapping[Key, Decimal],
    broker: Mapping[Key, Decimal],
) -> dict[Key, Decimal]:
    """Which symbol each accepted difference is of: the one that differs by it, else one that differs at all.

    What was accepted and is gone is told of too.
    """
    found = {}
    for name, row in portfolio.pyramiding.items():
        if row.accepted_difference is None:
            continue
        market = markets.get(name)
        alone = (name, "") if market is None else (market.symbol, market.exchange)
        instruments.setdefault(alone, name)
        keys = sorted(key for key in ours.keys() | broker.keys() if instruments.get(key) == name)
        apart = {key: broker.get(key, ZERO) - ours.get(key, ZERO) for key in keys}
        same = [key for key in keys if apart[key] == row.accepted_difference]
        key = next(iter([*same, *(key for key in keys if apart[key]), *keys]), alone)
        found[key] = row.accepted_difference
    return found


def _finding(
    portfolio: Portfolio,
    key: Key,
    instrument: str | None,
    ours: Decimal,
    broker: Decimal,
    accepted_of: Mapping[Key, Decimal],
) -> Finding:
    symbol, exchange = key
    accepted = accepted_of.get(key, ZERO)
    kind = FindingKind.MATCHED if ours + accepted == broker else _kind_of_mismatch(ours, broker)
    if kind is not FindingKind.MATCHED and instrument is not None and _moves(portfolio, instrument):
        kind = FindingKind.IN_FLIGHT
    return Finding(
        kind=kind, symbol=symbol, exchange=exchange, instrument=instrument, ours=ours, broker=broker, accepted=accepted
    )


def _moves(portfolio: Portfolio, instrument: str) -> bool:
    return any(not order.rests and not _begins(order) for order in portfolio.orders_of(instrument))


def _begins(order: Order) -> bool:
    """Whether nothing of what it is a step of has reached the broker."""
    return order.state is OrderState.INTENT and order.leg_price is None and order.near_price is None


def _kind_of_mismatch(ours: Decimal, broker: Decimal) -> FindingKind:
    if broker == 0:
        return FindingKind.MISSING
    return FindingKind.UNKNOWN if ours == 0 else FindingKind.DIFFERS


class Reconciler:
    """Compares on the start, on demand and from time to time. `command` gives the engine a command, `rows` are the open
    positions as the database has them now."""

    def __init__(
        self,
        broker: Broker,
        markets: Mapping[str, Market],
        by_contract: ContractMarkets = NO_CONTRACT_MARKETS,
        *,
        portfolio: Callable[[], Portfolio],
        command: Callable[[Freeze], Answer],
        rows: Callable[[], Iterable[Position]] | None = None,
    ) -> None:
        self._broker = broker
        self._markets = markets
        self._by_contract = by_contract
        self._portfolio = portfolio
        self._command = command
        self._rows = rows
        self._seen: frozenset[Finding] = frozenset()
        self._told: set[Finding] = set()
        # Instruments that differed from the broker twice in a row, whatever they are frozen for.
        self.differing: frozenset[str] = frozenset()

    def run(self) -> tuple[Finding, ...]:
        """Compare now. An instrument that differs for the second time in a row is frozen: adds stop, exits go.

        Raises what the broker raises where its positions cannot be read, DatabaseAway where the rows cannot.
        """
        findings = self._compared()
        mismatches = frozenset(finding for finding in findings if finding.kind in DIFFERENCES)
        lasting = mismatches & self._seen
        self.differing = frozenset(f.instrument for f in lasting if f.instrument is not None and f.kind in MISMATCHES)
        for finding in sorted(lasting, key=lambda finding: finding.symbol):
            self._freeze(finding)
        self._seen = mismatches
        return findings

    def _compared(self) -> tuple[Finding, ...]:
        for _ in range(TRIES):
            before = self._portfolio()
            held, rows = self._broker.positions(), None if self._rows is None else tuple(self._rows())
            after = self._portfolio()
            if before.positions is after.positions and before.orders is after.orders:
                break
        else:
            rows = None  # it changes while it is looked at: another look will tell
        found = compare(after, held, self._markets, self._by_contract)
        return found if rows is None else (*found, *compare_rows(after, rows))

    def _freeze(self, finding: Finding) -> None:
        told = f"{finding.kind.value}: {finding.symbol}, ours {finding.ours:f}, the broker's {finding.broker:f}"
        told += f", accepted besides ours {finding.accepted:f}" if finding.accepted else ""
        instrument = finding.instrument
        if instrument is None:
            if finding not in self._told:
                log.error(
                    "the broker holds what is none of ours", symbol=finding.symbol, quantity=f"{finding.broker:f}"
                )
            self._told.add(finding)
        elif self._portfolio().pyramiding_of(instrument).frozen_reason is None:
            log.error("what is held differs: entries are frozen", finding=told)
            self._command(Freeze(instrument=instrument, reason=told))
