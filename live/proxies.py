"""Who sent a request that came through a proxy of ours: X-Forwarded-For is believed as far as trusted proxies wrote it."""

from collections.abc import Callable, Collection, Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import TYPE_CHECKING

from core.errors import ConfigurationError

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

Networks = tuple[IPv4Network | IPv6Network, ...]
_Application = Callable[["WSGIEnvironment", "StartResponse"], Iterable[bytes]]


class TrustedProxies:
    """WSGI: REMOTE_ADDR is the sender's for whoever comes after. From any other address the header counts for nothing."""

    def __init__(self, application: _Application, trusted: Networks) -> None:
        self._application = application
        self._trusted = trusted

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        """A request."""
        peer, forwarded = environ.get("REMOTE_ADDR", ""), environ.get("HTTP_X_FORWARDED_FOR", "")
        environ["REMOTE_ADDR"] = sender(peer, forwarded, self._trusted)
        if is_in(address_of(peer), self._trusted) and environ.get("HTTP_X_FORWARDED_PROTO") == "https":
            environ["wsgi.url_scheme"] = "https"
        return self._application(environ, start_response)


def sender(peer: str, forwarded: str, trusted: Networks) -> str:
    """The first address, from ours outwards, that is no trusted proxy's: `peer` connected, each proxy wrote whom it saw last.

    What is no address ends the walk: what stands beyond it was written by who knows whom.
    """
    if not forwarded or not trusted:
        return peer
    current = peer
    for hop in reversed(forwarded.split(",")):
        told = address_of(hop.strip())
        if told is None or not is_in(address_of(current), trusted):
            break
        current = str(told)
    return current


def is_in(address: IPv4Address | IPv6Address | None, networks: Networks) -> bool:
    """Whether one of the networks has it; None is in none."""
    return address is not None and any(address in network for network in networks)


def address_of(text: str) -> IPv4Address | IPv6Address | None:
    """The address; IPv4 within IPv6 as IPv4; None for what is none."""
    try:
        address = ip_address(text)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def networks_of(addresses: Collection[str], setting: str) -> Networks:
    """Addresses, and networks in CIDR form. Raises ConfigurationError that names the setting."""
    try:
        return tuple(ip_network(address) for address in addresses)
    except ValueError as error:
        raise ConfigurationError(f"`{setting}`: {error}; an address or a network in CIDR form") from error
