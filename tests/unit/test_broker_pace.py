"""The rate limit: never more in any second, and no slower than it has to be."""

from hypothesis import given
from hypothesis import strategies as st

from live.brokers.pace import Pace


class Time:
    """A clock that only passes while somebody waits, or a test says so."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    def pass_by(self, seconds: float) -> None:
        self.now += seconds


@given(st.integers(1, 12), st.lists(st.floats(0, 1.5), min_size=1, max_size=60))
def test_no_second_holds_more_turns_than_allowed(per_second: int, gaps: list[float]) -> None:
    time = Time()
    pace = Pace(per_second, now=time, pause=time.pass_by)
    turns = []
    for gap in gaps:
        time.pass_by(gap)
        pace.wait()
        turns.append(time.now)
    for earlier, later in zip(turns, turns[per_second:], strict=False):
        assert later - earlier >= 1 - 1e-9


def test_turns_within_the_limit_do_not_wait() -> None:
    time = Time()
    pace = Pace(10, now=time, pause=time.pass_by)
    for _ in range(10):
        pace.wait()
    assert time.now == 100.0
    pace.wait()
    assert time.now == 101.0
