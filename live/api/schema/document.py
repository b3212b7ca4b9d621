"""The OpenAPI 3.1 document, made of the table of routes and their models."""

import re
from collections.abc import Iterable, Mapping
from functools import cache
from http import HTTPStatus
from inspect import getdoc
from typing import Any, Literal

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue, models_json_schema
from pydantic_core import core_schema

from live.api.schema.answers import Failed
from live.api.schema.route import ANYWHERE, HTML, JSON, Needs, Route
from live.api.schema.routes import IN_PATH, PARAMETERS, ROUTES

VERSION = "3.1.0"
_SCHEMAS = "#/components/schemas/{model}"
_IN_PATH = re.compile(r"<(?:\w+:)?(\w+)>")
_INTRODUCTION = """\
Decimals are strings, estimates of risk numbers, times ISO 8601 in UTC, errors `{"error": {"code", "message", "field"}}`. Lists
are in pages: `next` is what to ask for as `before`. A view with an ETag answers 304 to its If-None-Match. Every GET may be
asked as HEAD."""
_REFUSALS = {
    400: "The request is wrong: `field` names what.",
    401: "The secret or token is missing or wrong.",
    403: "Not from there, or not with that role.",
    404: "There is no such thing, or no such portfolio.",
    408: "The request did not arrive in time.",
    409: "Not as things are.",
    429: "Too often: `Retry-After` tells when again.",
    413: "The body is larger than 64 KiB, or a file than `book.upload_max_bytes`.",
    431: "The head of the request is too large.",
    503: "Not now; nothing was done unless `code` is `unknown`.",
}
_SECURITY = {
    "operatorToken": {"type": "http", "scheme": "bearer", "description": "An operator's token."},
    "session": {"type": "apiKey", "in": "cookie", "name": "pm_session", "description": "What /login gives a browser."},
    "csrfToken": {"type": "apiKey", "in": "header", "name": "X-CSRF-Token", "description": "What GET /session tells."},
}
_ANY: dict[str, list[str]] = {}
_TOKEN: dict[str, list[str]] = {"operatorToken": []}
_SESSION: dict[str, list[str]] = {"session": []}
_COMMAND = [_TOKEN, {**_SESSION, "csrfToken": []}]
_SHOWN = {
    Needs.NOTHING: [],
    Needs.VIEWER_FROM_ELSEWHERE: [_ANY, _TOKEN, _SESSION],
    Needs.VIEWER: [_TOKEN, _SESSION],
    Needs.TRADER: _COMMAND,
    Needs.ADMIN: _COMMAND,
}
# What is told to who has not shown it, besides to a browser that is led to /login.
_NOT_SHOWN = {Needs.NOTHING: (), Needs.VIEWER_FROM_ELSEWHERE: (401, 429), Needs.VIEWER: (401, 429)}
_LED_TO_LOGIN = {
    "description": "A browser from elsewhere that has no session is led to /login.",
    "content": {HTML: {"schema": {"type": "string"}}},
}
_FILES = {
    "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
    "multipart/form-data": {
        "schema": {
            "type": "object",
            "properties": {"file": {"type": "string", "format": "binary"}},
            "required": ["file"],
            "additionalProperties": False,
        }
    },
}
_ETAG = {"ETag": {"schema": {"type": "string"}, "description": "Of the answer's bytes."}}
_IF_NONE_MATCH = {
    "name": "If-None-Match",
    "in": "header",
    "schema": {"type": "string"},
    "description": "The ETag of what is known already.",
}

Mode = Literal["validation", "serialization"]
Refs = Mapping[tuple[Any, Mode], JsonSchemaValue]


class _Plain(GenerateJsonSchema):
    """Schemas without what says nothing: titles of fields, null as the default of what may be absent."""

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002 - pydantic's signature
        return False

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        described = super().default_schema(schema)
        if described.get("default", ...) is None:
            del described["default"]
        return described


@cache
def document() -> dict[str, Any]:
    """The document. It is the same for the life of the process."""
    refs, definitions = _schemas()
    paths: dict[str, dict[str, Any]] = {}
    for route in ROUTES:
        paths.setdefault(templated(route.path), {})[route.method.lower()] = _operation(route, refs)
    return {
        "openapi": VERSION,
        "info": {"title": "Portfolio manager", "version": "1", "description": _INTRODUCTION},
        "servers": [{"url": "/"}],
        "tags": [{"name": tag} for tag in dict.fromkeys(route.tag for route in ROUTES)],
        "paths": paths,
        "components": {"schemas": definitions, "securitySchemes": _SECURITY, "responses": _refusals(refs)},
    }


