"""What an entry of the journal is worth telling, at which level, in words: one notice an entry at most."""

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Any

from msgspec import Struct

from core.models import RolloverStatus
from core.notifications import Level
from core.orders import OrderPurpose, OrderState, purpose_of_id
from core.proposals import ProposalState
from live.explain import in_a_sentence, lots_in_words, plain_number

_LONGEST = 500
_ENTRIES = ("BASE_ENTRY", "PYRAMID")
_OF_AN_ENTRY = {
    "executed": Level.INFO,
    "accepted": Level.INFO,
    # Somebody has to decide, and not for ever.
    "proposed": Level.ERROR,
    "blocked": Level.WARNING,
    "rejected": Level.WARNING,
    "failed": Level.ERROR,
}
_BY_HAND = {"close": Level.INFO, "adopt": Level.WARNING, "write_off": Level.WARNING, "ignore": Level.WARNING}
_NOTHING_POSSIBLE = "nothing can be done about what is due"

Row = Mapping[str, Any]


class Asks(Struct, frozen=True, kw_only=True):
    """A proposal that somebody has to decide, and until when."""

    proposal_id: str
    expires_at: datetime


class Notice(Struct, frozen=True, kw_only=True):
    """One thing to tell. `seq` is the journal's entry that it is from, None of what is not in the journal; `asks` what it made
    wait for somebody."""

    level: Level
    title: str
    text: str
    seq: int | None = None
    fingerprint: str | None = None
    asks: Asks | None = None
    # What decides it for whoever has it: added for a channel, never kept.
    link: str | None = None


class _Part(Struct, frozen=True):
    level: Level
    title: str
    text: str


def notice_of(row: Row) -> Notice | None:
    """What one entry is worth telling; its title is of what is most urgent in it."""
    parts = [*_of_input(row), *_of_events(row)]
    if not parts:
        return None
    first = max(parts, key=lambda part: part.level.rank)
    told = "; ".join(part.text for part in parts)
    return Notice(
        level=first.level,
        title=first.title,
        text=told if len(told) <= _LONGEST else f"{told[: _LONGEST - 3]}...",
        seq=row["seq"],
        fingerprint=row["fingerprint"],
        asks=_asks(row),
    )


def _asks(row: Row) -> Asks | None:
    """The last proposal that an entry made: it makes one at most of which nothing is known yet."""
    made = [event["proposal"] for event in row["events"] if event["event"] == "proposal_made"]
    if not made:
        return None
    return Asks(proposal_id=made[-1]["proposal_id"], expires_at=datetime.fromisoformat(made[-1]["expires_at"]))


# --- the input and its outcome


def _of_input(row: Row) -> Iterator[_Part]:
    kind, outcome = row["kind"], row["outcome"]
    status = outcome["status"]
    if kind == "signal":
        yield from _of_signal(row)
    elif status == "failed":
        yield _Part(Level.ERROR, f"{kind} failed", in_a_sentence(row))
    elif kind == "term" and row["term"] > 1:
        instance = row["input"]["instance_id"]
        yield _Part(Level.WARNING, f"a new term: {row['term']}", f"{instance} leads since term {row['term']} began")
    elif kind == "roll" and outcome["reason"] == _NOTHING_POSSIBLE:
        figures = "; ".join(f"{name}: {says}" for name, says in row["figures"].items())
        yield _Part(Level.ERROR, "rollover: nothing can be done", f"due to leave its contract, and stays: {figures}")
    elif kind in _BY_HAND and status in ("executed", "accepted"):
        yield _Part(_BY_HAND[kind], f"by hand: {kind.replace('_', ' ')}", in_a_sentence(row))


def _of_signal(row: Row) -> Iterator[_Part]:
    signal, status = row["input"]["signal"], row["outcome"]["status"]
    if signal["type"] in _ENTRIES:
        level = _OF_AN_ENTRY[status]
    elif signal["type"] == "EXIT" or status == "failed":
        level = Level.ERROR if status in ("failed", "proposed") else Level.INFO
    else:
        return  # what a bar has done its events say
    what = " ".join(part for part in (signal["instrument"], signal["type"], signal["layer"], status) if part)
    yield _Part(level, what, in_a_sentence(row))


# --- what happened


def _of_events(row: Row) -> Iterator[_Part]:
    for event in row["events"]:
        found = _EVENTS.get(event["event"])
        part = None if found is None else found(event, row)
        if part is not None:
            yield part


def _opened(event: Row, row: Row) -> _Part | None:
    position = event["position"]
    stop = "" if position["current_stop"] is None else f", stop {plain_number(position['current_stop'])}"
    told = f"{position['position_id']} opened: {_lots_at(position['lots'], position['entry_price'])}{stop}"
    # An entry that was filled as it was decided has said so.
    return None if row["kind"] == "signal" else _Part(Level.INFO, f"{position['instrument']} position opened", told)


def _increased(event: Row, _: Row) -> _Part:
    lots, price = event["entry_lots"], event["entry_price"]
    told = f"{event['position_id']} has {_lots_at(lots, price)} on average by now"
    return _Part(Level.INFO, f"{_instrument(event)} position filled further", told)


def _exited(event: Row, _: Row) -> _Part:
    left = f", {lots_in_words(event['lots'])} left" if event["lots"] else ""
    sold = _lots_at(event["lots_sold"], event["fill_price"])
    told = f"{event['position_id']}: {sold} out ({event['exit_reason']}), P&L {plain_number(event['pnl'])} net{left}"
    return _Part(Level.INFO, f"{_instrument(event)} exit: {event['exit_reason']}", told)


