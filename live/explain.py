"""Why a trade had its size, or a signal none, in plain words: from the journal entry that decided it."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

_CONSTRAINTS = {
    "risk": "the risk that one entry may take",
    "volatility": "the volatility that one entry may add",
    "margin": "the margin that is left",
    "discipline": "half of the layer before it",
    "profit": "the instrument's open profit beyond the base's risk",
    "portfolio_risk": "the portfolio's risk cap",
    "portfolio_volatility": "the portfolio's volatility cap",
    "operator": "an operator wanted no more",
}
_CONTEXT = {
    "equity": "sizing equity",
    "risk_per_lot": "risk a lot",
    "volatility_per_lot": "volatility a lot",
    "margin_per_lot": "margin a lot",
    "drawdown_percent": "drawdown in %",
    "drawdown_factor": "left of a size by the drawdown",
}
_STATES = {
    "sent": "sent",
    "working": "working at the broker",
    "partial": "filled in part",
    "filled": "filled",
    "cancelled": "cancelled",
    "rejected": "refused",
    "in_doubt": "perhaps sent, for the broker's answer never came",
}
_REASONS = {
    "halted": "trading was halted: no entries are taken until it is resumed",
    "frozen": "entries of the instrument were frozen until an operator looks",
    "stale": "it was too old when it was decided",
    "in the future": "its time lay in the future",
    "no bar's atr is kept": "it has no ATR of its own, and of no bar is one kept",
    "the last bar's atr is too old": "it has no ATR of its own, and the last bar was too old to give it one",
    "no stop is so far from the price": "its stop, so many ATR from the price, would not be above 0",
    "base position already open": "the instrument had its base position",
    "pyramids still open": "pyramids of the last trade were still open",
    "layer already open": "that layer was open",
    "side": "the base position was on the other side",
    "no base position": "there was no base position to add to",
    "roll in progress": "a position of the instrument was being rolled",
    "nothing is due": "no position was due to be rolled",
    "nothing can be done about what is due": "its figures say of each position why it could not be rolled",
    "no open position": "nothing was open that it could close",
    "entry already working": "an order for that entry was working",
    "exit already working": "orders for all that it could close were working",
    "exit predates position": "what is open was entered after it",
    "no newer bar": "every open position had seen a later bar",
    "invalid_risk": "its stop was not on the losing side of its price",
    "equity": "the sizing equity was not above 0",
    "drawdown": "the drawdown was too deep for it",
    "one_r": "the price was not more than 1R beyond the base's entry",
    "atr_spacing": "the price was too near to the last entry",
    "max_pyramids": "the instrument had as many pyramids as it may",
    "profit": "the instrument had no profit to add from",
    "observe": "the portfolio only observes: nothing was done",
    "withdrawn": "what waited to be entered was taken back",
    "approval: mode": "the portfolio asks a human before it does anything",
    "approval: late": "it was so late that a human is asked",
    "approval: over_size": "it is so large that a human is asked",
    "approval: after_recovery": "so shortly after a start a human is asked",
    "approval: divergent": "the market is so far from its price that a human is asked",
    "no such proposal waits": "no proposal of that id was waiting",
    "the proposal has expired": "its time was over",
    "a note is needed": "a rejection needs a note that says why",
    "no proposal has expired": "no proposal's time was over",
    "the lots of an exit cannot be changed": "an exit closes whole positions",
    "contract": "no contract could be told for it, or its base position has to be rolled first",
    "no such order, or it is settled": "nothing more was expected of an order of that id",
    "nothing new": "all of it was known",
    "fills exceed the order": "more was filled than the order, or what it could close, had left: nothing was booked, and"
    " entries of the instrument were frozen until an operator looks",
}


def explanation(row: Mapping[str, Any], proposal: Mapping[str, Any] | None = None) -> list[str]:
    """Sentences and figures about one row of the journal; `proposal` is the row of what it proposed."""
    outcome, figures = row["outcome"], row["figures"]
    when = f"{row['decided_at']:%Y-%m-%d %H:%M:%S} UTC"
    lines = [f"entry {row['seq']}, decided {when} under term {row['term']}: {asked_in_words(row)}"]
    lines.append(in_words(row["kind"], outcome))
    if proposal is not None:
        lines.append(f"proposal {proposal['proposal_id']} {proposal_in_words(proposal)}")
    sizes = {name: figures[name] for name in _CONSTRAINTS if name in figures}
    if sizes:
        lines.append("each constraint allowed, in lots before flooring:")
        lines += [_constraint(name, value, outcome.get("limiter")) for name, value in sizes.items()]
    others = {name: value for name, value in figures.items() if name not in _CONSTRAINTS}
    if others:
        lines.append(
            "from: "
            + ", ".join(f"{_CONTEXT.get(name, _words(name))} {_plain(value)}" for name, value in others.items())
        )
    return lines


def in_a_sentence(row: Mapping[str, Any]) -> str:
    """What was asked, and what became of it."""
    return f"{asked_in_words(row)}: {in_words(row['kind'], row['outcome'])}"


def lots_in_words(lots: int) -> str:
    """`1 lot`, `2 lots`."""
    return _lots(lots)


def plain_number(value: Any) -> str:
    """A figure of the journal with thousands separators and without surplus zeros; what is none, as it is."""
    return _plain(value)


def in_words(kind: str, outcome: Mapping[str, Any]) -> str:
    """What was decided on an input of that kind, in one line."""
    return _booked(outcome) if kind == "report" else _became(outcome)


def limiter_in_words(limiter: str | None) -> str:
    """What bound a size; nothing where nothing did."""
    return "" if limiter is None else _CONSTRAINTS.get(limiter, _words(limiter))


def rule_in_words(rule: str) -> str:
    """Why a human is asked."""
    return _REASONS.get(f"approval: {rule}", _words(rule))


def proposal_in_words(row: Mapping[str, Any]) -> str:
    """What became of a proposal, from its row: a verb, who and why."""
    if row["state"] == "pending":
        return f"waits for a human until {row['expires_at']:%Y-%m-%d %H:%M:%S} UTC"
    who = "" if row["decided_by"] is None else f" by {row['decided_by']}"
    done = "" if row["decided_lots"] is None else f": {_lots(row['decided_lots'])} at {_plain(row['decided_price'])}"
    why = "" if row["note"] is None else f' ("{row["note"]}")'
    word = "approved with other lots" if row["state"] == "modified" else row["state"]
    return f"was {word}{who}{done}{why}" if row["state"] != "expired" else f"ended undecided{why}"


def order_state_in_words(state: str) -> str:
    """Where an order is."""
    return _STATES.get(state, _words(state))


def asked_in_words(row: Mapping[str, Any]) -> str:
    """What the input of a journal's row asked for or told, in one line."""
    if row["kind"] == "report":
        return _told(row["input"])
    signal = row["input"].get("signal")
    if signal is None:
        return _said_of_a_proposal(row["kind"], row["input"])
    parts = [signal["type"], signal["instrument"], signal["layer"], f"at {_plain(signal['price'])}"]
    parts += [f"{name} {_plain(signal[name])}" for name in ("stop", "atr", "er") if signal.get(name) is not None]
    return " ".join(part for part in parts if part)


