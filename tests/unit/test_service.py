"""A portfolio's lives in one process: when it is begun anew, and when the process ends for it."""

import time
from collections.abc import Callable
from typing import Any

from core.errors import ConfigurationError
from live import service as service_module
from live.service import Life, Over, Service
from tests.waiting import eventually


class AnEngine:
    """What a service asks of one."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.serving = True
        self.took_up = False
        self.database_away = False
        self.left = 0

    def hand_over(self) -> None:
        self.left += 1

    def take_up_the_rest(self) -> None:
        self.took_up = True


class Lives:
    """Each life that was begun, and what happened to it; `runs` says what each does."""

    def __init__(self, *runs: Callable[[Over], None], wanted: bool = False) -> None:
        self._runs = list(runs)
        self._wanted = wanted
        self.events: list[str] = []
        self.overs: list[Over] = []
        self.engines: list[AnEngine] = []
        self.refusals: list[Exception] = []
        self.ends_badly = False
        self.wanted_lives = 1
        self.gave_away: list[bool] = []

    def begin(self, gave_away: bool = False) -> Life:
        if self.overs and self.refusals:
            raise self.refusals.pop()
        number, over = len(self.overs), Over()
        self.gave_away.append(gave_away)
        self.overs.append(over)
        self.events.append(f"begin {number}")
        run = self._runs[number] if number < len(self._runs) else lambda _: None
        self.engines.append(AnEngine(number))
        engine: Any = self.engines[-1]
        return Life(
            over=over,
            engine=engine,
            run=lambda: run(over),
            stop=lambda: self._end(f"stop {number}"),
            close=lambda: self._end(f"close {number}"),
            wanted_elsewhere=lambda: self._wanted and number < self.wanted_lives,
        )

    def _end(self, what: str) -> None:
        self.events.append(what)
        if self.ends_badly:
            raise OSError("the broker's book cannot be closed")


def refused(_: Over) -> None:
    raise ConfigurationError("another capital")


def number_of(service: Service) -> Any:
    engine: Any = service.engine
    return engine.number


def test_the_only_portfolio_of_a_process_ends_it_when_it_may_not_go_on():
    failures: list[str] = []
    service = Service("main", Lives(refused).begin, failures.append)
    service.start()
    assert eventually(lambda: failures == ["another capital"])
    service.stop()


def test_the_only_portfolio_of_a_process_may_give_the_lead_away_without_ending_it():
    failures: list[str] = []
    lives = Lives()
    service = Service("main", lives.begin, failures.append)
    service.start()
    lives.overs[0].end()
    assert eventually(lambda: number_of(service) == 1)
    service.stop()
    assert (failures, lives.gave_away) == ([], [False, True])


def test_one_of_several_is_begun_anew_and_the_old_engine_answers_until_the_new_one_is_there():
    lives = Lives()
    service = Service("beta", lives.begin, None)
    service.start()
    lives.overs[0].fail("replaced")
    assert eventually(lambda: number_of(service) == 1)
    assert eventually(lambda: "close 0" in lives.events)
    assert lives.events == ["begin 0", "stop 0", "begin 1", "close 0"]
    engine: Any = service.engine
    assert engine.took_up
    service.stop()
    service.close()
    assert lives.events[-2:] == ["stop 1", "close 1"]


def test_what_cannot_be_begun_anew_is_tried_again():
    lives = Lives()
    lives.refusals = [ConfigurationError("not yet")]
    service = Service("beta", lives.begin, None)
    service.start()
    lives.overs[0].fail("replaced")
    assert eventually(lambda: number_of(service) == 1)
    # Meanwhile another instance may lead: what came is put where it looks, each time.
    assert lives.engines[0].left >= 2
    service.stop()


def test_a_start_that_fails_in_a_way_nobody_thought_of_is_begun_anew_too():
    def broken(_: Over) -> None:
        raise ZeroDivisionError

    service = Service("beta", Lives(broken).begin, None)
    service.start()
    assert eventually(lambda: number_of(service) == 1)
    service.stop()


def test_a_portfolio_that_another_instance_should_lead_is_given_up_without_a_failure():
    lives = Lives(wanted=True)
    service = Service("beta", lives.begin, None)
    service.start()
    assert eventually(lambda: number_of(service) == 1)
    assert lives.overs[0].failure is None
    assert lives.gave_away == [False, True]
    service.stop()


def test_a_process_that_ends_while_a_portfolio_is_begun_anew_ends():
    lives = Lives()
    service = Service("beta", lives.begin, None)
    service.start()
    lives.overs[0].fail("replaced")
    service.stop()
    service.close()
    assert lives.events[-1].startswith("close")


def test_what_nobody_thought_of_does_not_keep_a_portfolio_from_being_begun_anew():
    lives = Lives()
    lives.refusals = [OSError("no space left on device")]
    lives.ends_badly = True
    service = Service("beta", lives.begin, None)
    service.start()
    lives.overs[0].fail("replaced")
    assert eventually(lambda: number_of(service) == 1)
    assert eventually(lambda: lives.events == ["begin 0", "stop 0", "begin 1", "close 0"])
    lives.overs[1].fail("replaced")
    assert eventually(lambda: number_of(service) == 2)
    lives.ends_badly = False
    service.stop()


def test_what_fails_again_and_again_is_begun_less_and_less_often(monkeypatch):
    """Each start takes a term and writes it down, and whoever could lead finds the lock taken."""
    monkeypatch.setattr(service_module, "AGAIN_SECONDS", 0.1)
    lives = Lives(*[refused] * 5)
    service = Service("beta", lives.begin, None)
    began = time.monotonic()
    service.start()
    assert eventually(lambda: len(lives.overs) == 5)
    assert time.monotonic() - began >= 0.1 * (1 + 2 + 4 + 8)
    # What comes meanwhile is left to whoever leads.
    assert [engine.left >= waited for engine, waited in zip(lives.engines, (1, 2, 4, 8), strict=False)] == [True] * 4
    service.stop()


def test_what_came_back_is_not_given_away_again_at_once(monkeypatch):
    """The one that is to lead may be one that follows, and cannot lead: then it would go to and fro for ever."""
    monkeypatch.setattr(service_module, "LOOK_SECONDS", 0.01)
    monkeypatch.setattr(service_module, "KEEPS_SECONDS", 0.4)
    lives = Lives(wanted=True)
    lives.wanted_lives = 4
    service = Service("beta", lives.begin, None)
    began = time.monotonic()
    service.start()
    assert eventually(lambda: len(lives.overs) == 4)
    assert time.monotonic() - began >= 0.4 + 0.8
    service.stop()
