"""`make docs`: the guides as one site, in which each command, setting, address, table and metric is explained."""

import html
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from prometheus_client.parser import text_string_to_metric_families

from core.config import FileSettings
from live.cli import main
from live.metrics import Metrics
from live.portfolios import Portfolios
from tests.fake_engine import FakeEngine, an_app, served_by
from tests.live_process import ROOT
from tests.queries import rows


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(made)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    # A page that is in no menu, a link or an anchor that leads nowhere: each is a warning, and so a failure.
    assert done.returncode == 0, done.stderr
    return made


@pytest.fixture(scope="module")
def explained(site: Path) -> str:
    """What the pages say in code's letters."""
    pages = "\n".join(page.read_text(encoding="utf-8") for page in sorted(site.rglob("*.html")))
    text = re.sub(r"<[^>]+>", "", "\n".join(code_of(pages)))
    return html.unescape(text)


def code_of(pages: str) -> Iterator[str]:
    for code, cell in re.findall(r"<code[^>]*>(.*?)</code>|<td[^>]*>(.*?)</td>", pages, re.DOTALL):
        yield code or cell


def commands(group: click.Command, path: tuple[str, ...] = ()) -> Iterator[str]:
    if path:
        yield " ".join(path)
    if isinstance(group, click.Group):
        context = click.Context(group)
        for name in group.list_commands(context):
            found = group.get_command(context, name)
            assert found is not None
            yield from commands(found, (*path, name))


def test_the_site_needs_nothing_from_elsewhere(site: Path) -> None:
    for page in site.rglob("*.html"):
        asked = re.findall(
            r"<(?:link|script|img)[^>]+(?:href|src)=\"?(https?://[^\s\">]+)", page.read_text(encoding="utf-8")
        )
        assert not asked, page


def test_every_command_is_explained(explained: str) -> None:
    missing = [name for name in commands(main) if not re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", explained)]
    assert not missing


def test_every_setting_is_explained(explained: str) -> None:
    assert [name for name in FileSettings.model_fields if name not in explained] == []


def test_every_address_is_explained(explained: str) -> None:
    routes = {rule.rule for rule in an_app(FakeEngine()).url_map.iter_rules() if not rule.endpoint.endswith(".static")}
    told = {re.sub(r"/(?:ID|main|SECRET)\b", "/*", path) for path in re.findall(r"/[\w./-]*", explained)} | {"/"}
    assert {re.sub(r"<[\w:]+>", "*", route) for route in routes} - told == set()


def test_every_table_is_explained(explained: str, dsn: str) -> None:
    tables = rows(dsn, "SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'")
    assert [name for (name,) in tables if name not in explained] == []


def test_every_metric_is_explained(explained: str) -> None:
    engine = FakeEngine()
    text, _ = Metrics(Portfolios({engine.portfolio_name: served_by(engine)})).text()
    told = text.decode() if isinstance(text, bytes) else text
    # What the client library tells of each process is explained as one.
    names = {re.sub(r"^process_.*", "process_...", family.name) for family in text_string_to_metric_families(told)}
    assert [name for name in sorted(names) if name not in explained] == []
