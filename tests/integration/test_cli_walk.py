"""A walk through all commands, as a stranger takes it: JSON where something is told, colours on a terminal only."""

import json
import os
import pty
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

from tests.command_line import FakeEngine, leaf_commands, run, served_by
from tests.folders import passable_folder
from tests.live_process import ROOT, LiveProcess

# What each is given besides --json, and where it works; `live` serves, and `completion` prints a shell's own language.
_DATABASE = "--data-dir {data} --portfolio main"
_ENGINE = "--url {url} --data-dir {data}"
GIVEN = {
    "init": "{folder}/config",
    "migrate": f"--book {_DATABASE}",
    "dsn": _DATABASE,
    "doctor": f"--port 0 {_DATABASE}",
    "status": _DATABASE,
    "watch": "--url {url}",
    "positions": _DATABASE,
    "orders": _DATABASE,
    "proposals": _DATABASE,
    "signals": _DATABASE,
    "journal": _DATABASE,
    "send": f"--url {{url}} {_DATABASE} {{folder}}/alert.json",
    "replay": f"{_DATABASE} {{folder}}/alert.json",
    "verify": _DATABASE,
    "backup": _DATABASE,
    "restore": f"{_DATABASE} --as look {{folder}}/data/backups/*.zip",
    "close": f"{_ENGINE} BANK_NIFTY-Long_1-0123456789ab",
    "close-all": f"{_ENGINE} --yes",
    "capital": f"{_ENGINE} 250000",
    "approve": f"{_ENGINE} P0123456789abcdef",
    "reject": f"{_ENGINE} P0123456789abcdef --note news",
    "halt": f"{_ENGINE} --reason lunch",
    "resume": _ENGINE,
    "handover": _ENGINE,
    "resolve": f"{_ENGINE} --state cancelled pm1-0123456789ab-e1",
    "reconcile": _ENGINE,
    "adopt": f"{_ENGINE} GOLD_MINI Long_1 --lots 1 --price 72000",
    "write-off": f"{_ENGINE} BANK_NIFTY-Long_1-0123456789ab --price 52000",
    "ignore": f"{_ENGINE} GOLD_MINI -50",
    "rollover": f"{_ENGINE} --scan",
    "operators add": "alice --role trader --data-dir {data}",
    "operators list": "--data-dir {data}",
    "operators remove": "alice --data-dir {data}",
    "book tree": _DATABASE,
    "book node list": _DATABASE,
    "book node add": f"{_DATABASE} Metals --type DESK --parent 1",
    "book node rename": f"{_DATABASE} 2 Metal",
    "book node move": f"{_DATABASE} 2 --parent 1",
    "book node hang": f"{_DATABASE} 2",
    "book position list": f"{_DATABASE} --all",
    "book position add": f"{_DATABASE} GOLD_MINI --node 1 --direction long --quantity 200 --price 72000",
    "book position change": f"{_DATABASE} 1 --notes again",
    "book position close": f"{_DATABASE} 1 --price 72500",
    "book upload": f"{_DATABASE} fx {{folder}}/rates.csv",
    "book export": f"{_DATABASE} executions {{folder}}/trades.csv",
    "book fx list": _DATABASE,
    "book fx set": f"{_DATABASE} USD/INR 85.25",
    "book instruments": _DATABASE,
    "book snapshot": _DATABASE,
    "book entity list": f"{_DATABASE} --type issuer",
    "book entity add": f"{_DATABASE} Tata --type issuer",
    "book entity change": f"{_DATABASE} 1 --name Rupee",
    "book instrument add": f"{_DATABASE} GOLD_CALL --asset-class commodity --kind option --currency INR",
    "book instrument change": f"{_DATABASE} GOLD_CALL --name Call",
    "book ratings": _DATABASE,
    "book prices": _DATABASE,
    "book servicing": _DATABASE,
    "book lineage": f"{_DATABASE} 1",
    "book sync": _DATABASE,
    "book pnl": _DATABASE,
    "book calendar": _DATABASE,
    "book attribution": _DATABASE,
    "book briefing": "--data-dir {data} --html {folder}/briefing.html",
    "book tear-sheet": f"{_DATABASE} 1",
    "book tax-lots": _DATABASE,
    "risk import": f"{_DATABASE} tradingview {{folder}}/chart.csv --instrument GOLD_MINI --timeframe 1h",
    "risk batch": f"{_DATABASE} --date 2026-01-14",
    "risk show": f"{_DATABASE} --date 2026-01-14 --node 1",
    "risk scenarios": _DATABASE,
    "risk factors": f"{_DATABASE} --set index=BANK_NIFTY",
    "risk simulate": f"{_DATABASE} --date 2026-01-14 --node 1",
    "risk ruin": f"{_DATABASE} {{folder}}/closed.csv --paths 100",
    "risk sweep": f"{_DATABASE} {{folder}}/alert.json --set spacing_atr=0.5,1",
    "risk term-structure": f"{_DATABASE} GOLD_MINI",
    "risk supply": f"{_DATABASE} GOLD_MINI",
    "risk tag create": f"{_DATABASE} core",
    "risk tag list": _DATABASE,
    "risk tag add": f"{_DATABASE} core node/1",
    "risk tag remove": f"{_DATABASE} core node/1",
    "risk tag show": f"{_DATABASE} core",
    "risk tag retire": f"{_DATABASE} core",
    "risk by-tag": f"{_DATABASE} --date 2026-01-14",
    "risk foresee": f"{_DATABASE} --alert {{folder}}/alert.json",
    "risk session begin": f"{_DATABASE} --node 1 --name Metal",
    "risk session list": _DATABASE,
    "risk session show": f"{_DATABASE} 1",
    "risk session add": f"{_DATABASE} 1 GOLD_MINI 2 --price 72000",
    "risk session resize": f"{_DATABASE} 1 new/1 3",
    "risk session roll": f"{_DATABASE} 1 new/1 2026-03 --spread 350",
    "risk session shock": f"{_DATABASE} 1 --price GOLD_MINI=-1%",
    "risk session remove": f"{_DATABASE} 1 new/1",
    "risk session undo": f"{_DATABASE} 1",
    "risk session snapshot": f"{_DATABASE} 1",
    "risk session compare": f"{_DATABASE} 1 1",
    "risk session export": f"{_DATABASE} 1 --format fix --output {{folder}}/orders.fix",
    "risk session verify": f"{_DATABASE} 1",
    "risk session complete": f"{_DATABASE} 1",
    "risk session cancel": f"{_DATABASE} 1",
    "risk exports": _DATABASE,
    "risk option set": f"{_DATABASE} GOLD_CALL --underlying GOLD_MINI --type CE --strike 73000 --expiry 2026-02-27",
    "risk option list": _DATABASE,
    "risk series": _DATABASE,
    "risk bars": f"{_DATABASE} GOLD_MINI --timeframe 1h",
    "risk quality": f"{_DATABASE} GOLD_MINI --timeframe 1h",
    "notify": "--portfolio main",
}
# Without an order, a position, a contract, a broker or another instance there is nothing that these could do; what is completed
# is not cancelled.
REFUSED = {
    "risk simulate",
    "risk term-structure",
    "close",
    "close-all",
    "approve",
    "reject",
    "resolve",
    "reconcile",
    "adopt",
    "write-off",
    "ignore",
    "handover",
    "rollover",
    "risk session cancel",
}


