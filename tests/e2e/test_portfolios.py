"""Several portfolios in one `live` process, and several such processes: each is by itself, and led by one of them."""

import json
import os
import signal
import threading
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

import pytest

from core.postgres.embedded import EmbeddedServer
from tests.crash.totals import FULL
from tests.e2e.test_live import an_alert, folder
from tests.live_process import LiveProcess
from tests.queries import rows
from tests.verified import verified
from tests.waiting import eventually

__all__ = ["folder"]

NAMES = tuple(f"p{number:02d}" for number in range(50 if FULL else 6))


def named(*portfolios: str) -> list[str]:
    return [argument for name in portfolios for argument in ("--portfolio", name)]


def roles(live: LiveProcess) -> dict[str, str]:
    return {each["portfolio"]: each["role"] for each in live.get("/portfolios")[1]["portfolios"]}


@pytest.fixture
def configured(folder: Path) -> Path:
    """Three portfolios: with a secret, a capital and a limit of their own."""
    file = folder / "portfolios.json"
    own = {
        "alpha": {"webhook_secret": "secret of alpha", "initial_capital": 4000000},
        "beta": {
            "webhook_secret": "secret of beta",
            "limits": {"margin_percent": 1, "margin_warning_percent": 1, "margin_emergency_percent": 1},
        },
        "gamma": {"instruments": {"BANK_NIFTY": {"lot_size": 15}}},
    }
    file.write_text(json.dumps({"webhook_secret": "secret of all", "initial_capital": 8000000, "portfolios": own}))
    return file


def test_each_portfolio_has_its_own_capital_secret_limits_and_tables(folder: Path, configured: Path) -> None:
    data = folder / "data"
    with LiveProcess(data, *named("alpha", "beta", "gamma"), "--config", str(configured)) as live:
        entry = an_alert()
        for name, secret in (("alpha", "secret of alpha"), ("beta", "secret of beta"), ("gamma", "secret of all")):
            status, answer = live.post({**entry, "secret": secret}, f"/webhook/{name}")
            assert status == 200, answer
            assert answer["status"] == ("blocked" if name == "beta" else "executed"), answer
        assert live.post({**entry, "secret": "secret of beta"}, "/webhook/alpha")[0] == 401
        told = {name: live.get(f"/status?portfolio={name}")[1] for name in ("alpha", "beta", "gamma")}
        assert {name: status["initial_capital"] for name, status in told.items()} == {
            "alpha": "4000000",
            "beta": "8000000",
            "gamma": "8000000",
        }
        positions = {name: live.get(f"/positions?portfolio={name}")[1]["positions"] for name in told}
        assert [len(positions[name]) for name in told] == [1, 0, 1]
        assert positions["gamma"][0]["lot_size"].startswith("15")
        assert live.get("/ready") == (200, {"ready": True})
        for name in told:
            verified(EmbeddedServer.dsn_of(data), name)


def test_an_alert_says_by_path_query_or_body_for_which_portfolio_it_is(folder: Path) -> None:
    now, earlier = an_alert(), an_alert(ago=1)
    with LiveProcess(folder / "data", *named("alpha", "beta")) as live:
        by_body = live.post({**now, "portfolio": "alpha"})
        by_query = live.post(earlier, "/webhook?portfolio=beta")
        assert [answer[1]["status"] for answer in (by_body, by_query)] == ["executed", "executed"]
        assert [answer[1]["journal_seq"] for answer in (by_body, by_query)] == [4, 4]
        # The same alert for another portfolio is another signal.
        assert live.post({**earlier, "portfolio": "alpha"})[1]["status"] != "duplicate"
        for body, path, status, code in (
            (an_alert(), "/webhook", 400, "malformed"),
            (an_alert(), "/webhook/gamma", 404, "unknown_portfolio"),
            ({**an_alert(), "portfolio": "alpha"}, "/webhook/beta", 400, "malformed"),
        ):
            refused, answer = live.post(body, path)
            assert (refused, answer["error"]["code"], answer["error"]["field"]) == (status, code, "portfolio")
        assert live.get("/status")[0] == 400
        assert live.get("/positions?portfolio=gamma")[0] == 404


def test_an_operators_command_is_for_the_portfolio_that_it_names(folder: Path) -> None:
    with LiveProcess(folder / "data", *named("alpha", "beta")) as live:
        token = (folder / "data" / "operator.token").read_text().strip()
        assert live.post({}, "/halt", token)[0] == 400
        assert live.post({}, "/halt?portfolio=beta", token)[0] == 200
        halted = {name: live.get(f"/status?portfolio={name}")[1]["halted"] for name in ("alpha", "beta")}
        assert halted == {"alpha": False, "beta": True}


