"""The risk lab's pages in a real browser: by links alone, without JavaScript, and WCAG 2.2 AA on every screen."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

from book.database import engine_of
from core.postgres.migrations import migrate_shared
from tests.browser.risk_days import DAYS, LAST, fill
from tests.browser.test_accessibility import SCREENS, problems
from tests.browser.test_dashboard import PHONE, opened
from tests.integration.test_cli_database import config_for
from tests.live_process import LiveProcess
from tests.waiting import eventually

if TYPE_CHECKING:
    from playwright.sync_api import Browser

RISK = "/dashboard/risk"
PAGES = ("", "/factors", "/correlations", "/stress", "/value-at-risk", "/term-structure", "/what-if")


@pytest.fixture
def live(dsn: str, tmp_path: Path) -> Iterator[LiveProcess]:
    with LiveProcess(tmp_path / "data", "--db-config", str(config_for(dsn, tmp_path))) as started:
        yield started


@pytest.fixture
def nodes(dsn: str, live: LiveProcess) -> dict[str, int]:
    """The numbers of the nodes of a book that was reckoned beside the running engine."""
    migrate_shared(dsn)
    engine = engine_of(dsn)
    made = fill(engine)
    engine.dispose()
    # A process that has not been asked for it yet imports it within the request: on a busy machine too long for one.
    assert eventually(lambda: httpx.get(f"{live.url}{RISK}").status_code == 200)
    return made


def pages_of(nodes: dict[str, int]) -> dict[str, str]:
    return {
        "overview": RISK,
        "node": f"{RISK}?node={nodes['Trend']}&date={LAST}",
        "factors": f"{RISK}/factors",
        "correlations": f"{RISK}/correlations?node={nodes['Trend']}",
        "many-correlations": f"{RISK}/correlations",
        "stress": f"{RISK}/stress?scenario=COVID-19+Crash",
        "history": f"{RISK}/value-at-risk",
        "history-short": f"{RISK}/value-at-risk?date={DAYS[-90]}&node={nodes['Shares']}",
        "contracts": f"{RISK}/term-structure?instrument=ZINC&as_of={LAST}",
        "what-if": f"{RISK}/what-if",
        "what-if-one": f"{RISK}/what-if?session=1",
        "what-if-two": f"{RISK}/what-if?session=1&other=2",
        "not-reckoned": f"{RISK}?date=2026-01-20",
    }


def test_from_the_dashboard_through_every_page_by_links(
    browser: "Browser", live: LiveProcess, nodes: dict[str, int]
) -> None:
    watched = opened(browser, live.url, java_script_enabled=False)
    page = watched.page
    page.get_by_role("link", name="Risk", exact=True).click()
    page.get_by_role("heading", name="Overview of Harbour").wait_for()
    page.get_by_role("link", name="Futures").click()
    page.get_by_role("heading", name="Overview of Futures").wait_for()
    page.locator("select[name=node]").select_option(str(nodes["Trend"]))
    page.get_by_role("button", name="Show").click()
    page.get_by_role("heading", name="Overview of Trend").wait_for()
    assert page.locator(".above li").all_text_contents() == ["Harbour", "Futures"]
    page.get_by_text("NoPrices: TIN: neither a mark of the book nor a daily bar").wait_for()
    page.get_by_role("link", name="Factors").click()
    page.get_by_role("heading", name="Factors of Trend").wait_for()
    bars = page.locator("section[aria-labelledby=h-made] tbody tr")
    assert bars.count() == 5
    page.get_by_role("link", name="Correlations").click()
    page.get_by_role("heading", name="Correlations of Trend").wait_for()
    assert page.locator(".matrix td.self").count() == 5
    page.get_by_role("link", name="Stress").click()
    page.get_by_role("link", name="2008 Financial Crisis").click()
    page.get_by_role("heading", name="By position: 2008 Financial Crisis").wait_for()
    page.get_by_role("link", name="Value at risk").click()
    page.locator("select[name=days]").select_option("60")
    page.get_by_role("button", name="Show").click()
    page.get_by_text("60 days, the newest first").click()
    page.get_by_role("link", name=f"{DAYS[-2]}").click()
    page.get_by_role("heading", name="Value at risk of Trend").wait_for()
    assert page.locator("select[name=days]").input_value() == "60"
    assert page.locator("input[name=date]").input_value() == str(DAYS[-2])
    page.get_by_role("link", name="Contracts").click()
    page.get_by_role("heading", name="Contracts of ZINC").wait_for()
    page.get_by_label("at the end of").fill(str(LAST))
    page.get_by_role("button", name="Show").click()
    assert page.locator("tbody tr").count() == 4
    assert page.locator("circle").count() == 3
    page.get_by_role("link", name="What if").click()
    page.get_by_role("link", name="1 Fewer shares").click()
    page.get_by_text("make position/7 100 lots").wait_for()
    page.get_by_role("combobox", name="Beside").select_option("2")
    page.get_by_role("button", name="Compare").click()
    page.get_by_role("heading", name="What if Fewer shares beside No shorts").wait_for()
    page.get_by_role("link", name="Book").click()
    page.get_by_role("heading", name="The tree").wait_for()
    page.get_by_role("link", name="Risk", exact=True).click()
    page.get_by_role("heading", name="Overview of Harbour").wait_for()
    page.context.close()


def test_bars_reach_as_far_as_their_figures_and_marks_stand_at_their_days(
    browser: "Browser", live: LiveProcess, nodes: dict[str, int]
) -> None:
    watched = opened(browser, live.url)
    page = watched.page
    page.goto(f"{live.url}{RISK}/stress")
    bars = page.locator("section[aria-labelledby=h-scenarios] rect")
    widths = [bar["width"] for bar in bars.evaluate_all("all => all.map((each) => each.getBoundingClientRect())")]
    told = page.locator("section[aria-labelledby=h-scenarios] tbody td:nth-child(2)").all_text_contents()
    amounts = [abs(float(text.replace(",", ""))) for text in told if text != "—"]
    assert len(amounts) > 4
    assert widths[: len(amounts)] == pytest.approx([widths[0] * each / amounts[0] for each in amounts], abs=2)
    page.goto(f"{live.url}{RISK}/value-at-risk")
    marks = page.locator(".mark")
    breached = page.locator(".days rect.breach")
    assert marks.count() == breached.count() == page.get_by_label("Breaches").locator("tbody tr").count() > 2

    def middles(of: str) -> list[float]:
        return page.locator(of).evaluate_all(
            "all => all.map((each) => each.getBoundingClientRect()).map((box) => box.x + box.width / 2)"
        )

    assert middles(".mark path") == pytest.approx(middles(".days rect.breach"), abs=1.5)
    watched.require_clean()
    page.context.close()


def test_nobody_is_kept_out_by_any_page_of_risk(
    browser: "Browser", live: LiveProcess, nodes: dict[str, int], screenshots: Path
) -> None:
    wrong: list[str] = []
    for screen in SCREENS:
        watched = opened(browser, live.url, **screen)
        page = watched.page
        named = f"{screen['color_scheme']}-{screen['viewport']['width']}"
        for name, address in pages_of(nodes).items():
            page.goto(live.url + address)
            page.screenshot(path=screenshots / f"risk-{name}-{named}.png", full_page=True)
            for summary in page.locator("summary").all():
                summary.click()
            wrong += [f"{name}, {named}: {line}" for line in problems(page)]
            over = page.evaluate("document.documentElement.scrollWidth - innerWidth")
            assert over <= 0, f"{name}, {named} is {over} px wider than the screen"
        watched.require_clean()
        page.context.close()
    assert not wrong, "\n".join(wrong)


def test_where_it_is_not_migrated_each_page_says_so(browser: "Browser", live: LiveProcess) -> None:
    watched = opened(browser, live.url, viewport=PHONE)
    for page in PAGES:
        watched.page.goto(f"{live.url}{RISK}{page}")
        watched.page.get_by_role("alert").get_by_text("migrate --book makes them").wait_for()
    watched.page.context.close()
