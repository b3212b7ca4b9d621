"""The dashboard: what its first line says, what its rows tell, what a page that knows a version is told."""

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from msgspec.structs import replace

from core.config import default_settings
from core.decide import decide
from core.models import RolloverStatus, Signal
from core.orders import OrderPurpose, OrderState
from core.portfolio import Portfolio
from core.portfolio_state import PortfolioStateManager
from live.api.access import PAGE_POLICY
from live.app import create_app
from live.dashboard import board as board_module
from live.dashboard.asked import asked_by_fingerprint, waiting_rows, waits_in_words
from live.dashboard.assets import address, asset
from live.dashboard.board import MOST_GONE, Board, Sections
from live.dashboard.health import TITLES, Level, Moment, remarks_on, title
from live.dashboard.history import SHARED_SECONDS, Shared, equity_curve, ladder
from live.dashboard.rows import order_row, position_row, signal_row
from live.dashboard.streams import Streams
from live.dashboard.view import View
from live.dashboard.words import factor, moment, money, percent, price, some
from live.operators import Operators
from live.portfolios import Portfolios
from tests.builders import (
    NOON,
    a_portfolio,
    a_position,
    a_signal,
    an_order,
    given,
    holding,
    minutes,
    settings_with,
    with_state,
)
from tests.fake_engine import FakeEngine, an_app, served_by

# --- words


def test_figures_are_grouped_and_keep_their_decimals() -> None:
    assert money(Decimal("5012345.6")) == "5,012,345.60"
    assert money(Decimal(12), signed=True) == "+12.00"
    assert money(Decimal(0), signed=True) == "0.00"
    assert money(None) == percent(None) == price(None) == factor(None) == "—"
    assert price(Decimal("52000.50000000"), 2) == "52,000.50"
    assert price(Decimal("0.00012300")) == "0.000123"
    assert price(Decimal(5000)) == "5,000"
    assert (factor(Decimal("1.5")), factor(Decimal(-2)), factor(Decimal(0))) == ("+1.50 R", "-2.00 R", "0.00 R")
    assert moment(NOON) == "14 Jan 06:15:00"
    assert some(["a", "b", "c", "d"]) == "a, b, c and 1 more"


# --- the first line


def seen(portfolio: Portfolio | None = None, **changes: Any) -> Moment:
    """A portfolio with which all is well, but for the changes; those of `status` are what /status would say."""
    held = a_portfolio() if portfolio is None else portfolio
    status = {**PortfolioStateManager(lambda: held).measure(), "failed_invariants": [], **changes.pop("status", {})}
    defaults: dict[str, Any] = {
        "role": "leader",
        "ready": True,
        "backlog": 0,
        "spool": {"kept": 0, "set_aside": 0, "usable": True},
        "status": status,
        "portfolio": held,
        "away": None,
        "led_by": "here:5000",
    }
    return Moment(**{**defaults, **changes})


def frozen(reason: str) -> Portfolio:
    portfolio = a_portfolio()
    row = replace(portfolio.pyramiding_of("COPPER"), frozen_reason=reason)
    return replace(portfolio, pyramiding=portfolio.pyramiding.set("COPPER", row))


def spooled(**changes: Any) -> dict[str, Any]:
    return {"kept": 0, "set_aside": 0, "usable": True, **changes}


def at_broker(*positions: Any) -> Portfolio:
    return holding(a_portfolio(settings_with(execution={"fills": "broker"})), *positions)


def test_with_nothing_wrong_all_is_well() -> None:
    assert remarks_on(seen()) == []
    assert title([]) == (Level.WELL, "All is well")
    assert remarks_on(seen(holding(a_portfolio(), a_position()))) == []
    assert remarks_on(seen(role="follower", led_by="there:5000")) == []


