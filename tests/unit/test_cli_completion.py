"""Shell completion: the script that is printed makes a real bash, zsh and fish complete; no database is asked."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.command_line import run

pytestmark = pytest.mark.usefixtures("home")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def script_for(shell: str, folder: Path) -> Path:
    result = run("completion", shell)
    assert result.exit_code == 0
    file = folder / f"completion.{shell}"
    file.write_text(result.stdout, encoding="utf-8")
    return file


def completed(folder: Path, *words: str) -> list[str]:
    """What bash makes of the last word."""
    lines = (
        '. "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1));'
        ' _portfolio_manager_completion "$1"; printf "%s\\n" "${COMPREPLY[@]}"'
    )
    command = ["bash", "--norc", "-uc", lines, "bash", str(script_for("bash", folder)), "portfolio-manager", *words]
    return done(command).split()


def done(command: list[str]) -> str:
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")
    return ended.stdout


def test_bash_completes_commands_options_and_choices(home: Path) -> None:
    assert completed(home, "pos") == ["positions"]
    assert completed(home, "live", "--db-") == ["--db-config", "--db-env"]
    assert completed(home, "live", "--broker", "o") == ["openalgo"]
    assert completed(home, "completion", "f") == ["fish"]


def test_bash_completes_instruments_and_portfolios_that_are_known_without_a_database(home: Path) -> None:
    spool = home / "elsewhere" / "spool"
    spool.mkdir(parents=True)
    for name in ("main-1.lock", "alpha-1.lock", "alpha-2.lock"):
        (spool / name).touch()
    config = home / "portfolio.json"
    config.write_text(json.dumps({"instruments": {"GOLD_PETAL": {}}, "portfolios": {"beta": {}}}))
    assert completed(home, "halt", "--instrument", "go") == ["GOLD_MINI"]
    assert completed(home, "adopt", "B") == ["BANK_NIFTY"]
    assert completed(home, "send", "--config", str(config), "--portfolio", "") == ["beta", "main"]
    assert completed(home, "replay", "--config", str(config), "--instrument", "GOLD") == ["GOLD_MINI", "GOLD_PETAL"]
    assert completed(home, "status", "--data-dir", str(home / "elsewhere"), "--portfolio", "") == ["alpha", "main"]


def test_a_configuration_that_is_wrong_completes_nothing_of_itself(home: Path) -> None:
    (home / "broken.toml").write_text("portfolios = [")
    (home / "strange.toml").write_text("portfolios = 3")
    for name in ("broken.toml", "strange.toml"):
        assert completed(home, "send", "--config", name, "--portfolio", "") == ["main"]


def test_the_script_makes_a_short_name_of_the_program(home: Path) -> None:
    lines = '. "$1"; portfolio-manager halt --help; complete -p portfolio-manager'
    told = done(["bash", "--norc", "-uc", lines, "bash", str(script_for("bash", home))])
    assert "Block every entry" in told
    assert "-F _portfolio_manager_completion portfolio-manager" in told


@pytest.mark.skipif(shutil.which("zsh") is None, reason="zsh is not installed")
def test_zsh_completes_commands_with_what_they_do_and_instruments(home: Path) -> None:
    # What zsh's own completion would show is printed instead.
    stand_ins = "compdef() { }; _describe() { print -l -- ${(P)3} }; compadd() { print -l -- ${(P)5} }"
    lines = f'{stand_ins}; . "$1"; shift; words=("$@"); CURRENT=$#; _portfolio_manager_completion'
    command = ["zsh", "-fc", lines, "zsh", str(script_for("zsh", home)), "portfolio-manager"]
    assert done([*command, "posi"]) == "positions:Positions, newest first.\n"
    assert done([*command, "halt", "--instrument", "G"]) == "GOLD_MINI\n"
    known = 'compdef() { print -- "$@" }; . "$1"; portfolio-manager halt --help'
    told = done(["zsh", "-fc", known, "zsh", str(script_for("zsh", home))])
    assert told.startswith("_portfolio_manager_completion portfolio-manager\n")
    assert "Block every entry" in told


@pytest.mark.skipif(shutil.which("fish") is None, reason="fish is not installed")
def test_fish_completes_commands_and_instruments(home: Path) -> None:
    lines = f'source {script_for("fish", home)}; complete -C "portfolio-manager {{}}"'
    assert done(["fish", "--no-config", "-c", lines.format("posi")]).startswith("positions\t")
    assert done(["fish", "--no-config", "-c", lines.format("halt --instrument G")]) == "GOLD_MINI\n"
    help_of = f"source {script_for('fish', home)}; portfolio-manager halt --help"
    assert "Block every entry" in done(["fish", "--no-config", "-c", help_of])


def test_without_a_shell_named_it_is_the_users_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHELL", "/usr/bin/zsh")
    assert run("completion").stdout == run("completion", "zsh").stdout
    for unknown in ("/bin/dash", ""):
        monkeypatch.setenv("SHELL", unknown)
        result = run("completion")
        assert result.exit_code == 2
        assert "name a SHELL: bash, zsh, fish" in result.stderr
