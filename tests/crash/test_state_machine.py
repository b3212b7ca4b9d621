"""Random stories of signals, duplicates, kills and cuts, told to a real engine and to a model that shares no line with it.

A story is drawn, and shortened where it fails, by Hypothesis. The journal says in which order what was sent was decided;
the model decides the same in that order, and must come to the same outcomes and rows. CRASH_SEED tells other stories,
CRASH_FULL=1 more and longer ones.
"""

import json
import os
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from fractions import Fraction
from pathlib import Path
from typing import Any, ClassVar

import psycopg2
import psycopg2.extensions
import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import note as say
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from core.postgres.embedded import EmbeddedServer
from core.postgres.journal_stream import journal_stream
from core.postgres.migrations import migrate
from live.verify import verify
from tests.crash.machine_engine import EngineProcess, EngineZygote
from tests.crash.machine_model import LiveBook, Told
from tests.crash.machine_rows import Tables, ahead, differences, rows_unlike
from tests.crash.machine_signals import Market, Wish, commands, of_one_bar, wishes
from tests.crash.totals import FULL, SEED, Note
from tests.postgres_server import drop_database, fresh_database
from tests.proxy import Cut, Proxy
from tests.trading_model import alert_of, fingerprint, in_order

CAPITAL = 60_000_000
PAPER = {"slippage_percent": "0.02", "costs": {"percent_of_turnover": "0.01", "per_lot": "20.3333"}}
ANSWER_WITHIN, COMMIT_LIMIT = 0.3, 0.5
FAULTS = ("kills", "cuts", "outages", "server crashes")
FINAL = ("decided", "duplicate", "queued")
PATIENCE_SECONDS = 30.0


@dataclass
class World:
    """What all stories of a test share."""

    server_dsn: str
    template: str
    zygote: EngineZygote
    folder: Path
    server: EmbeddedServer | None = None
    spools: bool = True
    exit_wait: str = "0"
    totals: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True)
class Given:
    """An input: what makes it the same one, how it is asked for, which of the bodies it is."""

    identity: str
    request: dict[str, Any]
    number: str


