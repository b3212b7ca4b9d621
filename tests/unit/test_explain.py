"""What is said of a journal entry about an order; what real entries say is in tests/integration/test_order_lists.py."""

from typing import Any

import pytest

from live.explain import explanation
from tests.builders import NOON

REPORT: dict[str, Any] = {
    "kind": "report",
    "client_order_id": "pm4-0123456789ab-e1",
    "state": None,
    "broker_order_id": None,
    "fills": [],
    "message": None,
    "settled": False,
}
OUTCOME: dict[str, Any] = {
    "status": "executed",
    "reason": None,
    "position_id": "P",
    "positions": [],
    "lots": 0,
    "limiter": None,
}


def said(kind: str, given: dict[str, Any], **outcome: Any) -> list[str]:
    row = {"seq": 7, "kind": kind, "input": given, "figures": {}, "term": 2, "decided_at": NOON}
    return explanation({**row, "outcome": {**OUTCOME, **outcome}})


@pytest.mark.parametrize(
    "report, words",
    [
        ({}, "nothing"),
        ({"state": "sent", "broker_order_id": "1001"}, "sent, the broker's id of it is 1001"),
        ({"state": "working"}, "working at the broker"),
        (
            {"state": "in_doubt", "message": "timed out"},
            'perhaps sent, for the broker\'s answer never came, "timed out"',
        ),
        ({"state": "cancelled", "message": "stale", "settled": True}, 'cancelled, "stale", nothing more comes of it'),
        ({"state": "rejected", "message": "margin"}, 'refused, "margin"'),
        (
            {"state": "partial", "fills": [{"fill_id": "f1", "lots": 1, "price": "52000.50000000"}]},
            "filled in part, 1 lot filled at 52,000.5 (fill f1)",
        ),
    ],
)
def test_a_report_is_told_in_words(report: dict[str, Any], words: str) -> None:
    first, second = said("report", {**REPORT, **report})
    assert first == (
        f"entry 7, decided 2026-01-14 06:15:00 UTC under term 2: of order pm4-0123456789ab-e1 it was told: {words}"
    )
    assert second == "executed: the order of P moved on, no lots changed hands"


@pytest.mark.parametrize(
    "outcome, words",
    [
        ({"lots": 1}, "executed: 1 lot booked on P"),
        ({"lots": 12}, "executed: 12 lots booked on P"),
        ({"status": "rejected", "reason": "nothing new"}, "rejected: all of it was known"),
        (
            {"status": "rejected", "reason": "no such order, or it is settled"},
            "rejected: nothing more was expected of an order of that id",
        ),
        (
            {"status": "rejected", "reason": "fills exceed the order"},
            "rejected: more was filled than the order, or what",
        ),
        ({"status": "failed", "reason": "KeyError"}, "failed: KeyError"),
    ],
)
def test_what_became_of_a_report(outcome: dict[str, Any], words: str) -> None:
    assert said("report", REPORT, **outcome)[1].startswith(words)


@pytest.mark.parametrize(
    "outcome, words",
    [
        ({"lots": 2, "limiter": "risk"}, "enter 2 lots; risk bound it: the risk that one entry may take"),
        ({"lots": 1, "limiter": "listed"}, "enter 1 lot; listed bound it: the list says so"),
        ({"lots": 3}, "close 3 lots"),
        ({"lots": 0}, "cancel what still worked of the entry"),
        ({"lots": None}, "close what was stopped out or peeled off"),
    ],
)
def test_what_was_accepted_says_what_the_broker_was_asked(outcome: dict[str, Any], words: str) -> None:
    assert said("close", {}, status="accepted", **outcome)[1] == f"accepted: the broker was asked to {words}"
