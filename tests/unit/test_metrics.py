"""What Prometheus reads is what was answered, and how the portfolios stand."""

import json
import re
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from flask.testing import FlaskClient
from prometheus_client.parser import text_string_to_metric_families

from core.errors import DatabaseAway
from core.portfolio_state import PortfolioStateManager
from live.answers import Answer, AnswerKind
from live.metrics import PREFIX
from live.reckoning import Reckoning
from tests.builders import NOON
from tests.fake_engine import BASE_ENTRY, FakeEngine, an_app, decided

ROOT = Path(__file__).resolve().parents[2]
GUIDE = ROOT / "docs" / "monitoring.md"
RULES = yaml.safe_load((ROOT / "deploy" / "prometheus" / "alerts.yml").read_text(encoding="utf-8"))
BOARD = json.loads((ROOT / "deploy" / "grafana" / "dashboard.json").read_text(encoding="utf-8"))
Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


class LoadedEngine(FakeEngine):
    """One whose status tells all that an engine's does."""

    def status(self) -> dict[str, Any]:
        return {
            **PortfolioStateManager(lambda: self.portfolio).measure(),
            "term": 3,
            "orders": {"sent": 2},
            "frozen": {"COPPER": "why"},
            "proposals": 2,
            "failed_invariants": [],
        }


@pytest.fixture
def engine() -> FakeEngine:
    return LoadedEngine()


@pytest.fixture
def client(engine: FakeEngine) -> Iterator[FlaskClient]:
    reckoned = Reckoning(last_day=date(2026, 1, 14), failures=3)
    with an_app(engine, book_lag=lambda: 5, reckoning=lambda: reckoned).test_client() as client:
        yield client


