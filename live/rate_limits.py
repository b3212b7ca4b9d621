"""How often an address, or a portfolio, may ask: 429 for what is more. Counted by each process for itself, in bounded memory."""

from typing import TYPE_CHECKING

from core.config import RateLimitSettings
from live.api.errors import HttpRefused
from live.proxies import address_of

if TYPE_CHECKING:
    from live.rate_counters import Rate

# One who rents an IPv6 address gets 2**64 of them: they count as one.
_NETWORK_LETTERS = len("2001:0db8:0000:0000")


class RateLimits:
    """What the settings allow. A limit that is not set costs nothing, and its library is not imported."""

    def __init__(self, settings: RateLimitSettings) -> None:
        self._per_address = _rate(settings.per_address)
        self._per_portfolio = _rate(settings.per_portfolio)
        self.secrets = FailureLimit(settings.failed_secrets, "secret")
        self.tokens = FailureLimit(settings.failed_tokens, "token")

    def count_address(self, remote: str | None) -> None:
        """One more alert from there. Raises HttpRefused (429) where that is too many."""
        if self._per_address is None or (sender := counted_as(remote)) is None:
            return
        _refuse(self._per_address.count(sender), "too many alerts come from this address")

    def count_portfolio(self, name: str) -> None:
        """One more alert for a portfolio, from one who may send it. Raises HttpRefused (429) where that is too many."""
        if self._per_portfolio is not None:
            _refuse(self._per_portfolio.count(name), "too many alerts come for this portfolio")

    def take_back(self, remote: str, portfolio: str | None) -> None:
        """An alert that was counted comes again, to be counted then; `portfolio`: where it was counted for that as well."""
        if self._per_address is not None and (sender := counted_as(remote)) is not None:
            self._per_address.take_back(sender)
        if self._per_portfolio is not None and portfolio is not None:
            self._per_portfolio.take_back(portfolio)


class FailureLimit:
    """How often an address may be wrong about who it is. Beyond, nothing that it says is looked at: guessing takes long."""

    def __init__(self, allowed: str | None, what: str) -> None:
        self._allowed = allowed
        self._what = what
        self._rate: Rate | None = None

    def require(self, remote: str | None) -> None:
        """Raises HttpRefused (429) where it was wrong too often."""
        if self._rate is not None and (sender := counted_as(remote)) is not None:
            _refuse(self._rate.seconds_until_more(sender), f"a wrong {self._what} came from this address too often")

    def failed(self, remote: str | None) -> None:
        """It was wrong once more."""
        if self._allowed is None or (sender := counted_as(remote)) is None:
            return
        if self._rate is None:
            self._rate = _rate(self._allowed)
        if self._rate is not None:
            self._rate.count(sender)


def counted_as(remote: str | None) -> str | None:
    """Whom an address is: an IPv6 one its network of 64 bits. None for who is not counted.

    That is this machine: a tunnel, or a proxy that is not trusted, brings everybody from there, and the operator sits there,
    who has to be let in to halt whatever others do.
    """
    if remote is None or remote.startswith("127."):
        return None
    if ":" not in remote:
        return remote
    address = address_of(remote)
    if address is None or address.is_loopback:
        return None
    return str(address) if address.version == 4 else address.exploded[:_NETWORK_LETTERS]


def _rate(allowed: str | None) -> "Rate | None":
    if allowed is None:
        return None
    # Imported where it is used: 70 ms.
    from live.rate_counters import Rate

    return Rate(allowed)


def _refuse(seconds: int | None, why: str) -> None:
    if seconds is not None:
        raise HttpRefused(429, "rate_limited", f"{why}; wait {seconds} s", headers={"Retry-After": str(seconds)})