@dataclass(frozen=True)
class Place:
    """A running instance and a folder of its user's."""

    folder: Path
    url: str

    def arguments(self, name: str) -> list[str]:
        given = GIVEN[name].format(folder=self.folder, data=self.folder / "data", url=self.url).split()
        return [
            *name.split(),
            *(
                str(next(self.folder.glob(f"data/backups/{Path(word).name}"))) if "*" in word else word
                for word in given
            ),
        ]


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    fired = datetime.now(UTC).isoformat()
    alert = {"type": "MARKET_DATA", "instrument": "BANK_NIFTY", "price": 52000, "atr": 350, "timestamp": fired}
    with passable_folder("walk") as folder, LiveProcess(folder / "data") as live:
        (folder / "alert.json").write_text(json.dumps(alert))
        (folder / "rates.csv").write_text("pair,as_of_date,rate\nUSD/INR,2026-01-13,85\n")
        closed = "state,instrument,net_pnl,initial_risk\n" + "closed,GOLD_MINI,900,500\nclosed,GOLD_MINI,-500,500\n"
        (folder / "closed.csv").write_text(closed)
        (folder / "chart.csv").write_text("time,open,high,low,close\n2026-01-13T09:00:00+05:30,1,2,1,2\n")
        assert live.post(alert)[0] == 200
        yield Place(folder, live.url)


