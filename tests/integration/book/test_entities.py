"""Issuers, groups and instruments that a person enters: once, valid, and never what the engine decides by."""

from datetime import date
from decimal import Decimal
from threading import Thread
from typing import Any

import pytest
from sqlalchemy import Engine, func, select
from sqlalchemy.orm import Session, sessionmaker

from book.database import transaction
from book.entities import (
    EntityFields,
    InstrumentFields,
    add_entity,
    add_instrument,
    change_entity,
    change_instrument,
    entities,
)
from book.identifiers import NotAnIdentifier
from book.known import known_on
from book.market_data import InstrumentPrice
from book.models import Instrument, MarketDataFeed, RatingHistory, ReferenceData
from book.refusals import (
    EntityExists,
    EntityNotValid,
    InstrumentExists,
    InstrumentNotValid,
    NodeNotValid,
    UnknownEntity,
    UnknownInstrument,
)
from book.sync import sync
from core.errors import Refused
from tests.book_world import TODAY, a_feed, an_instrument

LOAN = InstrumentFields(asset_class="LOAN", kind="loan", currency="usd", point_value=Decimal(1))


def test_an_issuer_is_entered_once_and_changed(sessions: sessionmaker[Session]) -> None:
    with sessions.begin() as session:
        tata, is_new = add_entity(session, "issuer", EntityFields(name=" Tata Steel ", ticker="TATASTEEL"))
        assert (is_new, tata.name, tata.entity_type) == (True, "Tata Steel", "ISSUER")
        assert add_entity(session, "ISSUER", EntityFields(name="Tata Steel")) == (tata, False)
        with pytest.raises(EntityExists, match="is another ISSUER"):
            add_entity(session, "ISSUER", EntityFields(name="Tata Steel", ticker="TATA"))
        # A sector may be called as an issuer is.
        assert add_entity(session, "SECTOR", EntityFields(name="Tata Steel"))[1]
        assert change_entity(session, tata.entity_id, EntityFields(isin="INE081A01020"))[1]
        assert not change_entity(session, tata.entity_id, EntityFields(isin="INE081A01020"))[1]
        other, _ = add_entity(session, "ISSUER", EntityFields(name="Tata"))
        with pytest.raises(EntityExists):
            change_entity(session, other.entity_id, EntityFields(name="Tata Steel"))
    with sessions() as session:
        listed = entities(session, "issuer")
        assert [(row["name"], row["isin"]) for row in listed] == [("Tata", None), ("Tata Steel", "INE081A01020")]


def test_groups_are_of_one_type_and_never_rings(sessions: sessionmaker[Session]) -> None:
    with sessions.begin() as session:
        metals, _ = add_entity(session, "SECTOR", EntityFields(name="Metals"))
        steel, _ = add_entity(session, "SECTOR", EntityFields(name="Steel", parent_id=metals.entity_id))
        issuer, _ = add_entity(session, "ISSUER", EntityFields(name="Tata"))
        for own, above in ((metals, metals), (metals, steel)):
            with pytest.raises(EntityNotValid, match="is in"):
                change_entity(session, own.entity_id, EntityFields(parent_id=above.entity_id))
        with pytest.raises(EntityNotValid, match="is a SECTOR, not a ISSUER"):
            change_entity(session, issuer.entity_id, EntityFields(parent_id=metals.entity_id))
        assert entities(session, "SECTOR")[-1]["parent"] == "Metals"


@pytest.mark.parametrize(
    "entity_type, fields, refusal, named",
    [
        ("COW", {"name": "x"}, EntityNotValid, "entity_type"),
        ("ISSUER", {}, EntityNotValid, "name"),
        ("ISSUER", {"name": "  "}, EntityNotValid, "name"),
        ("ISSUER", {"name": "a\nb"}, EntityNotValid, "name"),
        ("ISSUER", {"name": "x" * 201}, EntityNotValid, "name"),
        ("ISSUER", {"name": "x", "ticker": "x" * 31}, EntityNotValid, "ticker"),
        ("ISSUER", {"name": "x", "isin": "INE081A01021"}, NotAnIdentifier, "isin"),
        ("ISSUER", {"name": "x", "cusip": "1"}, NotAnIdentifier, "cusip"),
        ("ISSUER", {"name": "x", "parent_id": 99999}, UnknownEntity, "99999"),
        ("CURRENCY", {"name": "x"}, EntityNotValid, "ticker"),
        ("CURRENCY", {"name": "x", "ticker": "RUPEES"}, NodeNotValid, "ticker"),
    ],
)
def test_an_entity_that_cannot_be_is_refused(
    sessions: sessionmaker[Session], entity_type: str, fields: dict[str, Any], refusal: type[Refused], named: str
) -> None:
    with sessions() as session:
        before = session.scalar(select(func.count()).select_from(ReferenceData))
        with pytest.raises(refusal, match=named):
            add_entity(session, entity_type, EntityFields(**fields))
        assert session.scalar(select(func.count()).select_from(ReferenceData)) == before


