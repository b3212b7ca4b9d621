"""The JSON API: lists, status, the operator's commands, and the form of every answer."""

import json
import os
import stat
import threading
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from enum import StrEnum
from pathlib import Path
from typing import Any

import pytest
from flask import abort
from flask.testing import FlaskClient
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs
from msgspec.structs import replace
from structlog.testing import capture_logs
from werkzeug.test import TestResponse

from core.errors import ConfigurationError, DatabaseAway
from core.inputs import AdoptPosition, ClosePositions, Freeze, Halt, IgnoreFinding, MoveCapital, Resume, Roll, WriteOff
from core.models import PyramidingState
from core.orders import OrderState
from live.answers import Answer, AnswerKind
from live.api.encoding import decimal_text, encode
from live.app import create_app
from live.brokers.port import BrokerAway
from live.operators import Operators
from live.portfolios import Portfolios
from live.reconcile import Finding, FindingKind
from live.secrets import TOKEN_FILE, is_loopback, operator_token, require_safe_bind
from tests.builders import NOON, a_position
from tests.fake_engine import BASE_ENTRY, TOKEN, FakeEngine, an_app, decided, error_of, served_by

BEARER = {"Authorization": f"Bearer {TOKEN}"}
GETS = ["/positions", "/positions/GOLD_MINI-Long_1-abc", "/orders", "/signals", "/journal", "/webhook/stats"]
GETS += ["/status", "/db/status", "/health", "/ready", "/portfolios"]
MOMENTS = ["/db/status", "/health", "/ready"]
POSTS = ["/halt", "/resume", "/positions/ALL/close", "/positions/GOLD_MINI-Long_1-abc/close", "/capital"]
POSTS += ["/reconcile/adopt", "/reconcile/write-off", "/reconcile/ignore"]


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


@pytest.fixture
def client(engine: FakeEngine) -> FlaskClient:
    return an_app(engine).test_client()


def post(client: FlaskClient, path: str, body: bytes | str = b"", **headers: str) -> TestResponse:
    return client.post(path, data=body, headers={**BEARER, **headers})


def _adoption(**changes: Any) -> str:
    return json.dumps({"instrument": "GOLD_MINI", "layer": "Long_1", "lots": 2, "price": 72000, **changes})


# --- the form of answers ------------------------------------------------------------------------------------------


class Colour(StrEnum):
    RED = "red"


@pytest.mark.parametrize(
    "value, text",
    [
        (Decimal("5000000.0000"), '"5000000"'),
        (Decimal("5E+6"), '"5000000"'),
        (Decimal("52000.50000000"), '"52000.5"'),
        (Decimal("0E-8"), '"0"'),
        (Decimal("-0.000"), '"0"'),
        (Decimal("-1.10"), '"-1.1"'),
        (Decimal("0.00000001"), '"0.00000001"'),
        (datetime(2026, 1, 14, 6, 15, tzinfo=UTC), '"2026-01-14T06:15:00Z"'),
        (datetime(2026, 1, 14, 11, 45, 0, 5, tzinfo=timezone(timedelta(hours=5.5))), '"2026-01-14T06:15:00.000005Z"'),
        (date(2026, 1, 14), '"2026-01-14"'),
        (Colour.RED, '"red"'),
        ((1, True, None, 0.5), "[1,true,null,0.5]"),
        ({"a": {"b": Decimal(1)}}, '{"a":{"b":"1"}}'),
        ("é", '"é"'),
    ],
)
def test_a_value_has_one_form(value: Any, text: str) -> None:
    assert encode(value).decode() == text


@given(st.decimals(allow_nan=False, allow_infinity=False, places=8, min_value=-(10**12), max_value=10**12))
def test_a_decimal_survives_its_text(value: Decimal) -> None:
    text = decimal_text(value)
    assert Decimal(text) == value
    assert "E" not in text
    assert not (text.endswith((".", "0")) and "." in text)


def test_a_value_without_a_form_is_an_error_not_a_guess() -> None:
    with pytest.raises(TypeError, match="object has no form"):
        encode(object())


@pytest.mark.parametrize("path", GETS)
def test_every_view_is_json_that_nothing_on_the_way_serves_to_another(client: FlaskClient, path: str) -> None:
    response = client.get(path)
    assert (response.status_code, response.mimetype) == (200, "application/json")
    assert response.headers["Cache-Control"] == ("no-store" if path in MOMENTS else "private, no-cache")
    assert ("ETag" in response.headers) == (path not in MOMENTS)


@pytest.mark.parametrize("path", [path for path in GETS if path not in MOMENTS])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("form", ["{}", "W/{}", '"another", {}', "*"])
def test_what_is_known_already_is_not_told_again(client: FlaskClient, path: str, method: str, form: str) -> None:
    etag = client.get(path).headers["ETag"]
    response = client.open(path, method=method, headers={"If-None-Match": form.format(etag)})
    assert (response.status_code, response.data, response.headers["ETag"]) == (304, b"", etag)
    assert response.headers["Cache-Control"] == "private, no-cache"


@pytest.mark.parametrize("known", ['"0123456789abcdef0123456789abcdef"', "W/", "nothing", ""])
def test_what_is_not_known_is_told(client: FlaskClient, known: str) -> None:
    response = client.get("/positions", headers={"If-None-Match": known})
    assert (response.status_code, response.get_json()["next"]) == (200, None)


def test_the_etag_is_another_as_soon_as_the_answer_is(client: FlaskClient, engine: FakeEngine) -> None:
    before = client.get("/status").headers["ETag"]
    engine.status = lambda: {"halted": True}  # type: ignore[method-assign]
    response = client.get("/status", headers={"If-None-Match": before})
    assert (response.status_code, response.get_json()) == (200, {"halted": True})
    assert response.headers["ETag"] != before


