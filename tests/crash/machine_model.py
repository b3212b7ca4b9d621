"""What a live portfolio does, a second time: the book of tests/trading_model.py with ages, commands, and exactly once."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from fractions import Fraction
from types import SimpleNamespace
from typing import Any, NamedTuple

from tests.trading_model import Book, Refused, fingerprint, money

OLDEST_ENTRY = timedelta(seconds=300)
FURTHEST_AHEAD = timedelta(seconds=60)
ENTRIES = ("BASE_ENTRY", "PYRAMID")


class Told(NamedTuple):
    """An outcome, as far as the model tells it."""

    status: str
    reason: str | None = None
    lots: int | None = None
    limiter: str | None = None


class LiveBook(Book):
    """A book that is given one input after the other, with the time at which each is decided."""

    def __init__(self, capital: int, **settings: Any) -> None:
        super().__init__(capital, **settings)
        self.flows = Fraction(0)
        self.halted = False
        self._limited = False

    def signal(self, alert: Any, now: datetime, received_at: datetime) -> Told:
        """Decide an alert that was not decided before."""
        identity = fingerprint(alert)
        assert identity not in self.answers, "decided twice"
        if reason := _untimely(alert, now, received_at):
            self.answers[identity] = ("rejected", reason)
            self.happened[reason] += 1
            return Told("rejected", reason)
        sold_before, self._limited = len(self.trades), False
        self.take([alert])
        status, reason = self.answers[identity]
        if status == "executed" and alert.kind in ENTRIES:
            return Told(status, None, self.open[-1]["lots"], self.open[-1]["limiter"])
        if status == "executed" and alert.kind == "EXIT":
            return Told(status, None, sum(trade["sold"] for trade in self.trades[sold_before:]))
        return Told(status, reason, 0, reason) if self._limited else Told(status, reason)

    def command(self, kind: str, given: Mapping[str, Any], now: datetime) -> Told:
        """Decide an operator's command."""
        rules = {"halt": self._halt, "resume": self._resume, "capital": self._move_capital, "close": self._close}
        try:
            told = rules[kind](given, now)
        except Refused as refused:
            told = Told(*refused.args)
        self.high = max(self.high, self.closed)
        self.happened[f"{kind} {told.status}"] += 1
        return told

    def held(self, name: str) -> list[dict[str, Any]]:
        """By the time of entry, however late an entry came in: "entered last" is said of the market."""
        return sorted(super().held(name), key=lambda position: (position["time"], position["layer"]))

    # --- what the rows have to be

    @property
    def realised(self) -> Fraction:
        """All that was earned."""
        return self.closed - self.capital - self.flows

    def state(self) -> dict[str, Any]:
        """The portfolio's row."""
        return {
            "initial_capital": self.capital,
            "closed_equity": self.closed,
            "equity_high": self.high,
            "flows_total": self.flows,
            "realized_total": self.realised,
            "total_risk_amount": sum(money(self._risk(position)) for position in self.open),
            "total_vol_amount": sum(money(self._volatility(position)) for position in self.open),
            "margin_used": sum(p["lots"] * self._instruments[p["instrument"]]["margin_per_lot"] for p in self.open),
            "halted": self.halted,
        }

    def positions(self) -> dict[str, dict[str, Any]]:
        """The rows of all positions, closed ones too, by id."""
        last = {_id_of(trade): trade for trade in self.trades} | {_id_of(position): position for position in self.open}
        sold = {name: {"realized_pnl": Fraction(0), "exit_reason": None} for name in last}
        for trade in self.trades:
            sold[_id_of(trade)]["realized_pnl"] += trade["net"]
            sold[_id_of(trade)]["exit_reason"] = trade["why"]
        return {name: {**_row(position), **sold[name]} for name, position in last.items()}

    def last_entries(self) -> dict[str, Fraction]:
        """The last entry's price of each instrument that is not flat."""
        return {position["instrument"]: self._last_entry[position["instrument"]] for position in self.open}

    # --- rules

    def _base(self, alert: Any, rules: dict[str, Fraction]) -> None:
        self._require_trading()
        super()._base(alert, rules)

    def _pyramid(self, alert: Any, rules: dict[str, Fraction]) -> None:
        self._require_trading()
        super()._pyramid(alert, rules)

    def _require_trading(self) -> None:
        if self.halted:
            raise Refused("blocked", "halted")

    def _enter(self, *arguments: Any) -> None:
        try:
            super()._enter(*arguments)
        except Refused:
            self._limited = True
            raise

    def _open(self, alert: Any, lots: int, limiter: str) -> None:
        super()._open(alert, lots, limiter)
        self.open[-1]["fingerprint"] = fingerprint(alert)

    def _halt(self, _given: Mapping[str, Any], _now: datetime) -> Told:
        self.halted = True
        return Told("executed")

    def _resume(self, given: Mapping[str, Any], _now: datetime) -> Told:
        if given.get("instrument") is not None:
            raise Refused("rejected", "instrument is not frozen")
        self.halted = False
        return Told("executed")

    def _move_capital(self, given: Mapping[str, Any], _now: datetime) -> Told:
        amount = money(Fraction(given["amount"]))
        if amount == 0:
            raise Refused("rejected", "amount is 0")
        if amount < 0 and self.closed + amount < 0:
            raise Refused("rejected", "withdrawal exceeds closed equity")
        self.closed += amount
        self.high += amount
        self.flows += amount
        return Told("executed")

    def _close(self, given: Mapping[str, Any], now: datetime) -> Told:
        closing = [position for position in self.open if given["position_id"] in ("ALL", _id_of(position))]
        if not closing:
            raise Refused("rejected", "no open position")
        price = given.get("price")
        if price is not None and len({position["instrument"] for position in closing}) > 1:
            raise Refused("rejected", "one price for several instruments")
        lots = sum(position["lots"] for position in closing)
        for position in closing:
            at = position["mark"] if price is None else Fraction(price)
            self._sell(
                position, position["lots"], SimpleNamespace(price=at, timestamp=now, bar_time=None), given["reason"]
            )
        return Told("executed", None, lots)


def _untimely(alert: Any, now: datetime, received_at: datetime) -> str | None:
    latest = max(time for time in (alert.timestamp, alert.bar_time) if time is not None)
    if latest - now > FURTHEST_AHEAD:
        return "in the future"
    if alert.kind in ENTRIES and now - (alert.timestamp or received_at) > OLDEST_ENTRY:
        return "stale"
    return None


def _id_of(position: Mapping[str, Any]) -> str:
    """As answers tell it: instrument, layer, and the beginning of the entry's fingerprint."""
    return f"{position['instrument']}-{position['layer']}-{position['fingerprint'][:12]}"


def _row(position: Mapping[str, Any]) -> dict[str, Any]:
    lots, entry_lots = position["lots"], position["entry_lots"]
    sold = "closed" if lots == 0 else "partial"
    return {
        "instrument": position["instrument"],
        "layer": position["layer"],
        "status": "open" if lots == entry_lots else sold,
        "lots": lots,
        "entry_lots": entry_lots,
        "entry_price": position["entry"],
        "entry_costs": position["entry_costs"],
        "initial_stop": position["initial_stop"],
        "current_stop": position["stop"],
        "highest_close": position["best"],
        "atr": position["atr"],
        "mark_price": position["mark"],
        "mark_time": position["mark_time"],
        "entry_bar_time": position["bar_time"],
        "entry_timestamp": position["time"],
        "limiter": position["limiter"],
        "is_base_position": position["base"],
    }
