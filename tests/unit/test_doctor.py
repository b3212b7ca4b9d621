"""`doctor`'s checks one by one: each outcome, and that nothing is changed. The database's are in tests/integration."""

import errno
import json
import os
import socket
import sqlite3
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import Result

from core.errors import DatabaseAway
from live.doctor import machine
from live.doctor.configuration import Configuration
from live.doctor.findings import Finding, Outcome, findings_of, ok
from live.doctor.instance import Instance, check_webhook
from live.doctor.machine import check_clock, check_disk, check_port
from live.doctor.risk import check_risk
from live.doctor.secrets import bits_of, check_secrets
from live.doctor.services import check_broker, check_redis
from live.options import LiveOptions
from live.secrets import operator_token
from tests.command_line import run
from tests.fake_engine import FakeEngine, an_app
from tests.free_ports import free_ports
from tests.openalgo_server import API_KEY, OpenAlgoServer
from tests.redis_server import RedisServer, redis_server
from tests.waiting import Stopwatch

__all__ = ["redis_server"]

STRONG = "kPq3-vT8_zL0wXy7Rb2NcD5fGh1JmS4aEu6iOo9K"
NOW = datetime(2026, 1, 14, 6, 15, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _no_variables_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("PORTFOLIO_")]:
        monkeypatch.delenv(name)


def configuration(tmp_path: Path, given: dict[str, Any] | None = None, **options: Any) -> Configuration:
    file = tmp_path / "portfolio.json"
    file.write_text(json.dumps(given or {}))
    file.chmod(0o600)
    return Configuration(LiveOptions(**{"data_dir": tmp_path, "config": file, **options}), NOW.date())


def outcomes(findings: Iterator[Finding]) -> list[tuple[str, str]]:
    """How each ended, with all that is said."""
    return [(finding.outcome.value, f"{finding.found}; {finding.mend}") for finding in findings]


def only(findings: Iterator[Finding]) -> tuple[str, str]:
    (found,) = outcomes(findings)
    return found


# --- the running of checks


def test_checks_run_side_by_side_and_are_told_in_their_order() -> None:
    met = threading.Barrier(2, timeout=30)

    def meets(name: str) -> Iterator[Finding]:
        met.wait()
        yield ok(name, "")

    found = findings_of({"one": lambda: meets("one"), "two": lambda: meets("two")}, 60)
    assert [finding.check for finding in found] == ["one", "two"]


def test_a_check_that_hangs_fails_in_time_and_hides_nothing() -> None:
    forever = threading.Event()

    def hangs() -> Iterator[Finding]:
        yield ok("hangs", "so far")
        forever.wait()

    began = Stopwatch()
    found = findings_of({"hangs": hangs, "ends": lambda: [ok("ends", "")]}, 0.3)
    assert began.seconds < 30
    forever.set()
    assert [(finding.check, finding.outcome) for finding in found] == [
        ("hangs", Outcome.OK),
        ("hangs", Outcome.FAILED),
        ("ends", Outcome.OK),
    ]
    assert found[1].found == "no answer within 0.3 s"


@pytest.mark.parametrize("error", [DatabaseAway("it is gone"), ZeroDivisionError("it is gone")])
def test_a_check_that_stumbles_has_failed(error: Exception) -> None:
    def stumbles() -> Iterator[Finding]:
        yield ok("check", "so far")
        raise error

    found = findings_of({"check": stumbles}, 60)
    assert [finding.outcome for finding in found] == [Outcome.OK, Outcome.FAILED]
    assert "it is gone" in found[1].found


# --- configuration


