"""Ours beside the broker's: what each says is held of every symbol. It compares and proposes, and fabricates nothing."""

from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal

import structlog
from msgspec import Struct

from core.findings import MISMATCHES, FindingKind
from core.inputs import Freeze
from core.numbers import ZERO
from core.portfolio import Portfolio
from live.answers import Answer
from live.books import Market
from live.brokers.port import Broker, BrokerPosition

__all__ = ["MISMATCHES", "Finding", "FindingKind", "Reconciler", "compare"]

log = structlog.get_logger(__name__)
TRIES = 3


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


def compare(portfolio: Portfolio, held: Iterable[BrokerPosition], markets: Mapping[str, Market]) -> tuple[Finding, ...]:
    """A finding for each symbol that either side holds, or should, by symbol; a position without a market counts as missing."""
    instruments = {(market.symbol, market.exchange): name for name, market in markets.items()}
    ours: dict[tuple[str, str], Decimal] = {}
    # What was accepted and is gone is told too.
    accepted = (name for name, row in portfolio.pyramiding.items() if row.accepted_difference is not None)
    for instrument in {*portfolio.by_instrument, *accepted}:
        market = markets.get(instrument)
        key = (instrument, "") if market is None else (market.symbol, market.exchange)
        instruments.setdefault(key, instrument)
        ours[key] = _signed_quantity(portfolio, instrument, market)
    broker: dict[tuple[str, str], Decimal] = {}
    for position in held:
        key = (position.symbol, position.exchange)
        broker[key] = broker.get(key, ZERO) + position.quantity
    return tuple(
        _finding(portfolio, key, instruments.get(key), ours.get(key, ZERO), broker.get(key, ZERO))
        for key in sorted(ours.keys() | broker.keys())
    )


def _signed_quantity(portfolio: Portfolio, instrument: str, market: Market | None) -> Decimal:
    return sum(
        (
            position.side.sign * position.lots * (position.lot_size if market is None else market.units_per_lot)
            for position in portfolio.positions_of(instrument)
        ),
        ZERO,
    )


def _finding(
    portfolio: Portfolio, key: tuple[str, str], instrument: str | None, ours: Decimal, broker: Decimal
) -> Finding:
    symbol, exchange = key
    accepted = (None if instrument is None else portfolio.pyramiding_of(instrument).accepted_difference) or ZERO
    kind = FindingKind.MATCHED if ours + accepted == broker else _kind_of_mismatch(ours, broker)
    if kind is not FindingKind.MATCHED and instrument is not None and portfolio.orders_of(instrument):
        kind = FindingKind.IN_FLIGHT
    return Finding(
        kind=kind, symbol=symbol, exchange=exchange, instrument=instrument, ours=ours, broker=broker, accepted=accepted
    )


def _kind_of_mismatch(ours: Decimal, broker: Decimal) -> FindingKind:
    if broker == 0:
        return FindingKind.MISSING
    return FindingKind.UNKNOWN if ours == 0 else FindingKind.DIFFERS


class Reconciler:
    """Compares on the start, on demand and from time to time. `command` gives the engine a command."""

    def __init__(
        self,
        broker: Broker,
        markets: Mapping[str, Market],
        *,
        portfolio: Callable[[], Portfolio],
        command: Callable[[Freeze], Answer],
    ) -> None:
        self._broker = broker
        self._markets = markets
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
        return compare(after, held, self._markets)

    def _freeze(self, finding: Finding) -> None:
        told = f"{finding.kind.value}: {finding.symbol}, ours {finding.ours:f}, the broker's {finding.broker:f}"
        told += f", accepted besides ours {finding.accepted:f}" if finding.accepted else ""
        instrument = finding.instrument
        if instrument is None:
            log.error("the broker holds what is none of ours", symbol=finding.symbol, quantity=str(finding.broker))
        elif self._portfolio().pyramiding_of(instrument).frozen_reason is None:
            log.error("ours and the broker's positions differ: entries are frozen", finding=told)
            self._command(Freeze(instrument=instrument, reason=told))
