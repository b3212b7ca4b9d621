"""What an error of ccxt tells about the effect of a request."""

import re
from collections.abc import Callable, Sequence
from typing import Any, ParamSpec, TypeVar

from live.brokers.port import BrokerAway, BrokerRefused, OutcomeUnknown

_LONGEST_MESSAGE = 300
_Parameters = ParamSpec("_Parameters")
_Result = TypeVar("_Result")
# urllib3's names of a connection that never was, below requests' errors.
_NEVER_CONNECTED = frozenset({"NewConnectionError", "ConnectTimeoutError", "NameResolutionError", "ConnectTimeout"})


class Meaning:
    """Translates the errors of calls; `secrets` and addresses' queries never get into a message."""

    def __init__(self, ccxt: Any, secrets: Sequence[str]) -> None:
        self._ccxt = ccxt
        self._secrets = secrets
        # Turned away before anything was done.
        self._not_done = (ccxt.RateLimitExceeded, ccxt.DDoSProtection, ccxt.InvalidNonce)

    def of_change(
        self, call: Callable[_Parameters, _Result], *args: _Parameters.args, **kwargs: _Parameters.kwargs
    ) -> _Result:
        """Make a call that changes something. Raises BrokerRefused, BrokerAway, OutcomeUnknown."""
        try:
            return call(*args, **kwargs)
        except Exception as error:  # noqa: BLE001 - ccxt may fail on an answer, after the venue has done it
            raise self._of_change(error) from None

    def of_reading(
        self, call: Callable[_Parameters, _Result], *args: _Parameters.args, **kwargs: _Parameters.kwargs
    ) -> _Result:
        """Make a call that changes nothing. Raises BrokerRefused, BrokerAway."""
        try:
            return call(*args, **kwargs)
        except Exception as error:  # noqa: BLE001 - an answer that ccxt or we cannot read is no answer
            raise (BrokerRefused if self._is_refusal(error) else BrokerAway)(self._told(error)) from None

    def _of_change(self, error: Exception) -> BrokerRefused | BrokerAway | OutcomeUnknown:
        told = self._told(error)
        if isinstance(error, self._not_done) or _never_connected(error):
            return BrokerAway(told)
        if isinstance(error, self._ccxt.DuplicateOrderId):
            return OutcomeUnknown(f"an order of this id is there already: {told}")
        return BrokerRefused(told) if self._is_refusal(error) else OutcomeUnknown(told)

    def _is_refusal(self, error: Exception) -> bool:
        # The bare class is what ccxt raises for an answer it has no name for.
        return isinstance(error, self._ccxt.ExchangeError) and type(error) is not self._ccxt.ExchangeError

    def _told(self, error: Exception) -> str:
        message = re.sub(r"(https?://[^\s?]*)\?\S*", r"\1?...", str(error))
        for secret in self._secrets:
            message = message.replace(secret, "***")
        return f"{type(error).__name__}: {message}"[:_LONGEST_MESSAGE]


def _never_connected(error: BaseException | None) -> bool:
    """Whether this, or what led to it, is a connection that could not be made: then nothing was sent."""
    while error is not None:
        reason = getattr(error.args[0], "reason", None) if error.args else None
        if {type(error).__name__, type(reason).__name__} & _NEVER_CONNECTED:
            return True
        error = error.__cause__
    return False