@pytest.mark.parametrize(
    "moment_seen, level, words",
    [
        (seen(status={"halted": True}), "act", "trading is halted"),
        (seen(ready=False), "act", "not ready, alerts are answered 503"),
        (seen(away="no route"), "act", "the database is away, alerts are kept on the local disk"),
        (seen(status={"failed_invariants": ["totals"]}), "act", "an invariant failed at the start: totals"),
        (seen(role="follower", led_by=None), "act", "nobody leads"),
        (seen(role="starting"), "look", "starting"),
        (seen(holding(a_portfolio(), a_position(current_stop=None))), "act", "1 position without a stop: GOLD_MINI"),
        (seen(at_broker(a_position())), "act", "1 position without a stop at the broker"),
        (
            seen(holding(a_portfolio(), a_position(rollover_status=RolloverStatus.FAILED))),
            "act",
            "1 roll to the next contract failed",
        ),
        (seen(frozen("missing at broker: COPPER, ours 5")), "act", "what the broker holds differs from ours: COPPER"),
        (seen(frozen("an operator's reason")), "look", "entries are frozen: COPPER"),
        (
            seen(a_portfolio().with_order(an_order(state=OrderState.IN_DOUBT))),
            "act",
            "nobody knows what became of 1 order: pm4",
        ),
        (seen(spool=spooled(set_aside=2)), "act", "2 signals set aside"),
        (seen(spool=spooled(kept=3)), "look", "3 signals on the local disk wait"),
        (seen(spool=spooled(usable=False)), "look", "the local disk takes no signal"),
        (seen(backlog=100), "look", "100 inputs wait to be decided"),
        (seen(status={"total_risk_percent": Decimal(12)}), "look", "risk is 12.00 % of 15.00 %: no more pyramids"),
        (seen(status={"total_vol_percent": Decimal(5)}), "look", "volatility is 5.00 %, at its limit of 5.00 %"),
        (seen(status={"margin_percent": Decimal(51)}), "look", "margin is 51.00 % of 60.00 %"),
        (seen(status={"margin_percent": Decimal(71)}), "act", "above its emergency level of 70.00 %"),
        (seen(status={"margin_percent": None}), "act", "margin cannot be told: the equity is not above 0"),
        (seen(status={"drawdown_percent": Decimal(5)}), "look", "the drawdown is 5.00 %, sizes x 0.75"),
        (seen(status={"drawdown_percent": Decimal(10)}), "look", "sizes x 0.5 and no base entries"),
        (seen(status={"drawdown_percent": Decimal("15.1")}), "act", "the drawdown is 15.10 %, entries are blocked"),
        (seen(redis_is_away=True), "look", "Redis does not answer"),
    ],
)
def test_what_is_wrong_is_said_in_words(moment_seen: Moment, level: str, words: str) -> None:
    found = remarks_on(moment_seen)
    assert [(remark.level.value, words in remark.text) for remark in found] == [(level, True)]
    assert title(found) == (Level(level), f"{TITLES[Level(level)]}: {found[0].text}")


def test_with_the_database_away_and_nothing_kept_both_are_said() -> None:
    found = [remark.text for remark in remarks_on(seen(ready=False, away="no route to it"))]
    assert found == [
        "not ready, alerts are answered 503 and nothing is kept",
        "the database is away, no route to it",
    ]


def test_just_below_a_level_all_is_well() -> None:
    below = {
        "total_risk_percent": Decimal("11.99"),
        "total_vol_percent": Decimal("3.99"),
        "margin_percent": Decimal("49.99"),
        "drawdown_percent": Decimal("4.99"),
    }
    assert remarks_on(seen(status=below, backlog=99)) == []


def test_a_position_with_its_stop_at_the_broker_or_on_its_way_out_is_protected() -> None:
    stop = an_order(purpose=OrderPurpose.STOP, client_order_id="pm4-0123456789ab-s1")
    assert remarks_on(seen(at_broker(a_position()).with_order(stop))) == []
    assert remarks_on(seen(at_broker(a_position()).with_order(an_order()))) == []


def test_the_worst_comes_first_and_is_the_pages_title() -> None:
    found = remarks_on(seen(status={"halted": True}, backlog=500))
    assert [remark.level for remark in found] == [Level.ACT, Level.LOOK]
    assert title(found) == (Level.ACT, "Act now: trading is halted, entries are blocked and exits go on")


# --- rows


