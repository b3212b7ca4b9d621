"""Who may send an alert: in the body, in the address, by a signature; from files; with the secret before it for a while."""

import hashlib
import hmac
import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from core.config import FileSettings, load_file_settings
from core.errors import ConfigurationError
from live import secret_files, webhook_secrets
from live.secret_files import secret_from
from live.webhook_secrets import Credential, SenderRefused, WebhookSecrets, signature_of
from tests.builders import NOON
from tests.engines import Clock

SECRET, BEFORE = "the-secret-now", "the-secret-before"
BODY = b'{"type": "EXIT"}'
SECONDS = int(NOON.timestamp())


def secrets(*places: Any, **options: Any) -> WebhookSecrets:
    return WebhookSecrets(clock=lambda: NOON, current=SECRET, places=places or ("body",), **options)


def signed(secret: str = SECRET, at: object = SECONDS, body: bytes = BODY) -> dict[str, str]:
    text = f"{at}.".encode() + body
    return {
        "X_TIMESTAMP": str(at),
        "X_SIGNATURE": "sha256=" + hmac.new(secret.encode(), text, hashlib.sha256).hexdigest(),
    }


def refusal(asked: Callable[[], Any]) -> SenderRefused:
    with pytest.raises(SenderRefused) as caught:
        asked()
    assert SECRET not in str(caught.value)
    return caught.value


# --- the places


def test_the_bodys_secret_is_asked_for_where_nothing_else_was_shown() -> None:
    assert secrets("path", "signature", "body").accepts_before_the_body({}, None, BODY) is False
    secrets().require_in_body(SECRET, "secret")


@pytest.mark.parametrize(
    "given, rule", [(None, "is required"), ("", "is wrong"), (SECRET + "x", "is wrong"), ("\ud800é", "is wrong")]
)
def test_a_wrong_secret_in_the_body_is_refused_by_the_senders_name_for_it(given: str | None, rule: str) -> None:
    error = refusal(lambda: secrets().require_in_body(given, "apikey"))
    assert (error.field, str(error)) == ("apikey", f"`apikey` {rule}")


def test_the_secret_in_the_address_is_enough_where_it_is_taken() -> None:
    assert secrets("path").accepts_before_the_body({}, SECRET, BODY)
    assert secrets("body", "path").accepts_before_the_body({}, SECRET, BODY)


@pytest.mark.parametrize(
    "places, token", [(("path",), "wrong"), (("path",), "é"), (("body",), SECRET), (("body",), "x")]
)
def test_a_secret_in_the_address_that_is_wrong_or_not_taken_is_refused_alike(places: Any, token: str) -> None:
    error = refusal(lambda: secrets(*places).accepts_before_the_body({}, token, BODY))
    assert str(error) == "the secret in the address is wrong, or not taken there"


@pytest.mark.parametrize(
    "places, told",
    [(("path",), "in the address"), (("signature",), "`X-Signature` is required"), (("signature", "path"), "`X-Sig")],
)
def test_where_the_body_may_not_show_it_something_else_has_to(places: Any, told: str) -> None:
    assert told in str(refusal(lambda: secrets(*places).accepts_before_the_body({}, None, BODY)))


# --- signatures


def test_a_signature_over_time_and_body_is_enough() -> None:
    assert secrets("signature").accepts_before_the_body(signed(), None, BODY)
    assert secrets("signature", "body").accepts_before_the_body(signed(), None, BODY)
    upper = {name: value.upper().replace("SHA", "sha") for name, value in signed().items()}
    assert secrets("signature").accepts_before_the_body(upper, None, BODY)


@pytest.mark.parametrize("seconds, taken", [(-301, False), (-300, True), (0, True), (300, True), (301, False)])
def test_a_signature_of_another_time_is_taken_within_the_window_only(seconds: int, taken: bool) -> None:
    headers = signed(at=SECONDS + seconds)
    if taken:
        assert secrets("signature").accepts_before_the_body(headers, None, BODY)
    else:
        error = refusal(lambda: secrets("signature").accepts_before_the_body(headers, None, BODY))
        assert (error.field, "more than 300 s from now" in str(error)) == ("X-Timestamp", True)


