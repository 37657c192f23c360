"""The OpenAPI description as a list of calls, for the page that shows it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Value:
    """One field of a request's body.

    Attributes:
        choices: names that it may contain, if it is a mapping.
    """

    name: str
    text: str
    required: bool
    choices: tuple[str, ...] = ()


@dataclass(frozen=True)
class Call:
    """One method of one path."""

    method: str
    path: str
    text: str
    values: tuple[Value, ...]


def calls_of(api: Mapping[str, Any]) -> list[Call]:
    """All calls of an OpenAPI description, in its order."""
    schemas = api["components"]["schemas"]
    return [
        Call(method.upper(), path, call.get("description", call["summary"]), _values(call, schemas))
        for path, methods in api["paths"].items()
        for method, call in methods.items()
    ]


def _values(call: Mapping[str, Any], schemas: Mapping[str, Any]) -> tuple[Value, ...]:
    content = call.get("requestBody", {}).get("content", {})
    for body in content.values():
        schema = schemas[body["schema"]["$ref"].rpartition("/")[2]]
        required = schema.get("required", ())
        return tuple(
            Value(
                name,
                field.get("description", field.get("title", "")),
                name in required,
                tuple(field.get("properties", ())),
            )
            for name, field in schema["properties"].items()
        )
    return ()
