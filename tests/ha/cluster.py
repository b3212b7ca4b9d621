"""Three nodes, each Patroni with its PostgreSQL, and one etcd: started, broken on purpose, and whole again."""

import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import IO, Any

import psutil
import psycopg2
import psycopg2.extensions

from core.postgres.embedded_account import Account, EmbeddedServerError, make_private_folder, server_account
from core.postgres.embedded_binaries import Programs, programs_for
from tests.free_ports import free_ports

KEEPER = Path(__file__).with_name("keeper.py")
# The shortest that Patroni permits is 20, 1 and 3. A ttl is what a lost node costs; the other two leave a busy machine some air.
TTL, LOOP_WAIT = 20, 2
# As DATABASE_SETUP.md has them.
DYNAMIC_SETTINGS = {
    "ttl": TTL,
    "loop_wait": LOOP_WAIT,
    "retry_timeout": 4,
    "synchronous_mode": True,
    "synchronous_mode_strict": True,
    "failsafe_mode": True,
    "postgresql": {"use_pg_rewind": True},
}
_SMALL = {"max_connections": 60, "shared_buffers": "32MB"}
WHOLE_WITHIN = 120.0
_ENVIRONMENT = {"PATH": os.defpath, "LC_ALL": "C", "PYTHONPATH": sysconfig.get_path("purelib")} | {
    name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH") if name in os.environ
}
DATABASE = "portfolio_manager"


def what_is_missing() -> str | None:
    """Why no cluster can be had on this machine; None where it can."""
    if not sys.platform.startswith("linux"):
        return "the harness adopts orphans as Linux does it"
    if shutil.which("etcd") is None:
        return "there is no etcd: .ci/run installs it (Debian's etcd-server)"
    try:
        account = server_account(Path("/nonexistent"))
    except EmbeddedServerError as error:
        return str(error)
    python, why_not = python_for(account)
    return None if python else f"{account.name}, whom PostgreSQL runs as, cannot run Patroni: {why_not}"


# Ours may be in a home folder that nobody else may enter; what is installed for it another one of its kind can use.
# That one without the packages of its own system, which do not fit ours.
PYTHONS = ((sys.executable,), ("/usr/bin/python3", "-S"))


@cache
def python_for(account: Account) -> tuple[tuple[str, ...], str]:
    """A Python that the account can run Patroni with; empty, and why not, where there is none."""
    why_not = "there is no Python"
    for python in PYTHONS:
        try:
            asked = _run([*python, "-m", "patroni", "--version"], account, Path("/"))
        except OSError as error:
            why_not = str(error)
            continue
        if asked.wait(60) == 0:
            return python, ""
        why_not = f"{python[0]} has no Patroni"
    return (), why_not


def _run(
    command: Sequence[str], account: Account, folder: Path, log: IO[bytes] | int = subprocess.DEVNULL
) -> "subprocess.Popen[bytes]":
    other = None if account.is_ours else account
    return subprocess.Popen(
        command,
        cwd=folder,
        env={**_ENVIRONMENT, "HOME": str(folder)},
        user=other and other.uid,
        group=other and other.gid,
        extra_groups=other and [],
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        start_new_session=True,
    )


class Program:
    """A program under a keeper, as the account of PostgreSQL; what it printed is in `log`."""

    def __init__(self, account: Account, command: Sequence[str], folder: Path, log: Path) -> None:
        self.log = log
        self._command = [*python_for(account)[0], str(KEEPER), *command]
        self._account = account
        self._folder = folder
        self._keepers: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        """Start it; again where it has ended, whatever it left behind."""
        with self.log.open("ab") as log:
            keeper = _run(self._command, self._account, self._folder, log)
        self._keepers = [one for one in self._keepers if one.poll() is None] + [keeper]

    def processes(self) -> list[psutil.Process]:
        """What lives of it, and of what it started."""
        found = []
        for keeper in self._keepers:
            with suppress(psutil.NoSuchProcess):
                found += psutil.Process(keeper.pid).children(recursive=True)
        return found

    def send(self, number: signal.Signals) -> None:
        """A signal to all of them, also to those that were just being started."""
        reached: set[int] = set()
        while new := [process for process in self.processes() if process.pid not in reached]:
            for process in new:
                reached.add(process.pid)
                with suppress(psutil.NoSuchProcess):
                    process.send_signal(number)

    def end(self) -> None:
        """End it, whatever state it is in."""
        for keeper in self._keepers:
            if keeper.poll() is None:
                keeper.terminate()
        for keeper in self._keepers:
            keeper.wait(30)