def test_a_configuration_that_live_takes_is_ok(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORTFOLIO_LIMITS__RISK_PERCENT", "9")
    outcome, said = only(configuration(tmp_path).check())
    assert (outcome, "1 variables" in said) == ("ok", True)
    assert "the defaults" in only(configuration(tmp_path, config=None).check())[1]


@pytest.mark.parametrize(
    "given, part",
    [
        ({"limits": {"risc_percent": 1}}, "did you mean `risk_percent`"),
        ({"brokers": {"papr": {}}}, "`papr`"),
        ({"execution": {"fills": "paper"}, "brokers": {"use": "openalgo"}}, "`brokers.use`"),
        (
            {
                "contracts": {"rules": "/nonexistent"},
                "brokers": {"markets": {"GOLD_MINI": {"contracts": True, "exchange": "MCX"}}},
            },
            "/nonexistent",
        ),
        ({"portfolios": {"main": {"limits": {"risk_percent": 101}}}}, "less than or equal to 100"),
    ],
)
def test_what_live_would_refuse_has_failed_and_what_needs_it_is_skipped(
    tmp_path: Path, given: dict[str, Any], part: str
) -> None:
    found = configuration(tmp_path, given)
    outcome, said = only(found.check())
    assert (outcome, part in said) == ("failed", True), said
    found.settings = None
    services = (check_broker(found, lambda: NOW), check_redis(found), check_risk(found))
    for check in (*services, check_secrets(found, lambda: NOW)):
        assert only(check)[0] == "skipped"


# --- this machine


def test_the_clock_is_what_the_kernel_says(monkeypatch: pytest.MonkeyPatch) -> None:
    assert only(check_clock())[0] in ("ok", "warning", "skipped")

    class Library:
        def __init__(self, state: int) -> None:
            self.adjtimex = lambda _: state

    for state, expected in ((0, "ok"), (1, "ok"), (5, "warning"), (-1, "skipped")):
        monkeypatch.setattr(machine.ctypes, "CDLL", lambda _, state=state: Library(state))
        assert only(check_clock())[0] == expected
    monkeypatch.setattr(machine.ctypes, "CDLL", lambda _: object())
    assert only(check_clock())[0] == "skipped"


def test_a_disk_is_written_to_and_nothing_stays_there(tmp_path: Path) -> None:
    assert [outcome for outcome, _ in outcomes(check_disk(tmp_path))] == ["ok", "ok"]
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    assert only(check_disk(tmp_path / "data"))[0] == "skipped"
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("free, expected", [(3 * 1024**3, "ok"), (1024**3, "warning"), (1024**2, "failed")])
def test_a_disk_that_fills_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int, expected: str) -> None:
    usage = type("Usage", (), {"free": free})
    monkeypatch.setattr(machine.shutil, "disk_usage", lambda _: usage)
    assert outcomes(check_disk(tmp_path))[0][0] == expected


def test_a_disk_that_takes_nothing_has_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(machine.os, "fsync", refuse)
    outcome, said = outcomes(check_disk(tmp_path))[1]
    assert (outcome, "Input/output error" in said) == ("failed", True)


def test_a_slow_disk_is_warned_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([0.0, 0.4])
    monkeypatch.setattr(machine, "monotonic", lambda: next(times))
    assert outcomes(check_disk(tmp_path))[1][0] == "warning"


def test_a_port_is_free_ours_or_anothers(monkeypatch: pytest.MonkeyPatch) -> None:
    (port,) = free_ports(1)
    options = LiveOptions(port=port)
    instance = Instance.of(options.host, port, None, "main")
    assert only(check_port(options, instance))[0] == "ok"
    with socket.create_server(("127.0.0.1", port)):
        monkeypatch.setattr(Instance, "is_alive", lambda _: False)
        outcome, said = only(check_port(options, instance))
        assert (outcome, "something else" in said) == ("failed", True)
        monkeypatch.setattr(Instance, "is_alive", lambda _: True)
        assert only(check_port(options, instance))[0] == "ok"
    assert only(check_port(options, instance))[0] == "ok"


def test_an_address_that_is_not_ours_has_failed() -> None:
    for host in ("203.0.113.7", "no-such-host.invalid"):
        options = LiveOptions(host=host, port=5000)
        assert only(check_port(options, Instance.of(host, 5000, None, "main")))[0] == "failed"
    assert only(check_port(LiveOptions(port=0), Instance.of("127.0.0.1", 0, None, "main")))[0] == "skipped"


