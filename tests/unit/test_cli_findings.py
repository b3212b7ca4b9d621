"""What `reconcile` shows of each finding, without a network."""

import json
from collections.abc import Callable
from decimal import Decimal

import httpx
import pytest

from live.reconcile import FindingKind
from tests.command_line import FakeEngine, run, served_by

Engine = Callable[..., FakeEngine]
TOKEN = ("--token", "a-token-of-enough-length")


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Engine:
    return lambda *answers: served_by(monkeypatch, FakeEngine(*answers))


def found(kind: str, ours: str = "60", broker: str = "30", instrument: str | None = "X") -> httpx.Response:
    finding = {"symbol": "X26", "exchange": "NFO", "instrument": instrument, "kind": kind, "accepted": "0"}
    differs = broker != ours and kind != FindingKind.IN_FLIGHT
    return httpx.Response(
        200, json={"findings": [{**finding, "ours": ours, "broker": broker}], "mismatches": int(differs)}
    )


def test_a_comparison_that_matches_exits_with_0_and_one_that_differs_with_1(engine: Engine) -> None:
    engine(found("matched", "60", "60"))
    result = run("reconcile", *TOKEN)
    assert result.exit_code == 0
    assert "matched" in result.stdout
    engine(found("quantity differs"))
    result = run("reconcile", *TOKEN, "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["mismatches"] == 1


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize(
    "kind, ours, broker, settled_by",
    [
        ("missing at broker", 60, 0, "write-off POSITION_ID, or ignore X {difference}"),
        ("quantity differs", 60, 30, "write-off POSITION_ID, or ignore X {difference}"),
        ("quantity differs", 60, 90, "adopt X LAYER, or ignore X {difference}"),
        ("unknown at broker", 0, 30, "adopt X LAYER, or ignore X {difference}"),
        ("quantity differs", 60, -30, "write-off POSITION_ID then adopt X LAYER, or ignore X {difference}"),
    ],
)
def test_each_mismatch_names_the_commands_that_would_settle_it(
    kind: str, ours: int, broker: int, settled_by: str, sign: int, engine: Engine
) -> None:
    engine(found(kind, str(sign * ours), str(sign * broker)))
    expected = settled_by.format(difference=Decimal(sign * (broker - ours)))
    assert run("reconcile", *TOKEN).stdout.splitlines()[2].rstrip().endswith(f"{kind}   {expected}")


@pytest.mark.parametrize(
    "answer, settled_by",
    [
        (found("matched", "60", "60"), "-"),
        (found("in flight"), "wait for its orders"),
        (found("unknown at broker", "0", "5", None), "none of our instruments: trade it at the broker"),
        # What was accepted besides ours is gone, ours is there.
        (found("quantity differs", "60", "60"), "ignore X 0"),
    ],
)
def test_what_no_command_of_ours_would_change_says_so(answer: httpx.Response, settled_by: str, engine: Engine) -> None:
    engine(answer)
    assert run("reconcile", *TOKEN).stdout.splitlines()[2].rstrip().endswith(f"  {settled_by}")