@pytest.mark.parametrize("path", ["/positions/nothing", "/positions?limit=0", "/status?portfolio=alpha"])
def test_an_error_is_kept_by_nobody_and_has_no_etag(client: FlaskClient, path: str) -> None:
    response = client.get(path, headers={"If-None-Match": "*"})
    assert response.status_code in (400, 404)
    assert (response.headers["Cache-Control"], response.headers.get("ETag")) == ("no-store", None)


@pytest.mark.parametrize("path", ["/halt", "/reconcile/ignore", "/webhook", "/handover"])
def test_what_is_posted_is_answered_to_nobody_else(client: FlaskClient, path: str) -> None:
    body = {"/webhook": json.dumps(BASE_ENTRY), "/reconcile/ignore": '{"instrument": "GOLD_MINI", "difference": 1}'}
    response = post(client, path, body.get(path, ""), **{"If-None-Match": "*"})
    assert response.status_code == 200
    assert (response.headers["Cache-Control"], response.headers.get("ETag")) == ("no-store", None)


@pytest.mark.parametrize("path", GETS)
def test_head_is_get_without_the_body(client: FlaskClient, path: str) -> None:
    response = client.head(path)
    assert (response.status_code, response.data) == (200, b"")
    assert response.headers["Content-Length"] == client.get(path).headers["Content-Length"]


@pytest.mark.parametrize("path", [*GETS, *POSTS, "/webhook"])
def test_options_tells_the_methods(client: FlaskClient, engine: FakeEngine, path: str) -> None:
    response = client.options(path)
    assert response.status_code == 200
    assert "OPTIONS" in response.headers["Allow"]
    assert (engine.commands, engine.reads.asked) == ([], [])


@pytest.mark.parametrize("path", [path for path in GETS if "webhook" not in path])
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_a_view_takes_no_other_method(client: FlaskClient, path: str, method: str) -> None:
    response = client.open(path, method=method)
    assert response.status_code == 405
    assert response.headers["Allow"] == "GET, HEAD, OPTIONS"
    assert error_of(response)["code"] == "method_not_allowed"


def test_a_server_error_of_flasks_own_is_a_503_too(engine: FakeEngine) -> None:
    app = an_app(engine)
    app.add_url_rule("/down", view_func=lambda: abort(504))
    response = app.test_client().get("/down")
    assert (response.status_code, error_of(response)["code"]) == (503, "internal")


@pytest.mark.parametrize("path", ["/nothing", "/positions/", "/positions//close", "/positions//", "/webhook/a/b/c"])
def test_an_address_of_nothing_is_a_404(client: FlaskClient, path: str) -> None:
    response = client.get(path)
    assert response.status_code == 404
    error_of(response)


# --- query parameters ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", GETS)
def test_every_view_takes_the_served_portfolio_and_no_other(client: FlaskClient, path: str) -> None:
    assert client.get(path, query_string={"portfolio": "main"}).status_code == 200
    response = client.get(path, query_string={"portfolio": "alpha"})
    assert response.status_code == 404
    assert error_of(response)["code"] == "unknown_portfolio"


@pytest.mark.parametrize("path", GETS)
def test_an_unknown_parameter_is_refused_with_those_allowed(client: FlaskClient, path: str) -> None:
    response = client.get(path, query_string={"colour": "red"})
    error = error_of(response)
    assert (response.status_code, error["field"]) == (400, "colour")
    assert "`portfolio`" in error["message"]


@pytest.mark.parametrize(
    "path, query, field, rule",
    [
        ("/positions", "limit=0", "limit", "1 to 1000"),
        ("/positions", "limit=1001", "limit", "1 to 1000"),
        ("/positions", "limit=-1", "limit", "1 to 1000"),
        ("/positions", "limit=ten", "limit", "1 to 1000"),
        ("/positions", "limit=", "limit", "1 to 1000"),
        ("/positions", "limit=%D9%A1", "limit", "1 to 1000"),
        ("/positions", "limit=1&limit=2", "limit", "given twice"),
        ("/positions", "status=closing", "status", "open, partial, closed, all"),
        ("/positions", "status=", "status", "open, partial, closed, all"),
        ("/positions", "instrument=BANK-NIFTY", "instrument", "1 to 29 letters"),
        ("/positions", "instrument=%00", "instrument", "1 to 29 letters"),
        ("/positions", "before=nothing", "before", "id of a position"),
        ("/positions", "before=%00", "before", "id of a position"),
        (
            "/orders",
            "state=open",
            "state",
            "intent, sent, working, partial, filled, cancelled, rejected, in_doubt, all",
        ),
        ("/orders", "state=", "state", "one or more, with commas"),
        ("/orders", "state=sent&state=working", "state", "given twice"),
        ("/orders", "status=sent", "status", "not a parameter here; allowed: `portfolio`, `state`"),
        ("/orders", "limit=1001", "limit", "1 to 1000"),
        ("/orders", "before=pm1-0-e1", "before", "id of an order"),
        ("/orders", "before=", "before", "id of an order"),
        ("/orders", "before=%00", "before", "id of an order"),
        ("/orders", f"before={'x' * 41}", "before", "id of an order"),
        ("/signals", "status=open", "status", "received, accepted"),
        ("/signals", "before=x", "before", "whole number"),
        ("/signals", "before=9223372036854775808", "before", "whole number"),
        ("/journal", "before=0", "before", "whole number"),
        ("/journal", "instrument=GOLD_MINI", "instrument", "not a parameter"),
    ],
)
def test_a_bad_value_is_refused_by_name(
    client: FlaskClient, engine: FakeEngine, path: str, query: str, field: str, rule: str
) -> None:
    response = client.get(f"{path}?{query}")
    assert response.status_code == 400
    assert (error_of(response)["code"], error_of(response)["field"]) == ("malformed", field)
    assert rule in error_of(response)["message"]
    assert engine.reads.asked == []


