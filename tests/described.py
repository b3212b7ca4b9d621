"""Answers beside the document that describes them: what does not conform is an AssertionError."""

import json
import re
from functools import cache
from typing import Any
from unittest.mock import patch

from flask.testing import FlaskClient
from jsonschema import Draft202012Validator, FormatChecker
from jsonschema.exceptions import best_match
from werkzeug.test import TestResponse

import live.app
from live.api.schema.document import document, templated
from live.api.schema.routes import ROUTES

_RULES = [(route.method, templated(route.path), re.compile(re.sub(r"<\w+>", "[^/]+", route.path))) for route in ROUTES]


class Described:
    """A client that compares each answer with the document; `asked` are the method, path and status of each. Views have as long
    as `within` says, where they are not asked how soon they answer."""

    def __init__(self, client: FlaskClient, within: float = live.app.READ_WITHIN_SECONDS) -> None:
        self._client = client
        self._within = within
        self.asked: set[tuple[str, str, int]] = set()
        self.etag: str | None = None  # of the last answer
        self.environment: dict[str, str] = {}

    def __call__(self, request: str, body: Any = None, *, status: int = 200, **headers: str) -> Any:
        """The JSON that is answered to `GET /positions`; None where it is none."""
        method, _, address = request.partition(" ")
        sent = {name.replace("_", "-"): text for name, text in headers.items()}
        data = body if isinstance(body, bytes) else None if body is None else json.dumps(body)
        with patch.object(live.app, "READ_WITHIN_SECONDS", self._within):
            response = self._client.open(
                address, method=method, data=data, headers=sent, environ_overrides=self.environment
            )
        assert response.status_code == status, f"{request}: {response.status} {response.get_data(as_text=True)[:500]}"
        self.etag = response.headers.get("ETag")
        self.asked.add((method, template_of(method, address.partition("?")[0]), status))
        require_described(method, address.partition("?")[0], response)
        told = response.get_json() if response.mimetype == "application/json" else None
        response.close()  # of a stream nothing is awaited
        return told


def template_of(method: str, path: str) -> str:
    """The path as the document has it. Of several the one without a parameter."""
    fitting = [template for known, template, rule in _RULES if known == method and rule.fullmatch(path)]
    assert fitting, f"{method} {path} is not described"
    return min(fitting, key=lambda template: template.count("{"))


def require_described(method: str, path: str, response: TestResponse) -> None:
    """Whether status, type, headers and body are among those that are described."""
    operation = document()["paths"][template_of(method, path)][method.lower()]
    answers = operation["responses"]
    place = f"{method} {path} answered {response.status_code}"
    assert str(response.status_code) in answers, f"{place}, which is not described"
    answer = answers[str(response.status_code)]
    if "$ref" in answer:
        answer = document()["components"]["responses"][answer["$ref"].rpartition("/")[2]]
    assert set(answer.get("headers", ())) <= set(response.headers.keys()), place
    if "content" not in answer:
        assert response.data == b"", place
        return
    assert response.mimetype in answer["content"], f"{place} with {response.mimetype}"
    if response.mimetype == "application/json":
        schema = json.dumps(answer["content"]["application/json"]["schema"])
        problem = best_match(_validator(schema).iter_errors(response.get_json()))
        assert problem is None, f"{place}: {problem.json_path}: {problem.message[:500]}"


@cache
def _validator(schema: str) -> Draft202012Validator:
    whole = {**json.loads(schema), "components": document()["components"]}
    return Draft202012Validator(whole, format_checker=FormatChecker())
