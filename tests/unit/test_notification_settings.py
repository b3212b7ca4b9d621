"""Settings of notifications: what is refused, where URLs come from, and that they are shown nowhere."""

import json
from pathlib import Path
from typing import Any

import pytest

from core.config import load_file_settings
from core.errors import ConfigurationError
from core.notifications import Level
from tests.command_line import run
from tests.receiver import a_receiver

SECRET = "tgram://123456789:abcdefg_hijklmnop/12315544"


def loaded(tmp_path: Path, notifications: dict[str, Any], **others: Any) -> Any:
    file = tmp_path / "portfolio.json"
    file.write_text(json.dumps({"notifications": notifications, **others}), encoding="utf-8")
    return load_file_settings(file)


@pytest.mark.parametrize(
    "channel, words",
    [
        ({}, "needs `url` or `url_file`"),
        ({"url": SECRET, "url_file": "x"}, "not both"),
        ({"url": SECRET, "least_level": "loud"}, "'info', 'warning', 'error' or 'critical'"),
        ({"url": SECRET, "most_per_minute": 0}, "greater than or equal to 1"),
        ({"url": SECRET, "quiet": {"begins": "22:00", "ends": "22:00"}}, "are the same"),
        ({"url": SECRET, "quiet": {"begins": "22:00", "ends": "07:00", "timezone": "Here"}}, "no IANA time zone"),
        ({"url": SECRET, "least": "info"}, "did you mean `least_level`?"),
    ],
)
def test_a_channel_that_cannot_be_is_refused_by_its_name_and_rule(
    tmp_path: Path, channel: dict[str, Any], words: str
) -> None:
    with pytest.raises(ConfigurationError) as refused:
        loaded(tmp_path, {"channels": {"phone": channel}})
    assert "notifications.channels.phone" in str(refused.value)
    assert words in str(refused.value)
    assert SECRET not in str(refused.value)


@pytest.mark.parametrize("name", ["Phone", "1", "", "a" * 41, "a b"])
def test_a_channels_name_is_one_that_a_row_can_hold(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigurationError):
        loaded(tmp_path, {"channels": {name: {"url": SECRET}}})


def test_a_url_comes_from_a_file_or_the_environment_and_is_shown_nowhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "phone.url").write_text(f"{SECRET}\n", encoding="utf-8")
    monkeypatch.setenv("PORTFOLIO_NOTIFICATIONS__CHANNELS__MAIL__URL", SECRET)
    found = loaded(tmp_path, {"channels": {"phone": {"url_file": str(tmp_path / "phone.url")}}}).notifications
    assert {name: channel.secret(name) for name, channel in found.channels.items()} == {"phone": SECRET, "mail": SECRET}
    assert SECRET not in repr(found)
    assert SECRET not in repr(found.channels)


@pytest.mark.parametrize("content", [None, "", " \n"])
def test_a_file_without_a_url_is_refused_by_its_name(tmp_path: Path, content: str | None) -> None:
    file = tmp_path / "phone.url"
    if content is not None:
        file.write_text(content, encoding="utf-8")
    channel = loaded(tmp_path, {"channels": {"phone": {"url_file": str(file)}}}).notifications.channels["phone"]
    with pytest.raises(ConfigurationError, match=str(file)):
        channel.secret("notifications.channels.phone")


def test_a_portfolio_has_channels_of_its_own_over_the_common_ones(tmp_path: Path) -> None:
    own = {"notifications": {"channels": {"phone": {"least_level": "critical"}, "mail": {"url": "json://there"}}}}
    found = loaded(tmp_path, {"channels": {"phone": {"url": SECRET}}}, portfolios={"alpha": own})
    alpha = found.of("alpha").notifications.channels
    assert {name: channel.least_level for name, channel in alpha.items()} == {
        "phone": Level.CRITICAL,
        "mail": Level.INFO,
    }
    assert alpha["phone"].secret("phone") == SECRET
    assert set(found.of("beta").notifications.channels) == {"phone"}


def test_a_heartbeat_is_an_http_url_with_the_portfolios_name_in_it(tmp_path: Path) -> None:
    given = {"heartbeat": {"url": "https://hc.example/{portfolio}"}}
    assert loaded(tmp_path, given).notifications.heartbeat.address("alpha") == "https://hc.example/alpha"
    assert loaded(tmp_path, {}).notifications.heartbeat.address("alpha") is None
    with pytest.raises(ConfigurationError, match="must begin with http"):
        loaded(tmp_path, {"heartbeat": {"url": "file:///etc/passwd"}}).notifications.heartbeat.address("alpha")


# --- the command


def test_notify_lists_channels_without_their_urls_and_tests_them_when_asked(tmp_path: Path) -> None:
    with a_receiver() as receiver:
        channels = {"phone": {"url": receiver.url, "quiet": {"begins": "22:00", "ends": "07:00"}}}
        loaded(tmp_path, {"channels": channels, "heartbeat": {"url": f"http://{receiver.address}/ping"}})
        config = ("--config", str(tmp_path / "portfolio.json"))
        listed = run("notify", *config)
        assert listed.exit_code == 0
        assert "22:00-07:00 Asia/Kolkata" in listed.stdout
        assert (receiver.got, receiver.calls) == ([], [])
        tested = run("notify", *config, "--test", "--json")
        assert tested.exit_code == 0
        assert [(row["channel"], row["came_back"]) for row in json.loads(tested.stdout)] == [
            ("phone", "taken"),
            ("heartbeat", "taken"),
        ]
        assert (len(receiver.got), receiver.calls) == (1, ["/ping"])
        receiver.status = 503
        refused = run("notify", *config, "--test")
        assert refused.exit_code == 1
        assert "not taken: phone, heartbeat" in refused.stderr
        assert "503" in refused.stdout
        assert "a-secret-path" not in refused.output + listed.output


def test_notify_says_where_nobody_is_told_anything() -> None:
    result = run("notify")
    assert (result.exit_code, result.stdout) == (
        0,
        "nobody is told anything: `notifications` is not configured\n",
    )