# --- lists --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "query, asked",
    [
        ("", {"statuses": None, "instrument": None, "limit": 101, "before": None}),
        ("status=all&limit=1000", {"statuses": None, "instrument": None, "limit": 1001, "before": None}),
        ("status=partial,OPEN", {"statuses": ["open", "partial"], "instrument": None, "limit": 101, "before": None}),
        (
            "instrument=gold_mini&before=GOLD_MINI-Long_1-abc",
            {"statuses": None, "instrument": "GOLD_MINI", "limit": 101, "before": "GOLD_MINI-Long_1-abc"},
        ),
    ],
)
def test_positions_are_listed_as_asked(
    client: FlaskClient, engine: FakeEngine, query: str, asked: dict[str, Any]
) -> None:
    assert client.get(f"/positions?{query}").get_json() == {"positions": [], "next": None}
    assert engine.reads.asked == [("positions", asked)]


@pytest.mark.parametrize(
    "query, asked",
    [
        ("", {"states": None, "instrument": None, "limit": 101, "before": None}),
        ("state=all,sent&limit=1", {"states": None, "instrument": None, "limit": 2, "before": None}),
        (
            "state=working, IN_DOUBT",
            {"states": ["in_doubt", "working"], "instrument": None, "limit": 101, "before": None},
        ),
        (
            "instrument=gold_mini&before=pm4-0123456789ab-e1",
            {"states": None, "instrument": "GOLD_MINI", "limit": 101, "before": "pm4-0123456789ab-e1"},
        ),
    ],
)
def test_orders_are_listed_as_asked(client: FlaskClient, engine: FakeEngine, query: str, asked: dict[str, Any]) -> None:
    assert client.get(f"/orders?{query}").get_json() == {"orders": [], "next": None}
    assert engine.reads.asked == [("orders", asked)]


def test_a_page_of_orders_names_the_last_one_and_its_figures_read_like_all_others(
    client: FlaskClient, engine: FakeEngine
) -> None:
    fill = {"fill_id": "f1", "number": 1, "lots": 2, "price": Decimal("52000.50000000"), "filled_at": NOON}
    plan = {"stop": "51650.00000000", "atr": None, "limiter": "risk", "entry_timestamp": "2026-01-14T06:15:00Z"}
    engine.reads.rows = [
        {"client_order_id": "b", "plan": plan, "fills": [fill]},
        {"client_order_id": "a", "plan": None, "fills": []},
    ]
    told = client.get("/orders?limit=1").get_json()
    assert told["next"] == "b"
    assert told["orders"] == [
        {
            "client_order_id": "b",
            "plan": {**plan, "stop": "51650"},
            "fills": [{**fill, "price": "52000.5", "filled_at": "2026-01-14T06:15:00Z"}],
        }
    ]
    assert client.get("/orders?limit=2").get_json()["next"] is None


@pytest.mark.parametrize("path, name, key", [("/signals", "signals", "id"), ("/journal", "journal", "seq")])
def test_a_page_that_is_not_the_last_names_where_the_next_one_begins(
    client: FlaskClient, engine: FakeEngine, path: str, name: str, key: str
) -> None:
    engine.reads.rows = [{key: number} for number in (9, 8, 7)]
    assert client.get(f"{path}?limit=2").get_json() == {name: [{key: 9}, {key: 8}], "next": 8}
    assert client.get(f"{path}?limit=3").get_json() == {name: [{key: 9}, {key: 8}, {key: 7}], "next": None}
    assert client.get(f"{path}?limit=3&before=12").status_code == 200
    assert engine.reads.asked[-1][1]["before"] == 12


def test_a_signals_stored_figures_read_like_all_other_numbers(client: FlaskClient, engine: FakeEngine) -> None:
    engine.reads.rows = [
        {"id": 2, "outcome": {"status": "executed", "sizing": {"lot_r": "7.500000", "note": "x", "n": None}}},
        {"id": 1, "outcome": None},
    ]
    first, second = client.get("/signals").get_json()["signals"]
    assert first["outcome"]["sizing"] == {"lot_r": "7.5", "note": "x", "n": None}
    assert second["outcome"] is None


def test_a_position_is_told_by_its_columns(client: FlaskClient) -> None:
    told = client.get("/positions/GOLD_MINI-Long_1-abc").get_json()
    assert set(told) == set(a_position().__struct_fields__)
    assert (told["entry_price"], told["status"], told["mark_time"]) == ("72000", "open", "2026-01-14T06:15:00Z")


@pytest.mark.parametrize("position_id", ["nothing", "a%00b", "%ff", "x" * 51, "%0A"])
def test_a_position_that_does_not_exist_is_a_404(client: FlaskClient, position_id: str) -> None:
    response = client.get(f"/positions/{position_id}")
    assert response.status_code == 404
    assert error_of(response)["code"] == "unknown_position"


def test_the_counts_are_by_type_and_by_outcome(client: FlaskClient, engine: FakeEngine) -> None:
    engine.reads.rows = [
        {"signal_type": "EXIT", "processing_status": "executed", "signals": 3, "duplicates": Decimal(2)},
        {"signal_type": "EXIT", "processing_status": "rejected", "signals": 1, "duplicates": 0},
        {"signal_type": "PYRAMID", "processing_status": "executed", "signals": 4, "duplicates": 1},
    ]
    told = client.get("/webhook/stats").get_json()
    assert (told["signals"], told["duplicates"]) == (8, 3)
    assert told["by_type"] == {"EXIT": 4, "PYRAMID": 4}
    assert told["by_outcome"] == {"executed": 7, "rejected": 1}
    assert told["counts"][0]["duplicates"] == 2


