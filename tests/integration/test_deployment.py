"""The files in deploy/ fit each other and the program: what can be known of them without Docker and a booted systemd."""

import json
import os
import re
import shlex
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import venv
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass
from http.client import HTTPSConnection
from importlib.metadata import distribution
from ipaddress import ip_address, ip_network
from pathlib import Path

import click
import pytest

from core.config import load_database_settings, load_file_settings
from core.strict_json import MAX_BODY_BYTES
from live.bootstrap import DRAIN_SECONDS
from live.cli import _COMMANDS, main
from live.cli.live import live
from live.secrets import is_loopback
from live.server import DRAIN_SECONDS as SERVER_DRAIN_SECONDS
from live.server import MAX_HEADER_BYTES
from tests.balancer import CONFIGURATION, NEEDS_HAPROXY, balancer, environment
from tests.deployment import (
    COMPOSE,
    DEPLOY,
    UNIT,
    compose,
    copied_from_the_checkout,
    dockerfile,
    exec_form,
    health_check,
    instructions,
    is_ignored,
    seconds,
    unit,
    variables_in,
)
from tests.e2e.test_live import clean_folder
from tests.fake_engine import BASE_ENTRY, FakeEngine
from tests.free_ports import free_ports
from tests.installed_server import SUPERUSER_PASSWORD
from tests.integration.test_docs import (
    BINARIES,
    OWNER,
    Block,
    Installed,
    blocks_of,
    folder,
    installed,
)
from tests.integration.test_http_server import serving
from tests.live_process import ROOT, LiveProcess

__all__ = ["clean_folder", "folder", "installed"]

KNOWN_INSTRUCTIONS = {
    "FROM", "COPY", "RUN", "WORKDIR", "ENV", "USER", "VOLUME", "EXPOSE", "HEALTHCHECK", "STOPSIGNAL", "ENTRYPOINT", "CMD",
}  # fmt: skip
SECRET = re.compile(r"SECRET|TOKEN|PASSWORD|API_KEY")
# What a stop may take: the server's last answers, the writer's, and a moment for all else.
STOPS_WITHIN = DRAIN_SECONDS + SERVER_DRAIN_SECONDS + 5
ENGINES = ("engine-1", "engine-2")


def parsed(arguments: list[str]) -> click.Context:
    """What `live` would be started with; click refuses what it does not know."""
    assert arguments[0] == "live"
    return live.make_context("live", arguments[1:])


def with_variables(monkeypatch: pytest.MonkeyPatch, variables: Mapping[str, str]) -> None:
    """The environment is this, as far as the program looks at it."""
    for name in list(os.environ):
        if name.startswith(("PORTFOLIO_", "PM_")):
            monkeypatch.delenv(name)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)


# --- the image


def test_the_dockerfile_has_known_instructions_and_images_of_a_version() -> None:
    assert {name for name, _ in dockerfile()} <= KNOWN_INSTRUCTIONS
    images = {rest.split()[0] for rest in instructions("FROM")}
    assert len(images) == 1
    (version,) = re.findall(r"^python:(\d+\.\d+)-slim-\w+$", images.pop())
    assert f"{sys.version_info.major}.{sys.version_info.minor}" == version, "these tests run on another Python"


def test_the_engine_in_the_image_is_no_root_and_its_data_folder_is_its_own() -> None:
    user = instructions("USER")[-1]
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user)
    after = [name for name, _ in dockerfile()][[name for name, _ in dockerfile()].index("USER") :]
    assert "RUN" not in after
    uid = user.partition(":")[0]
    (volume,) = exec_form("VOLUME")
    made = next(rest for rest in instructions("RUN") if "useradd" in rest)
    assert f"--owner={uid}" in made
    assert made.endswith(volume)
    assert parsed(_command_in_the_image()).params["data_dir"] == Path(volume)


def test_no_secret_is_in_the_image() -> None:
    assert not [rest for name, rest in dockerfile() if name in ("ENV", "ARG") and SECRET.search(rest)]
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    let_in = {path.partition("/")[0] for path in tracked if not is_ignored(path)}
    assert let_in == {"requirements.txt", *(source for source, _ in copied_from_the_checkout())}
    for path in (
        "data/operator.token",
        ".git/config",
        "deploy/compose/engine.env",
        "main.env",
        "core/__pycache__/x.pyc",
    ):
        assert is_ignored(path), path


