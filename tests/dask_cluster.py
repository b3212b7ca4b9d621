"""A real Dask cluster on loopback: a scheduler and two workers, each a process of its own."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.free_ports import free_ports
from tests.live_process import ROOT
from tests.waiting import eventually


class DaskCluster:
    """`address` is the scheduler's; `workers` are its processes, to be ended by their ids."""

    def __init__(self, folder: Path, workers: int = 2, *, where: Path = ROOT, **environment: str) -> None:
        port, *self._http = free_ports(2 + workers)
        self.address = f"tcp://127.0.0.1:{port}"
        self._folder, self._where = folder, where
        self._environment = {**os.environ, **environment}
        self.workers: list[subprocess.Popen[bytes]] = []
        self.scheduler = self._started("dask_scheduler", "--host", "127.0.0.1", "--port", str(port), http=0)
        self.workers += [self.add_worker(number + 1) for number in range(workers)]
        if not eventually(lambda: self.told(workers)):
            self.stop()
            raise AssertionError(self.log())

    def add_worker(self, number: int) -> subprocess.Popen[bytes]:
        return self._started(
            "dask_worker",
            self.address,
            *("--host", "127.0.0.1", "--nthreads", "2", "--nworkers", "1", "--no-nanny"),
            *("--memory-limit", "0", "--local-directory", str(self._folder)),
            http=number,
        )

    def told(self, workers: int) -> bool:
        """Whether so many have registered."""
        return self.log().count("Register worker addr") >= workers

    def log(self) -> str:
        return "".join(path.read_text() for path in sorted(self._folder.glob("*.log")))

    def kill(self, process: subprocess.Popen[bytes]) -> None:
        process.send_signal(signal.SIGKILL)
        process.wait()

    def stop(self) -> None:
        for process in (*self.workers, self.scheduler):
            self.kill(process)

    def _started(self, program: str, *given: str, http: int) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", f"distributed.cli.{program}", *given]
        with (self._folder / f"{program}-{http}.log").open("wb") as log:
            return subprocess.Popen(
                [*command, "--dashboard-address", f"127.0.0.1:{self._http[http]}", "--no-dashboard"],
                cwd=self._where,
                stdout=log,
                stderr=log,
                env=self._environment,
            )


@contextmanager
def a_cluster(folder: Path, workers: int = 2, *, where: Path = ROOT, **environment: str) -> Iterator[DaskCluster]:
    """It ends with the block. Its processes are started `where` they may find our program, or not."""
    cluster = DaskCluster(folder, workers, where=where, **environment)
    try:
        yield cluster
    finally:
        cluster.stop()
