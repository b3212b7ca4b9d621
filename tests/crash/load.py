"""Eight clients who send alerts to a `live` process while faults happen, and what must be true of it afterwards."""

import json
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http.client import HTTPConnection, HTTPException
from itertools import cycle
from pathlib import Path
from random import Random
from typing import Any
from urllib.parse import urlsplit

import psycopg2
import psycopg2.extensions
from msgspec.structs import asdict

from core.alert import parse_alert
from core.config import default_settings
from core.fingerprint import fingerprint_of
from core.postgres.journal_stream import journal_stream
from live.api.encoding import encode, outcome_text
from live.verify import verify
from tests.crash.totals import SEED, Note
from tests.live_process import LiveProcess
from tests.queries import rows

CLIENTS = 8
# A sender of alerts hangs up at 3 s; the engine promises an answer within 2, the rest is the way there and back.
ANSWER_WITHIN = 2.5
HANG_UP_AFTER = 2.4
PATIENCE = 60.0
# Codes of a 503 that say: nothing of it was kept. With every other one it may have been.
NOTHING_KEPT = ("unavailable", "overloaded")
# As production has it, but for the second that an entry waits for the EXIT of its bar: a fifth keeps clients busy.
ENVIRONMENT = {"PORTFOLIO_TIMING__EXIT_WAIT_SECONDS": "0.2"}
_LOOK_EVERY = 0.02
_TOLD = ("position_id", "positions", "lots", "limiter", "reason", "sizing")
_EMPTY: dict[str, Any] = {"positions": [], "sizing": {}}
_PRICES = {"BANK_NIFTY": 58000.0, "GOLD_MINI": 138000.0, "SILVER_MINI": 90000.0, "COPPER": 830.0}


def dice_of(*names: object) -> Random:
    """Chance that is the same again for the same seed and names."""
    return Random(":".join(map(str, (SEED, *names))))


# --- what is sent


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """An alert as bytes, and what identifies it."""

    body: bytes
    fingerprint: str


def a_market(dice: Random, seconds: range, secret: str | None = None) -> list[Sent]:
    """Bars of four instruments, and entries, pyramids and exits on both sides among them; seconds are from now."""
    now, prices, alerts = datetime.now(UTC).replace(microsecond=0), dict(_PRICES), []
    settings = default_settings()
    for second in seconds:
        for instrument in prices:
            prices[instrument] *= 1 + dice.uniform(-0.002, 0.002)
            for kind, layer in _moment(dice):
                alert = _alert(kind, layer, instrument, prices[instrument], now + timedelta(seconds=second))
                body = json.dumps(alert if secret is None else {**alert, "secret": secret}).encode()
                signal = parse_alert(body, instruments=settings.instruments, naive_timezone=UTC).signal
                alerts.append(Sent(body=body, fingerprint=fingerprint_of("main", signal)))
    return alerts


def _moment(dice: Random) -> Iterator[tuple[str, str]]:
    """What comes with one bar of one instrument."""
    yield "MARKET_DATA", ""
    side = dice.choice(("Long", "Short"))
    for kind, layer, chance in (
        ("BASE_ENTRY", f"{side}_1", 0.15),
        ("PYRAMID", f"{side}_{dice.randint(2, 4)}", 0.15),
        ("EXIT", dice.choice(("ALL", f"{side}_1", f"{side}_2")), 0.08),
    ):
        if dice.random() < chance:
            yield kind, layer


def _alert(kind: str, layer: str, instrument: str, price: float, fired: datetime) -> dict[str, Any]:
    away = 0.004 * price
    return {
        "type": kind,
        "instrument": instrument,
        "position": layer,
        "price": round(price, 2),
        "stop": round(price + (away if layer.startswith("Short") else -away), 2),
        "atr": round(0.003 * price, 2),
        "er": 0.8,
        "timestamp": fired.isoformat(),
    }


# --- what was told


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnedAway:
    """A delivery that an instance did not take, 0 where it did not even answer; seconds of the monotonic clock, `since` its
    connection was opened, which may be of before."""

    instance: str
    since: float
    until: float
    status: int
    answer: Any


