"""The book's pages where the book does not answer: a sentence within the time of a request, and nothing of it for others."""

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import psycopg2
import pytest
from flask.testing import FlaskClient
from sqlalchemy.orm import Session, sessionmaker

from book.fx import set_rate
from live.app import create_app
from live.book_desk import BookDesk
from live.operators import Operators
from live.portfolios import Portfolios
from tests.book_world import NOON, TODAY, a_node
from tests.fake_engine import TOKEN, FakeEngine, served_by
from tests.integration.book.test_attribution import DAY, a_desk
from tests.waiting import Stopwatch, eventually

PAGES = ("", "/calendar", "/attribution")


@pytest.fixture
def client(book_dsn: str, sessions: sessionmaker[Session]) -> Iterator[FlaskClient]:
    with sessions.begin() as session:
        a_desk(session)
    desk = BookDesk(book_dsn, lambda: NOON)
    engine = FakeEngine()
    app = create_app(
        Portfolios({engine.portfolio_name: served_by(engine)}),
        operators=Operators(TOKEN, Path("none")),
        session_secret=TOKEN,
        book=desk,
    )
    yield app.test_client()
    desk.close()


def asked(client: FlaskClient, page: str) -> tuple[int, str]:
    response = client.get(f"/dashboard/book{page}")
    return response.status_code, response.get_data(as_text=True)


def test_a_book_that_is_locked_keeps_nobody_waiting(book_dsn: str, client: FlaskClient) -> None:
    assert eventually(lambda: [asked(client, page)[0] for page in PAGES] == [200] * 3)
    locking = psycopg2.connect(book_dsn)
    try:
        locking.cursor().execute("LOCK TABLE book.position_pnl_history IN ACCESS EXCLUSIVE MODE")
        for page in PAGES:
            began = Stopwatch()
            status, text = asked(client, page)
            assert status == 503
            assert "Not now: " in text
            assert began.seconds < 10  # two seconds, on a machine that others use too
            assert client.get("/health").status_code == 200
    finally:
        locking.close()
    assert eventually(lambda: asked(client, "")[0] == 200)


def test_what_others_called_their_nodes_is_text_on_every_page(
    client: FlaskClient, sessions: sessionmaker[Session]
) -> None:
    with sessions.begin() as session:
        node = a_node(session, "<b onclick=x>&").portfolio_node_id
    for page in ("", f"?node={node}", f"/calendar?of={node}", f"/attribution?of={node}&by=node"):
        assert eventually(lambda page=page: asked(client, page)[0] == 200)
        text = asked(client, page)[1]
        assert "&lt;b onclick=x&gt;&amp;" in text
        assert "<b onclick" not in text


def test_where_a_currency_has_to_be_said_the_page_asks_for_it(
    client: FlaskClient, sessions: sessionmaker[Session]
) -> None:
    with sessions.begin() as session:
        a_node(session, "Dollars", base_ccy="USD")
        set_rate(session, "USD/INR", Decimal(80), TODAY - DAY)
    for page, kept in (("?by=sector", "sector"), ("/calendar?year=2026", "2026"), ("/attribution?by=layer", "layer")):
        assert eventually(lambda page=page: asked(client, page)[0] == 409)
        text = asked(client, page)[1]
        assert "roots are in INR, USD" in text
        assert '<input name="currency"' in text
        assert f'value="{kept}"' in text
        assert asked(client, f"{page}&currency=usd")[0] == 200
