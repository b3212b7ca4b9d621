"""What pages of the book's database share: one transaction within the time of a request, and a sentence where that fails."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import structlog
from flask import Response, render_template

from core.errors import Retryable
from live.api.access import PAGE_POLICY
from live.api.book import BookApi
from live.api.book_query import node_number
from live.api.errors import HttpRefused
from live.api.queries import Query
from live.dashboard import words
from live.dashboard.assets import address
from live.portfolios import Portfolios

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

log = structlog.get_logger("live.book")


class PagesOf:
    """Pages below `path`, by address and name. `refused` is the template of what is refused; `not_migrated` what is said where
    the tables are missing."""

    def __init__(
        self,
        portfolios: Portfolios,
        book: BookApi,
        *,
        path: str,
        pages: Mapping[str, str],
        refused: str,
        not_migrated: str,
    ) -> None:
        self._portfolios = portfolios
        self._book = book
        self._path = path
        self._pages = pages
        self._refused = refused
        self._not_migrated = not_migrated

    def answer(
        self,
        template: str,
        query: Query,
        page: str,
        given: dict[str, str],
        read: Callable[["Session"], dict[str, Any]],
        **more: Any,
    ) -> Response:
        """The page of what is read; or, where the book refuses or does not answer in time, one that says so."""
        refused, status, found = "", 200, {}
        try:
            with self._book.session() as session:
                found = read(session)
        except HttpRefused as error:
            if error.status != 409:
                raise
            refused, status = self._sentence(error), 409
        except Retryable as error:
            log.warning("a page could not be made", path=self._path, page=page, error=str(error))
            refused, status = f"Not now: {error}. The engine goes on meanwhile; ask for less, or once more later.", 503
        names = [served.engine.portfolio_name for served in self._portfolios]
        text = render_template(
            self._refused if refused else template,
            address=address,
            words=words,
            refused=refused,
            given=given,
            path=self._path,
            pages=self._pages,
            page=page,
            portfolio=query.portfolio or names[0],
            names=names,
            asked=query.portfolio or "",
            **more,
            **found,
        )
        return Response(text, status=status, mimetype="text/html", headers={"Cache-Control": "no-store"})

    def _sentence(self, error: HttpRefused) -> str:
        if error.code == "book_not_migrated":
            return self._not_migrated
        return f"{str(error)[:1].upper()}{str(error)[1:]}."


def given_in(query: Query, *names: str) -> dict[str, str]:
    """What the page's form had in it; a field that is blank says nothing."""
    return {name: (query.text(name) or "").strip() for name in names}


def node_in(given: Mapping[str, str]) -> int | None:
    """The node that is asked for, None where none is."""
    return None if not given["node"] else node_number(given["node"])


def nodes_above(known: Mapping[int, Any], node: int | None) -> list[Any]:
    """The nodes above one, the root first."""
    found: list[Any] = []
    at = None if node is None else known[node]["parent_id"]
    while at is not None and at in known:
        found.insert(0, known[at])
        at = known[at]["parent_id"]
    return found


def with_policy(response: Response) -> Response:
    """The policy of pages."""
    response.headers["Content-Security-Policy"] = PAGE_POLICY
    return response
