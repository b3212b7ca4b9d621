"""What is behind a link that decides a proposal: a page that shows it and changes nothing, and two forms that decide it."""

from collections.abc import Callable

import structlog
from flask import Blueprint, Response, render_template, request
from msgspec.structs import asdict

from core.decide import decide
from core.errors import Retryable
from core.events import ProposalDecided
from core.inputs import ApproveProposal, ProposalCommand, RejectProposal
from core.models import SignalType, Status
from core.portfolio import Portfolio
from core.proposals import NOTE_LENGTH, Proposal
from core.strict_json import BodyRefused
from live.answers import AnswerKind
from live.api.bodies import FormBody
from live.api.errors import HttpRefused, status_of
from live.api.told import told
from live.dashboard.asked import waiting_row
from live.dashboard.assets import address
from live.explain import in_words, plain_number, proposal_in_words
from live.links import DECIDED_BY, PATH, Linked, Links
from live.portfolios import Portfolios
from live.ports import Engine
from live.rate_limits import FailureLimit

log = structlog.get_logger("live.linked")

# No script at all: whoever has such a page may decide.
POLICY = (
    "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_DONE = (Status.EXECUTED, Status.ACCEPTED)
_TITLES = {
    403: "This link is not right",
    404: "Nothing is served under this link",
    410: "This link is over",
    429: "Too many wrong links",
    503: "Not now",
}
_WRONG = (
    "It was not made here, or a part of it is missing: open it once more from where it was sent. Instances that serve one "
    "portfolio need the same link_secret."
)


class LinkedPages:
    """GET /link/LINK, and POST below it. Who guesses is counted among `failures`, as at the login. No `links`: all are wrong."""

    def __init__(self, portfolios: Portfolios, links: Links | None, failures: FailureLimit) -> None:
        self._portfolios = portfolios
        self._links = links
        self._failures = failures

    def blueprint(self) -> Blueprint:
        """The routes. Whatever is refused is told by a page, too."""
        blueprint = Blueprint("linked", __name__, template_folder="templates")
        blueprint.after_request(_with_policy)
        blueprint.register_error_handler(HttpRefused, _refused)
        blueprint.register_error_handler(BodyRefused, _body_refused)
        blueprint.register_error_handler(Retryable, _away)
        blueprint.get(f"{PATH}<link>")(self.show)
        blueprint.post(f"{PATH}<link>/approve")(self.approve)
        blueprint.post(f"{PATH}<link>/reject")(self.reject)
        return blueprint

    def show(self, link: str) -> Response:
        """The proposal and what would be done now. Programs open links to look for harm: nothing is changed by it."""
        linked, engine = self._opened(link)
        return self._asked(engine, linked, link)

    def approve(self, link: str) -> Response:
        """Done now, with every limit asked again; what is refused waits on."""

        def read(proposal_id: str) -> ProposalCommand:
            body = FormBody("lots", "price", "note")
            return ApproveProposal(
                proposal_id=proposal_id,
                operator=DECIDED_BY,
                lots=body.lots(),
                price=body.price("price"),
                note=body.text("note", NOTE_LENGTH),
            )

        return self._decided(link, read)

    def reject(self, link: str) -> Response:
        """Not done, and why."""

        def read(proposal_id: str) -> ProposalCommand:
            body = FormBody("note")
            note = body.required("note", body.text("note", NOTE_LENGTH))
            return RejectProposal(proposal_id=proposal_id, operator=DECIDED_BY, note=note)

        return self._decided(link, read)

    def _opened(self, token: str) -> tuple[Linked, Engine]:
        """What a link is for. Raises HttpRefused: 429, 403, 410, or 404 where another process serves that portfolio."""
        self._failures.require(request.remote_addr)
        linked = None if self._links is None else self._links.read(token)
        if self._links is None or linked is None:
            self._failures.failed(request.remote_addr)
            log.warning("a wrong link", remote=request.remote_addr)
            raise HttpRefused(403, "forbidden", _WRONG)
        engine = self._portfolios.named(linked.portfolio).engine
        if engine.portfolio.pending_proposal(linked.proposal_id) is None:
            raise HttpRefused(410, "not_found", _became(engine, linked))
        if self._links.is_over(linked):
            raise HttpRefused(410, "not_found", f"Nobody decided until {linked.expires_at:%Y-%m-%d %H:%M:%S} UTC.")
        return linked, engine

    def _decided(self, token: str, read: Callable[[str], ProposalCommand]) -> Response:
        linked, engine = self._opened(token)
        command = read(linked.proposal_id)
        answer = engine.command(command)
        if answer.kind is AnswerKind.UNKNOWN:
            raise HttpRefused(503, "unknown", "It may have been done: open the link once more, and it says so.")
        outcome = told(answer, {"journal_seq": answer.journal_seq}, ("reason", "lots", "limiter"))
        log.info(
            "decided by a link",
            portfolio=linked.portfolio,
            proposal=linked.proposal_id,
            command=type(command).__name__,
            status=outcome["status"],
            reason=outcome["reason"],
            journal_seq=answer.journal_seq,
            remote=request.remote_addr,
        )
        kind = "approve" if isinstance(command, ApproveProposal) else "reject"
        words = in_words(kind, outcome)
        if outcome["status"] not in _DONE:
            return self._asked(engine, linked, token, refused=f"Not done. {words}")
        title = "Approved" if kind == "approve" else "Rejected"
        return _page(200, title, f"{words} (journal {answer.journal_seq}).", portfolio=linked.portfolio)

    def _asked(self, engine: Engine, linked: Linked, token: str, *, refused: str = "") -> Response:
        portfolio = engine.portfolio
        proposal = portfolio.pending_proposal(linked.proposal_id)
        if proposal is None or self._links is None:
            raise HttpRefused(410, "not_found", refused or _became(engine, linked))
        return _page(
            200,
            "A signal waits for you",
            refused,
            portfolio=linked.portfolio,
            asked=waiting_row(portfolio, proposal),
            exits=proposal.signal.type is SignalType.EXIT,
            now=self._would_be(self._links, portfolio, proposal),
            minutes=int((linked.expires_at - self._links.clock()).total_seconds() // 60),
            follows=engine.role == "follower",
            action=f"{PATH}{token}",
        )

    @staticmethod
    def _would_be(links: Links, portfolio: Portfolio, proposal: Proposal) -> str:
        """What an approval would come to now, in words: decided as it would be, and thrown away."""
        decision = decide(portfolio, ApproveProposal(proposal_id=proposal.proposal_id), links.clock())
        words = in_words("approve", asdict(decision.outcome))
        prices = [event.price for event in decision.events if isinstance(event, ProposalDecided) and event.price]
        return words if not prices else f"{words}, at {plain_number(prices[0])}"


def _became(engine: Engine, linked: Linked) -> str:
    row = engine.reads.proposal(linked.proposal_id)
    if row is None:
        return f"There is no proposal {linked.proposal_id}."
    if row["state"] == "pending":  # this instance follows, or has just decided: its memory is older, or newer
        return "It is being decided: open the link once more."
    return f"Proposal {linked.proposal_id} {proposal_in_words(row)}."


def _page(status: int, title: str, words: str, **given: object) -> Response:
    text = render_template("link.html", address=address, title=title, words=words, **given)
    return Response(text, status=status, mimetype="text/html")


def _refused(error: HttpRefused) -> Response:
    page = _page(error.status, _TITLES.get(error.status, "That was not right"), str(error))
    page.headers.update(error.headers or {})
    return page


def _body_refused(error: BodyRefused) -> Response:
    return _page(status_of(error), "That was not right", f"{error}. Go back and mend it; nothing was done.")


def _away(error: Retryable) -> Response:
    log.warning("a link could not be answered", error=str(error))
    return _page(503, _TITLES[503], f"{error}. Nothing was done: open the link once more.")


def _with_policy(response: Response) -> Response:
    response.headers["Content-Security-Policy"] = POLICY
    response.headers["Cache-Control"] = "no-store"
    response.headers["X-Robots-Tag"] = "noindex"
    return response
