"""Who a request is from, where proxies stand between: only what trusted ones wrote is believed."""

from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import ConfigurationError
from live.proxies import sender
from tests.fake_engine import BASE_ENTRY, FakeEngine, an_app

TRUSTED = (ip_network("127.0.0.1"), ip_network("10.0.0.0/24"), ip_network("2001:db8::/64"))


@pytest.mark.parametrize(
    "peer, forwarded, told",
    [
        ("127.0.0.1", "52.89.214.238", "52.89.214.238"),
        ("127.0.0.1", "  52.89.214.238 ", "52.89.214.238"),
        ("10.0.0.7", "52.89.214.238, 10.0.0.8", "52.89.214.238"),
        ("2001:db8::1", "2001:db8:1::5", "2001:db8:1::5"),
        ("127.0.0.1", "::ffff:52.89.214.238", "52.89.214.238"),
        # What the sender wrote himself stands further out, and is not looked at.
        ("127.0.0.1", "52.89.214.238, 203.0.113.9", "203.0.113.9"),
        ("127.0.0.1", "127.0.0.1, 203.0.113.9", "203.0.113.9"),
        ("10.0.0.7", "52.89.214.238, 203.0.113.9, 10.0.0.8", "203.0.113.9"),
        # Nobody trusted wrote any of it.
        ("203.0.113.9", "52.89.214.238", "203.0.113.9"),
        ("203.0.113.9", "52.89.214.238, 127.0.0.1", "203.0.113.9"),
        ("10.0.1.7", "52.89.214.238", "10.0.1.7"),
        # Nothing that could be believed.
        ("127.0.0.1", "", "127.0.0.1"),
        ("127.0.0.1", "unknown", "127.0.0.1"),
        ("127.0.0.1", "52.89.214.238,", "127.0.0.1"),
        ("10.0.0.7", "52.89.214.238, unknown, 10.0.0.8", "10.0.0.8"),
        ("127.0.0.1", "52.89.214.238:443", "127.0.0.1"),
        # All of them ours: the outermost is who asked.
        ("127.0.0.1", "10.0.0.9, 10.0.0.8", "10.0.0.9"),
        ("", "52.89.214.238", ""),
    ],
)
def test_the_sender_is_the_first_address_outwards_that_is_no_trusted_proxys(
    peer: str, forwarded: str, told: str
) -> None:
    assert sender(peer, forwarded, TRUSTED) == told


@given(written=st.text(max_size=60))
def test_whatever_a_sender_writes_the_address_that_the_proxy_saw_is_his(written: str) -> None:
    assert sender("10.0.0.7", f"{written}, 203.0.113.9", TRUSTED) == "203.0.113.9"
    assert sender("203.0.113.9", written, TRUSTED) == "203.0.113.9"


def status_of(peer: str, forwarded: str | None, **options: tuple[str, ...]) -> int:
    """What an alert gets where TradingView's address is the only one allowed."""
    client = an_app(FakeEngine(), allowed_addresses=("52.89.214.238",), **options).test_client()
    headers = {} if forwarded is None else {"X-Forwarded-For": forwarded}
    return client.post(
        "/webhook", json=BASE_ENTRY, headers=headers, environ_overrides={"REMOTE_ADDR": peer}
    ).status_code


@pytest.mark.parametrize(
    "peer, forwarded, status",
    [
        ("10.0.0.7", "52.89.214.238", 200),
        ("10.0.0.7", "203.0.113.9", 403),
        ("10.0.0.7", "52.89.214.238, 203.0.113.9", 403),
        ("10.0.0.7", None, 403),
        ("203.0.113.9", "52.89.214.238", 403),
        ("52.89.214.238", None, 200),
        ("52.89.214.238", "203.0.113.9", 200),
    ],
)
def test_allowed_addresses_are_the_senders_behind_a_trusted_proxy(
    peer: str, forwarded: str | None, status: int
) -> None:
    assert status_of(peer, forwarded, trusted_proxies=("10.0.0.0/24",)) == status


def test_without_trusted_proxies_the_header_counts_for_nothing() -> None:
    assert status_of("127.0.0.1", "52.89.214.238") == 403
    assert status_of("52.89.214.238", "203.0.113.9") == 200


def test_a_proxy_that_is_no_address_is_refused_at_the_start() -> None:
    with pytest.raises(ConfigurationError, match=r"`trusted_proxies`.*balancer"):
        an_app(FakeEngine(), trusted_proxies=("balancer",))
