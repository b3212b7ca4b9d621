"""Every address with what it takes and answers. One that is not listed here is not in /openapi.json, and a test fails."""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from core.models import PositionStatus, Status
from core.orders import OrderState
from core.proposals import ProposalState
from live.api.book_files import CONTENTS, DOWNLOAD, EXPORTED_FORMATS, KINDS, UPLOADED_FORMATS
from live.api.book_reference import ENTITY_TYPES
from live.api.book_reports import CAPITAL
from live.api.queries import DEFAULT_LIMIT, LARGEST_ID, MAX_LIMIT
from live.api.risk import CONFIDENCES, LONGEST_SCENARIO, METHODS, POSITION, SOURCE, TIME, TIMEFRAMES
from live.api.risk_sessions import STATUSES, TAG_TYPES
from live.api.schema import answers, bodies, book, book_positions, book_reference, reports, risk, risk_sessions, rows
from live.api.schema.route import EVENTS, FORM, HTML, Content, Needs, Route, Schema
from live.webhook_secrets import SIGNATURE, SIGNED_AT


def _whole(most: int, **more: Any) -> Schema:
    return {"type": "integer", "minimum": 1, "maximum": most, **more}


def _any_of(*known: str) -> Schema:
    return {"type": "array", "items": {"enum": [*known, "all"]}, "minItems": 1}


_PORTFOLIO = {"type": "string", "pattern": "^[A-Za-z][A-Za-z0-9_]{0,29}$"}
_LIMIT = _whole(MAX_LIMIT, default=DEFAULT_LIMIT)
_INSTRUMENT = {"type": "string", "pattern": "^[A-Za-z0-9_]{1,29}$"}
_ID = {"type": "string", "minLength": 1}
_TEXT = {"type": "string"}
_PAGED_BY_NUMBER = {"limit": _LIMIT, "before": _whole(LARGEST_ID)}
_PAGED_BY_ID = {"limit": _LIMIT, "before": _ID}

_DAY = {"type": "string", "format": "date"}
_CURRENCY = {"type": "string", "pattern": "^[A-Za-z]{3,5}$"}
_ON_A_DAY = {"as_of": _DAY, "currency": _CURRENCY}
_IN_A_PERIOD = {"from": _DAY, "to": _DAY, "node": _whole(LARGEST_ID), "currency": _CURRENCY}
_BY = {"enum": ["instrument", "strategy", "layer", "node"], "default": "instrument"}
_SHEET = {"from": _DAY, "to": _DAY, "currency": _CURRENCY, "capital": {"type": "string", "pattern": f"^({CAPITAL})$"}}
_OF_A_DAY = {"date": _DAY, "node": _whole(LARGEST_ID)}
_PAGED_BY_POSITION = {"limit": _LIMIT, "after": {"type": "string", "pattern": f"^{POSITION}$"}}
_BARS: Mapping[str, Schema] = {
    "instrument": _INSTRUMENT,
    "timeframe": {"enum": list(TIMEFRAMES), "default": "1d"},
    "from": _DAY,
    "to": _DAY,
    "as_of": {"anyOf": [_DAY, {"type": "string", "format": "date-time", "pattern": f"^{TIME}$"}]},
    "source": {"type": "string", "pattern": f"^{SOURCE}$"},
    "expiry": _DAY,
    "limit": _LIMIT,
    "before": {"type": "string", "format": "date-time", "pattern": f"^{TIME}$"},
}
# By a process of its own: one at a time, and anew whenever it is asked for.
_MADE: dict[str, Any] = {"refused": (409, 429), "has_etag": False}

