"""How often one may ask, with a clock that the test moves."""

import json
import sys
import threading
from collections.abc import Iterator

import pytest
from flask import Response
from werkzeug.test import TestResponse

from core.config import RateLimitSettings, load_file_settings
from core.errors import ConfigurationError
from live.rate_counters import MOST_COUNTERS, Rate
from live.rate_limits import counted_as
from live.short_cut import Posted
from tests.fake_engine import BASE_ENTRY, TOKEN, FakeEngine, an_app, error_of

TRADINGVIEW, OTHER = "52.89.214.238", "203.0.113.9"
SECRET = "a webhook's secret"


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


# --- counting -----------------------------------------------------------------------------------------------------


def test_so_many_are_allowed_and_the_next_one_is_told_how_long_to_wait(clock: Clock) -> None:
    rate = Rate("3/minute", clock=clock)
    assert [rate.count("a") for _ in range(3)] == [None, None, None]
    clock.now += 12.5
    assert rate.count("a") == 48
    assert rate.count("b") is None


def test_when_the_time_is_over_as_many_are_allowed_again(clock: Clock) -> None:
    rate = Rate("2/second", clock=clock)
    assert [rate.count("a") for _ in range(3)] == [None, None, 1]
    clock.now += 1
    assert [rate.count("a") for _ in range(3)] == [None, None, 1]


def test_what_is_refused_does_not_put_the_end_off(clock: Clock) -> None:
    rate = Rate("1/minute", clock=clock)
    assert rate.count("a") is None
    for _ in range(59):
        clock.now += 1
        assert rate.count("a") is not None
    clock.now += 1
    assert rate.count("a") is None


def test_what_is_taken_back_was_not_counted(clock: Clock) -> None:
    rate = Rate("1/minute", clock=clock)
    for _ in range(5):
        assert rate.count("a") is None
        rate.take_back("a")
    assert rate.seconds_until_more("a") is None
    assert rate.count("a") is None
    assert rate.seconds_until_more("a") == 60


def test_a_million_addresses_take_no_more_memory_than_ten_thousand_and_keep_nobody_out(clock: Clock) -> None:
    rate = Rate("2/minute", clock=clock)
    for number in range(MOST_COUNTERS):
        rate.count(str(number))
    for number in range(1_000_000):
        rate.count(str(number))
        if number == 100_000:
            before = sys.getallocatedblocks()
    # Each address that was kept would take a block at least.
    assert sys.getallocatedblocks() - before < 1000
    assert [rate.count("a new one") for _ in range(3)] == [None, None, 60]


def test_threads_that_count_together_lose_none() -> None:
    rate = Rate("1000/hour")

    def count() -> None:
        for _ in range(250):
            rate.count("a")

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    rate.take_back("a")
    assert rate.count("a") is None
    assert rate.count("a") is not None


@pytest.mark.parametrize(
    "remote, expected",
    [
        ("52.89.214.238", "52.89.214.238"),
        ("2001:db8:1:2:3::4", "2001:0db8:0001:0002"),
        ("2001:db8:1:2:ffff::9", "2001:0db8:0001:0002"),
        ("::ffff:52.89.214.238", "52.89.214.238"),
        ("127.0.0.1", None),
        ("127.8.8.8", None),
        ("::1", None),
        ("::ffff:127.0.0.1", None),
        (None, None),
    ],
)
def test_an_address_of_version_6_counts_as_its_network_and_this_machine_not_at_all(
    remote: str | None, expected: str | None
) -> None:
    assert counted_as(remote) == expected


