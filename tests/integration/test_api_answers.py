"""Every address is asked, of real engines in every state they can be in, and what it answers is what is described."""

import re
from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from book.fx import set_rate
from book.models import Instrument
from book.nodes import add_node, nodes_on
from book.snapshots import snapshot_of_node
from book.sync import sync
from core.config import RateLimitSettings
from core.db_state_manager import DatabaseStateManager
from core.postgres.migrations import migrate, migrate_shared
from core.proposals import Proposal
from live.answers import Answer, AnswerKind
from live.api.schema.document import templated
from live.api.schema.route import JSON, Needs, Route
from live.api.schema.routes import ROUTES
from live.book_desk import BookDesk
from live.engine import LiveTradingEngine
from live.links import Linked
from live.spool import Spool
from tests.api_world import LINKS, a_busy_portfolio, an_app_of, make_briefings_of
from tests.book_world import NOON, TODAY, a_held_position
from tests.builders import minutes
from tests.described import Described
from tests.engines import Clock, an_engine, without_waiting
from tests.fake_engine import TOKEN, FakeEngine, an_app, decided
from tests.integration.test_following import a_follower
from tests.proxy import Proxy
from tests.unit.test_webhook_intake import FLIP, TRADINGVIEW
from tests.waiting import eventually

BEARER = f"Bearer {TOKEN}"
GOLD: dict[str, Any] = {
    "instrument": "GOLD_MINI",
    "price": 72000,
    "stop": 71500,
    "atr": "500",
    "er": 0.8,
    "timestamp": minutes(17.5).isoformat(),
}
BASE = {**GOLD, "type": "BASE_ENTRY", "position": "Long_1", "colour": "red"}
EXIT = {**GOLD, "type": "EXIT", "position": "ALL"}
BAR = {**GOLD, "type": "MARKET_DATA", "price": 72100}


# Asked by other tests: links below, days that were reckoned in tests/integration/risk/test_risk_api.py.
ELSEWHERE = ("Links", "Risk")
PNL = ("/pnl/calendar", "/pnl/attribution")
RISK_PAGES = ("", "/factors", "/correlations", "/stress", "/value-at-risk")
LISTS = ("positions", "orders", "proposals", "signals", "journal")


@pytest.fixture
def busy(dsn: str, tmp_path: Path) -> Iterator[LiveTradingEngine]:
    with a_busy_portfolio(dsn, tmp_path) as engine:
        yield engine


@pytest.fixture
def desk(dsn: str, busy: LiveTradingEngine) -> Iterator[BookDesk]:
    """The book of the same database: two nodes, a position in dollars, a rate, a snapshot, the briefings of two days."""
    migrate_shared(dsn)
    desk = BookDesk(dsn, lambda: NOON)
    with desk.transaction() as session:
        sync(session)
        (default,) = nodes_on(session, TODAY)
        node, _ = add_node(session, "Metals", "DESK", parent_id=default["portfolio_node_id"])
        gold = session.scalars(select(Instrument.instrument_id).filter_by(symbol="GOLD_MINI")).one()
        a_held_position(session, node.portfolio_node_id, gold, base_ccy="USD")
        set_rate(session, "USD/INR", Decimal("85.25"), TODAY - timedelta(days=1))
        snapshot_of_node(session, node.portfolio_node_id, TODAY, NOON)
    make_briefings_of(busy)
    yield desk
    desk.close()


def as_operator(ask: Described, request: str, body: Any = None, *, status: int = 200) -> Any:
    return ask(f"POST {request}", body, status=status, Authorization=BEARER)


def given(route: Route) -> set[tuple[str, str, int]]:
    told = {*route.answers, 304} if route.has_etag else set(route.answers)
    return {(route.method, templated(route.path), status) for status in told}


# --- what is asked of each of them


def ask_for_everything_that_is_shown(ask: Described, engine: LiveTradingEngine) -> None:
    for address in ("/status", "/webhook/stats", "/portfolios", "/openapi.json", "/docs"):
        ask(f"GET {address}")
        ask(f"GET {address}", status=304, If_None_Match=str(ask.etag))
    for address in ("/instances", "/db/status", "/health", "/ready", "/leader", "/metrics", "/login"):
        ask(f"GET {address}")
    for address in ("/", "/events", "/dashboard/state", "/dashboard/equity", "/dashboard/journal"):
        ask(f"GET {address}")
    assert ask("GET /dashboard/ladder/GOLD_MINI")["layers"]
    for name, key in (
        ("positions", "position_id"),
        ("orders", "client_order_id"),
        ("proposals", "proposal_id"),
        ("signals", "id"),
        ("journal", "seq"),
    ):
        rows, before = [], ""
        while before is not None:
            told = ask(f"GET /{name}?limit=1{before and f'&before={before}'}")
            ask(f"GET /{name}?limit=1", status=304, If_None_Match="*")
            rows, before = rows + told[name], told["next"]
        assert rows == ask(f"GET /{name}")[name]
        assert len({row[key] for row in rows}) == len(rows) > 1
    days = ask("GET /api/book/briefings?limit=1")
    ask("GET /api/book/briefings", status=304, If_None_Match="*")
    (before,) = ask(f"GET /api/book/briefings?before={days['next']}")["briefings"]
    assert days["briefings"][0]["briefing_date"] > before["briefing_date"]
    briefing = f"/api/book/briefings/{before['briefing_date']}"
    assert ask(f"GET {briefing}")["sections"]["signals"]["refused"]
    for address in (briefing, f"{briefing}/page"):
        ask(f"GET {address}")
        ask(f"GET {address}", status=304, If_None_Match=str(ask.etag))
    (position, *_) = ask("GET /positions?status=open")["positions"]
    one = ask(f"GET /positions/{position['position_id']}")
    assert position == {**one, "created_at": position["created_at"], "updated_at": position["updated_at"]}
    ask(f"GET /positions/{position['position_id']}", status=304, If_None_Match="*")


