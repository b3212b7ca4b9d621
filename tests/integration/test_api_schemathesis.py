"""schemathesis asks the real application, from its own document, what nobody would think of: no 500, nothing undescribed.

The cases are the same each time. CRASH_FULL=1 asks ten times as many.
"""

import copy
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, assume, settings
from schemathesis import Case

from core.fingerprint import fingerprint_of
from live.api.schema.document import document
from live.app import Application
from live.engine import LiveTradingEngine
from tests.api_world import INSTRUMENTS, SILVER, a_busy_portfolio, an_app_of
from tests.builders import a_signal, minutes
from tests.fake_engine import TOKEN
from tests.integration.test_orders import GOLD

FULL = os.environ.get("CRASH_FULL") == "1"
CONFIG: dict[str, Any] = {
    "seed": 20260114,
    "generation": {"deterministic": True, "max-examples": 400 if FULL else 25, "no-shrink": not FULL},
    "phases": {"stateful": {"enabled": False}},
    "operations": [
        # POST there is an alert for a portfolio of that name.
        {
            "include-path": "/webhook/stats",
            "checks": {"allow_header_conformance": {"enabled": False}, "unsupported_method": {"enabled": False}},
        },
        # It is the same view: what is asked of the one need not be asked of the others.
        {"include-path-regex": r"^/webhook/\{", "phases": {"coverage": {"enabled": False}}},
        # How many decimals a number may have is not for a schema to say, nor how deep what is not known may be nested.
        {"include-method": "POST", "checks": {"positive_data_acceptance": {"expected-statuses": ["2xx", "4xx"]}}},
    ],
}


# A first day is not after a last one: a schema cannot say it of two parameters.
PERIOD = {"from": ["2026-01-12", "2026-01-13"], "to": ["2026-01-14", "2026-01-15"]}


class Served:
    """The application that the test has built: schemathesis is given one before there is any."""

    app: Application

    def __call__(self, environ: Any, start_response: Any) -> Any:
        return self.app(environ, start_response)


SERVED = Served()


def described() -> Any:
    """The document, in which only what this portfolio knows is a right name, id or time: else hardly an alert were decided."""
    told = copy.deepcopy(document())
    gold = fingerprint_of("main", a_signal(**GOLD, timestamp=minutes(15.5)))[:12]
    silver = fingerprint_of("main", a_signal(**SILVER, timestamp=minutes(17)))[:12]
    position, order = f"GOLD_MINI-Long_1-{gold}", f"pm19-{silver}-e1"
    schemas = told["components"]["schemas"]
    for alert in ("BaseEntry", "Pyramid", "Exit", "MarketData"):
        schemas[alert]["properties"] |= {
            "instrument": {"enum": list(INSTRUMENTS)},
            "portfolio": {"enum": ["main", None]},
        }
    schemas["FiredAt"] = {"enum": [minutes(minute).isoformat() for minute in (10, 17, 18, 19)]}
    known = {
        "portfolio": ["main"],
        "position_id": [position],
        "client_order_id": [order],
    }
    for path, operations in told["paths"].items():
        cursors = {"/positions": [position], "/orders": [order]}.get(path)
        for parameter in (each for operation in operations.values() for each in operation["parameters"]):
            names = cursors if parameter["name"] == "before" else (known | PERIOD).get(parameter["name"])
            if names is not None:
                is_field = "anyOf" in parameter["schema"]  # of a page's form: it may be blank
                parameter["schema"] = {"enum": [*names, *([""] if is_field else [])]}
    return told


SCHEMA = schemathesis.openapi.from_dict(described(), config=schemathesis.Config.from_dict(CONFIG))
# A stream does not end: tests/integration/test_dashboard_streams.py has it.
SCHEMA = SCHEMA.exclude(path="/events")
SCHEMA.app = SERVED


@pytest.fixture
def engine(dsn: str, tmp_path: Path) -> Iterator[LiveTradingEngine]:
    with a_busy_portfolio(dsn, tmp_path) as engine:
        SERVED.app = an_app_of(engine)
        yield engine


@SCHEMA.parametrize()
@settings(suppress_health_check=list(HealthCheck), deadline=None)
def test_every_answer_is_described_and_none_is_a_500(case: Case, engine: LiveTradingEngine) -> None:
    assume("?" not in case.formatted_path)  # which werkzeug's client takes for the beginning of a query
    case.call_and_validate(headers={"Authorization": f"Bearer {TOKEN}"})


def test_what_is_asked_for_by_id_is_there(engine: LiveTradingEngine) -> None:
    client = SERVED.app.test_client()
    for path, operations in described()["paths"].items():
        for parameter in operations.get("get", {}).get("parameters", ()):
            if parameter["name"] in ("before", "position_id") and "enum" in parameter["schema"]:
                (known,) = parameter["schema"]["enum"]
                address = f"{path}?before={known}" if parameter["name"] == "before" else path.format(position_id=known)
                assert client.get(address).status_code == 200, address