def test_a_port_that_this_user_may_not_have_has_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_cannot_bind", lambda *_: errno.EACCES)
    outcome, said = only(check_port(LiveOptions(port=80), Instance.of("127.0.0.1", 80, None, "main")))
    assert (outcome, "Permission denied" in said) == ("failed", True)


# --- the webhook


def answering(
    monkeypatch: pytest.MonkeyPatch, *answers: httpx.Response | httpx.TransportError
) -> list[tuple[str, str]]:
    """Whoever is asked gets these; what was asked."""
    asked: list[tuple[str, str]] = []
    left = iter(answers)

    def ask(_: Instance, method: str, path: str, body: bytes | None = None) -> httpx.Response:
        asked.append((method, path))
        answer = next(left)
        if isinstance(answer, httpx.TransportError):
            raise answer
        return answer

    monkeypatch.setattr(Instance, "ask", ask)
    return asked


def error(status: int, code: str) -> httpx.Response:
    return httpx.Response(status, json={"error": {"code": code, "message": ""}})


HERE = Instance.of("0.0.0.0", 5000, None, "main")
OUTSIDE = Instance.of("127.0.0.1", 5000, "https://alerts.example.com", "alpha")


def test_the_alert_that_is_sent_is_refused_by_the_engine_and_reaches_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = FakeEngine()
    client = an_app(engine).test_client()

    def ask(_: Instance, method: str, path: str, body: bytes | None = None) -> httpx.Response:
        answer = client.open(path, method=method, data=body)
        return httpx.Response(answer.status_code, content=answer.data)

    monkeypatch.setattr(Instance, "ask", ask)
    assert only(check_webhook(HERE))[0] == "ok"
    assert engine.signals == []
    assert HERE.is_alive()


@pytest.mark.parametrize(
    "answer, expected",
    [
        (error(400, "malformed"), "ok"),
        (error(401, "unauthorized"), "ok"),
        (error(403, "forbidden_address"), "warning"),
        (error(404, "unknown_portfolio"), "failed"),
        (error(429, "too_many"), "warning"),
        (error(503, "not_ready"), "warning"),
        (httpx.Response(502, text="<html>Bad Gateway</html>"), "failed"),
        (httpx.Response(403, text="<html>Forbidden</html>"), "failed"),
        (httpx.Response(301), "failed"),
        (httpx.Response(200, json=["hello"]), "failed"),
    ],
)
def test_what_answers_there_is_judged(monkeypatch: pytest.MonkeyPatch, answer: httpx.Response, expected: str) -> None:
    asked = answering(monkeypatch, answer)
    assert only(check_webhook(HERE))[0] == expected
    assert asked == [("POST", "/webhook")]


def test_nobody_there_is_no_failure_unless_an_address_was_named(monkeypatch: pytest.MonkeyPatch) -> None:
    answering(monkeypatch, httpx.ConnectError("refused"), httpx.ConnectError("certificate verify failed"))
    assert only(check_webhook(HERE))[0] == "skipped"
    outcome, said = only(check_webhook(OUTSIDE))
    assert (outcome, "certificate verify failed" in said) == ("failed", True)


