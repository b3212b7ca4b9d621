"""What of the journal is told, at which level and in which words; when, and how many in one message."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, get_args

import msgspec
import pytest

from core.events import Event
from core.notifications import Channel, Level, QuietHours
from core.orders import OrderPurpose, client_order_id_of, purpose_of_id
from live.notify.message import AGAIN, MOST_SHOWN, Digest
from live.notify.notices import TOLD, UNTOLD, Asks, Notice, notice_of
from live.notify.pace import Pace
from live.notify.standing import Drawdown, Margin, Standing, notices_between, standing_of
from tests.builders import NOON, a_portfolio

OUTCOME = {"status": "executed", "reason": None, "position_id": "P", "positions": [], "lots": 2, "limiter": None}
SIGNAL = {"type": "BASE_ENTRY", "instrument": "BANK_NIFTY", "layer": "Long_1", "price": "52000"}
POSITION = "BANK_NIFTY-Long_1-0123456789ab"


def told(kind: str = "signal", events: list[dict[str, Any]] | None = None, **changes: Any) -> Notice | None:
    signal = {**SIGNAL, **changes.pop("signal", {})}
    given = changes.pop("input", {"signal": signal})
    term = changes.pop("term", 2)
    row = {"seq": 7, "kind": kind, "fingerprint": "ab" * 32 if kind == "signal" else None, "input": given, "term": term}
    figures = changes.pop("figures", {})
    return notice_of({**row, "figures": figures, "outcome": {**OUTCOME, **changes}, "events": events or []})


MADE = {
    "event": "proposal_made",
    "proposal": {
        "proposal_id": "P0123456789abcdef",
        "signal": SIGNAL,
        "rule": "over_size",
        "lots": 2,
        "expires_at": "2026-01-14T06:30:00Z",
    },
}


def test_a_signal_that_waits_says_what_decides_it_and_until_when() -> None:
    notice = told(status="proposed", reason="approval: over_size", events=[MADE])
    assert notice is not None
    assert (notice.level, notice.asks) == (
        Level.ERROR,
        Asks(proposal_id="P0123456789abcdef", expires_at=datetime(2026, 1, 14, 6, 30, tzinfo=UTC)),
    )
    assert "`approve P0123456789abcdef` or `reject` it until 2026-01-14 06:30:00 UTC: 2 lots" in notice.text
    assert "it is so large that a human is asked" in notice.text


def test_a_link_stands_whole_on_a_line_of_its_own_however_many_there_are() -> None:
    link = f"https://portfolio.example.com/link/{'x' * 90}"
    notices = [
        Notice(level=Level.ERROR, title="waits", text="y" * 400, seq=seq, link=f"{link}{seq}") for seq in range(1, 9)
    ]
    lines = Digest(notices).message("main").body.splitlines()
    assert [line for line in lines if line.startswith("https://")] == [f"{link}{seq}" for seq in range(1, 9)]
    assert Digest(notices[:1]).message("main").body.splitlines()[-1] == f"{link}1"


def test_every_event_is_told_or_left_out_on_purpose() -> None:
    tags = {str(event.__struct_config__.tag) for event in get_args(Event)}
    assert tags == TOLD | UNTOLD
    assert TOLD.isdisjoint(UNTOLD)


@pytest.mark.parametrize(
    "changes, level, words",
    [
        ({}, Level.INFO, "BANK_NIFTY BASE_ENTRY Long_1 executed"),
        ({"status": "accepted", "limiter": "risk"}, Level.INFO, "accepted"),
        ({"status": "blocked", "reason": "drawdown"}, Level.WARNING, "the drawdown was too deep"),
        ({"status": "rejected", "reason": "stale"}, Level.WARNING, "too old when it was decided"),
        ({"status": "failed", "reason": "ValueError: x"}, Level.ERROR, "ValueError: x"),
        ({"signal": {"type": "EXIT"}}, Level.INFO, "BANK_NIFTY EXIT Long_1 executed"),
        (
            {"signal": {"type": "EXIT"}, "status": "rejected", "reason": "no open position"},
            Level.INFO,
            "nothing was open",
        ),
        ({"signal": {"type": "EXIT"}, "status": "failed", "reason": "x"}, Level.ERROR, "failed"),
        ({"signal": {"type": "MARKET_DATA", "layer": ""}, "status": "failed", "reason": "x"}, Level.ERROR, "failed"),
    ],
)
def test_a_signal_is_told_by_what_became_of_it(changes: dict[str, Any], level: Level, words: str) -> None:
    notice = told(**changes)
    assert notice is not None
    assert (notice.level, notice.seq, notice.fingerprint) == (level, 7, "ab" * 32)
    assert words in f"{notice.title} {notice.text}"


def test_a_bar_that_only_moved_marks_is_not_told() -> None:
    assert told(signal={"type": "MARKET_DATA", "layer": ""}, events=[{"event": "position_marked"}]) is None


def _report(state: str, purpose: OrderPurpose = OrderPurpose.ENTRY) -> dict[str, Any]:
    order = client_order_id_of(4, POSITION, purpose, 1)
    return {"event": "order_reported", "client_order_id": order, "state": state, "message": "no margin"}


@pytest.mark.parametrize(
    "kind, event, level, words",
    [
        ("signal", {"event": "entries_frozen", "instrument": "COPPER", "reason": "a gap"}, Level.ERROR, "a gap"),
        ("halt", {"event": "trading_halted", "reason": "lunch"}, Level.CRITICAL, "halted"),
        ("resume", {"event": "trading_resumed"}, Level.WARNING, "resumed"),
        ("report", _report("rejected"), Level.ERROR, "no margin"),
        ("report", _report("rejected", OrderPurpose.STOP), Level.ERROR, "without its stop"),
        ("report", _report("in_doubt"), Level.CRITICAL, "in doubt"),
        ("send", _report("cancelled"), Level.WARNING, "not sent"),
        ("roll", {"event": "rollover_marked", "position_id": POSITION, "status": "pending"}, Level.INFO, "due"),
        ("report", {"event": "rollover_marked", "position_id": POSITION, "status": "failed"}, Level.ERROR, "failed"),
        ("capital", {"event": "capital_moved", "amount": "250000.0000", "note": "deposit"}, Level.INFO, "250,000"),
        ("settings", {"event": "settings_changed"}, Level.INFO, "settings"),
        ("manual", {"event": "position_saved"}, Level.WARNING, "by hand"),
    ],
)
def test_an_event_is_told_at_its_level(kind: str, event: dict[str, Any], level: Level, words: str) -> None:
    request = {"input": {"kind": kind, "fills": [], "client_order_id": "x", "state": None, "broker_order_id": None}}
    message = {**request["input"], "message": None, "settled": False}
    notice = told(kind, [event], **({} if kind == "signal" else {"input": message}))
    assert notice is not None
    assert notice.level is level
    assert words in f"{notice.title} {notice.text}"


@pytest.mark.parametrize("state", ["sent", "working", "filled", "cancelled"])
def test_how_an_order_goes_its_way_is_not_told(state: str) -> None:
    assert told("report", [_report(state)], input={}) is None


def test_an_exit_says_what_it_earned_and_a_stop_whose_it_was() -> None:
    event = {"event": "position_exited", "position_id": POSITION, "lots_sold": 2, "fill_price": "51650.00000000"}
    event |= {"exit_reason": "TRAILING_STOP", "pnl": "-21000.0000", "lots": 0}
    notice = told(signal={"type": "MARKET_DATA", "layer": ""}, events=[event])
    assert notice is not None
    assert notice.title == "BANK_NIFTY exit: TRAILING_STOP"
    assert notice.text == f"{POSITION}: 2 lots at 51,650 out (TRAILING_STOP), P&L -21,000 net"


def test_a_first_term_is_no_news_and_another_one_is() -> None:
    assert told("term", input={"instance_id": "here-1"}, term=1) is None
    notice = told("term", input={"instance_id": "here-1"}, term=2)
    assert notice is not None
    assert (notice.level, "here-1" in notice.text) == (Level.WARNING, True)


def test_what_cannot_be_rolled_is_told_with_why_and_nothing_due_is_not() -> None:
    assert told("roll", status="rejected", reason="nothing is due") is None
    figures = {POSITION: "odd lots"}
    notice = told("roll", status="rejected", reason="nothing can be done about what is due", figures=figures)
    assert notice is not None
    assert (notice.level, "odd lots" in notice.text) == (Level.ERROR, True)


def test_an_orders_id_tells_what_it_is_for() -> None:
    for purpose in OrderPurpose:
        assert purpose_of_id(client_order_id_of(12, POSITION, purpose, 3)) is purpose
    assert purpose_of_id("somebody-else's") is None


# --- many at once


def a_notice(seq: int, level: Level = Level.INFO) -> Notice:
    return Notice(level=level, title=f"title {seq}", text=f"text {seq}", seq=seq, fingerprint=f"{seq:064d}")


def test_one_notice_is_a_message_with_its_entry_and_its_signal() -> None:
    message = Digest([a_notice(5)]).message("main")
    assert (message.title, message.level) == ("[main] title 5", Level.INFO)
    assert message.body == f"text 5 (journal 5, signal {5:064d})"


def test_of_many_all_are_counted_and_the_most_urgent_are_shown_in_their_order() -> None:
    digest = Digest(a_notice(seq, Level.ERROR if seq == 40 else Level.INFO) for seq in range(1, 101))
    message = digest.message("main")
    lines = message.body.splitlines()
    assert (message.title, message.level) == ("[main] title 40, and 99 more", Level.ERROR)
    assert len(lines) == MOST_SHOWN + 2
    assert [line.startswith("error: title 40.") for line in lines].index(True) == MOST_SHOWN - 1
    assert lines[-2:] == [f"and {100 - MOST_SHOWN} more ({100 - MOST_SHOWN} info)", "from journal 1 to 100"]


def test_what_is_repeated_says_so_and_is_otherwise_the_same() -> None:
    digest = Digest([a_notice(5), a_notice(6)])
    first, again = digest.message("main"), digest.message("main", again=True)
    assert again.body == f"{AGAIN}\n{first.body}"
    assert again.title == first.title


# --- levels of margin and drawdown


def test_margin_and_drawdown_are_told_when_they_are_elsewhere_than_was_told_last() -> None:
    portfolio = a_portfolio()
    assert standing_of(portfolio) == Standing()
    now = Standing(margin=Margin.EMERGENCY, drawdown=Drawdown.REDUCED)
    found = list(notices_between(Standing(), now, portfolio, 9))
    assert [(notice.level, notice.seq) for notice in found] == [(Level.CRITICAL, 9), (Level.WARNING, 9)]
    assert list(notices_between(now, now, portfolio, 9)) == []
    back = list(notices_between(now, Standing(), portfolio, 10))
    assert [notice.level for notice in back] == [Level.INFO, Level.INFO]


@pytest.mark.parametrize(
    "percent, drawdown",
    [("4.9", "normal"), (5, "reduced"), (10, "restricted"), (15, "restricted"), ("15.1", "blocked")],
)
def test_a_drawdowns_band_is_the_one_that_decides(percent: Any, drawdown: str) -> None:
    portfolio = a_portfolio()
    high = portfolio.state.equity_high
    closed = high * (100 - Decimal(str(percent))) / 100
    fallen = msgspec.structs.replace(portfolio, state=msgspec.structs.replace(portfolio.state, closed_equity=closed))
    assert standing_of(fallen).drawdown == drawdown


# --- when


def test_quiet_hours_are_those_of_their_zone_and_go_over_midnight() -> None:
    quiet = QuietHours.model_validate({"begins": "22:00", "ends": "07:00", "timezone": "Asia/Kolkata"})
    for utc, held in (("16:29", False), ("16:30", True), ("23:59", True), ("01:29", True), ("01:30", False)):
        now = datetime.fromisoformat(f"2026-01-14T{utc}:00+00:00")
        assert quiet.hold(now) is held, utc
    noon = QuietHours.model_validate({"begins": "12:00", "ends": "13:00", "timezone": "Europe/Berlin"})
    # An hour there is another one in summer.
    assert noon.hold(datetime(2026, 1, 14, 11, 30, tzinfo=UTC))
    assert not noon.hold(datetime(2026, 7, 14, 11, 30, tzinfo=UTC))
    assert noon.hold(datetime(2026, 7, 14, 10, 30, tzinfo=UTC))


def test_only_what_is_critical_goes_in_quiet_hours() -> None:
    quiet = {"begins": "00:00", "ends": "23:59", "timezone": "UTC"}
    pace = Pace(Channel.model_validate({"url": "json://here", "quiet": quiet}))
    assert [level for level in Level if pace.allows(level, NOON)] == [Level.CRITICAL]


def test_so_many_a_minute_and_the_last_is_left_for_what_is_critical() -> None:
    pace = Pace(Channel.model_validate({"url": "json://here", "most_per_minute": 3}))
    for _ in range(2):
        assert pace.allows(Level.INFO, NOON)
        pace.sent(NOON)
    assert not pace.allows(Level.ERROR, NOON)
    assert pace.allows(Level.CRITICAL, NOON)
    pace.sent(NOON)
    assert not pace.allows(Level.CRITICAL, NOON + timedelta(seconds=59))
    assert pace.allows(Level.INFO, NOON + timedelta(seconds=60))


def test_a_clock_that_is_set_back_silences_nobody() -> None:
    pace = Pace(Channel.model_validate({"url": "json://here", "most_per_minute": 1}))
    pace.sent(NOON)
    assert pace.allows(Level.INFO, NOON - timedelta(hours=1))