@pytest.mark.parametrize("wrong", ["0/minute", "10", "10/fortnight", "10 per minute", "-1/second", "1.5/second", 10])
def test_a_rate_is_written_in_one_way(wrong: object, tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "settings.json"
    file.write_text(json.dumps({"rate_limits": {"per_address": wrong}}))
    with pytest.raises(ConfigurationError, match=r"`rate_limits\.per_address`"):
        load_file_settings(file)


def test_limits_are_of_the_process(tmp_path) -> None:
    file = tmp_path / "settings.json"
    file.write_text(json.dumps({"portfolios": {"alpha": {"rate_limits": {"per_address": "1/second"}}}}))
    with pytest.raises(ConfigurationError, match="is of the whole process"):
        load_file_settings(file)


# --- alerts -------------------------------------------------------------------------------------------------------


class Sender:
    """Posts alerts, each another one, as this or that address; by the short cut first, as the server does, where asked to."""

    def __init__(self, engine: FakeEngine, **options: object) -> None:
        self.engine = engine
        self.app = an_app(engine, **options)
        self._number = 0

    def post(self, address: str = TRADINGVIEW, **fields: object) -> Response:
        self._number += 1
        body = json.dumps({**BASE_ENTRY, "price": 52000 + self._number, **fields}).encode()
        posted = Posted(path="/webhook", query="", headers={}, peer=address, read_body=lambda: body)
        begun = self.app.webhook.begin(posted, lambda: None) if self.engine.begins else None
        if begun is not None:
            return self.app.webhook.finish(begun)
        return self.app.test_client().post("/webhook", data=body, environ_base={"REMOTE_ADDR": address})

    def statuses(self, count: int, address: str = TRADINGVIEW, **fields: object) -> list[int]:
        return [self.post(address, **fields).status_code for _ in range(count)]


@pytest.fixture(params=[False, True], ids=["", "short cut"])
def engine(request: pytest.FixtureRequest) -> Iterator[FakeEngine]:
    return FakeEngine(begins=request.param)


def test_by_default_the_bars_of_a_hundred_instruments_and_more_are_all_taken(engine: FakeEngine) -> None:
    assert set(Sender(engine).statuses(3000)) == {200}
    assert RateLimitSettings().per_address is None
    assert RateLimitSettings().per_portfolio is None
    assert RateLimitSettings().failed_secrets is None


def test_an_address_that_sends_too_many_is_told_to_wait_and_others_are_not(engine: FakeEngine) -> None:
    sender = Sender(engine, rate_limits={"per_address": "5/hour"})
    assert sender.statuses(5) == [200] * 5
    refused = sender.post()
    assert refused.status_code == 429
    assert error_of(refused)["code"] == "rate_limited"
    assert 1 <= int(refused.headers["Retry-After"]) <= 3600
    assert sender.statuses(2, OTHER) == [200, 200]
    assert len(engine.signals) == 7


def test_an_alert_that_the_short_cut_leaves_to_a_thread_counts_once(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = FakeEngine(begins=True)
    sender = Sender(engine, rate_limits={"per_address": "6/hour", "per_portfolio": "6/hour"})
    monkeypatch.setattr(engine, "begin", lambda *_: None)  # as for a duplicate, or with the database away
    assert sender.statuses(7) == [200] * 6 + [429]


def test_a_portfolio_takes_so_many_from_all_addresses_together(engine: FakeEngine) -> None:
    sender = Sender(engine, rate_limits={"per_portfolio": "4/hour"})
    assert sender.statuses(2) + sender.statuses(2, OTHER) == [200] * 4
    assert sender.statuses(1, "198.51.100.1") == [429]


def test_what_comes_without_the_secret_uses_nothing_of_a_portfolios_limit_up(engine: FakeEngine) -> None:
    sender = Sender(engine, webhook_secret=SECRET, rate_limits={"per_portfolio": "2/hour"})
    assert sender.statuses(10, OTHER, secret="a wrong one") == [401] * 10
    assert sender.statuses(3, secret=SECRET) == [200, 200, 429]


def test_who_guesses_secrets_is_not_listened_to_and_learns_nothing(engine: FakeEngine) -> None:
    sender = Sender(engine, webhook_secret=SECRET, rate_limits={"failed_secrets": "3/hour"})
    assert sender.statuses(4, OTHER, secret="a wrong one") == [401, 401, 401, 429]
    assert sender.statuses(1, OTHER, secret=SECRET) == [429]
    assert sender.statuses(1, secret=SECRET) == [200]


def test_by_default_wrong_secrets_from_an_address_that_others_share_keep_no_right_one_out(engine: FakeEngine) -> None:
    sender = Sender(engine, webhook_secret=SECRET)
    assert set(sender.statuses(200, secret="a wrong one")) == {401}
    assert sender.statuses(1, secret=SECRET) == [200]


def test_this_machine_is_not_counted(engine: FakeEngine) -> None:
    sender = Sender(engine, rate_limits={"per_address": "1/hour"})
    assert sender.statuses(5, "127.0.0.1") == [200] * 5


# --- operators ----------------------------------------------------------------------------------------------------


def halt(app, token: str, address: str) -> TestResponse:
    return app.test_client().post(
        "/halt", headers={"Authorization": f"Bearer {token}"}, environ_base={"REMOTE_ADDR": address}
    )


def test_who_guesses_tokens_is_not_listened_to_after_thirty_and_others_are() -> None:
    engine = FakeEngine()
    app = an_app(engine)
    assert {halt(app, "a wrong one, long enough", OTHER).status_code for _ in range(30)} == {401}
    refused = halt(app, TOKEN, OTHER)
    assert (refused.status_code, error_of(refused)["code"]) == (429, "rate_limited")
    assert 1 <= int(refused.headers["Retry-After"]) <= 60
    assert engine.commands == []
    assert halt(app, TOKEN, TRADINGVIEW).status_code == 200


def test_who_sits_at_the_machine_can_halt_whatever_others_do_there() -> None:
    engine = FakeEngine()
    app = an_app(engine)
    assert {halt(app, "a wrong one, long enough", "127.0.0.1").status_code for _ in range(100)} == {401}
    assert halt(app, TOKEN, "127.0.0.1").status_code == 200


def test_right_tokens_are_not_counted() -> None:
    app = an_app(FakeEngine(), rate_limits={"failed_tokens": "1/hour"})
    assert {halt(app, TOKEN, OTHER).status_code for _ in range(20)} == {200}


def test_the_limit_of_tokens_can_be_taken_away() -> None:
    app = an_app(FakeEngine(), rate_limits={"failed_tokens": None})
    assert {halt(app, "a wrong one, long enough", OTHER).status_code for _ in range(50)} == {401}


def test_who_guesses_tokens_at_the_login_is_not_listened_to_either() -> None:
    client = an_app(FakeEngine(), rate_limits={"failed_tokens": "3/hour"}).test_client()

    def log_in(token: str, address: str) -> int:
        return client.post("/login", data={"token": token}, environ_base={"REMOTE_ADDR": address}).status_code

    assert [log_in("a wrong one, long enough", OTHER) for _ in range(4)] == [401, 401, 401, 429]
    assert log_in(TOKEN, OTHER) == 429
    assert log_in(TOKEN, TRADINGVIEW) == 303


def test_who_gives_no_token_is_not_counted_as_wrong() -> None:
    app = an_app(FakeEngine(), rate_limits={"failed_tokens": "1/hour"})
    looks = [app.test_client().get("/status", environ_base={"REMOTE_ADDR": OTHER}).status_code for _ in range(5)]
    assert looks == [401] * 5
    assert halt(app, TOKEN, OTHER).status_code == 200
