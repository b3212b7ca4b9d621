"""pg_dump and pg_restore: which of the installed ones fits, and how a password gets to it."""

import os
import re
import shutil
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from psycopg2 import extensions

from core.errors import PortfolioError
from core.postgres.connections import Connection
from core.postgres.embedded_account import EmbeddedServerError
from core.postgres.embedded_binaries import shipped_versions


class ProgramMissing(PortfolioError):
    """a program of PostgreSQL's is not installed"""


class Program(NamedTuple):
    """A program and the major version of PostgreSQL that it belongs to."""

    path: Path
    major: int


def client_program(name: str, at_least: int) -> Program:
    """`pg_dump` or the like, of that major version of PostgreSQL or the next newer one that is installed.

    Not simply the newest: what a newer one writes an older server may not understand. Raises ProgramMissing.
    """
    installed = sorted(_installed(name), key=lambda program: program.major)
    for program in installed:
        if program.major >= at_least:
            return program
    there = ", ".join(str(program.major) for program in installed) or "none"
    raise ProgramMissing(
        f"{name} of PostgreSQL {at_least} or newer is needed, and there is {there}: install the server's client programs "
        f"(Debian: postgresql-client-{at_least}), so that {name} is found on the PATH"
    )


def _installed(name: str) -> list[Program]:
    found = []
    with suppress(EmbeddedServerError):  # the package is not installed: then there is the PATH
        found += [Program(folder / "bin" / name, major) for major, folder in shipped_versions().items()]
    on_path = shutil.which(name)
    if on_path is not None and (major := _major_of(Path(on_path))) is not None:
        found.append(Program(Path(on_path), major))
    return [program for program in found if program.path.exists()]


def _major_of(program: Path) -> int | None:
    told = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)  # noqa: S603 - found on the PATH
    version = re.search(r"\(PostgreSQL\) (\d+)", told.stdout)
    return int(version[1]) if version else None


def connection_for(connection: Connection, dsn: str) -> tuple[str, dict[str, str]]:
    """The connection string and the environment with which a program reaches the server of `connection`.

    No password in the string: everybody can read a command line. And that one host: of several, another may be behind.
    """
    parts = extensions.parse_dsn(dsn)
    password = parts.pop("password", None)
    parts |= {"host": connection.info.host, "port": connection.info.port}
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PORTFOLIO_")}
    return extensions.make_dsn(**parts), environment | ({} if password is None else {"PGPASSWORD": password})
