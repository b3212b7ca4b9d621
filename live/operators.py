"""Who may do what: operators by name, each with a role and a token of which only a slow hash is kept (argon2id, RFC 9106).

The process' own token (live/secrets.py) is an administrator's without a name. The others are in `<data-dir>/operators.json`; a
change of that file holds from the next request on, so a removed operator is out at once.
"""

import hashlib
import hmac
import json
import os
import re
import secrets
import stat
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog

from core.errors import ConfigurationError
from live.links import DECIDED_BY

if TYPE_CHECKING:
    from argon2 import PasswordHasher

OPERATORS_FILE = "operators.json"
NAME = r"[a-z][a-z0-9_-]{0,29}"
_TOKEN_BYTES = 32
_LARGEST_FILE = 1024 * 1024
# Between a name and what only its owner knows.
_BETWEEN = "."
log = structlog.get_logger(__name__)


class Role(IntEnum):
    """Each may do what the ones below it may: look; halt, close and settle; move capital and the lead."""

    VIEWER = 1
    TRADER = 2
    ADMIN = 3

    @property
    def word(self) -> str:
        """As it is written."""
        return self.name.lower()

    @classmethod
    def of(cls, word: str) -> "Role":
        """The role of that name; KeyError for any other."""
        return {role.word: role for role in cls}[word]


@dataclass(frozen=True, slots=True, kw_only=True)
class Operator:
    """Somebody who has shown who he is; `key` changes with his token, and ends what was opened by the one before."""

    name: str | None
    role: Role
    key: str

    @property
    def shown(self) -> str:
        """How he is called."""
        return self.name or "operator"


@dataclass(frozen=True, slots=True)
class _Kept:
    role: Role
    token_hash: str
    created_at: str

    @property
    def key(self) -> str:
        return _digest(self.token_hash)


class Operators:
    """Those of a process: `token` is its own, the others are read from `file` as it is now. Raises ConfigurationError for a
    file that is not to be trusted or not to be read."""

    def __init__(self, token: str, file: Path) -> None:
        self._token = token.encode()
        # Another token signs other sessions.
        self._own = Operator(name=None, role=Role.ADMIN, key="process")
        self._file = file
        self._lock = threading.Lock()
        self._seen: tuple[int, ...] | None = None
        self._kept: Mapping[str, _Kept] = {}
        # What was found right once, by its digest: the slow hash is for who has to guess.
        self._right: dict[str, str] = {}
        self._kept = self._as_it_is_now()

    def of_token(self, given: str) -> Operator | None:
        """Whose token that is; None for nobody's."""
        if hmac.compare_digest(given.encode(errors="replace"), self._token):
            return self._own
        name, between, _ = given.partition(_BETWEEN)
        kept = self._known().get(name) if between else None
        if kept is None or not self._is_right(given, kept):
            return None
        return Operator(name=name, role=kept.role, key=kept.key)

    def still(self, name: str | None, key: str) -> Operator | None:
        """Who showed a while ago that he is `name`, if he has the same token still; with the role that he has by now."""
        if name is None:
            return self._own if hmac.compare_digest(key, self._own.key) else None
        kept = self._known().get(name)
        if kept is None or not hmac.compare_digest(key, kept.key):
            return None
        return Operator(name=name, role=kept.role, key=key)

    def _is_right(self, given: str, kept: _Kept) -> bool:
        digest = _digest(given)
        # One at a time: each takes a while and much memory, and who guesses is to have neither of everybody.
        with self._lock:
            if self._right.get(digest) == kept.token_hash:
                return True
            if not _matches(kept.token_hash, given):
                return False
            self._right[digest] = kept.token_hash
            return True

    def _known(self) -> Mapping[str, _Kept]:
        try:
            return self._as_it_is_now()
        except ConfigurationError as error:
            # Whoever may be removed in it by now, nobody knows.
            log.error("the operators cannot be read: none of them is let in", error=str(error))
            return {}

    def _as_it_is_now(self) -> Mapping[str, _Kept]:
        try:
            found = self._file.lstat()
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise ConfigurationError(f"{self._file}: cannot be read: {error.strerror}") from error
        seen = (found.st_mtime_ns, found.st_size, found.st_ino, found.st_mode)
        with self._lock:
            if seen != self._seen:
                self._kept, self._seen = read_operators(self._file), seen
                self._right.clear()
            return self._kept


