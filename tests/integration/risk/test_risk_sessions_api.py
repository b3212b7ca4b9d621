"""/api/risk: what-if sessions, their files, tags and contracts are told as they are kept; every answer is described."""

from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal

import pytest
from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from book.database import transaction
from live.api.risk_sessions import STATUSES, TAG_TYPES
from risk.modelling import keeping
from risk.models import DataSource, MarketData, ModelingSession
from risk.tagging import add_tag, create_tag, target
from risk.tags import TAG_TYPES as KEPT_TYPES
from risk.what_if.changes import Remove, ShockPrices
from tests.book_world import an_instrument
from tests.described import Described
from tests.integration.risk.test_backtests import reckoned
from tests.integration.risk.test_risk_api import a_desk, asking
from tests.modelling_world import FUND, begun, changed, exported, taken
from tests.risk_world import AFTER, DAY, a_world


@pytest.fixture
def world(book_engine: Engine) -> Engine:
    with transaction(book_engine) as session:
        a_world(session)
    reckoned(book_engine, DAY)
    return book_engine


@pytest.fixture
def ask(world: Engine, book_dsn: str) -> Iterator[Described]:
    desk = a_desk(book_dsn)
    yield asking(desk)
    desk.close()


def test_a_session_is_told_with_its_changes_and_what_its_newest_snapshot_has(world: Engine, ask: Described) -> None:
    begun(world)
    change = {"by": "ada", "at": AFTER}
    changed(world, 1, Remove(position_id="position/2", **change), ShockPrices(shocks={"COPPER": -0.05}, **change))
    first = taken(world, 1)
    told = ask("GET /api/risk/sessions/1")
    assert (told["name"], told["status"], told["version"], told["held"]) == ("Less metal", "active", 3, 3)
    assert [each["position_id"] for each in told["changes"][:1]] == ["position/2"]
    assert told["changes"][1]["shocks"] == {"COPPER": -0.05}
    assert (told["batch_day"], told["currency"], told["portfolio_node_id"]) == (str(DAY), "INR", FUND)
    (snapshot,) = told["snapshots"]
    assert (snapshot["snapshot_id"], snapshot["session_version"]) == (told["newest"]["snapshot_id"], 3)
    net = first.snapshot.impact.of("net")
    assert told["newest"]["measures"]["net"] == {
        "before": net.before,
        "after": net.after,
        "difference": net.difference,
    }
    assert {each["label"] for each in told["newest"]["exposures"]} == {"gold", "index"}
    ask("GET /api/risk/sessions/1", status=304, If_None_Match=str(ask.etag))


def test_a_session_without_a_snapshot_says_so(world: Engine, ask: Described) -> None:
    begun(world)
    told = ask("GET /api/risk/sessions/1")
    assert (told["changes"], told["snapshots"], told["newest"]) == ([], [], None)


def test_sessions_and_files_are_told_in_pages_the_newest_first(world: Engine, ask: Described) -> None:
    for name in ("One", "Two"):
        begun(world, name=name)
    with transaction(world) as session:
        keeping.cancel(session, 1, by="ada", now=AFTER)
    taken(world, 2)
    for form in ("csv", "json"):
        exported(world, 1, "modeling_session", form)
    page = ask("GET /api/risk/sessions?limit=1")
    assert [(each["name"], each["changes"]) for each in page["sessions"]] == [("Two", 0)]
    rest = ask(f"GET /api/risk/sessions?before={page['next']}")
    assert [each["name"] for each in rest["sessions"]] == ["One"]
    assert rest["next"] is None
    assert [each["name"] for each in ask("GET /api/risk/sessions?status=cancelled")["sessions"]] == ["One"]
    files = ask("GET /api/risk/exports?limit=1")
    assert [(each["export_format"], each["session_id"]) for each in files["exports"]] == [("json", 2)]
    (first,) = ask(f"GET /api/risk/exports?before={files['next']}")["exports"]
    assert (first["export_format"], first["exported_by"], len(first["content_hash"])) == ("csv", "ada", 64)


def test_tags_are_told_by_type_with_how_many_they_are_on(world: Engine, ask: Described) -> None:
    with transaction(world) as session:
        for name, kind, on in (("core", "regular", "node/1"), ("trend", "strategy", "position/1")):
            create_tag(session, name, kind, by="ada")
            add_tag(session, name, kind, target(on), by="ada", now=AFTER)
    told = ask("GET /api/risk/tags")["tags"]
    assert [(each["name"], each["nodes"], each["positions"]) for each in told] == [("core", 1, 0), ("trend", 0, 1)]
    assert [each["name"] for each in ask("GET /api/risk/tags?type=strategy")["tags"]] == ["trend"]


def test_contracts_are_told_beside_each_other(world: Engine, ask: Described) -> None:
    with transaction(world) as session:
        number = an_instrument(session, "SILVER", exchange="MCX", kind="future").instrument_id
        sources = [DataSource(name=name, kind="file") for name in ("first", "second")]
        session.add_all(sources)
        session.flush()
        for source in sources:
            for expiry, price in ((date(2026, 1, 30), 90_000), (date(2026, 2, 27), 90_900)):
                told = {"instrument_id": number, "source_id": source.source_id, "timeframe": "1d", "expiry": expiry}
                prices = dict.fromkeys(("open", "high", "low", "close"), Decimal(price))
                session.add(MarketData(timestamp=datetime(2026, 1, 13, 18, 30, tzinfo=UTC), **told, **prices))
    asked = "/api/risk/term_structure?instrument=silver"
    assert ask(f"GET {asked}", status=409)["error"]["code"] == "source_needed"
    found = ask(f"GET {asked}&source=first&as_of=2026-01-15")
    near, far = found["contracts"]
    assert (found["shape"], near["price"], near["spread"], near["days"]) == ("contango", "90000", "900", 14)
    assert (far["price"], far["spread"], near["held"]) == ("90900", None, True)
    assert ask(f"GET {asked}&source=first&as_of=2026-01-12")["contracts"] == []


def test_what_is_not_there_or_malformed_is_said(ask: Described) -> None:
    for address, code in (
        ("sessions/7", "unknown_session"),
        ("sessions/none", "unknown_session"),
        (f"sessions/{10**30}", "unknown_session"),
        ("term_structure?instrument=GOLD_MINI", "unknown_bars"),
        ("term_structure?instrument=TIN", "unknown_bars"),
    ):
        assert ask(f"GET /api/risk/{address}", status=404)["error"]["code"] == code, address
    for address, field in (
        ("sessions?status=asleep", "status"),
        ("sessions?before=x", "before"),
        ("exports?limit=0", "limit"),
        ("tags?type=odd", "type"),
        ("term_structure", "instrument"),
        ("term_structure?instrument=GOLD_MINI&source=No", "source"),
        ("term_structure?instrument=GOLD_MINI&as_of=soon", "as_of"),
        ("sessions/1?colour=red", "colour"),
    ):
        assert ask(f"GET /api/risk/{address}", status=400)["error"]["field"] == field, address


def test_what_is_known_here_is_what_the_tables_have(world: Engine) -> None:
    assert TAG_TYPES == KEPT_TYPES
    with Session(world) as session:
        rule = next(
            str(each.sqltext)
            for each in ModelingSession.__table__.constraints
            if "status IN" in str(getattr(each, "sqltext", ""))
        )
        assert all(f"'{status}'" in rule for status in STATUSES)
        assert session.scalar(select(ModelingSession.session_id)) is None
