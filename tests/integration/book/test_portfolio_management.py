"""Positions, proposals, drafts, briefings and daily P&L: what their tables hold, and what they refuse."""

import re
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import Engine, insert, inspect, select, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session, sessionmaker

from book.models import (
    Base,
    DailyBriefing,
    DecisionDraft,
    DecisionJournal,
    PortfolioPosition,
    PositionPnLHistory,
    TradeProposal,
)
from core.models import SignalType
from core.proposals import ProposalState
from tests.book_world import (
    NOON,
    TODAY,
    a_live_portfolio,
    a_node,
    a_position,
    an_instrument,
    briefing_values,
    draft_values,
    kept,
    pnl_values,
    position_values,
    proposal_values,
)

MODELS: dict[type[Any], str] = {
    PortfolioPosition: "portfolio_positions",
    TradeProposal: "trade_proposals",
    DecisionJournal: "decision_journal",
    DailyBriefing: "daily_briefings",
    PositionPnLHistory: "position_pnl_history",
}


def columns_of(engine: Engine, table: str) -> dict[str, Any]:
    return {column["name"]: column for column in inspect(engine).get_columns(table, schema="book")}


def refused(sessions: sessionmaker[Session], model: type[Base], values: dict[str, Any]) -> str:
    """The constraint that refuses a row, by the database alone: past the model's own checks."""
    with sessions() as session, pytest.raises(IntegrityError) as caught:
        session.execute(insert(model.__table__).values(values))
    return str(caught.value.orig.diag.constraint_name)  # type: ignore[union-attr]


# --- what there is


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_a_model_has_the_table_of_the_specification(model: type[Any]) -> None:
    assert (model.__tablename__, model.__table__.schema) == (MODELS[model], "book")


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_a_model_has_just_the_columns_of_its_table(book_engine: Engine, model: type[Any]) -> None:
    found = columns_of(book_engine, MODELS[model])
    assert {column.name for column in model.__table__.columns} == set(found)


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_a_model_is_importable_beside_the_others(model: type[Any]) -> None:
    import book.models

    assert getattr(book.models, model.__name__) is model
    assert model.__name__ in book.models.__all__


def test_a_position_has_its_notional_in_two_currencies_and_the_rate_between_them(book_engine: Engine) -> None:
    found = columns_of(book_engine, "portfolio_positions")
    kinds = {name: str(found[name]["type"]) for name in ("notional_base", "notional_usd", "entry_fx_rate")}
    assert kinds == {
        "notional_base": "NUMERIC(20, 4)",
        "notional_usd": "NUMERIC(20, 4)",
        "entry_fx_rate": "NUMERIC(18, 8)",
    }
    assert (found["notional_base"]["nullable"], found["base_ccy"]["nullable"]) == (False, False)


def test_a_position_has_its_risk_at_entry_null_where_it_has_no_meaning(book_engine: Engine) -> None:
    found = columns_of(book_engine, "portfolio_positions")
    risk = ("entry_dv01", "entry_delta", "entry_convexity", "entry_var_contribution", "entry_spread_duration")
    assert all(found[name]["nullable"] for name in risk)


def test_documents_are_jsonb(book_engine: Engine) -> None:
    for table, names in {
        "portfolio_positions": ("strategy_weights",),
        "trade_proposals": ("risk_impact",),
        "decision_drafts": ("market_snapshot", "portfolio_snapshot"),
        "daily_briefings": ("portfolio_snapshot", "market_snapshot", "risk_summary", "action_items", "sections"),
    }.items():
        found = columns_of(book_engine, table)
        assert {str(found[name]["type"]) for name in names} == {"JSONB"}


def test_the_history_is_keyed_by_id_and_day(book_engine: Engine) -> None:
    key = inspect(book_engine).get_pk_constraint("position_pnl_history", schema="book")
    assert key["constrained_columns"] == ["id", "snapshot_date"]
    assert inspect(book_engine).get_foreign_keys("position_pnl_history", schema="book") == []


# --- positions


def test_a_position_entered_by_hand_comes_back_exactly(sessions: sessionmaker[Session]) -> None:
    risk = {
        "entry_dv01": Decimal("12.3456"),
        "entry_delta": Decimal("0.12345678"),
        "entry_convexity": Decimal("-0.00000001"),
        "entry_var_contribution": Decimal("99999.9999"),
        "entry_spread_duration": Decimal("4.25"),
        "strategy_ids": ["carry", "trend"],
        "strategy_weights": {"carry": Decimal("0.4"), "trend": Decimal("0.6")},
    }
    with sessions.begin() as session:
        given = position_values(session, **risk)
        session.add(PortfolioPosition(**given))
    with sessions() as session:
        found = session.scalars(select(PortfolioPosition)).one()
        told = {name: getattr(found, name) for name in given}
        assert told == {**given, "strategy_weights": {"carry": "0.4", "trend": "0.6"}}
        assert (found.is_open, found.realized_pnl_base, found.realized_pnl_usd) == (True, Decimal(0), None)