# --- status -------------------------------------------------------------------------------------------------------


def test_the_status_has_the_portfolio_at_its_top_level(client: FlaskClient) -> None:
    told = client.get("/status").get_json()
    assert told == {"initial_capital": "5000000", "halted": False, "term": 3, "since": "2026-01-14T06:15:00Z"}


def test_the_databases_status_is_200_while_it_answers_and_503_while_it_is_away(
    client: FlaskClient, engine: FakeEngine
) -> None:
    told = client.get("/db/status")
    assert (told.status_code, told.get_json()["connected"], told.get_json()["latency_ms"]) == (200, True, 0.25)
    engine.reads.away = True
    told = client.get("/db/status")
    assert (told.status_code, told.get_json()["connected"]) == (503, False)
    assert error_of(told)["code"] == "database_away"


@pytest.mark.parametrize("away", [False, True])
def test_the_backlog_is_told_whether_the_database_is_there_or_not(
    client: FlaskClient, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch, away: bool
) -> None:
    engine.reads.away = away

    def status() -> dict[str, Any]:
        if away:
            raise DatabaseAway("the engine has not loaded its state yet")
        return engine.backlog()

    monkeypatch.setattr(engine, "status", status)
    for path in ("/status", "/db/status"):
        told = client.get(path)
        assert told.status_code == (503 if away else 200)
        assert told.get_json()["backlog"] == 2
        assert told.get_json()["spool"] == {"kept": 1, "set_aside": 0, "usable": True}


def test_ready_is_503_until_signals_can_be_kept_while_health_is_200(client: FlaskClient, engine: FakeEngine) -> None:
    engine.ready = False
    response = client.get("/ready")
    assert (response.status_code, error_of(response)["code"]) == (503, "not_ready")
    assert client.get("/health").status_code == 200
    engine.ready = True
    assert client.get("/ready").status_code == 200


@pytest.mark.parametrize(
    "path", ["/positions", "/positions/x", "/positions?before=x", "/signals", "/journal", "/orders", "/orders?before=x"]
)
def test_a_view_of_a_database_that_is_away_is_a_503(client: FlaskClient, engine: FakeEngine, path: str) -> None:
    engine.reads.away = True
    response = client.get(path)
    assert response.status_code == 503
    assert error_of(response)["code"] == "database_away"


# --- the operator -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "authorization",
    [None, "", "Bearer", "Bearer ", f"Basic {TOKEN}", TOKEN, f"Bearer {TOKEN}x", "Bearer é", f"Bearer {TOKEN} x"],
)
@pytest.mark.parametrize("path", POSTS)
def test_a_command_needs_the_operators_token_even_on_loopback(
    client: FlaskClient, engine: FakeEngine, path: str, authorization: str | None
) -> None:
    headers = {} if authorization is None else {"Authorization": authorization}
    with capture_logs() as logs:
        response = client.post(
            path, data=b"not even JSON", headers=headers, environ_overrides={"REMOTE_ADDR": "127.0.0.1"}
        )
    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"].startswith("Bearer")
    assert error_of(response)["code"] == "unauthorized"
    assert engine.commands == []
    assert TOKEN not in repr(logs)


def test_the_scheme_may_be_written_in_any_case(client: FlaskClient) -> None:
    assert client.post("/halt", headers={"Authorization": f"bearer {TOKEN}"}).status_code == 200


@pytest.mark.parametrize(
    "path, body, command",
    [
        ("/halt", "", Halt()),
        ("/halt", "  ", Halt()),
        ("/halt", '{"reason":" news ","request_id":"r-1"}', Halt(reason="news", request_id="r-1")),
        ("/halt", '{"reason":null}', Halt()),
        ("/resume", "{}", Resume()),
        ("/resume", '{"instrument":"gold_mini"}', Resume(instrument="GOLD_MINI")),
        ("/positions/ALL/close", "", ClosePositions(position_id="ALL")),
        (
            "/positions/GOLD_MINI-Long_1-abc/close",
            '{"price":"72100.50","reason":"news"}',
            ClosePositions(position_id="GOLD_MINI-Long_1-abc", price=Decimal("72100.5"), reason="news"),
        ),
        ("/positions/ALL/close", '{"reason":""}', ClosePositions(position_id="ALL")),
        ("/positions/ALL/close", '{"price":1}', ClosePositions(position_id="ALL", price=Decimal(1))),
        ("/capital", '{"amount":1e5}', MoveCapital(amount=Decimal(100000))),
        ("/capital", '{"amount":"-0.0001","note":"fee"}', MoveCapital(amount=Decimal("-0.0001"), note="fee")),
        ("/capital", '{"amount":1.50000}', MoveCapital(amount=Decimal("1.5"))),
        ("/capital", '{"amount":9999999999999999.9999}', MoveCapital(amount=Decimal("9999999999999999.9999"))),
        (
            "/reconcile/adopt",
            _adoption(instrument="gold_mini", layer="long_1", lots="2", price="72000.50", stop=71500, atr="500")[:-1]
            + ',"symbol":" GOLDM05FEB26FUT ","request_id":"r"}',
            AdoptPosition(
                request_id="r",
                instrument="GOLD_MINI",
                layer="Long_1",
                lots=2,
                price=Decimal("72000.5"),
                stop=Decimal(71500),
                atr=Decimal(500),
                symbol="GOLDM05FEB26FUT",
            ),
        ),
        (
            "/reconcile/adopt",
            '{"instrument":"COPPER","layer":"SHORT_6","lots":1,"price":830}',
            AdoptPosition(instrument="COPPER", layer="Short_6", lots=1, price=Decimal(830)),
        ),
        (
            "/reconcile/write-off",
            '{"position_id":"GOLD_MINI-Long_1-abc","price":71800}',
            WriteOff(position_id="GOLD_MINI-Long_1-abc", price=Decimal(71800)),
        ),
        (
            "/reconcile/write-off",
            '{"position_id":"p","lots":1,"price":"0.00000001","reason":"by hand","request_id":"r"}',
            WriteOff(request_id="r", position_id="p", lots=1, price=Decimal("1e-8"), reason="by hand"),
        ),
        (
            "/reconcile/ignore",
            '{"instrument":"gold_mini","difference":"-250.5"}',
            IgnoreFinding(instrument="GOLD_MINI", difference=Decimal("-250.5")),
        ),
        (
            "/reconcile/ignore",
            '{"instrument":"COPPER","difference":0,"request_id":"r"}',
            IgnoreFinding(request_id="r", instrument="COPPER", difference=Decimal(0)),
        ),
        ("/rollover/scan", "{}", Roll(day=date(2026, 1, 21))),
        (
            "/rollover/execute",
            '{"position_id":"GOLD_MINI-Long_1-abc","request_id":"r"}',
            Roll(request_id="r", day=date(2026, 1, 21), execute=True, position_id="GOLD_MINI-Long_1-abc"),
        ),
    ],
)
def test_a_command_is_carried_out_as_given(
    client: FlaskClient, engine: FakeEngine, path: str, body: str, command: Any
) -> None:
    response = post(client, path, body)
    assert response.status_code == 200
    assert engine.commands == [command]
    told = response.get_json()
    assert (told["status"], told["positions"], told["lots"], told["journal_seq"]) == ("executed", [], 2, 12)


