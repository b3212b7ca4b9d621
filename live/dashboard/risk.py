"""/dashboard/risk: pages of the risk lab, made whole by the server of what the daily batch kept: measures, factors, correlations,
stress, value at risk and what came of it.

They go by the same transactions, deadlines and refusals as the book's pages. Nothing is reckoned here.
"""

from collections.abc import Callable
from datetime import date
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from flask import Blueprint, Response

from live.api.book import BookApi
from live.api.book_query import day_in
from live.api.errors import malformed
from live.api.queries import Query
from live.dashboard.book_page import PagesOf, given_in, node_in, nodes_above, with_policy
from live.dashboard.risk_bars import HEIGHT as BAR_HEIGHT
from live.dashboard.risk_bars import WIDTH as BAR_WIDTH
from live.dashboard.risk_bars import bars_of
from live.dashboard.risk_correlations import SQUARE, heat_of
from live.dashboard.risk_history import HEIGHT, plot_of, verdicts_of
from live.dashboard.risk_lab import LabPages
from live.portfolios import Portfolios

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

PATH = "/dashboard/risk"
# By the page's address: what it is called in the others.
PAGES = {
    "": "Overview",
    "/factors": "Factors",
    "/correlations": "Correlations",
    "/stress": "Stress",
    "/value-at-risk": "Value at risk",
    "/term-structure": "Contracts",
    "/what-if": "What if",
}
METHODS = {"historical": "historical", "normal": "normal, by factors", "monte_carlo": "Monte Carlo"}
CONFIDENCES = ("95", "99")
PERIODS = ("60", "125", "250", "500", "1000")
DEFAULT_PERIOD = "250"
MOST_POSITIONS = 100
SPECIFIC = "specific"
_NOT_MIGRATED = (
    "The risk lab's tables are not here, or older ones: python portfolio_manager.py migrate --book makes them, "
    "python portfolio_manager.py risk batch --date DAY fills them."
)
# What reckons, and where it is not there what installs it.
_RECKONED_WITH = ("numpy", "pandas", "scipy", "sklearn", "QuantLib", "threadpoolctl", "pyarrow")
_Read = Callable[["Session", date, dict[str, Any]], dict[str, Any]]


