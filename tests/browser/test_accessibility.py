"""WCAG 2.2 AA, as far as axe-core can tell: every page, light and dark, on a desk and on a phone, with everything on it."""

import hashlib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.browser.test_dashboard import DESKTOP, PATIENCE_MILLISECONDS, PHONE
from tests.browser.trading import Day, alert
from tests.integration.test_cli_database import config_for
from tests.live_process import LiveProcess

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

AXE = Path(__file__).parent / "vendor" / "axe.min.js"
PINNED = "29348999450cdf2849a8e70b7912fc2da85a849da39c0d0d5394f51d4a9ed95c"
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
SCREENS: list[dict[str, Any]] = [
    {"viewport": size, "color_scheme": scheme} for size in (DESKTOP, PHONE) for scheme in ("light", "dark")
]
# The description of the API is long, and the same column on each of them.
FEWER = (SCREENS[0], SCREENS[-1])


def test_axe_is_the_pinned_release() -> None:
    assert hashlib.sha256(AXE.read_bytes()).hexdigest() == PINNED


@pytest.fixture
def live(dsn: str, tmp_path: Path) -> Iterator[LiveProcess]:
    """Something of everything: open and closed positions, refusals; two portfolios, one of them halted."""
    options = ("--db-config", str(config_for(dsn, tmp_path)), "--portfolio", "main", "--portfolio", "alpha")
    with LiveProcess(tmp_path / "data", *options) as started:
        Day(started, bars=60, path="/webhook/main").run()
        now = datetime.now(UTC)
        for body in (
            alert("BASE_ENTRY", "COPPER", 800, now, atr=3, position="Long_1", stop=795, er=1),
            alert("PYRAMID", "COPPER", 800, now, atr=3, position="Long_2", stop=795, er=1),
            alert("EXIT", "COPPER", 800, now, atr=3, position="Long_3"),
        ):
            assert started.post(body, "/webhook/main")[0] == 200
        token = (started.data_dir / "operator.token").read_text().strip()
        assert started.post({"reason": "to be looked at"}, "/halt?portfolio=alpha", token)[0] == 200
        yield started


def of_the_dashboard(page: "Page", url: str) -> None:
    page.goto(f"{url}/?portfolio=main")
    page.locator("#ladder canvas").wait_for()
    page.locator("#connection", has_text="live").wait_for()
    page.locator("[data-rows=signals] li").first.get_by_role("link", name="why").click()
    page.locator("#explained pre").wait_for()


def of_the_question(page: "Page", url: str) -> None:
    of_the_dashboard(page, url)
    page.get_by_role("button", name="Freeze").first.click()
    page.get_by_role("dialog").wait_for()


def at(address: str) -> Callable[["Page", str], None]:
    def go(page: "Page", url: str) -> None:
        page.goto(url + address)

    return go


PAGES: dict[str, Callable[["Page", str], None]] = {
    "/": of_the_dashboard,
    "a question": of_the_question,
    "halted": at("/?portfolio=alpha"),
    "portfolios": at("/"),
    "journal": at("/dashboard/journal?portfolio=main"),
    "journal, one": at("/dashboard/journal?portfolio=main&of=9"),
    "journal, nothing": at("/dashboard/journal?portfolio=main&of=nobody"),
    "docs": at("/docs"),
}


def problems(page: "Page") -> list[str]:
    """What axe finds, a line for each rule and place."""
    page.evaluate(AXE.read_text(encoding="utf-8"))
    found = page.evaluate(
        "(tags) => axe.run(document, {runOnly: {type: 'tag', values: tags}, resultTypes: ['violations']})", RULES
    )
    assert len(found["passes"]) > 10, "axe has looked at next to nothing"
    return [
        f"{violation['id']}: {node['target']}: {node['failureSummary']} {node['html'][:200]}"
        for violation in found["violations"]
        for node in violation["nodes"]
    ]


def test_nobody_is_kept_out_by_any_page_on_any_screen(browser: "Browser", live: LiveProcess) -> None:
    token = (live.data_dir / "operator.token").read_text().strip()
    found: dict[str, list[str]] = {}
    for screen in SCREENS:
        context = browser.new_context(**screen)
        context.set_default_timeout(PATIENCE_MILLISECONDS)
        page = context.new_page()
        named = f"{screen['color_scheme']}, {screen['viewport']['width']} px"
        page.goto(f"{live.url}/login")
        found[f"login, {named}"] = problems(page)
        page.get_by_label("Operator's token").fill("nobody's")
        page.get_by_role("button", name="Sign in").click()
        page.get_by_role("alert").wait_for()
        found[f"refused, {named}"] = problems(page)
        page.get_by_label("Operator's token").fill(token)
        page.get_by_role("button", name="Sign in").click()
        page.get_by_role("heading", name="Portfolios").wait_for()
        for name, go in PAGES.items():
            if name == "docs" and screen not in FEWER:
                continue
            go(page, live.url)
            found[f"{name}, {named}"] = problems(page)
        context.close()
    wrong = [f"{name}: {line}" for name, lines in found.items() for line in lines]
    assert not wrong, "\n".join(wrong)


def test_what_a_page_must_not_have_is_found(browser: "Browser") -> None:
    page = browser.new_page()
    page.set_content(
        "<html lang=en><title>t</title><main><h1>h</h1><p style='color:#999;background:#fff'>pale</p><input>"
        "<ul><li>a</ul><table><tr><th scope=col>n<td>1</table><a href=/>there</a></main></html>"
    )
    assert {line.split(":")[0] for line in problems(page)} == {"color-contrast", "label"}
    page.close()