@pytest.mark.parametrize(
    "path, body, field, rule",
    [
        ("/halt", '{"why":"x"}', "why", "allowed: `instrument`, `reason`, `request_id`"),
        ("/halt", '{"reason":1}', "reason", "a string"),
        ("/halt", '{"reason":"' + "x" * 201 + '"}', "reason", "longer than 200"),
        ("/halt", '{"request_id":"' + "x" * 101 + '"}', "request_id", "1 to 100 printable"),
        ("/halt", '{"request_id":""}', "request_id", "1 to 100 printable"),
        ("/halt", '{"request_id":" "}', "request_id", "1 to 100 printable"),
        ("/halt", '{"request_id":"a\\nb"}', "request_id", "1 to 100 printable"),
        ("/halt", '{"request_id":7}', "request_id", "1 to 100 printable"),
        ("/halt", '{"reason":"a","reason":"b"}', "reason", "given twice"),
        ("/halt", '{"reason":"a\\u0000"}', "reason", "NUL"),
        ("/halt", "[]", None, "one JSON object"),
        ("/halt", "halt", None, "not JSON"),
        ("/resume", '{"instrument":"A-B"}', "instrument", "1 to 29 letters"),
        ("/resume", '{"instrument":5}', "instrument", "1 to 29 letters"),
        ("/positions/ALL/close", '{"price":0}', "price", "above 0"),
        ("/positions/ALL/close", '{"price":-1}', "price", "above 0"),
        ("/positions/ALL/close", '{"price":"market"}', "price", "a number"),
        ("/positions/ALL/close", '{"price":0.000000001}', "price", "more than 8 decimals"),
        ("/positions/ALL/close", '{"price":1e10}', "price", "too many digits"),
        ("/positions/ALL/close", '{"lots":1}', "lots", "not a field"),
        ("/capital", "", "amount", "required"),
        ("/capital", '{"amount":null}', "amount", "required"),
        ("/capital", '{"amount":true}', "amount", "a number"),
        ("/capital", '{"amount":"1,000"}', "amount", "a number"),
        ("/capital", '{"amount":NaN}', "amount", "finite"),
        ("/capital", '{"amount":1.00001}', "amount", "more than 4 decimals"),
        ("/capital", '{"amount":1e-999}', "amount", "more than 4 decimals"),
        ("/capital", '{"amount":1.' + "0" * 90 + "1}", "amount", "too many digits"),
        ("/capital", '{"amount":1e16}', "amount", "too many digits"),
        ("/capital", '{"amount":-1e999}', "amount", "too many digits"),
        ("/capital", '{"amount":1,"note":"' + "x" * 501 + '"}', "note", "longer than 500"),
        *(
            ("/reconcile/adopt", _adoption(**{name: None}), name, "required")
            for name in ("instrument", "layer", "lots")
        ),
        ("/reconcile/adopt", _adoption(price=None), "price", "required"),
        ("/reconcile/adopt", _adoption(instrument="A-B"), "instrument", "1 to 29 letters"),
        *(
            ("/reconcile/adopt", _adoption(layer=layer), "layer", "Long_1 to Long_6")
            for layer in ("ALL", "Long_7", "Long")
        ),
        *(("/reconcile/adopt", _adoption(lots=lots), "lots", "1 to 2147483647") for lots in (0, -1, 2**31)),
        ("/reconcile/adopt", _adoption(lots=1.5), "lots", "more than 0 decimals"),
        *(("/reconcile/adopt", _adoption(**{name: 0}), name, "above 0") for name in ("price", "stop", "atr")),
        ("/reconcile/adopt", _adoption(stop="none"), "stop", "a number"),
        ("/reconcile/adopt", _adoption(atr="1e10"), "atr", "too many digits"),
        ("/reconcile/adopt", _adoption(symbol="x" * 51), "symbol", "longer than 50"),
        ("/reconcile/adopt", _adoption(side="long"), "side", "not a field"),
        ("/reconcile/write-off", '{"price":1}', "position_id", "required"),
        ("/reconcile/write-off", '{"position_id":"' + "x" * 51 + '","price":1}', "position_id", "longer than 50"),
        ("/reconcile/write-off", '{"position_id":"p"}', "price", "required"),
        ("/reconcile/write-off", '{"position_id":"p","price":-1}', "price", "above 0"),
        ("/reconcile/write-off", '{"position_id":"p","price":1,"lots":0}', "lots", "1 to 2147483647"),
        (
            "/reconcile/write-off",
            '{"position_id":"p","price":1,"reason":"' + "x" * 201 + '"}',
            "reason",
            "longer than 200",
        ),
        ("/reconcile/ignore", '{"difference":1}', "instrument", "required"),
        ("/reconcile/ignore", '{"instrument":"COPPER"}', "difference", "required"),
        ("/reconcile/ignore", '{"instrument":"COPPER","difference":"all"}', "difference", "a number"),
        ("/reconcile/ignore", '{"instrument":"COPPER","difference":1e12}', "difference", "too many digits"),
        ("/reconcile/ignore", '{"instrument":"COPPER","difference":1e-9}', "difference", "more than 8 decimals"),
    ],
)
def test_a_bad_command_is_refused_by_field_and_rule(
    client: FlaskClient, engine: FakeEngine, path: str, body: str, field: str | None, rule: str
) -> None:
    response = post(client, path, body)
    error = error_of(response)
    assert (response.status_code, error["code"], error.get("field")) == (400, "malformed", field)
    assert rule in error["message"]
    assert engine.commands == []