class Ledger:
    """What the clients were told of each alert: decided or duplicate, queued, or nothing that can be relied on."""

    def __init__(self) -> None:
        self.sent: dict[str, Sent] = {}
        self.answers: dict[str, list[dict[str, Any]]] = defaultdict(list)
        self.queued: set[str] = set()
        self.in_doubt: set[str] = set()
        self.deliveries = 0
        self.slowest = (0.0, "")
        self.untrue: list[str] = []
        self.turned_away: list[TurnedAway] = []
        self._lock = threading.Lock()

    @property
    def acknowledged(self) -> set[str]:
        """Told that they are decided."""
        return set(self.answers)

    @property
    def unknown(self) -> set[str]:
        """Told at least once that nobody knows, and never anything better."""
        return self.in_doubt - self.acknowledged - self.queued

    def note(
        self, alert: Sent, status: int, answer: Any, seconds: float, *, instance: str = "", since: float = 0.0
    ) -> bool:
        """Take down one answer, status 0 for none; whether the alert is taken, so that its sender may forget it."""
        with self._lock:
            if status not in (200, 202):
                self.turned_away.append(
                    TurnedAway(instance=instance, since=since, until=time.monotonic(), status=status, answer=answer)
                )
            self.sent[alert.fingerprint] = alert
            self.deliveries += 1
            self.slowest = max(self.slowest, (seconds, f"{status} {answer}"))
            if status in (200, 202) and answer.get("fingerprint") != alert.fingerprint:
                self.untrue.append(f"{alert.fingerprint} is answered {status} with {answer}")
            elif status == 200:
                self.answers[alert.fingerprint].append(answer)
            elif status == 202:
                self.queued.add(alert.fingerprint)
            elif status not in (0, 503):
                self.untrue.append(f"{alert.body!r} is refused: {status} {answer}")
            elif status == 0 or answer["error"]["code"] not in NOTHING_KEPT:
                self.in_doubt.add(alert.fingerprint)
            return status in (200, 202)


class Sender:
    """One client: connections that are kept, and opened again when they were lost; of several instances turn and turn about."""

    def __init__(self, urls: Sequence[str], ledger: Ledger, hang_up_after: float | None = None) -> None:
        # Where another can be asked, nobody waits longer than a sender of alerts does.
        timeout = hang_up_after or (10.0 if len(urls) == 1 else HANG_UP_AFTER)
        self._connections = [HTTPConnection(urlsplit(url).netloc, timeout=timeout) for url in urls]
        self._turns = cycle(self._connections)
        self._opened_at: dict[HTTPConnection, float] = {}
        self._ledger = ledger

    def send(self, alert: Sent) -> bool:
        """Send once; whether it is taken."""
        started, connection = time.monotonic(), next(self._turns)
        if connection.sock is None:
            self._opened_at[connection] = started
        try:
            connection.request("POST", "/webhook", alert.body)
            response = connection.getresponse()
            status, answer = response.status, json.loads(response.read())
        except (OSError, HTTPException):
            connection.close()
            status, answer = 0, None
        where, since = f"{connection.host}:{connection.port}", self._opened_at[connection]
        return self._ledger.note(alert, status, answer, time.monotonic() - started, instance=where, since=since)

    def close(self) -> None:
        """Hang up."""
        for connection in self._connections:
            connection.close()


# --- sending


class Load:
    """Clients who send a market's alerts in its order, some twice, and again what was not taken, unless they give up.

    `name` and the seed decide what is sent and what each client does; how their threads meet, they cannot. Clients
    `hang_up_after` so many seconds, None: as senders of alerts do.
    """

    def __init__(
        self,
        live: LiveProcess,
        name: str,
        *others: LiveProcess,
        pause: float = 0.1,
        hang_up_after: float | None = None,
        seconds: range = range(-280, 50),
        secret: str | None = None,
    ) -> None:
        self.ledger = Ledger()
        self._hang_up_after = hang_up_after
        self.urls = [one.url for one in (live, *others)]
        self._name = name
        self._pause = pause
        self._coming = a_market(dice_of(name), seconds, secret)
        self._next = 0
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self.stalls = Stalls()

    @contextmanager
    def running(self, clients: int = CLIENTS) -> Iterator[None]:
        """Send for as long as the block takes; then what is on its way is sent again until it is taken."""
        self._stop.clear()
        threads = [threading.Thread(target=self._client, args=(number,)) for number in range(clients)]
        with self.stalls.measured():
            for thread in threads:
                thread.start()
            try:
                yield
            finally:
                self._stop.set()
                for thread in threads:
                    thread.join()

    def wait_for(self, answers: int) -> None:
        """Return when so many more alerts were taken: the engine works, not just the clients."""
        goal = len(self.ledger.answers) + answers
        eventually(lambda: len(self.ledger.answers) >= goal, f"{answers} more answers")

    def tell_again(self) -> None:
        """Send what was never taken, as its senders would who do not give up."""
        ledger = self.ledger
        with closing(self._sender()) as sender:
            for fingerprint in set(ledger.sent) - ledger.acknowledged - ledger.queued:
                alert = ledger.sent[fingerprint]
                eventually(lambda alert=alert: sender.send(alert), f"an answer to {alert.body!r}", every=0.1)

    def require_prompt_answers(self) -> None:
        """Nobody waited longer than the engine promises."""
        self.stalls.require_prompt(self.ledger)

    def _sender(self) -> Sender:
        return Sender(self.urls, self.ledger, self._hang_up_after)

    def _client(self, number: int) -> None:
        dice = dice_of(self._name, number)
        with closing(self._sender()) as sender:
            while not self._stop.is_set():
                self._deliver(sender, self._choose(dice), dice)
                time.sleep(dice.uniform(0, 2 * self._pause))

    def _choose(self, dice: Random) -> Sent:
        """The next alert of the market, or one again that somebody has already sent, or sends just now."""
        again, which = dice.random() < 0.15, dice.random()
        with self._lock:
            if self._next and (again or self._next == len(self._coming)):
                return self._coming[int(which * self._next)]
            self._next += 1
            return self._coming[self._next - 1]

    @staticmethod
    def _deliver(sender: Sender, alert: Sent, dice: Random) -> None:
        gives_up, give_up_at = dice.random() < 0.3, time.monotonic() + PATIENCE
        while not sender.send(alert) and not gives_up and time.monotonic() < give_up_at:
            time.sleep(dice.uniform(0.05, 0.3))