@pytest.mark.parametrize(
    "headers",
    [
        signed("another-secret"),
        signed(body=BODY + b" "),
        signed() | {"X_TIMESTAMP": str(SECONDS + 1)},
        signed() | {"X_SIGNATURE": signed()["X_SIGNATURE"].removeprefix("sha256=")},
        signed() | {"X_SIGNATURE": ""},
        signed() | {"X_SIGNATURE": "é"},
        signed() | {"X_TIMESTAMP": ""},
        signed(at="now"),
        signed(at=f"{SECONDS}.0"),
        signed(at="9" * 20),
        {"X_SIGNATURE": signed()["X_SIGNATURE"]},
    ],
)
def test_a_signature_of_anything_else_is_refused_and_a_right_address_does_not_mend_it(headers: dict[str, str]) -> None:
    both = secrets("signature", "path")
    refusal(lambda: both.accepts_before_the_body(headers, SECRET, BODY))


def test_a_signature_that_is_not_asked_for_is_not_looked_at() -> None:
    assert secrets("body").accepts_before_the_body(signed("another"), None, BODY) is False


@pytest.mark.parametrize("places", [("body",), ("path",), ("signature",), ("path", "signature")])
def test_what_we_show_ourselves_is_accepted(places: Any) -> None:
    ours, theirs = Credential.of(SECRET, places, lambda: NOON), secrets(*places)
    headers = {name.upper().replace("-", "_"): value for name, value in ours.headers(BODY).items()}
    if theirs.accepts_before_the_body(headers, ours.below().removeprefix("/") or None, BODY) is False:
        assert ours.place == "body"
    assert SECRET not in repr(ours) + repr(theirs)


def test_every_comparison_is_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[bytes, bytes]] = []
    real = hmac.compare_digest
    monkeypatch.setattr(webhook_secrets.hmac, "compare_digest", lambda a, b: compared.append((a, b)) or real(a, b))
    every = secrets("body", "path", "signature", previous=BEFORE, previous_until=NOON + timedelta(hours=1))
    every.require_in_body(SECRET, "secret")
    every.accepts_before_the_body({}, SECRET, BODY)
    every.accepts_before_the_body(signed(), None, BODY)
    # Each looks at both, whichever is right.
    text = f"{SECONDS}.".encode() + BODY
    both = [SECRET.encode(), BEFORE.encode()]
    assert [a for a, _ in compared] == [*both, *both, *(signature_of(s, text).encode() for s in (SECRET, BEFORE))]


# --- the secret before it


def test_the_secret_before_it_is_taken_everywhere_until_its_time_and_refused_from_then_on() -> None:
    clock = Clock(NOON)
    rotated = WebhookSecrets(
        clock=clock,
        current=SECRET,
        places=("body", "path", "signature"),
        previous=BEFORE,
        previous_until=NOON + timedelta(seconds=60),
    )

    def all_three(secret: str) -> None:
        rotated.require_in_body(secret, "secret")
        rotated.accepts_before_the_body({}, secret, BODY)
        rotated.accepts_before_the_body(signed(secret), None, BODY)

    all_three(SECRET)
    all_three(BEFORE)
    clock.forward(seconds=59.999)
    all_three(BEFORE)
    clock.forward(seconds=0.001)
    all_three(SECRET)
    refusal(lambda: rotated.require_in_body(BEFORE, "secret"))
    refusal(lambda: rotated.accepts_before_the_body({}, BEFORE, BODY))
    refusal(lambda: rotated.accepts_before_the_body(signed(BEFORE), None, BODY))


# --- what is configured


@pytest.fixture
def file(tmp_path: Path) -> Callable[..., Path]:
    def made(content: str | bytes, mode: int = 0o600, name: str = "secret") -> Path:
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        path.chmod(mode)
        return path

    return made


def of(**given: Any) -> WebhookSecrets | None:
    return WebhookSecrets.of(FileSettings(**given), lambda: NOON)


def test_without_a_secret_nobody_has_to_show_one() -> None:
    assert of() is None


def test_secrets_come_from_the_configuration_or_from_files(file: Callable[..., Path]) -> None:
    until = NOON + timedelta(days=1)
    now, before = file(f"{SECRET}\n"), file(f"{BEFORE}\r\n", 0o400, "before")
    from_files = of(
        webhook_secret_file=now, webhook_secret_previous_file=before, webhook_secret_previous_until=until.isoformat()
    )
    given = of(webhook_secret=SECRET, webhook_secret_previous=BEFORE, webhook_secret_previous_until=until)
    assert from_files is not None
    assert given is not None
    assert (from_files.current, from_files.previous, from_files.previous_until) == (SECRET, BEFORE, until)
    assert (given.current, given.previous, given.previous_until) == (SECRET, BEFORE, until)