def ask_for_every_command(ask: Described, engine: LiveTradingEngine) -> None:
    assert as_operator(ask, "/reconcile")["mismatches"] == 1
    as_operator(ask, "/reconcile/ignore", {"instrument": "GOLD_MINI", "difference": "1.5"})
    adopted = {"instrument": "BANK_NIFTY", "layer": "long_1", "lots": 2, "price": 52000, "stop": 51000, "symbol": None}
    layer = as_operator(ask, "/reconcile/adopt", adopted)["position_id"]
    written_off = {"position_id": layer, "lots": 1, "price": "51900.5", "reason": "by hand"}
    assert as_operator(ask, "/reconcile/write-off", written_off)["status"] == "executed"
    refused, done = (proposal.proposal_id for proposal in engine.portfolio.pending_proposals())
    approved = as_operator(ask, f"/proposals/{done}/approve", {"lots": 1, "price": 73010, "note": "go"})
    assert (approved["status"], approved["lots"]) == ("accepted", 1)
    assert as_operator(ask, f"/proposals/{refused}/reject", {"note": "news"})["status"] == "executed"
    assert as_operator(ask, f"/proposals/{refused}/approve")["status"] == "rejected"
    states = {row["proposal_id"]: row["state"] for row in ask("GET /proposals")["proposals"]}
    assert states == {done: "approved", refused: "rejected"}
    order = engine.portfolio.orders_of("SILVER_MINI")[0].client_order_id
    resolved = {"state": "cancelled", "request_id": "seen"}
    assert as_operator(ask, f"/orders/{order}/resolve", resolved)["status"] == "executed"
    assert as_operator(ask, "/halt", {"reason": "lunch", "request_id": "halt-1"})["status"] == "executed"
    assert as_operator(ask, "/halt", {"reason": "lunch", "request_id": "halt-1"})["first"]["status"] == "executed"
    assert as_operator(ask, "/halt", {"instrument": "gold_mini"})["status"] == "executed"
    as_operator(ask, "/resume", {"instrument": "GOLD_MINI"})
    as_operator(ask, "/resume")
    as_operator(ask, "/capital", {"amount": "-1000.25", "note": "rent"})
    assert as_operator(ask, "/capital", {"amount": "-99999999"})["status"] == "rejected"
    as_operator(ask, "/rollover/scan", {})
    as_operator(ask, "/rollover/execute", {"position_id": layer})
    assert as_operator(ask, "/positions/ALL/close", {"reason": "weekend"})["status"] == "accepted"


def ask_for_the_book(ask: Described) -> None:
    book = "/api/book"
    for address in ("/tree", "/nodes", "/instruments", "/fx"):
        ask(f"GET {book}{address}")
        ask(f"GET {book}{address}", status=304, If_None_Match=str(ask.etag))
    default, metals = (line["portfolio_node_id"] for line in ask(f"GET {book}/tree")["nodes"])
    node = ask(f"GET {book}/nodes/{metals}?currency=USD")
    assert (node["nodes"][0]["gross"], node["by_instrument"][0]["key"]) == ("1000", "GOLD_MINI")
    # With the two lots of gold that the engine holds, at 72,500.
    assert ask(f"GET {book}/tree")["nodes"][0]["gross"] == "1535250"
    ask(f"GET {book}/nodes/{metals}", status=304, If_None_Match=str((ask(f"GET {book}/nodes/{metals}"), ask.etag)[1]))
    added = {"name": "Copper", "node_type": "BOOK", "parent_id": metals}
    told = as_operator(ask, f"{book}/nodes", added)
    assert told["changed"]
    assert as_operator(ask, f"{book}/nodes", added) == {**told, "changed": False}
    copper = told["portfolio_node_id"]
    assert as_operator(ask, f"{book}/nodes", {**added, "node_type": "STRATEGY"}, status=409)["error"] == {
        "code": "node_exists",
        "message": "`name`: 'Copper' is there already, a BOOK in INR",
        "field": "name",
    }
    assert as_operator(ask, f"{book}/nodes/{copper}", {"name": "Base metals", "parent_id": default})["changed"]
    wrong = as_operator(ask, f"{book}/nodes/{metals}", {"parent_id": copper}, status=409)["error"]
    assert wrong["code"] == "wrong_level"
    assert as_operator(ask, f"{book}/nodes/{copper}/portfolios", {"portfolio": "main"})["changed"]
    assert ask(f"GET {book}/nodes")["nodes"][-1]["portfolios"] == ["main"]
    assert as_operator(ask, f"{book}/fx", {"pair": "usd/inr", "rate": "86.5", "as_of": "2026-01-15"})["changed"]
    assert ask(f"GET {book}/fx?as_of=2026-01-15")["rates"][0]["source"] == "operator"
    assert ask(f"GET {book}/tree?currency=EUR", status=409)["error"]["code"] == "missing_rate"
    as_operator(ask, f"{book}/nodes", {"name": "Dollars", "node_type": "FUND", "base_ccy": "USD"})
    assert ask(f"GET {book}/tree", status=409)["error"]["code"] == "currency_needed"
    for missing in ("10000", "-1", "x"):
        assert ask(f"GET {book}/nodes/{missing}", status=404)["error"]["code"] == "unknown_node"
    nobodys = as_operator(ask, f"{book}/nodes/{copper}/portfolios", {"portfolio": "nobodys"}, status=404)
    assert nobodys["error"]["code"] == "unknown_portfolio"
    assert ask(f"GET {book}/tree?as_of=2026-02-30", status=400)["error"]["field"] == "as_of"
    assert as_operator(ask, f"{book}/nodes", {"name": " ", "node_type": "FUND"}, status=400)["error"]["field"] == "name"
    assert as_operator(ask, f"{book}/nodes/{copper}", {}, status=400)["error"]["code"] == "malformed"
    assert as_operator(ask, f"{book}/fx", {"pair": "USD", "rate": 1}, status=400)["error"]["field"] == "pair"


