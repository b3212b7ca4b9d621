"""Links between real engines: any instance knows them, the one that leads decides, and however often they are used it is once."""

import threading
from typing import Any

from flask.testing import FlaskClient

from core.proposals import Proposal
from live.engine import LiveTradingEngine
from live.links import Linked, Links
from tests.api_world import an_app_of
from tests.builders import a_signal, minutes, settings_with
from tests.engines import Clock, an_engine, without_waiting
from tests.integration.test_following import a_follower
from tests.queries import rows
from tests.verified import verified
from tests.waiting import eventually

ASKING = without_waiting(settings_with(approval={"mode": "approve", "expires_seconds": 600}))
STATES = "SELECT state, decided_by, note FROM proposals"


def asked(engine: LiveTradingEngine) -> Proposal:
    assert engine.process_signal(a_signal()).outcome["status"] == "proposed"
    (proposal,) = engine.portfolio.pending_proposals()
    return proposal


def a_link(links: Links, proposal: Proposal) -> str:
    linked = Linked(portfolio="main", proposal_id=proposal.proposal_id, expires_at=proposal.expires_at)
    return f"/link/{links.token(linked)}"


def the_links(clock: Clock) -> Links:
    return Links(secret="a-secret-that-instances-share", public_url="https://portfolio.example.com", clock=clock)


def client_of(engine: LiveTradingEngine, links: Links) -> FlaskClient:
    return an_app_of(engine, links=links).test_client()


def said(page: Any) -> tuple[int, str]:
    return page.status_code, page.get_data(as_text=True)


def test_one_who_follows_shows_it_and_says_who_decides_and_knows_soon_what_became_of_it(dsn: str) -> None:
    clock = Clock(minutes(1))
    links = the_links(clock)
    with an_engine(dsn, settings=ASKING, clock=clock) as leader, a_follower(dsn) as follower:
        proposal = asked(leader)
        link = a_link(links, proposal)
        assert eventually(lambda: follower.portfolio.pending_proposals() == [proposal])
        here, there = client_of(follower, links), client_of(leader, links)
        status, text = said(here.get(link))
        assert (status, "This instance follows another one" in text) == (200, True)
        status, text = said(here.post(f"{link}/approve", data={}))
        assert (status, "send it to the one that leads" in text) == (503, True)
        assert leader.portfolio.pending_proposals() == [proposal]
        assert said(there.post(f"{link}/approve", data={"note": "go"}))[0] == 200
        assert eventually(lambda: not follower.portfolio.pending_proposals())
        for client in (here, there):
            status, text = said(client.get(link))
            assert (status, "was approved by link" in text) == (410, True)
    assert rows(dsn, STATES) == [("approved", "link", "go")]
    verified(dsn)


def test_many_who_press_at_once_have_it_done_once(dsn: str) -> None:
    clock = Clock(minutes(1))
    links = the_links(clock)
    with an_engine(dsn, settings=ASKING, clock=clock) as engine:
        link = a_link(links, asked(engine))
        app = an_app_of(engine, links=links)
        titles: list[tuple[int, bool]] = []

        def press() -> None:
            status, text = said(app.test_client().post(f"{link}/approve", data={}))
            titles.append((status, "<h1>Approved</h1>" in text))

        threads = [threading.Thread(target=press) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(titles) == [(200, True), *[(410, False)] * 7]
        assert len(engine.positions) == 1
    verified(dsn)


def test_a_link_opened_a_thousand_times_writes_nothing(dsn: str) -> None:
    clock = Clock(minutes(1))
    links = the_links(clock)
    with an_engine(dsn, settings=ASKING, clock=clock) as engine:
        link, client = a_link(links, asked(engine)), client_of(engine, links)
        count = "SELECT count(*) FROM decision_journal"
        before, state = rows(dsn, count), engine.portfolio
        for _ in range(1000):
            assert client.get(link).status_code == 200
        assert rows(dsn, count) == before
        assert engine.portfolio is state
        clock.forward(minutes=10)
        assert said(client.get(link))[0] == 410