class Etcd(Program):
    """One node: its being away is tested by stopping it, and how three of them agree is etcd's own to prove."""

    def __init__(self, account: Account, folder: Path) -> None:
        port, peer = free_ports(2)
        self.address = f"127.0.0.1:{port}"
        make_private_folder(folder, account)
        urls = (f"http://{self.address}", f"http://127.0.0.1:{peer}")
        command = [
            *(
                "etcd",
                "--name",
                "etcd1",
                "--data-dir",
                str(folder / "data"),
                "--enable-v2=false",
                "--log-level",
                "warn",
            ),
            *("--listen-client-urls", urls[0], "--advertise-client-urls", urls[0]),
            *("--listen-peer-urls", urls[1], "--initial-advertise-peer-urls", urls[1]),
            *("--initial-cluster", f"etcd1={urls[1]}"),
        ]
        super().__init__(account, command, folder, folder.parent / "etcd.log")

    def answers(self) -> bool:
        """Whether it serves."""
        try:
            with urllib.request.urlopen(f"http://{self.address}/health", timeout=1) as response:
                return json.loads(response.read())["health"] == "true"
        except OSError:
            return False


class Node(Program):
    """One Patroni and its PostgreSQL."""

    def __init__(self, name: str, account: Account, folder: Path, settings: dict[str, Any]) -> None:
        self.name = name
        self.port, rest = free_ports(2)
        self.rest = f"127.0.0.1:{rest}"
        make_private_folder(folder, account)
        postgresql = {
            **settings["postgresql"],
            "listen": f"127.0.0.1:{self.port}",
            "connect_address": f"127.0.0.1:{self.port}",
            "data_dir": str(folder / "data"),
            "pgpass": str(folder / "pgpass"),
        }
        restapi = {"listen": self.rest, "connect_address": self.rest}
        # Patroni reads YAML, and JSON is YAML.
        file = folder / "patroni.yml"
        file.write_text(json.dumps({**settings, "name": name, "restapi": restapi, "postgresql": postgresql}))
        os.chown(file, account.uid, account.gid)
        file.chmod(0o600)
        command = [*python_for(account)[0], "-m", "patroni", str(file)]
        super().__init__(account, command, folder, folder.parent / f"{name}.log")

    def patroni(self) -> list[psutil.Process]:
        """Patroni itself, where it runs."""
        return [process for process, info in self._told() if "patroni" in (info["cmdline"] or ())]

    def postmaster(self) -> psutil.Process | None:
        """PostgreSQL's first process; all others of it are its children."""
        running = {process: info for process, info in self._told() if info["name"] == "postgres"}
        pids = {process.pid for process in running}
        return next((process for process, info in running.items() if info["ppid"] not in pids), None)

    def _told(self) -> list[tuple[psutil.Process, dict[str, Any]]]:
        """Each process, and what is known of it; without those that have just ended."""
        told = []
        for process in self.processes():
            with suppress(psutil.NoSuchProcess):
                told.append((process, process.as_dict(["name", "ppid", "cmdline"])))
        return told