class Story(RuleBasedStateMachine):
    """One engine, killed and started again, and the book that it is compared with."""

    world: ClassVar[World]

    def __init__(self) -> None:
        super().__init__()
        self._raised_before = sys.exc_info()[1]
        self._totals = self.world.totals
        self._dsn = fresh_database(self.world.server_dsn, template=self.world.template)
        self._proxy = Proxy(self._dsn).__enter__()
        self._tables = Tables(self._dsn)
        self._spool = self.world.folder / f"{psycopg2.extensions.parse_dsn(self._dsn)['dbname']}.sqlite"
        self._market = Market()
        self._book = LiveBook(CAPITAL, slippage="0.02", percent="0.01", per_lot="20.3333")
        self._shut_out = False
        self._starts = 0
        self._requests = 0
        self._seq = self._term = 0
        self._sent: dict[str, list[Given]] = {}
        self._first_sent: dict[str, datetime] = {}
        self._unanswered: dict[str, Given] = {}
        self._possible: set[str] = set()
        self._promised: dict[str, set[str]] = {}
        self._acknowledged: set[str] = set()
        self._decided_once: set[str] = set()
        self._told: list[tuple[Given, dict[str, Any]]] = []
        self._stored: dict[str, tuple[int, Given, dict[str, Any]]] = {}
        self._engine = self._started()
        self._totals["stories"] += 1

    # --- signals and commands

    @precondition(lambda self: self._engine.alive)
    @rule(wish=wishes, after=st.sampled_from((60, 2, 0, 61, 400)))
    def send_a_signal(self, wish: Wish, after: int) -> None:
        self._market.forward(after)
        self._insist([self._alert(wish)])

    @precondition(lambda self: self._engine.alive)
    @rule(
        several=st.lists(wishes, min_size=2, max_size=5) | st.lists(wishes, min_size=3, max_size=5).map(of_one_bar),
        together=st.booleans(),
        twice=st.booleans(),
        after=st.sampled_from((60, 2)),
    )
    def send_several_at_once(self, several: list[Wish], together: bool, twice: bool, after: int) -> None:
        self._market.forward(after)
        alerts = [self._alert(wish) for wish in several]
        before = self._seq
        told = self._insist([*alerts, *alerts] if twice else alerts, together=together)
        if together and told <= {"decided", "duplicate"}:
            self._look()
            self._require_order([given for given in alerts if self._stored[given.identity][0] > before])

    @precondition(lambda self: self._engine.alive and self._sent)
    @rule(which=st.integers(0, 200), changed=st.booleans(), times=st.integers(1, 3))
    def send_an_earlier_one_again(self, which: int, changed: bool, times: int) -> None:
        given = self._earlier(which)
        if changed and "alert" in given.request:
            given = self._of_body(self._market.changed(given.request["alert"]))
        self._insist([given] * times)

    @precondition(lambda self: self._engine.alive)
    @rule(command=commands)
    def operate(self, command: dict[str, Any]) -> None:
        self._insist([self._command(command)])

    # Always allowed: what Hypothesis draws may not depend on how fast anything was.
    @precondition(lambda self: self._engine.alive)
    @rule(together=st.booleans())
    def send_again_what_was_not_answered(self, together: bool) -> None:
        self._insist(list(self._unanswered.values()), together=together)

    @precondition(lambda self: self._engine.alive and not self._shut_out)
    @rule(several=st.lists(wishes, min_size=1, max_size=3))
    def look_while_a_commit_is_slow(self, several: list[Wish]) -> None:
        self._proxy.delay = 0.02
        alerts = [self._alert(wish) for wish in several]
        self._send(alerts, together=True, meanwhile=lambda: [self._look() for _ in range(8)])
        self._proxy.delay = 0.0

    # --- kills

    @precondition(lambda self: self._engine.alive)
    @rule(several=st.lists(wishes, min_size=1, max_size=3), steps=st.integers(1, 12), again=st.booleans())
    def kill_in_the_middle(self, several: list[Wish], steps: int, again: bool) -> None:
        """At a step of the engine's work: before or after a statement, before or after a COMMIT."""
        self._engine.tell(kill_in=steps)
        alerts = [self._alert(wish) for wish in several]
        self._send([*alerts, self._earlier(steps)] if again and self._sent else alerts, together=True)
        self._engine.kill()
        self._totals["kills"] += 1

    @precondition(lambda self: self._engine.alive)
    @rule(several=st.lists(wishes, min_size=1, max_size=4), milliseconds=st.integers(0, 12))
    def kill_at_a_moment(self, several: list[Wish], milliseconds: int) -> None:
        self._send([self._alert(wish) for wish in several], meanwhile=self._engine.kill, after=milliseconds / 1000)
        self._engine.kill()
        self._totals["kills"] += 1

    @precondition(lambda self: not self._engine.alive)
    @rule(kill_at=st.sampled_from((0, 0, 0, 5, 14, 17, 18, 19, 20, 25, 30)))
    def start(self, kill_at: int) -> None:
        """As an operator would: until it serves; the first attempt may be killed on its way."""
        self._let_in()
        self._engine = self._forked(kill_at)
        self._totals["kills"] += not self._engine.alive
        with self._decided_in_order(self._queued()):
            if not self._engine.alive:
                self._engine = self._started()

    @precondition(lambda self: self._engine.alive)
    @rule(several=st.lists(wishes, max_size=3))
    def stop_and_start(self, several: list[Wish]) -> None:
        self._send([self._alert(wish) for wish in several], meanwhile=self._engine.stop, after=0.001)
        self._engine.stop()
        self._let_in()
        self._engine = self._started()

    # --- the database

    @precondition(lambda self: self._engine.alive and not self._shut_out)
    @rule(
        several=st.lists(wishes, min_size=1, max_size=3),
        cut=st.sampled_from((Cut.BEFORE, Cut.AFTER) * 3 + tuple(Cut)[1:]),
    )
    def cut_around_a_commit(self, several: list[Wish], cut: Cut) -> None:
        self._proxy.cut = cut
        self._send([self._alert(wish) for wish in several], together=True)
        self._proxy.cut = Cut.NEVER
        self._totals["cuts"] += 1

    @precondition(lambda self: self._engine.alive and not self._shut_out)
    @rule(several=st.lists(wishes, min_size=1, max_size=4), milliseconds=st.integers(0, 12))
    def cut_every_connection(self, several: list[Wish], milliseconds: int) -> None:
        alerts = [self._alert(wish) for wish in several]
        self._send(alerts, meanwhile=self._proxy.cut_all, after=milliseconds / 1000)
        self._totals["cuts"] += 1

    @precondition(lambda self: self._engine.alive and not self._shut_out)
    @rule(several=st.lists(wishes, max_size=2), milliseconds=st.integers(0, 6))
    def shut_the_engine_out(self, several: list[Wish], milliseconds: int) -> None:
        alerts = [self._alert(wish) for wish in several]
        self._send(alerts, meanwhile=lambda: self._proxy.refuse(True), after=milliseconds / 1000)
        self._proxy.refuse(True)
        self._shut_out = True
        self._totals["outages"] += 1

    @precondition(lambda self: self._shut_out)
    @rule(after=st.sampled_from((2, 400)))
    def let_the_engine_in(self, after: int) -> None:
        self._market.forward(after)
        self._engine.tell(now=self._market.now.isoformat())
        with self._decided_in_order(self._queued()):
            self._let_in()

    @precondition(lambda self: self._engine.alive and self.world.server is not None)
    @rule(several=st.lists(wishes, min_size=1, max_size=3), milliseconds=st.integers(0, 12))
    def restart_the_server(self, several: list[Wish], milliseconds: int) -> None:
        """Right after they were answered, where that is sooner: what was acknowledged has to be on the disk by then."""
        self._send([self._alert(wish) for wish in several], meanwhile=self._crash_the_server, after=milliseconds / 1000)

    @precondition(lambda self: self._sent)
    @rule()
    def prove_the_journal(self) -> None:
        self._verify()

    # --- what holds after each step

    @invariant()
    def model_rows_and_engine_agree(self) -> None:
        if self._engine.alive and not self._shut_out:
            self._require_calm()
        else:
            self._look()

    def teardown(self) -> None:
        try:
            # A story that has failed already is not told to its end.
            if sys.exc_info()[1] is self._raised_before:
                self._end()
            elif self._totals["first failure"] == 0 and isinstance(sys.exc_info()[1], AssertionError):
                # Told again it may end otherwise: kills and cuts meet it elsewhere. Then this is all that is known.
                self._totals["first failure"] += 1
                traceback.print_exc()
        finally:
            self._engine.kill()
            self._proxy.__exit__()
            self._tables.close()
            drop_database(self._dsn)

    def _end(self) -> None:
        """Kill it, start it, send everything once more: all is decided, once, and proved."""
        self._engine.kill()
        self._let_in()
        self._engine = self._started()
        everything = [sent[0] for sent in self._sent.values()]
        for begin in range(0, len(everything), 16):
            self._insist(everything[begin : begin + 16])
        self._require_calm()
        lost = self._sent.keys() - self._stored.keys()
        assert not lost, f"lost: {[self._sent[identity][0] for identity in lost]}"
        assert not self._unanswered
        self._verify()
        self._totals["inputs"] += len(self._stored)
        self._totals += self._book.happened

    # --- sending

    def _alert(self, wish: Wish) -> Given:
        return self._of_body(self._market.body(wish, self._book))

    def _of_body(self, body: str) -> Given:
        return Given(fingerprint(alert_of(body)), {"alert": body}, json.loads(body)["comment"])

    def _command(self, command: dict[str, Any]) -> Given:
        self._requests += 1
        identity = f"request {self._requests}"
        if command.get("position_id") == "an open one":
            ids = sorted(name for name, row in self._book.positions().items() if row["lots"])
            command = {**command, "position_id": ids[self._requests % len(ids)] if ids else "nobody"}
        return Given(identity, {"command": {**command, "request_id": identity}}, identity)

    def _earlier(self, which: int) -> Given:
        everything = [given for sent in self._sent.values() for given in sent]
        return everything[which % len(everything)]

    def _insist(self, several: list[Given], *, together: bool = False) -> set[str]:
        """Send until each is answered; nobody is heard while the engine is shut out. What the first sending was told."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        told = self._send(several, together=together)
        while (left := self._left_of(several)) and self._engine.alive and not self._shut_out:
            assert time.monotonic() < deadline, f"not answered: {left}"
            self._send(left)
        return told

    def _left_of(self, several: list[Given]) -> list[Given]:
        return [given for given in several if given.identity in self._unanswered]

    def _send(
        self,
        several: list[Given],
        *,
        together: bool = False,
        meanwhile: Callable[[], Any] | None = None,
        after: float = 0.0,
    ) -> set[str]:
        """Send all at once; the kinds of answers to them."""
        for given in several:
            self._sent.setdefault(given.identity, []).append(given)
            self._first_sent.setdefault(given.identity, self._market.now)
            self._totals["sent"] += 1
        self._engine.tell(now=self._market.now.isoformat())
        if together:
            self._engine.tell(together=len(several))
        possible_before = set(self._possible)
        self._possible |= {given.identity for given in several}
        answers = self._engine.ask([given.request for given in several], meanwhile, after)
        # Nothing may be kept of what was told so each time.
        taken = {given.identity for given, told in zip(several, answers, strict=True) if _kind(told) != "not_taken"}
        self._possible = possible_before | taken
        for given, answer in zip(several, answers, strict=True):
            self._note(given, answer)
        return set(map(_kind, answers))

    def _queued(self) -> list[Given]:
        """What is kept and not decided, while nothing can be."""
        self._look()
        return [self._sent[identity][0] for identity in self._promised if identity not in self._stored]

    @contextmanager
    def _decided_in_order(self, queued: list[Given]) -> Iterator[None]:
        """What waits together is decided in DOMAIN.md's order, unless an entry may wait for its EXIT."""
        yield
        if self._engine.alive and not self._shut_out:
            self._require_calm()
            self._require_order(queued)

    def _require_order(self, several: list[Given]) -> None:
        """Each by the body that was decided: commands first, then by bar, kind and time."""
        places = {given.identity: self._stored[given.identity] for given in several}
        decided = sorted((seq, given) for seq, given, _ in places.values())
        alerts = [alert_of(given.request["alert"]) for _, given in decided if "alert" in given.request]
        assert self.world.exit_wait != "0" or alerts == in_order(alerts), f"decided in this order: {decided}"
        assert not alerts or "alert" in decided[-1][1].request

    def _note(self, given: Given, answer: dict[str, Any] | None) -> None:
        """Remember what was promised."""
        identity, kind = given.identity, _kind(answer)
        say(f"{given.request} -> {answer and (kind, answer['outcome'] or answer['message'])}")
        self._totals[f"answered: {kind}"] += 1
        if kind not in FINAL:
            assert kind in ("none", "unknown", "not_taken"), answer
            self._unanswered.setdefault(identity, given)
            return
        self._unanswered.pop(identity, None)
        # From here on no other body can become the one that is decided.
        self._promised.setdefault(identity, {earlier.number for earlier in self._sent[identity]})
        if answer is None or kind == "queued":
            return
        self._acknowledged.add(identity)
        self._told.append((given, answer))
        assert kind == "duplicate" or identity not in self._decided_once, f"decided twice: {given}"
        assert kind == "decided" or len(self._sent[identity]) > 1, f"no duplicate of anything: {given}"
        self._decided_once |= {identity} if kind == "decided" else set()

    # --- the journal, the model, the rows

    def _follow(self) -> dict[str, Any]:
        """Let the model decide what the journal has decided since, in the same order; the tables of that moment."""
        tables = self._tables.snapshot(self._seq)
        for entry in tables["journal"]:
            self._follow_entry(entry)
        gone = self._acknowledged - self._stored.keys()
        assert not gone, f"acknowledged and lost: {[self._sent[identity][0] for identity in gone]}"
        for given, answer in self._told:
            self._require_truly_told(given, answer)
        self._told.clear()
        assert tables["signals"] == len(self._book.answers)
        self._require_rows(tables)
        return tables

    def _follow_entry(self, entry: dict[str, Any]) -> None:
        assert entry["seq"] == self._seq + 1
        self._seq = entry["seq"]
        kind, now = entry["kind"], datetime.fromisoformat(entry["decided_at"])
        if kind in ("genesis", "settings"):
            return
        if kind == "term":
            assert entry["term"] == entry["input"]["term"] > self._term
            self._term = entry["term"]
            return
        identity = entry["fingerprint"] or entry["request_id"]
        assert identity not in self._stored, f"decided twice: {entry}"
        assert identity in self._possible, f"decided, and never sent, or answered `nothing was kept`: {entry}"
        assert self._first_sent[identity] <= now <= self._market.now
        assert entry["term"] == self._term
        given = self._sent_as(identity, entry)
        assert given.number in self._promised.get(identity, {given.number}), f"another body than promised: {given}"
        expected = self._decided_by_model(given, entry, now)
        outcome = {**entry["outcome"], "sizing": entry["figures"]}
        self._stored[identity] = (self._seq, given, outcome)
        found = Told(*(outcome[name] for name in Told._fields))
        assert found == expected, f"journal entry {self._seq}, {given.request}: {found}, the model says {expected}"

    def _sent_as(self, identity: str, entry: dict[str, Any]) -> Given:
        """Which of the bodies of the same identity was decided."""
        if entry["fingerprint"] is None:
            return self._sent[identity][0]
        log = entry["log"]
        assert log["outcome"] == {**entry["outcome"], "sizing": entry["figures"]}
        assert log["processing_status"] == entry["outcome"]["status"]
        return next(given for given in self._sent[identity] if given.number == log["payload"]["comment"])

    def _decided_by_model(self, given: Given, entry: dict[str, Any], now: datetime) -> Told:
        if "command" in given.request:
            return self._book.command(entry["kind"], {"reason": "OPERATOR", **given.request["command"]}, now)
        received_at = datetime.fromisoformat(entry["input"]["received_at"])
        assert self._first_sent[given.identity] <= received_at <= now
        return self._book.signal(alert_of(given.request["alert"]), now, received_at)

    def _require_truly_told(self, given: Given, answer: dict[str, Any]) -> None:
        _, decided, outcome = self._stored[given.identity]
        assert answer["outcome"] == outcome, f"{given}: told {answer['outcome']}, kept {outcome}"
        assert answer["differs"] is (given.number != decided.number), f"differs: {answer}, {given}, decided: {decided}"

    def _require_rows(self, tables: dict[str, Any]) -> None:
        assert differences(self._book.state(), tables["state"] or {}) == {}
        expected, found = self._book.positions(), tables["positions"]
        assert expected.keys() == found.keys()
        assert {name: unlike for name in found if (unlike := differences(expected[name], found[name]))} == {}
        last_entries = {
            name: Fraction(row["last_pyramid_price"])
            for name, row in tables["pyramiding"].items()
            if row["last_pyramid_price"] is not None
        }
        assert last_entries == self._book.last_entries()

    # --- the engine's memory

    def _memory(self) -> dict[str, Any] | None:
        (shown,) = self._engine.ask([{"memory": True}])
        return shown

    def _look(self) -> Any:
        """Whatever happens, what the engine shows is in the tables already. Why it is not calm, if it is not."""
        shown = self._memory() if self._engine.alive else None
        tables = self._follow()
        if shown is None:
            return None
        assert ahead(shown["portfolio"], tables) == []
        assert ahead(shown["cache"], tables) == []
        assert shown["serving"]
        return (
            ["backlog"] * shown["backlog"]
            or [self._sent[identity] for identity in self._promised - self._stored.keys()]
            or rows_unlike(shown["portfolio"], tables)
            or rows_unlike(shown["cache"], tables)
        )

    def _require_calm(self) -> None:
        """Soon nothing waits, all that was promised is kept, and the engine shows what the tables hold."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while unlike := self._look():
            assert time.monotonic() < deadline, unlike
            time.sleep(0.01)
        assert self._engine.alive, f"it died of nothing: {self._engine.log_tail}"

    # --- processes

    def _started(self) -> EngineProcess:
        """Try until it serves: a machine that is busy with something else may make a start too slow."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not (engine := self._forked()).alive:
            assert time.monotonic() < deadline, engine.failed
        return engine

    def _forked(self, kill_at: int = 0) -> EngineProcess:
        self._starts += 1
        engine = self.world.zygote.fork(
            dsn=self._proxy.dsn,
            now=self._market.now.isoformat(),
            instance=f"engine {self._starts}",
            capital=str(CAPITAL),
            spool=str(self._spool) if self.world.spools else None,
            settings={"paper": PAPER, "timing": {"exit_wait_seconds": self.world.exit_wait}},
            answer_within=ANSWER_WITHIN,
            commit_limit=COMMIT_LIMIT,
            kill_at=kill_at,
        )
        assert engine.alive or engine.failed or kill_at, f"it died while it started: {engine.log_tail}"
        return engine

    def _let_in(self) -> None:
        self._proxy.refuse(False)
        self._shut_out = False

    def _crash_the_server(self) -> None:
        server = self.world.server
        assert server is not None
        assert server.postmaster_pid is not None
        os.kill(server.postmaster_pid, 9)
        server.start()
        self._totals["server crashes"] += 1

    def _verify(self) -> None:
        with journal_stream(self._dsn, "main") as stream:
            verify(stream, "main")


