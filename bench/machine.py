"""What a run was measured on, by properties and versions: no name of a machine, no path."""

import os
import platform
import re
from contextlib import closing
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil
import psycopg2

_PACKAGES = ("psycopg2-binary", "flask", "waitress", "msgspec")
_GIB = 2**30


def machine(folder: Path, dsn: str) -> dict[str, Any]:
    """Processor, memory, kernel, the file system that `folder` is on, and the versions of what is measured."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / _GIB, 1),
        "kernel": f"{platform.system()} {platform.release()}",
        "file_system": file_system_of(folder, Path("/proc/mounts")),
        "postgresql": _server_version(dsn),
        "python": platform.python_version(),
        **{package.removesuffix("-binary"): version(package) for package in _PACKAGES},
    }


def processor_in(cpuinfo: str) -> str:
    """The first model's name in the text of /proc/cpuinfo; empty where there is none."""
    found = re.search(r"^model name\s*:\s*(.+)$", cpuinfo, re.MULTILINE)
    return "" if found is None else found[1].strip()


def file_system_of(folder: Path, mounts: Path) -> str:
    """The kind of file system that a folder is on, as `mounts` tells; empty where that cannot be known."""
    if not mounts.exists():
        return ""
    mounted = [line.split()[1:3] for line in mounts.read_text(encoding="utf-8").splitlines()]
    around = [(len(Path(at).parts), kind) for at, kind in mounted if folder.resolve().is_relative_to(at)]
    # Of several on the same folder the last one mounted is seen.
    return max(reversed(around), key=lambda found: found[0])[1] if around else ""


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    named = processor_in(cpuinfo.read_text(encoding="utf-8")) if cpuinfo.exists() else ""
    return named or platform.processor() or platform.machine()


def _server_version(dsn: str) -> str:
    with closing(psycopg2.connect(dsn)) as connection:
        return str(connection.get_parameter_status("server_version"))
