"""Operators by name: tokens that are kept nowhere, roles, and a file that holds as it is now."""

import json
import stat
from datetime import UTC, datetime
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from core.errors import ConfigurationError
from live.operators import Operators, Role, add_operator, read_operators, remove_operator

NOW = datetime(2026, 1, 15, 3, 45, tzinfo=UTC)
OWN = "the-token-of-the-process"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "operators.json"


def add(file: Path, name: str = "alice", role: Role = Role.TRADER) -> str:
    return add_operator(file, name, role, NOW)


def test_the_process_own_token_is_an_administrators(file: Path) -> None:
    found = Operators(OWN, file).of_token(OWN)
    assert found is not None
    assert (found.name, found.shown, found.role) == (None, "operator", Role.ADMIN)


def test_a_token_is_its_operators_and_is_kept_nowhere(file: Path) -> None:
    token = add(file)
    found = Operators(OWN, file).of_token(token)
    assert found is not None
    assert (found.name, found.role) == ("alice", Role.TRADER)
    assert token.partition(".")[2] not in file.read_text()
    assert json.loads(file.read_text())["alice"]["token_hash"].startswith("$argon2id$")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [path.name for path in file.parent.iterdir()] == ["operators.json"]


@pytest.mark.parametrize("wrong", ["", "alice", "alice.", "alice.x", "bob.x", OWN[:-1], "ä.ö", "alice." + "x" * 5000])
def test_any_other_token_is_nobodys(file: Path, wrong: str) -> None:
    add(file)
    assert Operators(OWN, file).of_token(wrong) is None


def test_one_operators_token_is_not_another_ones(file: Path) -> None:
    alice, bob = add(file), add(file, "bob", Role.ADMIN)
    known = Operators(OWN, file)
    assert known.of_token("bob." + alice.partition(".")[2]) is None
    assert [known.of_token(token).role for token in (alice, bob)] == [Role.TRADER, Role.ADMIN]  # type: ignore[union-attr]


def test_what_changes_in_the_file_holds_at_once(file: Path) -> None:
    known = Operators(OWN, file)
    first = add(file)
    found = known.of_token(first)
    assert found is not None
    # Twice, so that the second answer is one that was remembered.
    assert known.of_token(first) == found
    second = add(file, role=Role.VIEWER)
    assert known.of_token(first) is None
    assert known.still("alice", found.key) is None
    again = known.of_token(second)
    assert again is not None
    assert again.role is Role.VIEWER
    assert known.still("alice", again.key) == again
    remove_operator(file, "alice")
    assert known.of_token(second) is None
    assert known.still("alice", again.key) is None


def test_who_was_the_process_own_stays_so(file: Path) -> None:
    known = Operators(OWN, file)
    own = known.of_token(OWN)
    assert own is not None
    assert known.still(None, own.key) == own
    assert known.still(None, "something else") is None


@pytest.mark.parametrize(
    "content",
    [
        "no JSON",
        "[]",
        '{"alice": {}}',
        '{"alice": {"role": "king", "token_hash": "$argon2id$x"}}',
        '{"alice": {"role": "admin", "token_hash": "in clear"}}',
        '{"No Name": {"role": "admin", "token_hash": "$argon2id$x"}}',
    ],
)
def test_a_file_that_is_none_of_operators_is_refused_at_the_start_and_lets_nobody_in_later(
    file: Path, content: str
) -> None:
    token = add(file)
    known = Operators(OWN, file)
    file.write_text(content)
    with capture_logs() as logs:
        assert known.of_token(token) is None
    assert "none of them is let in" in logs[0]["event"]
    assert known.of_token(OWN) is not None
    with pytest.raises(ConfigurationError, match="no file of operators"):
        Operators(OWN, file)


def test_a_file_that_others_may_change_is_not_trusted(file: Path) -> None:
    add(file)
    file.chmod(0o666)
    with pytest.raises(ConfigurationError, match="mode 0666"):
        read_operators(file)
    file.unlink()
    file.mkdir()
    with pytest.raises(ConfigurationError, match=r"operators\.json"):
        read_operators(file)
    file.rmdir()
    file.symlink_to("elsewhere")
    with pytest.raises(ConfigurationError, match=r"operators\.json"):
        read_operators(file)


@pytest.mark.parametrize("name", ["", "A", "1a", "a b", "a.b", "a" * 31, "ä"])
def test_a_name_that_is_none_adds_nobody(file: Path, name: str) -> None:
    with pytest.raises(ConfigurationError, match="a name is a small letter"):
        add(file, name)
    assert not file.exists()


def test_who_is_not_there_cannot_be_removed(file: Path) -> None:
    add(file, "bob")
    with pytest.raises(ConfigurationError, match="known: bob"):
        remove_operator(file, "alice")
