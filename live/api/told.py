"""What the engine answered, as HTTP tells it."""

from typing import Any

from live.answers import Answer, AnswerKind
from live.api.encoding import outcome_text
from live.api.errors import HttpRefused

_SEND_AGAIN = "send again"


def told(answer: Answer, identity: dict[str, Any], keys: tuple[str, ...]) -> dict[str, Any]:
    """The body of a 200: the outcome's `keys`, or `duplicate` with the first outcome; of a 202: `queued`. `identity` goes
    with each.

    Raises HttpRefused (503) where nothing was kept or nobody knows: sending again is safe, since a signal's
    fingerprint and a command's request_id count once.
    """
    match answer.kind:
        case AnswerKind.UNKNOWN:
            raise HttpRefused(503, "unknown", f"unknown, {_SEND_AGAIN}")
        case AnswerKind.NOT_TAKEN | AnswerKind.UNDECIDABLE:
            message = answer.message or "nothing was kept"
            raise HttpRefused(503, "unavailable", message if _SEND_AGAIN in message else f"{message}; {_SEND_AGAIN}")
        case AnswerKind.QUEUED:
            return {"status": "queued", **identity, "reason": answer.message}
        case AnswerKind.DUPLICATE:
            first = outcome_text(answer.outcome)
            return {"status": "duplicate", **identity, "first": first, "differs": answer.differs}
        case AnswerKind.DECIDED:
            outcome = outcome_text(answer.outcome)
            return {
                "status": outcome.get("status"),
                **identity,
                **{key: outcome.get(key, _EMPTY.get(key)) for key in keys},
            }


_EMPTY: dict[str, Any] = {"positions": (), "sizing": {}}