# What is told of parameters, by their names.
PARAMETERS = {
    "portfolio": "Which portfolio; needed where several are served.",
    "limit": "How many rows at most.",
    "before": "The `next` of the page before.",
    "status": "One or more, with commas.",
    "state": "One or more, with commas.",
    "instrument": "Only of this one.",
    "version": "What is known already: the `version` of what came before.",
    "type": "Only entities of this type.",
    "as_of": "At the end of this day (UTC); without it, now. Of bars also at a time.",
    "date": "The day that was reckoned; without it, the newest that was to its end, of steps the newest of all.",
    "scenario": "Only this one, with what it would have earned each position.",
    "method": "How it was foreseen.",
    "confidence": "How seldom it is to be exceeded.",
    "timeframe": "How long a bar is.",
    "source": "Who tells them; needed where several do.",
    "expiry": "Of the contract that expires then.",
    "currency": "All money in this one; without it, the node's own, or that of all roots.",
    "after": "The `next` of the page before.",
    "kind": "Of what the file's rows are.",
    "format": "How the file is written.",
    "partial": "`true`: good rows are taken though others are refused.",
    "name": "What the file is called, for the record.",
    "content": "What the file holds.",
    "from": "The first day (UTC); of an attribution the day at whose end it begins.",
    "to": "The last day (UTC); of P&L without it today, of an attribution the newest that has marks.",
    "target": "TargetCompID of FIX messages.",
    "node": "Only of this node and all below it.",
    "by": "What is told apart; a node's are its children.",
    "capital": "Returns of this capital; without it, of that of the portfolios that hang there.",
    "session": "Of this what-if session.",
    "other": "The session that it is compared with.",
    "days": "Of how many days that were reckoned; without it, 250.",
    "year_begins": "The month that tax years begin with.",
    "of": "One entry: its number, the position that it opened, or its fingerprint; of the book a node's number or a portfolio.",
    "year": "The year; without it, this one. Of tax lots: only this tax year, 2025-26, or 2025 where it begins in January.",
}
IN_PATH: Mapping[str, Schema] = {
    "portfolio": {"schema": _PORTFOLIO, "description": "Which portfolio it is for."},
    "instrument": {"schema": _INSTRUMENT, "description": "The instrument."},
    "token": {"schema": _ID, "description": "The webhook's secret, where it is taken there."},
    "position_id": {"schema": _ID, "description": "The position's id."},
    "proposal_id": {"schema": _ID, "description": "The proposal's id, as /proposals tells it."},
    "link": {
        "schema": _ID,
        "description": "What a notification of the proposal ends with: signed, and good until it ends.",
    },
    "entered_id": {"schema": _ID, "description": "The number of a position that was entered."},
    "node_id": {"schema": _ID, "description": "The node's number."},
    "entity_id": {"schema": _ID, "description": "The number of an issuer, sector, geography or currency."},
    "client_order_id": {"schema": _ID, "description": "The order's id, as /orders tells it."},
    "briefing_date": {"schema": _DAY, "description": "The trading day."},
    "batch_id": {"schema": _ID, "description": "The upload's number."},
    "session_id": {"schema": _ID, "description": "The what-if session's number."},
}


def _alert(path: str, summary: str, query: Mapping[str, Schema]) -> Route:
    return Route(
        method="POST",
        path=path,
        summary=summary,
        tag="Alerts",
        answers={200: answers.AnsweredAlert, 202: answers.KeptAlert},
        query=query,
        body=bodies.Alert,
        body_required=True,
        headers={
            SIGNATURE.replace("_", "-"): "The signature of the body, where the portfolio's secret signs.",
            SIGNED_AT.replace("_", "-"): "When it was signed, in seconds since 1970.",
        },
        refused=(401, 403, 413, 429),
    )


def _view(path: str, summary: str, answer: Content, query: Mapping[str, Schema] | None = None, **more: Any) -> Route:
    return Route(
        method="GET",
        path=path,
        summary=summary,
        query={**(query or {}), "portfolio": _PORTFOLIO},
        **{
            "tag": "Portfolio",
            "answers": {200: answer},
            "has_etag": True,
            "needs": Needs.VIEWER_FROM_ELSEWHERE,
            **more,
        },
    )


def _moment(path: str, summary: str, answer: Content, away: Content = answers.Failed, **more: Any) -> Route:
    """A view that tells of this moment only."""
    told = {200: answer} if away is answers.Failed else {200: answer, 503: away}
    return _view(path, summary, answer, **{"tag": "Health", "answers": told, "has_etag": False, **more})


def _command(
    path: str, summary: str, body: type[BaseModel] | None, answer: Content = answers.AnsweredCommand, **more: Any
) -> Route:
    return Route(
        method="POST",
        path=path,
        summary=summary,
        body=body,
        refused=(*more.pop("refused", ()), 413),
        **{
            "tag": "Commands",
            "needs": Needs.TRADER,
            "answers": {200: answer},
            "query": {"portfolio": _PORTFOLIO},
            **more,
        },
    )