class Cluster:
    """The three, as a client sees them, and what can be done to them."""

    def __init__(self, folder: Path) -> None:
        self.account = server_account(folder / "none")
        programs = programs_for(self.account, None, folder)
        self._passwords = {name: secrets.token_hex(12) for name in ("superuser", "replication", "user")}
        self.etcd = Etcd(self.account, folder / "etcd")
        settings = self._settings(programs)
        self.nodes = [Node(f"node{n}", self.account, folder / f"node{n}", settings) for n in (1, 2, 3)]

    def start(self) -> None:
        """Bring all of it up, with the database that `live` is to use."""
        self.etcd.start()
        wait_until(self.etcd.answers, "an etcd that answers")
        for node in self.nodes:
            node.start()
        self.wait_until_whole()
        for statement in (
            f"CREATE ROLE pm_user LOGIN PASSWORD '{self._passwords['user']}'",
            f"CREATE DATABASE {DATABASE} OWNER pm_user TEMPLATE template0",
        ):
            self._administer(statement)

    def end(self) -> None:
        """End everything."""
        for program in (*self.nodes, self.etcd):
            program.end()

    @property
    def entry(self) -> dict[str, Any]:
        """The cluster as an entry of database_config.json."""
        return {
            "host": ["127.0.0.1"] * len(self.nodes),
            "port": [node.port for node in self.nodes],
            "database": DATABASE,
            "user": "pm_user",
            "password": self._passwords["user"],
            "sslmode": "disable",
        }

    @property
    def dsn(self) -> str:
        """A connection string for whoever looks on: to the one that takes writes."""
        return self._dsn("pm_user", self._passwords["user"], DATABASE)

    def dsn_at(self, node: Node) -> str:
        """The same to one node, whatever it is now."""
        return psycopg2.extensions.make_dsn(self.dsn, host="127.0.0.1", port=str(node.port), target_session_attrs="any")

    def _dsn(self, user: str, password: str, database: str) -> str:
        return psycopg2.extensions.make_dsn(
            host=",".join("127.0.0.1" for _ in self.nodes),
            port=",".join(str(node.port) for node in self.nodes),
            user=user,
            password=password,
            dbname=database,
            sslmode="disable",
            connect_timeout=2,
            target_session_attrs="read-write",
        )

    def _administer(self, statement: str) -> None:
        connection = psycopg2.connect(self._dsn("postgres", self._passwords["superuser"], "postgres"))
        try:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(statement)
        finally:
            connection.close()

    # --- how it stands

    def members(self) -> dict[str, dict[str, Any]]:
        """What Patroni says of each node, by its name; empty where nobody says anything."""
        for node in self.nodes:
            with suppress(OSError, ValueError):
                return {member["name"]: member for member in self._asked(node, "/cluster")["members"]}
        return {}

    def of_role(self, role: str) -> Node:
        """The node that is `leader`, `sync_standby` or `replica`; waits for one."""

        found: list[Node] = []

        def look() -> list[Node]:
            members = self.members()
            found.extend(node for node in self.nodes if members.get(node.name, {}).get("role") == role)
            return found

        wait_until(look, f"a {role}")
        return found[0]

    def wait_until_whole(self) -> None:
        """After a fault: the next one finds what this one found.

        For as long as two of Patroni's loops: while it gives another standby the privilege to take over, none has it.
        """
        whole_as: dict[str, str] | None = None
        since = time.monotonic()

        def stays_whole() -> bool:
            nonlocal whole_as, since
            before, whole_as = whole_as, roles_where_whole(self.members())
            if whole_as is None or whole_as != before:
                since = time.monotonic()
            return time.monotonic() - since > 2 * LOOP_WAIT

        wait_until(stays_whole, lambda: f"a whole cluster: {self.members()}", WHOLE_WITHIN)

    def switch_over(self) -> None:
        """Have the synchronous standby lead, as an operator would."""
        leader, candidate = self.of_role("leader"), self.of_role("sync_standby")
        body = json.dumps({"leader": leader.name, "candidate": candidate.name}).encode()
        request = urllib.request.Request(f"http://{leader.rest}/switchover", data=body, method="POST")
        with urllib.request.urlopen(request, timeout=60) as response:
            response.read()

    @staticmethod
    def _asked(node: Node, path: str) -> Any:
        with urllib.request.urlopen(f"http://{node.rest}{path}", timeout=1) as response:
            return json.loads(response.read())

    def _settings(self, programs: Programs) -> dict[str, Any]:
        superuser, replication = (
            {"username": user, "password": self._passwords[name]}
            for name, user in (("superuser", "postgres"), ("replication", "replicator"))
        )
        return {
            "scope": "portfolio",
            "etcd3": {"host": self.etcd.address},
            "bootstrap": {
                "dcs": {**DYNAMIC_SETTINGS, "postgresql": {"use_pg_rewind": True, "parameters": _SMALL}},
                "initdb": ["data-checksums", {"encoding": "UTF8"}, {"locale": "C"}, {"auth": "scram-sha-256"}],
            },
            "postgresql": {
                "bin_dir": str(programs.folder),
                "authentication": {"superuser": superuser, "replication": replication},
                "parameters": {"unix_socket_directories": ""},
                "pg_hba": [
                    "host all all 127.0.0.1/32 scram-sha-256",
                    "host replication replicator 127.0.0.1/32 scram-sha-256",
                ],
            },
            "watchdog": {"mode": "off"},
        }


def roles_where_whole(members: dict[str, dict[str, Any]]) -> dict[str, str] | None:
    """Who leads, who stands by synchronously, who else there is, all on one timeline; None where it is not so."""
    roles = {name: member["role"] for name, member in members.items()}
    well = all(member["state"] in ("running", "streaming") for member in members.values())
    one_timeline = len({member.get("timeline") for member in members.values()}) == 1
    return roles if sorted(roles.values()) == ["leader", "replica", "sync_standby"] and well and one_timeline else None


def wait_until(holds: Callable[[], Any], what: str | Callable[[], str], seconds: float = 60.0) -> None:
    """Wait for it; AssertionError names what did not come."""
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {seconds:.0f} s in vain for {what if isinstance(what, str) else what()}")
        time.sleep(0.2)


@contextmanager
def cluster_in(folder: Path) -> Iterator[Cluster]:
    """A cluster below `folder`, which another account may enter, for as long as the block takes."""
    cluster = Cluster(folder)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.end()
