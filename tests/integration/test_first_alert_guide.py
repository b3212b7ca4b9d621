"""docs/guides/first-alert.md: its commands are run in their order, from nothing to an alert that is decided."""

import re
import shlex
import subprocess
from pathlib import Path

from core.config import load_file_settings
from tests.command_line import run
from tests.integration.test_docs import Block, Shell, a_free_port, block, blocks_of, folder, shell

__all__ = ["folder", "shell"]
GUIDE = "docs/guides/first-alert.md"
INSTALLS = "syntax only, it installs"
_TO_ENGINE = re.compile(r"(portfolio_manager\.py (?:send|watch)\b(?! --dry-run))")


def terminal_two() -> list[Block]:
    return [found for found in blocks_of(GUIDE) if found.how == "terminal two"]


def test_the_guides_commands_lead_from_nothing_to_an_alert_that_is_decided(shell: Shell) -> None:
    port = a_free_port()

    def mapped(text: str) -> str:
        text = re.sub(r"(portfolio_manager\.py (?:live|doctor)\b)", rf"\1 --port {port}", text)
        return _TO_ENGINE.sub(rf"\1 --url http://127.0.0.1:{port}", text)

    shell.mapped = mapped
    looked, alert, seen = terminal_two()
    with shell.serving(block(GUIDE, "terminal one")) as served:
        told = shell.run(looked)
        assert ", 0 failed, " in told
        assert "ok       webhook: " in told
        assert "the webhook's secret is hard to guess" in told
        # The secrets come from the file, as in the block before.
        secrets = Block("bash", "", f"set -a; . ./config/portfolio.env; set +a\n{alert.text}", alert.place)
        told = shell.run(secrets)
        assert told.count("MARKET_DATA  BANK_NIFTY") == 2
        assert "trading  leads, term 1" in told
        assert "MARKET_DATA" in shell.run(seen)
        found = block(GUIDE, "watches")
        assert "trading  leads" in shell.run(
            Block("bash", "", found.text.replace("watch", "watch --once"), found.place)
        )
        status, _ = _without_secret(served.url)
        assert status == "401"
    assert served.process.returncode == 0


def _without_secret(url: str) -> tuple[str, str]:
    alert = '{"type":"MARKET_DATA","instrument":"BANK_NIFTY","price":1,"atr":1,"timestamp":"2026-01-14T06:15:00Z"}'
    command = [
        "curl",
        "--silent",
        "--output",
        "/dev/null",
        "--write-out",
        "%{http_code}",
        "--data",
        alert,
        f"{url}/webhook",
    ]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout, alert


def test_what_the_guide_says_of_the_configuration_is_taken(tmp_path: Path) -> None:
    file = tmp_path / "portfolio.toml"
    file.write_text(block(GUIDE, "valid settings").text, encoding="utf-8")
    assert load_file_settings(file).trusted_proxies == ("127.0.0.1",)


def test_the_guides_look_from_outside_is_understood() -> None:
    (command,) = block(GUIDE, "understood").text.splitlines()
    given = shlex.split(command)[2:]
    (elsewhere,) = [word for word in given if word.startswith("https://")]
    result = run(*given[:-1], "http://127.0.0.1:9", "--data-dir", "/nonexistent", "--port", "0")
    assert elsewhere == "https://alerts.example.com"
    assert "http://127.0.0.1:9 is not reached" in result.stdout
    assert result.exit_code == 1


def test_every_command_of_the_guide_is_run_or_installs_something() -> None:
    run_above = {"terminal one", "terminal two", "watches", "understood"}
    for found in blocks_of(GUIDE):
        if found.language == "bash" and found.how not in run_above:
            assert found.how in (INSTALLS, "terminal one, installs"), found.place
            assert re.search(r"\b(apt-get|pip install|ssh -N)\b", found.text), found.place
            subprocess.run(["bash", "-n", "-c", found.text], check=True)


def test_the_guide_pastes_nothing_but_the_placeholder_into_the_message() -> None:
    text = (Path(__file__).parents[2] / GUIDE).read_text(encoding="utf-8")
    assert set(re.findall(r"\{\{.*?\}\}", text)) == {"{{strategy.order.alert_message}}"}