def _frozen(event: Row, _: Row) -> _Part:
    told = f"no entry of {event['instrument']} until `resume --instrument`: {event['reason']}"
    return _Part(Level.ERROR, f"{event['instrument']} entries are frozen", told)


def _unfrozen(event: Row, _: Row) -> _Part:
    return _Part(Level.INFO, f"{event['instrument']} entries again", f"the freeze of {event['instrument']} is lifted")


def _halted(event: Row, _: Row) -> _Part:
    return _Part(
        Level.CRITICAL, "trading is halted", f"no entries until `resume`: {event['reason'] or 'no reason given'}"
    )


def _resumed(_: Row, __: Row) -> _Part:
    return _Part(Level.WARNING, "trading is resumed", "entries are decided again")


def _reported(event: Row, row: Row) -> _Part | None:
    order, message = event["client_order_id"], event["message"] or "no reason given"
    stop = purpose_of_id(order) is OrderPurpose.STOP
    match event["state"]:
        case OrderState.IN_DOUBT:
            told = f"nobody knows what became of order {order}: look at the broker's screen, then `resolve`"
            return _Part(Level.CRITICAL, "an order is in doubt", told)
        case OrderState.REJECTED if stop:
            told = f"the broker refused the stop {order}: {message}. Only the engine's own stop is left"
            return _Part(Level.ERROR, "a position is without its stop at the broker", told)
        case OrderState.REJECTED:
            return _Part(Level.ERROR, "an order was rejected", f"the broker refused order {order}: {message}")
        case OrderState.CANCELLED if row["kind"] == "send":
            return _Part(Level.WARNING, "an order was not sent", f"order {order} was not sent: {message}")
        case _:
            return None


def _roll_marked(event: Row, _: Row) -> _Part | None:
    match event["status"]:
        case RolloverStatus.PENDING:
            return _Part(Level.INFO, "rollover due", f"{event['position_id']} is due to leave its contract")
        case RolloverStatus.FAILED:
            return _Part(Level.ERROR, "rollover failed", f"{event['position_id']} could not be rolled")
        case _:
            return None


def _rolled(event: Row, _: Row) -> _Part:
    month, pnl = event["fields"]["contract_month"], plain_number(event["pnl"])
    told = f"{event['position_id']} is in the contract {month} now, P&L {pnl} net"
    return _Part(Level.INFO, f"{_instrument(event)} rolled", told)


def _proposed(event: Row, row: Row) -> _Part | None:
    proposal = event["proposal"]
    signal, until = proposal["signal"], datetime.fromisoformat(proposal["expires_at"])
    what = " ".join(part for part in (signal["instrument"], signal["type"], signal["layer"]) if part)
    lots = lots_in_words(proposal["lots"])
    told = f"`approve {proposal['proposal_id']}` or `reject` it until {until:%Y-%m-%d %H:%M:%S} UTC: {lots}"
    title = f"{what} waits for you ({proposal['rule'].replace('_', ' ')})"
    # A signal that was proposed as it was decided has said what it is about.
    return _Part(Level.ERROR, title, told if row["kind"] == "signal" else f"{what}: {told}")


def _proposal_decided(event: Row, row: Row) -> _Part:
    who = "" if event["decided_by"] is None else f" by {event['decided_by']}"
    why = "" if event["note"] is None else f": {event['note']}"
    expired = event["state"] == ProposalState.EXPIRED
    level = Level.WARNING if expired and row["kind"] == "expire" else Level.INFO
    told = f"proposal {event['proposal_id']} was {event['state']}{who}{why}"
    return _Part(level, f"{event['instrument']} proposal {event['state']}", told)


def _moved(event: Row, _: Row) -> _Part:
    return _Part(
        Level.INFO, "capital moved", f"capital moved by {plain_number(event['amount'])}: {event['note'] or ''}"
    )


def _settings(_: Row, __: Row) -> _Part:
    return _Part(Level.INFO, "settings changed", "other settings decide from here on")


def _by_hand(event: Row, _: Row) -> _Part:
    what = event["event"].removesuffix("_saved")
    return _Part(Level.WARNING, f"by hand: a row of {what} was written", f"a whole row of {what} was written by hand")


_EVENTS: Mapping[str, Callable[[Row, Row], _Part | None]] = {
    "position_opened": _opened,
    "position_increased": _increased,
    "position_exited": _exited,
    "entries_frozen": _frozen,
    "entries_unfrozen": _unfrozen,
    "trading_halted": _halted,
    "trading_resumed": _resumed,
    "order_reported": _reported,
    "rollover_marked": _roll_marked,
    "position_rolled": _rolled,
    "proposal_made": _proposed,
    "proposal_decided": _proposal_decided,
    "capital_moved": _moved,
    "settings_changed": _settings,
    "position_saved": _by_hand,
    "state_saved": _by_hand,
    "pyramiding_saved": _by_hand,
}
# Of these there is nothing to tell: what they belong to is told, or somebody who looks sees it.
UNTOLD = frozenset(
    {
        "portfolio_started",
        "contracts_set",
        "position_marked",
        "order_intended",
        "order_sent",
        "order_try_ended",
        "order_moved",
        "order_cancel_asked",
        "pyramiding_changed",
        "difference_accepted",
        "alert_seen",
        "bar_kept",
        "portfolio_measured",
        "recovery_noted",
    }
)
TOLD = frozenset(_EVENTS)


def _instrument(event: Row) -> str:
    return str(event["position_id"]).rsplit("-", 2)[0]


def _lots_at(lots: int, price: Any) -> str:
    return f"{lots_in_words(lots)} at {plain_number(price)}"
