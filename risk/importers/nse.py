"""NSE's bhavcopies of equities and of derivatives: UDiFF, since 2024-07-08 (MCX has it too), and those before."""

from risk.importers.bhavcopy import bars_of as bars_under
from risk.importers.bhavcopy import has, of_kinds
from risk.importers.told import Told, UnreadableFile

_PRICES = ("open", "high", "low", "close")
_UDIFF = {
    "TckrSymb": "symbol",
    "TradDt": "timestamp",
    "OpnPric": "open",
    "HghPric": "high",
    "LwPric": "low",
    "ClsPric": "close",
    "TtlTradgVol": "volume",
}
_UDIFF_DERIVATIVES = {
    **_UDIFF,
    "XpryDt": "expiry",
    "StrkPric": "strike",
    "OptnTp": "option_type",
    "SttlmPric": "settlement",
    "OpnIntrst": "open_interest",
}
_EQUITIES = {
    "SYMBOL": "symbol",
    "TIMESTAMP": "timestamp",
    **{price.upper(): price for price in _PRICES},
    "TOTTRDQTY": "volume",
}
_DERIVATIVES = {
    "SYMBOL": "symbol",
    "TIMESTAMP": "timestamp",
    "EXPIRY_DT": "expiry",
    "STRIKE_PR": "strike",
    "OPTION_TYP": "option_type",
    **{price.upper(): price for price in _PRICES},
    "SETTLE_PR": "settlement",
    "CONTRACTS": "volume",
    "OPEN_INT": "open_interest",
}
# Of what is listed twice under a symbol the series in which everybody trades.
_SERIES = ("EQ",)
_OTHER_SERIES = "of another series than EQ"


def bars_of(told: Told) -> Told:
    """The day's bars by the exchange's symbols; which layout it is, the header says. Raises UnreadableFile."""
    if has(told, "TckrSymb", "Sgmt"):
        return _udiff(told)
    if has(told, "INSTRUMENT", "EXPIRY_DT"):
        return bars_under(told, _DERIVATIVES, layout="NSE's bhavcopy of derivatives")
    if has(told, "SERIES", "TOTTRDQTY"):
        equities = of_kinds(told, "SERIES", _SERIES, _OTHER_SERIES)
        return bars_under(equities, _EQUITIES, layout="NSE's bhavcopy of equities")
    raise UnreadableFile(
        "this is no bhavcopy of NSE: its first line names neither TckrSymb nor SYMBOL with what belongs to it"
    )


def _udiff(told: Told) -> Told:
    import pyarrow.compute as compute

    segments = set(compute.unique(compute.utf8_trim_whitespace(told.columns["Sgmt"])).to_pylist())
    if segments == {"CM"}:
        equities = of_kinds(told, "SctySrs", _SERIES, _OTHER_SERIES)
        return bars_under(equities, _UDIFF, layout="a UDiFF bhavcopy of equities")
    if "CM" in segments:
        raise UnreadableFile("a UDiFF bhavcopy is of one segment, and this one of several")
    return bars_under(told, _UDIFF_DERIVATIVES, layout="a UDiFF bhavcopy of derivatives")
