"""POST /reconcile/adopt, /write-off and /ignore: what an operator makes of a finding, read from the body."""

import re
from collections.abc import Callable

from core.inputs import AdoptPosition, FindingCommand, IgnoreFinding, WriteOff
from core.models import QUANTITY_LIMIT
from core.numbers import PRICE_SCALE
from core.numbers import price as to_price
from live.api.bodies import CommandBody
from live.api.errors import malformed

SYMBOL_LENGTH = 50  # portfolio_positions.futures_symbol VARCHAR(50)
REASON_LENGTH = 200
_ID_LENGTH = 50
_LAYER = re.compile(r"(long|short)_([1-6])", re.ASCII | re.IGNORECASE)


def adoption() -> AdoptPosition:
    """What the broker holds and we do not, as a layer of ours."""
    body = CommandBody("instrument", "layer", "lots", "price", "stop", "atr", "symbol", "request_id")
    return AdoptPosition(
        request_id=body.request_id(),
        instrument=body.required("instrument", body.instrument()),
        layer=_layer(body),
        lots=body.required("lots", body.lots()),
        price=body.required("price", body.price("price")),
        stop=body.price("stop"),
        atr=body.price("atr"),
        symbol=body.text("symbol", SYMBOL_LENGTH),
    )


def write_off() -> WriteOff:
    """Lots of ours that are no longer at the broker."""
    body = CommandBody("position_id", "lots", "price", "reason", "request_id")
    return WriteOff(
        request_id=body.request_id(),
        position_id=body.required("position_id", body.text("position_id", _ID_LENGTH)),
        lots=body.lots(),
        price=body.required("price", body.price("price")),
        reason=body.text("reason", REASON_LENGTH) or "WRITTEN_OFF",
    )


def ignored() -> IgnoreFinding:
    """A difference that is none of ours."""
    body = CommandBody("instrument", "difference", "request_id")
    difference = body.required_number("difference", scale=PRICE_SCALE, limit=QUANTITY_LIMIT)
    return IgnoreFinding(
        request_id=body.request_id(),
        instrument=body.required("instrument", body.instrument()),
        difference=to_price(difference),
    )


# The route below /reconcile, and what reads its body.
SETTLED_BY: dict[str, Callable[[], FindingCommand]] = {"adopt": adoption, "write-off": write_off, "ignore": ignored}


def _layer(body: CommandBody) -> str:
    text = body.required("layer", body.text("layer", 10))
    if not _LAYER.fullmatch(text):
        raise malformed("`layer` must be Long_1 to Long_6 or Short_1 to Short_6", "layer")
    return text.capitalize()
