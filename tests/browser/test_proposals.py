"""What waits for a human, in a real browser: shown with what it is about, decided by a trader, and by a link without a login."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from live.bootstrap import utc_now
from live.links import Linked, Links
from live.operators import Role, add_operator
from tests.browser.test_accessibility import SCREENS as ALL_SCREENS
from tests.browser.test_accessibility import problems
from tests.browser.test_dashboard import PHONE, SCREENS, opened, signed_in
from tests.browser.trading import alert
from tests.integration.test_cli_database import config_for
from tests.live_process import LiveProcess

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator, Page

SECRET = "the-secret-of-the-links-in-a-browser"
ASKING = {
    "approval": {"mode": "approve", "expires_seconds": 900},
    "public_url": "http://127.0.0.1",
    "link_secret": SECRET,
}
ENTRIES = {"BANK_NIFTY": (52000, 51650, 0.82), "GOLD_MINI": (72000, 71500, 0.75), "SILVER_MINI": (91000, 90000, 0.9)}


@pytest.fixture
def live(dsn: str, tmp_path: Path) -> Iterator[LiveProcess]:
    config = tmp_path / "config.json"
    config.write_text(json.dumps(ASKING))
    with LiveProcess(tmp_path / "data", "--db-config", str(config_for(dsn, tmp_path)), "--config", str(config)) as made:
        yield made


def proposed(live: LiveProcess, instrument: str) -> dict[str, Any]:
    """A base entry that waits, as GET /proposals tells it."""
    price, stop, er = ENTRIES[instrument]
    body = alert("BASE_ENTRY", instrument, price, datetime.now(UTC), position="Long_1", stop=stop, er=er)
    status, answer = live.post(body)
    assert (status, answer["status"]) == (200, "proposed"), answer
    found: dict[str, Any] = live.get(f"/proposals?instrument={instrument}&state=pending")[1]["proposals"][0]
    return found


def card(page: "Page", instrument: str) -> "Locator":
    return page.get_by_role("group", name="What waits for you").get_by_role("listitem").filter(has_text=instrument)


def test_a_trader_approves_one_and_rejects_one_and_the_journal_names_him(
    browser: "Browser", live: LiveProcess, screenshots: Path
) -> None:
    token = add_operator(live.data_dir / "operators.json", "ada", Role.TRADER, datetime.now(UTC))
    watched = signed_in(browser, live, token)
    page, dialog = watched.page, watched.page.get_by_role("dialog")
    page.get_by_role("heading", name="All is well").wait_for()
    assert page.locator("#waiting").is_hidden()

    proposed(live, "GOLD_MINI")
    page.get_by_role("heading", name="Have a look: 1 signal waits for you: GOLD_MINI").wait_for()
    proposed(live, "BANK_NIFTY")
    gold, bank = card(page, "GOLD_MINI"), card(page, "BANK_NIFTY")
    bank.wait_for()
    for words in ("enter long BANK_NIFTY Long 1", "52,000.0", "51,650.0", "21,000.00", "0.42 %", "asks a human"):
        assert words in " ".join((bank.text_content() or "").split())
    left = bank.locator("[data-left]")
    page.wait_for_function("(one) => /^1[34] min \\d+ s left$/.test(one.textContent)", arg=left.element_handle())
    before = left.text_content()
    page.wait_for_function("([one, text]) => one.textContent !== text", arg=[left.element_handle(), before])
    page.locator("[data-rows=signals] li", has_text="waits for a human until").first.wait_for()
    page.screenshot(path=screenshots / "dashboard-asked.png")

    bank.get_by_role("button", name="Approve").focus()
    page.keyboard.press("Enter")
    assert "at most 2 are done" in (dialog.text_content() or "")
    dialog.get_by_label("Lots").fill("1")
    dialog.get_by_label("Note").fill("half of it")
    page.screenshot(path=screenshots / "dashboard-approve.png")
    dialog.get_by_role("button", name="Approve it").click()
    dialog.get_by_text("Done: executed.").wait_for()
    dialog.get_by_role("button", name="Close").click()
    bank.wait_for(state="detached")
    page.locator("[data-rows=positions] tr", has_text="BANK_NIFTY").wait_for()

    gold.get_by_role("button", name="Reject").click()
    dialog.get_by_role("button", name="Reject it").click()
    assert dialog.is_visible()  # a note is required
    assert live.get("/proposals?state=rejected")[1]["proposals"] == []
    dialog.get_by_label("Why").fill("the news")
    dialog.get_by_role("button", name="Reject it").click()
    dialog.get_by_text("Done: executed.").wait_for()
    dialog.get_by_role("button", name="Close").click()
    page.locator("#waiting").wait_for(state="hidden")
    page.get_by_role("heading", name="All is well").wait_for()
    page.locator("[data-rows=signals] li", has_text='was rejected by ada ("the news")').wait_for()

    page.goto(f"{live.url}/dashboard/journal")
    told = page.locator("#result").text_content() or ""
    assert 'with 1 lot by ada: "half of it"' in told
    assert 'by ada: "the news"' in told
    page.goto(f"{live.url}/dashboard/journal?status=proposed")
    page.get_by_text('was approved with other lots by ada: 1 lot at 52,000 ("half of it")').wait_for()
    watched.require_clean()
    page.context.close()


def test_a_viewer_sees_what_waits_and_has_nothing_to_press(browser: "Browser", live: LiveProcess) -> None:
    proposed(live, "GOLD_MINI")
    watched = opened(browser, live.url)
    card(watched.page, "GOLD_MINI").wait_for()
    assert not watched.page.get_by_role("button", name="Approve").is_visible()
    assert not watched.page.get_by_role("button", name="Reject").is_visible()
    watched.require_clean()
    watched.page.context.close()


def test_nobody_is_kept_out_by_what_waits_or_by_a_link_on_any_screen(browser: "Browser", live: LiveProcess) -> None:
    token = add_operator(live.data_dir / "operators.json", "ada", Role.TRADER, datetime.now(UTC))
    proposal = proposed(live, "BANK_NIFTY")
    links = Links(secret=SECRET, public_url=live.url, clock=utc_now)
    ends = datetime.fromisoformat(proposal["expires_at"])
    link = links.address(Linked(portfolio="main", proposal_id=proposal["proposal_id"], expires_at=ends))
    found: dict[str, list[str]] = {}
    for screen in ALL_SCREENS:
        watched = signed_in(browser, live, token, **screen)
        page, named = watched.page, f"{screen['color_scheme']}, {screen['viewport']['width']} px"
        page.locator("#connection", has_text="live").wait_for()
        card(page, "BANK_NIFTY").get_by_role("button", name="Approve").wait_for()
        found[f"waiting, {named}"] = problems(page)
        card(page, "BANK_NIFTY").get_by_role("button", name="Approve").click()
        found[f"approve, {named}"] = problems(page)
        for name, address in (("link", link), ("wrong link", f"{link}x")):
            page.goto(address)
            found[f"{name}, {named}"] = problems(page)
        page.context.close()
    assert {where: problem for where, problem in found.items() if problem} == {}


@pytest.mark.parametrize("screen", SCREENS)
def test_a_hundred_that_wait_fit_on_every_screen(
    browser: "Browser", dsn: str, tmp_path: Path, screenshots: Path, screen: str
) -> None:
    one = {"exchange": "MCX", "lot_size": "1", "point_value": "1", "tick": "0.05", "margin_per_lot": "1"}
    config = tmp_path / "many.json"
    many = {f"INS_{number:03}": one for number in range(100)}
    config.write_text(json.dumps({**ASKING, "instruments": many}))
    with LiveProcess(tmp_path / "data", "--db-config", str(config_for(dsn, tmp_path)), "--config", str(config)) as live:
        for name in many:
            body = alert("BASE_ENTRY", name, 1000, datetime.now(UTC), atr=10, position="Long_1", stop=990, er=1)
            assert live.post(body)[1]["status"] == "proposed"
        watched = opened(browser, live.url, **SCREENS[screen])
        page = watched.page
        page.wait_for_function("document.querySelectorAll('[data-rows=waiting] li').length === 100")
        page.get_by_role("heading", name="Have a look: 100 signals wait for you").wait_for()
        assert page.locator("#waiting-count").text_content() == "100"
        # Nothing is wider than the screen, and what is below is not pushed away.
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        assert page.locator("#waiting").evaluate("(section) => section.offsetHeight") < 600
        page.screenshot(path=screenshots / f"dashboard-hundred-{screen}.png")
        watched.require_clean()
        page.context.close()


def test_who_has_the_link_decides_without_a_login_and_it_counts_once(
    browser: "Browser", live: LiveProcess, screenshots: Path
) -> None:
    links = Links(secret=SECRET, public_url=live.url, clock=utc_now)

    def address(proposal: dict[str, Any]) -> str:
        ends = datetime.fromisoformat(proposal["expires_at"])
        return links.address(Linked(portfolio="main", proposal_id=proposal["proposal_id"], expires_at=ends))

    approved, rejected = address(proposed(live, "BANK_NIFTY")), address(proposed(live, "GOLD_MINI"))
    watched = opened(browser, approved, viewport=PHONE, color_scheme="dark")
    page = watched.page
    page.get_by_role("heading", name="A signal waits for you").wait_for()
    page.get_by_text("executed: 2 lots; volatility bound it").wait_for()
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    page.screenshot(path=screenshots / "link-phone.png", full_page=True)
    page.get_by_label("Lots").fill("1")
    page.get_by_role("button", name="Approve").click()
    page.get_by_role("heading", name="Approved").wait_for()
    page.goto(rejected)
    page.get_by_role("button", name="Reject").click()
    assert page.url == rejected  # a note is required
    page.get_by_label("Why").fill("the news")
    page.get_by_role("button", name="Reject").click()
    page.get_by_role("heading", name="Rejected").wait_for()
    watched.require_clean()
    page.goto(approved)
    page.get_by_role("heading", name="This link is over").wait_for()
    page.get_by_text("was approved with other lots by link: 1 lot at 52,000").wait_for()
    page.context.close()
    states = {
        row["instrument"]: (row["state"], row["decided_by"]) for row in live.get("/proposals?state=all")[1]["proposals"]
    }
    assert states == {"BANK_NIFTY": ("modified", "link"), "GOLD_MINI": ("rejected", "link")}
