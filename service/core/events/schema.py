"""JSON Schemas and samples of events, made from what validates them, so that no document can say otherwise.

One difference is left: ``1.0`` is an integer to JSON Schema, and none to us.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import msgspec

from service.core.events.data import Data
from service.core.events.event import EVENT_ID, ORGANIZATION_ID
from service.core.events.registry import NAME_LENGTH_MAX, NAME_PATTERN, REGISTRY
from service.core.events.sample import sample_event

Schema = dict[str, Any]

_FIELDS: Final = ("id", "type", "timestamp", "organization_id", "test", "data")
_SAMPLE_NUMBER: Final = 0x7F8A9B0C
_, _STRUCTS = msgspec.json.schema_components([Data], ref_template="{name}")


@dataclass(frozen=True, slots=True)
class DescribedType:
    """An event type as a document shows it: ``schema`` is that of ``data``, ``sample`` a whole envelope."""

    name: str
    description: str
    schema: Schema
    sample: Schema | None
    is_builtin: bool


def built_in_types(organization_id: str, now: datetime) -> tuple[DescribedType, ...]:
    """The types that every organization has, with samples as if its own had just happened."""
    return tuple(
        DescribedType(
            kind.name,
            kind.description,
            schema_of(kind.name),
            sample_of(kind.name, organization_id, now),
            is_builtin=True,
        )
        for kind in REGISTRY.values()
    )


def sample_of(event_type: str, organization_id: str, now: datetime) -> Schema:
    """A whole envelope of a built-in type."""
    event_id = f"evt_sample_{event_type.replace('.', '_')}"
    body = sample_event(event_type, organization_id, event_id=event_id, number=_SAMPLE_NUMBER, now=now)
    sample: Schema = msgspec.json.decode(body)
    return sample


def schema_of(event_type: str) -> Schema:
    """The JSON Schema (2020-12) of the ``data`` of a built-in type. It refers to nothing outside itself."""
    kind = REGISTRY[event_type]
    schema = _plain(_STRUCTS[Data.__name__])
    for path in kind.required:
        _require(schema, path)
    for path, values in kind.values.items():
        _require(schema, path)["enum"] = list(values)
    if kind.any_of:
        schema["anyOf"] = [_with_content(path) for path in kind.any_of]
    return schema


def envelope_schema(event_type: str | None = None, *, is_published: bool = False) -> Schema:
    """The JSON Schema of an envelope of a built-in type, or of any: as it is delivered, or as producers publish it.

    A producer's ``id`` may also stand in the broker's message, and its ``organization_id`` follow from the API key.
    """
    name: Schema = {"type": "string", "pattern": f"^{NAME_PATTERN}$", "maxLength": NAME_LENGTH_MAX}
    forms = "ISO 8601 with an offset, RFC 1123, or epoch seconds or milliseconds"
    delivered_at = {"type": "string", "format": "date-time", "description": "When it happened, to the microsecond."}
    published_at = {"type": ["string", "number"], "description": f"When it happened: {forms}."}
    return {
        "type": "object",
        "description": "An event. Keys beyond these pass through unchanged.",
        "required": ["type", "timestamp", "data"] if is_published else list(_FIELDS),
        "properties": {
            "id": {
                "type": "string",
                "pattern": f"^{EVENT_ID.pattern}$",
                "description": "Unique in the organization; deliveries carry it as their `webhook-id`.",
            },
            "type": (name if event_type is None else {"const": event_type}) | {"description": "What happened."},
            "timestamp": published_at if is_published else delivered_at,
            "organization_id": {
                "type": "string",
                "pattern": f"^{ORGANIZATION_ID.pattern}$",
                "description": "Whose event it is.",
            },
            "test": {"type": "boolean", "description": "True only for test sends."},
            "data": {"type": "object"} if event_type is None else schema_of(event_type),
        },
    }


def _plain(schema: Mapping[str, Any]) -> Schema:
    """A copy with references replaced by what they refer to: the structures are small, and no tree is deep."""
    if "$ref" in schema:
        return _plain(_STRUCTS[schema["$ref"]])
    plain: Schema = {}
    for key, value in schema.items():
        if key == "properties":
            plain[key] = {name: _plain(inner) for name, inner in value.items()}
        elif key == "items":
            plain[key] = _plain(value)
        elif key == "anyOf":
            plain[key] = [_plain(each) for each in value]
        elif key not in {"default", "title", "required"} or (key == "required" and value):
            plain[key] = value
    return plain


def _require(schema: Schema, path: str) -> Schema:
    """Tighten ``schema`` so that there is a value at ``path``; the schema of that value."""
    for name in path.split("."):
        required = schema.setdefault("required", [])
        if name not in required:
            required.append(name)
        found = schema["properties"][name]
        choices = [each for each in found.get("anyOf", [found]) if each != {"type": "null"}]
        schema["properties"][name] = schema = choices[0] if len(choices) == 1 else {"anyOf": choices}
    if schema.get("type") == "string" or "anyOf" in schema:
        schema["minLength"] = 1  # says nothing about numbers
    return schema


def _with_content(path: str) -> Schema:
    """That the text or the list at ``path`` is not empty."""
    schema: Schema = {"type": ["string", "array"], "minLength": 1, "minItems": 1}
    for name in reversed(path.split(".")):
        schema = {"required": [name], "properties": {name: schema}}
    return schema
