"""What makes a signal the same signal, and the position that it opens the same position."""

import hashlib
from datetime import datetime

from msgspec import UNSET

from core.models import Signal, SignalType

_ID_DIGITS = 12
_ID_LENGTH = 50  # portfolio_positions.position_id VARCHAR(50)


def fingerprint_of(portfolio: str, signal: Signal) -> str:
    """SHA-256 hex of `portfolio:instrument:TYPE:position:` and the bar's time in UTC, cut to the second.

    MARKET_DATA's position is empty. Its trade number, if it has one, is appended: it tells the partial exits
    of an as-listed replay apart. So is the sender's own id of the alert.
    """
    layer = "" if signal.type is SignalType.MARKET_DATA else signal.layer
    identity = f"{portfolio}:{signal.instrument}:{signal.type.value}:{layer}:{_cut_to_second(signal.bar)}"
    if signal.trade_number is not None:
        identity += f":{signal.trade_number}"
    if signal.alert_id is not UNSET:
        identity += f":id:{signal.alert_id}"
    return hashlib.sha256(identity.encode()).hexdigest()


def position_id_of(instrument: str, layer: str, fingerprint: str) -> str:
    """instrument-layer-first 12 hex digits: unique for ever, while a layer's name is reused by the next trade.

    ValueError where it would not fit the column; the longest valid instrument and layer (29 and 7) just do.
    """
    position_id = f"{instrument}-{layer}-{fingerprint[:_ID_DIGITS]}"
    if len(position_id) > _ID_LENGTH:
        raise ValueError(f"position_id {position_id} is longer than {_ID_LENGTH} characters")
    return position_id


def _cut_to_second(time: datetime) -> str:
    # Signal holds UTC only; isoformat cuts rather than rounds, and unlike strftime pads the year on every platform.
    return time.replace(tzinfo=None).isoformat(timespec="seconds") + "Z"
