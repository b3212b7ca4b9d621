"""The rate limit: never more in any second, and no slower than it has to be."""

import threading
from contextlib import suppress

from hypothesis import given
from hypothesis import strategies as st

from live.brokers.pace import Pace
from tests.waiting import eventually


class Time:
    """A clock that only passes while somebody waits, or a test says so."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    def pass_by(self, seconds: float) -> None:
        self.now += seconds


@given(st.integers(1, 12), st.lists(st.tuples(st.floats(0, 1.5), st.floats(0, 0.4)), min_size=1, max_size=60))
def test_no_second_holds_more_requests_than_allowed_whenever_in_its_turn_each_arrives(
    per_second: int, gaps_and_answers: list[tuple[float, float]]
) -> None:
    time = Time()
    pace = Pace(per_second, now=time, pause=time.pass_by)
    turns = []
    for gap, answered_after in gaps_and_answers:
        time.pass_by(gap)
        with pace.turn():
            begun = time.now
            time.pass_by(answered_after)
        turns.append((begun, time.now))
    for (_, earlier_ended), (later_began, _) in zip(turns, turns[per_second:], strict=False):
        assert later_began - earlier_ended >= 1 - 1e-9


def test_turns_within_the_limit_do_not_wait() -> None:
    time = Time()
    pace = Pace(10, now=time, pause=time.pass_by)
    for _ in range(10):
        with pace.turn():
            pass
    assert time.now == 100.0
    with pace.turn():
        assert time.now == 101.0


def test_a_request_that_fails_may_have_arrived_and_counts() -> None:
    time = Time()
    pace = Pace(1, now=time, pause=time.pass_by)
    with suppress(ConnectionError), pace.turn():
        raise ConnectionError
    with pace.turn():
        assert time.now == 101.0


def test_a_request_that_is_not_answered_yet_keeps_its_place() -> None:
    time, begun = Time(), []
    pace = Pace(2, now=time, pause=time.pass_by)

    def request() -> None:
        with pace.turn():
            begun.append(time.now)

    with pace.turn():
        with pace.turn():
            thread = threading.Thread(target=request)
            thread.start()
            thread.join(0.1)
            assert begun == []
            time.pass_by(5)
        assert eventually(lambda: begun == [106.0])
    thread.join()