def templated(path: str) -> str:
    """A path of Flask's in OpenAPI's form: `/positions/{position_id}`."""
    return _IN_PATH.sub(r"{\1}", path)


def _models() -> Iterable[tuple[type[BaseModel], Mode]]:
    yield Failed, "serialization"
    for route in ROUTES:
        if route.body is not None:
            yield route.body, "validation"
        for content in route.answers.values():
            if not isinstance(content, str):
                yield content, "serialization"


def _schemas() -> tuple[Refs, dict[str, Any]]:
    refs, described = models_json_schema(list(dict.fromkeys(_models())), ref_template=_SCHEMAS, schema_generator=_Plain)
    return refs, described["$defs"]


def _refusals(refs: Refs) -> dict[str, Any]:
    return {
        _phrase(status): {"description": text, "content": _json(refs[Failed, "serialization"])}
        for status, text in _REFUSALS.items()
    }


def _operation(route: Route, refs: Refs) -> dict[str, Any]:
    described: dict[str, Any] = {
        "operationId": _name(route),
        "summary": route.summary,
        "tags": [route.tag],
        "parameters": _parameters(route),
        "responses": _responses(route, refs),
    }
    if route.body is not None:
        content = {route.body_type: {"schema": refs[route.body, "validation"]}}
        described["requestBody"] = {"required": route.body_required, "content": content}
    if route.takes_file:
        described["requestBody"] = {"required": True, "content": _FILES}
    if route.needs is not Needs.NOTHING:
        described["description"] = f"Needs: {route.needs}."
        described["security"] = _SHOWN[route.needs]
    return described


def _name(route: Route) -> str:
    words = re.sub(r"\W+", "_", templated(route.path)).strip("_")
    return f"{route.method.lower()}_{words}"


def _parameters(route: Route) -> list[dict[str, Any]]:
    in_path = [{"name": name, "in": "path", "required": True, **IN_PATH[name]} for name in _IN_PATH.findall(route.path)]
    in_query = [
        {"name": name, "in": "query", "schema": schema, "description": PARAMETERS[name], **_written(schema)}
        | ({"required": True} if name in route.needed else {})
        for name, schema in route.query.items()
    ]
    in_header = [
        {"name": name, "in": "header", "schema": {"type": "string"}, "description": text}
        for name, text in route.headers.items()
    ]
    return [*in_path, *in_query, *in_header, *([_IF_NONE_MATCH] if route.has_etag else [])]


def _written(schema: Any) -> dict[str, Any]:
    return {"style": "form", "explode": False} if schema.get("type") == "array" else {}


def _responses(route: Route, refs: Refs) -> dict[str, Any]:
    told = {status: _answer(route, status, content, refs) for status, content in route.answers.items()}
    if route.has_etag:
        told[304] = {"description": "It is what is known already.", "headers": _ETAG}
    if route.method == "GET" and route.needs is not Needs.NOTHING:
        told[303] = _LED_TO_LOGIN
    refused = {
        status: {"$ref": f"#/components/responses/{_phrase(status)}"}
        for status in (*ANYWHERE, *route.refused, *_NOT_SHOWN.get(route.needs, (401, 403, 429)))
        if status not in told
    }
    return {str(status): answer for status, answer in sorted({**told, **refused}.items())}


def _answer(route: Route, status: int, content: Any, refs: Refs) -> dict[str, Any]:
    described = {"description": HTTPStatus(status).phrase}
    if isinstance(content, str):
        body: dict[str, Any] = {content: {"schema": {"type": "string"}}}
    else:
        body = _json(refs[content, "serialization"])
        described["description"] = getdoc(content) or described["description"]
    headers = {"headers": _ETAG} if route.has_etag and status == HTTPStatus.OK else {}
    return {**described, **headers, "content": body}


def _json(schema: JsonSchemaValue) -> dict[str, Any]:
    return {JSON: {"schema": schema}}


def _phrase(status: int) -> str:
    return HTTPStatus(status).phrase.replace(" ", "")
