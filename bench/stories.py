"""What is sent: an endless, plausible story a client, and the same decisions as documents for a bare writer.

The first eight clients trade an instrument each: an entry, eight bars, an exit of all. Further clients send bars of the
same eight instruments. Bars are a second apart from 2020 on, so that no two fingerprints are equal; an entry is as old
as its arrival, because it has no `timestamp`.
"""

import itertools
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import msgspec
from msgspec.structs import replace

from bench.host import INSTRUMENT, Document, document_of
from core.alert import parse_alert
from core.config import default_instruments
from core.decide import decide
from core.decide.decision import Outcome
from core.fingerprint import fingerprint_of
from core.inputs import Input, SignalInput, StartPortfolio
from core.journal import NO_HASH, Batch, Entry
from core.models import PortfolioState, Signal
from core.numbers import DEFAULT_CAPITAL, ZERO
from core.ordering import signal_in_order_key
from core.portfolio import Portfolio
from core.postgres.rows import batch_rows
from core.settings import Settings

INSTRUMENTS = tuple(f"BENCH_{number}" for number in range(8))
_START = datetime(2020, 1, 1, tzinfo=UTC)
STEPS = 10  # of a trade
_PRICE = 1000


class Story:
    """Alerts, client by client; each client's next one is made when it is asked for. It begins so many seconds into 2020."""

    def __init__(self, seconds: int = 0) -> None:
        self._seconds = itertools.count(seconds)
        self._steps: dict[int, int] = {}

    def body(self, client: int) -> bytes:
        """The next alert of a client."""
        step = self._steps.get(client, 0)
        self._steps[client] = step + 1
        time = (_START + timedelta(seconds=next(self._seconds))).isoformat()
        common = f'"instrument":"{INSTRUMENTS[client % len(INSTRUMENTS)]}","bar_time":"{time}"'
        place = step % STEPS
        if client < len(INSTRUMENTS) and place == 0:
            rest = f'"type":"BASE_ENTRY","position":"Long_1","price":{_PRICE},"stop":{_PRICE - 10},"atr":10,"er":0.82'
        elif client < len(INSTRUMENTS) and place == STEPS - 1:
            rest = f'"type":"EXIT","position":"ALL","price":{_PRICE + 2},"reason":"bench"'
        else:
            rest = f'"type":"MARKET_DATA","price":{_PRICE + place % 7}.25,"atr":10.5'
        return f"{{{rest},{common}}}".encode()

    def signal(self, client: int) -> Signal:
        """The same, as read from its body."""
        return parse_alert(self.body(client), instruments=INSTRUMENTS, naive_timezone=UTC).signal


def settings() -> Settings:
    """The default settings with the story's instruments."""
    return Settings.model_validate({"instruments": {**default_instruments(), **dict.fromkeys(INSTRUMENTS, INSTRUMENT)}})


class Recorder:
    """Decides a story as the engine does, in memory, and gives each batch as `commit_batch`'s one parameter.

    Each document follows on the one before: they are to be written in their order, every one. `portfolio` is what the last
    one has led to, `outcomes` what was decided in it.
    """

    def __init__(self, given: Settings | None = None) -> None:
        self._story = Story()
        self._seq, self._last_hash = 1, NO_HASH
        empty = PortfolioState(initial_capital=ZERO, closed_equity=ZERO, equity_high=ZERO)
        self.portfolio = Portfolio(name="main", settings=given or settings(), state=empty)
        self.outcomes: list[Outcome] = []

    def go_on(self, portfolio: Portfolio, seq: int, last_hash: str) -> None:
        """Follow on what is there already: this state, journalled up to the entry before `seq`."""
        self.portfolio, self._seq, self._last_hash = portfolio, seq, last_hash

    def start(self) -> Document:
        """The first document of all: the portfolio's capital."""
        return self.document([(StartPortfolio(initial_capital=DEFAULT_CAPITAL), b"{}")])

    def batch(self, clients: Sequence[int]) -> Document:
        """The next document: one alert of each of these clients."""
        now = datetime.now(UTC)
        inputs = []
        for body in map(self._story.body, clients):
            signal = parse_alert(body, instruments=INSTRUMENTS, naive_timezone=UTC).signal
            given = SignalInput(signal=signal, fingerprint=fingerprint_of("main", signal), received_at=now)
            inputs.append((given, body))
        inputs.sort(key=lambda pair: signal_in_order_key(pair[0].signal))
        return self.document(inputs)

    def document(self, inputs: Sequence[tuple[Input, bytes]]) -> Document:
        """The next document: these inputs with their bodies, decided."""
        now = datetime.now(UTC)
        before = after = self.portfolio
        entries: list[Entry] = []
        for given, body in inputs:
            decision = decide(replace(after, seq=self._seq + len(entries)), given, now)
            after = decision.portfolio
            entries.append(Entry(given=given, decision=decision, decided_at=now, payload=msgspec.json.decode(body)))
        batch = Batch(before=before, after=after, entries=tuple(entries))
        rows = batch_rows(batch, first_seq=self._seq, term=1, instance_id="bench", previous_hash=self._last_hash)
        self._seq, self._last_hash = self._seq + len(entries), rows["journal"][-1]["content_hash"]
        self.outcomes = [entry.decision.outcome for entry in entries]
        self.portfolio = after.settled()
        return document_of(rows)
