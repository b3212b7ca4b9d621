"""A broker for the bench: the tests' OpenAlgo-compatible server in a process of its own. A child process of the bench.

It notes when each order was there, whole, by the machine's monotonic clock, and forgets the day when it is asked for that.
"""

import argparse
import json
import os
import threading
import time
from decimal import Decimal
from typing import Any

from tests.openalgo_server import OpenAlgoServer
from tests.simulated_exchange import Resting

EXCHANGE = "NFO"
PRICE = 1000


class BenchBroker(OpenAlgoServer):
    """`/noted` tells when each order came, by its strategy, and empties the books, so that they do not grow."""

    def __init__(self) -> None:
        super().__init__()
        self._noted_at: dict[str, float] = {}
        self._position_book = b""

    def serve(self, handler: Any, endpoint: str, fields: dict[str, Any]) -> None:
        """As always, but for the position book, which is made once: it is not what is measured."""
        if endpoint == "placeorder":
            self._noted_at[fields["strategy"]] = time.monotonic()
        if endpoint == "positionbook" and self._position_book:
            handler.answer(200, self._position_book)
        else:
            super().serve(handler, endpoint, fields)

    def hold(self, count: int) -> None:
        """Hold one unit of each of so many symbols."""
        for number in range(count):
            symbol, order_id = f"R{number}", self.exchange.new_id()
            self.exchange.set_quote(symbol, Decimal(PRICE))
            order = Resting(
                order_id=order_id,
                symbol=symbol,
                exchange=EXCHANGE,
                buys=True,
                quantity=Decimal(1),
                limit=None,
                trigger=None,
                tag="held",
                product="NRML",
            )
            self.exchange.add(order)
        book = {"status": "success", **self._positionbook({}, None)}
        self._position_book = json.dumps(book).encode()

    def _noted(self, fields: dict[str, Any], trouble: object) -> dict[str, Any]:  # noqa: ARG002 - one of the endpoints
        noted, self._noted_at = self._noted_at, {}
        self.exchange.orders.clear()
        self.exchange.trades.clear()
        self.requests.clear()
        self.received.clear()
        return {"data": noted}


def main() -> None:
    """Serve on a free port until we are ended, and say which."""
    parser = argparse.ArgumentParser(prog="python -m bench.openalgo", description=__doc__)
    parser.add_argument("--quotes", default="", help="symbols that are traded, comma between")
    parser.add_argument("--hold", type=int, default=0, help="how many positions the account has")
    options = parser.parse_args()
    with BenchBroker() as broker:
        for symbol in filter(None, options.quotes.split(",")):
            broker.exchange.set_quote(symbol, Decimal(PRICE))
        if options.hold:
            broker.hold(options.hold)
        os.write(1, f"ready on {broker.url}\n".encode())
        threading.Event().wait()


if __name__ == "__main__":
    main()
