"""Recorded inputs of several files in one order."""

from datetime import datetime, timedelta
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.alert import canonical_payload
from core.ordering import signal_in_order_key
from live.replay.merge import in_order, merged
from live.replay.model import Recorded
from tests.builders import NOON, a_signal

KINDS = ("PYRAMID", "BASE_ENTRY", "MARKET_DATA", "EXIT")


def recorded(line: int = 1, kind: str = "EXIT", hours: int = 0, **fields: Any) -> Recorded:
    signal = a_signal(kind, **{"bar_time": NOON + timedelta(hours=hours), "timestamp": None} | fields)
    return Recorded(signal=signal, payload=canonical_payload(signal), line=line)


def lines_of(found: list[Recorded]) -> list[int]:
    return [one.line for one in found]


def test_inputs_of_one_bar_are_decided_exit_first_then_bar_then_base_then_pyramid() -> None:
    found = in_order(recorded(line, kind) for line, kind in enumerate(KINDS))
    assert [one.signal.type for one in found] == ["EXIT", "MARKET_DATA", "BASE_ENTRY", "PYRAMID"]


def test_an_earlier_bar_goes_before_a_later_one_whatever_its_kind() -> None:
    assert lines_of(in_order([recorded(1, hours=1), recorded(2, "PYRAMID", hours=0)])) == [2, 1]


def test_what_is_equal_in_order_keeps_the_order_it_came_in() -> None:
    assert lines_of(in_order([recorded(2), recorded(1), recorded(3)])) == [2, 1, 3]


def test_several_files_are_merged_in_time_order_the_earlier_file_first_where_equal() -> None:
    first = [recorded(1, hours=0), recorded(2, hours=2)]
    second = [recorded(11, hours=0), recorded(12, hours=1)]
    assert lines_of(merged([first, second])) == [1, 11, 12, 2]
    assert lines_of(merged([second, first])) == [11, 1, 12, 2]
    assert merged([]) == []


def test_start_is_inside_and_end_is_not() -> None:
    bars = [recorded(hour, hours=hour) for hour in range(5)]
    start, end = NOON + timedelta(hours=1), NOON + timedelta(hours=3)
    assert lines_of(merged([bars], start=start, end=end)) == [1, 2]
    assert lines_of(merged([bars], start=start)) == [1, 2, 3, 4]
    assert lines_of(merged([bars], end=end)) == [0, 1, 2]


def test_a_naive_bound_is_refused() -> None:
    with pytest.raises(ValueError, match=r"merged\.start must be an aware UTC datetime"):
        merged([], start=datetime(2026, 1, 1))  # noqa: DTZ001 - what is refused


@given(st.lists(st.tuples(st.sampled_from(KINDS), st.integers(0, 3)), max_size=20), st.integers(0, 99))
def test_merging_sorts_and_neither_loses_nor_invents(drawn: list[tuple[str, int]], seed: int) -> None:
    inputs = [recorded(line, kind, hours=hours) for line, (kind, hours) in enumerate(drawn)]
    shuffled = Random(seed).sample(inputs, len(inputs))
    found = merged([shuffled[::2], shuffled[1::2]])
    keys = [signal_in_order_key(one.signal) for one in found]
    assert keys == sorted(keys)
    assert sorted(lines_of(found)) == lines_of(inputs)