@pytest.mark.parametrize("path", POSTS)
def test_a_command_above_64_kib_is_refused(client: FlaskClient, engine: FakeEngine, path: str) -> None:
    response = post(client, path, b" " * 65537)
    assert (response.status_code, error_of(response)["code"]) == (413, "too_large")
    assert engine.commands == []


def test_closing_a_position_that_does_not_exist_is_a_404(client: FlaskClient, engine: FakeEngine) -> None:
    response = post(client, "/positions/nothing/close")
    assert (response.status_code, error_of(response)["code"]) == (404, "unknown_position")
    assert engine.commands == []


def test_one_price_cannot_close_several_instruments(client: FlaskClient, engine: FakeEngine) -> None:
    gold = a_position()
    silver = a_position("SILVER_MINI-Long_1-abc", instrument="SILVER_MINI")
    engine.portfolio = engine.portfolio.with_position(gold).with_position(silver)
    response = post(client, "/positions/ALL/close", '{"price":1}')
    assert (response.status_code, error_of(response)["field"]) == (400, "price")
    assert post(client, "/positions/ALL/close").status_code == 200


def test_a_refused_command_says_why(client: FlaskClient, engine: FakeEngine) -> None:
    engine.answers = lambda: decided(status="rejected", reason="amount is 0", lots=None)
    told = post(client, "/capital", '{"amount":0}').get_json()
    assert (told["status"], told["reason"]) == ("rejected", "amount is 0")


def test_one_instrument_can_be_halted_alone(client: FlaskClient, engine: FakeEngine) -> None:
    assert post(client, "/halt", '{"instrument":"gold_mini","reason":"delivery"}').status_code == 200
    assert engine.commands == [Freeze(instrument="GOLD_MINI", reason="delivery")]


@pytest.mark.parametrize("path", ["/halt", "/resume"])
def test_an_instrument_that_nobody_knows_is_neither_frozen_nor_lifted(
    client: FlaskClient, engine: FakeEngine, path: str
) -> None:
    response = post(client, path, '{"instrument":"gold_mint"}')
    error = error_of(response)
    assert (response.status_code, error["code"], error["field"]) == (400, "unknown_instrument", "instrument")
    assert "GOLD_MINT is not configured; did you mean GOLD_MINI?" in error["message"]
    assert engine.commands == []


def test_the_freeze_of_an_instrument_that_is_no_longer_configured_can_be_lifted(
    client: FlaskClient, engine: FakeEngine
) -> None:
    frozen = PyramidingState(instrument="OLD_ONE", frozen_reason="operator")
    engine.portfolio = replace(engine.portfolio, pyramiding=engine.portfolio.pyramiding.set("OLD_ONE", frozen))
    assert post(client, "/resume", '{"instrument":"old_one"}').status_code == 200
    assert engine.commands == [Resume(instrument="OLD_ONE")]


def test_an_order_that_is_not_there_cannot_be_resolved(client: FlaskClient, engine: FakeEngine) -> None:
    assert post(client, "/orders/nope/resolve", '{"state":"cancelled"}').status_code == 404
    assert engine.resolved == []


def test_the_operator_says_what_became_of_an_order(client: FlaskClient, engine: FakeEngine) -> None:
    engine.reads.known_orders = {"pm4-abc-e1"}
    body = '{"state":"filled","lots":2,"price":"58412.5","broker_order_id":"B7","request_id":"r"}'
    assert post(client, "/orders/pm4-abc-e1/resolve", body).status_code == 200
    given = {"lots": 2, "price": Decimal("58412.50000000"), "broker_order_id": "B7", "request_id": "r"}
    assert engine.resolved == [("pm4-abc-e1", OrderState.FILLED, given)]
    assert post(client, "/orders/pm4-abc-e1/resolve", '{"state":"cancelled"}').status_code == 200
    assert engine.resolved[1][2]["lots"] == 0


