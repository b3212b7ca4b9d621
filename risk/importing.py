"""An import from what a file tells to the tables: whole, or not at all; the same again changes nothing."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date, tzinfo
from typing import TYPE_CHECKING, Any

from sqlalchemy.orm import Session

from core.errors import Refused
from risk.base import Base
from risk.importers import frames, mcx, nse, tradingview
from risk.importers.convert import typed
from risk.importers.told import Told, UnreadableFile
from risk.market_data import TIMEFRAMES, MarketData
from risk.register import instrument_ids, series_ids, source_id
from risk.series import CurveData, FiscalData, FlowData, MacroSeries, Signal, VolSurface
from risk.upsert import Problem, Upserted, columns_of, natural_key, table_of, upsert

if TYPE_CHECKING:
    import pyarrow

_DAYS = ("1d", "1w")


class NothingImported(Refused):
    """some rows are not good, so none was taken"""

    def __init__(self, problems: list[Problem], rows: int) -> None:
        super().__init__(
            f"nothing was imported: {len(problems)} of {rows} rows are not good, the first in line {problems[0].line}: "
            f"{problems[0].reason}"
        )
        self.problems = problems


class ImportNotValid(Refused):
    """an import lacks what its kind needs, or has what it does not take"""


@dataclass(frozen=True, slots=True)
class Kind:
    """A layout: which table it is for, who tells it where nobody else is named, and how its columns are called ours.

    `by_exchange`: symbols are the exchange's, and a file has many that are none of ours: those are left out.
    """

    model: type[Base]
    source: str
    source_kind: str
    read: Callable[[Told], Told]
    by_exchange: bool = False


def _as_named(told: Told) -> Told:
    return Told(
        {name.strip().lower(): column for name, column in told.columns.items()},
        told.lines,
        told.problems,
        told.left_out,
    )


KINDS: Mapping[str, Kind] = {
    "tradingview": Kind(MarketData, "tradingview", "chart", tradingview.bars_of),
    "nse": Kind(MarketData, "nse", "exchange", nse.bars_of, by_exchange=True),
    "mcx": Kind(MarketData, "mcx", "exchange", mcx.bars_of, by_exchange=True),
    "yfinance": Kind(MarketData, "yfinance", "vendor", frames.bars_of),
    "bars": Kind(MarketData, "file", "file", _as_named),
    "macro": Kind(MacroSeries, "file", "file", _as_named),
    "curves": Kind(CurveData, "file", "file", _as_named),
    "flows": Kind(FlowData, "file", "file", _as_named),
    "fiscal": Kind(FiscalData, "file", "file", _as_named),
    "volatilities": Kind(VolSurface, "file", "file", _as_named),
    "signals": Kind(Signal, "file", "file", _as_named),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Import:
    """What is imported, and how. `zone` is of times without an offset, and says where a day begins; `instrument`, `expiry` and
    `timeframe` are of all bars where rows do not tell their own. `symbols` maps the teller's symbols to the master's.

    `partial`: the good rows are taken though others are not. `replace`: what is told now takes the place of what was.
    """

    kind: str
    zone: tzinfo
    source: str | None = None
    source_kind: str | None = None
    instrument: str | None = None
    timeframe: str | None = None
    expiry: date | None = None
    symbols: Mapping[str, str] = field(default_factory=dict)
    partial: bool = False
    replace: bool = False


@dataclass(slots=True)
class Imported:
    """What became of an import; `left_out`: rows that are of nothing of ours, by why."""

    rows: int
    inserted: int
    same: int
    changed: int
    problems: list[Problem]
    left_out: Mapping[str, int]


def take(session: Session, given: Import, file: Told) -> Imported:
    """Import in the caller's transaction. Raises NothingImported with every bad row, ImportNotValid, UnreadableFile,
    SourceNotValid: then the transaction has to be rolled back."""
    kind = _kind(given)
    rows = len(file.lines) + len(file.problems)
    told = kind.read(file)
    found, problems = _resolved(session, given, kind, told)
    table, unread = typed(kind.model, found, given.zone)
    if kind.model is MarketData:
        table = _from_the_days_beginning(table, given.zone)
    table, twice = _once(kind.model, table)
    problems = [*told.problems, *problems, *unread, *twice]
    if problems and not given.partial:
        # What the tables would refuse as well is worth knowing at once: the caller rolls back.
        problems += upsert(session, kind.model, table, replace=given.replace).problems
        raise NothingImported(sorted(problems), rows)
    done = upsert(session, kind.model, table, replace=given.replace)
    problems += done.problems
    if problems and not given.partial:
        raise NothingImported(sorted(problems), rows)
    return _result(rows, done, sorted(problems), found.left_out)


def _result(rows: int, done: Upserted, problems: list[Problem], left_out: Counter[str]) -> Imported:
    reasons = {why: count for why, count in sorted(left_out.items()) if count}
    return Imported(rows, done.inserted, done.same, done.changed, problems, reasons)


def _kind(given: Import) -> Kind:
    kind = KINDS.get(given.kind)
    if kind is None:
        raise ImportNotValid(f"{given.kind}: one of {', '.join(KINDS)}")
    if given.timeframe is not None and given.timeframe not in TIMEFRAMES:
        raise ImportNotValid(f"`timeframe`: {given.timeframe}: one of {', '.join(TIMEFRAMES)}")
    of_bars = (given.instrument, given.timeframe, given.expiry)
    if kind.model is not MarketData and any(value is not None for value in of_bars):
        raise ImportNotValid(f"{given.kind}: instrument, timeframe and expiry are of bars")
    return kind


def _resolved(session: Session, given: Import, kind: Kind, told: Told) -> tuple[Told, list[Problem]]:
    """The rows with numbers in place of names."""
    import pyarrow as arrow

    size = len(told.lines)
    columns = dict(told.columns)
    source = source_id(session, given.source or kind.source, given.source_kind or kind.source_kind)
    if kind.model is MarketData:
        _tell_all(columns, size, "timeframe", given.timeframe or ("1d" if kind.by_exchange else None))
        _tell_all(columns, size, "expiry", None if given.expiry is None else given.expiry.isoformat())
        _tell_all(columns, size, "symbol", given.instrument)
    names = {column.name for column in columns_of(kind.model)}
    if "source_id" in names:
        columns["source_id"] = arrow.array([source] * size, arrow.int64())
    found = Told(columns, told.lines, [], told.left_out)
    problems: list[Problem] = []
    if "instrument_id" in names:
        found, problems = _with_instruments(session, given, kind, found)
    if "series_id" in names:
        found = _with_series(session, source, found)
    _require_known(kind, given, found, names)
    return found, problems


def _tell_all(columns: dict[str, Any], size: int, name: str, value: str | None) -> None:
    """All rows are of this, where the command says so: a file that says it too keeps its own timeframe."""
    import pyarrow as arrow

    if value is None:
        return
    if name in columns or (name == "symbol" and "instrument" in columns):
        if name == "timeframe":
            return
        raise ImportNotValid(f"`{name}`: the file tells its own")
    columns[name] = arrow.array([value] * size, arrow.string())


def _with_instruments(session: Session, given: Import, kind: Kind, told: Told) -> tuple[Told, list[Problem]]:
    import pyarrow as arrow
    import pyarrow.compute as compute

    columns = dict(told.columns)
    texts = columns.pop("symbol", columns.pop("instrument", None))
    if texts is None:
        if kind.model is MarketData:
            raise ImportNotValid("`instrument`: the rows do not say of which one they are: name it")
        return Told(columns, told.lines, [], told.left_out), []
    texts = compute.utf8_trim_whitespace(texts)
    distinct = [text for text in compute.unique(texts).to_pylist() if text]
    ours = {text: given.symbols.get(text, text) for text in distinct}
    ids = instrument_ids(session, ours.values())
    known = {text: ids[symbol] for text, symbol in ours.items() if symbol in ids}
    places = compute.index_in(texts, arrow.array(list(known), arrow.string()))
    columns["instrument_id"] = arrow.array(list(known.values()), arrow.int64()).take(_whole(places))
    found = Told(columns, told.lines, [], told.left_out)
    unknown = compute.and_(compute.is_null(columns["instrument_id"]), _whole(compute.is_valid(texts)))
    if not compute.any(unknown).as_py():
        return found, []
    problems = []
    if not kind.by_exchange:
        lines, symbols = told.lines.filter(unknown), _whole(texts).filter(unknown)
        problems = [
            Problem(line, f"`instrument`: {symbol} is not in the master of instruments")
            for line, symbol in zip(lines.to_pylist(), symbols.to_pylist(), strict=True)
        ]
    kept = found.only(compute.invert(unknown), "not in the master of instruments")
    return Told(kept.columns, kept.lines, [], kept.left_out if kind.by_exchange else told.left_out), problems


def _with_series(session: Session, source: int, told: Told) -> Told:
    import pyarrow as arrow
    import pyarrow.compute as compute

    columns = dict(told.columns)
    texts = columns.pop("series", None)
    if texts is None:
        return told
    texts = compute.utf8_trim_whitespace(texts)
    codes = [text for text in compute.unique(texts).to_pylist() if text and len(text) <= 100]
    ids = series_ids(session, source, codes)
    places = compute.index_in(texts, arrow.array(list(ids), arrow.string()))
    columns["series_id"] = arrow.array(list(ids.values()), arrow.int64()).take(_whole(places))
    return Told(columns, told.lines, [], told.left_out)


def _require_known(kind: Kind, given: Import, told: Told, names: set[str]) -> None:
    extra = sorted(set(told.columns) - names - {"symbol", "instrument", "series"})
    if extra:
        shown = sorted((names - {"source_id", "instrument_id", "series_id"}) | _named_by(names))
        raise UnreadableFile(f"`{extra[0]}`: is no column of {given.kind}; there are {', '.join(shown)}")
    needed = [
        column.name
        for column in columns_of(kind.model)
        if not column.nullable and column.server_default is None and column.name not in told.columns
    ]
    if needed:
        theirs = needed[0].removesuffix("_id") if needed[0] in ("series_id", "instrument_id") else needed[0]
        how = ": name it by the option" if theirs == "timeframe" else ""
        raise ImportNotValid(f"`{theirs}`: {given.kind} need it, and the file has no such column{how}")


def _named_by(names: set[str]) -> set[str]:
    return {name for name in ("series", "instrument") if f"{name}_id" in names}


def _whole(column: Any) -> Any:
    return column.combine_chunks() if hasattr(column, "combine_chunks") else column


def _from_the_days_beginning(table: "pyarrow.Table", zone: tzinfo) -> "pyarrow.Table":
    """Bars of days and weeks begin at 00:00 of their first day where they are traded, whatever their source writes."""
    import pyarrow as arrow
    import pyarrow.compute as compute

    of_days = compute.is_in(table["timeframe"], arrow.array(_DAYS))
    if not compute.any(of_days).as_py():
        return table
    there = table["timestamp"].cast(arrow.timestamp("us", str(zone)))
    begin = compute.floor_temporal(compute.local_timestamp(there), unit="day")
    begins = compute.assume_timezone(begin, str(zone), ambiguous="earliest", nonexistent="latest")
    times = compute.if_else(of_days, begins.cast(arrow.timestamp("us", "UTC")), table["timestamp"])
    return table.set_column(table.column_names.index("timestamp"), "timestamp", times)


def _once(model: type[Base], table: "pyarrow.Table") -> "tuple[pyarrow.Table, list[Problem]]":
    """The first row of each thing; the others are told with its line."""
    import pyarrow.compute as compute

    if len(compute.unique(table[_time_of(model)])) == table.num_rows:
        return table, []
    key = [column.name for column in natural_key(model)]
    first = table.select([*key, "line"]).group_by(key).aggregate([("line", "min")])
    if first.num_rows == table.num_rows:
        return table, []
    is_first = compute.is_in(table["line"], first["line_min"])
    again = table.filter(compute.invert(is_first))
    lines = {tuple(row[name] for name in key): row["line_min"] for row in first.to_pylist()}
    problems = [
        Problem(row["line"], f"row: says the same of the same as line {lines[tuple(row[name] for name in key)]}")
        for row in again.to_pylist()
    ]
    return table.filter(is_first), problems


def _time_of(model: type[Base]) -> str:
    """The column of the key that tells the time."""
    return next(column.name for column in table_of(model).primary_key if column.name != "id")
