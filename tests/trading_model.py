"""What a portfolio does by rules with a sequence of alerts, a second time: DOMAIN.md in fractions and dictionaries.

It shares no line with the engine. Amounts, prices and lots are Fractions; nothing but what a column keeps is rounded.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from fractions import Fraction
from math import ceil, floor
from types import SimpleNamespace
from typing import Any
from zoneinfo import ZoneInfo

RANKS = ("EXIT", "MARKET_DATA", "BASE_ENTRY", "PYRAMID")
NUMBERS = ("price", "stop", "atr", "er")


def _instrument(
    point_value: int, margin: int, volatility: tuple[str, str], stop: tuple[str, str], pyramids: int
) -> dict[str, Any]:
    return {
        "point_value": point_value,
        "margin_per_lot": margin,
        "initial_risk_percent": "1",
        "ongoing_risk_percent": "1.5",
        "initial_volatility_percent": volatility[0],
        "ongoing_volatility_percent": volatility[1],
        "initial_stop_atr": stop[0],
        "trailing_stop_atr": stop[1],
        "max_pyramids": pyramids,
    }


INSTRUMENTS = {
    "BANK_NIFTY": _instrument(30, 270_000, ("0.5", "0.7"), ("1.5", "2.5"), 5),
    "GOLD_MINI": _instrument(10, 105_000, ("0.2", "0.3"), ("1", "2"), 3),
    "SILVER_MINI": _instrument(5, 385_000, ("0.2", "0.3"), ("2", "3"), 5),
    "COPPER": _instrument(2500, 300_000, ("0.2", "0.3"), ("3", "5"), 3),
}

LIMITS = {
    "risk_percent": 15,
    "pyramid_risk_percent": 12,
    "volatility_percent": 5,
    "pyramid_volatility_percent": 4,
}


def money(amount: Fraction) -> Fraction:
    """Half-even to 4 decimals."""
    return round(amount, 4)


def points(price: Fraction) -> Fraction:
    """Half-even to 8 decimals."""
    return round(price, 8)


# --- alerts -------------------------------------------------------------------------------------------------------


def alert_of(line: str) -> SimpleNamespace:
    """An alert as it is read: canonical names, fractions of 8 decimals, times in UTC."""
    fields = json.loads(line, parse_float=str, parse_int=str)
    numbers = {name: fields.get(name) for name in NUMBERS}
    kind = fields["type"].upper()
    return SimpleNamespace(
        kind=kind,
        instrument=fields["instrument"],
        layer="" if kind == "MARKET_DATA" else fields["position"],
        bar_time=_utc(fields.get("bar_time")),
        timestamp=_utc(fields.get("timestamp")),
        reason=fields.get("reason"),
        number=fields.get("trade_number"),
        **{name: None if text is None else points(Fraction(text)) for name, text in numbers.items()},
    )


def _utc(text: str | None) -> datetime | None:
    if text is None:
        return None
    time = datetime.fromisoformat(text)
    return (time if time.tzinfo else time.replace(tzinfo=ZoneInfo("Asia/Kolkata"))).astimezone(UTC)


def bar_of(alert: Any) -> datetime:
    """Identity and order."""
    return alert.bar_time or alert.timestamp


def time_of(alert: Any) -> datetime:
    """When it fired."""
    return alert.timestamp or alert.bar_time


def fingerprint(alert: Any) -> str:
    """What makes it the same alert."""
    bar = bar_of(alert).strftime("%Y-%m-%dT%H:%M:%SZ")
    text = f"main:{alert.instrument}:{alert.kind}:{alert.layer}:{bar}"
    return hashlib.sha256((text + (f":{alert.number}" if alert.number else "")).encode()).hexdigest()


def in_order(alerts: Iterable[Any]) -> list[Any]:
    """The order in which alerts that wait together are decided."""
    return sorted(alerts, key=lambda alert: (bar_of(alert), RANKS.index(alert.kind), time_of(alert)))


# --- the book -----------------------------------------------------------------------------------------------------


class Refused(Exception):
    """`rejected` by state or time, `blocked` by a limit or a gate."""


class Book:
    """A portfolio: `open` positions in the order of entry, closed `trades`, `answers` by fingerprint, `happened` counts."""

    def __init__(self, capital: int, changes: dict[str, dict[str, Any]] | None = None, **settings: Any) -> None:
        self.capital = self.closed = self.high = Fraction(capital)
        self.open: list[dict[str, Any]] = []
        self.trades: list[dict[str, Any]] = []
        self.answers: dict[str, tuple[str, str | None]] = {}
        self.happened: Counter[str] = Counter()
        self._instruments = {
            name: {key: Fraction(value) for key, value in {**given, **(changes or {}).get(name, {})}.items()}
            for name, given in INSTRUMENTS.items()
        }
        self._limits = {**LIMITS, **settings.get("limits", {})}
        self._equity = settings.get("equity", "blended")
        self._slippage = Fraction(settings.get("slippage", 0)) / 100
        self._turnover_share = Fraction(settings.get("percent", 0)) / 100
        self._per_lot = Fraction(settings.get("per_lot", 0))
        self._last_entry: dict[str, Fraction] = {}

    def take(self, alerts: Sequence[Any]) -> "Book":
        """Decide alerts in their order; of equal ones the first."""
        rules = {"EXIT": self._exit, "MARKET_DATA": self._bar, "BASE_ENTRY": self._base, "PYRAMID": self._pyramid}
        for alert in in_order(alerts):
            identity = fingerprint(alert)
            if identity in self.answers:
                self.happened["duplicate"] += 1
                continue
            try:
                rules[alert.kind](alert, self._instruments[alert.instrument])
                self.answers[identity] = ("executed", None)
                # Once an alert: otherwise the order in which it closes several layers would make a difference.
                self.high = max(self.high, self.closed)
            except Refused as refused:
                status, reason = refused.args
                self.answers[identity] = (status, reason)
            status, reason = self.answers[identity]
            self.happened[f"{alert.kind} {status}" + (f": {reason}" if reason else "")] += 1
        return self

    def held(self, name: str) -> list[dict[str, Any]]:
        """The instrument's open layers in the order of entry."""
        return [position for position in self.open if position["instrument"] == name]

    def _by_layer(self, name: str) -> list[dict[str, Any]]:
        """The same in the order in which one alert closes several: DOMAIN.md does not say, the engine's is by layer."""
        return sorted(self.held(name), key=lambda position: position["layer"])

    def _pnl(self, position: dict[str, Any], price: Fraction) -> Fraction:
        return position["sign"] * (price - position["entry"]) * position["lots"] * self._value(position)

    def _value(self, position: dict[str, Any]) -> Fraction:
        return self._instruments[position["instrument"]]["point_value"]

    def _risk(self, position: dict[str, Any]) -> Fraction:
        points_at_risk = max(Fraction(0), position["sign"] * (position["entry"] - position["stop"]))
        return points_at_risk * position["lots"] * self._value(position)

    def _volatility(self, position: dict[str, Any]) -> Fraction:
        return position["atr"] * position["lots"] * self._value(position)

    def equity(self) -> Fraction:
        """What percentages are of, at the kept marks."""
        unrealised = sum((money(self._pnl(position, position["mark"])) for position in self.open), Fraction(0))
        share = {"blended": Fraction(1, 2), "closed": Fraction(0), "open": Fraction(1), "high_water": Fraction(0)}
        return (self.high if self._equity == "high_water" else self.closed) + share[self._equity] * unrealised

    # --- entries

    def _base(self, alert: Any, rules: dict[str, Fraction]) -> None:
        held = self.held(alert.instrument)
        if any(position["base"] for position in held):
            raise Refused("rejected", "base position already open")
        if held:
            raise Refused("rejected", "pyramids still open")
        risk_per_lot = self._risk_per_lot(alert, rules)
        equity, factor = self._allowed(alert)
        sizes = {
            "risk": equity * rules["initial_risk_percent"] / 100 * factor / risk_per_lot * alert.er,
            "volatility": equity * rules["initial_volatility_percent"] / 100 / (alert.atr * rules["point_value"]),
            "margin": self._margin(equity, rules),
        }
        self._enter(alert, rules, sizes, Fraction(1), "")

    def _pyramid(self, alert: Any, rules: dict[str, Fraction]) -> None:
        held = self.held(alert.instrument)
        base = next((position for position in held if position["base"]), None)
        if base is None:
            raise Refused("rejected", "no base position")
        if _sign(alert.layer) != base["sign"]:
            raise Refused("rejected", "side")
        if any(position["layer"] == alert.layer for position in held):
            raise Refused("rejected", "layer already open")
        risk_per_lot = self._risk_per_lot(alert, rules)
        equity, factor = self._allowed(alert)
        sign, r = base["sign"], abs(base["entry"] - base["initial_stop"])
        pnl = sum((self._pnl(position, alert.price) for position in held), Fraction(0))
        gates = {
            "one_r": sign * (alert.price - base["entry"]) > r,
            "atr_spacing": sign * (alert.price - self._last_entry[alert.instrument]) >= alert.atr / 2,
            "max_pyramids": sum(not position["base"] for position in held) < rules["max_pyramids"],
            "profit": pnl > 0,
        }
        for gate, is_open in gates.items():
            if not is_open:
                raise Refused("blocked", gate)
        profit = max(Fraction(0), pnl - r * base["lots"] * rules["point_value"])
        sizes = {
            "margin": self._margin(equity, rules),
            "discipline": Fraction(held[-1]["entry_lots"], 2),
            "profit": profit / 2 / risk_per_lot,
        }
        self._enter(alert, rules, sizes, factor, "pyramid_")

    def _risk_per_lot(self, alert: Any, rules: dict[str, Fraction]) -> Fraction:
        risk = _sign(alert.layer) * (alert.price - alert.stop) * rules["point_value"]
        if risk <= 0:
            raise Refused("rejected", "invalid_risk")
        return risk

    def _allowed(self, alert: Any) -> tuple[Fraction, Fraction]:
        """The sizing equity and the drawdown's factor."""
        equity = self.equity()
        if equity <= 0:
            raise Refused("blocked", "equity")
        drawdown = (self.high - self.closed) / self.high * 100
        if drawdown > 15 or (drawdown >= 10 and alert.kind == "BASE_ENTRY"):
            raise Refused("blocked", "drawdown")
        return equity, Fraction(1) if drawdown < 5 else Fraction(3, 4) if drawdown < 10 else Fraction(1, 2)

    def _margin(self, equity: Fraction, rules: dict[str, Fraction]) -> Fraction:
        used = sum(p["lots"] * self._instruments[p["instrument"]]["margin_per_lot"] for p in self.open)
        return (equity * 60 / 100 - used) / rules["margin_per_lot"]

    def _enter(
        self,
        alert: Any,
        rules: dict[str, Fraction],
        sizes: dict[str, Fraction],
        factor: Fraction,
        caps: str,
    ) -> None:
        equity, value = self.equity(), rules["point_value"]
        free_risk = equity * self._limits[f"{caps}risk_percent"] / 100 - sum(map(self._risk, self.open))
        free_volatility = equity * self._limits[f"{caps}volatility_percent"] / 100 - sum(
            map(self._volatility, self.open)
        )
        # Unfloored like the others: of two that allow no lot the smaller is the limiter.
        sizes = {name: size * factor for name, size in sizes.items()} | {
            "portfolio_risk": free_risk / self._risk_per_lot(alert, rules),
            "portfolio_volatility": free_volatility / (alert.atr * value),
        }
        sizes = {name: max(Fraction(0), size) for name, size in sizes.items()}
        limiter = min(sizes, key=lambda name: sizes[name])
        lots = floor(sizes[limiter])
        if lots == 0:
            raise Refused("blocked", limiter)
        self._open(alert, lots, limiter)
        self.happened[f"{alert.kind} limited by {limiter}"] += 1
        self.happened[f"{alert.kind} {alert.layer[:-2]}"] += 1
        self.happened[f"{alert.kind} at drawdown factor {factor}"] += alert.kind == "PYRAMID"

    def _open(self, alert: Any, lots: int, limiter: str) -> None:
        sign = _sign(alert.layer)
        fill = points(alert.price * (1 + sign * self._slippage))
        self._last_entry[alert.instrument] = fill
        position = {
            "instrument": alert.instrument,
            "layer": alert.layer,
            "sign": sign,
            "base": alert.kind == "BASE_ENTRY",
            "entry": fill,
            "entry_lots": lots,
            "lots": lots,
            "initial_stop": alert.stop,
            "stop": alert.stop,
            "best": fill,
            "atr": alert.atr,
            "mark": fill,
            "mark_time": bar_of(alert),
            "bar_time": alert.bar_time,
            "time": time_of(alert),
            "limiter": limiter,
            "booked": Fraction(0),
        }
        self.open.append({**position, "entry_costs": self._costs(position, fill, lots)})

    def _costs(self, position: dict[str, Any], price: Fraction, lots: int) -> Fraction:
        return money(price * lots * self._value(position) * self._turnover_share + self._per_lot * lots)

    # --- exits and bars

    def _sell(self, position: dict[str, Any], lots: int, alert: Any, reason: str) -> None:
        fill = points(alert.price * (1 - position["sign"] * self._slippage))
        position["lots"] -= lots
        gone = position["entry_lots"] - position["lots"]
        entry_costs = money(position["entry_costs"] * gone / position["entry_lots"]) - position["booked"]
        position["booked"] += entry_costs
        gross = money(position["sign"] * (fill - position["entry"]) * lots * self._value(position))
        net = gross - self._costs(position, fill, lots) - entry_costs
        position["mark"] = fill
        self.closed += net
        self.trades.append(
            {**position, "sold": lots, "exit": fill, "exit_time": time_of(alert), "net": net, "why": reason}
        )
        if position["lots"] == 0:
            self.open.remove(position)
        self.happened[f"sold: {reason}" + (" in part" if position["lots"] else "")] += 1

    def _exit(self, alert: Any, _rules: dict[str, Fraction]) -> None:
        meant = [p for p in self._by_layer(alert.instrument) if alert.layer in ("ALL", p["layer"])]
        if not meant:
            raise Refused("rejected", "no open position")
        before = [position for position in meant if _entered_before(position, alert)]
        if not before:
            raise Refused("rejected", "exit predates position")
        for position in before:
            self._sell(position, position["lots"], alert, alert.reason or "EXIT")

    def _bar(self, alert: Any, rules: dict[str, Fraction]) -> None:
        held = self._by_layer(alert.instrument)
        if held and all(bar_of(alert) < position["mark_time"] for position in held):
            raise Refused("rejected", "no newer bar")
        touched = [position for position in held if position["mark_time"] < bar_of(alert)]
        # "Closing the base while pyramids are open keeps them, stops trailing": three verbs, so they trail no more.
        trails = any(position["base"] for position in held)
        self.happened["bar of pyramids without their base"] += bool(held) and not trails
        for position in touched:
            sign = position["sign"]
            best = sign * max(sign * position["best"], sign * alert.price)
            position.update(mark=alert.price, mark_time=bar_of(alert), atr=alert.atr, best=best)
            trailed = points(best - sign * rules["trailing_stop_atr"] * alert.atr)
            if trails:
                position["stop"] = sign * max(sign * position["stop"], sign * trailed)
        for position in touched:
            if position["sign"] * (alert.price - position["stop"]) < 0:
                self._sell(position, position["lots"], alert, "STOP")
        # One equity for all layers: the order in which they are looked at makes no difference.
        equity = self.equity()
        for position in touched:
            if position["lots"] and (lots := self._too_many(position, rules, equity)) > 0:
                self._sell(position, lots, alert, "PEEL_OFF")

    def _too_many(self, position: dict[str, Any], rules: dict[str, Fraction], equity: Fraction) -> int:
        too_many = 0
        for amount, limit in (
            (self._risk(position), rules["ongoing_risk_percent"]),
            (self._volatility(position), rules["ongoing_volatility_percent"]),
        ):
            excess = amount - equity * limit / 100
            if equity > 0 and excess > 0:
                too_many = max(too_many, ceil(excess / (amount / position["lots"])))
        return too_many


