"""Tax lots: what was sold matched with what was bought first (FIFO), contract by contract, whatever layer it was of."""

from collections import defaultdict, deque
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from fractions import Fraction

from book.executions import Execution
from core.numbers import ZERO, money


@dataclass(frozen=True, slots=True, kw_only=True)
class TaxLot:
    """Lots that were opened and closed. `side` is LONG where they were bought first; `gain` (money) is before costs; `costs` are
    this lot's share of what was booked as it was closed."""

    portfolio: str
    instrument: str
    contract: str
    side: str
    lots: int
    quantity: Decimal
    opened_at: datetime
    opened_seq: int
    open_price: Decimal
    closed_at: datetime
    closed_seq: int
    close_price: Decimal
    gain: Decimal
    costs: Decimal

    @property
    def net_gain(self) -> Decimal:
        """In money, after costs."""
        return self.gain - self.costs

    @property
    def days_held(self) -> int:
        """Whole days between opening and closing."""
        return (self.closed_at - self.opened_at).days


def tax_lots(executions: Iterable[Execution]) -> tuple[list[TaxLot], list[Execution]]:
    """The lots that are closed, in the order of their closing, and what is open of each execution; first in, first out."""
    open_lots: dict[tuple[str, str], deque[Execution]] = defaultdict(deque)
    closed: list[TaxLot] = []
    for execution in executions:
        waiting = open_lots[execution.portfolio, execution.contract]
        left = execution
        while left.lots and waiting and waiting[0].side != execution.side:
            lots = min(left.lots, waiting[0].lots)
            closed.append(_closed(waiting[0], left, lots, execution))
            waiting[0] = _less(waiting[0], lots)
            if not waiting[0].lots:
                waiting.popleft()
            left = _less(left, lots)
        if left.lots:
            waiting.append(left)
    return closed, [execution for waiting in open_lots.values() for execution in waiting]


def _closed(opening: Execution, closing: Execution, lots: int, whole: Execution) -> TaxLot:
    sign = 1 if opening.side == "BUY" else -1
    points = sign * (closing.price - opening.price)
    # Of what was booked with the closing execution: what these lots are of it; the last ones take what rounding left.
    sold = whole.lots - closing.lots
    costs = _share(whole.costs, sold + lots, whole.lots) - _share(whole.costs, sold, whole.lots)
    return TaxLot(
        portfolio=opening.portfolio,
        instrument=opening.instrument,
        contract=opening.contract,
        side="LONG" if sign > 0 else "SHORT",
        lots=lots,
        quantity=opening.quantity / opening.lots * lots,
        opened_at=opening.time,
        opened_seq=opening.journal_seq,
        open_price=opening.price,
        closed_at=closing.time,
        closed_seq=closing.journal_seq,
        close_price=closing.price,
        gain=money(points * lots * opening.point_value),
        costs=costs,
    )


def _share(costs: Decimal, lots: int, of: int) -> Decimal:
    if not costs:
        return ZERO
    part = Fraction(costs) * lots / of
    return Decimal(round(part * 10**4)) / 10**4


def _less(execution: Execution, lots: int) -> Execution:
    left = execution.lots - lots
    return replace(execution, lots=left, quantity=execution.quantity / execution.lots * left)
