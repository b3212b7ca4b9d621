"""Execution reports in FIX 4.4 (tag=value): one message an execution, each with its length and check sum.

The field's own format (FIX Trading Community, FIX 4.4 Specification, volume 4, ExecutionReport). An encoder of a few lines: the
libraries for whole sessions are heavy or no longer kept, and no session is held here.
"""

from collections.abc import Iterable
from datetime import UTC, datetime

from book.executions import Execution

SOH = "\x01"
_VERSION = "FIX.4.4"


def execution_reports(executions: Iterable[Execution], *, sender: str, target: str, at: datetime) -> bytes:
    """The messages, one behind the other; `at` is aware and stands as the time of sending."""
    return b"".join(_message(number, execution, sender, target, at) for number, execution in enumerate(executions, 1))


def _message(number: int, execution: Execution, sender: str, target: str, at: datetime) -> bytes:
    fields = [
        (35, "8"),
        (49, _clean(sender)),
        (56, _clean(target)),
        (34, number),
        (52, _utc(at)),
        (37, f"{execution.portfolio}-{execution.position_id}"),
        (17, f"{execution.portfolio}-{execution.journal_seq}-{execution.number}"),
        (150, "F"),
        (39, "2"),
        (1, execution.portfolio),
        (55, execution.instrument),
        (48, execution.contract),
        (54, "1" if execution.side == "BUY" else "2"),
        (38, f"{execution.quantity.normalize():f}"),
        (32, f"{execution.quantity.normalize():f}"),
        (31, f"{execution.price.normalize():f}"),
        (151, "0"),
        (14, f"{execution.quantity.normalize():f}"),
        (6, f"{execution.price.normalize():f}"),
        (60, _utc(execution.time)),
        (12, f"{execution.costs.normalize():f}"),
        (13, "3"),
        (58, execution.kind),
    ]
    body = "".join(f"{tag}={value}{SOH}" for tag, value in fields)
    head = f"8={_VERSION}{SOH}9={len(body.encode())}{SOH}"
    whole = (head + body).encode()
    return whole + f"10={sum(whole) % 256:03d}{SOH}".encode()


def _utc(time: datetime) -> str:
    there = time.astimezone(UTC)
    return f"{there:%Y%m%d-%H:%M:%S}.{there.microsecond // 1000:03d}"


def _clean(text: str) -> str:
    # A field ends at SOH: none may come from a name.
    return "".join(letter for letter in text if letter.isprintable() and letter != "=")
