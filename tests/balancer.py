"""The balancer as it is shipped, started on loopback before real engines."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from live.server import Server
from tests.free_ports import free_ports
from tests.live_process import ROOT, LiveProcess, Served, listens
from tests.waiting import eventually

CONFIGURATION = ROOT / "deploy" / "haproxy.cfg"
NEEDS_HAPROXY = pytest.mark.skipif(shutil.which("haproxy") is None, reason="there is no haproxy: .ci/run installs it")


class Balancer(Served):
    """HAProxy with our configuration; `url` takes alerts, `operator` commands. Use `balancer()`."""

    def __init__(self, log: Path, *engines: str, bind_options: str = "") -> None:
        self.port, operator_port = free_ports(2)
        self.url = f"http://127.0.0.1:{self.port}"
        self.operator = Served()
        self.operator.url = f"http://127.0.0.1:{operator_port}"
        variables = environment(self.port, operator_port, *engines)
        variables["ALERTS"] += bind_options
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                ["haproxy", "-db", "-f", str(CONFIGURATION)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={**os.environ, **variables},
            )

    def stop(self) -> None:
        """End it, and wait."""
        self.process.kill()
        self.process.wait()


def environment(port: int, operator_port: int, *engines: str) -> dict[str, str]:
    """What the configuration wants to know."""
    first, second = engines
    listening = {"ALERTS": f"127.0.0.1:{port}", "OPERATOR": f"127.0.0.1:{operator_port}"}
    return {**listening, "ENGINE_1": first, "ENGINE_2": second}


@contextmanager
def balancer(log: Path, *engines: LiveProcess | Server, bind_options: str = "") -> Iterator[Balancer]:
    """One before two engines; it listens, and ends with the block."""
    with ExitStack() as stack:
        addresses = [f"127.0.0.1:{engine.port}" for engine in engines]
        started = Balancer(log, *addresses, bind_options=bind_options)
        stack.callback(started.stop)
        assert eventually(lambda: listens(started.port) or started.process.poll() is not None)
        assert started.process.poll() is None, log.read_text()
        yield started
