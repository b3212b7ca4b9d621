"""A secret read from a file, as systemd's credentials, Docker's secrets and a careful operator give one."""

import os
import stat
from pathlib import Path

from core.errors import ConfigurationError

_MOST_BYTES = 1000
_OTHERS_READ = stat.S_IRGRP | stat.S_IROTH
_OTHERS_CHANGE = stat.S_IWGRP | stat.S_IWOTH
# Who mounts these lets nobody else in: Docker's have mode 0444 there, systemd's 0440 where the service is a user's.
_MOUNTED = Path("/run/secrets")
_CREDENTIALS = "CREDENTIALS_DIRECTORY"


def secret_from(path: Path, name: str, least: int) -> str:
    """The one line of a file. `name` is the setting, `least` how many characters it has to have.

    Raises ConfigurationError for a file that others can use, or that holds no secret; what is in it is never told.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise ConfigurationError(f"`{name}`: {path} cannot be read: {error.strerror}") from error
    try:
        _require_private(path, name, os.fstat(descriptor))
        content = os.read(descriptor, _MOST_BYTES + 2)
    finally:
        os.close(descriptor)
    try:
        secret = content.decode().rstrip("\r\n")
    except UnicodeDecodeError:
        secret = ""
    if not secret.isprintable() or not least <= len(secret) <= _MOST_BYTES:
        raise ConfigurationError(f"`{name}`: {path} must hold one line of {least} to {_MOST_BYTES} characters")
    return secret


def _require_private(path: Path, name: str, found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise ConfigurationError(f"`{name}`: {path} must be a file")
    others = _OTHERS_CHANGE if _is_mounted(path) else _OTHERS_CHANGE | _OTHERS_READ
    if found.st_mode & others:
        raise ConfigurationError(
            f"`{name}`: others may use {path} (mode {stat.S_IMODE(found.st_mode):04o}): give it mode 0600, and a new secret"
        )


def _is_mounted(path: Path) -> bool:
    credentials = os.environ.get(_CREDENTIALS)
    return any(path.is_relative_to(folder) for folder in (_MOUNTED, *([Path(credentials)] if credentials else [])))
