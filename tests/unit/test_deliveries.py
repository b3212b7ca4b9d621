"""The queue in front of the writer: what comes first, what is put back, what is taken out again."""

import threading
from collections.abc import Callable
from functools import partial

from core.inputs import Halt, Resume
from live.answers import Answer, AnswerKind
from live.deliveries import MOST_AT_ONCE, Delivery, Waiting, first_of_each
from tests.builders import a_signal, given, minutes


def waiting(*deliveries: Delivery) -> Waiting:
    queue = Waiting()
    for delivery in deliveries:
        assert queue.put(delivery)
    return queue


def of(minute: float, kind: str = "MARKET_DATA", **fields: object) -> Delivery:
    return Delivery(given(a_signal(kind, timestamp=minutes(minute), **fields)))


def test_commands_come_first_then_signals_by_their_bars() -> None:
    late, early, halt = of(2), of(1), Delivery(Halt())
    assert waiting(late, early, halt).take(0) == [halt, early, late]


def test_more_than_a_batch_is_taken_in_order_over_several() -> None:
    deliveries = [of(minute) for minute in range(MOST_AT_ONCE + 5)]
    queue = waiting(*reversed(deliveries))
    assert queue.take(0) == deliveries[:MOST_AT_ONCE]
    assert queue.take(0) == deliveries[MOST_AT_ONCE:]


def test_what_marks_many_positions_is_taken_in_smaller_batches() -> None:
    deliveries = [of(minute) for minute in range(100)]
    queue = Waiting(lambda _: 12)
    for delivery in deliveries:
        queue.put(delivery)
    # Twelve marks and a signal's own four: each counts for four signals.
    batches = [queue.take(0) for _ in range(4)]
    assert [len(batch) for batch in batches] == [32, 32, 32, 4]
    assert [one for batch in batches for one in batch] == deliveries
    assert queue.take(0) == []


def test_what_marks_more_than_a_batch_is_taken_alone() -> None:
    heavy, light = of(1), of(2)
    queue = Waiting(lambda delivery: 10_000 if delivery is heavy else 0)
    for delivery in (light, heavy):
        queue.put(delivery)
    assert [queue.take(0), queue.take(0)] == [[heavy], [light]]


def test_few_that_mark_many_positions_are_worth_as_much_as_many() -> None:
    queue = Waiting(lambda _: 12)
    for minute in range(8):
        queue.put(of(minute))
        assert bool(queue.take_many(8 * 4, lambda: True)) == (minute == 7)


def test_what_was_taken_out_weighs_nothing_any_more() -> None:
    queue = Waiting()
    gone, kept = [of(minute) for minute in range(2)], of(3)
    for delivery in (*gone, kept):
        queue.put(delivery)
    for delivery in gone:
        delivery.abandoned = True
        queue.discard(delivery)
    assert queue.take_many(2, lambda: True) == []
    assert queue.take_many(1, lambda: True) == [kept]


def test_what_is_put_back_comes_before_what_came_later() -> None:
    first, second = Delivery(Halt()), Delivery(Resume())
    queue = waiting(first)
    assert queue.take(0) == [first]
    queue.put(second)
    queue.put_back([first])
    assert queue.take(0) == [first, second]


def test_a_closed_queue_takes_nothing_new_and_takes_back() -> None:
    delivery = of(1)
    queue = waiting(delivery)
    queue.take(0)
    queue.close()
    assert not queue.put(of(2))
    queue.put_back([delivery])
    assert queue.take(0) == [delivery]


def test_the_first_to_come_is_decided_whatever_their_order() -> None:
    """Of one bar, and the second says that it fired earlier."""
    first = of(2, bar_time=minutes(0))
    second = Delivery(given(a_signal("MARKET_DATA", timestamp=minutes(1), bar_time=minutes(0))))
    queue = waiting(first, second)
    (decided,) = first_of_each(queue.take(0))
    assert decided is first
    assert decided.followers == [second]


def test_who_follows_a_follower_follows_the_first() -> None:
    first, second, third = (Delivery(given(a_signal())) for _ in range(3))
    third.follow(second)
    second.follow(first)
    assert first.everybody == [first, second, third]


def test_a_discarded_delivery_is_gone_unless_somebody_who_waits_with_it_wants_it() -> None:
    alone, first, kept = (Delivery(given(a_signal())) for _ in range(3))
    queue = waiting(alone)
    alone.abandoned = True
    queue.discard(alone)
    assert len(queue) == 0
    queue = waiting(first)
    kept.kept = True
    kept.follow(first)
    first.abandoned = True
    queue.discard(first)
    assert len(queue) == 1


def test_hurrying_frees_signals_and_those_who_wait_with_them_not_commands() -> None:
    ended: list[str] = []
    signal, follower, command = of(1), of(1), Delivery(Halt())
    for name, delivery in (("signal", signal), ("follower", follower), ("command", command)):
        delivery.when_done = partial(ended.append, name)
    follower.follow(signal)
    waiting(signal, command).hurry()
    assert ended == ["signal", "follower"]
    assert signal.wait(60) is follower.wait(60) is None
    answer = Answer(kind=AnswerKind.DECIDED)
    command.settle(answer)
    assert command.wait(0) is answer
    assert ended[2:] == ["command"]


def test_whoever_waits_is_freed_whatever_others_do_at_that_moment() -> None:
    for _ in range(300):
        delivery, answer = of(1), Answer(kind=AnswerKind.DECIDED)
        started = threading.Barrier(4)
        told: list[Answer | None] = []

        def after(work: Callable[[], object], started: threading.Barrier = started) -> None:
            started.wait()
            work()

        works = (
            lambda delivery=delivery, told=told: told.append(delivery.wait(60) or delivery.wait(60)),
            delivery.hurry,
            lambda delivery=delivery, answer=answer: delivery.settle(answer),
            delivery.hurry,
        )
        threads = [threading.Thread(target=after, args=[work]) for work in works]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
            assert not thread.is_alive()
        # Hurried first, it may have had no answer yet; it is open for good all the same.
        assert told[0] in (None, answer)
        assert delivery.wait(0) is answer


def test_a_delivery_is_wanted_while_it_is_kept_or_anybody_waits() -> None:
    first, follower = of(1), of(1)
    follower.follow(first)
    assert first.wanted
    first.abandoned = True
    assert first.wanted
    follower.abandoned = True
    assert not first.wanted
    follower.kept = True
    assert first.wanted
