"""What NSE's and MCX's daily files (bhavcopies) have in common: bars of a day, by the exchange's own symbols."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from risk.importers.told import Told, UnreadableFile, named

if TYPE_CHECKING:
    import pyarrow

NOT_TRADED = "not traded that day"


def bars_of(told: Told, names: Mapping[str, str], *, layout: str) -> Told:
    """The rows under our names. What was not traded has no prices, and is left out; a future has neither strike nor type.

    Raises UnreadableFile where a column is missing."""
    found = named(told, names)
    if missing := [theirs for theirs, ours in names.items() if ours not in found]:
        raise UnreadableFile(f"{layout}: has no column `{missing[0]}`")
    bars = Told(found, told.lines, told.problems, told.left_out)
    bars = bars.only(_traded(bars.columns["volume"]), NOT_TRADED)
    if "option_type" in bars.columns:
        _no_option_of_futures(bars)
    return bars


def of_kinds(told: Told, column: str, kinds: Sequence[str], why: str) -> Told:
    """The rows of some kinds; the others are left out for that reason."""
    import pyarrow as arrow
    import pyarrow.compute as compute

    (given,) = named(told, {column: "kind"}).values()
    return told.only(compute.is_in(compute.utf8_trim_whitespace(given), arrow.array(kinds)), why)


def has(told: Told, *columns: str) -> bool:
    """Whether the file names all of these columns."""
    return len(named(told, {column: column for column in columns})) == len(columns)


def _traded(volume: "pyarrow.ChunkedArray") -> Any:
    """What is not written as 0: a volume that is no number is a mistake to be told, no day without trade."""
    import pyarrow.compute as compute

    there = compute.utf8_trim_whitespace(compute.fill_null(volume, "0"))
    return compute.invert(compute.match_substring_regex(there, r"^-?0*(\.0*)?$"))


def _no_option_of_futures(bars: Told) -> None:
    import pyarrow as arrow
    import pyarrow.compute as compute

    right = compute.utf8_upper(compute.utf8_trim_whitespace(bars.columns["option_type"]))
    is_future = compute.is_in(compute.fill_null(right, ""), arrow.array(["", "-", "XX", "FF"]))
    none = arrow.scalar(None, arrow.string())
    bars.columns["option_type"] = compute.if_else(is_future, none, right)
    bars.columns["strike"] = compute.if_else(is_future, none, bars.columns["strike"])