def test_every_command_that_tells_something_is_walked() -> None:
    assert list(GIVEN) == [name for name in leaf_commands() if name not in ("live", "completion")]


def test_every_command_tells_one_json_document_a_line_or_why_not(place: Place) -> None:
    # In their order: what `restore` is given, `backup` has made.
    for name in GIVEN:
        result = run(*place.arguments(name), "--json")
        assert result.exit_code in (0, 1), (name, result.output)
        lines = [json.loads(line) for line in result.stdout.splitlines()]
        if name not in REFUSED:
            assert (result.exit_code, len(lines)) == (0, 1), (name, result.output)
        elif result.exit_code == 1:
            assert len(result.stderr.splitlines()) == 1, (name, result.stderr)
            assert result.stderr.startswith("Error: ")


@pytest.mark.parametrize("name", ["status", "signals", "journal", "doctor"])
def test_colours_are_for_terminals_only(place: Place, name: str) -> None:
    assert "\x1b[" not in run(*place.arguments(name)).stdout
    assert "\x1b[" in on_a_terminal(place.arguments(name), {"TERM": "xterm-256color"})
    assert "\x1b[3" not in on_a_terminal(place.arguments(name), {"TERM": "xterm-256color", "NO_COLOR": "1"})


def on_a_terminal(arguments: list[str], environment: dict[str, str]) -> str:
    ours, its = pty.openpty()
    process = os.posix_spawn(
        sys.executable,
        [sys.executable, str(ROOT / "portfolio_manager.py"), *arguments],
        {**os.environ, **environment},
        file_actions=[(os.POSIX_SPAWN_DUP2, its, number) for number in (0, 1, 2)],
    )
    os.close(its)
    output = b""
    with suppress(OSError):  # its end is closed
        while read := os.read(ours, 65536):
            output += read
    os.close(ours)
    os.waitpid(process, 0)
    return output.decode(errors="replace")


@pytest.mark.parametrize(
    "name, arguments",
    [(name, arguments) for name, arguments in GIVEN.items() if "{url}" in arguments and name != "send"],
)
def test_where_no_instance_runs_the_error_is_one_line_that_says_what_to_do(
    place: Place, name: str, arguments: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    served_by(monkeypatch, FakeEngine(httpx.ConnectError))
    given = Place(place.folder, "http://127.0.0.1:9").arguments(name)
    result = run(*given, *(["--once"] if name == "watch" else []))
    assert result.exit_code == 1
    (line,) = result.stderr.splitlines()
    assert "http://127.0.0.1:9" in line
    assert "`live`" in line


@pytest.mark.parametrize("name", [name for name, given in GIVEN.items() if given == _DATABASE])
def test_where_no_database_is_the_error_is_one_line_that_says_what_to_do(name: str, tmp_path: Path) -> None:
    result = run(*name.split(), "--data-dir", str(tmp_path / "data"))
    assert (result.exit_code, result.stdout) == (1, "")
    (line,) = result.stderr.splitlines()
    assert "`python portfolio_manager.py migrate`" in line
    assert list(tmp_path.iterdir()) == []
