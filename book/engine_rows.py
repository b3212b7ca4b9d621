"""What the engine holds, and proposed, as rows of the book: written so that once more of the same changes nothing."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, date
from decimal import Decimal
from itertools import islice
from typing import Any, cast

from sqlalchemy import Table, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from book.dollar_rates import DOLLAR, DollarRates, in_dollars
from book.hierarchy import LivePortfolio
from book.journal_walk import ProposalFate
from book.portfolio_management import PortfolioPosition, TradeProposal
from book.reference_data import Instrument
from book.sync import sync
from core.journal import read_json
from core.models import ALL_LAYERS, Position
from core.numbers import ZERO, money, product
from core.settings import Settings

_ROWS_AT_ONCE = 1000
_TEXT_LENGTH = 2000
_KEYS = ("portfolio", "engine_position_id")


class EngineRows:
    """Of one portfolio, in the caller's transaction. Its node and its instruments are made where they are not there yet."""

    def __init__(self, session: Session, portfolio: str, settings: Settings) -> None:
        self._session = session
        self._portfolio = portfolio
        self._traded = settings.instruments
        counted = Counter(instrument.currency for instrument in settings.instruments.values())
        self._currency = counted.most_common(1)[0][0] if counted else DOLLAR
        self._node_id = self._node()

    def keep_positions(self, positions: Mapping[str, Position]) -> None:
        """The positions as they now are."""
        masters = self._masters({position.instrument for position in positions.values()})
        currencies = {currency for _, currency in masters.values()}
        days = {day for position in positions.values() for day in _days_of(position)}
        rates = DollarRates(self._session, currencies, days)
        rows = (self._position_row(position, *masters[position.instrument], rates) for position in positions.values())
        for part in _parts(rows):
            given = insert(cast("Table", PortfolioPosition.__table__))
            written = {name: given.excluded[name] for name in part[0] if name not in _KEYS}
            kept = given.on_conflict_do_update(index_elements=_KEYS, set_={**written, "updated_at": func.now()})
            # Returning, SQLAlchemy makes one statement of many rows; else each would be one.
            self._session.execute(kept.returning(PortfolioPosition.id), part).all()

    def keep_proposals(self, fates: Iterable[ProposalFate]) -> None:
        """The proposals as they now are. One that was decided stays so."""
        for fate in fates:
            row = self._proposal_row(fate)
            given = insert(TradeProposal).values(row)
            decided = {name: given.excluded[name] for name in _DECIDED}
            self._session.execute(
                given.on_conflict_do_update(
                    index_elements=["portfolio", "proposal_id"],
                    set_={**decided, "updated_at": func.now()},
                    where=TradeProposal.status == "PENDING",
                )
            )

    def hang_together(self) -> None:
        """Where the portfolio hangs on another node than it did, its positions do too."""
        moved = update(PortfolioPosition).where(
            PortfolioPosition.portfolio == self._portfolio, PortfolioPosition.portfolio_node_id != self._node_id
        )
        self._session.execute(moved.values(portfolio_node_id=self._node_id))

    def fill_dollars(self) -> None:
        """What was without a rate when it was written has one by now, perhaps."""
        found = self._session.scalars(
            select(PortfolioPosition).where(
                PortfolioPosition.portfolio == self._portfolio, PortfolioPosition.entry_fx_rate.is_(None)
            )
        ).all()
        days = {row.entry_timestamp.astimezone(UTC).date() for row in found}
        rates = DollarRates(self._session, {row.base_ccy for row in found}, days)
        for row in found:
            rate = rates.on(row.base_ccy, row.entry_timestamp.astimezone(UTC).date())
            if rate is not None:
                row.entry_fx_rate, row.notional_usd = rate, in_dollars(row.notional_base, rate)
        self._session.flush()

    # --- where it hangs, and what it is made of

    def _node(self) -> int:
        known = select(LivePortfolio.portfolio_node_id).where(LivePortfolio.portfolio == self._portfolio)
        found = self._session.scalar(known)
        if found is None:
            sync(self._session)
            found = self._session.scalars(known).one()
        return found

    def _masters(self, symbols: Iterable[str]) -> dict[str, tuple[int, str]]:
        """Each instrument's id in the master, and its currency."""
        wanted = set(symbols)
        known = self._known_masters(wanted)
        if wanted - known.keys():
            sync(self._session)
            known = self._known_masters(wanted)
        if missing := sorted(wanted - known.keys()):
            # No settings have it any more: what is not known of it is for a person to say.
            rows = [
                {"symbol": symbol, "name": symbol, "asset_class": "OTHER", "kind": "future", "currency": self._currency}
                for symbol in missing
            ]
            self._session.execute(insert(Instrument).values(rows).on_conflict_do_nothing(index_elements=["symbol"]))
            known = self._known_masters(wanted)
        return known

    def _known_masters(self, symbols: Iterable[str]) -> dict[str, tuple[int, str]]:
        asked = select(Instrument.symbol, Instrument.instrument_id, Instrument.currency).where(
            Instrument.symbol.in_(sorted(symbols))
        )
        return {symbol: (found, currency) for symbol, found, currency in self._session.execute(asked)}

    # --- rows

    def _position_row(
        self, position: Position, instrument_id: int, currency: str, rates: DollarRates
    ) -> dict[str, Any]:
        lots = position.lots or position.entry_lots
        notional = money(product(position.entry_price, position.point_value, lots))
        entered_at = position.entry_timestamp
        rate = rates.on(currency, entered_at.date())
        left_at = None if position.is_open else max(position.exit_timestamp or position.mark_time, entered_at)
        exit_rate = None if left_at is None else rates.on(currency, left_at.date())
        strategies = [] if position.strategy_id is None else [position.strategy_id]
        return {
            "portfolio_node_id": self._node_id,
            "instrument_id": instrument_id,
            "source": "engine",
            "portfolio": self._portfolio,
            "engine_position_id": position.position_id,
            "direction": position.side.value.upper(),
            "quantity": product(position.lot_size, lots),
            "base_ccy": currency,
            "notional_base": notional,
            "notional_usd": in_dollars(notional, rate),
            "entry_fx_rate": rate,
            "entry_price": position.entry_price,
            "entry_timestamp": entered_at,
            "strategy_ids": strategies,
            "strategy_weights": dict.fromkeys(strategies, 1),
            "transaction_costs_base": position.costs,
            "realized_pnl_base": position.realized_pnl,
            "realized_pnl_usd": None if position.is_open else in_dollars(position.realized_pnl, exit_rate),
            "is_open": position.is_open,
            "exit_price": None if position.is_open else position.exit_price,
            "exit_fx_rate": exit_rate,
            "exit_timestamp": left_at,
        }

    def _proposal_row(self, fate: ProposalFate) -> dict[str, Any]:
        proposal, signal = fate.proposal, fate.proposal.signal
        traded = self._traded.get(signal.instrument)
        notional = None if traded is None else money(product(signal.price, traded.point_value, proposal.lots))
        day = proposal.proposed_at.date()
        currency = self._currency if traded is None else traded.currency
        rate = DollarRates(self._session, [currency], [day]).on(currency, day)
        return {
            "portfolio": self._portfolio,
            "proposal_id": proposal.proposal_id,
            "journal_seq": proposal.journal_seq,
            "fingerprint": proposal.fingerprint,
            "instrument": signal.instrument,
            "signal_type": signal.type.value,
            "layer": signal.layer,
            "direction": None if signal.layer == ALL_LAYERS else signal.side.value.upper(),
            "rule": proposal.rule,
            "lots": proposal.lots,
            "limiter": proposal.limiter,
            "price": signal.price,
            "stop": signal.stop,
            "notional_base": notional,
            "notional_usd": None if notional is None else in_dollars(notional, rate),
            "risk_impact": {"sizing": read_json(fate.figures)},
            "rationale": None if signal.reason is None else signal.reason[:_TEXT_LENGTH],
            "proposed_at": proposal.proposed_at,
            "expires_at": proposal.expires_at,
            **_decision(fate),
        }


