"""Whose server it is: the owner of the data, whoever asks; refused where it cannot be."""

import os
from pathlib import Path

import pytest

from core.postgres import embedded_account
from core.postgres.embedded_account import EmbeddedServerError, can_enter, server_account

STRANGER = 54321  # a uid without an entry in the password database


def as_uid(monkeypatch: pytest.MonkeyPatch, uid: int, owner: int | None) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: uid)
    monkeypatch.setattr(embedded_account, "_owner_of", lambda _: owner)


def test_an_ordinary_user_runs_its_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    daemon = 1  # is on every system
    for owner in (None, daemon):
        as_uid(monkeypatch, daemon, owner)
        assert server_account(tmp_path).uid == daemon


def test_an_ordinary_user_is_told_whose_the_data_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    as_uid(monkeypatch, 1, 2)
    with pytest.raises(EmbeddedServerError, match="belongs to uid 2, not to this process's uid 1"):
        server_account(tmp_path)


def test_a_user_whom_the_system_does_not_know_is_told_what_to_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    as_uid(monkeypatch, STRANGER, None)
    with pytest.raises(EmbeddedServerError, match="useradd"):
        server_account(tmp_path)


def test_root_runs_it_as_the_owner_of_the_data(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    as_uid(monkeypatch, 0, 1)
    assert server_account(tmp_path).uid == 1


def test_an_account_of_ones_own_enters_where_one_can(tmp_path: Path) -> None:
    own = embedded_account._account_of(os.geteuid())
    assert own.is_ours
    assert can_enter(own, tmp_path)