def test_of_many_who_enter_the_same_at_once_one_does(book_engine: Engine) -> None:
    made: list[tuple[int, bool]] = []

    def enter() -> None:
        with transaction(book_engine) as session:
            row, is_new = add_entity(session, "ISSUER", EntityFields(name="Tata"))
            made.append((row.entity_id, is_new))

    threads = [Thread(target=enter) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({entity_id for entity_id, _ in made}) == 1
    assert sorted(is_new for _, is_new in made) == [False, False, False, True]


def test_an_instrument_is_entered_once_and_changed(sessions: sessionmaker[Session]) -> None:
    with sessions.begin() as session:
        issuer, _ = add_entity(session, "ISSUER", EntityFields(name="Tata"))
        issuer_id = issuer.entity_id
        loan, is_new = add_instrument(session, "TATA_LOAN", LOAN)
        assert (is_new, loan.name, loan.currency, loan.kind) == (True, "Tata Loan", "USD", "loan")
        assert add_instrument(session, "TATA_LOAN", LOAN) == (loan, False)
        with pytest.raises(InstrumentExists):
            add_instrument(session, "TATA_LOAN", InstrumentFields(asset_class="LOAN", kind="loan", currency="INR"))
        changed = InstrumentFields(issuer_id=issuer_id, currency="INR", is_active=False)
        assert change_instrument(session, "TATA_LOAN", changed)[1]
        assert not change_instrument(session, "TATA_LOAN", changed)[1]
    with sessions() as session:
        kept = session.scalars(select(Instrument).filter_by(symbol="TATA_LOAN")).one()
        assert (kept.currency, kept.issuer_id, kept.is_active) == ("INR", issuer_id, False)


@pytest.mark.parametrize(
    "symbol, fields, refusal, named",
    [
        ("tata", {}, InstrumentNotValid, "symbol"),
        ("TATA", {"kind": "loan", "currency": "USD"}, InstrumentNotValid, "asset_class"),
        ("TATA", {"asset_class": "COW", "kind": "loan", "currency": "USD"}, InstrumentNotValid, "asset_class"),
        ("TATA", {"asset_class": "LOAN", "currency": "USD"}, InstrumentNotValid, "kind"),
        ("TATA", {"asset_class": "LOAN", "kind": "loan"}, InstrumentNotValid, "currency"),
        ("TATA", {"tick": Decimal(0)}, InstrumentNotValid, "tick"),
        ("TATA", {"exchange": "x" * 21}, InstrumentNotValid, "exchange"),
        ("TATA", {"issuer_id": 99999}, UnknownEntity, "99999"),
        ("TATA", {"currency": "1"}, NodeNotValid, "currency"),
    ],
)
def test_an_instrument_that_cannot_be_is_refused(
    sessions: sessionmaker[Session], symbol: str, fields: dict[str, Any], refusal: type[Refused], named: str
) -> None:
    with sessions() as session:
        with pytest.raises(refusal, match=named):
            add_instrument(session, symbol, InstrumentFields(**fields))
        assert session.scalar(select(func.count()).select_from(Instrument)) == 0


def test_an_issuer_is_no_sector(sessions: sessionmaker[Session]) -> None:
    with sessions.begin() as session:
        issuer, _ = add_entity(session, "ISSUER", EntityFields(name="Tata"))
        with pytest.raises(InstrumentNotValid, match="sector_id"):
            add_instrument(session, "TATA", InstrumentFields(sector_id=issuer.entity_id))


def test_what_the_engine_decides_by_is_the_engines(sessions: sessionmaker[Session]) -> None:
    with sessions.begin() as session:
        sync(session)
        gold = session.scalars(select(Instrument).filter_by(symbol="GOLD_MINI")).one()
        assert change_instrument(session, "GOLD_MINI", InstrumentFields(name="Gold", currency=gold.currency))[1]
        for fields in ({"currency": "USD"}, {"kind": "spot"}, {"tick": gold.tick + 1}):
            with pytest.raises(InstrumentNotValid, match="the engine trades GOLD_MINI"):
                change_instrument(session, "GOLD_MINI", InstrumentFields(**fields))
        with pytest.raises(UnknownInstrument):
            change_instrument(session, "NOBODYS", InstrumentFields(name="x"))
        sync(session)
        assert gold.name == "Gold"


def test_what_was_known_on_a_day_is_the_newest_word_before_it_of_feeds_that_may_be_used(
    sessions: sessionmaker[Session],
) -> None:
    with sessions.begin() as session:
        issuer, _ = add_entity(session, "ISSUER", EntityFields(name="Tata"))
        gold = an_instrument(session, "GOLD_MINI")
        for day, value, status in ((5, "1", "PASS"), (8, "2", "WARN"), (8, "3", "PASS"), (9, "4", "FAIL")):
            on = date(2026, 1, day)
            feed: MarketDataFeed = a_feed(session, feed_type="PRICE", as_of_date=on, validation_status=status)
            session.add(
                InstrumentPrice(
                    instrument_id=gold.instrument_id,
                    as_of_date=on,
                    feed_id=feed.feed_id,
                    price=Decimal(value),
                    currency="INR",
                )
            )
        for agency, day, rating in (("SP", 5, "BB"), ("SP", 8, "BBB"), ("FITCH", 9, "B")):
            session.add(
                RatingHistory(entity_id=issuer.entity_id, agency=agency, rating=rating, as_of_date=date(2026, 1, day))
            )
    with sessions() as session:
        prices = {
            day: [row["price"] for row in known_on(session, "prices", date(2026, 1, day))] for day in (4, 7, 8, 20)
        }
        assert prices == {4: [], 7: [Decimal(1)], 8: [Decimal(3)], 20: [Decimal(3)]}
        ratings = {
            day: {row["agency"]: row["rating"] for row in known_on(session, "ratings", date(2026, 1, day))}
            for day in (4, 5, 8, 9)
        }
        assert ratings == {4: {}, 5: {"SP": "BB"}, 8: {"SP": "BBB"}, 9: {"SP": "BBB", "FITCH": "B"}}
        assert known_on(session, "servicing", TODAY) == []
