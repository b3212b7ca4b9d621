"""GET /openapi.json and /docs: every route is in them, and nothing else."""

import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from core.alert import KNOWN_FIELDS
from live.answering import _WORDS
from live.api.access import PAGE_POLICY
from live.api.schema.answers import CODES
from live.api.schema.document import document, templated
from live.api.schema.route import Needs, Route
from live.api.schema.routes import ROUTES
from live.operators import Operators, Role, add_operator
from tests.builders import NOON
from tests.fake_engine import TOKEN, FakeEngine, an_app
from tests.live_process import ROOT

HOW_TO = (
    "is served and not described: add it to ROUTES in live/api/schema/routes.py, with a model of each answer in "
    "live/api/schema/answers.py and of its body in live/api/schema/bodies.py (see docs/api.md)"
)


@pytest.fixture
def client() -> FlaskClient:
    return an_app(FakeEngine()).test_client()


def served() -> set[tuple[str, str]]:
    return {
        (method, rule.rule)
        for rule in an_app(FakeEngine()).url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
        if not rule.endpoint.endswith(".static")  # files of pages
    }


def described() -> set[tuple[str, str]]:
    return {(route.method, route.path) for route in ROUTES}


def references(value: Any) -> set[str]:
    if isinstance(value, dict):
        own = {value["$ref"]} if "$ref" in value else set()
        return own.union(*(references(member) for member in value.values()))
    return set().union(*(references(member) for member in value)) if isinstance(value, list) else set()


def test_every_route_is_described() -> None:
    missing = sorted(f"{method} {path}" for method, path in served() - described())
    assert not missing, f"{', '.join(missing)} {HOW_TO}"


def test_nothing_is_described_that_is_not_served() -> None:
    surplus = sorted(f"{method} {path}" for method, path in described() - served())
    assert not surplus, f"{', '.join(surplus)}: in live/api/schema/routes.py, but not served; take it out there"


def test_no_route_is_described_twice() -> None:
    assert len(described()) == len(ROUTES)
    assert len({operation["operationId"] for _, operation in operations()}) == len(ROUTES)


def operations() -> list[tuple[str, dict[str, Any]]]:
    return [(path, operation) for path, methods in document()["paths"].items() for operation in methods.values()]


def test_the_document_is_served_as_it_is_made(client: FlaskClient) -> None:
    response = client.get("/openapi.json")
    assert (response.status_code, response.mimetype) == (200, "application/json")
    assert response.get_json() == document()
    assert response.get_json()["openapi"] == "3.1.0"


def test_every_reference_leads_somewhere_and_every_schema_is_led_to() -> None:
    kept = {
        f"#/components/{kind}/{name}" for kind in ("schemas", "responses") for name in document()["components"][kind]
    }
    assert references(document()) <= kept
    assert {name for name in kept if "schemas" in name} <= references(document())


@pytest.fixture(scope="module")
def operators_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("operators") / "operators.json"


@pytest.fixture(scope="module")
def tokens(operators_file: Path) -> dict[Role, str]:
    return {role: add_operator(operators_file, role.word, role, NOON) for role in Role}


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.path}")
def test_what_a_route_says_that_it_needs_is_what_it_asks_for(
    route: Route, operators_file: Path, tokens: dict[Role, str]
) -> None:
    client = an_app(FakeEngine(), operators=Operators(TOKEN, operators_file)).test_client()
    path = re.sub(r"<\w+>", "main", route.path)

    def refused(token: str, host: str = "localhost") -> bool:
        headers = {"Authorization": f"Bearer {token}", "Host": host}
        status = client.open(path, method=route.method, headers=headers).status_code
        return status in (401, 403)

    if (route.method, route.path) == ("POST", "/login") or route.path.startswith("/link/"):
        return  # the token is what is posted, or what the address ends with
    needs = route.needs
    assert refused("none") == (needs in (Needs.VIEWER, Needs.TRADER, Needs.ADMIN))
    assert refused("none", "elsewhere.example") == (needs is not Needs.NOTHING)
    least = {Needs.TRADER: Role.TRADER, Needs.ADMIN: Role.ADMIN}.get(needs, Role.VIEWER)
    for role in Role:
        assert refused(tokens[role], "elsewhere.example") == (role < least), role


