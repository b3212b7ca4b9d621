"""A book worth looking at: a desk's year, in three currencies, with proposals and briefings of every kind."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from random import Random

from sqlalchemy.orm import Session

from book.fx import set_rate
from book.models import DailyBriefing, PortfolioNode, PortfolioPosition, PositionPnLHistory, TradeProposal
from book.nodes import add_node, hang
from tests.book_world import a_held_position, an_instrument, kept, pnl_values, proposal_values

YEAR = 2026
LAST = date(YEAR, 9, 30)
_ONE_DAY = timedelta(days=1)
_INSTRUMENTS = {
    "BANK_NIFTY": ("EQUITY_INDEX", "INR", 52_000),
    "GOLD_MINI": ("COMMODITY", "INR", 72_000),
    "SILVER_MINI": ("COMMODITY", "INR", 91_000),
    "BRENT": ("COMMODITY", "USD", 80),
    "BUND": ("RATES", "EUR", 132),
}


def fill(session: Session) -> dict[str, int]:
    """The nodes' numbers by name."""
    random = Random(7)
    set_rate(session, "USD/INR", Decimal("85.25"), date(YEAR - 1, 12, 1))
    set_rate(session, "EUR/USD", Decimal("1.08"), date(YEAR - 1, 12, 1))
    nodes = {node.name: node.portfolio_node_id for node in _nodes(session)}
    hang(session, "main", nodes["Trend"])
    for number, (symbol, (kind, currency, price)) in enumerate(_INSTRUMENTS.items()):
        instrument = an_instrument(session, symbol, asset_class=kind, currency=currency, kind="future").instrument_id
        node = nodes["Trend" if currency == "INR" else "Macro"]
        for layer in range(1, 4 if currency == "INR" else 2):
            own = f"{symbol}-Long_{layer}-{number:06}{layer:06}"
            engine = {"source": "engine", "portfolio": "main", "engine_position_id": own} if currency == "INR" else {}
            position = a_held_position(
                session,
                node,
                instrument,
                base_ccy=currency,
                direction="SHORT" if symbol == "BUND" else "LONG",
                quantity=Decimal(layer * 10),
                entry_price=Decimal(price),
                notional_base=Decimal(price * layer * 10),
                entry_timestamp=datetime(YEAR, 1, 5, 6, tzinfo=UTC),
                strategy_ids=["trend"],
                strategy_weights={"trend": 1},
                **engine,
            )
            _days(session, position, random, price)
    _proposals(session)
    _briefings(session)
    return nodes


def _nodes(session: Session) -> Iterator[PortfolioNode]:
    fund, _ = add_node(session, "Harbour", "FUND", base_ccy="INR")
    yield fund
    for name in ("Futures", "Rates"):
        desk, _ = add_node(session, name, "DESK", parent_id=fund.portfolio_node_id)
        yield desk
        for book in {"Futures": ("Trend", "Carry"), "Rates": ("Macro",)}[name]:
            yield add_node(session, book, "BOOK", parent_id=desk.portfolio_node_id)[0]


def _days(session: Session, position: PortfolioPosition, random: Random, price: int) -> None:
    day, so_far = date(YEAR, 1, 5), Decimal(0)
    while day <= LAST:
        if day.weekday() < 5 and random.random() > 0.03:
            pnl = round(Decimal(random.gauss(price / 2_000, price / 100)) * position.quantity, 4)
            so_far += pnl
            given = {"daily_pnl_base": pnl, "unrealized_pnl_base": so_far, "quantity": position.quantity}
            given |= {"notional_base": position.notional_base + so_far, "mark_price": Decimal(price) + so_far / 100}
            session.add(PositionPnLHistory(**pnl_values(position_id=position.id, snapshot_date=day, **given)))
        day += _ONE_DAY
    session.flush()


def _proposals(session: Session) -> None:
    decided = {
        "PENDING": {},
        "APPROVED": {"decided_by": "ada", "decided_lots": 2, "decided_price": Decimal("52010.4")},
        "MODIFIED": {"decided_by": "link", "decided_lots": 1, "decided_price": Decimal(52020), "decision_note": "half"},
        "REJECTED": {"decided_by": "grace", "decision_note": "Ahead of the budget I would rather wait."},
        "EXPIRED": {},
    }
    at = datetime.combine(LAST, time(6), UTC)
    for number, (status, more) in enumerate(decided.items(), start=1):
        over = {} if status == "PENDING" else {"decided_at": at + timedelta(minutes=9), "decided_seq": number * 10 + 1}
        values = proposal_values(
            proposal_id=f"P{number:016}",
            journal_seq=number * 10,
            fingerprint=f"{number:064x}",
            status=status,
            proposed_at=at,
            expires_at=at + timedelta(minutes=15),
            stop=Decimal(51_650),
            limiter="risk",
            rationale="SuperTrend turned" if number % 2 else None,
            **over,
            **more,
        )
        kept(session, TradeProposal(**values))


def _briefings(session: Session) -> None:
    for number in range(3):
        items = [
            {"kind": "stop", "text": f"GOLD_MINI-Long_{each}-0 is 0.{each} ATR from its stop"}
            for each in range(number * 2)
        ]
        pnl = {"total": str(12_345 * (number - 1)), "by_position": [], "by_instrument": {}, "by_strategy": {}}
        day = LAST - number * _ONE_DAY
        given = DailyBriefing(
            portfolio="main",
            briefing_date=day,
            journal_seq=number,
            portfolio_snapshot={"open_equity": "5123456.5"},
            market_snapshot={},
            risk_summary={},
            action_items=items,
            sections={"pnl": pnl},
            generated_at=datetime.combine(day, time(18), UTC),
        )
        kept(session, given).is_locked = number > 0
