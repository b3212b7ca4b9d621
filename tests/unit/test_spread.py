"""Which instance should lead which portfolio."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from live.spread import Moves, precedence

INSTANCES = st.lists(st.text("abcdef0123456789-", min_size=1, max_size=12), min_size=1, max_size=6, unique=True)


@given(INSTANCES, st.randoms())
def test_everybody_finds_the_same_order_whoever_he_asks_after_first(instances, random):
    shuffled = list(instances)
    random.shuffle(shuffled)
    assert precedence("alpha", instances) == precedence("alpha", shuffled)
    assert sorted(precedence("alpha", instances)) == sorted(instances)


@given(INSTANCES)
def test_when_an_instance_goes_only_its_own_portfolios_change_hands(instances):
    gone, *rest = instances
    for portfolio in (f"p{number}" for number in range(20)):
        before = precedence(portfolio, instances)[0]
        if rest and before != gone:
            assert precedence(portfolio, rest)[0] == before


def test_portfolios_spread_evenly():
    led = Counter(precedence(f"portfolio_{number}", ["one", "two", "three"])[0] for number in range(600))
    assert all(150 < count < 250 for count in led.values()), led


def test_of_several_portfolios_one_at_a_time_moves():
    moves = Moves()
    assert [moves.may_move() for _ in range(5)] == [False] * 5
