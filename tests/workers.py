"""The processes that an instance has started for long work of the book."""

from pathlib import Path


def workers_of(parent: int) -> list[int]:
    """Those of the process with that id."""
    found = []
    for place in Path("/proc").iterdir():
        if place.name.isdigit() and b"live.book_worker" in _read(place / "cmdline"):
            own = int(_read(place / "stat").rpartition(b") ")[2].split()[1])
            found += [int(place.name)] if own == parent else []
    return found


def _read(place: Path) -> bytes:
    try:
        return place.read_bytes()
    except OSError:
        return b") 0 0 0" if place.name == "stat" else b""
