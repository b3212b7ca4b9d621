"""TradingView's "Export chart data": bars of one chart, `time` as seconds since 1970 or as ISO 8601, indicators beside them."""

from risk.importers.told import Told, UnreadableFile, named

_NAMES = {"time": "timestamp", **{name: name for name in ("open", "high", "low", "close", "volume")}}


def bars_of(told: Told) -> Told:
    """The chart's bars; its other columns are its indicators', and no bars. Raises UnreadableFile."""
    found = named(told, _NAMES)
    if missing := [theirs for theirs, ours in _NAMES.items() if ours not in found and theirs != "volume"]:
        raise UnreadableFile(f"a chart's export has a column `{missing[0]}`")
    return Told(found, told.lines, told.problems, told.left_out)
