"""What `rollover` asks and shows, without a network."""

from collections.abc import Callable

import pytest

from tests.command_line import FakeEngine, answer, run, served_by

Engine = Callable[..., FakeEngine]
TOKEN = ("--token", "a-token-of-enough-length")
POSITION = "BANK_NIFTY-Long_1-0a1b2c3d4e5f"


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Engine:
    return lambda *answers: served_by(monkeypatch, FakeEngine(*answers))


def test_a_scan_says_what_is_due_and_asks_for_nothing_more(engine: Engine) -> None:
    asked = engine(answer("executed", sizing={POSITION: "2026-01 to 2026-02"}))
    result = run("rollover", *TOKEN)
    assert result.exit_code == 0
    assert f"{POSITION}   2026-01 to 2026-02" in result.stdout
    assert [request.url.path for request in asked.requests] == ["/rollover/scan"]


def test_what_is_rolled_is_asked_for_by_its_position(engine: Engine) -> None:
    asked = engine(answer("accepted", sizing={POSITION: "2026-01 to 2026-02"}, positions=[POSITION]))
    result = run("rollover", "--execute", "--position", POSITION, *TOKEN)
    assert (result.exit_code, "closed" in result.stderr + result.stdout) == (0, False)
    assert [request.url.path for request in asked.requests] == ["/rollover/execute"]
    assert asked.bodies[0]["position_id"] == POSITION


def test_that_nothing_is_due_is_no_error_and_that_nothing_can_be_rolled_is(engine: Engine) -> None:
    engine(answer("rejected", reason="nothing is due"))
    result = run("rollover", "--scan", *TOKEN)
    assert (result.exit_code, result.stdout) == (0, "nothing is due\n")
    engine(
        answer(
            "rejected",
            reason="nothing can be done about what is due",
            sizing={POSITION: "odd lots: 150 units are 3 lots of 40 and 30 more"},
        )
    )
    result = run("rollover", "--execute", *TOKEN)
    assert result.exit_code == 1
    assert "odd lots" in result.stdout
    engine(answer("rejected", reason="fills are not by a broker"))
    assert run("rollover", *TOKEN).exit_code == 1
