"""What a story sends: wishes that Hypothesis draws and shortens, and the alerts that a market makes of them."""

import json
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from hypothesis import strategies as st

from tests.builders import NOON
from tests.crash.machine_model import LiveBook

PRICES = {"BANK_NIFTY": 52000.0, "GOLD_MINI": 72000.0, "COPPER": 830.0}
KOLKATA = ZoneInfo("Asia/Kolkata")


@dataclass(frozen=True)
class Wish:
    """An alert, said so that it makes sense (or does not) whatever is open when it is sent.

    `move` and `stop` are half ATRs: the price's way since the last alert in favour of what is open, the stop's distance
    against it. `swing` widens the ATR. `layer` 0 is the next free one, for an EXIT all. `late`: how many seconds ago it
    fired.
    """

    kind: str
    instrument: str
    move: int
    stop: int
    swing: int
    layer: int
    against: bool
    late: int
    times: str
    er: str
    as_text: bool


# The first of each is what an example is shortened to; what is there more often is drawn more often.
wishes = st.builds(
    Wish,
    kind=st.sampled_from(("BASE_ENTRY", "MARKET_DATA", "PYRAMID", "EXIT", "PYRAMID", "BASE_ENTRY", "MARKET_DATA")),
    instrument=st.sampled_from(tuple(PRICES)),
    move=st.sampled_from((2, 3, 5, 0, -2, -7, 4, 8)),
    stop=st.sampled_from((3, 2, 6, 3, 4, 2, 0, -1)),
    swing=st.sampled_from((1, 1, 1, 1, 2, 3)),
    layer=st.sampled_from((0, 0, 0, 0, 1, 2, 3, 6)),
    against=st.sampled_from((False,) * 9 + (True,)),
    late=st.sampled_from((1, 1, 1, 0, 5, 40, 70, 299, 301, 7200, -30, -90)),
    times=st.sampled_from(("both", "both", "timestamp", "bar_time")),
    er=st.sampled_from(("0.82", "1", "0.3", "0.05")),
    as_text=st.booleans(),
)


def of_one_bar(several: list[Wish]) -> list[Wish]:
    """The same wishes as a chart fires them at the end of one bar."""
    first = several[0]
    return [replace(wish, instrument=first.instrument, late=first.late, times="both") for wish in several]


class Market:
    """The clock, walking prices, and the bodies made of wishes. No two bodies are equal: each has its number."""

    def __init__(self) -> None:
        self.now = NOON
        self._prices = dict(PRICES)
        self._bodies = 0

    def forward(self, seconds: float) -> None:
        """Time goes by."""
        self.now += timedelta(seconds=seconds)

    def body(self, wish: Wish, book: LiveBook) -> str:
        """The alert that is wished for, as TradingView would send it."""
        held = book.held(wish.instrument)
        side = held[0]["sign"] if held else 1
        price, atr = self._walked(wish, side)
        side = -side if wish.against else side
        fields: dict[str, Any] = {"type": wish.kind, "instrument": wish.instrument, "price": price, "atr": atr}
        if wish.kind != "MARKET_DATA":
            fields["position"] = _layer(wish, side, {position["layer"] for position in held})
        if wish.kind in ("BASE_ENTRY", "PYRAMID"):
            fields |= {"stop": round(price - side * wish.stop * atr / 2, 4), "er": float(wish.er), "lots": 1}
        return self._written(wish, fields)

    def changed(self, body: str) -> str:
        """The same alert with another body: of the same bar, but at another price."""
        fields = json.loads(body)
        self._bodies += 1
        return json.dumps({**fields, "price": float(fields["price"]) * 1.5, "comment": str(self._bodies)})

    def _walked(self, wish: Wish, side: int) -> tuple[float, float]:
        price = self._prices[wish.instrument]
        atr = round(price * 0.004 * wish.swing, 2)
        self._prices[wish.instrument] = price = round(price + side * wish.move * atr / 2, 2)
        return price, atr

    def _written(self, wish: Wish, fields: dict[str, Any]) -> str:
        fired = self.now - timedelta(seconds=wish.late)
        times = {"timestamp": fired, "bar_time": fired.replace(second=0)}
        fields |= {name: self._time(at) for name, at in times.items() if wish.times in (name, "both")}
        if wish.as_text:
            fields = {name: str(value) for name, value in fields.items()} | {"type": wish.kind.lower()}
        self._bodies += 1
        return json.dumps({**fields, "comment": str(self._bodies)})

    def _time(self, at: datetime) -> str:
        """In one of the ways in which a time may come: UTC, another offset, or none."""
        local = at.astimezone(KOLKATA)
        ways = (f"{at:%Y-%m-%dT%H:%M:%SZ}", local.isoformat(), f"{local:%Y-%m-%dT%H:%M:%S}")
        return ways[self._bodies % len(ways)]


def _layer(wish: Wish, side: int, taken: set[str]) -> str:
    name = "Long" if side > 0 else "Short"
    if wish.kind == "BASE_ENTRY":
        return f"{name}_1"
    if wish.kind == "EXIT":
        return f"{name}_{wish.layer}" if wish.layer else "ALL"
    free = (number for number in range(2, 7) if f"{name}_{number}" not in taken)
    return f"{name}_{wish.layer if wish.layer > 1 else next(free, 6)}"


commands = st.sampled_from(
    (
        {"kind": "halt", "reason": "lunch"},
        {"kind": "resume"},
        {"kind": "resume"},
        {"kind": "resume", "instrument": "COPPER"},
        *({"kind": "capital", "amount": amount, "note": "a flow"} for amount in ("125000.5", "-40000", "-4000000")),
        *({"kind": "capital", "amount": amount} for amount in ("0", "-9000000000")),
        {"kind": "close", "position_id": "ALL"},
        {"kind": "close", "position_id": "ALL", "price": "830"},
        {"kind": "close", "position_id": "an open one"},
        {"kind": "close", "position_id": "an open one", "price": "51999.5"},
        {"kind": "close", "position_id": "nobody"},
    )
)