def test_a_position_tells_what_it_earned_and_what_it_may_give_back() -> None:
    held = a_position(mark_price=Decimal(72750), current_stop=Decimal(72100), unrealized_pnl=Decimal(15000), lots=1)
    row = position_row(holding(a_portfolio(), held), held)
    told = {name: row[name] for name in ("lots", "entry", "stop", "mark", "r", "pnl", "heat", "tone")}
    assert told == {
        "lots": "1 of 2",
        "entry": "72,000",
        "stop": "72,100",
        "mark": "72,750",
        "r": "+1.50 R",
        "pnl": "+15,000.00",
        "heat": "6,500.00",
        "tone": "gain",
    }


def test_a_short_earns_as_its_price_falls() -> None:
    short = a_position(layer="Short_1", initial_stop=Decimal(72500), mark_price=Decimal(71500))
    assert position_row(a_portfolio(), short)["r"] == "+1.00 R"


def test_a_position_without_a_stop_says_so() -> None:
    bare = a_position(current_stop=None, initial_stop=None)
    row = position_row(a_portfolio(), bare)
    assert (row["stop"], row["r"], row["heat"]) == ("no stop", "—", "0.00")


def signal(**changes: Any) -> dict[str, Any]:
    return {
        "id": 7,
        "instrument": "BANK_NIFTY",
        "signal_type": "BASE_ENTRY",
        "position": "Long_1",
        "received_at": NOON,
        "deliveries": 1,
        "processing_status": "rejected",
        "outcome": {"status": "rejected", "reason": "stale", "lots": None, "limiter": None},
        "payload": {"price": "52000.5"},
        "fingerprint": "f" * 64,
        "bar_time": NOON,
        "signal_timestamp": NOON,
        **changes,
    }


def test_a_signal_tells_its_reason_in_words() -> None:
    row = signal_row(signal())
    assert (row["type"], row["layer"], row["price"]) == ("base entry", "Long 1", "52,000.5")
    assert (row["status"], row["words"], row["again"]) == ("rejected", "it was too old when it was decided", "")
    assert signal_row(signal(deliveries=3))["again"] == "came 2 times more"
    assert signal_row(signal(outcome=None, payload=None))["words"] == "waits to be decided"
    executed = {"status": "executed", "reason": None, "lots": 2, "limiter": "volatility"}
    assert signal_row(signal(outcome=executed))["words"].startswith("2 lots; volatility bound it")


# --- a board


class Source:
    """What a board reads: changed by the test, and how often it was read."""

    def __init__(self) -> None:
        self.sections: dict[str, dict[str, dict[str, str]]] = {"positions": {"a": {"x": "1"}, "b": {"x": "2"}}}
        self.read = 0
        self.now = 0.0

    def __call__(self) -> Sections:
        self.read += 1
        return {section: dict(rows) for section, rows in self.sections.items()}

    def clock(self) -> float:
        return self.now


@pytest.fixture
def source() -> Source:
    return Source()


@pytest.fixture
def board(source: Source) -> Board:
    made = Board(source, clock=source.clock)
    made.look()
    return made


def moved(board: Board, source: Source) -> None:
    source.now += 10
    board.look()


def told(board: Board, version: str | None) -> Any:
    changes = board.since(version)
    return None if changes is None else json.loads(changes.body)


def test_who_knows_nothing_is_told_everything(board: Board) -> None:
    everything = told(board, None)
    assert everything == {
        "version": board.version,
        "whole": True,
        "rows": {"positions": {"a": {"x": "1"}, "b": {"x": "2"}}},
    }
    for unknown in ("", "x", "other-1", f"{board.version}0", "-", "a-b-c", board.version.replace("-1", "-²")):
        assert told(board, unknown)["whole"] is True


def test_who_knows_a_version_is_told_what_changed_since(board: Board, source: Source) -> None:
    known = board.version
    assert told(board, known) is None
    moved(board, source)
    assert (board.version, told(board, known)) == (known, None)
    source.sections["positions"]["b"] = {"x": "3"}
    del source.sections["positions"]["a"]
    moved(board, source)
    changes = told(board, known)
    assert changes == {"version": board.version, "whole": False, "rows": {"positions": {"a": None, "b": {"x": "3"}}}}
    source.sections["positions"]["a"] = {"x": "1"}
    moved(board, source)
    assert told(board, known)["rows"] == {"positions": {"a": {"x": "1"}, "b": {"x": "3"}}}