def ask_what_days_earned(ask: Described) -> None:
    days, change = "/api/book/pnl/calendar", "/api/book/pnl/attribution"
    for address in (days, change):
        ask(f"GET {address}?portfolio=main")
        ask(f"GET {address}?portfolio=main", status=304, If_None_Match=str(ask.etag))
    earned = ask(f"GET {days}?from=2026-01-14&to=2026-01-16")
    assert [day["date"] for day in earned["days"]] == ["2026-01-14", "2026-01-15"]
    for by in ("instrument", "strategy", "layer", "node"):
        told = ask(f"GET {change}?from=2026-01-13&to=2026-01-15&by={by}")
        assert told["pnl"] == earned["total"] == str(sum(Decimal(line["pnl"]) for line in told["lines"]))
        equity = {name: Decimal(amount) for name, amount in told["equity"].items()}
        assert equity["to_equity"] == equity["from_equity"] + Decimal(told["pnl"]) + equity["flows"]
    assert ask(f"GET {change}")["to_date"] == "2026-01-14"
    assert ask(f"GET {days}?from=2026-01-14&to=2026-01-14&node=1&currency=usd")["currency"] == "USD"
    for wrong, field in (
        ("from=2026-01-15&to=2026-01-14", "from"),
        ("from=x", "from"),
        ("to=0001-01-01&from=0001-01-01", "from"),
        ("by=colour", "by"),
    ):
        assert ask(f"GET {change}?{wrong}", status=400)["error"]["field"] == field
    assert ask(f"GET {change}?to=2026-01-15&node=1&portfolio=main")["equity"]
    for day in ("0001-01-01", "9999-12-31"):
        assert ask(f"GET {days}?to={day}")["days"] == []
    assert ask(f"GET {days}?node=4711", status=404)["error"]["code"] == "unknown_node"
    assert ask(f"GET {days}?currency=XYZ&to=2026-01-15", status=409)["error"]["code"] == "missing_rate"


def ask_for_pages_of_the_book(ask: Described) -> None:
    """Each with what there is, and with what the book refuses; two of them can only be refused where there is none."""
    node = ask("GET /api/book/tree")["nodes"][0]["portfolio_node_id"]
    for asked in ("", f"?node={node}&as_of=2026-01-15&by=currency", "?node=&as_of=&currency=&by="):
        ask(f"GET /dashboard/book{asked}")
    for asked in ("", "?year=2026&of=main", f"?year=2026&of={node}&currency=usd"):
        ask(f"GET /dashboard/book/calendar{asked}")
    for asked in (
        "",
        "?from=2026-01-13&to=2026-01-15&by=node",
        f"?of={node}&from=&to=2026-01-15&by=",
        "?to=9999-12-31",
    ):
        ask(f"GET /dashboard/book/attribution{asked}")
    for asked in ("", "?status=pending&instrument=gold_mini", "?before=1", "?portfolio=main&status="):
        ask(f"GET /dashboard/book/proposals{asked}")
    for asked in ("", "?before=2026-01-15"):
        ask(f"GET /dashboard/book/briefings{asked}")
    for page in ("", "/calendar", "/attribution"):
        ask(f"GET /dashboard/book{page}?currency=XYZ", status=409)
    for page, wrong in (
        ("", "by=colour"),
        ("", "currency=x"),
        ("", "as_of=x"),
        ("/calendar", "year=26"),
        ("/attribution", "by=sector"),
        ("/attribution", "from=2026-01-15&to=2026-01-15"),
        ("/attribution", "to=0001-01-01"),
        ("/proposals", "status=undecided"),
        ("/proposals", "instrument=a-b"),
        ("/proposals", "before=0"),
        ("/briefings", "before=x"),
    ):
        field = wrong.partition("=")[0].replace("to", "from")
        assert ask(f"GET /dashboard/book{page}?{wrong}", status=400)["error"]["field"] == field
    assert ask("GET /dashboard/book?node=4711", status=404)["error"]["code"] == "unknown_node"
    assert ask("GET /dashboard/book/calendar?of=nobodys", status=404)["error"]["code"] == "unknown_portfolio"


def ask_for_pages_of_risk(ask: Described) -> None:
    """Nothing is reckoned there: tests/integration/risk/test_pages.py asks where something is."""
    for page in RISK_PAGES:
        for asked in ("", "?node=1&date=2026-01-14", "?node=&date="):
            ask(f"GET /dashboard/risk{page}{asked}")
        for wrong in ("date=x", "colour=red"):
            field = wrong.partition("=")[0]
            assert ask(f"GET /dashboard/risk{page}?{wrong}", status=400)["error"]["field"] == field
        assert ask(f"GET /dashboard/risk{page}?node=4711", status=404)["error"]["code"] == "unknown_node"
    for wrong in ("method=guess", "confidence=90", "days=3"):
        field = wrong.partition("=")[0]
        assert ask(f"GET /dashboard/risk/value-at-risk?{wrong}", status=400)["error"]["field"] == field


def ask_for_contracts_and_sessions(ask: Described) -> None:
    for asked in ("term-structure?as_of=2026-01-14&instrument=gold_mini", "term-structure?instrument=&as_of=&source="):
        ask(f"GET /dashboard/risk/{asked}")
    for asked in ("what-if?session=1&other=2", "what-if?session=&other=&before="):
        ask(f"GET /dashboard/risk/{asked}")
    for wrong in ("instrument=a-b", "as_of=x", "as_of=9999-12-31&instrument=GOLD", f"source={'x' * 51}"):
        field = wrong.partition("=")[0]
        assert ask(f"GET /dashboard/risk/term-structure?{wrong}", status=400)["error"]["field"] == field
    for wrong in ("session=0", "other=x", "before=-1"):
        field = wrong.partition("=")[0]
        assert ask(f"GET /dashboard/risk/what-if?{wrong}", status=400)["error"]["field"] == field


