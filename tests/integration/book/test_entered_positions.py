"""Positions that a person enters: kept once, corrected, closed, marked day by day at uploaded prices, and in all figures."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import Engine, func, select
from sqlalchemy.orm import Session

from book.day_ends import DayEnds
from book.entered_marks import keep_entered_days
from book.entered_positions import (
    Correction,
    NewPosition,
    NotEntered,
    OtherPosition,
    PositionClosed,
    PositionNotValid,
    UnknownPosition,
    add_position,
    change_position,
    close_position,
)
from book.fx import set_rate
from book.models import PortfolioPosition, PositionPnLHistory
from book.portfolio_management import NotWeights
from book.refusals import UnknownInstrument, UnknownNode
from book.roll_up import tree
from book.totals import keep_totals
from book.uploads.upload import Upload, upload
from core.errors import Refused
from live.contracts_file import DEFAULT_CALENDAR, load_calendar
from tests.book_world import a_live_portfolio, a_node, an_instrument

DAY = timedelta(days=1)
# A Monday; the instrument has no exchange, so every day is one of its days.
ENTERED = datetime(2026, 1, 5, 10, tzinfo=UTC)
NOW = datetime(2026, 1, 20, 12, tzinfo=UTC)
ENDS = DayEnds(load_calendar(DEFAULT_CALENDAR), 300)


@pytest.fixture
def session(book_engine: Engine) -> Iterator[Session]:
    with Session(book_engine) as opened:
        node = a_node(opened)
        assert node.portfolio_node_id == 1
        an_instrument(opened, "GOLD_MINI", lot_size=Decimal(100), point_value=Decimal(10))
        set_rate(opened, "USD/INR", Decimal(80), date(2026, 1, 1))
        opened.commit()
        yield opened


def a_position(**others: Any) -> NewPosition:
    """Two lots of gold at 72,000 rupees for ten grams."""
    given: dict[str, Any] = {
        "node": 1,
        "instrument": "gold_mini",
        "direction": "long",
        "quantity": Decimal(200),
        "price": Decimal(72_000),
        "at": ENTERED,
    }
    return NewPosition(**{**given, **others})


def prices(session: Session, *of: tuple[int, str]) -> None:
    """Uploaded prices of days of January."""
    lines = [f"GOLD_MINI,2026-01-{day:02},{price},INR" for day, price in of]
    content = "\n".join(["instrument,as_of_date,price,currency", *lines]).encode()
    given = Upload(kind="prices", name="p.csv", content=content, partial=False, by=None, at=NOW, today=NOW.date())
    assert upload(session, given).status == "COMPLETED"
    session.commit()


def days_of(session: Session, position: int) -> list[tuple[int, str, int | None, str]]:
    """Day, mark, day of the price, P&L of the day."""
    rows = session.scalars(
        select(PositionPnLHistory).filter_by(position_id=position).order_by(PositionPnLHistory.snapshot_date)
    )
    session.expire_all()
    return [(row.snapshot_date.day, *_marked(row)) for row in rows]


def _marked(row: PositionPnLHistory) -> tuple[str, int | None, str]:
    mark = f"{row.mark_price:f}".rstrip("0").rstrip(".")
    return mark, row.price_date and row.price_date.day, str(row.daily_pnl_base)


def test_a_position_is_kept_in_two_currencies_with_its_risk_and_strategies(session: Session) -> None:
    given = a_position(
        risks={"dv01": Decimal("12.5"), "spread_duration": Decimal("1.25")},
        strategies={"trend": Decimal("0.7"), "carry": Decimal("0.3")},
        costs=Decimal(50),
        notes=" a hedge ",
    )
    position, is_new = add_position(session, given, NOW)
    assert is_new
    # Two lots, each of ten rupees a point.
    assert (position.notional_base, position.notional_usd, position.entry_fx_rate) == (1_440_000, 18_000, 80)
    assert (position.source, position.direction, position.base_ccy) == ("manual", "LONG", "INR")
    assert (position.entry_dv01, position.entry_delta, position.entry_spread_duration) == (
        Decimal("12.5"),
        None,
        Decimal("1.25"),
    )
    assert position.strategy_ids == ["carry", "trend"]
    assert position.strategy_weights == {"carry": "0.3", "trend": "0.7"}
    assert (position.notes, position.is_open) == ("a hedge", True)
    found = tree(session, NOW.date()).nodes[0].figures
    assert (found.gross, found.dv01, found.unmarked) == (1_440_000, Decimal("12.5"), 1)


def test_without_a_rate_nothing_is_said_in_dollars_and_a_rate_that_is_given_is_used(session: Session) -> None:
    before = ENTERED.replace(year=2025)
    assert add_position(session, a_position(at=before), NOW)[0].notional_usd is None
    assert add_position(session, a_position(fx_rate=Decimal(90)), NOW)[0].notional_usd == 16_000


def test_the_same_request_enters_one_position_and_another_one_is_refused(session: Session) -> None:
    first, is_new = add_position(session, a_position(request_id="r1"), NOW)
    again, is_new_again = add_position(session, a_position(request_id="r1"), NOW)
    assert (is_new, is_new_again, again.id) == (True, False, first.id)
    assert add_position(session, a_position(request_id="r1", at=None), NOW + DAY)[1] is False
    with pytest.raises(OtherPosition, match="r1"):
        add_position(session, a_position(request_id="r1", direction="SHORT"), NOW)
    add_position(session, a_position(), NOW)
    add_position(session, a_position(), NOW)
    assert session.scalar(select(func.count()).select_from(PortfolioPosition)) == 3


@pytest.mark.parametrize(
    "wrong, error, told",
    [
        ({"node": 9}, UnknownNode, "9"),
        ({"instrument": "SILVER"}, UnknownInstrument, "SILVER"),
        ({"direction": "up"}, PositionNotValid, "`direction`"),
        ({"quantity": Decimal(0)}, PositionNotValid, "`quantity`"),
        ({"quantity": Decimal("0.123456789")}, PositionNotValid, "`quantity`"),
        ({"quantity": Decimal(10**19)}, PositionNotValid, "`quantity`"),
        ({"price": Decimal(-1)}, PositionNotValid, "`price`"),
        ({"price": Decimal("NaN")}, PositionNotValid, "`price`"),
        ({"at": NOW + DAY}, PositionNotValid, "`at`"),
        ({"at": NOW.replace(tzinfo=None)}, PositionNotValid, "`at`"),
        ({"currency": "rupees"}, Refused, "`currency`"),
        ({"currency": "USD", "fx_rate": Decimal(2)}, PositionNotValid, "`fx_rate`"),
        ({"risks": {"vega": Decimal(1)}}, PositionNotValid, "vega"),
        ({"risks": {"dv01": Decimal("1.23456")}}, PositionNotValid, "`dv01`"),
        ({"strategies": {"trend": Decimal("0.7")}}, NotWeights, "add up to 1"),
        ({"strategies": {"": Decimal(1)}}, PositionNotValid, "`strategies`"),
        ({"notes": "x" * 2001}, PositionNotValid, "`notes`"),
        ({"request_id": " "}, PositionNotValid, "`request_id`"),
    ],
)
def test_what_is_wrong_is_named_and_nothing_is_kept(
    session: Session, wrong: dict[str, Any], error: type[Refused], told: str
) -> None:
    with pytest.raises(error, match=told):
        add_position(session, a_position(**wrong), NOW)
    session.rollback()
    assert session.scalar(select(func.count()).select_from(PortfolioPosition)) == 0


def test_each_day_is_marked_at_its_price_or_the_last_one_and_says_of_which_day_that_is(
    session: Session, book_engine: Engine
) -> None:
    own = add_position(session, a_position(), NOW)[0].id
    prices(session, (2, "71000"), (6, "72100"), (8, "71900"))
    assert keep_entered_days(book_engine, ENDS, datetime(2026, 1, 10, 12, tzinfo=UTC)) == 4
    # Of the 5th there is no price since the entry.
    assert days_of(session, own) == [
        (6, "72100", 6, "2000.0000"),
        (7, "72100", 6, "0.0000"),
        (8, "71900", 8, "-4000.0000"),
        (9, "71900", 8, "0.0000"),
    ]
    assert keep_entered_days(book_engine, ENDS, datetime(2026, 1, 10, 12, tzinfo=UTC)) == 0
    assert keep_totals(book_engine) == 1
    found = tree(session, date(2026, 1, 8)).nodes[0].figures
    assert (found.day_pnl, found.unrealized_pnl, found.unmarked) == (-4_000, -2_000, 0)


def test_a_price_that_comes_later_puts_the_days_from_then_on_right(session: Session, book_engine: Engine) -> None:
    own = add_position(session, a_position(), NOW)[0].id
    prices(session, (5, "72010"))
    now = datetime(2026, 1, 9, 12, tzinfo=UTC)
    keep_entered_days(book_engine, ENDS, now)
    prices(session, (7, "72050"), (6, "72020"))
    assert [day for day, *_ in days_of(session, own)] == [5]
    keep_entered_days(book_engine, ENDS, now)
    assert days_of(session, own) == [
        (5, "72010", 5, "200.0000"),
        (6, "72020", 6, "200.0000"),
        (7, "72050", 7, "600.0000"),
        (8, "72050", 7, "0.0000"),
    ]


def test_days_add_up_to_what_a_closed_position_earned(session: Session, book_engine: Engine) -> None:
    own = add_position(session, a_position(direction="SHORT", costs=Decimal(30)), NOW)[0].id
    prices(session, (5, "72010"), (9, "71000"))
    keep_entered_days(book_engine, ENDS, NOW)
    left = datetime(2026, 1, 8, 15, tzinfo=UTC)
    closed, was_open = close_position(session, own, Decimal(71_500), left, NOW, costs=Decimal(20))
    # 500 points on two lots of ten rupees a point, less 50 of costs.
    assert (was_open, closed.realized_pnl_base, closed.realized_pnl_usd) == (True, 9_950, Decimal("124.375"))
    assert close_position(session, own, Decimal(71_500), left, NOW)[1] is False
    with pytest.raises(PositionClosed):
        close_position(session, own, Decimal(71_501), left, NOW)
    with pytest.raises(PositionClosed):
        change_position(session, own, Correction(quantity=Decimal(1)))
    session.commit()
    keep_entered_days(book_engine, ENDS, NOW)
    found = days_of(session, own)
    assert [day for day, *_ in found] == [5, 6, 7, 8]
    assert sum(Decimal(daily) for *_, daily in found) == 9_950
    figures = tree(session, NOW.date()).nodes[0].figures
    assert (figures.positions, figures.realized_pnl, figures.gross) == (0, 9_950, 0)


def test_a_correction_changes_what_it_names_and_has_the_days_kept_anew(session: Session, book_engine: Engine) -> None:
    own = add_position(session, a_position(strategies={"trend": Decimal(1)}), NOW)[0].id
    prices(session, (5, "72010"))
    now = datetime(2026, 1, 7, 12, tzinfo=UTC)
    keep_entered_days(book_engine, ENDS, now)
    position, changed = change_position(session, own, Correction(quantity=Decimal(400), notes="doubled"))
    assert (changed, position.notional_base, position.notional_usd) == (True, 2_880_000, 36_000)
    assert (position.strategy_weights, position.notes) == ({"trend": "1"}, "doubled")
    assert change_position(session, own, Correction(quantity=Decimal(400)))[1] is False
    session.commit()
    keep_entered_days(book_engine, ENDS, now)
    assert days_of(session, own) == [(5, "72010", 5, "400.0000"), (6, "72010", 5, "0.0000")]
    with pytest.raises(PositionNotValid, match="`quantity`"):
        change_position(session, own, Correction(quantity=Decimal(-1)))


def test_only_what_a_person_entered_is_changed_by_hand(session: Session) -> None:
    with pytest.raises(UnknownPosition):
        change_position(session, 10**9, Correction(notes="x"))
    a_live_portfolio(session, a_node(session, "Live"))
    engines = PortfolioPosition(
        portfolio_node_id=1,
        instrument_id=1,
        source="engine",
        portfolio="main",
        engine_position_id="P1",
        direction="LONG",
        quantity=Decimal(1),
        base_ccy="INR",
        notional_base=Decimal(1),
        entry_price=Decimal(1),
        entry_timestamp=ENTERED,
    )
    session.add(engines)
    session.flush()
    with pytest.raises(NotEntered, match="engine"):
        close_position(session, engines.id, Decimal(1), NOW, NOW)
