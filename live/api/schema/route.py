"""What is told of an address: what it takes, what it answers, who may ask."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from pydantic import BaseModel

# What is told to whoever asks wrongly, or at a bad moment, wherever it is.
ANYWHERE = (400, 404, 408, 431, 503)
JSON = "application/json"
FORM = "application/x-www-form-urlencoded"
HTML = "text/html"
EVENTS = "text/event-stream"

Schema = Mapping[str, Any]
Content = type[BaseModel] | str


class Needs(StrEnum):
    """What who asks has to show: nothing; from elsewhere than this machine, an operator; an operator everywhere."""

    NOTHING = "nothing"
    VIEWER_FROM_ELSEWHERE = "viewer, from elsewhere"
    VIEWER = "viewer"
    TRADER = "trader"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """A method of an address, as Flask writes it.

    `needed` are parameters that have to be given. `answers` by status: a model in JSON, or the type of what is not JSON.
    `refused` are the statuses of errors besides those of ANYWHERE, and of what `needs` brings with it. `takes_file`: the body is
    one, or a form with one. `has_etag`: it may be asked with If-None-Match.
    """

    method: str
    path: str
    summary: str
    tag: str
    answers: Mapping[int, Content]
    query: Mapping[str, Schema] = field(default_factory=dict)
    needed: tuple[str, ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    body: type[BaseModel] | None = None
    body_required: bool = False
    body_type: str = JSON
    takes_file: bool = False
    refused: tuple[int, ...] = ()
    needs: Needs = Needs.NOTHING
    has_etag: bool = False
