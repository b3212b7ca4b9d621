"""The book's pages in a real browser: drilled down by links alone, without JavaScript, and WCAG 2.2 AA on every screen."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest
from sqlalchemy.orm import Session

from book.database import engine_of
from core.postgres.migrations import migrate_shared
from tests.browser.book_days import LAST, fill
from tests.browser.test_accessibility import SCREENS, problems
from tests.browser.test_dashboard import PHONE, opened
from tests.integration.test_cli_database import config_for
from tests.live_process import LiveProcess
from tests.waiting import eventually

if TYPE_CHECKING:
    from playwright.sync_api import Browser

BOOK = "/dashboard/book"


@pytest.fixture
def live(dsn: str, tmp_path: Path) -> Iterator[LiveProcess]:
    with LiveProcess(tmp_path / "data", "--db-config", str(config_for(dsn, tmp_path))) as started:
        yield started


@pytest.fixture
def nodes(dsn: str, live: LiveProcess) -> dict[str, int]:
    """The numbers of a book's nodes that was filled beside the running engine."""
    migrate_shared(dsn)
    engine = engine_of(dsn)
    with Session(engine) as session, session.begin():
        made = fill(session)
    engine.dispose()
    # A process that has not been asked for it yet imports it within the request: on a busy machine too long for one.
    assert eventually(lambda: httpx.get(f"{live.url}{BOOK}").status_code == 200)
    return made


def pages_of(nodes: dict[str, int]) -> dict[str, str]:
    return {
        "tree": BOOK,
        "node": f"{BOOK}?node={nodes['Futures']}&as_of={LAST}",
        "calendar": f"{BOOK}/calendar?year={LAST.year}&of={nodes['Harbour']}",
        "attribution": f"{BOOK}/attribution?from=2026-08-31&to={LAST}&of=main",
        "proposals": f"{BOOK}/proposals",
        "briefings": f"{BOOK}/briefings",
        "refused": f"{BOOK}?currency=XYZ",
    }


def test_from_the_tree_down_to_a_day_and_what_made_it(
    browser: "Browser", live: LiveProcess, nodes: dict[str, int]
) -> None:
    watched = opened(browser, live.url, java_script_enabled=False)
    page = watched.page
    page.get_by_role("link", name="Book", exact=True).click()
    page.get_by_role("link", name="Futures").click()
    page.get_by_role("heading", name="Futures").wait_for()
    page.get_by_label("As of").fill(str(LAST))
    page.get_by_role("button", name="Show").click()
    page.get_by_role("link", name="Trend").click()
    page.get_by_role("link", name="GOLD_MINI Long 3").wait_for()
    assert page.locator(".above li").all_text_contents() == ["All", "Harbour", "Futures"]
    page.get_by_role("link", name="sector").click()
    page.get_by_role("heading", name="By sector").wait_for()
    page.get_by_role("link", name="P&L by day").last.click()
    page.get_by_role("link", name="2026", exact=True).click()
    assert "P&L of the year" in (page.locator("dl").text_content() or "")
    page.locator(f"a[href*='to={LAST}']").click()
    page.get_by_role("heading", name="What made it").wait_for()
    assert page.locator(".waterfall tbody th").first.text_content() == "Equity, 2026-09-29"
    page.get_by_role("link", name="layer").click()
    page.locator(".waterfall th", has_text="Long_2").wait_for()
    page.get_by_role("link", name="Proposals").click()
    page.get_by_label("that are").select_option("rejected")
    page.get_by_role("button", name="Show").click()
    assert page.locator(".decided > li").count() == 1
    page.get_by_text("Ahead of the budget").wait_for()
    page.get_by_role("link", name="Briefings").click()
    page.get_by_text("4 things to look at").wait_for()
    watched.page.context.close()


def test_nobody_is_kept_out_by_any_page_of_the_book(
    browser: "Browser", live: LiveProcess, nodes: dict[str, int], screenshots: Path
) -> None:
    wrong: list[str] = []
    for screen in SCREENS:
        watched = opened(browser, live.url, **screen)
        page = watched.page
        named = f"{screen['color_scheme']}-{screen['viewport']['width']}"
        for name, address in pages_of(nodes).items():
            page.goto(live.url + address)
            wrong += [f"{name}, {named}: {line}" for line in problems(page)]
            page.screenshot(path=screenshots / f"book-{name}-{named}.png", full_page=True)
            over = page.evaluate("document.documentElement.scrollWidth - innerWidth")
            assert over <= 0, f"{name}, {named} is {over} px wider than the screen"
        # What is refused is a 409, and a browser notes that.
        assert [line for line in watched.errors if "409" not in line] == []
        assert page.evaluate("window.violations") == []
        page.context.close()
    assert not wrong, "\n".join(wrong)


def test_where_it_is_not_migrated_each_page_says_so(browser: "Browser", live: LiveProcess) -> None:
    watched = opened(browser, live.url, viewport=PHONE)
    for page in ("", "/calendar", "/attribution", "/proposals", "/briefings"):
        watched.page.goto(f"{live.url}{BOOK}{page}")
        watched.page.get_by_role("alert").get_by_text("migrate --book makes it").wait_for()
    watched.page.context.close()
