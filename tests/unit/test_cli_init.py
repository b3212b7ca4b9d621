"""`init`: what it writes loads, equals the defaults, and is for nobody else; it overwrites nothing."""

import json
import os
import re
import stat
import subprocess
from pathlib import Path

import pytest
from click.testing import Result

from core.config import FileSettings, load_file_settings, read_settings
from core.numbers import DEFAULT_CAPITAL
from live.cli.init import CONFIGURATION, SECRETS
from tests.command_line import run

_SETTING = re.compile(r"^#(?=\w)", re.MULTILINE)


@pytest.fixture(autouse=True)
def _no_variables_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("PORTFOLIO_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "config"


def made(folder: Path, *arguments: str) -> Result:
    result = run("init", str(folder), *arguments)
    assert result.exit_code == 0, result.stderr
    return result


def variables(file: Path) -> dict[str, str]:
    """What a shell makes of it that reads it as the documents say."""
    listed = subprocess.run(
        ["bash", "-euc", 'set -a; . "$1"; set +a; env -0', "bash", str(file)],
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    return dict(pair.split("=", 1) for pair in listed.split("\0") if pair.startswith("PORTFOLIO_"))


def test_the_configuration_as_it_is_written_is_the_defaults(folder: Path) -> None:
    made(folder)
    loaded = load_file_settings(folder / CONFIGURATION)
    assert loaded.model_dump(exclude={"instruments"}) == FileSettings().model_dump(exclude={"instruments"})
    assert loaded.settings == FileSettings().settings


def test_every_setting_that_it_shows_is_there_and_at_its_default(folder: Path) -> None:
    made(folder)
    file = folder / CONFIGURATION
    shown, count = _SETTING.subn("", file.read_text(encoding="utf-8"))
    file.write_text(shown, encoding="utf-8")
    given = read_settings(file)
    # No capital is the default capital, and only the one that says so.
    assert given.pop("initial_capital") == DEFAULT_CAPITAL
    loaded, defaults = load_file_settings(file), FileSettings()
    assert loaded.settings == defaults.settings
    for name in given.keys() - {"instruments"}:
        assert getattr(loaded, name) == getattr(defaults, name), name
    assert count == 1 + sum(map(_leaves, given.values()))


def _leaves(value: object) -> int:
    return sum(map(_leaves, value.values())) if isinstance(value, dict) else 1


def test_every_line_of_it_says_something_that_can_be_read_alone(folder: Path) -> None:
    made(folder)
    lines = (folder / CONFIGURATION).read_text(encoding="utf-8").splitlines()
    settings = [number for number, line in enumerate(lines) if _SETTING.match(line)]
    assert len(settings) > 30
    for number in settings:
        changed = [*lines[:number], lines[number][1:], *lines[number + 1 :]]
        (folder / CONFIGURATION).write_text("\n".join(changed), encoding="utf-8")
        load_file_settings(folder / CONFIGURATION)


@pytest.mark.parametrize("heading", ["intake", "rate_limits"])
def test_its_examples_can_be_taken_over_as_they_stand(folder: Path, heading: str) -> None:
    made(folder)
    file = folder / CONFIGURATION
    _, found, section = file.read_text(encoding="utf-8").partition(f"[{heading}]\n")
    example = re.findall(r"^#   (.+)$", section.partition("\n\n")[0], re.MULTILINE)
    assert found
    file.write_text("\n".join([f"[{heading}]", *example]), encoding="utf-8")
    loaded = load_file_settings(file)
    assert getattr(loaded, heading) != getattr(FileSettings(), heading)
    assert loaded.settings.bars.keep_atr is (heading == "intake")


def test_the_secrets_are_strong_new_and_as_a_shell_and_a_service_manager_read_them(
    folder: Path, tmp_path: Path
) -> None:
    made(folder)
    made(tmp_path / "another")
    ours, others = variables(folder / SECRETS), variables(tmp_path / "another" / SECRETS)
    assert ours.keys() == {"PORTFOLIO_WEBHOOK_SECRET", "PORTFOLIO_OPERATOR_TOKEN"}
    assert len({*ours.values(), *others.values()}) == 4
    for name, value in ours.items():
        assert re.fullmatch(r"[A-Za-z0-9_-]{43}", value)
        # systemd reads lines, and knows no `export`.
        assert f"\n{name}={value}\n" in (folder / SECRETS).read_text(encoding="utf-8")


def test_every_variable_of_the_secrets_is_a_setting(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made(folder)
    text = (folder / SECRETS).read_text(encoding="utf-8")
    given = dict(re.findall(r"^#?(PORTFOLIO_\w+)=(.*)$", text, re.MULTILINE))
    assert len(given) == 5
    for name, value in given.items():
        monkeypatch.setenv(name, value or "a-key")
    loaded = load_file_settings(None)
    assert loaded.webhook_secret == given["PORTFOLIO_WEBHOOK_SECRET"]
    assert loaded.operator_token == given["PORTFOLIO_OPERATOR_TOKEN"]
    assert loaded.brokers == {"openalgo": {"api_key": "a-key"}, "ccxt": {"api_key": "a-key", "secret": "a-key"}}


def test_nobody_else_may_read_the_secrets_whatever_the_umask(folder: Path) -> None:
    before = os.umask(0)
    try:
        made(folder)
    finally:
        os.umask(before)
    assert stat.S_IMODE((folder / SECRETS).stat().st_mode) == 0o600
    assert stat.S_IMODE((folder / CONFIGURATION).stat().st_mode) == 0o644


def test_it_says_what_to_do_next_and_no_secret(folder: Path) -> None:
    result = made(folder)
    assert f"set -a; . {folder / SECRETS}; set +a" in result.stdout
    assert f"live --config {folder / CONFIGURATION}" in result.stdout
    told = json.loads(made(folder.parent / "as json", "--json").stdout)
    assert told["next"][0] == f"set -a; . '{folder.parent}/as json/{SECRETS}'; set +a"
    for secret in variables(folder / SECRETS).values():
        assert secret not in result.stdout + result.stderr


@pytest.mark.parametrize("there", [CONFIGURATION, SECRETS])
def test_it_overwrites_nothing_and_then_writes_nothing(folder: Path, there: str) -> None:
    folder.mkdir()
    (folder / there).write_text("mine")
    result = run("init", str(folder))
    assert result.exit_code == 1
    assert f"{folder / there} is there already" in result.stderr
    assert (folder / there).read_text() == "mine"
    assert [file.name for file in folder.iterdir()] == [there]


def test_a_link_that_leads_nowhere_is_there_too(folder: Path, tmp_path: Path) -> None:
    folder.mkdir()
    (folder / SECRETS).symlink_to(tmp_path / "elsewhere")
    assert run("init", str(folder)).exit_code == 1
    assert not (tmp_path / "elsewhere").exists()


def test_what_cannot_be_finished_leaves_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []

    def full(descriptor: int) -> None:
        synced.append(descriptor)
        if len(synced) == 2:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    result = run("init", str(folder))
    assert result.exit_code == 1
    assert "No space left on device" in result.stderr
    assert list(folder.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    result = run("init", str(tmp_path / "file" / "config"))
    assert result.exit_code == 1
    assert "name another FOLDER" in result.stderr
