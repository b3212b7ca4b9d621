"""What a node holds, position by position: the same as its roll-up says; and proposals by what became of them."""

from datetime import timedelta
from decimal import Decimal

import pytest
from sqlalchemy.orm import Session, sessionmaker

from book.fx import set_rate
from book.held import largest_held
from book.models import Position, TradeProposal
from book.proposals import proposals_of
from book.refusals import MissingRate
from book.roll_up import tree
from tests.book_world import NOON, TODAY, a_held_position, a_node, an_instrument, kept, proposal_values
from tests.integration.book.test_attribution import DAY, a_day, a_desk


def test_positions_add_up_to_what_the_tree_says_of_their_node(sessions: sessionmaker[Session]) -> None:
    with sessions.begin() as session:
        fund, desk, held = a_desk(session)
        set_rate(session, "USD/INR", Decimal(80), TODAY)
        dollars = a_held_position(session, desk, held["gold"].instrument_id, base_ccy="USD", direction="SHORT")
        gone = a_held_position(session, desk, held["gold"].instrument_id, is_open=False, exit_timestamp=NOON - 2 * DAY)
        a_day(session, gone, TODAY - DAY, 5)
        uploaded = {"portfolio_node_id": fund, "base_ccy": "INR", "created_at": NOON}
        for price in (Decimal(3), None):
            instrument = an_instrument(session, f"COPPER_{price or 0}").instrument_id
            kept(session, Position(quantity=Decimal(-7), average_price=price, instrument_id=instrument, **uploaded))
        for node in (fund, desk):
            rows = largest_held(session, node, TODAY, "INR", 100)
            figures = tree(session, TODAY, node=node).nodes[0].figures
            assert sum(row["notional"] or 0 for row in rows) == figures.gross
            assert sum(row["day_pnl"] or 0 for row in rows) == figures.day_pnl
            assert sum(row["unrealized_pnl"] or 0 for row in rows) == figures.unrealized_pnl
            assert {row["positions"] for row in rows} == {figures.positions} == {len(rows)}
        assert [row["position_id"] for row in rows if row["mark_price"] is None] == [None]
        assert dollars.id
        (largest,) = largest_held(session, desk, TODAY, "INR", 1)
        assert (largest["notional"], largest["direction"], largest["positions"]) == (3_126_000, "LONG", 4)
        assert largest_held(session, a_node(session, "Empty").portfolio_node_id, TODAY, "INR", 9) == []
    with pytest.raises(MissingRate), sessions.begin() as session:
        largest_held(session, desk, TODAY, "EUR", 1)


def test_proposals_are_told_the_newest_first_by_what_became_of_them(sessions: sessionmaker[Session]) -> None:
    with sessions.begin() as session:
        for number, (status, instrument) in enumerate(
            (("PENDING", "GOLD_MINI"), ("EXPIRED", "COPPER"), ("PENDING", "COPPER"))
        ):
            over = {"decided_at": NOON + timedelta(minutes=1), "decided_seq": 99} if status == "EXPIRED" else {}
            values = {
                "proposal_id": f"P{number}",
                "journal_seq": number + 1,
                "status": status,
                "instrument": instrument,
            }
            portfolio = "alpha" if number == 2 else "main"
            kept(session, TradeProposal(**proposal_values(**values, **over, portfolio=portfolio)))

        def found(**asked: object) -> list[str]:
            return [row.proposal_id for row in proposals_of(session, **{"limit": 9, **asked})]  # type: ignore[arg-type]

        assert found() == ["P2", "P1", "P0"]
        assert found(limit=1) == ["P2"]
        assert found(before=proposals_of(session, limit=1)[0].id) == ["P1", "P0"]
        assert found(status="PENDING", portfolio="main") == ["P0"]
        assert found(instrument="COPPER") == ["P2", "P1"]
