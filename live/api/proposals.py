"""GET /proposals: what waits or waited for a human; and what a human says of one, read from the body."""

from collections.abc import Callable, Mapping

from flask import Blueprint, Response

from core.inputs import ApproveProposal, ProposalCommand, RejectProposal
from core.proposals import NOTE_LENGTH, ProposalState
from live.api.bodies import CommandBody
from live.api.encoding import figures_text
from live.api.errors import HttpRefused
from live.api.pages import Row, page
from live.api.queries import LARGEST_ID, Query
from live.portfolios import Portfolios
from live.ports import Engine

ID_LENGTH = 17  # proposals.proposal_id VARCHAR(17)


def proposals_blueprint(portfolios: Portfolios) -> Blueprint:
    """The view of proposals."""
    blueprint = Blueprint("proposals", __name__)

    @blueprint.get("/proposals")
    def list_proposals() -> Response:
        query = Query(portfolios, "state", "instrument", "limit", "before")
        engine = query.engine
        states, instrument, limit = query.statuses(ProposalState, "state"), query.instrument(), query.limit()
        before = query.whole("before", LARGEST_ID)
        return page(
            "proposals",
            "journal_seq",
            limit,
            lambda count: [
                _with_plain_figures(row)
                for row in engine.lists.proposals(states=states, instrument=instrument, limit=count, before=before)
            ],
        )

    return blueprint


def approval(proposal_id: str) -> ApproveProposal:
    """It is done now: at a price, or the latest that is known; with other lots, or those that were proposed."""
    body = CommandBody("lots", "price", "note", "request_id")
    return ApproveProposal(
        request_id=body.request_id(),
        proposal_id=proposal_id,
        lots=body.lots(),
        price=body.price("price"),
        note=body.text("note", NOTE_LENGTH),
    )


def rejection(proposal_id: str) -> RejectProposal:
    """It is not done, and why."""
    body = CommandBody("note", "request_id")
    note = body.required("note", body.text("note", NOTE_LENGTH))
    return RejectProposal(request_id=body.request_id(), proposal_id=proposal_id, note=note)


# The route below /proposals/<proposal_id>, and what reads its body.
DECIDED_BY: Mapping[str, Callable[[str], ProposalCommand]] = {"approve": approval, "reject": rejection}


def require_proposal(engine: Engine, proposal_id: str) -> None:
    """Refused with 404 where there never was one of this id."""
    could_exist = len(proposal_id) <= ID_LENGTH and proposal_id.isprintable()
    if not could_exist or engine.reads.proposal(proposal_id) is None:
        raise HttpRefused(404, "not_found", f"there is no proposal `{proposal_id[:ID_LENGTH]}`")


def _with_plain_figures(row: Row) -> Row:
    return {**row, "signal": figures_text(row["signal"])}