def ask_for_pages_without_a_book(ask: Described) -> None:
    for page in ("", "/calendar", "/attribution", "/proposals", "/briefings"):
        ask(f"GET /dashboard/book{page}", status=409)
    for page in (*RISK_PAGES, "/term-structure", "/what-if"):
        ask(f"GET /dashboard/risk{page}", status=409)


def ask_for_files_in_and_out(ask: Described) -> None:
    book, file = "/api/book", b"pair,as_of_date,rate\nUSD/INR,2026-01-13,85\nEUR/INR,2026-01-13,99\n"
    told = as_operator(ask, f"{book}/uploads?kind=fx&format=csv", file)
    assert (told["status"], told["rows_taken"], told["already"]) == ("COMPLETED", 2, False)
    assert as_operator(ask, f"{book}/uploads?kind=fx&format=csv&name=again", file) == {**told, "already": True}
    wrong = file.replace(b"99", b"none") + b"EUR/EUR,2026-01-13,1\n"
    refused = as_operator(ask, f"{book}/uploads?kind=fx&format=csv", wrong, status=422)
    assert refused["error"]["code"] == "rows_refused"
    assert [row["line"] for row in refused["rows"]] == [3, 4]
    partly = as_operator(ask, f"{book}/uploads?kind=fx&format=csv&partial=true", wrong)
    assert (partly["rows_taken"], partly["rows_refused"]) == (1, 2)
    form = b'--x\r\nContent-Disposition: form-data; name="%s"; filename="a.csv"\r\n\r\n' + wrong + b"\r\n--x--\r\n"
    for name, status in ((b"file", 422), (b"other", 400)):
        as_form = {"Authorization": BEARER, "Content_Type": "multipart/form-data; boundary=x"}
        ask(f"POST {book}/uploads?kind=prices", form % name, status=status, **as_form)
    rows = f"{book}/uploads/{refused['batch_id']}/rows"
    first = ask(f"GET {rows}?limit=1&status=pass,fail")
    ask(f"GET {rows}", status=304, If_None_Match="*")
    assert (first["rows"][0]["status"], first["next"]) == ("PASS", 2)
    assert [row["line"] for row in ask(f"GET {rows}?after=2&status=all")["rows"]] == [3, 4]
    uploads = ask(f"GET {book}/uploads?limit=2")
    ask(f"GET {book}/uploads", status=304, If_None_Match="*")
    assert uploads["uploads"][0]["uploaded_by"] == "operator"
    assert ask(f"GET {book}/uploads?before={uploads['next']}")["uploads"][-1]["batch_id"] == told["batch_id"]
    as_operator(ask, f"{book}/exports?content=executions&format=fix&from=2026-01-01&to=2026-01-31&target=AUDITOR")
    as_operator(ask, f"{book}/exports?content=positions&format=csv")
    exports = ask(f"GET {book}/exports?limit=1")
    ask(f"GET {book}/exports", status=304, If_None_Match="*")
    (before,) = ask(f"GET {book}/exports?before={exports['next']}")["exports"]
    assert (before["portfolio"], before["begins"], before["exported_by"]) == ("main", "2026-01-01", "operator")
    for address, field in (
        ("uploads", "kind"),
        ("uploads?kind=cows", "kind"),
        ("uploads?kind=fx&format=xls", "format"),
        ("uploads?kind=fx&partial=1", "partial"),
        ("uploads?kind=fx&name=a/b.csv", "name"),
        ("uploads?kind=fx&format=json", "file"),
        ("uploads?kind=fx", "file"),
        ("exports?format=csv", "content"),
        ("exports?content=pnl", "format"),
        ("exports?content=pnl&format=fix", "format"),
        ("exports?content=pnl&format=csv&from=2026-02-30", "from"),
        ("exports?content=pnl&format=csv&from=2026-02-02&to=2026-02-01", "to"),
        ("exports?content=executions&format=fix&target=%01", "target"),
    ):
        assert as_operator(ask, f"{book}/{address}", b"{}", status=400)["error"]["field"] == field, address
    for missing in ("999", "x"):
        assert ask(f"GET {book}/uploads/{missing}/rows", status=404)["error"]["code"] == "not_found"


def ask_for_reports(ask: Described) -> None:
    book = "/api/book"
    fund, metals, *_ = ask(f"GET {book}/nodes")["nodes"]
    sheets = f"{book}/nodes/{fund['portfolio_node_id']}/tear-sheet"
    sheet = ask(f"GET {sheets}?from=2026-01-14&capital=1000000")
    assert (sheet["capital_first"], sheet["first_day"], sheet["capital_is_given"]) == ("1000000", "2026-01-14", True)
    assert ask(f"GET {sheets}?to=2026-01-15")["capital_first"] == "4998999.75"
    ask(f"GET {sheets}.html?capital=1000000")
    lots = ask(f"GET {book}/tax-lots?year=2025-26")
    assert Decimal(lots["years"][0]["net_gain"]) == sum(Decimal(lot["net_gain"]) for lot in lots["lots"])
    assert {total["instrument"] for total in lots["instruments"]} == {lot["instrument"] for lot in lots["lots"]}
    assert ask(f"GET {book}/tax-lots?year_begins=1")["years"][0]["tax_year"] == "2026"
    nothing = ask(f"GET {book}/nodes/{metals['portfolio_node_id']}/tear-sheet", status=409)["error"]
    assert nothing["code"] == "no_days"
    for address, field in (
        (f"{sheets}?capital=-1", "capital"),
        (f"{sheets}?capital=1.00001", "capital"),
        (f"{sheets}.html?to=2026-02-30", "to"),
        (f"{sheets}?currency=1", "currency"),
        (f"{book}/tax-lots?year_begins=13", "year_begins"),
        (f"{book}/tax-lots?year=26", "year"),
    ):
        assert ask(f"GET {address}", status=400)["error"]["field"] == field, address
    assert ask(f"GET {book}/nodes/999/tear-sheet", status=404)["error"]["code"] == "unknown_node"