def test_one_portfolio_that_cannot_start_does_not_keep_the_others_from_serving(folder: Path) -> None:
    data = folder / "data"
    with LiveProcess(data, *named("alpha"), "--capital", "4000000"):
        pass
    config = folder / "other.json"
    config.write_text(json.dumps({"portfolios": {"alpha": {"initial_capital": 2000000}}}))
    with LiveProcess(data, *named("alpha", "beta"), "--config", str(config)) as live:
        assert live.post(an_alert(), "/webhook/beta")[1]["status"] == "executed"
        assert live.get("/ready") == (200, {"ready": True, "not_ready": ["alpha"]})
        assert live.get("/ready?portfolio=alpha")[0] == 503
        assert "capital changes by a flow" in live.log()
        # What comes for it is kept until somebody puts the configuration right.
        status, answer = live.post(an_alert(), "/webhook/alpha")
        assert (status, answer["status"]) == (202, "queued")
    with LiveProcess(data, *named("alpha")) as live:
        assert eventually(lambda: len(live.get("/positions")[1]["positions"]) == 1)


def test_what_comes_to_an_instance_that_cannot_lead_or_follow_is_decided_by_the_one_that_leads(folder: Path) -> None:
    """The balancer sends alerts there too: its other portfolios are ready."""
    data = folder / "data"
    config = folder / "other.json"
    config.write_text(json.dumps({"portfolios": {"alpha": {"initial_capital": 2000000}}}))
    with (
        LiveProcess(data, *named("alpha"), "--capital", "4000000") as leader,
        LiveProcess(data, *named("alpha", "beta"), "--config", str(config)) as misfit,
    ):
        assert eventually(lambda: "capital changes by a flow" in misfit.log())
        status, answer = misfit.post(an_alert(), "/webhook/alpha")
        assert (status, answer["status"]) == (202, "queued")
        assert eventually(lambda: len(leader.get("/positions")[1]["positions"]) == 1)
        assert eventually(lambda: misfit.get("/status?portfolio=alpha")[1]["spool"]["kept"] == 0)


def test_leadership_is_spread_over_the_instances_and_nothing_is_lost_while_it_moves(folder: Path) -> None:
    data = folder / "data"
    with ExitStack() as stack:
        lives = [stack.enter_context(LiveProcess(data, *named(*NAMES)))]
        assert eventually(lambda: set(roles(lives[0]).values()) == {"leader"})
        load = _Load(lives)
        lives += [stack.enter_context(LiveProcess(data, *named(*NAMES))) for _ in range(2)]
        with load:
            assert eventually(lambda: len([live for live in lives if "leader" in roles(live).values()]) >= 2)
            load.at_least(150)
        _each_is_led_by_one(lives)
        load.each_was_taken_and_decided_once(data)
        before = Counter(_leaders(lives).values())
        dead = lives[before.most_common(1)[0][0]]
        with load:
            os.kill(dead.process.pid, signal.SIGKILL)
            dead.process.wait(60)
            rest = [live for live in lives if live is not dead]
            assert eventually(lambda: set(_leaders(rest)) == set(NAMES))
            load.at_least(300)
        load.each_was_taken_and_decided_once(data)
        for name in NAMES:
            verified(EmbeddedServer.dsn_of(data), name)


def _leaders(lives: list[LiveProcess]) -> dict[str, int]:
    return {name: number for number, live in enumerate(lives) for name, role in roles(live).items() if role == "leader"}


def _each_is_led_by_one(lives: list[LiveProcess]) -> None:
    def settled() -> bool:
        told = Counter(name for live in lives for name, role in roles(live).items() if role == "leader")
        return told == Counter(NAMES)

    assert eventually(settled)


class _Load:
    """Bars for every portfolio, to every instance in turn; who is gone is left out, and none may be refused."""

    def __init__(self, lives: list[LiveProcess]) -> None:
        self._lives = lives
        self._over = threading.Event()
        self._threads: list[threading.Thread] = []
        self._next = iter(range(1, 10**9))
        self.taken: list[tuple[str, str]] = []
        self.refused: list[Any] = []

    def __enter__(self) -> Self:
        self._over.clear()
        self._threads = [threading.Thread(target=self._send, args=(name,)) for name in NAMES]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def at_least(self, answers: int) -> None:
        assert eventually(lambda: len(self.taken) >= answers)

    def _send(self, portfolio: str) -> None:
        while not self._over.wait(0.02):
            number = next(self._next)
            live = self._lives[number % len(self._lives)]
            bar = an_alert("MARKET_DATA", "", price=58000 + number % 50, seq=None, ago=0)
            try:
                status, answer = live.post(bar, f"/webhook/{portfolio}")
            except OSError:
                continue
            if status in (200, 202):
                self.taken.append((portfolio, answer["fingerprint"]))
            else:
                self.refused.append((status, answer))

    def each_was_taken_and_decided_once(self, data: Path) -> None:
        assert self.refused == []
        dsn = EmbeddedServer.dsn_of(data)
        for name in NAMES:
            sent = {fingerprint for portfolio, fingerprint in self.taken if portfolio == name}
            decided = f"SELECT fingerprint FROM {name}.decision_journal WHERE fingerprint IS NOT NULL"
            assert eventually(lambda sent=sent, decided=decided: sent <= {one for (one,) in rows(dsn, decided)})
