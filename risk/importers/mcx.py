"""MCX's bhavcopy as its site exports it, by date or by commodity; in the UDiFF layout it is read as NSE's is."""

from risk.importers.bhavcopy import bars_of as bars_under
from risk.importers.bhavcopy import has
from risk.importers.nse import bars_of as udiff
from risk.importers.told import Told

_NAMES = {
    "Symbol": "symbol",
    "Date": "timestamp",
    "Expiry Date": "expiry",
    "Strike Price": "strike",
    "Option Type": "option_type",
    "Open": "open",
    "High": "high",
    "Low": "low",
    "Close": "close",
    "Volume(Lots)": "volume",
    "Open Interest(Lots)": "open_interest",
}


def bars_of(told: Told) -> Told:
    """The days' bars by the exchange's symbols, volume and open interest in lots. Raises UnreadableFile."""
    if has(told, "TckrSymb", "Sgmt"):
        return udiff(told)
    return bars_under(told, _NAMES, layout="MCX's bhavcopy")
