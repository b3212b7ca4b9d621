"""Query parameters, read strictly: what is not known or not allowed is refused by name."""

import re
from collections.abc import Collection
from enum import StrEnum

from flask import request

from live.api.errors import malformed
from live.portfolios import Portfolios
from live.ports import Engine

DEFAULT_LIMIT = 100
MAX_LIMIT = 1000
LARGEST_ID = 2**63 - 1
_ALL = "all"
INSTRUMENT = re.compile(r"[A-Za-z0-9_]{1,29}", re.ASCII)
_WHOLE = re.compile(r"[0-9]{1,19}", re.ASCII)


class Query:
    """The request's query string, of which only `portfolio` and the `allowed` parameters may be given, once each."""

    def __init__(self, portfolios: Portfolios, *allowed: str) -> None:
        self._values = {}
        for name, values in request.args.lists():
            if name != "portfolio" and name not in allowed:
                known = ", ".join(f"`{other}`" for other in ("portfolio", *allowed))
                raise malformed(f"`{name[:60]}` is not a parameter here; allowed: {known}", name[:60])
            if len(values) > 1:
                raise malformed(f"`{name}` is given twice", name)
            self._values[name] = values[0]
        self._portfolios = portfolios
        self.portfolio = self._values.get("portfolio")
        if self.portfolio is not None:
            portfolios.named(self.portfolio)

    @property
    def engine(self) -> Engine:
        """The engine of the portfolio that is asked about. Raises HttpRefused where several are served and none is named."""
        return self._portfolios.named(self.portfolio).engine

    def text(self, name: str) -> str | None:
        """The parameter as given, None where it is absent."""
        return self._values.get(name)

    def limit(self) -> int:
        """How many rows an answer may hold."""
        return self.whole("limit", MAX_LIMIT) or DEFAULT_LIMIT

    def whole(self, name: str, most: int) -> int | None:
        """A whole number from 1 to `most`, None where it is absent."""
        text = self._values.get(name)
        if text is None:
            return None
        if not _WHOLE.fullmatch(text) or not 1 <= int(text) <= most:
            raise malformed(f"`{name}` must be a whole number from 1 to {most}", name)
        return int(text)

    def instrument(self) -> str | None:
        """An instrument's name in capitals, None where it is absent."""
        text = self._values.get("instrument")
        if text is None:
            return None
        if not INSTRUMENT.fullmatch(text):
            raise malformed("`instrument` must be 1 to 29 letters, digits or underscores", "instrument")
        return text.upper()

    def statuses(self, known: type[StrEnum], name: str = "status") -> list[str] | None:
        """The statuses asked for by the parameter `name`, None for all of them."""
        text = self._values.get(name)
        if text is None:
            return None
        asked = [part.strip().lower() for part in text.split(",")]
        allowed: Collection[str] = [*known, _ALL]
        if any(status not in allowed for status in asked):
            raise malformed(f"`{name}` must be one or more, with commas, of {', '.join(allowed)}", name)
        return None if _ALL in asked else sorted(set(asked))
