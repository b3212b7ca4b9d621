"""The same alert a hundred times at once, and thousands in any order twice: each counts once, and every caller is told so."""

from contextlib import closing
from queue import Empty, SimpleQueue
from threading import Thread

import pytest

from tests.crash.load import (
    CLIENTS,
    Ledger,
    Sender,
    Sent,
    Stalls,
    a_market,
    at_once,
    decided_in,
    dice_of,
    live_on,
    lost_and_doubled,
    require_effects_once,
    require_memory_is_rows,
    shuffled,
)
from tests.crash.totals import FULL, SEED
from tests.queries import rows

AT_ONCE = 100
WAVES = 40 if FULL else 4
ALERTS = 10_000 if FULL else 1_000
# About seven alerts a second of the market's time.
MARKET_SECONDS = ALERTS // 4


@pytest.fixture
def ledger() -> Ledger:
    return Ledger()


@pytest.fixture
def stalls() -> Stalls:
    return Stalls()


def test_the_same_alert_a_hundred_times_at_once_is_decided_once(dsn, folder, note, ledger, stalls):
    dice = dice_of("at once")
    alerts = dice.sample(a_market(dice, range(-100, 0)), WAVES)
    with live_on(dsn, folder) as live:
        senders = [Sender([live.url], ledger) for _ in range(AT_ONCE)]
        with stalls.measured():
            for alert in alerts:
                at_once([lambda sender=sender, alert=alert: sender.send(alert) for sender in senders])
        for sender in senders:
            sender.close()
        stalls.require_prompt(ledger)
        _require_once_each(ledger, alerts, dsn)
        for alert in alerts:
            answers = ledger.answers[alert.fingerprint]
            assert len(answers) == AT_ONCE, f"{len(answers)} of {AT_ONCE} were answered (CRASH_SEED={SEED})"
            assert sum(answer["status"] != "duplicate" for answer in answers) == 1
        require_memory_is_rows(live, dsn)
    note(faults=0, signals=ledger.deliveries)


def test_alerts_in_random_order_twice_are_decided_once_each(dsn, folder, note, ledger, stalls):
    dice = dice_of("any order")
    alerts = dice.sample(a_market(dice, range(-MARKET_SECONDS, 0)), ALERTS)
    with live_on(dsn, folder) as live:
        with stalls.measured():
            for _ in range(2):
                _send_all(live.url, ledger, shuffled(dice, alerts))
        stalls.require_prompt(ledger)
        _require_once_each(ledger, alerts, dsn)
        for alert in alerts:
            first, second = ledger.answers[alert.fingerprint]
            assert first["status"] != "duplicate"
            assert second["status"] == "duplicate"
        require_memory_is_rows(live, dsn)
    note(faults=0, signals=ledger.deliveries)


def _send_all(url: str, ledger: Ledger, alerts: list[Sent]) -> None:
    """Each once, by eight clients who take the next as soon as they are answered."""
    waiting: SimpleQueue[Sent] = SimpleQueue()
    for alert in alerts:
        waiting.put(alert)

    def client() -> None:
        with closing(Sender([url], ledger)) as sender:
            while True:
                try:
                    alert = waiting.get_nowait()
                except Empty:
                    return
                sender.send(alert)

    threads = [Thread(target=client) for _ in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _require_once_each(ledger: Ledger, alerts: list[Sent], dsn: str) -> None:
    assert (ledger.in_doubt, ledger.queued, ledger.untrue) == (set(), set(), [])
    fingerprints = {alert.fingerprint for alert in alerts}
    assert decided_in(dsn) == ledger.acknowledged == fingerprints
    assert lost_and_doubled(ledger, dsn) == (set(), set())
    require_effects_once(ledger, dsn)
    assert rows(dsn, "SELECT count(*) FROM decision_journal WHERE kind = 'signal'") == [(len(alerts),)]
