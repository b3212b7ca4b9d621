"""The one order in which signals that wait together are decided: live, in `replay` and in `send FILE`."""

from datetime import datetime

from core.models import Signal, SignalType

# Exits first, so that an entry of the same bar finds its layer free; the bar moves stops before anything is bought.
_RANKS = {SignalType.EXIT: 0, SignalType.MARKET_DATA: 1, SignalType.BASE_ENTRY: 2, SignalType.PYRAMID: 3}


def signal_in_order_key(signal: Signal) -> tuple[datetime, int, datetime]:
    """The sort key: bar time (else timestamp), then EXIT, MARKET_DATA, BASE_ENTRY, PYRAMID, then timestamp."""
    return signal.bar, _RANKS[signal.type], signal.time