class Stalls:
    """How long the machine, which is shared, stood still by itself: no engine can answer meanwhile."""

    def __init__(self) -> None:
        self.longest = 0.0

    @contextmanager
    def measured(self) -> Iterator[None]:
        """Measure for the length of the block."""
        over = threading.Event()
        thread = threading.Thread(target=self._measure, args=(over,))
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def require_prompt(self, ledger: Ledger) -> None:
        """No answer took longer than the engine promises and the machine stood still."""
        (seconds, answer), bound = ledger.slowest, ANSWER_WITHIN + self.longest
        _require(seconds < bound, f"an answer took {seconds:.2f} s, allowed are {bound:.2f} s: {answer}")

    def _measure(self, over: threading.Event) -> None:
        before = time.monotonic()
        while not over.wait(_LOOK_EVERY):
            now = time.monotonic()
            self.longest, before = max(self.longest, now - before - _LOOK_EVERY), now


# --- what must be true afterwards


def prove(load: Load, live: LiveProcess, dsn: str, note: Note, *, faults: int) -> None:
    """After the faults: nothing lost, nothing doubled, nobody told what is not so, memory as the rows, all of it proved."""
    ledger, signals = load.ledger, len(load.ledger.sent)
    eventually(lambda: _answers(dsn), "an end of the last fault")
    try:
        _await_queued(ledger, dsn)
        _require_bounds(ledger, dsn)
        load.tell_again()
        _await_queued(ledger, dsn)
        decided = _require_bounds(ledger, dsn)
        _require(decided == set(ledger.sent), f"of {signals} signals {len(decided)} are decided")
        require_effects_once(ledger, dsn)
        require_memory_is_rows(live, dsn)
        _require(not ledger.untrue, f"untrue answers: {ledger.untrue[:3]}")
        load.require_prompt_answers()
    except AssertionError:
        lost, doubled = lost_and_doubled(ledger, dsn)
        note(faults=faults, signals=signals, lost=len(lost), doubled=len(doubled))
        raise
    note(faults=faults, signals=signals)


def lost_and_doubled(ledger: Ledger, dsn: str) -> tuple[set[str], set[str]]:
    """What was taken and is not decided; what has had its effect more than once."""
    doubled = rows(dsn, "SELECT fingerprint FROM decision_journal WHERE kind = 'signal' GROUP BY 1 HAVING count(*) > 1")
    lost = (ledger.acknowledged | ledger.queued) - decided_in(dsn)
    return lost, {fingerprint for (fingerprint,) in doubled} | _told_twice(ledger)


def decided_in(dsn: str) -> set[str]:
    """The fingerprints that have a final row."""
    return {row[0] for row in rows(dsn, "SELECT fingerprint FROM signal_log WHERE processing_status <> 'received'")}


def require_effects_once(ledger: Ledger, dsn: str) -> None:
    """One row and one journal entry a fingerprint, and every answer tells what they say."""
    logged = rows(dsn, "SELECT fingerprint, id, processing_status, outcome FROM signal_log")
    journal = rows(dsn, "SELECT fingerprint, seq FROM decision_journal WHERE kind = 'signal'")
    seqs = dict(journal)
    _require(len(logged) == len({row[0] for row in logged}), "a fingerprint has two rows in signal_log")
    _require(len(journal) == len(seqs), "a fingerprint has two entries in the journal")
    _require({row[0] for row in logged} == set(seqs), "signal_log and journal tell of different signals")
    _require(not _told_twice(ledger), f"decided more than once, by their answers: {_told_twice(ledger)}")
    for fingerprint, signal_id, status, outcome in logged:
        stored = json.loads(encode(outcome_text(outcome)))
        for answer in ledger.answers[fingerprint]:
            _require(
                _agrees(answer, stored, status)
                and answer["signal_id"] in (None, signal_id)
                and answer["journal_seq"] in (None, seqs[fingerprint]),
                f"{fingerprint} is told {answer}, stored is {status}, id {signal_id}, {seqs[fingerprint]}: {stored}",
            )