def ask_for_what_is_known(ask: Described) -> None:
    book = "/api/book"
    issuer = {"entity_type": "ISSUER", "name": "Tata Steel", "ticker": "TATASTEEL", "isin": "INE081A01020"}
    first = as_operator(ask, f"{book}/entities", issuer)
    assert first["changed"]
    assert as_operator(ask, f"{book}/entities", issuer) == {**first, "changed": False}
    other = as_operator(ask, f"{book}/entities", {**issuer, "ticker": "TATA"}, status=409)["error"]
    assert (other["code"], other["field"]) == ("entity_exists", "name")
    own = f"{book}/entities/{first['entity_id']}"
    assert as_operator(ask, own, {"name": "Tata Steel Ltd"})["changed"]
    (listed,) = ask(f"GET {book}/entities?type=ISSUER")["entities"]
    assert (listed["name"], listed["isin"]) == ("Tata Steel Ltd", "INE081A01020")
    ask(f"GET {book}/entities")
    ask(f"GET {book}/entities", status=304, If_None_Match=str(ask.etag))
    loan = {"symbol": "TATA_LOAN", "asset_class": "LOAN", "kind": "loan", "currency": "USD", "tick": "0.01"}
    loan |= {"issuer_id": first["entity_id"], "margin_per_lot": 1}
    assert as_operator(ask, f"{book}/instruments", loan)["changed"]
    assert not as_operator(ask, f"{book}/instruments", loan)["changed"]
    exists = as_operator(ask, f"{book}/instruments", {**loan, "currency": "INR"}, status=409)["error"]
    assert exists["code"] == "instrument_exists"
    assert as_operator(ask, f"{book}/instruments/tata_loan", {"name": "A loan", "is_active": False})["changed"]
    taken = as_operator(ask, f"{book}/instruments/GOLD_MINI", {"currency": "USD"}, status=400)["error"]
    assert taken["field"] == "currency"
    ratings = b"issuer,agency,rating,outlook,as_of_date\nTATASTEEL,SP,BBB-,STABLE,2026-01-05\n"
    told = as_operator(ask, f"{book}/uploads?kind=ratings&format=csv", ratings)
    prices = b"instrument,as_of_date,price,currency\nGOLD_MINI,2026-01-05,72000,INR\n"
    as_operator(ask, f"{book}/uploads?kind=prices&format=csv", prices)
    loans = b"instrument,as_of_date,outstanding_balance\nTATA_LOAN,2026-01-05,1000\n"
    as_operator(ask, f"{book}/uploads?kind=servicing&format=csv", loans)
    for kind in ("ratings", "prices", "servicing"):
        assert len(ask(f"GET {book}/{kind}?as_of=2026-01-05")[kind]) == 1
        assert ask(f"GET {book}/{kind}?as_of=2026-01-04")[kind] == []
        ask(f"GET {book}/{kind}?as_of=2026-01-04", status=304, If_None_Match=str(ask.etag))
        assert ask(f"GET {book}/{kind}?as_of=x", status=400)["error"]["field"] == "as_of"
    lineage = f"{book}/uploads/{told['batch_id']}/lineage"
    assert ask(f"GET {lineage}")["lineage"][0]["source_system"] == "upload"
    ask(f"GET {lineage}", status=304, If_None_Match=str(ask.etag))
    for address, body, status, field in (
        ("entities", {"name": "x"}, 400, "entity_type"),
        ("entities", {"entity_type": "ISSUER"}, 400, "name"),
        ("entities", {"entity_type": "CURRENCY", "name": "Rupee"}, 400, "ticker"),
        ("entities", {**issuer, "isin": "INE081A01021"}, 400, "isin"),
        ("entities", {**issuer, "parent_id": 0}, 400, "parent_id"),
        ("entities", {"entity_type": "SECTOR", "name": "x", "parent_id": first["entity_id"]}, 400, "parent_id"),
        (f"entities/{first['entity_id']}", {"parent_id": first["entity_id"]}, 400, "parent_id"),
        (f"entities/{first['entity_id']}", {}, 400, "name"),
        ("entities/999999", {"name": "x"}, 404, None),
        ("entities/x", {"name": "x"}, 404, None),
        ("instruments", {**loan, "kind": "cow"}, 400, "kind"),
        ("instruments", {**loan, "symbol": "a b"}, 400, "symbol"),
        ("instruments", {**loan, "sector_id": first["entity_id"]}, 400, "sector_id"),
        ("instruments", {**loan, "margin_per_lot": -1}, 400, "margin_per_lot"),
        ("instruments/TATA_LOAN", {"is_active": "no"}, 400, "is_active"),
        ("instruments/NOBODYS", {"name": "x"}, 404, "instrument"),
    ):
        assert as_operator(ask, f"{book}/{address}", body, status=status)["error"].get("field") == field, address
    for missing in ("999", "x"):
        assert ask(f"GET {book}/uploads/{missing}/lineage", status=404)["error"]["code"] == "not_found"
    assert ask(f"GET {book}/entities?type=cow", status=400)["error"]["field"] == "type"


