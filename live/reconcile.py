"""Ours beside the broker's: what each says is held of every symbol. It compares and proposes, and fabricates nothing."""

from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from enum import StrEnum

import structlog
from msgspec import Struct

from core.inputs import Freeze
from core.models import Position
from core.portfolio import Portfolio
from live.answers import Answer
from live.books import Market
from live.brokers.port import Broker, BrokerPosition
from live.contract_markets import NO_CONTRACT_MARKETS, ContractMarkets

log = structlog.get_logger(__name__)
TRIES = 3


class FindingKind(StrEnum):
    """in_flight: an order of the instrument that does more than wait is not settled: neither figure is the last word."""

    MATCHED = "matched"
    MISSING = "missing at broker"
    UNKNOWN = "unknown at broker"
    DIFFERS = "quantity differs"
    IN_FLIGHT = "in flight"


MISMATCHES = (FindingKind.MISSING, FindingKind.UNKNOWN, FindingKind.DIFFERS)


class Finding(Struct, frozen=True, kw_only=True):
    """One symbol: signed quantities in the broker's units; `instrument` None for one that none of ours is traded as."""

    kind: FindingKind
    symbol: str
    exchange: str
    instrument: str | None
    ours: Decimal
    broker: Decimal


def compare(
    portfolio: Portfolio,
    held: Iterable[BrokerPosition],
    markets: Mapping[str, Market],
    by_contract: ContractMarkets = NO_CONTRACT_MARKETS,
) -> tuple[Finding, ...]:
    """A finding for each symbol that either side holds, by symbol; a position without a market counts as missing.

    An instrument's positions in two contracts are two symbols.
    """
    instruments = {(market.symbol, market.exchange): name for name, market in markets.items()}
    instruments |= by_contract.instruments(portfolio)
    ours: dict[tuple[str, str], Decimal] = {}
    for position in portfolio.positions.values():
        key, quantity = _held_as(position, by_contract.of_position(position) or markets.get(position.instrument))
        instruments.setdefault(key, position.instrument)
        ours[key] = ours.get(key, Decimal(0)) + quantity
    broker: dict[tuple[str, str], Decimal] = {}
    for held_there in held:
        key = (held_there.symbol, held_there.exchange)
        broker[key] = broker.get(key, Decimal(0)) + held_there.quantity
    return tuple(
        _finding(portfolio, key, instruments.get(key), ours.get(key, Decimal(0)), broker.get(key, Decimal(0)))
        for key in sorted(ours.keys() | broker.keys())
    )


def _held_as(position: Position, market: Market | None) -> tuple[tuple[str, str], Decimal]:
    """The symbol and exchange under which the broker should hold a position, and how much of it, signed."""
    lots = position.side.sign * position.lots
    if market is None:
        return (position.instrument, ""), lots * position.lot_size
    return (market.symbol, market.exchange), lots * market.units_per_lot


def _finding(
    portfolio: Portfolio, key: tuple[str, str], instrument: str | None, ours: Decimal, broker: Decimal
) -> Finding:
    symbol, exchange = key
    kind = _kind(ours, broker)
    if kind is not FindingKind.MATCHED and instrument is not None and _moves(portfolio, instrument):
        kind = FindingKind.IN_FLIGHT
    return Finding(kind=kind, symbol=symbol, exchange=exchange, instrument=instrument, ours=ours, broker=broker)


def _moves(portfolio: Portfolio, instrument: str) -> bool:
    return any(not order.rests for order in portfolio.orders_of(instrument))


def _kind(ours: Decimal, broker: Decimal) -> FindingKind:
    if ours == broker:
        return FindingKind.MATCHED
    if broker == 0:
        return FindingKind.MISSING
    return FindingKind.UNKNOWN if ours == 0 else FindingKind.DIFFERS


class Reconciler:
    """Compares on the start, on demand and from time to time. `command` gives the engine a command."""

    def __init__(
        self,
        broker: Broker,
        markets: Mapping[str, Market],
        by_contract: ContractMarkets = NO_CONTRACT_MARKETS,
        *,
        portfolio: Callable[[], Portfolio],
        command: Callable[[Freeze], Answer],
    ) -> None:
        self._broker = broker
        self._markets = markets
        self._by_contract = by_contract
        self._portfolio = portfolio
        self._command = command
        self._seen: frozenset[Finding] = frozenset()

    def run(self) -> tuple[Finding, ...]:
        """Compare now. An instrument that differs for the second time in a row is frozen: adds stop, exits go.

        Raises what the broker raises where its positions cannot be read.
        """
        findings = self._compared()
        mismatches = frozenset(finding for finding in findings if finding.kind in MISMATCHES)
        for finding in sorted(mismatches & self._seen, key=lambda finding: finding.symbol):
            self._freeze(finding)
        self._seen = mismatches
        return findings

    def _compared(self) -> tuple[Finding, ...]:
        for _ in range(TRIES):
            before = self._portfolio()
            held = self._broker.positions()
            after = self._portfolio()
            if before.positions is after.positions and before.orders is after.orders:
                break
        return compare(after, held, self._markets, self._by_contract)

    def _freeze(self, finding: Finding) -> None:
        told = f"{finding.kind.value}: {finding.symbol}, ours {finding.ours:f}, the broker's {finding.broker:f}"
        instrument = finding.instrument
        if instrument is None:
            log.error("the broker holds what is none of ours", symbol=finding.symbol, quantity=str(finding.broker))
        elif self._portfolio().pyramiding_of(instrument).frozen_reason is None:
            log.error("ours and the broker's positions differ: entries are frozen", finding=told)
            self._command(Freeze(instrument=instrument, reason=told))