def test_the_codes_of_errors_are_those_of_the_docs() -> None:
    table = (ROOT / "docs" / "api.md").read_text(encoding="utf-8").partition("## Errors")[2].partition("\n## ")[0]
    told = re.findall(r"^\| `(\w+)` \| (?:\d+[, ]*)+ \| (.*) \|$", table, re.MULTILINE)
    assert dict(told) == CODES


RAISED = re.compile(r'(?:HttpRefused\(\s*\d{3}, |error_body\(|\bcode=|HttpProblem\(\s*\d{3}, "[^"]*", )"(\w+)"')


def test_every_code_that_is_answered_is_described() -> None:
    sources = [path.read_text(encoding="utf-8") for part in ("live", "core") for path in (ROOT / part).rglob("*.py")]
    told = {code for source in sources for code in RAISED.findall(source)} | {name for _, _, name in _WORDS.values()}
    assert {"unknown_position", "overloaded", "too_large"} <= told
    missing = told - set(CODES)
    assert not missing, f"{missing}: tell what they say in CODES of live/api/schema/answers.py and in docs/api.md"


def test_every_field_of_an_alert_is_described() -> None:
    shapes = [document()["components"]["schemas"][name] for name in ("BaseEntry", "Pyramid", "Exit", "MarketData")]
    assert set().union(*(shape["properties"] for shape in shapes)) == set(KNOWN_FIELDS)


class Page(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.tags: set[str] = set()
        self.styled: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.tags.add(tag)
        self.ids += [given["id"]] if given.get("id") else []
        self.links += [link for name in ("href", "src") if (link := given.get(name))]
        self.styled += [name for name in given if name == "style" or name.startswith("on")]


def test_the_page_shows_every_route_parameter_body_answer_and_schema(client: FlaskClient) -> None:
    response = client.get("/docs")
    assert (response.status_code, response.mimetype) == (200, "text/html")
    text = response.get_data(as_text=True)
    page = Page(text)
    assert {operation["operationId"] for _, operation in operations()} <= set(page.ids)
    assert set(document()["components"]["schemas"]) <= set(page.ids)
    for route in ROUTES:
        (section,) = re.findall(
            rf'<section id="{operation_id(route.method, route.path)}">.*?</section>', text, re.DOTALL
        )
        assert f"{route.method} {templated(route.path).replace('<', '&lt;')}" in section
        for name in (*route.query, *route.headers):
            assert f"<code>{name}</code>" in section
        for status in route.answers:
            assert f'<th scope="row">{status}</th>' in section
        assert (">body<" in section) == (route.body is not None or route.takes_file)
        assert (f"Needs: {route.needs}." in section) == (route.needs is not Needs.NOTHING)


def operation_id(method: str, path: str) -> str:
    return document()["paths"][templated(path)][method.lower()]["operationId"]


def test_the_page_needs_no_network_and_no_script(client: FlaskClient) -> None:
    page = Page(client.get("/docs").get_data(as_text=True))
    assert not page.tags & {"script", "style", "img", "iframe"}
    assert not page.styled
    assert len(page.ids) == len(set(page.ids))
    outside = {link for link in page.links if not link.startswith("#")}
    assert outside == {"docs/static/description.css", "openapi.json"}
    assert {link[1:] for link in page.links if link.startswith("#")} <= set(page.ids)
    for link in outside:
        assert client.get(f"/{link}", buffered=True).status_code == 200
    assert client.get("/docs/static/description.css", buffered=True).mimetype == "text/css"
    assert client.get("/docs").headers["Content-Security-Policy"] == PAGE_POLICY


def test_a_server_that_is_not_asked_does_not_know_the_models() -> None:
    told = "import sys, live.app; sys.exit(any(name.startswith('live.api.schema') for name in sys.modules))"
    assert subprocess.run([sys.executable, "-c", told], cwd=ROOT, check=False).returncode == 0
