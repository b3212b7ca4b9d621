"""The order of a run by several workers."""

from hypothesis import given
from hypothesis import strategies as st

from tests.dealing import SLOW, dealt

PATHS = st.lists(st.sampled_from([*SLOW, "tests/unit/", "tests/integration/"]), max_size=60)


@given(PATHS, st.integers(1, 6))
def test_each_test_is_in_the_order_once(paths, hands):
    assert sorted(dealt([(path, number) for number, path in enumerate(paths)], hands)) == list(range(len(paths)))


def test_every_worker_begins_with_its_share_of_what_takes_long():
    items = [("tests/unit/", f"quick {n}") for n in range(12)] + [("tests/ha/", "ha 0"), ("tests/ha/", "ha 1")]
    items += [("tests/crash/", f"crash {n}") for n in range(2)]
    order = dealt(items, 4)
    assert [order[part * 4] for part in range(4)] == ["ha 0", "ha 1", "crash 0", "crash 1"]
