"""What became of orders and of kept signals is told in the log, once and without a secret."""

from datetime import datetime
from typing import Any

from msgspec.structs import replace
from structlog.testing import capture_logs

from core.decide import decide
from core.inputs import ClosePositions, Input, OrderReport
from core.journal import Batch, Entry
from core.orders import Order, OrderState
from core.portfolio import Portfolio
from live.answers import Answer, AnswerKind
from live.deliveries import Delivery
from live.order_log import order_lines, tell_kept, tell_orders
from live.origins import Origins
from tests.builders import NOON, a_portfolio, a_signal, given
from tests.unit.test_decide_orders import Book, a_fill, by_broker


def a_batch(portfolio: Portfolio, *inputs: Input, now: datetime = NOON) -> Batch:
    """The inputs decided one after the other, as the writer does."""
    entries, after = [], portfolio
    for seq, one in enumerate(inputs, start=11):
        decision = decide(replace(after, seq=seq), one, now)
        entries.append(Entry(given=one, decision=decision, decided_at=now))
        after = decision.portfolio
    return Batch(before=portfolio, after=after, entries=tuple(entries))


def told(batch: Batch) -> list[tuple[str, dict[str, Any]]]:
    return [(what, dict(fields)) for what, fields in order_lines(batch, Origins())]


def a_report(order: Order, state: str | None = None, *fills: Any, **fields: Any) -> OrderReport:
    told_state = None if state is None else OrderState(state)
    return OrderReport(client_order_id=order.client_order_id, state=told_state, fills=fills, **fields)


def test_an_intended_order_is_told_with_what_it_does() -> None:
    batch = a_batch(by_broker(), given(a_signal(er=1)))
    ((what, fields),) = told(batch)
    (order,) = batch.after.orders
    assert what == "order intended"
    assert fields == {
        "order": order,
        "instrument": "BANK_NIFTY",
        "layer": "Long_1",
        "action": "buy",
        "lots": 5,
        "purpose": "entry",
        "reference_price": "52000",
        "reason": None,
        "fingerprint": given(a_signal(er=1)).fingerprint,
    }


def test_all_that_comes_of_a_signal_has_its_id_and_nothing_of_an_operator_has() -> None:
    origins, signal = Origins(), given(a_signal(er=1))
    first = a_batch(by_broker(), signal)
    (order,) = first.after.orders.values()
    second = a_batch(first.after, a_report(order, "filled", a_fill("f1", lots=order.lots), settled=True))
    close = a_batch(second.after.settled(), ClosePositions(position_id="ALL"))
    named = [
        (what, fields.get("fingerprint"))
        for batch in (first, second, close)
        for what, fields in order_lines(batch, origins)
    ]
    mine = [what for what, fingerprint in named if fingerprint == signal.fingerprint]
    assert mine == ["order intended", "order fill", "order filled"]
    assert [what for what, fingerprint in named if fingerprint is None] == ["order intended"]
    assert origins.of(order.client_order_id) is None


def test_the_way_of_an_order_is_told_step_by_step_each_fill_once() -> None:
    book = Book()
    order = book.enter(lots=0)
    batch = a_batch(
        book.portfolio,
        a_report(order, "sent", broker_order_id="1001"),
        a_report(order, "working"),
        a_report(order, "working"),
        a_report(order, None, a_fill("a", 2, 52000)),
        a_report(order, None, a_fill("a", 2, 52000), a_fill("b", 3, "52010.5")),
        a_report(order, settled=True),
    )
    lines = told(batch)
    assert [what for what, _ in lines] == ["order sent", "order working", "order fill", "order fill", "order filled"]
    assert {(fields["order"], fields["instrument"], fields["layer"]) for _, fields in lines} == {
        (order.client_order_id, "BANK_NIFTY", "Long_1")
    }
    assert lines[0][1]["broker_order_id"] == "1001"
    assert [(fields["lots"], fields["price"], fields["action"]) for _, fields in lines[2:4]] == [
        (2, "52000", "buy"),
        (3, "52010.5", "buy"),
    ]
    assert (lines[-1][1]["filled"], lines[-1][1]["average_price"]) == ("5/5", "52006.3")


