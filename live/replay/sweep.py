"""Replays of the same files with other settings and in other years: which there are, one of them, and its figures."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, tzinfo
from decimal import Decimal
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from core.config import validated
from core.db_state_manager import DatabaseStateManager
from core.errors import Refused
from core.numbers import figure, quotient
from core.postgres.scratch import scratch_portfolio
from core.settings import Settings
from live.replay.files import Files, read_files
from live.replay.model import BadFile
from live.replay.run import replay
from live.replay.summary import Summary, summarise

MOST = 10_000
YEARS = range(1970, 2101)
# A replay has its own.
_NOT_SWEPT = ("approval.", "execution.", "sizing.mode", "timing.max_entry_age_seconds", "timing.exit_wait_seconds")
_OF_INSTRUMENTS = "instruments."
# As listed nothing else has an effect.
_AS_LISTED = ("paper.", ".costs", ".point_value")
_NONE = ("none", "null")


class NoSuchSetting(Refused):
    """a sweep names what is no setting of a replay, or more than one"""


class TooMany(Refused):
    """a sweep has more combinations than anybody would wait for"""


class Recording(Struct, frozen=True, kw_only=True):
    """What is replayed: how the files are to be read, and what is in each of them, so that it can be read anywhere."""

    files: Files
    contents: dict[str, bytes]
    capital: Decimal
    portfolio: str


class Combination(Struct, frozen=True, kw_only=True):
    """One replay: what is changed, by the settings' names as they were given, and the year (None: all that the files have)."""

    changes: dict[str, str]
    year: int | None
    settings: Settings


class Row(Struct, frozen=True, kw_only=True):
    """A combination's figures: money, per cent, and R; None = undefined, or all of them where `reason` says why.

    `calmar` is CAGR / the deepest drawdown in per cent (Young, 1991).
    """

    settings: dict[str, str]
    year: int | None
    final_equity: Decimal | None = None
    return_percent: Decimal | None = None
    cagr: Decimal | None = None
    max_drawdown: Decimal | None = None
    max_drawdown_percent: Decimal | None = None
    trades: int | None = None
    mean_r: Decimal | None = None
    calmar: Decimal | None = None
    reason: str | None = None


# --- which there are


def combinations(settings: Settings, grid: Mapping[str, Sequence[str]], years: Sequence[int]) -> list[Combination]:
    """Every value of each setting with every one of the others, and in every year, the last named changing first.

    A name is the whole one (`limits.risk_percent`, `instruments.COPPER.initial_stop_atr`), or its end where only one ends so;
    an instrument's (`initial_risk_percent`) alone is all instruments'. Raises NoSuchSetting, TooMany, ConfigurationError
    where a value is none.
    """
    meant = {name: _meant(settings, name) for name in grid}
    count = max(1, len(years))
    for values in grid.values():
        count *= len(values)
    if count > MOST:
        raise TooMany(f"{count:,} combinations: {MOST:,} are the most")
    return list(_each(settings, grid, meant, years))


def _each(
    settings: Settings, grid: Mapping[str, Sequence[str]], meant: Mapping[str, Sequence[str]], years: Sequence[int]
) -> Iterator[Combination]:
    for values in product(*grid.values()):
        changes = dict(zip(grid, values, strict=True))
        document = settings.model_dump()
        for name, value in changes.items():
            for path in meant[name]:
                _set(document, path, None if value.lower() in _NONE else value)
        told = ", ".join(f"{name}={value}" for name, value in changes.items())
        changed = validated(Settings, document, f"`--set` {told}")
        for year in years or (None,):
            yield Combination(changes=changes, year=year, settings=changed)


def _meant(settings: Settings, name: str) -> list[str]:
    known = [path for path in _paths(settings.model_dump()) if not path.startswith(_NOT_SWEPT)]
    if name in known:
        return [name]
    found = [path for path in known if path.endswith(f".{name}")]
    others = [path for path in found if not path.startswith(_OF_INSTRUMENTS)]
    if found and (not others or found == others[:1]):
        return found
    if found:
        raise NoSuchSetting(f"`--set {name}`: say which: {', '.join(found)}")
    raise NoSuchSetting(f"`--set {name}`: is no setting of a replay: {', '.join(sorted(_short(known)))}")


