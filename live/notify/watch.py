"""What no journal can hold: the database away, no leader, the disk filling, alerts that cannot be kept. Looked at once a second
by each process, and told as well as can be."""

import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from core.notifications import Level
from live.engine import LiveTradingEngine
from live.notify.courier import Courier
from live.notify.notices import Notice
from live.notify.rounds import Rounds

EVERY_SECONDS = 1.0
# What lasts less is not worth a message: a failover is over by then.
LASTS_SECONDS = 5.0
# A start loads, and may have to migrate.
NO_LEADER_SECONDS = 30.0
SPOOL_FILLS_FROM = 1_000
SPOOL_IS_FULL_FROM = 50_000
LEAST_FREE_BYTES = 1024**3


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something that is wrong for as long as it is; told once it has lasted `after` seconds, and when it is over."""

    level: Level
    what: str
    told: str
    after: float = LASTS_SECONDS


class Watch(Rounds):
    """One portfolio's, by a thread of its own; `more` is what others have found wrong."""

    def __init__(
        self,
        engine_now: Callable[[], LiveTradingEngine],
        couriers: Sequence[Courier],
        data_dir: Path,
        *,
        every: float = EVERY_SECONDS,
        lasts: float | None = None,
        more: Callable[[], Iterable[Trouble]] = tuple,
    ) -> None:
        super().__init__("notify-watch", self._look_for_troubles, first_after=every)
        self._engine_now = engine_now
        self._couriers = couriers
        self._data_dir = data_dir
        self._every = every
        self._lasts = lasts
        self._more = more
        self._since: dict[str, float] = {}
        self._told: set[str] = set()

    def _look_for_troubles(self) -> float:
        found = (*troubles_of(self._engine_now(), self._data_dir), *self._more())
        self._compare({trouble.what: trouble for trouble in found})
        return self._every

    def _compare(self, found: dict[str, Trouble]) -> None:
        """Beside what was found before: tell what has lasted, and what is over."""
        now = time.monotonic()
        for what in self._since.keys() - found.keys():
            del self._since[what]
            if what in self._told:
                self._told.remove(what)
                self._tell(Notice(level=Level.WARNING, title=f"over: {what}", text=f"it is over: {what}"))
        for what, trouble in found.items():
            since = self._since.setdefault(what, now)
            if what not in self._told and now - since >= (trouble.after if self._lasts is None else self._lasts):
                self._told.add(what)
                self._tell(Notice(level=trouble.level, title=what, text=trouble.told))

    def _tell(self, notice: Notice) -> None:
        for courier in self._couriers:
            courier.tell(notice)


def troubles_of(engine: LiveTradingEngine, data_dir: Path) -> Iterator[Trouble]:
    """What is wrong now."""
    yield from _of_the_database(engine)
    yield from _of_the_spool(engine)
    if engine.serving and engine.failed_invariants:
        told = f"entries are blocked until `resume`: {'; '.join(engine.failed_invariants)}"
        yield Trouble(Level.CRITICAL, "an invariant does not hold", told, after=0.0)
    try:
        free = shutil.disk_usage(data_dir).free
    except OSError:
        return
    if free < LEAST_FREE_BYTES:
        told = f"{free // 1024**2} MiB are left where signals are kept while the database is away"
        yield Trouble(Level.ERROR, "the local disk is nearly full", told)


def _of_the_database(engine: LiveTradingEngine) -> Iterator[Trouble]:
    if not engine.ready and engine.role != "starting":
        yield Trouble(Level.CRITICAL, "no alert can be kept", "neither the database nor the local disk takes signals")
    if engine.database_away:
        told = "alerts are kept on the local disk and decided when it is back; exits wait too"
        yield Trouble(Level.CRITICAL, "the database is away", told)
    elif engine.role == "starting" and not engine.hands_on:
        told = "this instance neither leads nor follows, though the database is there: its log says why"
        yield Trouble(Level.CRITICAL, "an instance does not serve", told, after=NO_LEADER_SECONDS)


def _of_the_spool(engine: LiveTradingEngine) -> Iterator[Trouble]:
    spool = engine.backlog()["spool"]
    if spool is None:
        return
    if not spool["usable"]:
        told = "signals could not be kept if the database went away now: free space on the local disk"
        yield Trouble(Level.ERROR, "the spool takes nothing", told)
    if spool["kept"] >= SPOOL_FILLS_FROM:
        level = Level.CRITICAL if spool["kept"] >= SPOOL_IS_FULL_FROM else Level.ERROR
        yield Trouble(level, "the spool fills", f"{spool['kept']} signals wait on the local disk for the database")
    if spool["set_aside"]:
        told = f"{spool['set_aside']} kept signals can never be decided: somebody has to look"
        yield Trouble(Level.ERROR, "signals are set aside", told)
