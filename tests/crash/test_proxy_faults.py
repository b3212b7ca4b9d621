"""A network between engine and PostgreSQL that delays, cuts, and falls silent, under load: nothing lost, nothing doubled."""

import os
import signal as signals
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from random import Random

import pytest

from tests.crash.load import Load, dice_of, eventually, live_on, prove
from tests.crash.totals import FULL
from tests.proxy import Cut, Proxy, Way

REPEATS = range(5 if FULL else 1)
CUTS = tuple(cut for cut in Cut if cut is not Cut.NEVER)
# Longer than any bound of the engine on one call to the database.
SILENCE_SECONDS = 4.0


@pytest.fixture
def proxy(dsn: str) -> Iterator[Proxy]:
    with Proxy(dsn) as made:
        yield made


@pytest.mark.parametrize("repeat", REPEATS)
def test_commits_that_are_cut_before_inside_and_after_take_effect_once(dsn, proxy, folder, note, repeat):
    name, rounds = f"cut commits {repeat}", 4
    cuts = dice_of(name).sample(CUTS * rounds, len(CUTS) * rounds)
    with live_on(proxy.dsn, folder) as live:
        load = Load(live, name)
        with load.running():
            for number, cut in enumerate(cuts, 1):
                proxy.cut = cut
                eventually(lambda number=number: proxy.cuts == number, f"a COMMIT to cut: {cut.value}")
                load.wait_for(answers=3)
        prove(load, live, dsn, note, faults=len(cuts))


@contextmanager
def a_silence(proxy: Proxy, *ways: Way) -> Iterator[None]:
    proxy.silence(*ways)
    yield
    proxy.speak()


@contextmanager
def a_slow_line(proxy: Proxy, dice: Random) -> Iterator[None]:
    proxy.delay = dice.uniform(0.1, 0.5)
    yield
    proxy.delay = 0.0


@contextmanager
def a_closed_door(proxy: Proxy) -> Iterator[None]:
    proxy.refuse(True)
    yield
    proxy.refuse(False)


@contextmanager
def a_line_that_breaks(proxy: Proxy, dice: Random) -> Iterator[None]:
    for _ in range(10):
        proxy.cut_all()
        time.sleep(dice.uniform(0.0, 0.2))
    yield


@pytest.mark.parametrize("repeat", REPEATS)
def test_a_line_that_breaks_delays_refuses_and_falls_silent_loses_and_doubles_nothing(dsn, proxy, folder, note, repeat):
    name = f"line {repeat}"
    dice = dice_of(name)
    faults = [
        (0.0, a_line_that_breaks(proxy, dice)),
        (1.5, a_slow_line(proxy, dice)),
        (2.0, a_closed_door(proxy)),
        (SILENCE_SECONDS, a_silence(proxy, Way.TO_SERVER)),
        (SILENCE_SECONDS, a_silence(proxy, Way.TO_CLIENT)),
        # Who connects meanwhile is accepted and told nothing.
        (SILENCE_SECONDS, a_silence(proxy, *Way)),
    ]
    dice.shuffle(faults)
    with live_on(proxy.dsn, folder) as live:
        load = Load(live, name)
        with load.running():
            for seconds, fault in faults:
                load.wait_for(answers=20)
                with fault:
                    time.sleep(seconds)
        prove(load, live, dsn, note, faults=len(faults))
        assert load.ledger.queued


@pytest.mark.parametrize("repeat", REPEATS)
def test_killed_or_told_to_stop_while_the_database_is_away_what_was_taken_is_decided_after_the_next_start(
    dsn, proxy, folder, note, repeat
):
    name, ends = f"ended while away {repeat}", [signals.SIGKILL, signals.SIGTERM] * (2 if FULL else 1)
    dice = dice_of(name)
    with ExitStack() as stack:
        live = stack.enter_context(live_on(proxy.dsn, folder))
        load = Load(live, name)
        with load.running():
            for end in dice.sample(ends, len(ends)):
                load.wait_for(answers=20)
                # What a silence holds back, a COMMIT too, reaches the server only when the next process starts.
                with dice.choice((a_closed_door(proxy), a_silence(proxy, *Way))):
                    time.sleep(dice.uniform(0.5, 3.0))
                    os.kill(live.process.pid, end)
                    live.process.wait(60)
                live = stack.enter_context(live_on(proxy.dsn, folder, port=live.port))
        prove(load, live, dsn, note, faults=2 * len(ends))
        assert load.ledger.queued
