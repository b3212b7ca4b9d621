"""Pages that need nothing else, opened as files: they draw, log nothing, keep to their policy, and keep nobody out."""

from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from book.tear_sheet import tear_sheet
from live.reports.tear_sheet import page_of
from tests.browser.conftest import Watched
from tests.browser.test_accessibility import SCREENS, problems
from tests.unit.test_replay_reports import many_trades
from tests.unit.test_replay_reports import page_of as replay_page
from tests.unit.test_tear_sheet import returns

if TYPE_CHECKING:
    from playwright.sync_api import Browser


def a_tear_sheet() -> str:
    earned = [str((number * 7919 % 401) - 190) for number in range(300)]
    return page_of(tear_sheet(returns(*earned, capital="100000", first=date(2025, 3, 3))))


PAGES: dict[str, tuple[Callable[[], str], list[str]]] = {
    "tear sheet": (a_tear_sheet, ["cumulative", "drawdown", "rolling"]),
    "replay": (lambda: replay_page(many_trades(20)), ["equity", "drawdown", "scatter"]),
}


@pytest.mark.parametrize("name", PAGES)
def test_a_page_draws_logs_nothing_and_keeps_nobody_out(browser: "Browser", name: str, tmp_path: Path) -> None:
    made, charts = PAGES[name]
    file = tmp_path / "page.html"
    file.write_text(made(), encoding="utf-8")
    for screen in SCREENS:
        context = browser.new_context(**screen)
        watched = Watched(context.new_page())
        watched.page.goto(file.as_uri())
        for chart in charts:
            watched.page.locator(f"#{chart} canvas").wait_for()
        watched.require_clean()
        assert watched.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        # axe itself is no part of the page: it comes past the policy.
        assert problems(watched.page) == []
        context.close()


def test_a_tear_sheet_is_printed_without_what_is_folded_away(browser: "Browser", tmp_path: Path) -> None:
    file = tmp_path / "page.html"
    file.write_text(a_tear_sheet(), encoding="utf-8")
    page = browser.new_page()
    page.goto(file.as_uri())
    page.emulate_media(media="print")
    assert page.get_by_text("Every day", exact=True).first.is_hidden()
    assert page.get_by_role("heading", name="Monthly returns").is_visible()
    page.close()
