"""Alerts that make a page worth looking at: a day of trades, or a thousand positions with a hundred bars a second."""

import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

from tests.live_process import Served

INSTRUMENTS = {"BANK_NIFTY": 52000.0, "GOLD_MINI": 72000.0, "SILVER_MINI": 91000.0}
ATR = {"BANK_NIFTY": 350.0, "GOLD_MINI": 500.0, "SILVER_MINI": 700.0}
TICK = {"BANK_NIFTY": 0.2, "GOLD_MINI": 1.0, "SILVER_MINI": 1.0}


def alert(kind: str, instrument: str, price: float, bar: datetime, **fields: Any) -> dict[str, Any]:
    """An alert of a bar; without a timestamp its age runs from its receipt."""
    return {
        "type": kind,
        "instrument": instrument,
        "price": price,
        "atr": fields.pop("atr", ATR.get(instrument)),
        "bar_time": bar.isoformat(),
        **fields,
    }


class Day:
    """Walks prices in bars of five minutes, and trades them: entries, pyramids, stops, exits, refusals."""

    def __init__(self, served: Served, seed: int = 7, bars: int = 190, path: str = "/webhook") -> None:
        self._served = served
        self._path = path
        self._seed = seed
        self._prices = dict(INSTRUMENTS)
        self._begin = datetime.now(UTC).replace(microsecond=0) - timedelta(minutes=5 * bars)
        self._bars = bars

    def run(self) -> None:
        """All of it, each instrument by itself."""
        with ThreadPoolExecutor() as trading:
            list(trading.map(self._trade, self._prices))

    def _trade(self, instrument: str) -> None:
        random = Random(f"{instrument} {self._seed}")
        for number in range(self._bars):
            self._bar(number, self._begin + timedelta(minutes=5 * number), instrument, random)

    def _bar(self, number: int, bar: datetime, instrument: str, random: Random) -> None:
        drift = 0.0016 if (number // 34) % 3 else -0.0012
        moved = self._prices[instrument] * (1 + random.gauss(drift / 3, 0.0011))
        price = round(round(moved / TICK[instrument]) * TICK[instrument], 2)
        self._prices[instrument] = price
        self._told(alert("MARKET_DATA", instrument, price, bar))
        stop = round(price - 1.2 * ATR[instrument], 0)
        if number % 11 == 3:
            self._told(alert("BASE_ENTRY", instrument, price, bar, position="Long_1", stop=stop, er=0.8))
        if number % 7 == 5:
            layer = f"Long_{2 + number // 7 % 3}"
            self._told(alert("PYRAMID", instrument, price, bar, position=layer, stop=stop, er=0.9))
        if number % 71 == 70:
            self._told(alert("EXIT", instrument, price, bar, position="ALL", reason="SuperTrend"))

    def _told(self, body: dict[str, Any]) -> None:
        status, answer = self._served.post(body, self._path)
        assert status == 200, answer


# --- a thousand positions

MANY = 1000
_ONE = {
    "exchange": "MCX",
    "lot_size": "1",
    "point_value": "1",
    "tick": "0.05",
    "margin_per_lot": "1",
    "initial_risk_percent": "0.005",
    "initial_volatility_percent": "0.004",
    "ongoing_risk_percent": "50",
    "ongoing_volatility_percent": "50",
}


def many_instruments(folder: Path) -> Path:
    """A configuration with a thousand of them, of which each may have a small position."""
    file = folder / "many.json"
    file.write_text(json.dumps({"instruments": {f"INS_{number:04}": _ONE for number in range(MANY)}}))
    return file


def open_many(served: Served) -> None:
    """A position in each of them."""
    bar = datetime.now(UTC).replace(microsecond=0) - timedelta(minutes=1)

    def some(first: int) -> None:
        for number in range(first, MANY, 8):
            price = 1000 + number
            body = alert("BASE_ENTRY", f"INS_{number:04}", price, bar, atr=10, position="Long_1", stop=price - 10, er=1)
            status, answer = served.post(body)
            assert status in (200, 202), answer

    threads = [threading.Thread(target=some, args=(first,)) for first in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


@contextmanager
def bars_a_second(served: Served, rate: int = 100) -> Iterator[list[float]]:
    """So many bars a second, each moving a position's mark, until the block ends; how long each answer took."""
    took: list[float] = []
    ending, lock, numbers = threading.Event(), threading.Lock(), iter(range(10**9))
    began, first = time.monotonic(), datetime.now(UTC).replace(microsecond=0)

    def feed() -> None:
        while not ending.is_set():
            with lock:
                number = next(numbers)
            time.sleep(max(0.0, began + number / rate - time.monotonic()))
            if ending.is_set():
                return
            instrument, turn = number % MANY, number // MANY
            price = 1000 + instrument + (number * 37 % 17)
            body = alert("MARKET_DATA", f"INS_{instrument:04}", price, first + timedelta(seconds=turn), atr=10)
            asked = time.monotonic()
            status, answer = served.post(body)
            took.append(time.monotonic() - asked)
            assert status in (200, 202), answer

    threads = [threading.Thread(target=feed) for _ in range(8)]
    for thread in threads:
        thread.start()
    try:
        yield took
    finally:
        ending.set()
        for thread in threads:
            thread.join()
