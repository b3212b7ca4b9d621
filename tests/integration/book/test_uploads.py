"""Uploads: staged and checked row by row, taken whole or in part, once, with where they came from."""

import threading
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session, sessionmaker

from book.models import (
    DataLineage,
    FxSpot,
    IngestionBatch,
    IngestionRow,
    InstrumentPrice,
    LoanServicing,
    MarketDataFeed,
    PortfolioSnapshot,
    Position,
    RatingHistory,
)
from book.snapshots import snapshot_as_of
from book.uploads.files import UnreadableFile
from book.uploads.upload import UnknownKind, Upload, Uploaded, upload
from tests.book_world import APPLE_ISIN, NOON, TODAY, a_node, an_instrument, an_issuer

Sessions = sessionmaker[Session]
HOLDINGS = (
    "node,instrument,quantity,average_price,currency\nFund/Desk,GOLD_MINI,300,72000.5,INR\nFund,COPPER,-2500,,USD\n"
)


@pytest.fixture
def desk(sessions: Sessions) -> Sessions:
    """A fund with a desk, three instruments and an issuer."""
    with sessions.begin() as session:
        fund = a_node(session)
        a_node(session, "Desk", "DESK", parent_id=fund.portfolio_node_id)
        an_instrument(session, "GOLD_MINI", asset_class="COMMODITY", kind="future")
        an_instrument(session, "COPPER", asset_class="COMMODITY", kind="future")
        an_instrument(session, "LOAN_1", asset_class="LOAN", kind="loan")
        an_issuer(session, isin=APPLE_ISIN, ticker="AAPL")
    return sessions


def uploaded(
    sessions: Sessions, kind: str, content: str, *, partial: bool = False, name: str = "desk.csv", day: int = 0
) -> Uploaded:
    given = Upload(
        kind=kind,
        name=name,
        content=content.encode(),
        partial=partial,
        by="ada",
        at=NOON + timedelta(days=day),
        today=TODAY + timedelta(days=day),
    )
    with sessions.begin() as session:
        return upload(session, given)


def everything(sessions: Sessions, *models: type) -> dict[str, int]:
    with sessions() as session:
        return {model.__name__: session.scalars(select(func.count()).select_from(model)).one() for model in models}


def reasons(sessions: Sessions, batch_id: int) -> dict[int, tuple[str, list[str]]]:
    with sessions() as session:
        rows = session.scalars(select(IngestionRow).where(IngestionRow.batch_id == batch_id))
        return {row.line: (row.validation_status, row.reasons) for row in rows}


def holdings(sessions: Sessions) -> dict[int, tuple[Decimal, str]]:
    with sessions() as session:
        rows = session.scalars(select(Position).order_by(Position.position_id))
        return {row.instrument_id: (row.quantity, row.status) for row in rows}


def test_good_rows_are_taken_and_their_way_is_kept(desk: Sessions) -> None:
    done = uploaded(desk, "positions", HOLDINGS)
    assert (done.status, done.rows_total, done.rows_taken, done.rows_refused, done.rows_warned) == (
        "COMPLETED",
        2,
        2,
        0,
        1,
    )
    assert sorted(holdings(desk).values()) == [(Decimal(-2500), "ACTIVE"), (Decimal(300), "ACTIVE")]
    assert reasons(desk, done.batch_id) == {
        2: ("PASS", []),
        3: ("WARN", ["`currency`: USD, the instrument is traded in INR"]),
    }
    with desk() as session:
        batch = session.get_one(IngestionBatch, done.batch_id)
        assert (batch.status, batch.uploaded_by, batch.source_name) == ("COMPLETED", "ada", "desk.csv")
        (lineage,) = session.scalars(select(DataLineage))
        assert lineage.transformation_chain == ["read csv", "check positions", "take"]
        assert (lineage.batch_id, lineage.quality_checks_passed) == (done.batch_id, True)


def test_the_same_file_twice_changes_nothing(desk: Sessions) -> None:
    first = uploaded(desk, "positions", HOLDINGS)
    models = (Position, IngestionBatch, IngestionRow, DataLineage, PortfolioSnapshot)
    before = everything(desk, *models)
    again = uploaded(desk, "positions", HOLDINGS, name="another name.csv", day=1)
    assert (again.already, again.batch_id, again.rows_taken, again.rows_warned) == (True, first.batch_id, 2, 1)
    assert everything(desk, *models) == before