def _page(path: str, summary: str, content: Content) -> Route:
    return Route(
        method="GET",
        path=path,
        summary=summary,
        tag="Description",
        answers={200: content},
        needs=Needs.VIEWER_FROM_ELSEWHERE,
        has_etag=True,
    )


def _drawn(path: str, summary: str, answer: Content, query: Mapping[str, Schema] | None = None, **more: Any) -> Route:
    """What the dashboard is made of."""
    return _view(path, summary, answer, query, **{"tag": "Dashboard", "has_etag": False, **more})


def _linked(method: str, path: str, summary: str, **more: Any) -> Route:
    """What is behind a link that decides a proposal: a page whatever becomes of it."""
    refused = (400, 413) if method == "POST" else ()
    return Route(
        method=method,
        path=f"/link/<link>{path}",
        summary=summary,
        tag="Links",
        answers=dict.fromkeys((200, *refused, 403, 404, 410, 429, 503), HTML),
        **more,
    )


def _of_book(path: str, summary: str, answer: Content, query: Mapping[str, Schema] | None = None, **more: Any) -> Route:
    """A view of the book, which is of the whole database."""
    return _view(path, summary, answer, query, **{"tag": "Book", "refused": (409,), **more})


def _to_book(path: str, summary: str, body: type[BaseModel], answer: Content) -> Route:
    return _command(path, summary, body, answer, tag="Book", body_required=True, refused=(409,))


def _of_risk(path: str, summary: str, answer: Content, query: Mapping[str, Schema], *needed: str) -> Route:
    """A view of what the daily batch kept, and of market data."""
    return _view(f"/api/risk{path}", summary, answer, query, tag="Risk", refused=(409,), needed=needed)


def _book_page(path: str, summary: str, query: Mapping[str, Schema]) -> Route:
    """A page that says itself what the book refuses, and that it does not answer."""
    return _drawn(f"/dashboard/book{path}", summary, HTML, query, answers=dict.fromkeys((200, 409, 503), HTML))


def _risk_page(path: str, summary: str, query: Mapping[str, Schema] | None = None) -> Route:
    """A page of a node on a day, that says itself what is refused."""
    asked: dict[str, Schema] = {"node": _NUMBER_OR_BLANK, "date": _DAY_OR_BLANK, **(query or {})}
    return _drawn(f"/dashboard/risk{path}", summary, HTML, asked, answers=dict.fromkeys((200, 409, 503), HTML))


# The fields of the pages' forms: one that is blank says nothing.
_DAY_OR_BLANK = {"anyOf": [_DAY, {"const": ""}]}
_CURRENCY_OR_BLANK = {"type": "string", "pattern": "^([A-Za-z]{3,5})?$"}
_NUMBER_OR_BLANK = {"type": "string", "pattern": "^([1-9][0-9]{0,17})?$"}
_OF = {"type": "string", "pattern": "^[A-Za-z0-9_]{0,30}$"}