def scraped(client: FlaskClient) -> Samples:
    answer = client.get("/metrics")
    assert (answer.status_code, answer.mimetype) == (200, "text/plain")
    return {
        (sample.name.removeprefix(PREFIX), frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def value(samples: Samples, name: str, **labels: str) -> float | None:
    return samples.get((name, frozenset(labels.items())))


def of_main(samples: Samples, name: str, **labels: str) -> float | None:
    return value(samples, name, portfolio="main", **labels)


def test_an_answered_alert_is_counted_by_what_became_of_it(client: FlaskClient, engine: FakeEngine) -> None:
    for answers in (
        lambda: decided(),
        lambda: decided(status="rejected", reason="stale"),
        lambda: decided(status="rejected", reason="stale"),
        lambda: decided(status="failed", reason="ValueError: whatever it was"),
        lambda: Answer(kind=AnswerKind.DUPLICATE, outcome={"status": "rejected", "reason": "stale"}),
        lambda: Answer(kind=AnswerKind.QUEUED),
    ):
        engine.answers = answers
        client.post("/webhook", json=BASE_ENTRY)
    samples = scraped(client)
    told = {
        (dict(labels)["status"], dict(labels)["reason"]): count
        for (name, labels), count in samples.items()
        if name == "answers_total"
    }
    assert told == {
        ("executed", ""): 1,
        ("rejected", "stale"): 2,
        ("failed", ""): 1,
        ("duplicate", ""): 1,
        ("queued", ""): 1,
    }
    assert of_main(samples, "answer_seconds_count") == 6


def test_how_long_an_answer_took_is_counted_in_the_first_bucket_that_holds_it(client: FlaskClient) -> None:
    client.post("/webhook", json=BASE_ENTRY)
    samples = scraped(client)
    buckets = {
        float(dict(labels)["le"]): count for (name, labels), count in samples.items() if name == "answer_seconds_bucket"
    }
    took = of_main(samples, "answer_seconds_sum")
    assert took is not None
    assert all(count == (1 if took <= bound else 0) for bound, count in buckets.items())
    assert max(buckets) == float("inf")


def test_a_refused_alert_is_counted_by_its_code_and_no_sender_can_make_up_another(client: FlaskClient) -> None:
    client.post("/webhook", data=b"hello")
    client.post("/webhook", json={**BASE_ENTRY, "price": -1, "made up": "x"})
    client.post("/webhook/elsewhere", json=BASE_ENTRY)
    codes = {dict(labels)["code"] for (name, labels), _ in scraped(client).items() if name == "refused_alerts_total"}
    assert codes
    assert all(re.fullmatch("[a-z_]+", code) for code in codes)
    assert "made up" not in codes


def test_the_state_is_told_as_the_status_tells_it(client: FlaskClient, engine: FakeEngine) -> None:
    samples, state = scraped(client), engine.portfolio.state
    told = {
        "ready": 1.0,
        "term": 3.0,
        "backlog": 2.0,
        "spool_kept": 1.0,
        "spool_usable": 1.0,
        "book_lag_entries": 5.0,
        "open_positions": float(len(engine.portfolio.positions)),
        "closed_equity": float(state.closed_equity),
        "risk_limit_percent": float(engine.portfolio.settings.limits.risk_percent),
        "proposals": 2.0,
        "halted": 0.0,
        "frozen_instruments": 1.0,
        "invariants_broken": 0.0,
        "last_commit_timestamp_seconds": NOON.timestamp(),
    }
    assert {name: of_main(samples, name) for name in told} == told
    assert of_main(samples, "orders", state="sent") == 2
    assert [of_main(samples, "role", role=role) for role in ("leader", "follower", "starting")] == [1, 0, 0]
    assert (value(samples, "process_resident_memory_bytes") or 0) > 1_000_000


def test_a_portfolio_that_is_not_loaded_yet_tells_what_it_can(
    client: FlaskClient, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away() -> dict[str, Any]:
        raise DatabaseAway

    monkeypatch.setattr(engine, "status", away)
    engine.ready, engine.role = False, "starting"
    samples = scraped(client)
    assert (of_main(samples, "ready"), of_main(samples, "backlog")) == (0, 2)
    assert of_main(samples, "closed_equity") is None


def test_a_portfolio_without_a_spool_tells_nothing_of_one(
    client: FlaskClient, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "backlog", lambda: {"backlog": 0, "spool": None})
    assert of_main(scraped(client), "spool_kept") is None


def test_a_portfolio_whose_book_is_not_kept_here_tells_nothing_of_it(engine: FakeEngine) -> None:
    with an_app(engine).test_client() as client:
        assert of_main(scraped(client), "book_lag_entries") is None


def test_the_newest_day_whose_risk_was_reckoned_is_told_by_who_has_it_done(
    client: FlaskClient, engine: FakeEngine
) -> None:
    told = scraped(client)
    assert value(told, "risk_last_day_timestamp_seconds") == datetime(2026, 1, 14, tzinfo=UTC).timestamp()
    assert value(told, "risk_failures_total") == 3
    nothing_yet = Reckoning(last_day=None, failures=0)
    with an_app(engine, reckoning=lambda: nothing_yet).test_client() as others:
        names = {name for name, _ in scraped(others)}
        assert ("risk_failures_total" in names, "risk_last_day_timestamp_seconds" in names) == (True, False)
    with an_app(engine).test_client() as others:
        assert not {name for name, _ in scraped(others) if name.startswith("risk_failures")}


def test_a_parameter_is_refused_here_as_everywhere(client: FlaskClient) -> None:
    assert client.get("/metrics?name=x").status_code == 400


def test_every_metric_is_explained_and_every_explanation_is_of_one(client: FlaskClient) -> None:
    client.post("/webhook", json=BASE_ENTRY)
    client.post("/webhook", data=b"hello")
    names = {name for name, _ in scraped(client) if not name.startswith(("process_", "python_"))}
    families = {re.sub("_(total|bucket|count|sum|created)$", "", name) for name in names}
    explained = set(re.findall(rf"^\| `{PREFIX}(\w+)`", GUIDE.read_text(encoding="utf-8"), re.MULTILINE))
    assert {re.sub("_total$", "", name) for name in explained} == families


# --- the rules and the dashboard beside it

ALERTS = [rule for group in RULES["groups"] for rule in group["rules"]]
QUERIES = [target["expr"] for panel in BOARD["panels"] for target in panel["targets"]]
ASKED = [*(rule["expr"] for rule in ALERTS), *QUERIES, BOARD["templating"]["list"][1]["query"]]


def test_what_rules_and_dashboard_ask_for_is_there_with_the_labels_they_name(client: FlaskClient) -> None:
    client.post("/webhook", json=BASE_ENTRY)
    client.post("/webhook", data=b"hello")
    labels: dict[str, set[str]] = {}
    for name, of_sample in scraped(client):
        labels.setdefault(f"{PREFIX}{name}", {"instance", "job"}).update(label for label, _ in of_sample)
    for query in ASKED:
        asked = set(re.findall(rf"{PREFIX}[a-z_]+", query))
        assert asked <= labels.keys(), query
        known = set.union(*(labels[name] for name in asked)) if asked else {"job"}
        named = re.findall(r"[{,]\s*(\w+)\s*=", query)
        named += [name for part in re.findall(r"by \(([^)]*)\)", query) for name in part.split(", ")]
        assert set(named) <= known, query


def test_every_alert_says_how_urgent_it_is_and_what_is_wrong() -> None:
    assert len({rule["alert"] for rule in ALERTS}) == len(ALERTS)
    for rule in ALERTS:
        assert rule["labels"]["severity"] in ("page", "ticket")
        assert len(rule["annotations"]["summary"]) > 20


def test_the_dashboards_panels_lie_beside_each_other() -> None:
    cells = [
        (place["x"] + across, place["y"] + down)
        for place in (panel["gridPos"] for panel in BOARD["panels"])
        for across in range(place["w"])
        for down in range(place["h"])
    ]
    assert len(cells) == len(set(cells))
    assert max(across for across, _ in cells) < 24
    assert len({panel["id"] for panel in BOARD["panels"]}) == len(BOARD["panels"])