def ask_for_entered_positions(ask: Described) -> None:
    address = "/api/book/positions"
    ask(f"GET {address}?status=closed")
    ask(f"GET {address}?status=closed", status=304, If_None_Match=str(ask.etag))
    new = {"node": 1, "instrument": "gold_mini", "direction": "LONG", "quantity": "200", "price": 72000}
    new |= {"strategies": {"trend": "0.6", "carry": 0.4}, "risks": {"delta": 1}, "request_id": "hedge-1"}
    first = as_operator(ask, address, new)
    assert first["changed"]
    assert as_operator(ask, address, new) == {**first, "changed": False}
    other = as_operator(ask, address, {**new, "direction": "SHORT"}, status=409)["error"]
    assert (other["code"], other["field"]) == ("other_position", "request_id")
    own = f"{address}/{first['id']}"
    assert as_operator(ask, own, {"quantity": "100", "notes": "half"})["changed"]
    listed, *_ = ask(f"GET {address}")["positions"]
    assert (listed["quantity"], listed["notes"], listed["strategies"]) == (
        "100",
        "half",
        {"carry": "0.4", "trend": "0.6"},
    )
    wrong = ({"strategies": {"trend": "0.6"}}, {"strategies": {"trend": "x"}}, {"risks": {"vega": 1}}, {"node": 0})
    for body in (*wrong, {"quantity": 0}, {"strategies": []}):
        assert as_operator(ask, own, body, status=400)["error"]["code"] == "malformed"
    assert as_operator(ask, own, {}, status=400)["error"]["code"] == "malformed"
    assert as_operator(ask, own, {"node": 10000}, status=404)["error"]["code"] == "unknown_node"
    silver = as_operator(ask, address, {**new, "instrument": "TIN", "request_id": "t"}, status=404)["error"]
    assert silver["code"] == "unknown_instrument"
    assert as_operator(ask, f"{own}/close", {"price": 1, "at": "2026-01-14"}, status=400)["error"]["field"] == "at"
    assert not as_operator(ask, f"{own}/close", {"price": "72500", "costs": "20"})["is_open"]
    assert as_operator(ask, f"{own}/close", {"price": 1}, status=409)["error"]["code"] == "position_closed"
    assert as_operator(ask, own, {"quantity": 1}, status=409)["error"]["code"] == "position_closed"
    for missing in ("999999", "x"):
        gone = as_operator(ask, f"{address}/{missing}/close", {"price": 1}, status=404)["error"]
        assert gone["code"] == "unknown_position"


def test_where_there_is_no_book_the_answer_says_what_to_run(busy: LiveTradingEngine, dsn: str) -> None:
    desk = BookDesk(dsn, lambda: NOON)
    ask = Described(an_app_of(busy, book=desk).test_client())
    for address in (
        "/tree",
        "/nodes",
        "/nodes/1",
        "/instruments",
        "/fx",
        "/briefings",
        "/briefings/2026-01-14",
        "/uploads",
        "/exports",
        "/entities",
        "/ratings",
        "/prices",
        "/servicing",
        "/uploads/1/lineage",
        *PNL,
    ):
        error = ask(f"GET /api/book{address}", status=409)["error"]
        assert error["code"] == "book_not_migrated"
        assert "migrate --book" in error["message"]
    ask_for_pages_without_a_book(ask)
    desk.close()


def ask_for_a_session(ask: Described) -> None:
    assert ask("GET /session", status=401)["error"]["code"] == "unauthorized"
    assert ask("GET /session", Authorization=BEARER) == {"operator": "operator", "role": "admin", "csrf_token": None}
    form = {"Content_Type": "application/x-www-form-urlencoded"}
    ask("POST /login", b"token=another", status=401, **form)
    ask("POST /login", f"token={TOKEN}".encode(), status=303, **form)
    assert ask("POST /login", status=403, Sec_Fetch_Site="cross-site")["error"]["code"] == "web_page"
    csrf_token = ask("GET /session")["csrf_token"]
    assert ask("POST /resume", status=403)["error"]["code"] == "csrf"
    assert ask("POST /resume", X_CSRF_Token=csrf_token)["status"] == "executed"
    assert ask("POST /logout", status=403)["error"]["code"] == "csrf"
    assert ask("POST /logout", X_CSRF_Token=csrf_token) == {"status": "signed_out"}
    assert ask("GET /session", status=401)["error"]["code"] == "unauthorized"
    for route in ROUTES:
        if route.needs is Needs.VIEWER_FROM_ELSEWHERE:
            path = templated(route.path).replace("{", "").replace("}", "")
            assert ask(f"GET {path}", status=401, Host="elsewhere.example")["error"]["code"] == "unauthorized"
            ask(f"GET {path}", status=303, Host="elsewhere.example", Accept="text/html")


def ask_for_alerts(ask: Described) -> None:
    assert ask("POST /webhook", {**BASE, "type": "PYRAMID", "position": "Long_2"})["status"] == "blocked"
    assert ask("POST /webhook", {**BASE, "instrument": "COPPER", "price": 830, "stop": 820, "atr": 6})["warnings"]
    told = ask("POST /webhook/main", BAR)
    assert told["status"] == "executed"
    assert ask("POST /webhook/main", BAR)["first"]["status"] == "executed"
    assert ask("POST /webhook/main/secret", {**BAR, "timestamp": minutes(17.6).isoformat()})["status"] == "executed"
    assert ask("POST /webhook", {**EXIT, "instrument": "BANK_NIFTY", "position": "Short_3"})["status"] == "rejected"


def test_every_address_answers_as_it_is_described(busy: LiveTradingEngine, desk: BookDesk) -> None:
    ask = Described(an_app_of(busy, book=desk).test_client())
    ask_for_alerts(ask)
    ask_for_everything_that_is_shown(ask, busy)
    ask_what_days_earned(ask)
    ask_for_pages_of_the_book(ask)
    ask_for_pages_of_risk(ask)
    ask_for_contracts_and_sessions(ask)
    without = Described(an_app_of(busy).test_client())
    ask_for_pages_without_a_book(without)
    ask.asked |= without.asked
    ask_for_every_command(ask, busy)
    ask_for_reports(ask)
    ask_for_the_book(ask)
    ask_for_files_in_and_out(ask)
    ask_for_entered_positions(ask)
    ask_for_what_is_known(ask)
    ask_for_a_session(ask)
    ask_for_everything_that_is_shown(ask, busy)
    # Another instance that follows, and a database that is away, have tests of their own.
    missing = {
        told
        for route in ROUTES
        for told in given(route) - ask.asked
        if told[1] != "/handover" and route.tag not in ELSEWHERE and told[2] not in (202, 503)
    }
    assert not missing, (
        f"not asked here: {sorted(missing)}. Ask a new address in one of the functions above, so that what it really "
        "answers is compared with its models."
    )