def _agrees(answer: dict[str, Any], stored: dict[str, Any], status: str) -> bool:
    if answer["status"] == "duplicate":
        return answer["first"] == stored and not answer["differs"]
    told = {key: answer[key] for key in _TOLD}
    return answer["status"] == status and told == {key: stored.get(key, _EMPTY.get(key)) for key in _TOLD}


def _told_twice(ledger: Ledger) -> set[str]:
    """Of a fingerprint one answer at most may say that it was decided by it; the others are duplicates."""
    return {
        fingerprint
        for fingerprint, answers in list(ledger.answers.items())
        if sum(answer["status"] != "duplicate" for answer in answers) > 1
    }


def require_memory_is_rows(live: LiveProcess, dsn: str) -> None:
    """`verify` proves the rows from the journal; what the process shows of its memory is what they say."""
    eventually(lambda: live.get("/ready")[0] == 200 and live.get("/status")[1]["backlog"] == 0, "a ready engine")
    with journal_stream(dsn, "main") as stream:
        verify(stream, "main")
        positions, state = stream.open_positions(), stream.state()
    shown = live.get("/status")[1]
    assert state is not None
    kept = json.loads(encode(asdict(state)))
    _require({name: shown[name] for name in kept} == kept, f"/status is {shown}, the row is {kept}")
    _require(shown["open_positions"] == len(positions), f"/status has {shown['open_positions']}, rows {len(positions)}")
    _require(shown["failed_invariants"] == [], f"invariants fail: {shown['failed_invariants']}")
    for position_id, position in positions.items():
        told = live.get(f"/positions/{position_id}")[1]
        _require(told == json.loads(encode(position)), f"{position_id} is shown as {told}, its row is {position}")
    listed = live.get("/positions?status=open,partial&limit=100")[1]["positions"]
    _require({row["position_id"] for row in listed} == set(positions), "GET /positions lists other open positions")


def _await_queued(ledger: Ledger, dsn: str) -> None:
    """What was answered 202 is decided in the end, without its sender's help."""
    eventually(lambda: ledger.queued <= decided_in(dsn), "all that was queued is decided", every=0.2)


def _answers(dsn: str) -> bool:
    with suppress(psycopg2.OperationalError):
        return bool(rows(dsn, "SELECT 1"))
    return False


def _require_bounds(ledger: Ledger, dsn: str) -> set[str]:
    """acknowledged | queued <= in database <= acknowledged | queued | unknown."""
    decided, taken = decided_in(dsn), ledger.acknowledged | ledger.queued
    _require(taken <= decided, f"{len(taken - decided)} taken and lost: {sorted(taken - decided)[:3]}")
    surplus = decided - taken - ledger.unknown
    _require(not surplus, f"{len(surplus)} kept though every answer said nothing was: {sorted(surplus)[:3]}")
    return decided


def _require(holds: bool, otherwise: str) -> None:
    assert holds, f"{otherwise} (CRASH_SEED={SEED})"


def eventually(
    holds: Callable[[], Any], what: str | Callable[[], str], seconds: float = PATIENCE, every: float = 0.05
) -> None:
    """Wait until it holds; `what` it is, asked for where it does not."""
    give_up = time.monotonic() + seconds
    while not holds():
        if time.monotonic() >= give_up:
            _require(False, f"waited {seconds:.0f} s in vain for {what if isinstance(what, str) else what()}")
        time.sleep(every)


# --- processes


def live_on(dsn: str, folder: Path, *, port: int = 0) -> LiveProcess:
    """A `live` process on a database that is not its own to start and stop; its other data are below `folder`."""
    given = psycopg2.extensions.parse_dsn(dsn)
    entry = {"host": given["host"], "port": given.get("port", "5432"), "database": given["dbname"]}
    config = folder / "database.json"
    config.write_text(json.dumps({"test": {**entry, "user": given["user"], "sslmode": "disable"}}))
    return LiveProcess(
        folder / "data", "--db-config", str(config), "--db-env", "test", port=port, environment=ENVIRONMENT
    )


def at_once(sends: Sequence[Callable[[], Any]]) -> None:
    """Call all of them from threads of their own, which start together."""
    start = threading.Barrier(len(sends))

    def one(send: Callable[[], Any]) -> None:
        start.wait()
        send()

    threads = [threading.Thread(target=one, args=(send,)) for send in sends]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def shuffled(dice: Random, alerts: Collection[Sent]) -> list[Sent]:
    """The same in another order."""
    return dice.sample(list(alerts), len(alerts))
