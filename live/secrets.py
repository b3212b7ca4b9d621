"""What authorises: the operator's token, the webhook's secret, and where the server may listen without it."""

import os
import secrets
import stat
from collections.abc import Iterable
from contextlib import suppress
from ipaddress import ip_address
from pathlib import Path

from core.errors import ConfigurationError

TOKEN_FILE = "operator.token"  # noqa: S105 - the file's name
LINK_SECRET_FILE = "link.secret"  # noqa: S105 - the file's name
LEAST_LINK_SECRET = 16
_TOKEN_BYTES = 32
_MIN_TOKEN_LENGTH = 16
_MAX_TOKEN_LENGTH = 1000
# What is shown of a value is cut: of a secret in it less than this may stand at the end.
_PIECE = 8
_TOO_WIDE = stat.S_IRWXG | stat.S_IRWXO


def operator_token(data_dir: Path, configured: str | None, *, create: bool = True) -> str:
    """The operator's token: the configured one, else that of `<data_dir>/operator.token`, made at the first start.

    Of starts at the same time all get the same one. With `create` False (a command beside `live`) a missing file is
    refused. Raises ConfigurationError for a file that others can read, or that does not hold a token.
    """
    if configured is not None:
        return _checked(configured, "`operator_token`")
    return _kept(data_dir / TOKEN_FILE, create=create)


def link_secret(data_dir: Path, configured: str | None) -> str:
    """What links are signed with: the configured one, else that of `<data_dir>/link.secret`, made as the token is.

    Raises ConfigurationError.
    """
    return _kept(data_dir / LINK_SECRET_FILE, create=True) if configured is None else configured


def _kept(path: Path, *, create: bool) -> str:
    try:
        return _read(path)
    except FileNotFoundError:
        if not create:
            raise ConfigurationError(
                f"{path} does not exist: start `live` first, or set PORTFOLIO_OPERATOR_TOKEN"
            ) from None
    try:
        _make(path)
        return _read(path)
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be made: {error.strerror}") from error


def _read(path: Path) -> str:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read: {error.strerror}") from error
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise ConfigurationError(f"{path}: must be a file")
        if found.st_mode & _TOO_WIDE:
            raise ConfigurationError(
                f"{path}: others may use it (mode {stat.S_IMODE(found.st_mode):04o}), so its token is no secret any "
                "more: remove it to have a new one made"
            )
        content = os.read(descriptor, _MAX_TOKEN_LENGTH + 2)
    finally:
        os.close(descriptor)
    return _checked(content.decode("ascii", errors="replace").rstrip("\r\n"), str(path))


def _make(path: Path) -> None:
    """Put a whole file there at once, unless another start was quicker: then its token stays."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(secrets.token_urlsafe(_TOKEN_BYTES) + "\n")
            file.flush()
            os.fsync(descriptor)
        # link, not rename: it never replaces a file that is there.
        with suppress(FileExistsError):
            os.link(fresh, path)
    finally:
        fresh.unlink()


def _checked(token: str, source: str) -> str:
    # It travels in a header: visible ASCII only.
    is_visible = token.isascii() and token.isprintable() and " " not in token
    if not is_visible or not _MIN_TOKEN_LENGTH <= len(token) <= _MAX_TOKEN_LENGTH:
        raise ConfigurationError(
            f"{source}: a token is {_MIN_TOKEN_LENGTH} to {_MAX_TOKEN_LENGTH} visible ASCII characters without spaces"
        )
    return token


def require_safe_bind(host: str, webhook_secret: str | None) -> None:
    """Refuse, with ConfigurationError, to listen where others can reach us while anybody could send alerts."""
    if webhook_secret is None and not is_loopback(host):
        raise ConfigurationError(
            f"`--host {host}` can be reached from other machines: set PORTFOLIO_WEBHOOK_SECRET first, "
            "or listen on 127.0.0.1"
        )


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches `host`: 127.0.0.0/8, ::1 and localhost; any other name may be anything."""
    if host.lower() == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def holds_a_part(text: str, given: Iterable[str | None]) -> bool:
    """Whether a piece of one of these secrets stands in a text, as it does where a broken body makes it another field's value."""
    return any(
        secret[start : start + _PIECE] in text
        for secret in given
        if secret is not None
        for start in range(max(1, len(secret) - _PIECE + 1))
    )
