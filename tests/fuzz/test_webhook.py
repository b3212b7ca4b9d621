"""Whatever is posted to the webhook: no 5xx, nothing changed by what is refused, no memory kept.

FUZZ_FULL=1 (`make fuzz`) posts a million bodies, FUZZ_SECONDS ends earlier; FUZZ_SEED makes a run again.
"""

import os
import secrets
import sys
import time
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings

from live import logs
from tests.engines import an_engine
from tests.fuzz.posted import TOGETHER, Request, several_requests
from tests.fuzz.target import Target, resident_mebibytes

FULL = os.environ.get("FUZZ_FULL") == "1"
BODIES, ROUND = (1_000_000, 20_000) if FULL else (4_000, 1_000)
SECONDS = float(os.environ.get("FUZZ_SECONDS", "86400"))
SEED = int(os.environ.get("FUZZ_SEED") or secrets.randbelow(2**32))
# The first rounds fill caches and buffers, which stay. What is kept for each body, 100 bytes even, would show.
WARM_UP_ROUNDS = 2
GROWTH_MEBIBYTES = 40.0


@pytest.fixture
def target(dsn: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Target]:
    monkeypatch.setattr(logs, "_out", lambda _line: None)
    with an_engine(dsn) as engine:
        yield Target(engine, dsn)


def a_round(target: Target, number: int) -> None:
    """So many requests, others in each round. Hypothesis forgets them at its end."""

    @seed(SEED + number)
    @settings(
        max_examples=ROUND // TOGETHER,
        database=None,
        phases=(Phase.generate, Phase.shrink) if not FULL else (Phase.generate,),
        suppress_health_check=list(HealthCheck),
    )
    @given(several_requests)
    def post(requests: list[Request]) -> None:
        for request in requests:
            target.post(request)

    post()
    target.check_rows()


def test_whatever_is_posted_is_answered_changes_nothing_and_is_forgotten(target: Target) -> None:
    began, after_warm_up, resident = time.monotonic(), 0.0, 0.0
    for number in range(BODIES // ROUND):
        try:
            a_round(target, number)
        except BaseException:
            sys.stdout.write(f"again with: FUZZ_SEED={SEED}{' FUZZ_FULL=1' if FULL else ''}\n")
            raise
        resident = resident_mebibytes()
        if number < WARM_UP_ROUNDS:
            after_warm_up = resident
        if FULL:
            sys.stdout.write(f"{target.statuses.total()} bodies, {resident:.0f} MiB, {dict(target.statuses)}\n")
        if time.monotonic() - began > SECONDS:
            break
    assert resident - after_warm_up < GROWTH_MEBIBYTES
    # It met what it was to meet.
    assert {200, 400, 401, 403, 404, 413} <= set(target.statuses)