def test_without_a_rate_nothing_is_said_in_dollars(sessions: sessionmaker[Session]) -> None:
    with sessions() as session:
        assert a_position(session, notional_usd=None, entry_fx_rate=None).notional_usd is None


def test_a_position_of_the_engine_is_told_once(sessions: sessionmaker[Session]) -> None:
    with sessions() as session:
        values = position_values(session, source="engine", portfolio="main", engine_position_id="BANK_NIFTY-Long_1-1")
        a_live_portfolio(session, a_node(session, "Desk", "DESK"))
        kept(session, PortfolioPosition(**values))
        with pytest.raises(IntegrityError, match="uq_portfolio_positions_portfolio_engine_position_id"):
            kept(session, PortfolioPosition(**values))


@pytest.mark.parametrize(
    "change, constraint",
    [
        ({"direction": "UP"}, "direction"),
        ({"source": "rumour"}, "source"),
        ({"source": "engine"}, "of_engine"),
        ({"engine_position_id": "x"}, "of_engine"),
        ({"quantity": Decimal(0)}, "quantity"),
        ({"base_ccy": "inr"}, "base_ccy"),
        ({"entry_fx_rate": Decimal(0), "notional_usd": None}, "entry_fx_rate"),
        ({"entry_fx_rate": None}, "notional_usd"),
        ({"notional_usd": None}, "notional_usd"),
        ({"notional_usd": Decimal(3_120_000)}, "notional_usd"),
        ({"base_ccy": "USD"}, "entry_fx_rate"),
        ({"strategy_ids": ["trend"]}, "strategy_weights"),
        ({"strategy_weights": ["trend"]}, "strategy_weights"),
        ({"is_open": False}, "closed"),
        ({"exit_timestamp": NOON}, "closed"),
        ({"exit_timestamp": NOON - timedelta(days=1), "is_open": False}, "exit"),
    ],
)
def test_a_position_that_cannot_be_is_refused(
    sessions: sessionmaker[Session], change: dict[str, Any], constraint: str
) -> None:
    with sessions.begin() as session:
        values = position_values(session)
    assert refused(sessions, PortfolioPosition, {**values, **change}) == f"ck_portfolio_positions_{constraint}"


@pytest.mark.parametrize("column", ["portfolio_node_id", "instrument_id", "batch_id"])
def test_a_position_refers_to_what_is_there(sessions: sessionmaker[Session], column: str) -> None:
    with sessions.begin() as session:
        values = position_values(session)
    assert refused(sessions, PortfolioPosition, {**values, column: 4711}) == f"fk_portfolio_positions_{column}"


# --- proposals


def decided(status: str, **others: Any) -> dict[str, Any]:
    return proposal_values(**{"status": status, "decided_seq": 8, "decided_at": NOON, "decided_by": "alice", **others})


@pytest.mark.parametrize(
    "values",
    [
        proposal_values(),
        decided("APPROVED"),
        decided("APPROVED", decided_lots=2, decided_price=Decimal(52_010), decided_by=None),
        decided("APPROVED", signal_type="EXIT", layer="ALL", direction=None, lots=0, decided_lots=0),
        decided("REJECTED", decision_note="too late in the day"),
        decided("MODIFIED", decided_lots=1),
        decided("EXPIRED", decided_by=None),
    ],
    ids=lambda values: values.get("status", "PENDING"),
)
def test_a_proposal_waits_or_was_decided(sessions: sessionmaker[Session], values: dict[str, Any]) -> None:
    with sessions() as session:
        assert kept(session, TradeProposal(**values)).status == values.get("status", "PENDING")


@pytest.mark.parametrize(
    "values, constraint",
    [
        (decided("PERHAPS"), "status"),
        (decided("REJECTED"), "rejection_has_note"),
        (decided("REJECTED", decision_note="  "), "rejection_has_note"),
        (decided("APPROVED", decided_at=None), "decided"),
        (decided("APPROVED", decided_seq=7), "decided"),
        (decided("MODIFIED"), "decided_lots"),
        (decided("EXPIRED", decided_lots=1), "decided_lots"),
        (proposal_values(decided_lots=1), "decided_lots"),
        (proposal_values(signal_type="MARKET_DATA"), "signal_type"),
        (proposal_values(direction=None), "direction_of_entries"),
        (proposal_values(decided_at=NOON, decided_seq=8), "decided"),
        (proposal_values(lots=-1), "lots"),
        (proposal_values(price=Decimal(0)), "price"),
        (proposal_values(direction="long"), "direction"),
        (proposal_values(fingerprint="A" * 64), "fingerprint"),
    ],
)
def test_a_proposal_that_cannot_be_is_refused(
    sessions: sessionmaker[Session], values: dict[str, Any], constraint: str
) -> None:
    assert refused(sessions, TradeProposal, values) == f"ck_trade_proposals_{constraint}"