@pytest.mark.parametrize(
    "content, mode, told",
    [
        (SECRET, 0o640, "mode 0640"),
        (SECRET, 0o604, "mode 0604"),
        (SECRET, 0o620, "mode 0620"),
        ("short", 0o600, "one line of 8 to 1000 characters"),
        ("", 0o600, "one line"),
        ("two lines\nof it", 0o600, "one line"),
        (b"\xff" * 10, 0o600, "one line"),
        ("x" * 1001, 0o600, "one line"),
    ],
)
def test_a_file_that_others_can_use_or_that_holds_no_secret_is_refused(
    content: str | bytes, mode: int, told: str, file: Callable[..., Path]
) -> None:
    path = file(content, mode)
    with pytest.raises(ConfigurationError) as caught:
        of(webhook_secret_file=path)
    assert "`webhook_secret_file`" in str(caught.value)
    assert str(path) in str(caught.value)
    assert told in str(caught.value)
    assert SECRET not in str(caught.value)


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    for path, told in ((tmp_path, "must be a file"), (tmp_path / "nothing", "cannot be read: No such file")):
        with pytest.raises(ConfigurationError, match=told):
            of(webhook_secret_file=path)


def test_others_may_read_what_systemd_or_docker_mounts_but_not_change_it(
    file: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    path = file(SECRET, 0o444)
    with pytest.raises(ConfigurationError, match="mode 0444"):
        secret_from(path, "name", 8)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(path.parent))
    assert secret_from(path, "name", 8) == SECRET
    monkeypatch.delenv("CREDENTIALS_DIRECTORY")
    monkeypatch.setattr(secret_files, "_MOUNTED", path.parent)
    assert secret_from(path, "name", 8) == SECRET
    path.chmod(0o446)
    with pytest.raises(ConfigurationError, match="mode 0446"):
        secret_from(path, "name", 8)


@pytest.mark.parametrize("secret", ["with spaces", "a/slash/in/it", "percent%20", "schön-und-gut"])
def test_a_secret_that_does_not_fit_into_an_address_is_refused_where_it_is_to_be_there(secret: str) -> None:
    assert of(webhook_secret=secret) is not None
    with pytest.raises(ConfigurationError, match="webhook_secret_in") as caught:
        of(webhook_secret=secret, webhook_secret_in=["path"])
    assert secret not in str(caught.value)


@pytest.mark.parametrize(
    "given, told",
    [
        ({"webhook_secret": SECRET, "webhook_secret_file": "f"}, "both given"),
        ({"webhook_secret": SECRET, "webhook_secret_previous": BEFORE}, "go together"),
        ({"webhook_secret": SECRET, "webhook_secret_previous_until": "2026-01-14T06:15:00Z"}, "go together"),
        (
            {"webhook_secret_previous": BEFORE, "webhook_secret_previous_until": "2026-01-14T06:15:00Z"},
            "which is not given",
        ),
        (
            {
                "webhook_secret": SECRET,
                "webhook_secret_previous": BEFORE,
                "webhook_secret_previous_until": "2026-01-14T06:15:00",
            },
            "timezone",
        ),
        ({"webhook_secret": SECRET, "webhook_secret_in": []}, "at least 1"),
        ({"webhook_secret": SECRET, "webhook_secret_in": ["header"]}, "'body', 'path' or 'signature'"),
    ],
)
def test_settings_of_secrets_that_do_not_fit_together_are_refused(
    given: dict[str, Any], told: str, tmp_path: Path
) -> None:
    file = tmp_path / "config.json"
    file.write_text(json.dumps(given))
    with pytest.raises(ConfigurationError) as caught:
        load_file_settings(file)
    assert told in str(caught.value)
    assert SECRET not in str(caught.value)
    assert BEFORE not in str(caught.value)


def test_a_portfolio_with_a_secret_of_its_own_takes_none_that_is_set_for_all(file: Callable[..., Path]) -> None:
    common = {
        "webhook_secret": SECRET,
        "webhook_secret_previous": BEFORE,
        "webhook_secret_previous_until": NOON,
        "webhook_secret_in": ["path"],
    }
    settings = FileSettings(
        **common,
        portfolios={
            "alpha": {"webhook_secret_file": str(file("of-alpha-alone"))},
            "beta": {"webhook_secret_previous": "of-beta-before", "webhook_secret_previous_until": NOON.isoformat()},
            "gamma": {"webhook_secret_in": ["body"]},
        },
    )
    found = {name: WebhookSecrets.of(settings.of(name), lambda: NOON) for name in ("alpha", "beta", "gamma")}
    assert {name: each and (each.current, each.previous, each.places) for name, each in found.items()} == {
        "alpha": ("of-alpha-alone", None, ("path",)),
        "beta": (SECRET, "of-beta-before", ("path",)),
        "gamma": (SECRET, BEFORE, ("body",)),
    }
    assert SECRET not in repr(settings)