def test_a_file_that_comes_twice_at_once_is_taken_once(desk: Sessions) -> None:
    found: list[Uploaded] = []
    threads = [threading.Thread(target=lambda: found.append(uploaded(desk, "positions", HOLDINGS))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(one.already for one in found) == [False, True, True, True]
    assert len({one.batch_id for one in found}) == 1
    assert everything(desk, Position) == {"Position": 2}


BAD = HOLDINGS + "Nowhere,GOLD_MINI,1,,INR\nFund,SILVER,1,,INR\nFund,COPPER,5,,INR\nFund,GOLD_MINI,many,,INR\nFund\n"
FAULTS = {
    4: ["`node`: there is no node Nowhere"],
    5: ["`instrument`: SILVER is not in the master of instruments"],
    6: ["row: says the same of the same as line 3"],
    7: ["`quantity`: must be a number such as 1234.5, without groups"],
    8: ["has 1 values for 5 columns"],
}


def test_all_or_nothing_takes_nothing_where_a_row_is_bad_and_tells_every_reason(desk: Sessions) -> None:
    done = uploaded(desk, "positions", BAD)
    assert (done.status, done.rows_taken, done.rows_refused, done.rows_total) == ("FAILED", 0, 5, 7)
    assert everything(desk, Position, PortfolioSnapshot) == {"Position": 0, "PortfolioSnapshot": 0}
    found = reasons(desk, done.batch_id)
    assert {line: why for line, (status, why) in found.items() if status == "FAIL"} == FAULTS
    with desk() as session:
        batch = session.get_one(IngestionBatch, done.batch_id)
        assert [error["line"] for error in batch.validation_errors_json] == [4, 5, 6, 7, 8]
    # One that failed may come again: mended in the master, say.
    with desk.begin() as session:
        an_instrument(session, "SILVER")
    again = uploaded(desk, "positions", BAD)
    assert (again.already, again.rows_refused) == (False, 4)


def test_in_part_takes_the_good_rows(desk: Sessions) -> None:
    done = uploaded(desk, "positions", BAD, partial=True)
    assert (done.status, done.rows_taken, done.rows_refused) == ("COMPLETED", 2, 5)
    assert everything(desk, Position) == {"Position": 2}
    with desk() as session:
        assert session.scalars(select(DataLineage.quality_checks_passed)).one() is False


def test_holdings_change_and_close_and_each_day_is_there_to_look_back_at(desk: Sessions) -> None:
    uploaded(desk, "positions", HOLDINGS)
    uploaded(desk, "positions", HOLDINGS.replace("300", "200").replace("-2500", "0"), day=1)
    assert sorted(holdings(desk).values()) == [(Decimal(0), "CLOSED"), (Decimal(200), "ACTIVE")]
    uploaded(desk, "positions", "node,instrument,quantity,currency\nFund,COPPER,2500,INR\n", day=2)
    assert everything(desk, Position) == {"Position": 3}
    with desk() as session:
        fund, desk_node = sorted(session.scalars(select(PortfolioSnapshot.portfolio_node_id).distinct()))
        copper = {"quantity": "-2500", "average_price": None, "currency": "USD"}
        assert snapshot_as_of(session, fund, TODAY) == {"positions": {"COPPER": copper}}
        assert snapshot_as_of(session, fund, TODAY + timedelta(days=1)) == {"positions": {}}
        gold = {"quantity": "300", "average_price": "72000.5", "currency": "INR"}
        assert snapshot_as_of(session, desk_node, TODAY) == {"positions": {"GOLD_MINI": gold}}


def test_what_is_not_named_stays(desk: Sessions) -> None:
    uploaded(desk, "positions", HOLDINGS)
    uploaded(desk, "positions", "node,instrument,quantity,currency\nFund,GOLD_MINI,1,INR\n", day=1)
    assert min(quantity for quantity, _ in holdings(desk).values()) == Decimal(-2500)
    assert everything(desk, Position) == {"Position": 3}


def test_prices_are_a_feed_a_day(desk: Sessions) -> None:
    content = "instrument,as_of_date,price,currency\nGOLD_MINI,2026-01-13,72000,INR\nGOLD_MINI,2026-01-14,72100,INR\n"
    done = uploaded(desk, "prices", content)
    assert done.rows_taken == 2
    jump = uploaded(desk, "prices", "instrument,as_of_date,price,currency\nGOLD_MINI,2026-01-15,100000,INR\n", day=1)
    assert reasons(desk, jump.batch_id) == {2: ("WARN", ["`price`: moved by 38.7 % from 72100.00000000"])}
    with desk() as session:
        feeds = session.scalars(select(MarketDataFeed).order_by(MarketDataFeed.as_of_date)).all()
        assert [(feed.feed_type, feed.as_of_date.day, feed.validation_status) for feed in feeds] == [
            ("PRICE", 13, "PASS"),
            ("PRICE", 14, "PASS"),
            ("PRICE", 15, "WARN"),
        ]
        assert feeds[0].payload_json == {"GOLD_MINI": {"price": "72000", "currency": "INR"}}
        assert session.scalars(select(func.sum(InstrumentPrice.price))).one() == Decimal(244_100)


def test_rates_are_told_in_feeds_and_those_that_jump_are_odd(desk: Sessions) -> None:
    header = "pair,as_of_date,rate\n"
    uploaded(desk, "fx", f"{header}USD/INR,2026-01-13,85\nEUR/USD,2026-01-13,1.1\n")
    later = uploaded(
        desk, "fx", f"{header}usd/inr,2026-01-14,99\nEUR/EUR,2026-01-14,1\nUSD/INR,2026-01-20,85\n", partial=True
    )
    assert reasons(desk, later.batch_id) == {
        2: ("WARN", ["`rate`: moved by 16.5 % from 85.00000000"]),
        3: ("FAIL", ["`pair`: is of one currency"]),
        4: ("FAIL", ["`as_of_date`: 2026-01-20 lies in the future"]),
    }
    with desk() as session:
        found = session.execute(
            select(FxSpot.pair, MarketDataFeed.as_of_date, FxSpot.rate)
            .join(MarketDataFeed, MarketDataFeed.feed_id == FxSpot.snapshot_id)
            .order_by(FxSpot.pair, MarketDataFeed.as_of_date)
        ).all()
    assert [tuple(row) for row in found] == [
        ("EUR/USD", date(2026, 1, 13), Decimal("1.1")),
        ("USD/INR", date(2026, 1, 13), Decimal(85)),
        ("USD/INR", date(2026, 1, 14), Decimal(99)),
    ]


def test_ratings_find_their_issuer_by_any_of_its_names_and_are_not_told_twice(desk: Sessions) -> None:
    header = "issuer,agency,rating,outlook,as_of_date\n"
    first = uploaded(desk, "ratings", f"{header}{APPLE_ISIN},SP,AA+,STABLE,2026-01-14\nAAPL,FITCH,AA,,2026-01-14\n")
    assert first.rows_taken == 2
    second = uploaded(
        desk,
        "ratings",
        f"{header}Apple Inc.,SP,AA+,STABLE,2026-01-14\nAAPL,FITCH,A,,2026-01-14\nAcme,SP,B,,2026-01-14\n",
        partial=True,
    )
    assert reasons(desk, second.batch_id) == {
        2: ("WARN", ["row: is known already"]),
        3: ("FAIL", ["`rating`: of that day AA is known, told by another upload"]),
        4: ("FAIL", ["`issuer`: there is no issuer Acme"]),
    }
    assert everything(desk, RatingHistory) == {"RatingHistory": 2}


def test_two_issuers_of_one_name_are_not_guessed_between(desk: Sessions) -> None:
    with desk.begin() as session:
        an_issuer(session, "AAPL")
    done = uploaded(desk, "ratings", "issuer,agency,rating,as_of_date\nAAPL,SP,AA+,2026-01-14\n")
    assert reasons(desk, done.batch_id)[2] == ("FAIL", ["`issuer`: 2 issuers are called AAPL"])


def test_servicing_is_of_loans(desk: Sessions) -> None:
    content = "instrument,as_of_date,outstanding_balance,interest_paid,days_past_due\n"
    content += "LOAN_1,2026-01-14,1000000.25,5000,45\nCOPPER,2026-01-14,1,0,0\n"
    done = uploaded(desk, "servicing", content, partial=True)
    assert reasons(desk, done.batch_id) == {
        2: ("WARN", ["`days_past_due`: 45"]),
        3: ("FAIL", ["`instrument`: COPPER is a future, no loan"]),
    }
    with desk() as session:
        (row,) = session.scalars(select(LoanServicing))
        assert (row.outstanding_balance, row.interest_paid, row.principal_paid) == (
            Decimal("1000000.25"),
            Decimal(5000),
            0,
        )


def test_what_cannot_be_read_leaves_nothing_behind(desk: Sessions) -> None:
    with pytest.raises(UnreadableFile):
        uploaded(desk, "positions", "", name="x.csv")
    with pytest.raises(UnknownKind, match="one of positions, prices"):
        uploaded(desk, "holdings", HOLDINGS)
    assert everything(desk, IngestionBatch, IngestionRow, DataLineage) == dict.fromkeys(
        ("IngestionBatch", "IngestionRow", "DataLineage"), 0
    )


@pytest.mark.parametrize(
    "value", ['"\\ud800"', '"a\\u0000b"', '{"a": [1, 2.5]}', "true", '"' + "x" * 5000 + '"', "1e400"]
)
def test_whatever_a_value_is_its_row_can_be_looked_at(desk: Sessions, value: Any) -> None:
    done = uploaded(desk, "positions", f'[{{"node": {value}, "quantity": "1"}}]', name="x.json")
    assert reasons(desk, done.batch_id)[1][0] == "FAIL"