def test_what_becomes_of_a_proposal_has_the_kernels_words(sessions: sessionmaker[Session]) -> None:
    status, signal_type = (
        {check.name: str(check.sqltext) for check in TradeProposal.__table__.constraints if hasattr(check, "sqltext")}[
            name
        ]
        for name in ("ck_trade_proposals_status", "ck_trade_proposals_signal_type")
    )
    assert set(re.findall(r"'(\w+)'", status)) == {state.value.upper() for state in ProposalState}
    assert set(re.findall(r"'(\w+)'", signal_type)) == {kind.value for kind in SignalType} - {"MARKET_DATA"}


def test_a_portfolio_has_a_proposal_once(sessions: sessionmaker[Session]) -> None:
    with sessions.begin() as session:
        kept(session, TradeProposal(**proposal_values()))
        kept(session, TradeProposal(**proposal_values(portfolio="alpha")))
    assert refused(sessions, TradeProposal, proposal_values()) == "uq_trade_proposals_portfolio_proposal_id"


def test_what_was_decided_of_a_proposal_stays_decided(sessions: sessionmaker[Session]) -> None:
    with sessions.begin() as session:
        kept(session, TradeProposal(**decided("APPROVED")))
    for change in (
        "status = 'EXPIRED'",
        "status = 'PENDING', decided_at = NULL, decided_seq = NULL",
        "decided_seq = 9",
    ):
        with sessions() as session, pytest.raises(IntegrityError, match="is APPROVED"):
            session.execute(text(f"UPDATE book.trade_proposals SET {change}"))
    with sessions() as session:  # told again from the journal it is the same
        session.execute(text("UPDATE book.trade_proposals SET status = 'APPROVED', decided_seq = 8, rationale = 'x'"))


# --- drafts, briefings, history


@pytest.mark.parametrize(
    "model, values, constraint",
    [
        (DecisionDraft, draft_values(entry_type="GOSSIP"), "ck_decision_drafts_entry_type"),
        (DecisionDraft, draft_values(title=" "), "ck_decision_drafts_title"),
        (DecisionDraft, draft_values(market_snapshot=[1]), "ck_decision_drafts_market_snapshot"),
        (DailyBriefing, briefing_values(journal_seq=-1), "ck_daily_briefings_journal_seq"),
        (DailyBriefing, briefing_values(action_items={}), "ck_daily_briefings_action_items"),
        (DailyBriefing, briefing_values(sections=[]), "ck_daily_briefings_sections"),
        (PositionPnLHistory, pnl_values(fx_rate=Decimal(-1)), "ck_position_pnl_history_fx_rate"),
        (PositionPnLHistory, pnl_values(daily_pnl_usd=Decimal(1)), "ck_position_pnl_history_usd"),
        (PositionPnLHistory, pnl_values(fx_rate=Decimal(85)), "ck_position_pnl_history_usd"),
    ],
)
def test_what_cannot_be_is_refused(
    sessions: sessionmaker[Session], model: type[Base], values: dict[str, Any], constraint: str
) -> None:
    assert refused(sessions, model, values) == constraint


@pytest.mark.parametrize(
    "model, values, constraint",
    [
        (DecisionDraft, draft_values, "uq_decision_drafts_request_id"),
        (DailyBriefing, briefing_values, "uq_daily_briefings_portfolio_briefing_date"),
        (PositionPnLHistory, pnl_values, "uq_position_pnl_history_position_id_snapshot_date"),
    ],
)
def test_there_is_one_a_request_one_a_trading_day_and_one_a_position_and_day(
    sessions: sessionmaker[Session], model: type[Base], values: Callable[[], dict[str, Any]], constraint: str
) -> None:
    with sessions.begin() as session:
        session.add(model(**values()))
    assert refused(sessions, model, values()) == constraint


def test_a_days_marks_come_back_exactly(sessions: sessionmaker[Session]) -> None:
    dollars = {
        "fx_rate": Decimal("85.12345678"),
        "notional_usd": Decimal("36723.1"),
        "unrealized_pnl_usd": Decimal("70.4859"),
        "realized_pnl_usd": Decimal(0),
        "daily_pnl_usd": Decimal("-0.0001"),
        "dv01": Decimal("1.5"),
    }
    with sessions.begin() as session:
        session.add(PositionPnLHistory(**pnl_values(**dollars)))
        session.add(PositionPnLHistory(**pnl_values(snapshot_date=TODAY + timedelta(days=1))))
    with sessions() as session:
        first, second = session.scalars(select(PositionPnLHistory).order_by(PositionPnLHistory.snapshot_date))
        assert {name: getattr(first, name) for name in dollars} == dollars
        assert (second.fx_rate, second.daily_pnl_usd, second.daily_pnl_base) == (None, None, Decimal(6_000))


def test_a_positions_node_and_instrument_cannot_be_removed_below_it(sessions: sessionmaker[Session]) -> None:
    with sessions.begin() as session:
        a_position(session)
        an_instrument(session, "GOLD_MINI")
    for table, key in (("portfolio_node", "portfolio_node_id"), ("instrument", "instrument_id")):
        with sessions() as session, pytest.raises(IntegrityError, match="fk_portfolio_positions_"):
            session.execute(text(f"DELETE FROM book.{table} WHERE {key} = 1"))