_DECIDED = ("status", "decided_seq", "decided_at", "decided_by", "decided_lots", "decided_price", "decision_note")


def _decision(fate: ProposalFate) -> dict[str, Any]:
    proposal = fate.proposal
    return {
        "status": proposal.state.value.upper(),
        "decided_seq": fate.decided_seq,
        "decided_at": proposal.decided_at,
        "decided_by": proposal.decided_by,
        "decided_lots": proposal.decided_lots,
        "decided_price": proposal.decided_price,
        "decision_note": proposal.note,
    }


def ids_of(session: Session, portfolio: str, engine_ids: Iterable[str]) -> dict[str, int]:
    """The book's ids of an engine's positions."""
    found: dict[str, int] = {}
    for part in _parts(engine_ids):
        rows = session.execute(
            select(PortfolioPosition.engine_position_id, PortfolioPosition.id).where(
                PortfolioPosition.portfolio == portfolio, PortfolioPosition.engine_position_id.in_(part)
            )
        )
        found.update({engine_id: own for engine_id, own in rows if engine_id is not None})
    return found


def open_value(position: Position) -> Decimal:
    """What is open of a position at its mark, in money."""
    return money(product(position.mark_price, position.point_value, position.lots)) if position.lots else ZERO


def _days_of(position: Position) -> Sequence[date]:
    left = position.exit_timestamp or position.mark_time
    return (position.entry_timestamp.date(), max(left, position.entry_timestamp).date())


def _parts(rows: Iterable[Any]) -> Iterator[list[Any]]:
    waiting = iter(rows)
    while part := list(islice(waiting, _ROWS_AT_ONCE)):
        yield part
