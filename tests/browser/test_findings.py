"""What differs at a broker, settled by clicks: a real engine, an OpenAlgo with its own book, and somebody who trades by hand."""

from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.browser.test_dashboard import signed_in
from tests.database_file import pointed_to
from tests.e2e.test_live import an_alert
from tests.e2e.test_orders import KEY, SYMBOL, an_openalgo
from tests.live_process import LiveProcess
from tests.openalgo_server import OpenAlgoServer
from tests.queries import rows
from tests.simulated_exchange import Resting
from tests.verified import verified
from tests.waiting import eventually

if TYPE_CHECKING:
    from playwright.sync_api import Browser


def by_hand(server: OpenAlgoServer, quantity: int) -> None:
    """So many units bought, or where it is negative sold, past us."""
    exchange = server.exchange
    exchange.add(
        Resting(
            order_id=exchange.new_id(),
            symbol=SYMBOL,
            exchange="NFO",
            buys=quantity > 0,
            quantity=Decimal(abs(quantity)),
            limit=None,
            trigger=None,
            tag="by hand",
            product="NRML",
        )
    )


def held(live: LiveProcess) -> list[tuple[str, int]]:
    return [(row["layer"], row["lots"]) for row in live.get("/positions?status=open")[1]["positions"]]


def journalled(live: LiveProcess, kind: str) -> list[dict[str, Any]]:
    return [entry for entry in live.get("/journal?limit=100")[1]["journal"] if entry["kind"] == kind]


def test_lots_that_are_gone_are_written_off_and_lots_that_are_there_adopted(
    browser: "Browser", dsn: str, tmp_path: Path, screenshots: Path
) -> None:
    database = pointed_to(dsn, tmp_path / "database.json")
    with (
        an_openalgo(tmp_path) as (server, options),
        LiveProcess(tmp_path / "data", *database, *options, environment=KEY) as live,
    ):
        assert live.post(an_alert())[1]["status"] == "accepted"
        assert eventually(lambda: held(live) == [("Long_1", 2)])
        watched = signed_in(browser, live, (live.data_dir / "operator.token").read_text().strip())
        page, dialog = watched.page, watched.page.get_by_role("dialog")
        compare = page.get_by_role("button", name="Compare with the broker now")
        findings = page.locator("#findings")

        def done(button: str) -> None:
            dialog.get_by_role("button", name=button, exact=True).click()
            dialog.get_by_text("Done: executed.").wait_for()
            dialog.get_by_role("button", name="Close", exact=True).click()

        by_hand(server, -60)
        compare.click()
        findings.get_by_text("Ours 60, the broker's 0").wait_for()
        findings.get_by_role("button", name="Write off").click()
        assert "Nothing is sent to the broker." in (dialog.text_content() or "")
        dialog.get_by_label("Sold at").fill("58400")
        dialog.get_by_role("button", name="Cancel").click()
        assert held(live) == [("Long_1", 2)]
        assert journalled(live, "write_off") == []
        findings.get_by_role("button", name="Write off").click()
        # What was typed into a question that was cancelled is gone with it.
        assert dialog.get_by_label("Sold at").input_value() == ""
        dialog.get_by_label("Sold at").fill("58400")
        dialog.get_by_label("Reason").fill("sold by hand")
        page.screenshot(path=screenshots / "dashboard-write-off.png")
        done("Write off")
        assert held(live) == []
        (written_off,) = journalled(live, "write_off")
        assert written_off["request_id"].startswith("page-")
        assert (written_off["input"]["reason"], written_off["input"]["price"]) == ("sold by hand", "58400.00000000")
        page.get_by_text("Nothing is open.").first.wait_for()

        # While the stop that protected it is on its way out, nothing can be said of the symbol.
        assert eventually(lambda: rows(dsn, "SELECT count(*) FROM orders WHERE NOT settled") == [(0,)])
        by_hand(server, 30)
        compare.click()
        findings.get_by_text("Ours 0, the broker's 30").wait_for()
        findings.get_by_role("button", name="Adopt").click()
        assert "becomes a position of ours" in (dialog.text_content() or "")
        dialog.get_by_label("Lots").fill("1")
        dialog.get_by_label("Entry price").fill("58410")
        dialog.get_by_label("Stop").fill("58000")
        page.screenshot(path=screenshots / "dashboard-adopt.png")
        done("Adopt")
        row = page.locator("[data-rows=positions] tr", has_text="BANK_NIFTY")
        row.wait_for()
        assert row.locator("[data-f=stop]").text_content() == "58,000.0"
        assert held(live) == [("Long_1", 1)]
        (adopted,) = journalled(live, "adopt")
        assert adopted["request_id"].startswith("page-")
        assert (adopted["input"]["lots"], adopted["input"]["symbol"]) == (1, SYMBOL)
        compare.click()
        page.get_by_text("All 1 symbols agree.").wait_for()
        watched.require_clean()
        page.context.close()
    verified(dsn)