@pytest.mark.parametrize(
    "body, field",
    [
        ("{}", "state"),
        ('{"state":"working"}', "state"),
        ('{"state":"filled"}', "lots"),
        ('{"state":"filled","lots":2}', "lots"),
        ('{"state":"filled","price":2}', "lots"),
        ('{"state":"filled","lots":0,"price":2}', "lots"),
        ('{"state":"filled","lots":1.5,"price":2}', "lots"),
    ],
)
def test_a_resolution_that_says_nothing_is_refused(
    client: FlaskClient, engine: FakeEngine, body: str, field: str
) -> None:
    response = post(client, "/orders/pm4-abc-e1/resolve", body)
    assert (response.status_code, error_of(response)["field"]) == (400, field)
    assert engine.resolved == []


def test_findings_are_told_with_how_many_differ(client: FlaskClient, engine: FakeEngine) -> None:
    finding = Finding(
        kind=FindingKind.DIFFERS,
        symbol="X",
        exchange="NFO",
        instrument="BANK_NIFTY",
        ours=Decimal(60),
        broker=Decimal(30),
    )
    engine.findings = (finding, structs.replace(finding, symbol="Y", kind=FindingKind.MATCHED))
    told = post(client, "/reconcile").get_json()
    assert told["mismatches"] == 1
    assert told["findings"][0] == {
        "kind": "quantity differs",
        "symbol": "X",
        "exchange": "NFO",
        "instrument": "BANK_NIFTY",
        "ours": "60",
        "broker": "30",
        "accepted": "0",
    }


def test_without_a_broker_or_with_one_that_is_away_nothing_is_compared(client: FlaskClient, engine: FakeEngine) -> None:
    response = post(client, "/reconcile")
    assert (response.status_code, error_of(response)["code"]) == (409, "no_broker")
    engine.findings = BrokerAway("no route")
    response = post(client, "/reconcile")
    assert (response.status_code, error_of(response)["code"]) == (503, "broker_away")


def test_a_repeated_command_is_told_its_first_outcome(client: FlaskClient, engine: FakeEngine) -> None:
    first = post(client, "/halt", '{"request_id":"r"}').get_json()
    engine.answers = lambda: Answer(kind=AnswerKind.DUPLICATE, outcome=decided().outcome, journal_seq=12)
    told = post(client, "/halt", '{"request_id":"r"}').get_json()
    assert (told["status"], told["first"]["status"], told["journal_seq"]) == ("duplicate", "executed", 12)
    assert told["first"]["lots"] == first["lots"]


@pytest.mark.parametrize("kind, code", [(AnswerKind.UNKNOWN, "unknown"), (AnswerKind.NOT_TAKEN, "unavailable")])
def test_a_command_that_could_not_be_kept_is_a_503(
    client: FlaskClient, engine: FakeEngine, kind: AnswerKind, code: str
) -> None:
    engine.answers = lambda: Answer(kind=kind)
    response = post(client, "/halt")
    assert (response.status_code, error_of(response)["code"]) == (503, code)


def test_a_command_for_another_portfolio_is_a_404(client: FlaskClient, engine: FakeEngine) -> None:
    assert post(client, "/halt?portfolio=alpha").status_code == 404
    assert post(client, "/halt?portfolio=main").status_code == 200
    assert len(engine.commands) == 1


# --- the operator's token -----------------------------------------------------------------------------------------


def test_a_configured_token_is_used_and_no_file_made(tmp_path: Path) -> None:
    assert operator_token(tmp_path, "a-token-of-16-chars") == "a-token-of-16-chars"
    assert list(tmp_path.iterdir()) == []


def test_the_first_start_makes_a_token_that_only_its_owner_reads_and_later_ones_find_it(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    token = operator_token(folder, None)
    path = folder / TOKEN_FILE
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert len(token) >= 40
    assert operator_token(folder, None) == operator_token(folder, None, create=False) == token
    assert [found.name for found in folder.iterdir()] == [TOKEN_FILE]


def test_the_token_file_is_private_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        operator_token(tmp_path, None)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / TOKEN_FILE).stat().st_mode) == 0o600


def test_starts_at_the_same_time_agree_on_a_token(tmp_path: Path) -> None:
    barrier, tokens = threading.Barrier(8), []

    def start() -> None:
        barrier.wait()
        tokens.append(operator_token(tmp_path, None))

    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(tokens) == 8
    assert len(set(tokens)) == 1
    assert len(list(tmp_path.iterdir())) == 1


def test_a_command_beside_live_makes_no_token(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="start `live` first"):
        operator_token(tmp_path, None, create=False)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644])
def test_a_token_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    operator_token(tmp_path, None)
    (tmp_path / TOKEN_FILE).chmod(mode)
    with pytest.raises(ConfigurationError, match=rf"operator\.token: others may use it \(mode {mode:04o}\)"):
        operator_token(tmp_path, None)


def test_a_token_that_is_a_link_or_a_folder_or_holds_nothing_is_refused(tmp_path: Path) -> None:
    path = tmp_path / TOKEN_FILE
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigurationError, match="cannot be read"):
        operator_token(tmp_path, None)
    path.unlink()
    path.mkdir(0o700)
    with pytest.raises(ConfigurationError, match="must be a file"):
        operator_token(tmp_path, None)
    path.rmdir()
    path.touch(0o600)
    with pytest.raises(ConfigurationError, match="16 to 1000 visible ASCII"):
        operator_token(tmp_path, None)


def test_a_folder_where_no_token_can_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "data").touch()
    with pytest.raises(ConfigurationError, match=r"operator\.token"):
        operator_token(tmp_path / "data", None)


def test_a_token_that_cannot_be_kept_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    with pytest.raises(ConfigurationError, match=r"operator\.token: cannot be made: Operation not permitted"):
        operator_token(tmp_path, None)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("token", ["short", "with spaces in it 16", "é" * 20, "x" * 1001])