def test_who_knows_what_is_forgotten_is_told_everything(
    board: Board, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(board_module, "MOST_GONE", 1)
    known = board.version
    source.sections = {"positions": {}}
    moved(board, source)
    assert MOST_GONE > 1
    assert told(board, known) == {"version": board.version, "whole": True, "rows": {}}


def test_many_who_look_are_read_for_once(board: Board, source: Source) -> None:
    for _ in range(5):
        board.look()
    assert source.read == 1
    moved(board, source)
    assert source.read == 2


def test_what_takes_long_to_read_is_read_less_often(source: Source) -> None:
    def slowly() -> Sections:
        source.now += 1.0
        return source()

    board = Board(slowly, clock=source.clock)
    board.look()
    source.now += 18.0
    board.look()
    assert source.read == 1
    source.now += 2.0
    board.look()
    assert source.read == 2


# --- what waits for a human


def asked(*signals: Signal, **approval: Any) -> Portfolio:
    portfolio = a_portfolio(settings_with(approval={"mode": "approve", **approval}))
    for signal in signals:
        portfolio = decide(portfolio, given(signal), minutes(0)).portfolio
    return portfolio


GOLD = a_signal(instrument="GOLD_MINI", price=72000, stop=71500, atr=500, timestamp=minutes(0))


def test_what_waits_is_told_with_what_it_would_risk_and_why_it_asks() -> None:
    ((key, row),) = waiting_rows(asked(a_signal())).items()
    assert key.startswith("20260114063000 ")
    told = {
        name: row[name] for name in ("does", "side", "layer", "lots", "price", "stop", "risk", "share", "rule", "until")
    }
    assert told == {
        "does": "enter",
        "side": "long",
        "layer": "Long 1",
        "lots": "2",
        "price": "52,000.0",
        "stop": "51,650.0",
        "risk": "21,000.00",
        "share": "0.42 %",
        "rule": "mode",
        "until": "14 Jan 06:30:00 UTC",
    }
    assert row["size"] == "the volatility that one entry may add"
    assert row["why"] == "the portfolio asks a human before it does anything"


def test_an_exit_that_waits_tells_what_it_closes_and_risks_nothing() -> None:
    portfolio = holding(a_portfolio(settings_with(approval={"mode": "approve", "exits": True})), a_position())
    exit_signal = a_signal("EXIT", instrument="GOLD_MINI", layer="ALL", price=72400, timestamp=minutes(2))
    portfolio = decide(portfolio, given(exit_signal), minutes(2)).portfolio
    (row,) = waiting_rows(portfolio).values()
    assert (row["does"], row["side"], row["layer"], row["lots"]) == ("close", "long", "ALL", "2")
    assert (row["stop"], row["risk"], row["share"]) == ("—", "—", "—")


def test_what_waits_of_an_instrument_that_is_no_longer_configured_is_told_without_its_risk() -> None:
    portfolio = asked(a_signal())
    others = {name: each for name, each in portfolio.settings.instruments.items() if name != "BANK_NIFTY"}
    (row,) = waiting_rows(
        replace(portfolio, settings=portfolio.settings.model_copy(update={"instruments": others}))
    ).values()
    assert (row["lots"], row["risk"]) == ("2", "—")


def test_what_is_over_first_comes_first_and_is_in_the_first_line() -> None:
    portfolio = asked(GOLD)
    portfolio = decide(portfolio, given(a_signal(timestamp=minutes(1))), minutes(1)).portfolio
    assert [row["instrument"] for row in waiting_rows(portfolio).values()] == ["GOLD_MINI", "BANK_NIFTY"]
    found = remarks_on(seen(portfolio, backlog=500))
    assert title(found) == (
        Level.LOOK,
        "Have a look: 2 signals wait for you: GOLD_MINI, BANK_NIFTY, the first until 14 Jan 06:30:00 UTC",
    )
    assert waits_in_words(a_portfolio()) is None
    halted = seen(portfolio, status={"halted": True})
    assert title(remarks_on(halted))[1].startswith("Act now: trading is halted")


PROPOSAL: dict[str, Any] = {
    "proposal_id": "P0123456789abcdef",
    "fingerprint": "c8f6b2",
    "lots": 2,
    "state": "pending",
    "expires_at": minutes(15),
    "decided_by": None,
    "note": None,
    "decided_lots": None,
    "decided_price": None,
}


@pytest.mark.parametrize(
    "changes, words",
    [
        ({}, "2 lots: waits for a human until 2026-01-14 06:30:00 UTC"),
        (
            {"state": "approved", "decided_by": "ada", "decided_lots": 2, "decided_price": Decimal(52000)},
            "2 lots: was approved by ada: 2 lots at 52,000",
        ),
        (
            {
                "state": "modified",
                "decided_by": "link",
                "decided_lots": 1,
                "decided_price": Decimal("52000.5"),
                "note": "half",
            },
            '2 lots: was approved with other lots by link: 1 lot at 52,000.5 ("half")',
        ),
        ({"state": "rejected", "decided_by": "ada", "note": "news"}, '2 lots: was rejected by ada ("news")'),
        ({"state": "expired", "note": "withdrawn"}, '2 lots: ended undecided ("withdrawn")'),
    ],
)
def test_the_feed_tells_what_became_of_a_signal_that_was_proposed(changes: dict[str, Any], words: str) -> None:
    assert asked_by_fingerprint([{**PROPOSAL, **changes}]) == {"c8f6b2": words}


# --- streams


def test_there_are_so_many_streams_and_a_closed_one_makes_room(board: Board) -> None:
    streams = Streams(2)
    first, second = (streams.begin(board, None, lambda: False) for _ in range(2))
    assert first is not None
    assert second is not None
    assert streams.begin(board, None, lambda: False) is None
    first.close()
    first.close()
    third = streams.begin(board, None, lambda: False)
    assert third is not None
    assert streams.begin(board, None, lambda: False) is None


def test_a_stream_tells_everything_then_changes_and_ends_with_the_server(board: Board) -> None:
    ending: list[bool] = []
    stream = Streams().begin(board, None, lambda: bool(ending))
    assert stream is not None
    parts = iter(stream)
    assert next(parts).startswith(b"retry: ")
    event = next(parts).decode()
    assert event.startswith(f"id: {board.version}\ndata: {{")
    assert event.endswith("\n\n")
    ending.append(True)
    assert list(parts) == []


# --- the view


class LoadedEngine(FakeEngine):
    """One whose status tells all that an engine's does."""

    def status(self) -> dict[str, Any]:
        return {
            **PortfolioStateManager(lambda: self.portfolio).measure(),
            "term": 3,
            "instance_id": "one",
            "pid": 1,
            "fills": "paper",
            "failed_invariants": [],
        }

    def backlog(self) -> dict[str, Any]:
        return {"backlog": 0, "spool": {"kept": 0, "set_aside": 0, "usable": True}}


@pytest.fixture
def engine() -> LoadedEngine:
    made = LoadedEngine()
    made.portfolio = holding(a_portfolio(), a_position())
    return made


def test_the_view_tells_figures_gauges_and_positions(engine: LoadedEngine) -> None:
    sections = View(served_by(engine)).sections()
    facts = sections["facts"]
    assert facts["title"]["text"] == "All is well"
    assert facts["closed_equity"]["text"] == "5,000,000.00"
    assert facts["redis"]["text"] == "not used"
    assert [row["name"] for row in sections["gauges"].values()] == ["Risk", "Volatility", "Margin", "Drawdown"]
    assert sections["gauges"]["3-margin"]["limit"] == "60 %"
    (row,) = sections["positions"].values()
    assert row["id"] == "GOLD_MINI-Long_1-abc"
    assert [row["name"] for row in sections["instruments"].values()] == ["GOLD_MINI"]


def test_a_gauge_is_full_at_its_limit_and_never_fuller(engine: LoadedEngine) -> None:
    engine.portfolio = with_state(engine.portfolio, total_risk_percent="30")
    gauge = View(served_by(engine)).sections()["gauges"]["1-risk"]
    assert (gauge["fill"], gauge["level"], gauge["tone"], gauge["note"]) == ("100.0", "80.0", "act", "at its limit")


def test_a_database_that_is_away_is_said_and_not_asked_at_once_again(engine: LoadedEngine) -> None:
    now = [0.0]
    view = View(served_by(engine), clock=lambda: now[0])
    engine.reads.away = True
    facts = view.sections()["facts"]
    assert facts["title"]["text"].startswith("Act now: the database is away")
    assert facts["database"]["text"] == "away"
    engine.reads.away = False
    now[0] = 1.0
    assert view.sections()["facts"]["database"]["text"] == "away"
    now[0] = 4.0
    assert view.sections()["facts"]["title"]["text"] == "All is well"


def test_before_the_state_is_loaded_the_page_says_so(engine: LoadedEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    from core.errors import DatabaseAway

    def away() -> dict[str, Any]:
        raise DatabaseAway

    monkeypatch.setattr(engine, "status", away)
    engine.role = "starting"
    sections = View(served_by(engine)).sections()
    assert sections["facts"]["title"]["text"] == "Have a look: starting, the state is being loaded"
    assert sections["facts"]["closed_equity"]["text"] == "—"
    assert sections["gauges"] == {}


def test_of_a_leader_whose_heart_no_longer_beats_nobody_says_that_it_leads(engine: LoadedEngine) -> None:
    engine.role = "follower"

    def instances(silent: int) -> list[dict[str, Any]]:
        common = {"hostname": "there", "version": "1", "started_at": NOON}
        ours = {**common, "instance_id": "one", "is_leader": False, "status": "standby", "port": 1}
        theirs = {**common, "instance_id": "two", "is_leader": True, "status": "active", "port": 5001}
        return [{**ours, "last_heartbeat": NOON}, {**theirs, "last_heartbeat": NOON - timedelta(seconds=silent)}]

    engine.reads.instances = lambda **_: instances(1)  # type: ignore[method-assign]
    facts = View(served_by(engine)).sections()["facts"]
    assert (facts["title"]["text"], facts["role"]["text"]) == ("All is well", "follower; led by there:5001")
    engine.reads.instances = lambda **_: instances(60)  # type: ignore[method-assign]
    assert "nobody leads" in View(served_by(engine)).sections()["facts"]["title"]["text"]


@pytest.mark.parametrize("elsewhere, words", [(True, "holds the lease"), (False, "does not answer")])
def test_redis_is_away_where_the_lease_is_not_in_it(engine: LoadedEngine, elsewhere: bool, words: str) -> None:
    engine.reads.one = lambda _: {"elsewhere": elsewhere, "expired": False, "holder": "x"}  # type: ignore[method-assign]
    facts = View(served_by(engine, lease_in_redis=True)).sections()["facts"]
    assert facts["redis"]["text"] == words


def test_a_position_that_did_not_change_is_the_same_row(engine: LoadedEngine) -> None:
    view = View(served_by(engine))
    (first,) = view.sections()["positions"].values()
    (second,) = view.sections()["positions"].values()
    assert first is second


def test_orders_tell_what_they_do_and_what_became_of_them() -> None:
    from msgspec.structs import asdict

    order = an_order(state=OrderState.IN_DOUBT, message="timed out")
    row = order_row({**asdict(order), "updated_at": NOON, "created_at": NOON})
    told = (row["does"], row["state"], row["words"], row["filled"], row["why"])
    assert told == (
        "sell 2 exit",
        "in doubt",
        "perhaps sent, for the broker's answer never came",
        "0 of 2",
        "timed out",
    )


# --- charts


def closed(day: int, pnl: str) -> dict[str, Any]:
    return {"exit_timestamp": datetime(2026, 1, day, tzinfo=UTC), "realized_pnl": Decimal(pnl)}


def test_the_equity_curve_ends_at_todays_equity_and_falls_from_its_highs(engine: LoadedEngine) -> None:
    engine.portfolio = with_state(a_portfolio(), closed_equity="5050000", realized_total="50000", equity_high="5100000")
    engine.reads.rows = [closed(4, "-100000"), closed(3, "50000"), closed(3, "50000"), closed(2, "50000")]
    curve = equity_curve(engine)
    assert curve["equity"] == [5_050_000, 5_150_000, 5_050_000]
    assert curve["drawdown"] == pytest.approx([0, 0, -100_000 / 5_150_000 * 100])
    assert curve["whole"] is True


def test_what_was_paid_in_is_no_gain_on_the_curve(engine: LoadedEngine) -> None:
    engine.portfolio = with_state(
        a_portfolio(), closed_equity="6010000", realized_total="10000", flows_total="1000000", equity_high="6010000"
    )
    engine.reads.rows = [closed(2, "10000")]
    curve = equity_curve(engine)
    assert (curve["equity"], curve["drawdown"]) == ([6_010_000], [0])


def test_a_ladder_has_prices_in_order_and_each_layers_lines(engine: LoadedEngine) -> None:
    later = NOON + timedelta(minutes=5)
    engine.reads.rows = [
        signal(payload={"price": "72100"}, bar_time=later),
        signal(payload={"price": "71900"}, bar_time=NOON - timedelta(minutes=5)),
        signal(payload=None),
    ]
    drawn = ladder(engine, "GOLD_MINI")
    assert drawn["price"] == [71900, 72000, 72100]
    assert drawn["time"] == sorted(drawn["time"])
    (layer,) = drawn["layers"]
    assert (layer["layer"], layer["entry"], layer["stop"], layer["number"]) == ("Long 1", 72000, 71500, 1)


def test_what_was_made_a_moment_ago_is_shared() -> None:
    now, made = [0.0], []
    shared = Shared(clock=lambda: now[0])

    def make() -> dict[str, Any]:
        made.append(now[0])
        return {"made": now[0]}

    assert shared.get("a", make) is shared.get("a", make)
    now[0] = SHARED_SECONDS
    assert shared.get("a", make) == {"made": SHARED_SECONDS}
    assert len(made) == 2


# --- over HTTP


def test_of_several_portfolios_each_says_how_it_is_and_has_its_own_page(engine: LoadedEngine) -> None:
    other = LoadedEngine()
    other.portfolio_name, other.portfolio = "beta", with_state(a_portfolio(), halted=True)
    portfolios = Portfolios({"main": served_by(engine), "beta": served_by(other)})
    app = create_app(
        portfolios, operators=Operators("operator-token-for-tests", Path("none")), session_secret="of the tests"
    )
    with app.test_client() as client:
        chooser = client.get("/").text
        assert re.findall(r'<li data-tone="(\w+)"><a href="/\?portfolio=(\w+)"', chooser) == [
            ("well", "main"),
            ("act", "beta"),
        ]
        assert "trading is halted" in chooser
        assert "Act now: trading is halted" in client.get("/?portfolio=beta").text
        assert "All is well" in client.get("/?portfolio=main").text
        assert client.get("/events").status_code == client.get("/dashboard/state").status_code == 400


@pytest.fixture
def client(engine: LoadedEngine) -> Iterator[FlaskClient]:
    with an_app(engine).test_client() as client:
        yield client


def test_the_page_is_whole_before_any_script_runs(client: FlaskClient) -> None:
    answer = client.get("/")
    assert (answer.status_code, answer.mimetype) == (200, "text/html")
    assert "All is well" in answer.text
    assert "71,500" in answer.text
    assert "5,000,000.00" in answer.text


def test_the_page_has_no_script_or_style_of_its_own_and_a_policy_that_admits_none(client: FlaskClient) -> None:
    for path in ("/", "/dashboard/journal"):
        answer = client.get(path)
        assert answer.headers["Content-Security-Policy"] == PAGE_POLICY
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Referrer-Policy"] == "no-referrer"
        assert "<style" not in answer.text
        assert re.search(r"<script(?![^>]* src=)", answer.text) is None
        assert re.search(r"<[^>]*\s(style|on\w+)=", answer.text) is None
    assert "unsafe" not in PAGE_POLICY


def test_every_file_of_a_page_is_there_and_may_be_kept_for_ever(client: FlaskClient) -> None:
    files = re.findall(r'(?:src|href)="(/dashboard/static/[^"]+)"', client.get("/").text)
    assert {path.rpartition("/")[2] for path in files} >= {"dashboard.css", "dashboard.js", "uPlot.iife.min.js"}
    for path in files:
        answer = client.get(path)
        assert answer.status_code == 200
        assert "immutable" in answer.headers["Cache-Control"]
    assert asset("nothing") is None
    with pytest.raises(KeyError):
        address("nothing")
    assert client.get("/dashboard/static/0123456789abcdef/dashboard.css").status_code == 404
    assert client.get(address("dashboard.css").replace("dashboard.css", "..%2fpages.py")).status_code == 404


def test_who_polls_is_told_what_changed_since(client: FlaskClient) -> None:
    first = client.get("/dashboard/state").get_json()
    assert first["whole"] is True
    again = client.get(f"/dashboard/state?version={first['version']}").get_json()
    assert again == {"version": first["version"], "whole": False, "rows": {}}


def test_the_stream_is_one_and_a_place_is_given_back_when_it_is_closed(client: FlaskClient) -> None:
    for _ in range(20):
        answer = client.get("/events")
        assert (answer.status_code, answer.mimetype) == (200, "text/event-stream")
        answer.close()
    assert client.head("/events").status_code == 200


def test_a_parameter_that_is_none_is_refused_here_as_everywhere(client: FlaskClient) -> None:
    for path in ("/", "/events", "/dashboard/state", "/dashboard/equity", "/dashboard/journal", "/dashboard/ladder/X"):
        assert client.get(f"{path}?nonsense=1").status_code == 400
        assert client.get(f"{path}?portfolio=other").status_code == 404


@pytest.mark.parametrize(
    "query",
    [
        "before=x",
        "before=0",
        "status=lost",
        "instrument=%2e%2e",
        "status=executed&before=-1",
        "of=1&before=x",
        "of=1&status=lost",
    ],
)
def test_a_search_that_makes_no_sense_is_refused(client: FlaskClient, query: str) -> None:
    assert client.get(f"/dashboard/journal?{query}").status_code == 400


ENTRY = {
    "seq": 12,
    "kind": "signal",
    "term": 1,
    "decided_at": NOON,
    "input": {"signal": {"type": "BASE_ENTRY", "instrument": "COPPER", "layer": "Long_1", "price": "<b>1</b>"}},
    "outcome": {"status": "rejected", "reason": "<script>alert(1)</script>", "lots": None, "limiter": None},
    "figures": {},
}


def test_the_journal_explains_an_entry_and_writes_nothing_as_markup(client: FlaskClient, engine: LoadedEngine) -> None:
    engine.reads.rows = [ENTRY]
    for path in ("/dashboard/journal?of=12", "/dashboard/journal"):
        text = client.get(path).text
        assert "rejected: &lt;script&gt;" in text
        assert "<script>alert" not in text
    assert "entry 12, decided 2026-01-14 06:15:00 UTC under term 1" in client.get("/dashboard/journal?of=12").text


def test_the_journal_finds_signals_and_says_where_there_is_nothing(client: FlaskClient, engine: LoadedEngine) -> None:
    assert "Nothing was found." in client.get("/dashboard/journal").text
    assert "There is no entry of this number" in client.get("/dashboard/journal?of=nothing").text
    engine.reads.rows = [signal(id=number) for number in range(60, 0, -1)]
    text = client.get("/dashboard/journal?instrument=bank_nifty&status=rejected").text
    assert text.count("it was too old when it was decided") == 50
    assert "&amp;before=11" in text
    asked = dict(engine.reads.asked[-1][1])
    assert (asked["instrument"], asked["statuses"]) == ("BANK_NIFTY", ["rejected"])


def test_without_the_database_the_page_is_there_and_the_journal_says_so(
    client: FlaskClient, engine: LoadedEngine
) -> None:
    engine.reads.away = True
    assert "the database is away" in client.get("/").text
    answer = client.get("/dashboard/journal")
    assert (answer.status_code, "The database is away" in answer.text) == (503, True)


def test_what_a_sender_writes_is_no_markup_on_the_page(client: FlaskClient, engine: LoadedEngine) -> None:
    evil = '"><script>alert(1)</script>'
    row = replace(engine.portfolio.pyramiding_of("GOLD_MINI"), frozen_reason=evil)
    engine.portfolio = replace(engine.portfolio, pyramiding=engine.portfolio.pyramiding.set("GOLD_MINI", row))
    text = client.get("/").text
    assert "&lt;script&gt;alert(1)" in text
    assert "<script>alert" not in text


def test_the_limits_on_the_gauges_are_those_of_the_settings() -> None:
    limits = default_settings().limits
    assert (limits.risk_percent, limits.volatility_percent, limits.margin_percent) == (15, 5, 60)
