"""The document as the page /docs shows it: routes by tag, then the schemas, each with what a reader asks for."""

from collections.abc import Iterable, Mapping
from typing import Any

from live.api.schema.document import document

_BOUNDS = {
    "minimum": "from {}",
    "exclusiveMinimum": "above {}",
    "maximum": "up to {}",
    "exclusiveMaximum": "below {}",
    "minLength": "at least {} characters",
    "maxLength": "at most {} characters",
    "pattern": "as {}",
    "default": "default {}",
}


def sections() -> dict[str, Any]:
    """What the template is given."""
    described = document()
    routes = [
        _route(path, method, operation)
        for path, operations in described["paths"].items()
        for method, operation in operations.items()
    ]
    return {
        "info": described["info"],
        "tags": [(tag["name"], [r for r in routes if tag["name"] in r["tags"]]) for tag in described["tags"]],
        "schemas": [_schema(name, schema) for name, schema in described["components"]["schemas"].items()],
    }


def _route(path: str, method: str, operation: Mapping[str, Any]) -> dict[str, Any]:
    body = operation.get("requestBody")
    return {
        **{name: operation[name] for name in ("operationId", "summary", "tags")},
        "method": method.upper(),
        "path": path,
        "needs": operation.get("description", ""),
        "parameters": [{**parameter, "kind": _kind(parameter["schema"])} for parameter in operation["parameters"]],
        "body": None if body is None else _kind(_content(body)),
        "body_type": "" if body is None else next(iter(body["content"])),
        "answers": [_answer(status, answer) for status, answer in operation["responses"].items()],
    }


def _answer(status: str, answer: Mapping[str, Any]) -> dict[str, Any]:
    reference = answer.get("$ref")
    if reference is not None:
        answer = document()["components"]["responses"][_name(reference)]
    content = answer.get("content", {})
    told = (
        [] if not content else _kind(_content(answer)) if "application/json" in content else [(next(iter(content)), "")]
    )
    return {"status": status, "description": answer["description"], "kind": told}


def _content(described: Mapping[str, Any]) -> Mapping[str, Any]:
    content: Mapping[str, Any] = next(iter(described["content"].values()))["schema"]
    return content


def _schema(name: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    required = schema.get("required", ())
    return {
        "name": name,
        "description": schema.get("description", ""),
        "kind": [] if "properties" in schema else _kind(schema),
        "fields": [
            {
                "name": field,
                "kind": _kind(described),
                "required": field in required,
                "description": described.get("description", ""),
            }
            for field, described in schema.get("properties", {}).items()
        ],
    }


def _kind(schema: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The kind in words: parts of (text, the name of the schema it is a link to, or nothing)."""
    if "$ref" in schema:
        name = _name(schema["$ref"])
        return [(name, name)]
    for several in ("anyOf", "oneOf"):
        if several in schema:
            return _joined((_kind(part) for part in schema[several]), " or ")
    if "enum" in schema or "const" in schema:
        return [(", ".join(map(str, schema.get("enum", [schema.get("const")]))), "")]
    match schema.get("type"):
        case "array":
            return [("list of ", ""), *_kind(schema["items"])]
        case "object":
            return _object(schema)
        case kind:
            bounds = [text.format(schema[name]) for name, text in _BOUNDS.items() if name in schema]
            return [(", ".join([str(schema.get("format", kind or "anything")), *bounds]), "")]


def _object(schema: Mapping[str, Any]) -> list[tuple[str, str]]:
    values = schema.get("additionalProperties")
    return [("object of ", ""), *_kind(values)] if isinstance(values, Mapping) and values else [("object", "")]


def _joined(parts: Iterable[list[tuple[str, str]]], between: str) -> list[tuple[str, str]]:
    joined: list[tuple[str, str]] = []
    for part in parts:
        joined += [(between, ""), *part] if joined else part
    return joined


def _name(reference: str) -> str:
    return reference.rpartition("/")[2]
