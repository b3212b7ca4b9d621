"""Two `live` processes on one cluster, each with a folder, and so a spool, of its own: one leads, the other follows."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.crash.load import ENVIRONMENT
from tests.ha.cluster import Cluster, wait_until
from tests.live_process import LiveProcess


class Pair:
    """What has ended is started again, on the same port."""

    def __init__(self, folder: Path, entry: dict[str, Any]) -> None:
        config = folder / "database_config.json"
        config.write_text(json.dumps({"test": entry}))
        config.chmod(0o600)
        self._arguments = ("--db-config", str(config), "--db-env", "test")
        self._folders = [folder / "one", folder / "two"]
        self.ends: list[str] = []
        self.processes: list[LiveProcess] = []

    def start(self) -> None:
        """One after the other, so that it is known who leads."""
        for folder in self._folders:
            self.processes.append(self._started(folder, 0))
            wait_until(lambda: any(map(leads, self.processes)), "a leader")

    def _started(self, folder: Path, port: int) -> LiveProcess:
        return LiveProcess(folder, *self._arguments, port=port, environment=ENVIRONMENT).__enter__()

    @property
    def leader(self) -> LiveProcess:
        """Who leads now; waits for one."""
        wait_until(lambda: any(map(leads, self.processes)), "a leader")
        return next(filter(leads, self.processes))

    def mend(self) -> None:
        """Start again what has ended by itself, and remember that it did."""
        for number, (live, folder) in enumerate(zip(self.processes, self._folders, strict=True)):
            if live.process.poll() is not None:
                self.ends.append(live.log().strip().rpartition("\n")[2])
                port = live.port
                live.__exit__()
                self.processes[number] = self._started(folder, port)

    def end(self) -> None:
        """End both."""
        for live in self.processes:
            live.__exit__()


def leads(live: LiveProcess) -> bool:
    """Whether it says so."""
    told = status_of(live)
    return told is not None and told["leader"] is True


def status_of(live: LiveProcess) -> dict[str, Any] | None:
    """What its /status tells; None where it cannot now."""
    if live.process.poll() is not None:
        return None
    try:
        status, told = live.get("/status")
    except OSError:
        return None
    return told if status == 200 else None


@contextmanager
def pair_on(cluster: Cluster, folder: Path, **entry: Any) -> Iterator[Pair]:
    """Both up, on the cluster; `entry` goes over its entry of database_config.json."""
    pair = Pair(folder, {**cluster.entry, **entry})
    try:
        pair.start()
        yield pair
    finally:
        pair.end()