def _sign(layer: str) -> int:
    return 1 if layer.startswith("Long") else -1


def _entered_before(position: dict[str, Any], alert: Any) -> bool:
    if position["bar_time"] and alert.bar_time:
        return position["bar_time"] < alert.bar_time
    return position["time"] <= time_of(alert)


# --- bars ---------------------------------------------------------------------------------------------------------


def indicators(bars: Sequence[Any], atr_length: int = 14, er_length: int = 10) -> list[tuple[Any, Any]]:
    """Wilder's ATR and Kaufman's ER (None before there are enough bars) of (time, open, high, low, close)."""
    closes = [bar[4] for bar in bars]
    found: list[tuple[Any, Any]] = []
    ranges: list[Fraction] = []
    atr = Fraction(0)
    for at, (_, _, high, low, close) in enumerate(bars):
        before = closes[at - 1] if at else None
        ranges.append(high - low if before is None else max(high - low, abs(high - before), abs(low - before)))
        if at + 1 == atr_length:
            atr = sum(ranges, Fraction(0)) / atr_length
        elif at + 1 > atr_length:
            atr = (atr * (atr_length - 1) + ranges[-1]) / atr_length
        way = sum((abs(closes[k] - closes[k - 1]) for k in range(max(1, at - er_length + 1), at + 1)), Fraction(0))
        er = points(abs(close - closes[at - er_length]) / way) if at >= er_length and way else Fraction(0)
        found.append((points(atr) if at + 1 >= atr_length else None, er if at >= er_length else None))
    return found