def test_a_configured_token_has_to_fit_a_header(tmp_path: Path, token: str) -> None:
    with pytest.raises(ConfigurationError, match="`operator_token`"):
        operator_token(tmp_path, token)


# --- where to listen ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.10", "::1", "localhost", "LocalHost"])
def test_loopback_needs_no_secret(host: str) -> None:
    assert is_loopback(host)
    require_safe_bind(host, None)


@pytest.mark.parametrize(
    "host", ["0.0.0.0", "::", "", "192.168.1.5", "10.0.0.1", "fe80::1", "example.com", "0", "127.1"]
)
def test_a_wider_bind_needs_a_webhook_secret(host: str) -> None:
    with pytest.raises(ConfigurationError, match="PORTFOLIO_WEBHOOK_SECRET"):
        require_safe_bind(host, None)
    require_safe_bind(host, "a-secret")


def test_a_roll_of_a_position_that_is_not_there_is_404_and_asks_the_engine_for_nothing(
    client: FlaskClient, engine: FakeEngine
) -> None:
    assert post(client, "/rollover/execute", '{"position_id":"nobody"}').status_code == 404
    assert engine.commands == []


# --- several portfolios


def two_portfolios() -> tuple[FlaskClient, FakeEngine, FakeEngine]:
    alpha, beta = FakeEngine(), FakeEngine()
    alpha.portfolio_name, beta.portfolio_name = "alpha", "beta"
    served = Portfolios({engine.portfolio_name: served_by(engine) for engine in (alpha, beta)})
    return create_app(served, operators=Operators(TOKEN, Path("none")), session_secret=TOKEN).test_client(), alpha, beta


def test_of_several_portfolios_a_request_names_one_and_other_names_are_not_told() -> None:
    client, _, beta = two_portfolios()
    beta.reads.rows = [{"client_order_id": "beta's"}]
    assert client.get("/orders?portfolio=BETA").get_json()["orders"] == [{"client_order_id": "beta's"}]
    for path in (
        "/orders",
        "/positions",
        "/signals",
        "/journal",
        "/status",
        "/db/status",
        "/instances",
        "/webhook/stats",
    ):
        missing = client.get(path)
        assert (missing.status_code, error_of(missing)["field"]) == (400, "portfolio")
        unknown = client.get(f"{path}?portfolio=gamma")
        assert (unknown.status_code, error_of(unknown)["code"]) == (404, "unknown_portfolio")
        assert "alpha" not in error_of(unknown)["message"]


def test_the_portfolios_are_listed_with_their_roles() -> None:
    client, alpha, beta = two_portfolios()
    beta.role, beta.ready = "starting", False
    told = client.get("/portfolios").get_json()["portfolios"]
    assert [(each["portfolio"], each["role"], each["ready"]) for each in told] == [
        ("alpha", "leader", True),
        ("beta", "starting", False),
    ]
    assert client.get("/ready").get_json() == {"ready": True, "not_ready": ["beta"]}
    assert client.get("/ready?portfolio=beta").status_code == 503
    alpha.ready = False
    assert client.get("/ready").status_code == 503


def test_an_operators_command_reaches_the_portfolio_that_it_names_and_no_other() -> None:
    client, alpha, beta = two_portfolios()
    headers = {"Authorization": f"Bearer {TOKEN}"}
    assert client.post("/halt?portfolio=beta", headers=headers).status_code == 200
    assert (len(alpha.commands), len(beta.commands)) == (0, 1)
    assert client.post("/halt", headers=headers).status_code == 400


def test_instances_and_terms_are_listed(client: FlaskClient, engine: FakeEngine) -> None:
    engine.reads.rows = [{"term": 3}, {"term": 2}, {"term": 1}]
    assert client.get("/instances?limit=2&before=4").get_json() == {
        "instances": [{"term": 3}, {"term": 2}],
        "terms": [{"term": 3}, {"term": 2}],
        "next": 2,
    }
    assert sorted(engine.reads.asked) == [("instances", {"limit": 2}), ("terms", {"limit": 3, "before": 4})]
    assert client.get("/instances").get_json()["next"] is None


@pytest.mark.parametrize("path", ["/reconcile", "/handover"])
@pytest.mark.parametrize("request_id", [{}, 7, "", " ", "x" * 101])
def test_a_request_id_is_read_as_strictly_where_nothing_is_decided(
    client: FlaskClient, engine: FakeEngine, path: str, request_id: Any
) -> None:
    engine.findings = ()
    response = post(client, path, json.dumps({"request_id": request_id}))
    assert (response.status_code, error_of(response)["field"]) == (400, "request_id")
    assert post(client, path, '{"request_id": "once"}').status_code == 200


@pytest.mark.parametrize("lots", [0, -1, 1.5, 2**31, "2147483648"])
def test_an_order_is_resolved_with_lots_that_a_column_holds(client: FlaskClient, engine: FakeEngine, lots: Any) -> None:
    body = json.dumps({"state": "filled", "lots": lots, "price": 52000})
    response = post(client, "/orders/pm4-0123456789ab-e1/resolve", body)
    assert (response.status_code, error_of(response)["field"], engine.resolved) == (400, "lots", [])


def test_the_lead_is_handed_over_where_somebody_follows(client: FlaskClient, engine: FakeEngine) -> None:
    headers = {"Authorization": f"Bearer {TOKEN}"}
    assert client.post("/handover", headers=headers).get_json() == {"status": "handed_over"}
    engine.followed = False
    refused = client.post("/handover", headers=headers)
    assert (refused.status_code, error_of(refused)["code"]) == (409, "no_follower")
    engine.role = "follower"
    assert client.post("/handover", headers=headers).get_json() == {"status": "follower"}
    assert client.post("/handover").status_code == 401
