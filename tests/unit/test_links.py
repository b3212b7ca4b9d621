"""Links that decide a proposal: what is signed, what is not ours, and what the page behind one says and does."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from core.decide import decide
from core.errors import ConfigurationError
from core.inputs import ApproveProposal, RejectProposal
from core.proposals import Proposal
from live.answers import Answer, AnswerKind
from live.links import Linked, Links
from live.logs import without_secrets
from live.operators import Role, add_operator
from live.secrets import link_secret
from tests.builders import a_portfolio, a_signal, given, minutes, settings_with
from tests.fake_engine import FakeEngine, an_app, decided

LINKED = Linked(portfolio="main", proposal_id="P0123456789abcdef", expires_at=minutes(15))
NOW = [minutes(1)]
LINKS = Links(secret="a-secret-of-the-links", public_url="https://portfolio.example.com", clock=lambda: NOW[0])


@pytest.fixture(autouse=True)
def _clock() -> None:
    NOW[0] = minutes(1)


def test_a_link_says_what_it_is_for_and_is_known_again() -> None:
    address = LINKS.address(LINKED)
    assert address.startswith("https://portfolio.example.com/link/main.P0123456789abcdef.1768372200.")
    assert LINKS.read(address.rpartition("/")[2]) == LINKED
    assert without_secrets(f"GET {address} HTTP/1.1") == "GET https://portfolio.example.com/link/*** HTTP/1.1"
    assert LINKS.secret not in repr(LINKS)


def test_instances_with_the_same_secret_know_each_others_links() -> None:
    token = LINKS.token(LINKED)
    assert Links(secret=LINKS.secret, public_url="http://127.0.0.1", clock=LINKS.clock).read(token) == LINKED
    assert Links(secret="another-secret-of-links", public_url=LINKS.public_url, clock=LINKS.clock).read(token) is None


def test_a_link_with_one_letter_changed_is_none_of_ours() -> None:
    token = LINKS.token(LINKED)
    for place, letter in enumerate(token):
        other = "b" if letter == "a" else "a"
        assert LINKS.read(f"{token[:place]}{other}{token[place + 1 :]}") is None
    for wrong in ("", token[:-1], f"{token}A", f" {token}", f"{token}\n", token.replace("main", "Main"), "é" * 80):
        assert LINKS.read(wrong) is None


def test_a_link_ends_with_its_time_and_never_later() -> None:
    later = Linked(
        portfolio="main", proposal_id=LINKED.proposal_id, expires_at=datetime(2026, 1, 14, 7, 0, 0, 999999, UTC)
    )
    known = LINKS.read(LINKS.token(later))
    assert known is not None
    assert known.expires_at == datetime(2026, 1, 14, 7, tzinfo=UTC)
    assert not LINKS.is_over(LINKED)
    NOW[0] = LINKED.expires_at
    assert LINKS.is_over(LINKED)


def test_the_secret_is_made_once_and_kept_for_its_owner_alone(tmp_path: Path) -> None:
    made = link_secret(tmp_path, None)
    assert link_secret(tmp_path, None) == made
    assert link_secret(tmp_path, "a-configured-secret") == "a-configured-secret"
    assert (tmp_path / "link.secret").stat().st_mode & 0o777 == 0o600
    (tmp_path / "link.secret").chmod(0o644)
    with pytest.raises(ConfigurationError, match="others may use it"):
        link_secret(tmp_path, None)


def test_nobody_is_called_as_the_journal_calls_a_link(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="take another name"):
        add_operator(tmp_path / "operators.json", "link", Role.TRADER, minutes(0))


# --- the page


@pytest.fixture
def engine() -> FakeEngine:
    made = FakeEngine()
    made.portfolio = decide(
        a_portfolio(settings_with(approval={"mode": "approve"})), given(a_signal()), minutes(0)
    ).portfolio
    return made


@pytest.fixture
def client(engine: FakeEngine) -> FlaskClient:
    return an_app(engine, links=LINKS, rate_limits={"failed_tokens": "3/minute"}).test_client()


def waiting(engine: FakeEngine) -> Proposal:
    (proposal,) = engine.portfolio.pending_proposals()
    return proposal


def link_of(engine: FakeEngine) -> str:
    proposal = waiting(engine)
    linked = Linked(portfolio="main", proposal_id=proposal.proposal_id, expires_at=proposal.expires_at)
    return f"/link/{LINKS.token(linked)}"


def test_the_page_shows_what_would_be_done_now_and_does_nothing(client: FlaskClient, engine: FakeEngine) -> None:
    page = client.get(link_of(engine), headers={"Host": "elsewhere.example"})
    text = page.get_data(as_text=True)
    assert page.status_code == 200
    for words in ("enter long BANK_NIFTY Long 1", "52,000", "51,650", "21,000.00 (0.42 % of the equity)"):
        assert words in text
    assert "executed: 2 lots; volatility bound it: the volatility that one entry may add, at 52,000" in text
    assert "<script" not in text
    assert client.head(link_of(engine)).status_code == 200
    assert engine.commands == []
    headers = page.headers
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["Cache-Control"] == "no-store"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert "script-src" not in headers["Content-Security-Policy"]
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]


def test_what_is_posted_is_the_engines_command_by_a_link(client: FlaskClient, engine: FakeEngine) -> None:
    link, proposal_id = link_of(engine), waiting(engine).proposal_id
    page = client.post(f"{link}/approve", data={"lots": "1", "price": "52100.5", "note": " half "})
    assert (page.status_code, "Approved" in page.get_data(as_text=True)) == (200, True)
    page = client.post(f"{link}/reject", data={"note": "the news"})
    assert (page.status_code, "Rejected" in page.get_data(as_text=True)) == (200, True)
    approved, rejected = engine.commands
    assert isinstance(approved, ApproveProposal)
    assert (approved.proposal_id, approved.operator, approved.lots, approved.note) == (proposal_id, "link", 1, "half")
    assert str(approved.price) == "52100.50000000"
    assert rejected == RejectProposal(proposal_id=proposal_id, operator="link", note="the news")


def test_what_is_refused_is_said_and_may_be_tried_again(client: FlaskClient, engine: FakeEngine) -> None:
    engine.answers = lambda: decided(status="blocked", reason="halted", limiter=None, lots=0)
    page = client.post(f"{link_of(engine)}/approve", data={})
    text = page.get_data(as_text=True)
    assert "Not done. blocked: trading was halted" in text
    assert text.count("<form") == 2


@pytest.mark.parametrize(
    "answer, words",
    [
        (Answer(kind=AnswerKind.UNKNOWN), "It may have been done"),
        (
            Answer(kind=AnswerKind.NOT_TAKEN, message="send it to the one that leads, b:5000"),
            "the one that leads, b:5000",
        ),
    ],
)
def test_what_nobody_knows_or_another_one_decides_is_said(
    client: FlaskClient, engine: FakeEngine, answer: Answer, words: str
) -> None:
    engine.answers = lambda: answer
    page = client.post(f"{link_of(engine)}/approve", data={})
    assert page.status_code == 503
    assert words in page.get_data(as_text=True)


def test_one_who_follows_says_that_another_one_decides(client: FlaskClient, engine: FakeEngine) -> None:
    engine.role = "follower"
    assert "follows another one" in client.get(link_of(engine)).get_data(as_text=True)


def test_a_link_to_what_is_decided_says_who_decided_and_does_nothing(client: FlaskClient, engine: FakeEngine) -> None:
    link, proposal = link_of(engine), waiting(engine)
    engine.portfolio = a_portfolio()
    row: dict[str, Any] = {
        "proposal_id": proposal.proposal_id,
        "fingerprint": proposal.fingerprint,
        "state": "rejected",
    }
    row |= {"decided_by": "ada", "note": "news", "decided_lots": None, "decided_price": None}
    engine.reads.proposal_rows = [row]
    for page in (client.get(link), client.post(f"{link}/approve", data={}), client.post(f"{link}/reject", data={})):
        assert page.status_code == 410
        assert "was rejected by ada (&#34;news&#34;)" in page.get_data(as_text=True)
    assert engine.commands == []


def test_a_link_whose_time_is_over_decides_nothing(client: FlaskClient, engine: FakeEngine) -> None:
    link = link_of(engine)
    NOW[0] = waiting(engine).expires_at
    assert client.post(f"{link}/approve", data={}).status_code == 410
    assert "Nobody decided until" in client.get(link).get_data(as_text=True)
    assert engine.commands == []


def test_with_the_database_away_what_became_of_it_is_not_guessed(client: FlaskClient, engine: FakeEngine) -> None:
    link = link_of(engine)
    engine.portfolio, engine.reads.away = a_portfolio(), True
    page = client.get(link)
    assert page.status_code == 503
    assert "open the link once more" in page.get_data(as_text=True)


def test_who_guesses_is_soon_not_listened_to(client: FlaskClient, engine: FakeEngine) -> None:
    link, elsewhere = link_of(engine), {"REMOTE_ADDR": "203.0.113.9"}
    for status in (403, 403, 403, 429):
        assert client.get(f"{link[:-2]}xx", environ_overrides=elsewhere).status_code == status
    page = client.post(f"{link}/approve", data={}, environ_overrides=elsewhere)
    assert page.status_code == 429
    assert page.headers["Retry-After"]
    assert engine.commands == []
    assert client.get(link).status_code == 200


def test_where_no_public_address_is_set_every_link_is_wrong(engine: FakeEngine) -> None:
    client = an_app(engine).test_client()
    assert client.get(link_of(engine)).status_code == 403
    assert client.post(f"{link_of(engine)}/approve", data={}).status_code == 403
    assert engine.commands == []