FORM = {"Content_Type": "application/x-www-form-urlencoded"}
REFUSED_FORMS = (b"lots=0", b"lots=1&lots=2", b"price=-1", b"colour=red", b"note=" + b"x" * 501, b"\xff")


def link_to(proposal: Proposal, **changes: Any) -> str:
    told = {"proposal_id": proposal.proposal_id, "expires_at": proposal.expires_at, "portfolio": "main", **changes}
    return f"/link/{LINKS.token(Linked(**told))}"


def ask_by_links(ask: Described, *waiting: Proposal) -> None:
    """Approve one and reject the other, each once."""
    good, bad = waiting
    for proposal in waiting:
        ask(f"GET {link_to(proposal)}")
    ask(f"POST {link_to(good)}/approve", b"lots=1&price=73010&note=go", **FORM)
    ask(f"POST {link_to(bad)}/reject", b"note=the+news", **FORM)
    for proposal in waiting:
        ask(f"GET {link_to(proposal)}", status=410)
    rows = {row["proposal_id"]: row for row in ask("GET /proposals")["proposals"]}
    assert [rows[p.proposal_id]["state"] for p in waiting] == ["approved", "rejected"]
    assert [(rows[p.proposal_id]["decided_by"], rows[p.proposal_id]["note"]) for p in waiting] == [
        ("link", "go"),
        ("link", "the news"),
    ]


def ask_by_wrong_links(ask: Described, proposal: Proposal) -> None:
    for action in ("", "/approve", "/reject"):
        method, body = ("POST", b"note=no") if action else ("GET", None)
        for status, path in (
            (403, f"{link_to(proposal)[:-3]}xyz"),
            (404, link_to(proposal, portfolio="nobodys")),
            (410, link_to(proposal, expires_at=minutes(1))),
            (410, link_to(proposal, proposal_id="P0123456789abcdef")),
        ):
            ask(f"{method} {path}{action}", body, status=status, **FORM)


def ask_by_wrong_forms(ask: Described, proposal: Proposal) -> None:
    for body in REFUSED_FORMS:
        ask(f"POST {link_to(proposal)}/approve", body, status=400, **FORM)
    ask(f"POST {link_to(proposal)}/reject", b"note=++", status=400, **FORM)
    for action in ("approve", "reject"):
        ask(f"POST {link_to(proposal)}/{action}", b"note=" + b"x" * 70_000, status=413, **FORM)
    ask(f"POST {link_to(proposal)}/approve", b"lots=9999", **FORM)  # more than fits: it waits on


def ask_until_it_is_too_often(ask: Described, proposal: Proposal) -> None:
    ask.environment["REMOTE_ADDR"] = "203.0.113.7"
    for status in (403, 403, 429):
        ask(f"GET {link_to(proposal)[:-3]}xyz", status=status)
    for action in ("/approve", "/reject"):
        ask(f"POST {link_to(proposal)}{action}", b"note=no", status=429, **FORM)


def test_a_link_decides_once_and_answers_as_it_is_described(busy: LiveTradingEngine) -> None:
    ask = Described(an_app_of(busy, rate_limits=RateLimitSettings(failed_tokens="2/minute")).test_client())
    first, second = busy.portfolio.pending_proposals()
    before = busy.portfolio
    ask_by_wrong_links(ask, second)
    assert busy.portfolio is before
    ask_by_wrong_forms(ask, second)
    assert busy.portfolio.pending_proposals() == [first, second]
    ask_by_links(ask, second, first)
    ask_until_it_is_too_often(ask, first)
    missing = {told for route in ROUTES if route.tag == "Links" for told in given(route) - ask.asked if told[2] != 503}
    assert not missing


def test_every_parameter_of_a_query_is_taken_with_each_of_its_values(busy: LiveTradingEngine, desk: BookDesk) -> None:
    ask = Described(an_app_of(busy, book=desk).test_client())
    node = str(ask("GET /api/book/tree")["nodes"][0]["portfolio_node_id"])
    first = {name: ask(f"GET /{name}?limit=1")["next"] for name in (*LISTS, "api/book/briefings")}
    first["dashboard/book/briefings"] = first["api/book/briefings"]
    file = b"pair,as_of_date,rate\nUSD/INR,2026-01-13,85\n"
    batch = as_operator(ask, "/api/book/uploads?kind=fx&format=csv", file)["batch_id"]
    for route in ROUTES:
        path = templated(route.path).replace("{portfolio}", "main").replace("{position_id}", first["positions"])
        path = path.replace("{instrument}", "GOLD_MINI").replace("{node_id}", node)
        path = path.replace("{briefing_date}", first["api/book/briefings"]).replace("{batch_id}", str(batch))
        if route.method != "GET" or not route.query or route.tag in ELSEWHERE:
            continue
        for name, schema in route.query.items():
            for value in _values(name, schema, first.get(path[1:], 1)):
                ask(f"{route.method} {path}?{name}={value}")
        assert ask(f"GET {path}?colour=red", status=400)["error"]["field"] == "colour"


OF_THE_BOOK = {
    "as_of": ["2026-01-14", "2100-12-31"],
    "date": ["2026-01-14", "2100-12-31"],
    "from": ["2026-01-13"],
    "to": ["2026-01-14", "2100-12-31"],
    "currency": ["inr", "USD"],
    "node": ["1"],
    "capital": ["1000000.5"],
    "session": ["1"],
    "other": ["1"],
}


def _values(name: str, schema: Any, cursor: Any) -> list[str]:
    if name in ("before", "portfolio"):
        return [cursor if name == "before" else "main"]
    if schema.get("type") == "array":
        known = schema["items"]["enum"]
        return [*known, ",".join(known)]
    if "enum" in schema:
        return list(schema["enum"])
    if name == "of" and "pattern" in schema:
        return ["main", "1", ""]
    if name == "year":
        return [year for year in ("2026", "2025-26", "") if re.search(schema["pattern"], year)]
    if name in OF_THE_BOOK:
        return OF_THE_BOOK[name]
    if schema["type"] == "integer":
        return [str(schema["minimum"]), str(schema["maximum"])]
    return ["GOLD_MINI", "x" * 29]


