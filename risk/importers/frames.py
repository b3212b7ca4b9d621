"""Frames as yfinance gives them: times in the index, prices in columns, with several tickers in columns of two levels."""

from typing import TYPE_CHECKING, Any

from risk.importers.told import Told, UnreadableFile, named, of_table

if TYPE_CHECKING:
    import pandas

_PRICES = ("open", "high", "low", "close", "volume")
_TIMES = ("date", "datetime", "timestamp", "time", "index")


def bars_of_frame(frame: "pandas.DataFrame") -> Told:
    """The frame's bars; of columns of two levels one is of prices and the other of tickers, which are the rows' `symbol`.

    A row's line is its place in the frame from 1, ticker after ticker; rows without any price are left out: a frame of several
    tickers has one for each time that any of them has. Raises UnreadableFile.
    """
    import pandas
    import pyarrow

    if frame.columns.nlevels == 1:
        flat = frame.reset_index()
    else:
        tickers = _level_of_tickers(frame)
        parts = [
            frame.xs(ticker, axis=1, level=tickers).reset_index().assign(symbol=str(ticker))
            for ticker in dict.fromkeys(frame.columns.get_level_values(tickers))
        ]
        flat = pandas.concat(parts, ignore_index=True) if parts else frame.reset_index()
    flat.columns = [str(name) for name in flat.columns]
    return bars_of(of_table(pyarrow.Table.from_pandas(flat, preserve_index=False)))


def bars_of(told: Told) -> Told:
    """The same of a file into which such a frame was written. `Adj Close` is no price that was ever paid, and is not taken."""
    import pyarrow.compute as compute

    found = named(told, {name: name for name in (*_PRICES, "symbol")})
    time = next((column for name in _TIMES for column in named(told, {name: name}).values()), None)
    if time is None:
        raise UnreadableFile(f"a frame has its times in the index, or in a column called one of {', '.join(_TIMES)}")
    if missing := [name for name in _PRICES if name not in found and name != "volume"]:
        raise UnreadableFile(f"a frame of bars has a column `{missing[0]}`")
    some: Any = compute.is_valid(found["close"])
    for name in _PRICES[:3]:
        some = compute.or_(some, compute.is_valid(found[name]))
    return Told({"timestamp": time, **found}, told.lines, told.problems, told.left_out).only(some, "without a price")


def _level_of_tickers(frame: "pandas.DataFrame") -> int:
    if frame.columns.nlevels == len(("price", "ticker")):
        for level in range(frame.columns.nlevels):
            names = {str(name).casefold() for name in frame.columns.get_level_values(level)}
            if {"open", "high", "low", "close"} <= names:
                return 1 - level
    raise UnreadableFile("of a frame's two levels of columns one has to name Open, High, Low and Close")