def test_what_the_image_is_made_of_is_there() -> None:
    for source, _ in copied_from_the_checkout():
        assert (ROOT / source).exists(), source
        assert not is_ignored(source), source


def test_the_images_command_is_one_that_the_program_knows() -> None:
    assert exec_form("ENTRYPOINT") == ["python", "portfolio_manager.py"]
    chosen = parsed(_command_in_the_image()).params
    assert not is_loopback(chosen["host"])
    assert instructions("EXPOSE") == [str(chosen["port"])]


def _command_in_the_image() -> list[str]:
    """CMD, with the mounted file where it lies here."""
    (mounted,) = [entry for entry in _engine(1)["volumes"] if entry.endswith(":ro")]
    here, there, _ = mounted.split(":")
    return [word.replace(there, str(COMPOSE.parent / here)) for word in exec_form("CMD")]


def test_the_health_check_asks_health_and_fails_where_nobody_or_something_else_answers() -> None:
    def asked(port: int) -> int:
        words = [word.replace("5000", str(port)) for word in health_check()]
        assert words != health_check()
        return subprocess.run([sys.executable, *words[1:]], stderr=subprocess.DEVNULL, check=False).returncode

    def away(_environ: object, start_response: Callable[..., object]) -> Iterable[bytes]:
        start_response("503 Away", [])
        return []

    with serving(FakeEngine()) as server:
        assert asked(server.port) == 0
    (nobody,) = free_ports(1)
    assert asked(nobody) != 0
    with serving(FakeEngine(), away) as server:
        assert asked(server.port) != 0


@pytest.fixture
def image(folder: Path) -> tuple[Path, Path]:
    """The image by hand: the files that it gets, and a Python with what requirements.txt names and nothing else."""
    files = folder / "image"
    files.mkdir()
    for source, destination in copied_from_the_checkout():
        target = files / (source if destination == "./" else destination)
        if (ROOT / source).is_dir():
            shutil.copytree(ROOT / source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / source, target)
    python = folder / "venv"
    if os.environ.get("DEPLOYMENT_FULL") == "1":
        venv.create(python, with_pip=True)
        (install,) = [rest for rest in instructions("RUN") if "pip install" in rest]
        options = install.partition("pip install ")[2].split()
        subprocess.run([python / "bin" / "pip", "install", "--quiet", *options], cwd=ROOT, check=True)
    else:
        venv.create(python, with_pip=False)
        _link_packages(next((python / "lib").glob("python3*/site-packages")))
    return files, python / "bin" / "python"