def _said_of_a_proposal(kind: str, given: Mapping[str, Any]) -> str:
    """Of any other command its kind alone."""
    if given.get("proposal_id") is None:
        return kind
    lots, price = given.get("lots"), given.get("price")
    parts = [f"{kind} proposal {given['proposal_id']}"]
    parts += [] if lots is None else [f"with {_lots(lots)}"]
    parts += [] if price is None else [f"at {_plain(price)}"]
    parts += [] if given.get("operator") is None else [f"by {given['operator']}"]
    return " ".join(parts) + (f': "{given["note"]}"' if given.get("note") else "")


def _told(report: Mapping[str, Any]) -> str:
    state, broker_order_id, message = (report[name] for name in ("state", "broker_order_id", "message"))
    parts = [] if state is None else [_STATES.get(state, _words(state))]
    parts += [
        f"{_lots(fill['lots'])} filled at {_plain(fill['price'])} (fill {fill['fill_id']})" for fill in report["fills"]
    ]
    if broker_order_id is not None:
        parts.append(f"the broker's id of it is {broker_order_id}")
    if message is not None:
        parts.append(f'"{message}"')
    if report["settled"]:
        parts.append("nothing more comes of it")
    return f"of order {report['client_order_id']} it was told: {', '.join(parts) or 'nothing'}"


def _booked(outcome: Mapping[str, Any]) -> str:
    if outcome["status"] != "executed":
        return _became(outcome)
    if outcome["lots"]:
        return f"executed: {_lots(outcome['lots'])} booked on {outcome['position_id']}"
    return f"executed: the order of {outcome['position_id']} moved on, no lots changed hands"


def _became(outcome: Mapping[str, Any]) -> str:
    status, reason, lots, limiter = (outcome.get(name) for name in ("status", "reason", "lots", "limiter"))
    bound = f"; {limiter} bound it: {_CONSTRAINTS.get(limiter, 'the list says so')}" if limiter else ""
    if status == "proposed":
        return f"proposed: {_lots(lots or 0)} wait for a human, for {_REASONS.get(str(reason), reason)}{bound}"
    if status == "executed":
        if reason is not None:
            return f"executed: {_REASONS.get(str(reason), reason)}"
        done = "" if lots is None else f": {_lots(lots)}"
        return f"executed{done}{bound}"
    if status == "accepted":
        return f"accepted: {_asked_of_the_broker(lots, enters=limiter is not None)}{bound}"
    if limiter is not None:
        return f"{status}: not one lot fits; {limiter} bound it: {_CONSTRAINTS.get(limiter, 'no row can hold as many')}"
    return f"{status}: {_REASONS.get(str(reason), reason)}"


def _asked_of_the_broker(lots: int | None, *, enters: bool) -> str:
    if lots is None:
        return "the broker was asked to close what was stopped out or peeled off"
    if lots == 0:
        return "the broker was asked to cancel what still worked of the entry"
    return f"the broker was asked to {'enter' if enters else 'close'} {_lots(lots)}"


def _constraint(name: str, value: Any, limiter: str | None) -> str:
    mark = " <- the smallest: it bound the size" if name == limiter else ""
    return f"  {_plain(value):>16}  {_words(name)}: {_CONSTRAINTS[name]}{mark}"


def _lots(lots: int) -> str:
    return "1 lot" if lots == 1 else f"{lots} lots"


def _words(name: str) -> str:
    return name.replace("_", " ")


def _plain(value: Any) -> str:
    try:
        number = Decimal(str(value))
    except ArithmeticError:
        return str(value)
    text = f"{number:,f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
