"""One function of many items: on this machine's threads, or on a Dask cluster; results in the items' order, wherever reckoned.

Who asks passes a `Mapper` on; nothing else knows of Dask, which is imported where it is used.
"""

import platform
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar
from urllib.parse import urlsplit

from core.errors import Refused, Retryable

if TYPE_CHECKING:
    from distributed import Client, Future

THREADS = "threads"
CONNECT_SECONDS = 10.0
_PROTOCOLS = ("tcp", "tls")
_ROOT = Path(__file__).parents[1]
_PROGRAM = ("book", "core", "live", "risk")
_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


class NoScheduler(Refused):
    """a scheduler is `threads`, or a cluster's address such as tcp://127.0.0.1:8786"""


class ClusterAway(Retryable):
    """the cluster cannot be reached, has no worker, or was lost on the way; nothing was kept of what it had done"""


class ClusterDiffers(Refused):
    """a worker has another program, Python, library or processor than we have: its figures might differ in their last bits"""


class Mapper(Protocol):
    """Whoever applies a function to each item, and gives the results in the items' order."""

    def __call__(self, function: Callable[[_Item], _Result], items: Sequence[_Item], /) -> list[_Result]:
        """One result for each item. Raises what the function does."""


def in_turn(function: Callable[[_Item], _Result], items: Sequence[_Item], /) -> list[_Result]:
    """One after the other, in this thread."""
    return [function(item) for item in items]


def mapper(
    scheduler: str = THREADS, *, threads: int | None = None, done: Callable[[int], object] = lambda _: None
) -> Mapper:
    """`mapped` by that scheduler. Raises NoScheduler."""
    require_scheduler(scheduler)
    return partial(mapped, scheduler=scheduler, threads=threads, done=done)


def require_scheduler(scheduler: str) -> None:
    """Raises NoScheduler where it is neither `threads` nor tcp://HOST:PORT or tls://HOST:PORT."""
    if scheduler == THREADS:
        return
    try:
        parts = urlsplit(scheduler)
        is_one = parts.scheme in _PROTOCOLS and bool(parts.hostname) and bool(parts.port)
        is_bare = scheduler == f"{parts.scheme}://{parts.netloc}" and "@" not in parts.netloc
    except ValueError:
        is_one = is_bare = False
    if not (is_one and is_bare):
        raise NoScheduler(f"{scheduler!r} must be `{THREADS}`, or an address such as tcp://127.0.0.1:8786")


def mapped(
    function: Callable[[_Item], _Result],
    items: Sequence[_Item],
    scheduler: str = THREADS,
    *,
    threads: int | None = None,
    done: Callable[[int], object] = lambda _: None,
) -> list[_Result]:
    """function(item) of each item, in the items' order, by Dask.

    `scheduler`: this process's threads (as many as there are processors, or `threads`), or the cluster at that address and no
    other. There function, items and results travel as pickles, the function once a worker; a task of a worker that dies is done
    again elsewhere, so the function must be pure. `done` is told of each that is finished, from any thread.
    Raises NoScheduler, ClusterAway, ClusterDiffers, and what the function raises.
    """
    require_scheduler(scheduler)
    if not items:
        return []
    if scheduler == THREADS:
        return _by_threads(function, items, threads, done)
    with _client(scheduler) as client:
        return _by_workers(client, function, items, done)


def _by_threads(
    function: Callable[[_Item], _Result],
    items: Sequence[_Item],
    threads: int | None,
    done: Callable[[int], object],
) -> list[_Result]:
    import dask

    def one(place: int) -> _Result:
        result = function(items[place])
        done(1)
        return result

    # By their places: Dask looks into whatever else it is given.
    task = dask.delayed(one, pure=False)
    tasks = [task(place) for place in range(len(items))]
    return list(dask.compute(*tasks, scheduler="threads", num_workers=threads))


@contextmanager
def _client(address: str) -> "Iterator[Client]":
    from distributed import Client

    try:
        client = Client(address, timeout=CONNECT_SECONDS, set_as_default=False, direct_to_workers=False)
    except (OSError, ValueError) as error:
        raise ClusterAway(f"{address} cannot be reached within {CONNECT_SECONDS:g} s: {error}") from error
    with client, client.as_current():
        try:
            client.wait_for_workers(1, timeout=CONNECT_SECONDS)
        except TimeoutError as error:
            raise ClusterAway(f"{address} has no worker") from error
        _require_alike(client)
        yield client


def _by_workers(
    client: "Client", function: Callable[[_Item], _Result], items: Sequence[_Item], done: Callable[[int], object]
) -> list[_Result]:
    from concurrent.futures import CancelledError

    from distributed.scheduler import KilledWorker

    try:
        (sent,) = client.scatter([_Packed(function)], broadcast=True, hash=False)
    except (OSError, TimeoutError) as error:
        raise ClusterAway(f"the cluster was lost on the way: {error}") from error
    try:
        futures = client.map(_unpacked, list(items), packed=sent, pure=False)
        _await(client, futures, done)
        return list(client.gather(futures))
    except CancelledError as error:
        raise ClusterAway("the cluster was lost on the way") from error
    except KilledWorker as error:
        raise ClusterAway("every worker that tried one of the items died of it: has it too little memory?") from error


class _Packed:
    """A function as data: what is bound to it travels once, and Dask does not look into it."""

    def __init__(self, function: Callable[[Any], Any]) -> None:
        self.function = function


def _unpacked(item: Any, packed: _Packed) -> Any:
    return packed.function(item)


def _await(client: "Client", futures: "list[Future[Any]]", done: Callable[[int], object]) -> None:
    """Until all are finished, or one has failed."""
    from distributed import wait

    waiting = set(futures)
    while waiting:
        finished = wait(waiting, return_when="FIRST_COMPLETED").done
        waiting -= finished
        # One whose worker has died is pending again.
        if any(future.status in ("error", "cancelled") for future in finished):
            client.cancel(list(waiting))
            return
        done(len(finished))


def _require_alike(client: "Client") -> None:
    ours = reckons_with()
    theirs: Mapping[str, dict[str, str] | Exception] = client.run(reckons_with, on_error="return")
    for worker, told in sorted(theirs.items()):
        if isinstance(told, Exception):
            raise ClusterDiffers(f"the worker {worker} cannot run this program: {told}")
        if different := [f"{name} {told.get(name)}, not {ours[name]}" for name in ours if told.get(name) != ours[name]]:
            raise ClusterDiffers(f"the worker {worker} has {'; '.join(different)}")


def reckons_with() -> dict[str, str]:
    """All that the last bits of a figure hang on: program, Python, libraries and what they take the processor for."""
    import numpy as np
    import pandas as pd
    import scipy.linalg
    from threadpoolctl import threadpool_info

    told = [each for each in threadpool_info() if each["user_api"] == "blas"]
    blas = {f"{each['internal_api']} {each['version']} {each.get('architecture', '')}" for each in told}
    return {
        "program": _digest(),
        "python": ".".join(map(str, sys.version_info[:3])),
        "numpy": np.__version__,
        "pandas": pd.__version__,
        "scipy": scipy.__version__,
        "blas": ", ".join(sorted(blas)),
        "machine": platform.machine(),
    }


def _digest() -> str:
    """Of our own sources."""
    found = sha256()
    for path in sorted(path for package in _PROGRAM for path in (_ROOT / package).rglob("*.py")):
        found.update(path.relative_to(_ROOT).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return found.hexdigest()[:12]