def _kind(answer: dict[str, Any] | None) -> str:
    return "none" if answer is None else answer["kind"]


# --- the tests


@pytest.fixture
def zygote() -> Iterator[EngineZygote]:
    made = EngineZygote()
    yield made
    made.close()


@pytest.fixture
def own_server(folder: Path) -> Iterator[EmbeddedServer]:
    """A server that may be killed: nobody else uses it."""
    with EmbeddedServer(folder / "data") as server:
        yield server


def tell_stories(world: World, number: int, noted: Note, *, stories: int, steps: int) -> None:
    """Draw stories by the seed and tell each one; the first that fails is told shorter and shorter."""
    machine = seed(1000 * SEED + number)(type("Stories", (Story,), {"world": world}))
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=stories,
            stateful_step_count=steps,
            database=None,
            derandomize=False,
            phases=(Phase.generate, Phase.shrink),
            suppress_health_check=list(HealthCheck),
        ),
    )
    totals = world.totals
    # What is lost or doubled has failed the test.
    noted(faults=sum(totals[fault] for fault in FAULTS), signals=totals["sent"])


@pytest.mark.parametrize("number", range(4 if FULL else 2))
def test_whatever_is_sent_killed_and_cut_all_is_decided_once_as_the_model_decides_it(
    server_dsn, template, tmp_path, zygote, note, number
):
    # Odd ones: entries wait for the EXIT of their bar, and so are not always decided in order.
    world = World(
        server_dsn, template, zygote, tmp_path, exit_wait="0.02" if number % 2 else "0", spools=number % 4 != 3
    )
    tell_stories(world, number, note, stories=40 if FULL else 10, steps=50 if FULL else 25)


def test_whatever_is_sent_while_its_server_crashes_too_all_is_decided_once_as_the_model_decides_it(
    own_server, tmp_path, zygote, note
):
    template = fresh_database(own_server.dsn)
    migrate(template, "main")
    world = World(own_server.dsn, psycopg2.extensions.parse_dsn(template)["dbname"], zygote, tmp_path, own_server)
    tell_stories(world, 100, note, stories=25 if FULL else 5, steps=50 if FULL else 25)