def _link_packages(site: Path) -> None:
    """What pip would install, from where it is installed already. DEPLOYMENT_FULL=1 installs it instead."""
    for line in (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines():
        if not line or line.startswith("#"):
            continue
        name, _, version = line.partition("==")
        found = distribution(name)
        assert found.version == version, name
        for top in {file.parts[0] for file in found.files or [] if file.parts[0] != ".."}:
            if not (site / top).exists() and top != "__pycache__":
                (site / top).symlink_to(Path(str(found.locate_file(top))))


def test_an_image_made_by_hand_serves_on_the_composed_database_and_stops_when_told(
    image: tuple[Path, Path], installed: Installed, folder: Path
) -> None:
    files, python = image
    variables = {
        name: value
        for file in ("engine", "database")
        for name, value in variables_in(COMPOSE.parent / f"{file}.env.example").items()
    }
    _create_database(installed, variables["PM_DB_PASSWORD"])
    database = json.loads((COMPOSE.parent / "database.json").read_text(encoding="utf-8"))
    database["compose"] |= {"host": "127.0.0.1", "port": str(installed.port)}
    (folder / "database.json").write_text(json.dumps(database), encoding="utf-8")
    (port,) = free_ports(1)
    changed = {"0.0.0.0": "127.0.0.1", "5000": str(port), "/var/lib/portfolio-manager": str(folder / "data")}
    command = [changed.get(word, word) for word in exec_form("ENTRYPOINT")[1:] + exec_form("CMD")]
    command[command.index("--db-config") + 1] = str(folder / "database.json")
    process = subprocess.Popen(
        [python, "-s", *command],
        cwd=files,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={"PATH": os.environ["PATH"], **variables},
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line == f"ready on http://127.0.0.1:{port}\n", process.communicate(timeout=10)[1]
        healthy = [word.replace("5000", str(port)) for word in health_check()]
        assert subprocess.run([python, *healthy[1:]], check=False).returncode == 0
        assert installed.run("SELECT rolsuper FROM pg_roles WHERE rolname = 'pm_user'") == [(False,)]
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.communicate()


def _create_database(installed: Installed, password: str) -> None:
    """As the container of PostgreSQL does when its data folder is new."""
    subprocess.run(
        [
            BINARIES / "psql",
            "--no-psqlrc",
            "--quiet",
            "-v",
            "ON_ERROR_STOP=1",
            "-f",
            COMPOSE.parent / "create-database.sql",
        ],
        env={
            **os.environ,
            "PGHOST": "127.0.0.1",
            "PGPORT": str(installed.port),
            "PGUSER": "postgres",
            "PGPASSWORD": SUPERUSER_PASSWORD,
            "PGDATABASE": "postgres",
            "PM_DB_PASSWORD": password,
        },
        check=True,
    )
    assert installed.run("SHOW server_encoding", **{**OWNER, "password": password}) == [("UTF8",)]


# --- compose.yaml


def _engine(number: int) -> dict[str, list[str]]:
    found: dict[str, list[str]] = compose()["services"][f"engine-{number}"]
    return found


@pytest.fixture
def composed(tmp_path: Path) -> Path:
    """The folder as an operator has it who has filled in the files of secrets."""
    made = tmp_path / "deploy"
    shutil.copytree(DEPLOY, made)
    for example in (made / "compose").glob("*.example"):
        example.rename(example.with_suffix(""))
    return made / "compose" / COMPOSE.name


@pytest.mark.skipif(shutil.which("docker-compose") is None, reason="there is no docker-compose: .ci/run installs it")
def test_docker_compose_takes_the_file(composed: Path) -> None:
    done = subprocess.run(
        ["docker-compose", "--file", composed, "--profile", "redis", "config", "--services"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert set(done.stdout.split()) == {*ENGINES, "balancer", "postgres", "redis"}


def test_everything_that_is_mounted_or_attached_is_there() -> None:
    document = compose()
    named = {
        entry.partition(":")[0] for service in document["services"].values() for entry in service.get("volumes", [])
    }
    files = {name for name in named if name.startswith(".")}
    assert named - files == set(document["volumes"])
    assert all((COMPOSE.parent / name).is_file() for name in files), files
    assert {name for service in document["services"].values() for name in service["networks"]} == set(
        document["networks"]
    )
    assert (COMPOSE.parent / document["x-engine"]["build"]["context"]).resolve() == ROOT
    assert (ROOT / document["x-engine"]["build"]["dockerfile"]).is_file()


def test_the_engines_differ_in_their_data_folder_only() -> None:
    first, second = ({**_engine(number)} for number in (1, 2))
    data = [engine.pop("volumes") for engine in (first, second)]
    assert first == second
    assert [set(one) - set(other) for one, other in (data, reversed(data))] == [
        {f"{name}:{exec_form('VOLUME')[0]}"} for name in ENGINES
    ]


def test_every_service_has_a_version_comes_back_and_no_engine_is_ended_before_it_has_drained() -> None:
    services = compose()["services"]
    for name, service in services.items():
        assert service["restart"] == "unless-stopped", name
        assert name in ENGINES or re.search(r":\d+(\.\d+)*$", service["image"]), name
    for name in ENGINES:
        assert services[name]["init"] is True
        assert seconds(services[name]["stop_grace_period"]) > STOPS_WITHIN


def test_secrets_are_in_files_that_git_does_not_take_and_every_variable_is_known(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    services = compose()["services"]
    given = {name for service in services.values() for name in service.get("environment", {})}
    assert not [name for name in given if SECRET.search(name)]
    files = {file for service in services.values() for file in service.get("env_file", [])}
    for file in files:
        assert (COMPOSE.parent / f"{file}.example").is_file(), file
        assert (
            subprocess.run(["git", "check-ignore", "--quiet", COMPOSE.parent / file], cwd=ROOT, check=False).returncode
            == 0
        )
    of_engines = {**services["engine-1"]["environment"]}
    for file in services["engine-1"]["env_file"]:
        of_engines |= variables_in(COMPOSE.parent / f"{file}.example")
    with_variables(monkeypatch, {**of_engines, **_commented(COMPOSE.parent / "engine.env.example")})
    loaded = load_file_settings(None)
    assert loaded.webhook_secret is not None
    assert loaded.operator_token is not None
    assert loaded.leadership.redis_url is not None
    assert len(loaded.allowed_addresses) == 4
    database = load_database_settings(COMPOSE.parent / "database.json", "compose")
    assert database.host in services
    assert database.password == of_engines["PM_DB_PASSWORD"]


def _commented(example: Path) -> dict[str, str]:
    """What an example proposes in comments."""
    text = example.read_text(encoding="utf-8")
    return dict(re.findall(r"^#(PORTFOLIO_\w+)=(.+)$", text, re.MULTILINE))


def test_addresses_and_ports_of_balancer_and_engines_agree() -> None:
    document = compose()
    balancer = document["services"]["balancer"]
    port = parsed(_command_in_the_image()).params["port"]
    assert [balancer["environment"][name] for name in ("ENGINE_1", "ENGINE_2")] == [
        f"{name}:{port}" for name in ENGINES
    ]
    listening = {balancer["environment"][name].rpartition(":")[2] for name in ("ALERTS", "OPERATOR")}
    published = [entry.split(":") for entry in balancer["ports"]]
    assert {inside for _, _, inside in published} == listening
    assert {address for address, _, _ in published} == {"127.0.0.1"}
    assert not [name for name in document["services"] if name != "balancer" and document["services"][name].get("ports")]
    (trusted,) = json.loads(_engine(1)["environment"]["PORTFOLIO_TRUSTED_PROXIES"])  # type: ignore[call-overload]
    assert trusted == balancer["networks"]["inside"]["ipv4_address"]
    assert ip_address(trusted) in ip_network(document["networks"]["inside"]["ipam"]["config"][0]["subnet"])


# --- the balancer


def test_the_balancer_asks_for_what_compose_gives_it() -> None:
    text = CONFIGURATION.read_text(encoding="utf-8")
    assert set(re.findall(r'"\$\{(\w+)(?:\[\*\])?\}"', text)) - {"RUN_AS"} == set(
        compose()["services"]["balancer"]["environment"]
    )


def test_the_balancers_figures_fit_the_engines() -> None:
    text = CONFIGURATION.read_text(encoding="utf-8")
    (buffer,) = re.findall(r"tune\.bufsize (\d+)", text)
    assert int(buffer) >= MAX_BODY_BYTES + MAX_HEADER_BYTES
    assert re.findall(r"req\.body_size gt (\d+)", text) == [str(MAX_BODY_BYTES)]
    alerts, *_ = re.findall(r"timeout server (\w+)", text)
    # An engine answers within 2 s, and is waited for; a sender hangs up at 3 s.
    assert 2 < seconds(alerts) < 3


@NEEDS_HAPROXY
@pytest.mark.parametrize("engines", [("127.0.0.1:5001", "127.0.0.1:5002"), ("engine-1:5000", "engine-2:5000")])
def test_haproxy_takes_its_configuration_also_where_no_name_can_be_looked_up(engines: tuple[str, str]) -> None:
    variables = {**environment(5999, 5998, *engines), **({"RUN_AS": "haproxy"} if os.geteuid() == 0 else {})}
    done = subprocess.run(
        ["haproxy", "-c", "-f", CONFIGURATION],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    warnings = [line for line in done.stderr.splitlines() if "WARNING" in line or "ALERT" in line]
    assert all("could not resolve address 'engine-" in line for line in warnings), warnings


@NEEDS_HAPROXY
@pytest.mark.skipif(shutil.which("openssl") is None, reason="there is no openssl to make a certificate with")
def test_with_a_certificate_in_its_variable_the_balancer_takes_alerts_over_tls(tmp_path: Path) -> None:
    certificate = tmp_path / "certificate.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1"]
    command += [
        "-addext",
        "subjectAltName=IP:127.0.0.1",
        "-keyout",
        str(certificate),
        "-out",
        str(tmp_path / "public.pem"),
    ]
    subprocess.run(command, check=True, capture_output=True)
    certificate.write_text(certificate.read_text() + (tmp_path / "public.pem").read_text())
    trusting = ssl.create_default_context(cafile=tmp_path / "public.pem")
    options = f" ssl crt {certificate} alpn http/1.1"
    engine = FakeEngine()
    with (
        serving(engine) as first,
        serving(engine) as second,
        balancer(tmp_path / "haproxy.log", first, second, bind_options=options) as before_them,
        closing(HTTPSConnection("127.0.0.1", before_them.port, timeout=10, context=trusting)) as connection,
    ):
        connection.request("POST", "/webhook", json.dumps(BASE_ENTRY))
        assert connection.getresponse().status == 200
    assert len(engine.signals) == 1


# --- systemd


@pytest.fixture
def checked_unit(tmp_path: Path) -> Path:
    """The unit as `main`, with a program that is here."""
    text = UNIT.read_text(encoding="utf-8")
    path = unit()["Service"]["ExecStart"].split()[0]
    made = tmp_path / "portfolio-manager@main.service"
    made.write_text(text.replace(path, sys.executable), encoding="utf-8")
    return made


NEEDS_SYSTEMD = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd-analyze")


@NEEDS_SYSTEMD
def test_systemd_takes_the_unit(checked_unit: Path) -> None:
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", checked_unit], capture_output=True, text=True, check=False
    )
    assert (done.returncode, [line for line in done.stderr.splitlines() if checked_unit.name in line]) == (0, [])


@NEEDS_SYSTEMD
def test_the_unit_may_do_little(checked_unit: Path) -> None:
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--threshold=20", checked_unit],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr


def test_the_unit_starts_a_command_that_the_program_knows_and_gives_it_time_to_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    service = unit()["Service"]
    example = variables_in(UNIT.parent / "main.env.example")
    options = shlex.split(example.pop("LIVE_OPTIONS"))
    python, script, *words = service["ExecStart"].replace("%i", "main").split()
    assert Path(python).is_relative_to(service["WorkingDirectory"])
    assert (ROOT / script).is_file()
    assert words.pop() == "$LIVE_OPTIONS"
    chosen = parsed([*words, *options]).params
    assert chosen["portfolios"] == ("main",)
    assert chosen["data_dir"] == Path("/var/lib") / service["StateDirectory"].replace("%i", "main")
    assert seconds(service["TimeoutStopSec"]) > STOPS_WITHIN
    with_variables(monkeypatch, example)
    assert load_file_settings(None).operator_token is not None


def test_every_command_that_a_deployment_names_is_one_of_ours() -> None:
    assert {exec_form("CMD")[0], unit()["Service"]["ExecStart"].split()[2]} <= set(_COMMANDS)
    assert main.name is not None


def test_systemd_is_told_when_alerts_are_taken_and_when_it_ends(clean_folder: Path) -> None:
    address = clean_folder / "notify"
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as told:
        told.bind(str(address))
        told.settimeout(60)
        with LiveProcess(clean_folder / "data", environment={"NOTIFY_SOCKET": str(address)}) as engine:
            assert told.recv(100) == b"READY=1"
            assert engine.get("/ready")[0] == 200
            engine.process.terminate()
            assert told.recv(100) == b"STOPPING=1"
            assert engine.process.wait(30) == 0


# --- docs/deployment.md

GUIDE = "docs/deployment.md"
STUBS = ("useradd", "systemctl", "journalctl", "docker", "curl", "pip")


@dataclass
class Sandbox:
    """A checkout in which `sudo` is nobody special, the machine's folders are the test's, and services are only asked for."""

    root: Path
    asked: Path

    def run(self, found: Block) -> None:
        """Run a block as it stands, in the checkout."""
        text = re.sub(r"(?<![\w.])/(etc|opt|var/lib)/", rf"{self.root}/\1/", found.text)
        text = re.sub(r"\S+/\.venv/bin/pip", "pip", text)
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", text],
            cwd=self.root / "checkout",
            env={**os.environ, "PATH": f"{self.root}/bin:{os.environ['PATH']}"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{found.place}: {done.stdout}{done.stderr}"


@pytest.fixture
def sandbox(tmp_path: Path) -> Sandbox:
    made = Sandbox(tmp_path, tmp_path / "asked")
    for name in ("bin", "checkout", "etc/systemd/system", "etc/haproxy", "etc/default", "opt"):
        (tmp_path / name).mkdir(parents=True)
    for name in STUBS:
        _script(tmp_path / "bin" / name, f'echo "{name} $*" >> {made.asked}')
    _script(tmp_path / "bin" / "sudo", 'if [ "$1" = -u ]; then shift 2; fi; exec "$@"')
    for entry in ROOT.iterdir():
        if entry.name in ("book", "core", "live", "migrations", "risk") or entry.is_file():
            (tmp_path / "checkout" / entry.name).symlink_to(entry)
    shutil.copytree(DEPLOY, tmp_path / "checkout" / "deploy")
    return made


def _script(path: Path, text: str) -> None:
    path.write_text(f"#!/usr/bin/env bash\n{text}\n", encoding="utf-8")
    path.chmod(0o755)


def test_the_guides_commands_put_files_where_services_look_for_them(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    for found in blocks_of(GUIDE):
        match found.language, found.how:
            case "bash", "in a sandbox":
                sandbox.run(found)
            case "bash", "in a sandbox, reads":
                words = shlex.split(found.text.replace("\\\n", ""))
                main.make_context("portfolio_manager.py", words[words.index("portfolio_manager.py") + 1 :])
            case "bash", "valid variables":
                with_variables(monkeypatch, dict(re.findall(r"^export (\w+)='(.*)'$", found.text, re.MULTILINE)))
                loaded = load_file_settings(None)
                assert set(loaded.allowed_addresses) == _tradingviews_addresses()
                assert len(loaded.trusted_proxies) == 1
            case _:
                raise AssertionError(f"{found.place}: nobody knows how to test this")
    root = sandbox.root
    service = unit()["Service"]
    variables = root / service["EnvironmentFile"].removeprefix("/").replace("%i", "main")
    assert variables.stat().st_mode & 0o777 == 0o600
    assert (root / "etc/systemd/system" / UNIT.name).read_bytes() == UNIT.read_bytes()
    assert (root / service["WorkingDirectory"].removeprefix("/") / "portfolio_manager.py").is_file()
    assert (root / service["ExecStart"].split()[0].removeprefix("/")).exists()
    for file in (root / "checkout/deploy/compose").glob("*.env"):
        assert file.stat().st_mode & 0o777 == 0o600
    needed = {file for name in ("engine-1", "postgres") for file in compose()["services"][name]["env_file"]}
    assert {file.name for file in (root / "checkout/deploy/compose").glob("*.env")} == needed
    asked = sandbox.asked.read_text(encoding="utf-8").splitlines()
    assert f"systemctl enable --now {UNIT.name.removesuffix('.service')}main" in asked
    assert {"useradd", "docker", "systemctl", "pip"} <= {line.partition(" ")[0] for line in asked}
    _assert_haproxy_takes(root)


def _assert_haproxy_takes(root: Path) -> None:
    """What the guide writes into /etc/default/haproxy, with the configuration that it puts beside."""
    given = variables_in(root / "etc/default/haproxy")
    assert set(given) == {*environment(1, 2, "a", "b"), "RUN_AS"}
    assert (root / "etc/haproxy/haproxy.cfg").read_bytes() == CONFIGURATION.read_bytes()


def _tradingviews_addresses() -> set[str]:
    text = (ROOT / "docs" / "tradingview.md").read_text(encoding="utf-8")
    return set(re.findall(r"allow ([\d.]+);", text))


def test_the_guides_figures_are_those_of_the_files() -> None:
    text = (ROOT / GUIDE).read_text(encoding="utf-8")
    configuration = CONFIGURATION.read_text(encoding="utf-8")
    assert f"after {unit()['Service']['RestartSec']} s" in text
    (waited, *_) = re.findall(r"timeout server (\d+)ms", configuration)
    assert f"no answer for {int(waited) / 1000:g} s" in text
    ports = {entry.split(":")[1] for entry in compose()["services"]["balancer"]["ports"]}
    assert set(re.findall(r"127\.0\.0\.1:(\d+)", text)) == ports
