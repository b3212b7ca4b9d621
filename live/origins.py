"""Which signal an order comes from, however many tries, legs and stops later: so that its lines in the log carry the same id."""

from collections.abc import Mapping

from core.inputs import EndTry, OrderReport, SendOrder
from core.journal import Batch, Entry


class Origins:
    """Fingerprints of the signals that orders on their way come from; an operator's have none. Told by the writer, asked by
    others."""

    def __init__(self) -> None:
        self._known: dict[str, str] = {}

    def of(self, client_order_id: str) -> str | None:
        """The signal's fingerprint, None where it is none's, or not known any more."""
        return self._known.get(client_order_id)

    def load(self, known: Mapping[str, str]) -> None:
        """Orders that were on their way before this engine began."""
        self._known.update(known)

    def intended(self, entry: Entry, client_order_id: str) -> None:
        """An order was intended in this entry: by a signal, or by what followed from one of its orders."""
        before = entry.given
        origin = entry.fingerprint
        if origin is None and isinstance(before, OrderReport | SendOrder | EndTry):
            origin = self._known.get(before.client_order_id)
        if origin is not None:
            self._known[client_order_id] = origin

    def forget(self, batch: Batch) -> None:
        """Nothing more comes of what a batch has settled."""
        for client_order_id in batch.after.settled_orders:
            self._known.pop(client_order_id, None)