def read_operators(file: Path) -> dict[str, _Kept]:
    """The operators that a file names, none where there is no file. Raises ConfigurationError."""
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise ConfigurationError(f"{file}: cannot be read: {error.strerror}") from error
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise ConfigurationError(f"{file}: must be a file")
        if found.st_mode & (stat.S_IWGRP | stat.S_IRWXO):
            raise ConfigurationError(
                f"{file}: others may use it (mode {stat.S_IMODE(found.st_mode):04o}): chmod 600 it, and look who is in it"
            )
        content = os.read(descriptor, _LARGEST_FILE)
    finally:
        os.close(descriptor)
    try:
        given = json.loads(content)
        return {name: _kept(name, entry) for name, entry in given.items()}
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ConfigurationError(f"{file}: is no file of operators: {error}") from error


def _kept(name: str, entry: Mapping[str, Any]) -> _Kept:
    token_hash = str(entry["token_hash"])
    if not re.fullmatch(NAME, name) or not token_hash.startswith("$argon2id$"):
        raise ValueError(f"{name[:60]!r} has no name or token hash such as `operators add` writes")
    return _Kept(Role.of(str(entry["role"])), token_hash, str(entry.get("created_at", "")))


def add_operator(file: Path, name: str, role: Role, now: datetime) -> str:
    """A new operator, or a new token of one that is there; the token, which is kept nowhere. Raises ConfigurationError."""
    if not re.fullmatch(NAME, name):
        raise ConfigurationError(f"`{name[:60]}`: a name is a small letter, then up to 29 of a-z, 0-9, _ and -")
    if name == DECIDED_BY:
        raise ConfigurationError(f"`{name}` is whom the journal names where a link has decided: take another name")
    token = f"{name}{_BETWEEN}{secrets.token_urlsafe(_TOKEN_BYTES)}"
    kept = read_operators(file)
    kept[name] = _Kept(role, _hasher().hash(token), now.isoformat(timespec="seconds"))
    _write(file, kept)
    return token


def remove_operator(file: Path, name: str) -> None:
    """Nobody of that name any more. Raises ConfigurationError where there was none."""
    kept = read_operators(file)
    if kept.pop(name, None) is None:
        raise ConfigurationError(f"there is no operator `{name[:60]}`; known: {', '.join(sorted(kept)) or 'none'}")
    _write(file, kept)


def _write(file: Path, kept: Mapping[str, _Kept]) -> None:
    """A whole file in place of the one before, which a reader sees either way."""
    shown = {
        name: {"role": each.role.word, "token_hash": each.token_hash, "created_at": each.created_at}
        for name, each in sorted(kept.items())
    }
    fresh = file.with_name(f"{file.name}.{secrets.token_hex(4)}")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as opened:
            json.dump(shown, opened, indent=2)
            opened.write("\n")
            opened.flush()
            os.fsync(descriptor)
        fresh.rename(file)
    except OSError as error:
        raise ConfigurationError(f"{file}: cannot be written: {error.strerror}") from error
    finally:
        fresh.unlink(missing_ok=True)


def _matches(token_hash: str, given: str) -> bool:
    from argon2.exceptions import InvalidHashError, VerificationError

    try:
        return _hasher().verify(token_hash, given)
    except (VerificationError, InvalidHashError):
        return False


def _hasher() -> "PasswordHasher":
    from argon2 import PasswordHasher

    # OWASP's least for argon2id: a token has 256 random bits, and a request is not to cost more than it has to.
    return PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode(errors="replace")).hexdigest()
