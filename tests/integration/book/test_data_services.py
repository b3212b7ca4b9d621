"""Reference data, market data, positions and uploads: the nine tables, their indexes, and what they refuse."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import psycopg2
import psycopg2.errors
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import func, insert, select, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session, sessionmaker

from book.identifiers import NotAnIdentifier, require_cusip, require_isin
from book.models import (
    Base,
    DataLineage,
    FxSpot,
    IngestionBatch,
    Instrument,
    MarketDataFeed,
    Position,
    RatingHistory,
    ReferenceData,
)
from tests.book_world import (
    APPLE_CUSIP,
    APPLE_ISIN,
    NOON,
    TODAY,
    a_feed,
    a_live_portfolio,
    a_node,
    an_instrument,
    an_issuer,
    kept,
)
from tests.queries import rows

SHA = "0" * 64
TABLES = {
    *("portfolio_node", "position", "portfolio_snapshot", "reference_data", "rating_history", "fx_spot"),
    *("market_data_feed", "data_lineage", "ingestion_batch"),
}
# By the specification: table, columns.
INDEXES = {
    ("portfolio_node", "parent_id"),
    ("position", "portfolio_node_id, instrument_id"),
    ("position", "instrument_id"),
    ("portfolio_snapshot", "portfolio_node_id, as_of_date DESC"),
    ("reference_data", "entity_type, name"),
    ("reference_data", "ticker"),
    ("reference_data", "cusip"),
    ("reference_data", "isin"),
    ("rating_history", "entity_id, as_of_date DESC"),
    ("fx_spot", "snapshot_id"),
    ("market_data_feed", "feed_type, as_of_date DESC"),
    ("data_lineage", "feed_id"),
    ("ingestion_batch", "batch_type, started_at DESC"),
}
FOREIGN_KEYS = {
    ("portfolio_node", "portfolio_node"),
    ("position", "portfolio_node"),
    ("position", "instrument"),
    ("portfolio_snapshot", "portfolio_node"),
    ("reference_data", "reference_data"),
    ("rating_history", "reference_data"),
    ("fx_spot", "market_data_feed"),
    ("data_lineage", "market_data_feed"),
}


def test_the_nine_tables_of_the_specification_are_there(book_dsn: str) -> None:
    assert {name for (name,) in rows(book_dsn, "SELECT tablename FROM pg_tables WHERE schemaname = 'book'")} > TABLES


def test_its_thirteen_indexes_are_there(book_dsn: str) -> None:
    found = rows(
        book_dsn,
        "SELECT tablename, substring(indexdef FROM '\\((.*?)\\)$') FROM pg_indexes"
        " WHERE schemaname = 'book' AND indexname LIKE 'ix_%'",
    )
    assert len(INDEXES) == 13
    assert set(found) > INDEXES


def test_its_foreign_keys_are_there(book_dsn: str) -> None:
    found = rows(
        book_dsn,
        "SELECT a.relname, b.relname FROM pg_constraint k JOIN pg_class a ON a.oid = k.conrelid"
        " JOIN pg_class b ON b.oid = k.confrelid WHERE k.contype = 'f' AND k.connamespace = 'book'::regnamespace",
    )
    assert set(found) > FOREIGN_KEYS


# --- what is refused


class Rows:
    """Values of a valid row of each kind, once what they refer to is there."""

    def __init__(self, session: Session) -> None:
        self.node = a_node(session).portfolio_node_id
        self.instrument = an_instrument(session).instrument_id
        self.issuer = an_issuer(session).entity_id
        self.feed = a_feed(session).feed_id

    def of(self, model: type[Base]) -> dict[str, Any]:
        return {
            Position: {
                "portfolio_node_id": self.node,
                "instrument_id": self.instrument,
                "quantity": 1,
                "base_ccy": "INR",
            },
            ReferenceData: {"entity_type": "SECTOR", "name": "Energy"},
            Instrument: {
                "symbol": "GOLD_MINI",
                "name": "Gold",
                "asset_class": "COMMODITY",
                "kind": "future",
                "currency": "INR",
            },
            RatingHistory: {"entity_id": self.issuer, "agency": "SP", "rating": "AA+", "as_of_date": TODAY},
            FxSpot: {"pair": "USD/INR", "snapshot_id": self.feed, "rate": Decimal("85.5")},
            MarketDataFeed: {"feed_type": "RATING", "as_of_date": TODAY, "source": "x"},
            DataLineage: {"feed_id": self.feed, "source_system": "x"},
            IngestionBatch: {"batch_type": "POSITION_UPLOAD", "source_name": "a.csv", "content_hash": SHA},
        }[model]


@pytest.fixture
def valid(sessions: sessionmaker[Session]) -> Callable[[type[Base]], dict[str, Any]]:
    with sessions.begin() as session:
        return Rows(session).of


@pytest.mark.parametrize(
    "model",
    [Position, ReferenceData, Instrument, RatingHistory, FxSpot, MarketDataFeed, DataLineage, IngestionBatch],
    ids=lambda model: model.__name__,
)
def test_a_valid_row_is_taken(
    sessions: sessionmaker[Session], valid: Callable[[type[Base]], dict[str, Any]], model: type[Base]
) -> None:
    with sessions() as session:
        kept(session, model(**valid(model)))


# The first of each is one of the eight CHECKs of the specification (portfolio_node's is with the tree).
@pytest.mark.parametrize(
    "model, change, constraint",
    [
        (Position, {"status": "SOLD"}, "ck_position_status"),
        (ReferenceData, {"entity_type": "PERSON"}, "ck_reference_data_entity_type"),
        (RatingHistory, {"agency": "AUNT"}, "ck_rating_history_agency"),
        (MarketDataFeed, {"feed_type": "GOSSIP"}, "ck_market_data_feed_feed_type"),
        (MarketDataFeed, {"validation_status": "MAYBE"}, "ck_market_data_feed_validation_status"),
        (IngestionBatch, {"batch_type": "LUNCH"}, "ck_ingestion_batch_batch_type"),
        (IngestionBatch, {"status": "DONE"}, "ck_ingestion_batch_status"),
        (Position, {"base_ccy": "rupee"}, "ck_position_base_ccy"),
        (Position, {"tags_json": []}, "ck_position_tags"),
        (ReferenceData, {"name": " "}, "ck_reference_data_name"),
        (ReferenceData, {"entity_type": "CURRENCY"}, "ck_reference_data_currency"),
        (ReferenceData, {"entity_type": "CURRENCY", "ticker": "rupee"}, "ck_reference_data_currency"),
        (ReferenceData, {"isin": "US0378331006"}, "ck_reference_data_isin"),
        (ReferenceData, {"cusip": "037833101"}, "ck_reference_data_cusip"),
        (Instrument, {"isin": "US0378331006"}, "ck_instrument_isin"),
        (Instrument, {"cusip": "037833101"}, "ck_instrument_cusip"),
        (Instrument, {"symbol": "gold"}, "ck_instrument_symbol"),
        (Instrument, {"symbol": "BANK_NIFTY"}, "uq_instrument_symbol"),
        (Instrument, {"tick": Decimal(0)}, "ck_instrument_sizes"),
        (Instrument, {"kind": "tulip"}, "ck_instrument_kind"),
        (Instrument, {"asset_class": "TULIPS"}, "ck_instrument_asset_class"),
        (RatingHistory, {"outlook": "SUNNY"}, "ck_rating_history_outlook"),
        (RatingHistory, {"rating": ""}, "ck_rating_history_rating"),
        (FxSpot, {"rate": Decimal(0)}, "ck_fx_spot_rate"),
        (FxSpot, {"pair": "USDINR"}, "ck_fx_spot_pair"),
        (FxSpot, {"pair": "USD/USD"}, "ck_fx_spot_pair"),
        (DataLineage, {"feed_id": None}, "ck_data_lineage_of_something"),
        (IngestionBatch, {"content_hash": "x"}, "ck_ingestion_batch_content_hash"),
        (IngestionBatch, {"rows_total": 1, "rows_taken": 1, "rows_refused": 1}, "ck_ingestion_batch_rows"),
        (IngestionBatch, {"rows_taken": -1}, "ck_ingestion_batch_rows"),
        (IngestionBatch, {"status": "COMPLETED"}, "ck_ingestion_batch_completed_at"),
        (IngestionBatch, {"completed_at": NOON}, "ck_ingestion_batch_completed_at"),
        (Position, {"portfolio_node_id": 4711}, "fk_position_portfolio_node_id"),
        (Position, {"instrument_id": 4711}, "fk_position_instrument_id"),
        (Position, {"batch_id": 4711}, "fk_position_batch_id"),
        (RatingHistory, {"entity_id": 4711}, "fk_rating_history_entity_id"),
        (FxSpot, {"snapshot_id": 4711}, "fk_fx_spot_snapshot_id"),
        (DataLineage, {"feed_id": 4711}, "fk_data_lineage_feed_id"),
        (DataLineage, {"batch_id": 4711}, "fk_data_lineage_batch_id"),
        (MarketDataFeed, {"batch_id": 4711}, "fk_market_data_feed_batch_id"),
        (ReferenceData, {"parent_entity_id": 4711}, "fk_reference_data_parent_entity_id"),
        (Instrument, {"issuer_id": 4711}, "fk_instrument_issuer_id"),
        (Instrument, {"sector_id": 4711}, "fk_instrument_sector_id"),
    ],
)
def test_a_row_that_cannot_be_is_refused(
    sessions: sessionmaker[Session],
    valid: Callable[[type[Base]], dict[str, Any]],
    model: type[Base],
    change: dict[str, Any],
    constraint: str,
) -> None:
    with sessions() as session, pytest.raises(IntegrityError) as caught:
        session.execute(insert(model.__table__).values({**valid(model), **change}))
    assert caught.value.orig.diag.constraint_name == constraint  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "model, constraint",
    [
        (Position, "uq_position_active"),
        (RatingHistory, "uq_rating_history_entity_id_agency_as_of_date"),
        (FxSpot, "pk_fx_spot"),
        (IngestionBatch, "uq_ingestion_batch_batch_type_content_hash"),
    ],
)
def test_what_there_is_once_is_refused_a_second_time(
    sessions: sessionmaker[Session],
    valid: Callable[[type[Base]], dict[str, Any]],
    model: type[Base],
    constraint: str,
) -> None:
    with sessions.begin() as session:
        session.add(model(**valid(model)))
    with sessions() as session, pytest.raises(IntegrityError, match=constraint):
        kept(session, model(**valid(model)))


def test_a_node_may_hold_again_what_it_has_closed(
    sessions: sessionmaker[Session], valid: Callable[[type[Base]], dict[str, Any]]
) -> None:
    with sessions.begin() as session:
        session.add(Position(**valid(Position), status="CLOSED"))
        session.add(Position(**valid(Position), status="DELETED"))
        session.add(Position(**valid(Position)))


def test_a_file_that_failed_may_come_again(
    sessions: sessionmaker[Session], valid: Callable[[type[Base]], dict[str, Any]]
) -> None:
    with sessions.begin() as session:
        session.add(IngestionBatch(**valid(IngestionBatch), status="FAILED", completed_at=NOON))
        session.add(IngestionBatch(**valid(IngestionBatch)))


def test_every_live_portfolio_hangs_on_one_node(sessions: sessionmaker[Session]) -> None:
    with sessions.begin() as session:
        node, other = a_node(session), a_node(session, "Other")
        a_live_portfolio(session, node)
        a_live_portfolio(session, node, "alpha")
        session.expunge_all()
    with sessions() as session, pytest.raises(IntegrityError, match="pk_live_portfolio"):
        session.execute(text(f"INSERT INTO book.live_portfolio VALUES ('main', {other.portfolio_node_id})"))
    with sessions() as session, pytest.raises(IntegrityError, match="ck_live_portfolio_portfolio"):
        a_live_portfolio(session, node, "Main")
    with sessions() as session, pytest.raises(IntegrityError, match="fk_live_portfolio_portfolio_node_id"):
        session.execute(text(f"DELETE FROM book.portfolio_node WHERE portfolio_node_id = {node.portfolio_node_id}"))


def test_lineage_tells_in_order_what_was_done(
    sessions: sessionmaker[Session], valid: Callable[[type[Base]], dict[str, Any]]
) -> None:
    with sessions.begin() as session:
        chain = ["parsed", "deduplicated", "converted to USD"]
        session.add(DataLineage(**valid(DataLineage), transformation_chain=chain, quality_checks_json={"rows": 3}))
    with sessions() as session:
        found = session.scalars(select(DataLineage)).one()
        assert (found.transformation_chain, found.quality_checks_json) == (chain, {"rows": 3})
        assert found.ingested_at.utcoffset() is not None


# --- ISIN and CUSIP


def test_the_database_knows_numbers_that_exist(sessions: sessionmaker[Session]) -> None:
    with sessions() as session:
        assert an_issuer(session, isin=APPLE_ISIN, cusip=APPLE_CUSIP).entity_id
        assert an_instrument(session, "AAPL", isin=APPLE_ISIN, cusip=APPLE_CUSIP).instrument_id


@pytest.mark.parametrize("check", ["isin", "cusip"])
def test_python_and_the_database_agree_on_every_number(book_dsn: str, check: str) -> None:
    connection = psycopg2.connect(book_dsn)
    required = {"isin": require_isin, "cusip": require_cusip}[check]
    length = {"isin": 12, "cusip": 9}[check]
    usual = st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789*@#", min_size=length - 1, max_size=length - 1)
    country = {"isin": st.sampled_from(["US", "IN", "XS", "U1"]), "cusip": st.just("")}[check]

    @settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(country, usual | st.text(max_size=length + 1), st.sampled_from("0123456789A"))
    def agree(prefix: str, number: str, last: str) -> None:
        identifier = (prefix + number)[: length - 1].replace("\0", "") + last
        try:
            identifier.encode()
        except UnicodeEncodeError:
            return
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT book.is_{check}(%s)", (identifier,))
            ((taken,),) = cursor.fetchall()
        assert taken == _is(required, identifier), identifier

    try:
        agree()
    finally:
        connection.close()


def _is(required: Callable[[str], str], identifier: str) -> bool:
    try:
        return bool(required(identifier))
    except NotAnIdentifier:
        return False


def test_rates_as_of_a_day_are_those_of_the_last_feed_up_to_it(sessions: sessionmaker[Session]) -> None:
    """What the tables are for: found by the indexes of the specification."""
    with sessions.begin() as session:
        for day, rate in ((12, "84"), (14, "85"), (16, "86")):
            feed = a_feed(session, as_of_date=TODAY.replace(day=day))
            session.add(FxSpot(pair="USD/INR", snapshot_id=feed.feed_id, rate=Decimal(rate)))
    query = (
        select(FxSpot.rate)
        .join(MarketDataFeed, MarketDataFeed.feed_id == FxSpot.snapshot_id)
        .where(FxSpot.pair == "USD/INR", MarketDataFeed.feed_type == "FX_SPOT")
        .order_by(MarketDataFeed.as_of_date.desc())
        .limit(1)
    )
    with sessions() as session:
        for day, rate in ((11, None), (12, "84"), (15, "85"), (30, "86")):
            found = session.scalar(query.where(MarketDataFeed.as_of_date <= TODAY.replace(day=day)))
            assert found == (None if rate is None else Decimal(rate))
        session.execute(text("SET LOCAL enable_seqscan = off"))
        compiled = query.compile(session.connection(), compile_kwargs={"literal_binds": True})
        plan = "\n".join(session.scalars(text(f"EXPLAIN {compiled}")))
        assert "ix_market_data_feed_feed_type_as_of_date" in plan
        assert "Seq Scan" not in plan


def test_an_empty_book_counts_nothing(sessions: sessionmaker[Session]) -> None:
    with sessions() as session:
        counts = {
            table.name: session.scalar(select(func.count()).select_from(table)) for table in Base.metadata.sorted_tables
        }
    assert len(counts) == 26
    assert set(counts.values()) == {0}
