"""Machines that are network namespaces, and links between them that are cut in silence.

Each machine has one link, to a router that is a namespace itself; the router drops what may not pass. Nobody is told: no
reset, no ICMP, which is what a dead switch or a pulled cable looks like. Addresses exist inside of the namespaces only, so
runs beside each other do not meet, and the machine's own network is not touched.
"""

import ctypes
import functools
import os
import secrets
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

_PREFIX = "pmnets"
_FOLDER = Path("/run/netns")
_OWN = Path("/proc/thread-self/ns/net")
_CLONE_NEWNET = 0x40000000
_LIBC = ctypes.CDLL(None, use_errno=True)
# A set of pairs of addresses: what goes from the first to the second is dropped.
_RULES = """
table ip cut {
    set silent { type ipv4_addr . ipv4_addr; }
    chain forward {
        type filter hook forward priority 0; policy accept;
        ip saddr . ip daddr @silent drop
    }
}
"""


@functools.cache
def why_not() -> str | None:
    """Why namespaces cannot be made here; None where they can."""
    if os.geteuid() != 0:
        return "network namespaces are root's to make"
    missing = [program for program in ("ip", "nft") if shutil.which(program) is None]
    if missing:
        return f"there is no {' and no '.join(missing)}: .ci/run installs iproute2 and nftables"
    try:
        with Network("probe") as network, network["probe"].entered():
            return None
    except (OSError, subprocess.CalledProcessError) as error:
        return f"network namespaces cannot be made here: {getattr(error, 'stderr', None) or error}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """A namespace with one address."""

    namespace: str
    address: str

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Sockets, threads and processes that this thread makes in the block are this machine's, for as long as they are."""
        with _OWN.open("rb") as before, (_FOLDER / self.namespace).open("rb") as there:
            _enter(there.fileno())
            try:
                yield
            finally:
                _enter(before.fileno())


class Network:
    """Machines by name, each of which reaches each other, until it is cut off from it. A context manager."""

    def __init__(self, *names: str) -> None:
        _remove_abandoned()
        self._run = f"{_PREFIX}{os.getpid()}x{secrets.token_hex(2)}"
        self._router = f"{self._run}-router"
        self._machines = {
            name: Machine(namespace=f"{self._run}-{name}", address=f"10.213.{number}.2")
            for number, name in enumerate(names)
        }

    def __enter__(self) -> Self:
        try:
            _ip("netns", "add", self._router)
            for number, machine in enumerate(self._machines.values()):
                self._add(machine, f"10.213.{number}.1")
            with Machine(namespace=self._router, address="").entered():
                Path("/proc/sys/net/ipv4/ip_forward").write_text("1", encoding="ascii")
            self._nft(_RULES)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for namespace in (*(machine.namespace for machine in self._machines.values()), self._router):
            _remove(namespace)

    def __getitem__(self, name: str) -> Machine:
        return self._machines[name]

    def cut(self, *links: tuple[str, str]) -> None:
        """What the first machine of each pair sends to the second one gets lost from now on."""
        pairs = ", ".join(f"{self[sender].address} . {self[receiver].address}" for sender, receiver in links)
        self._nft(f"add element ip cut silent {{ {pairs} }}")

    def mend(self) -> None:
        """Everybody reaches everybody again."""
        self._nft("flush set ip cut silent")

    def _add(self, machine: Machine, gateway: str) -> None:
        _ip("netns", "add", machine.namespace)
        link = f"to{gateway}"
        _ip("-n", self._router, "link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", machine.namespace)
        _ip("-n", self._router, "address", "add", f"{gateway}/30", "dev", link)
        _ip("-n", self._router, "link", "set", link, "up")
        _ip("-n", machine.namespace, "link", "set", "lo", "up")
        _ip("-n", machine.namespace, "address", "add", f"{machine.address}/30", "dev", "eth0")
        _ip("-n", machine.namespace, "link", "set", "eth0", "up")
        _ip("-n", machine.namespace, "route", "add", "default", "via", gateway)

    def _nft(self, rules: str) -> None:
        with Machine(namespace=self._router, address="").entered():
            subprocess.run(["nft", "-f", "-"], input=rules, text=True, check=True, capture_output=True)


def both_ways(*links: tuple[str, str]) -> list[tuple[str, str]]:
    """Each link in both directions."""
    return [*links, *((receiver, sender) for sender, receiver in links)]


def _enter(descriptor: int) -> None:
    if _LIBC.setns(descriptor, _CLONE_NEWNET) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _ip(*arguments: str) -> str:
    return subprocess.run(["ip", *arguments], text=True, check=True, capture_output=True).stdout


def _remove(namespace: str) -> None:
    """With whatever still runs in it: it could do nothing but wait for links that never come back."""
    with suppress(subprocess.CalledProcessError):
        for pid in map(int, _ip("netns", "pids", namespace).split()):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    with suppress(subprocess.CalledProcessError):
        _ip("netns", "delete", namespace)


def _remove_abandoned() -> None:
    """What runs that were killed have left."""
    for path in _FOLDER.glob(f"{_PREFIX}*x*") if _FOLDER.exists() else ():
        owner = path.name.removeprefix(_PREFIX).partition("x")[0]
        if owner.isdecimal() and not Path("/proc", owner).exists():
            _remove(path.name)