def _short(paths: Iterable[str]) -> set[str]:
    return {path.split(".", 2)[2] if path.startswith(_OF_INSTRUMENTS) else path for path in paths}


def _paths(document: Mapping[str, Any], before: str = "") -> Iterator[str]:
    for name, value in document.items():
        if isinstance(value, Mapping):
            yield from _paths(value, f"{before}{name}.")
        else:
            yield f"{before}{name}"


def _set(document: dict[str, Any], path: str, value: str | None) -> None:
    *parents, name = path.split(".")
    for parent in parents:
        document = document[parent]
    document[name] = value


def without_effect(settings: Settings, names: Iterable[str]) -> list[str]:
    """Those that change nothing: as listed all but costs do."""
    if settings.sizing.mode != "as_listed":
        return []
    return [name for name in names if not any(told in path for path in _meant(settings, name) for told in _AS_LISTED)]


# --- one of them


def recorded(files: Files, capital: Decimal, portfolio: str) -> Recording:
    """The files with what is in them."""
    paths = {str(path) for _, path in files.paths} | {str(path) for path in files.bars.values()}
    contents = {path: Path(path).read_bytes() for path in sorted(paths)}
    return Recording(files=files, contents=contents, capital=capital, portfolio=portfolio)


def replayed(dsn: str, recording: Recording, combination: Combination) -> Row:
    """The figures of one combination, replayed in a scratch portfolio of that database. Raises DatabaseAway."""
    row = Row(settings=combination.changes, year=combination.year)
    with TemporaryDirectory(prefix="sweep-") as folder:
        try:
            inputs = read_files(_there(recording, Path(folder), combination.year), combination.settings)
            with scratch_portfolio(dsn, None) as name, DatabaseStateManager(dsn, portfolio=name) as manager:
                done = replay(
                    manager,
                    combination.settings,
                    recording.capital,
                    inputs.recorded,
                    portfolio=recording.portfolio,
                    marks=inputs.marks,
                )
        except BadFile as error:
            return replace(row, reason=str(error).replace(f"{folder}/", ""))
    return replace(row, **_figures(summarise(done.result)))


def _figures(summary: Summary) -> dict[str, Any]:
    deepest = summary.max_drawdown_percent
    calmar = None if summary.cagr is None or not deepest else figure(quotient(summary.cagr, deepest))
    return {
        "final_equity": summary.final_equity,
        "return_percent": figure(quotient(100 * (summary.final_equity - summary.capital), summary.capital)),
        "cagr": summary.cagr,
        "max_drawdown": summary.max_drawdown,
        "max_drawdown_percent": deepest,
        "trades": summary.trades,
        "mean_r": summary.expectancy_r,
        "calmar": calmar,
    }


def _there(recording: Recording, folder: Path, year: int | None) -> Files:
    """The files, written down in a folder, of one year."""
    places: dict[str, Path] = {}
    for number, (path, content) in enumerate(recording.contents.items()):
        places[path] = folder / str(number) / Path(path).name
        places[path].parent.mkdir()
        places[path].write_bytes(content)
    files = replace(
        recording.files,
        paths=[(instrument, places[str(path)]) for instrument, path in recording.files.paths],
        bars={instrument: places[str(path)] for instrument, path in recording.files.bars.items()},
    )
    return files if year is None else of_year(files, year)


def of_year(files: Files, year: int) -> Files:
    """Of those bars alone that opened in a year, by the zone of the files."""
    return replace(files, start=_begin(year, files.timezone), end=_begin(year + 1, files.timezone))


def _begin(year: int, zone: tzinfo) -> datetime:
    return datetime(year, 1, 1, tzinfo=zone).astimezone(UTC)