def test_an_order_that_is_intended_and_ended_in_one_batch_is_told_whole() -> None:
    first = a_batch(by_broker(), given(a_signal(er=1)))
    (order,) = first.after.orders.values()
    batch = a_batch(by_broker(), given(a_signal(er=1)), a_report(order, "rejected", settled=True))
    assert not batch.after.orders
    assert [what for what, _ in told(batch)] == ["order intended", "order rejected"]


def test_a_brokers_words_are_on_one_line_and_short() -> None:
    book = Book()
    order = book.enter(lots=0)
    words = "RMS:\nmargin\x1b[2J exceeds " + "x" * 300
    ((what, fields),) = told(a_batch(book.portfolio, a_report(order, "rejected", message=words)))
    assert what == "order rejected"
    assert fields["message"].startswith("RMS: margin[2J exceeds x")
    assert len(fields["message"]) == 200


def test_an_order_that_is_no_longer_wanted_and_the_exit_of_what_it_got_are_told() -> None:
    book = Book()
    book.enter(lots=2)
    lines = told(a_batch(book.portfolio, ClosePositions(position_id="ALL", reason="news")))
    assert [(what, fields.get("action"), fields["reason"]) for what, fields in lines] == [
        ("order no longer wanted", None, "news"),
        ("order intended", "sell", "news"),
    ]


def test_a_batch_without_orders_says_nothing() -> None:
    with capture_logs() as logs:
        tell_orders(a_batch(a_portfolio(), given(a_signal())), Origins())
    assert logs == []


def test_lines_are_information() -> None:
    with capture_logs() as logs:
        tell_orders(a_batch(by_broker(), given(a_signal(er=1))), Origins())
    assert [(line["event"], line["log_level"]) for line in logs] == [("order intended", "info")]


# --- kept signals


def an_answer(kind: AnswerKind = AnswerKind.DECIDED, **outcome: Any) -> Answer:
    return Answer(kind=kind, outcome={"status": "rejected", "reason": "stale", **outcome}, journal_seq=12)


def a_delivery(*, kept: bool, answer: Answer | None) -> Delivery:
    delivery = Delivery(given(a_signal()), {"secret": "hush-hush-hush"}, kept=kept)
    if answer is not None:
        delivery.settle(answer)
    return delivery


def lines_of(*deliveries: Delivery) -> list[Any]:
    with capture_logs() as logs:
        tell_kept(deliveries)
    return logs


def test_what_was_decided_on_a_kept_signal_is_told_without_its_body() -> None:
    (line,) = lines_of(a_delivery(kept=True, answer=an_answer()))
    assert (line["event"], line["log_level"]) == ("kept signal decided", "info")
    assert (line["status"], line["reason"], line["instrument"], line["journal_seq"]) == (
        *("rejected", "stale", "BANK_NIFTY", 12),
    )
    assert "hush" not in str(line)


def test_a_kept_signal_that_was_decided_before_is_told_as_a_duplicate() -> None:
    (line,) = lines_of(a_delivery(kept=True, answer=an_answer(AnswerKind.DUPLICATE)))
    assert (line["status"], line["reason"]) == ("duplicate", "stale")


def test_only_what_was_kept_and_is_decided_is_told_once() -> None:
    first, kept = a_delivery(kept=False, answer=an_answer()), a_delivery(kept=True, answer=None)
    kept.follow(first)
    kept.settle(an_answer(AnswerKind.DUPLICATE))
    assert len(lines_of(first)) == 1
    assert lines_of(a_delivery(kept=False, answer=an_answer()), a_delivery(kept=True, answer=None)) == []
    assert lines_of(a_delivery(kept=True, answer=an_answer(AnswerKind.NOT_TAKEN))) == []
