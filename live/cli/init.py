"""`init`: a commented configuration and fresh secrets, to begin with."""

import os
import secrets
import shlex
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

import click

from core.errors import ConfigurationError
from live.cli.options import json_option
from live.cli.output import print_json, say

CONFIGURATION = "portfolio.toml"
SECRETS = "portfolio.env"
_TEMPLATES = Path(__file__).parent / "templates"
_SECRET_BYTES = 32
_PROGRAM = "python portfolio_manager.py"


@click.command(short_help="Write a commented configuration and fresh secrets.")
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path), default=Path("config"))
@json_option
def init(*, folder: Path, as_json: bool) -> None:
    """Write portfolio.toml and portfolio.env into FOLDER (`config` without one), and say what to do next.

    The first has the settings that one usually changes, each commented out at its default. The second, which only you may read,
    has a webhook secret and an operator's token, both new. Files that are there are not overwritten.

    \b
    Examples:
      python portfolio_manager.py init
      python portfolio_manager.py init /etc/portfolio-manager
    """
    files = {folder / CONFIGURATION: (0o644, _template(CONFIGURATION)), folder / SECRETS: (0o600, _with_secrets())}
    _write(folder, files)
    configuration, secret = files
    following = _following(configuration, secret)
    if as_json:
        print_json({"configuration": str(configuration), "secrets": str(secret), "next": following})
        return
    say(f"{configuration}: settings, each commented out at its default")
    say(f"{secret}: a webhook secret and an operator's token, for your eyes only (mode 0600)")
    say("")
    say("Next, in a shell:")
    for command in following:
        say(f"  {command}")
    say("")
    say(f"Each alert then has to carry the secret of {secret}: docs/guides/first-alert.md goes on from here.")


def _following(configuration: Path, secret: Path) -> list[str]:
    # A file without a folder in its name the shell would look for in PATH.
    sourced = shlex.quote(str(secret.absolute()))
    config = shlex.quote(str(configuration))
    return [
        f"set -a; . {sourced}; set +a",
        f"{_PROGRAM} doctor --config {config}",
        f"{_PROGRAM} live --config {config}",
    ]


def _template(name: str) -> str:
    return (_TEMPLATES / name).read_text(encoding="utf-8")


def _with_secrets() -> str:
    # Letters, digits, - and _: a shell, systemd and JSON take them as they are.
    return _template(SECRETS).format(
        webhook_secret=secrets.token_urlsafe(_SECRET_BYTES), operator_token=secrets.token_urlsafe(_SECRET_BYTES)
    )


def _write(folder: Path, files: Mapping[Path, tuple[int, str]]) -> None:
    """All of them, on the disk, or none. Raises ConfigurationError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if there := [file for file in files if os.path.lexists(file)]:
            raise ConfigurationError(
                f"{there[0]} is there already and is not overwritten: move it, or name another FOLDER"
            )
        with ExitStack() as undo:
            for file, (mode, text) in files.items():
                # Never wider than it is to be in the end, and never over what is there.
                descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
                undo.callback(file.unlink)
                with os.fdopen(descriptor, "w", encoding="utf-8") as written:
                    written.write(text)
                    written.flush()
                    os.fsync(descriptor)
            undo.pop_all()
    except OSError as error:
        raise ConfigurationError(
            f"{error.filename or folder}: cannot be written: {error.strerror}; name another FOLDER"
        ) from error