class RiskPages:
    """The pages. `book` says in which transactions, and of what database."""

    def __init__(self, portfolios: Portfolios, book: BookApi) -> None:
        self._portfolios = portfolios
        self._book = book
        self._pages = PagesOf(
            portfolios, book, path=PATH, pages=PAGES, refused="risk_refused.html", not_migrated=_NOT_MIGRATED
        )

    def blueprint(self) -> Blueprint:
        """The routes."""
        blueprint = Blueprint("risk_pages", __name__, url_prefix=PATH, template_folder="templates")
        blueprint.after_request(with_policy)
        blueprint.get("")(self.overview)
        blueprint.get("/factors")(self.factors)
        blueprint.get("/correlations")(self.correlations)
        blueprint.get("/stress")(self.stress)
        blueprint.get("/value-at-risk")(self.value_at_risk)
        LabPages(self._portfolios, self._book, self._pages).add_to(blueprint)
        return blueprint

    # --- the pages

    def overview(self) -> Response:
        """A node's measures of a day, the nodes below it, its positions, what is missing, and the batch's steps."""

        def read(session: "Session", day: date, row: dict[str, Any]) -> dict[str, Any]:
            from risk.shown import largest_positions

            return {"held": largest_positions(session, day, row["portfolio_node_id"], MOST_POSITIONS), **_figures(row)}

        options = {"confidences": CONFIDENCES, "most_missing": MOST_POSITIONS}
        return self._of_a_day("risk_overview.html", "", self._asked(), read, **options)

    def factors(self) -> Response:
        """What a node is exposed to, and what its volatility is made of."""

        def read(session: "Session", _: date, row: dict[str, Any]) -> dict[str, Any]:
            from risk.reading import factors

            told = row["measures"].get("volatility")
            if told is None:
                return {"volatility": None}
            known = {each["name"]: each for each in factors(session)}
            made = [_factor(known, name) | {"amount": amount} for name, amount in told["by_factor"].items()]
            exposed = [_factor(known, name) | {"amount": amount} for name, amount in told["exposures"].items()]
            return {"volatility": told, "made": bars_of(made, "amount"), "exposed": bars_of(exposed, "amount")}

        return self._of_a_day("risk_factors.html", "/factors", self._asked(), read)

    def correlations(self) -> Response:
        """How what a node holds moves together."""

        def read(session: "Session", day: date, row: dict[str, Any]) -> dict[str, Any]:
            from risk.reckoned import correlations

            found = correlations(session, day, row["portfolio_node_id"])
            return {"found": found, "heat": heat_of(found)}

        return self._of_a_day("risk_correlations.html", "/correlations", self._asked(), read, square=SQUARE)

    def stress(self) -> Response:
        """What scenarios would earn a node, and one of them its positions."""
        query, given = self._asked("scenario")

        def read(session: "Session", day: date, row: dict[str, Any]) -> dict[str, Any]:
            from risk.reading import stress_of
            from risk.shown import stress_by_position

            node = row["portfolio_node_id"]
            bars = bars_of(stress_of(session, day, node), "pnl", in_the_middle=True)
            names = [bar.row["name"] for bar in bars.bars]
            chosen = given["scenario"] or (names[0] if names else "")
            held = stress_by_position(session, day, node, chosen, MOST_POSITIONS) if chosen in names else []
            return {
                "costs": bars,
                "chosen": chosen,
                "of_chosen": next((bar for bar in bars.bars if bar.row["name"] == chosen), None),
                "by_position": bars_of(held, "pnl_here", in_the_middle=True),
            }

        return self._of_a_day("risk_stress.html", "/stress", (query, given), read)

    def value_at_risk(self) -> Response:
        """Day by day what was foreseen, what came of it, and what tests say of that."""
        query, given = self._asked("method", "confidence", "days")
        method = _one_of("method", given["method"] or "historical", METHODS)
        confidence = _one_of("confidence", given["confidence"] or CONFIDENCES[0], CONFIDENCES)
        period = _one_of("days", given["days"] or DEFAULT_PERIOD, PERIODS)

        def read(session: "Session", day: date, row: dict[str, Any]) -> dict[str, Any]:
            from risk.reckoned import breaches, days, value_at_risk_days

            begins = days(session, until=day, most=int(period))[-1]
            told = value_at_risk_days(
                session, row["portfolio_node_id"], begins, day, method=method, confidence=f"{confidence}%"
            )
            shown = [each if each["currency"] == row["currency"] else _in_another(each) for each in told]
            tests = next((each["tests"] for each in reversed(shown) if each["tests"] is not None), None)
            return {
                "told": shown,
                "breaches": breaches(shown),
                "compared": sum(each["breach"] is not None for each in shown),
                "plot": plot_of(shown),
                "verdicts": verdicts_of(tests),
            }

        chosen = {"method": method, "confidence": confidence, "days": period}
        options = {"methods": METHODS, "confidences": CONFIDENCES, "periods": PERIODS}
        return self._of_a_day(
            "risk_history.html",
            "/value-at-risk",
            (query, given | chosen),
            read,
            chosen=chosen,
            height=HEIGHT,
            **options,
        )

    # --- what they share

    def _asked(self, *more: str) -> tuple[Query, dict[str, str]]:
        """The request's parameters, and what its form had in it."""
        names = ("node", "date", *more)
        query = Query(self._portfolios, *names)
        return query, given_in(query, *names)

    def _of_a_day(
        self, template: str, page: str, request: tuple[Query, dict[str, str]], read: _Read, **more: Any
    ) -> Response:
        """The page of a node on a day; where that was not reckoned, what reckons it. Raises HttpRefused."""
        query, given = request
        asked, day = node_in(given), day_in(given["date"] or None, "date")

        def of_the_day(session: "Session") -> dict[str, Any]:
            from risk.reading import steps
            from risk.shown import beside, node_on, tree

            at = beside(session, day)
            nodes = tree(session, at.day) if at.day is not None and at.is_reckoned else {}
            node = _node_of(session, asked, nodes)
            told: dict[str, Any] = {"at": at, "nodes": nodes, "node": node, "row": None, "steps": []}
            if at.day is not None and page == "":
                told["steps"] = _last(steps(session, at.day))
            if at.day is None or node not in nodes:
                return told | {"missing": missing_libraries()}
            told |= {"row": node_on(session, at.day, node), "above": nodes_above(nodes, node)}
            return told | read(session, at.day, told["row"])

        return self._pages.answer(
            template, query, page, given, of_the_day, bar_width=BAR_WIDTH, bar_height=BAR_HEIGHT, **more
        )


def missing_libraries() -> list[str]:
    """What `risk batch` needs and is not installed here; nothing of it is imported."""
    return [library for library in _RECKONED_WITH if find_spec(library) is None]


def _one_of(name: str, given: str, known: Any) -> str:
    if given not in known:
        raise malformed(f"`{name}` must be one of {', '.join(known)}", name)
    return given


def _node_of(session: "Session", asked: int | None, nodes: dict[int, Any]) -> int | None:
    """The node that is asked for, which has to be there; without one the first root that was reckoned."""
    if asked is None:
        return next(iter(nodes), None)
    if asked not in nodes:
        from book.nodes import node_of

        node_of(session, asked)
    return asked


def _last(steps: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The last attempt at each step."""
    return list({step["calculation_type"]: step for step in steps}.values())


def _figures(row: dict[str, Any]) -> dict[str, Any]:
    """The measures that are a number each, None where one is missing; and value at risk by method, with its shortfall."""
    of = row["measures"]
    tails = {
        name: [
            of.get(f"{method}_{level}%", {}).get(part)
            for level in CONFIDENCES
            for part in ("value_at_risk", "expected_shortfall")
        ]
        for method, name in METHODS.items()
    }
    parts = {"exposure": ("long", "short", "gross", "net"), "volatility": ("daily", "annual")}
    parts["diversification"] = ("score", "ratio")
    told = {name: {part: of.get(name, {}).get(part) for part in names} for name, names in parts.items()}
    return {**told, "tails": tails}


def _factor(known: dict[str, Any], name: str) -> dict[str, Any]:
    if name == SPECIFIC:
        return {"name": name, "shown": "Specific", "meaning": "what no factor explains"}
    told = known.get(name)
    return {"name": name, "shown": told["display_name"] if told else name, "meaning": told["meaning"] if told else ""}


def _in_another(day: dict[str, Any]) -> dict[str, Any]:
    """A day that cannot be compared with the others."""
    nothing = dict.fromkeys(("value_at_risk", "pnl", "breach", "tests"))
    return {**day, **nothing, "reason": f"it was in {day['currency']}"}