def test_a_slow_answer_is_warned_of(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([0.0, 2.0])
    monkeypatch.setattr("live.doctor.instance.monotonic", lambda: next(times))
    answering(monkeypatch, error(400, "malformed"))
    assert only(check_webhook(HERE))[0] == "warning"


def test_from_outside_only_the_webhook_may_be_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = answering(monkeypatch, error(400, "malformed"), httpx.Response(404, text="not found"))
    assert [outcome for outcome, _ in outcomes(check_webhook(OUTSIDE))] == ["ok"]
    assert asked == [("POST", "/webhook/alpha"), ("GET", "/status")]
    answering(monkeypatch, error(400, "malformed"), httpx.Response(200, json={"closed_equity": "1"}))
    assert outcomes(check_webhook(OUTSIDE))[1][0] == "failed"
    answering(monkeypatch, error(400, "malformed"), httpx.ReadTimeout(""))
    assert len(outcomes(check_webhook(OUTSIDE))) == 1


@pytest.mark.parametrize("status, expected", [(403, "warning"), (404, "warning"), (502, "failed")])
def test_from_outside_a_proxy_may_keep_us_out(monkeypatch: pytest.MonkeyPatch, status: int, expected: str) -> None:
    answering(monkeypatch, httpx.Response(status, text="<html>"), httpx.Response(404))
    assert only(check_webhook(OUTSIDE))[0] == expected


def test_from_outside_it_is_https_on_a_port_that_tradingview_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    answering(monkeypatch, error(400, "malformed"), httpx.Response(404))
    plain = Instance.of("127.0.0.1", 5000, "http://alerts.example.com:8080", "main")
    assert [outcome for outcome, _ in outcomes(check_webhook(plain))] == ["ok", "warning", "failed"]


def test_an_instance_is_asked_where_this_machine_reaches_it() -> None:
    assert HERE.url == "http://127.0.0.1:5000"
    assert Instance.of("::", 1, None, "main").url == "http://[::1]:1"
    assert HERE.is_here
    assert not OUTSIDE.is_here
    (port,) = free_ports(1)
    assert not Instance.of("127.0.0.1", port, None, "main").is_alive()


# --- the broker


OPENALGO = {"brokers": {"openalgo": {"api_key": API_KEY}}}


def broker_found(tmp_path: Path, given: dict[str, Any], broker: str = "paper") -> list[tuple[str, str]]:
    found = configuration(tmp_path, given, broker=broker)
    assert found.settings is not None
    return outcomes(check_broker(found, lambda: NOW))


def test_openalgo_is_asked_for_the_accounts_funds_and_nothing_is_sent(tmp_path: Path) -> None:
    with OpenAlgoServer() as server:
        settings = {"url": server.url, "api_key": API_KEY}
        assert broker_found(tmp_path, {"brokers": {"openalgo": settings}}, "openalgo")[0][0] == "ok"
        assert {endpoint for endpoint, _ in server.requests} == {"analyzer", "funds"}
        outcome, said = broker_found(tmp_path, {"brokers": {"openalgo": {**settings, "analyze": True}}}, "openalgo")[0]
        assert (outcome, "is in live mode" in said) == ("failed", True)
        outcome, said = broker_found(tmp_path, {"brokers": {"openalgo": {**settings, "api_key": "wrong"}}}, "openalgo")[
            0
        ]
        assert outcome == "failed"
        assert "wrong" not in said


def test_a_broker_that_is_away_has_failed(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    settings = {"url": f"http://127.0.0.1:{port}", "api_key": API_KEY}
    outcome, said = broker_found(tmp_path, {"brokers": {"openalgo": settings}}, "openalgo")[0]
    assert (outcome, "is not reached" in said, API_KEY in said) == ("failed", True, False)


def test_a_venue_that_ccxt_does_not_know_has_failed(tmp_path: Path) -> None:
    given = {"brokers": {"ccxt": {"venue": "no_such_venue", "symbols": ["BTC/USDT"]}}}
    outcome, said = broker_found(tmp_path, given, "ccxt")[0]
    assert (outcome, "no_such_venue" in said) == ("failed", True)


def test_the_paper_brokers_book_is_read_and_left_as_it_is(tmp_path: Path) -> None:
    given = {"execution": {"fills": "broker"}}
    assert broker_found(tmp_path, {})[0][0] == "ok"
    assert broker_found(tmp_path, given)[0][0] == "skipped"
    folder = tmp_path / "broker" / "main"
    folder.mkdir(parents=True)
    with closing(sqlite3.connect(folder / "paper.sqlite")) as book:
        book.execute("PRAGMA journal_mode = WAL")
        book.execute("CREATE TABLE orders (number INTEGER)")
        book.execute("INSERT INTO orders VALUES (1)")
        book.commit()
        there = sorted(folder.iterdir())
        # In use, what is not in the file yet counts too.
        outcome, said = broker_found(tmp_path, given)[0]
        assert (outcome, "with 1 orders" in said) == ("ok", True)
        assert sorted(folder.iterdir()) == there
    (folder / "paper.sqlite").write_bytes(b"no book at all")
    assert broker_found(tmp_path, given)[0][0] == "failed"


def test_the_switch_that_stops_orders_is_warned_of(tmp_path: Path) -> None:
    (tmp_path / "broker").mkdir()
    (tmp_path / "broker" / "STOP").touch()
    assert [outcome for outcome, _ in broker_found(tmp_path, {})] == ["ok", "warning"]


# --- Redis


def test_what_days_are_reckoned_with_is_looked_for_where_that_is_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    off, on = configuration(tmp_path), configuration(tmp_path, {"risk": {"enabled": True}})
    assert only(check_risk(off)) == ("skipped", "`risk.enabled` is off: days are reckoned by `risk batch` only; ")
    assert only(check_risk(on))[0] == "ok"
    for missing in ("numpy", "pyarrow"):
        monkeypatch.setitem(sys.modules, missing, None)
    mend = "pip install --requirement requirements-risk.txt --requirement requirements-book.txt"
    assert only(check_risk(on)) == ("failed", f"days cannot be reckoned: numpy, pyarrow not installed; {mend}")


def test_redis_is_asked_where_it_is_configured(tmp_path: Path, redis_server: RedisServer) -> None:
    assert only(check_redis(configuration(tmp_path)))[0] == "skipped"
    found = configuration(tmp_path, {"leadership": {"redis_url": redis_server.url}})
    outcome, said = only(check_redis(found))
    assert (outcome, said.startswith("Redis ")) == ("ok", True)
    redis_server.stop()
    assert only(check_redis(found))[0] == "warning"


# --- secrets


def secrets_found(tmp_path: Path, given: dict[str, Any], **options: Any) -> list[tuple[str, str]]:
    return outcomes(check_secrets(configuration(tmp_path, given, **options), lambda: NOW))


@pytest.mark.parametrize(
    "secret, host, expected",
    [
        (None, "127.0.0.1", "warning"),
        (None, "0.0.0.0", "failed"),
        ("replace-this-at-least-8-characters", "127.0.0.1", "failed"),
        ("password", "127.0.0.1", "warning"),
        ("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "127.0.0.1", "warning"),
        (STRONG, "0.0.0.0", "ok"),
    ],
)
def test_a_webhook_secret_is_judged_and_never_shown(
    tmp_path: Path, secret: str | None, host: str, expected: str
) -> None:
    found = secrets_found(tmp_path, {"webhook_secret": secret}, host=host)
    assert found[0][0] == expected
    assert secret is None or all(secret not in said for _, said in found)


def test_the_operators_token_is_judged_wherever_it_is(tmp_path: Path) -> None:
    given = {"webhook_secret": STRONG}
    assert secrets_found(tmp_path, given)[1][0] == "skipped"
    assert not (tmp_path / "operator.token").exists()
    operator_token(tmp_path, None)
    assert secrets_found(tmp_path, given)[1][0] == "ok"
    (tmp_path / "operator.token").chmod(0o644)
    outcome, said = secrets_found(tmp_path, given)[1]
    assert (outcome, "mode 0644" in said) == ("failed", True)
    assert (
        secrets_found(tmp_path, {**given, "operator_token": "correct horse".replace(" ", "-") + "-abc"})[1][0]
        == "warning"
    )


def test_a_secret_in_a_file_and_the_one_before_it_are_judged_too(tmp_path: Path) -> None:
    file = tmp_path / "webhook.secret"
    file.write_text(STRONG)
    file.chmod(0o600)
    given = {"webhook_secret_file": str(file), "webhook_secret_previous": "password"}
    found = secrets_found(tmp_path, {**given, "webhook_secret_previous_until": "2026-01-15T00:00:00Z"})
    assert [outcome for outcome, _ in found] == ["ok", "warning", "skipped"]
    file.chmod(0o644)
    outcome, said = secrets_found(tmp_path, {"webhook_secret_file": str(file)})[0]
    assert (outcome, "mode 0644" in said) == ("failed", True)


def test_one_secret_for_both_has_failed(tmp_path: Path) -> None:
    found = secrets_found(tmp_path, {"webhook_secret": STRONG, "operator_token": STRONG})
    assert [outcome for outcome, _ in found] == ["ok", "ok", "failed"]


def test_the_secret_of_links_is_looked_at_where_one_is_given(tmp_path: Path) -> None:
    given = {"webhook_secret": STRONG, "public_url": "https://portfolio.example.com"}
    assert len(secrets_found(tmp_path, given)) == 2  # what `live` makes itself is strong
    assert secrets_found(tmp_path, {**given, "link_secret": STRONG})[2][0] == "ok"
    weak, said = secrets_found(tmp_path, {**given, "link_secret": "aaaaaaaaaaaaaaaaaaaa"})[2]
    assert (weak, "can be guessed" in said) == ("warning", True)
    outcome, said = secrets_found(tmp_path, {"webhook_secret": STRONG, "link_secret": STRONG})[3]
    assert (outcome, "public_url" in said) == ("warning", True)


def test_files_with_secrets_that_others_may_read_are_warned_of(tmp_path: Path) -> None:
    database = tmp_path / "database.json"
    database.write_text(json.dumps({"local": {"password": "${PM_DB_PASSWORD}"}}))
    database.chmod(0o644)
    found = configuration(tmp_path, {"webhook_secret": STRONG}, db_config=database)
    assert found.options.config is not None
    assert len(outcomes(check_secrets(found, lambda: NOW))) == 2
    found.options.config.chmod(0o644)
    database.write_text(json.dumps({"local": {"password": "in the clear"}}))
    warned = outcomes(check_secrets(found, lambda: NOW))[2:]
    assert [outcome for outcome, _ in warned] == ["warning", "warning"]
    assert str(found.options.config) in warned[0][1]
    assert str(database) in warned[1][1]
    assert "in the clear" not in str(warned)


def test_what_a_secret_tells_is_its_length_times_its_characters() -> None:
    assert bits_of("") == bits_of("aaaa") == 0
    assert bits_of("abab") == 4
    assert bits_of(STRONG) > 190


# --- the command


def doctor(*arguments: str) -> Result:
    (port,) = free_ports(1)
    return run("doctor", "--port", str(port), *arguments)


def test_the_command_tells_each_finding_on_a_line_and_changes_nothing(tmp_path: Path) -> None:
    result = doctor("--data-dir", str(tmp_path / "data"))
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert any(line.startswith("ok       configuration: ") for line in lines)
    assert any(line.startswith("skipped  database: ") for line in lines)
    assert ", 0 failed, " in lines[-1]
    assert "\x1b" not in result.stdout
    assert list(tmp_path.iterdir()) == []


def test_the_command_fails_where_a_check_does_and_says_how_to_mend_it(tmp_path: Path) -> None:
    config = tmp_path / "portfolio.toml"
    config.write_text("limits = 3")
    result = doctor("--data-dir", str(tmp_path / "data"), "--config", str(config), "--json")
    assert result.exit_code == 1
    told = json.loads(result.stdout)
    first = told["findings"][0]
    assert (first["check"], first["outcome"]) == ("configuration", "failed")
    assert "docs/configuration.md" in first["mend"]
    assert told["failed"] == sum(finding["outcome"] == "failed" for finding in told["findings"])


def test_a_public_address_is_looked_at_that_is_no_url() -> None:
    assert doctor("--url", "alerts.example.com").exit_code == 2