def test_what_is_refused_is_refused_as_described(busy: LiveTradingEngine, desk: BookDesk) -> None:
    ask = Described(an_app_of(busy, book=desk).test_client())
    for route in ROUTES:
        path = templated(route.path).replace("{portfolio}", "main").replace("{", "").replace("}", "")
        is_command = route.needs in (Needs.TRADER, Needs.ADMIN)
        bearer = {"Authorization": BEARER} if is_command else {}
        if "portfolio" in route.query:
            told = ask(f"{route.method} {path}?portfolio=nobodys", BAR if route.body else None, status=404, **bearer)
            assert told["error"]["code"] == "unknown_portfolio"
        if is_command:
            assert ask(f"{route.method} {path}", status=401)["error"]["code"] == "unauthorized"
        if route.body is not None and route.body_type == JSON:
            large = b" " * 65537
            if not path.startswith("/orders/"):
                assert ask(f"POST {path}", b"[]", status=400, **bearer)["error"]["code"] == "malformed"
            assert ask(f"POST {path}", large, status=413, **bearer)["error"]["code"] == "too_large"
    for address in ("/positions/nothing", "/positions/%00"):
        assert ask(f"GET {address}", status=404)["error"]["code"] == "unknown_position"
    assert (
        as_operator(ask, "/orders/nothing/resolve", {"state": "cancelled"}, status=404)["error"]["code"] == "not_found"
    )
    assert ask("POST /webhook", BAR, status=403, Origin="http://localhost")["error"]["code"] == "web_page"
    assert as_operator(ask, "/handover", status=409)["error"]["code"] == "no_follower"
    assert ask("GET /api/book/briefings/2026-01-17", status=404)["error"]["code"] == "not_found"
    for address in ("/2026-1-14", "/2026-02-30", "/2026-02-30/page", "?before=20260114"):
        field = ask(f"GET /api/book/briefings{address}", status=400)["error"]["field"]
        assert field == ("before" if "?" in address else "briefing_date")
    busy.reconcile_with_broker = None
    assert as_operator(ask, "/reconcile", status=409)["error"]["code"] == "no_broker"


# --- other states


def test_a_follower_and_several_portfolios_answer_as_described(dsn: str, tmp_path: Path) -> None:
    migrate(dsn, "beta")
    with (
        an_engine(dsn, clock=Clock(minutes(3))),
        a_follower(dsn) as follower,
        DatabaseStateManager(dsn, portfolio="beta") as manager,
    ):
        beta = LiveTradingEngine(manager, without_waiting(), clock=Clock(minutes(20)))
        ask = Described(an_app_of(follower, beta).test_client())
        # beta has not been started.
        assert ask("GET /ready")["not_ready"] == ["beta"]
        beta.start()
        try:
            assert {each["portfolio"]: each["role"] for each in ask("GET /portfolios")["portfolios"]} == {
                "main": "follower",
                "beta": "leader",
            }
            assert ask("GET /status?portfolio=main")["leader"] is False
            assert ask("GET /leader?portfolio=main", status=503) == {"leader": False}
            assert ask("GET /leader", status=400)["error"]["field"] == "portfolio"
            assert ask("GET /status?portfolio=beta")["leader"] is True
            assert ask("GET /status", status=400)["error"]["field"] == "portfolio"
            assert ask("POST /webhook/beta", BASE)["status"] == "executed"
            assert ask("GET /positions?portfolio=beta")["positions"][0]["status"] == "open"
            assert as_operator(ask, "/handover?portfolio=main")["status"] == "follower"
            told = as_operator(ask, "/halt?portfolio=main", status=503)["error"]
            assert told["code"] == "unavailable"
        finally:
            beta.stop()


def test_while_the_database_is_away_it_is_answered_as_described(proxy: Proxy, spool: Spool) -> None:
    with an_engine(proxy.dsn, spool=spool, clock=Clock(minutes(20))) as engine:
        ask = Described(an_app_of(engine).test_client())
        assert ask("GET /status")["spool"]["usable"] is True
        proxy.refuse(True)
        assert ask("POST /webhook", BASE, status=202)["status"] == "queued"
        assert ask("POST /webhook/main", BAR, status=202)["status"] == "queued"
        assert ask("GET /db/status", status=503)["connected"] is False
        assert ask("GET /positions", status=503)["error"]["code"] == "database_away"
        assert ask("GET /status")["backlog"] == 2
        assert as_operator(ask, "/halt", {"request_id": "h"}, status=503)["error"]["code"] in ("unavailable", "unknown")
        proxy.refuse(False)
        assert eventually(lambda: engine.backlog()["spool"]["kept"] == 0)


def test_a_flip_and_what_comes_too_often_are_answered_as_described() -> None:
    engine = FakeEngine()
    app = an_app(engine, intake=TRADINGVIEW, rate_limits={"per_address": "2/minute"})
    ask = Described(app.test_client())
    ask.environment["REMOTE_ADDR"] = "203.0.113.7"
    assert len(ask("POST /webhook", FLIP)["signals"]) == 2
    engine.answers = lambda: Answer(kind=AnswerKind.QUEUED) if len(engine.signals) == 4 else decided()
    assert ask("POST /webhook", FLIP, status=202)["signals"][1]["status"] == "queued"
    assert ask("POST /webhook", FLIP, status=429)["error"]["code"] == "rate_limited"


def test_an_engine_that_is_not_there_yet_is_told_of_as_described() -> None:
    engine = FakeEngine()
    engine.ready, engine.reads.away = False, True
    ask = Described(an_app(engine).test_client())
    assert ask("GET /ready", status=503)["ready"] is False
    assert ask("GET /db/status", status=503)["error"]["code"] == "database_away"