ROUTES = (
    _alert("/webhook", "Deliver an alert", {"portfolio": _PORTFOLIO}),
    _alert("/webhook/<portfolio>", "Deliver an alert to one portfolio", {}),
    _alert("/webhook/<portfolio>/<token>", "The same with the secret in the address", {}),
    _view(
        "/positions",
        "Positions, newest first",
        answers.Positions,
        {"status": _any_of(*PositionStatus), "instrument": _INSTRUMENT, **_PAGED_BY_ID},
    ),
    _view("/positions/<position_id>", "One position, open or closed", rows.Position),
    _view(
        "/orders",
        "Orders with their fills, newest first",
        answers.Orders,
        {"state": _any_of(*OrderState), "instrument": _INSTRUMENT, **_PAGED_BY_ID},
    ),
    _view(
        "/proposals",
        "Signals that wait for a human, newest first",
        answers.Proposals,
        {"state": _any_of(*ProposalState), "instrument": _INSTRUMENT, **_PAGED_BY_NUMBER},
    ),
    _view(
        "/signals",
        "Alerts and what became of them, newest first",
        answers.Signals,
        {"status": _any_of(*Status), "instrument": _INSTRUMENT, **_PAGED_BY_NUMBER},
    ),
    _view("/journal", "Every input and what was decided on it, newest first", answers.Journal, _PAGED_BY_NUMBER),
    _view(
        "/status",
        "A portfolio's figures, and who serves it",
        answers.PortfolioStatus,
        answers={200: answers.PortfolioStatus, 503: answers.Away},
    ),
    _view("/webhook/stats", "Alerts by type and outcome", answers.SignalCounts),
    _view("/portfolios", "The portfolios of this process", answers.Portfolios),
    _moment(
        "/instances",
        "The processes, and who led in which term",
        answers.Instances,
        query=_PAGED_BY_NUMBER,
        tag="Portfolio",
    ),
    _moment("/db/status", "The database", answers.DatabaseStatus, answers.DatabaseAway),
    _moment("/health", "The process is alive", answers.Alive, needs=Needs.NOTHING),
    _moment("/ready", "Signals can be kept", answers.Ready, answers.NotReady, needs=Needs.NOTHING),
    _moment("/leader", "Whether this instance leads", answers.Leads, answers.DoesNotLead, needs=Needs.NOTHING),
    _moment("/metrics", "For Prometheus", "text/plain"),
    _command("/halt", "No entries; with an instrument none of that", bodies.Halt),
    _command("/resume", "Entries again; with an instrument the end of its freeze", bodies.Resume),
    _command("/capital", "A deposit or withdrawal", bodies.Capital, body_required=True, needs=Needs.ADMIN),
    _command("/positions/<position_id>/close", "Close one position, or `ALL`", bodies.Close),
    _command(
        "/orders/<client_order_id>/resolve",
        "The end of an order that nobody knows of",
        bodies.Resolution,
        body_required=True,
    ),
    _command("/proposals/<proposal_id>/approve", "Do what is proposed", bodies.Approval),
    _command("/proposals/<proposal_id>/reject", "Do not do it, and why", bodies.Rejection, body_required=True),
    _command("/rollover/scan", "What is due to leave its contract is marked", bodies.Rollover),
    _command("/rollover/execute", "What is due to leave its contract is rolled", bodies.Rollover),
    _command("/reconcile", "Ours beside the broker's positions", bodies.NoMore, answers.Reconciled, refused=(409,)),
    _command("/reconcile/adopt", "Make a layer of what the broker holds", bodies.Adoption, body_required=True),
    _command(
        "/reconcile/write-off", "Book as sold what the broker no longer holds", bodies.WriteOff, body_required=True
    ),
    _command("/reconcile/ignore", "Accept a difference as none of ours", bodies.Ignored, body_required=True),
    _command("/handover", "Another instance leads", bodies.NoMore, answers.Handover, refused=(409,), needs=Needs.ADMIN),
    Route(
        method="GET",
        path="/login",
        summary="The form that takes an operator's token",
        tag="Sessions",
        answers={200: HTML},
    ),
    Route(
        method="POST",
        path="/login",
        summary="A session for a browser",
        tag="Sessions",
        body=bodies.Login,
        body_type=FORM,
        answers={303: HTML, 401: HTML},
        refused=(403, 413, 429),
    ),
    Route(
        method="POST",
        path="/logout",
        summary="The end of the session",
        tag="Sessions",
        answers={200: answers.SignedOut},
        refused=(403, 429),
    ),
    Route(
        method="GET",
        path="/session",
        summary="Who is signed in",
        tag="Sessions",
        answers={200: answers.Session},
        needs=Needs.VIEWER,
    ),
    _linked("GET", "", "A proposal, for who has its link: nothing is changed"),
    _linked("POST", "/approve", "Do what is proposed, by a link", body=bodies.LinkApproval, body_type=FORM),
    _linked(
        "POST",
        "/reject",
        "Do not do it, and why, by a link",
        body=bodies.LinkRejection,
        body_type=FORM,
        body_required=True,
    ),
    _drawn("/", "The dashboard", HTML),
    _drawn("/events", "What changes on its page, as it changes", EVENTS, {"version": _TEXT}),
    _drawn("/dashboard/state", "What has changed on its page", answers.BoardChanges, {"version": _TEXT}),
    _drawn("/dashboard/equity", "Closed equity, trade by trade", answers.EquityCurve),
    _drawn("/dashboard/ladder/<instrument>", "An instrument's prices and layers", answers.Ladder),
    _drawn(
        "/dashboard/journal",
        "The journal in words",
        HTML,
        {
            # The fields of its form: one that is blank says nothing.
            "of": _TEXT,
            "instrument": {"type": "string", "pattern": "^[A-Za-z0-9_]{0,29}$"},
            "status": {"enum": [*Status, ""]},
            "before": {"type": "string", "pattern": "^([1-9][0-9]{0,17})?$"},
        },
        answers={200: HTML, 503: HTML},
    ),
    _of_book("/api/book/tree", "The tree of portfolios with its figures", book.BookTree, _ON_A_DAY),
    _of_book("/api/book/nodes", "Its nodes, and the portfolios that hang on them", book.BookNodes, {"as_of": _DAY}),
    _of_book("/api/book/nodes/<node_id>", "A node, and what it holds", book.BookNode, _ON_A_DAY),
    _of_book("/api/book/instruments", "The master of instruments", book.BookInstruments),
    _of_book("/api/book/fx", "The newest rates", book.BookRates, {"as_of": _DAY}),
    _to_book("/api/book/nodes", "A new node", book.NewNode, book.ChangedNode),
    _to_book("/api/book/nodes/<node_id>", "Another name or parent", book.NodeChange, book.ChangedNode),
    _to_book("/api/book/nodes/<node_id>/portfolios", "A portfolio hangs on it", book.HungPortfolio, book.ChangedNode),
    _to_book("/api/book/fx", "A rate as of a day", book.NewRate, book.KeptRate),
    _of_book(
        "/api/book/entities",
        "Issuers, sectors, geographies, currencies",
        book_reference.Entities,
        {"type": {"enum": list(ENTITY_TYPES)}},
    ),
    _to_book("/api/book/entities", "A new one", book_reference.NewEntity, book_reference.ChangedEntity),
    _to_book(
        "/api/book/entities/<entity_id>", "It is changed", book_reference.EntityChange, book_reference.ChangedEntity
    ),
    _to_book("/api/book/instruments", "A new one", book_reference.NewInstrument, book_reference.ChangedInstrument),
    _to_book(
        "/api/book/instruments/<instrument>",
        "It is changed",
        book_reference.InstrumentChange,
        book_reference.ChangedInstrument,
    ),
    _of_book("/api/book/ratings", "What agencies thought of issuers", book_reference.Ratings, {"as_of": _DAY}),
    _of_book("/api/book/prices", "What instruments cost, as uploaded", book_reference.Prices, {"as_of": _DAY}),
    _of_book("/api/book/servicing", "Where loans stood", book_reference.Servicing, {"as_of": _DAY}),
    _of_book(
        "/api/book/positions",
        "Positions entered by hand, the latest first",
        book_positions.EnteredPositions,
        {"status": {"enum": ["open", "closed", "all"], "default": "open"}, **_PAGED_BY_NUMBER},
    ),
    _to_book(
        "/api/book/positions",
        "A position is entered",
        book_positions.NewEnteredPosition,
        book_positions.ChangedPosition,
    ),
    _to_book(
        "/api/book/positions/<entered_id>",
        "It is corrected",
        book_positions.EnteredCorrection,
        book_positions.ChangedPosition,
    ),
    _to_book(
        "/api/book/positions/<entered_id>/close",
        "It is closed",
        book_positions.EnteredClose,
        book_positions.ChangedPosition,
    ),
    _of_book(
        "/api/book/briefings", "Briefings, the latest day first", answers.Briefings, {"limit": _LIMIT, "before": _DAY}
    ),
    _of_book("/api/book/briefings/<briefing_date>", "The briefing of a day", rows.Briefing),
    _of_book("/api/book/briefings/<briefing_date>/page", "The same to read", HTML),
    _book_page(
        "",
        "The book's tree, or a node of it",
        {
            "node": _NUMBER_OR_BLANK,
            "as_of": _DAY_OR_BLANK,
            "currency": _CURRENCY_OR_BLANK,
            "by": {"enum": ["instrument", "sector", "currency", ""]},
        },
    ),
    _book_page(
        "/calendar",
        "What each trading day of a year earned",
        {"of": _OF, "year": {"type": "string", "pattern": "^((19|20|21)[0-9]{2})?$"}, "currency": _CURRENCY_OR_BLANK},
    ),
    _book_page(
        "/attribution",
        "What made equity change, as a waterfall",
        {
            "of": _OF,
            "from": _DAY_OR_BLANK,
            "to": _DAY_OR_BLANK,
            "by": {"enum": [*_BY["enum"], ""]},
            "currency": _CURRENCY_OR_BLANK,
        },
    ),
    _book_page(
        "/proposals",
        "Proposals, the newest first",
        {
            "status": {"enum": [*ProposalState, ""]},
            "instrument": {"type": "string", "pattern": "^[A-Za-z0-9_]{0,29}$"},
            "before": _NUMBER_OR_BLANK,
        },
    ),
    _book_page("/briefings", "Briefings, the latest day first", {"before": _DAY_OR_BLANK}),
    _risk_page("", "What a day's risk of a node was"),
    _risk_page("/factors", "What a node is exposed to, and what its volatility is made of"),
    _risk_page("/correlations", "How what a node holds moves together, as a heat-map"),
    _risk_page("/stress", "What scenarios would earn a node, and one of them its positions", {"scenario": _TEXT}),
    _risk_page(
        "/value-at-risk",
        "Value at risk by day, and what came of it",
        {
            "method": {"enum": ["historical", "normal", "monte_carlo", ""]},
            "confidence": {"enum": ["95", "99", ""]},
            "days": {"enum": ["60", "125", "250", "500", "1000", ""]},
        },
    ),
    _drawn(
        "/dashboard/risk/term-structure",
        "What an instrument's contracts cost beside each other",
        HTML,
        {
            "instrument": {"type": "string", "pattern": "^[A-Za-z0-9_]{0,29}$"},
            "as_of": _DAY_OR_BLANK,
            "source": {"type": "string", "maxLength": 50},
        },
        answers=dict.fromkeys((200, 409, 503), HTML),
    ),
    _drawn(
        "/dashboard/risk/what-if",
        "What-if sessions, one before and after, or two beside each other",
        HTML,
        {"session": _NUMBER_OR_BLANK, "other": _NUMBER_OR_BLANK, "before": _NUMBER_OR_BLANK},
        answers=dict.fromkeys((200, 409, 503), HTML),
    ),
    _of_book("/api/book/pnl/calendar", "What each trading day earned", book.PnLCalendar, _IN_A_PERIOD),
    _of_book(
        "/api/book/pnl/attribution",
        "What made equity change between two days",
        book.PnLAttribution,
        {**_IN_A_PERIOD, "by": _BY},
    ),
    _of_book("/api/book/uploads", "Files that came in, the newest first", book.Uploads, _PAGED_BY_NUMBER),
    _of_book("/api/book/uploads/<batch_id>/lineage", "Where one came from", book_reference.Lineage),
    _of_book(
        "/api/book/uploads/<batch_id>/rows",
        "The rows of one, and what was found of them",
        book.UploadedRows,
        {"status": _any_of("pass", "warn", "fail"), "limit": _LIMIT, "after": _whole(LARGEST_ID)},
    ),
    _command(
        "/api/book/uploads",
        "Take a file",
        None,
        book.Uploaded,
        answers={200: book.Uploaded, 422: book.RefusedUpload},
        tag="Book",
        refused=(409,),
        takes_file=True,
        query={
            "portfolio": _PORTFOLIO,
            "kind": {"enum": list(KINDS)},
            "format": {"enum": list(UPLOADED_FORMATS)},
            "partial": {"enum": ["true", "false"]},
            "name": {"type": "string", "minLength": 1, "maxLength": 255},
        },
        needed=("kind",),
    ),
    _of_book("/api/book/exports", "Files that went out, the newest first", book.Exports, _PAGED_BY_NUMBER),
    _command(
        "/api/book/exports",
        "Make a file, and keep what it was",
        None,
        DOWNLOAD,
        tag="Book",
        refused=(409,),
        query={
            "portfolio": _PORTFOLIO,
            "content": {"enum": list(CONTENTS)},
            "format": {"enum": list(EXPORTED_FORMATS)},
            "from": _DAY,
            "to": _DAY,
            "target": {"type": "string", "pattern": "^[A-Za-z0-9_.-]{1,20}$"},
        },
        needed=("content", "format"),
    ),
    _of_book("/api/book/nodes/<node_id>/tear-sheet", "What its returns say", reports.TearSheet, _SHEET, **_MADE),
    _of_book("/api/book/nodes/<node_id>/tear-sheet.html", "The same to read", HTML, _SHEET, **_MADE),
    _of_book(
        "/api/book/tax-lots",
        "What was realised, by tax year and instrument",
        reports.TaxReport,
        {"year_begins": _whole(12, default=4), "year": {"type": "string", "pattern": "^[0-9]{4}(-[0-9]{2})?$"}},
        **_MADE,
    ),
    _of_risk("/days", "Days that were reckoned, the newest first", risk.RiskDays, {"limit": _LIMIT, "before": _DAY}),
    _of_risk(
        "/nodes",
        "A day's nodes: exposure, volatility, value at risk",
        risk.NodesRisk,
        {**_OF_A_DAY, "limit": _LIMIT, "after": _whole(LARGEST_ID)},
    ),
    _of_risk("/positions", "A day's positions", risk.PositionsOfDay, {**_OF_A_DAY, **_PAGED_BY_POSITION}),
    _of_risk("/exposures", "Which factors a node's volatility is of", risk.Exposures, _OF_A_DAY, "node"),
    _of_risk("/correlations", "How what a node held moves together", risk.Correlations, _OF_A_DAY, "node"),
    _of_risk(
        "/stress",
        "What scenarios would have earned a node",
        risk.Stress,
        {
            **_OF_A_DAY,
            "scenario": {"type": "string", "minLength": 1, "maxLength": LONGEST_SCENARIO},
            **_PAGED_BY_POSITION,
        },
        "node",
    ),
    _of_risk(
        "/value_at_risk",
        "What was foreseen by day, what came, and the tests of it",
        risk.ValueAtRisk,
        {
            "node": _whole(LARGEST_ID),
            "from": _DAY,
            "to": _DAY,
            "method": {"enum": list(METHODS), "default": METHODS[0]},
            "confidence": {"enum": list(CONFIDENCES), "default": next(iter(CONFIDENCES))},
        },
        "node",
    ),
    _of_risk("/scenarios", "Stress scenarios with their shocks", risk.Scenarios, {}),
    _of_risk("/factors", "Factors, and what tells how they move", risk.Factors, {}),
    _of_risk("/steps", "The log of a day's batch", risk.BatchSteps, {"date": _DAY}),
    _of_risk(
        "/sessions",
        "What-if sessions, the newest first",
        risk_sessions.WhatIfSessions,
        {"status": {"enum": list(STATUSES)}, "limit": _LIMIT, "before": _whole(LARGEST_ID)},
    ),
    _of_risk("/sessions/<session_id>", "A session: its changes and what they do", risk_sessions.WhatIfSession, {}),
    _of_risk(
        "/exports",
        "Files that were made of sessions, the newest first",
        risk_sessions.RiskExports,
        {"limit": _LIMIT, "before": _whole(LARGEST_ID)},
    ),
    _of_risk("/tags", "Tags that are in use", risk_sessions.RiskTags, {"type": {"enum": list(TAG_TYPES)}}),
    _of_risk(
        "/term_structure",
        "An instrument's contracts beside each other",
        risk_sessions.TermStructureTold,
        {name: _BARS[name] for name in ("instrument", "as_of", "source")},
        "instrument",
    ),
    _of_risk("/bars", "Market data: bars as they were known, the newest first", risk.MarketBars, _BARS, "instrument"),
    _command(
        "/api/risk/batch",
        "Reckon a day, as `risk batch` does",
        risk.BatchAsked,
        risk.Reckoned,
        tag="Risk",
        body_required=True,
        refused=(409,),
    ),
    _page("/openapi.json", "This description", answers.Document),
    _page("/docs", "The same to read", HTML),
)
