"""JSON Schemas and samples of events, generated from the code that validates them, so that the two cannot disagree.

One difference remains: ``1.0`` is an integer in JSON Schema, but not here.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import msgspec

from service.core.events.data import Data
from service.core.events.event import EVENT_ID, EVENT_ID_LENGTH_MAX, ORGANIZATION_ID
from service.core.events.registry import BUILT_IN, NAME_LENGTH_MAX, NAME_PATTERN, REGISTRY
from service.core.events.sample import sample_event
from service.core.events.types.operational import OPERATIONAL, is_operational

Schema = dict[str, Any]

_FIELDS: Final = ("id", "type", "timestamp", "organization_id", "test", "data")
_SAMPLE_NUMBER: Final = 0x7F8A9B0C
_, _STRUCTS = msgspec.json.schema_components(
    [Data, *(kind.data for kind in OPERATIONAL.values())], ref_template="{name}"
)


@dataclass(frozen=True, slots=True)
class DescribedType:
    """An event type for documentation: ``schema`` is that of ``data``, ``sample`` is a whole envelope."""

    name: str
    description: str
    schema: Schema
    sample: Schema | None
    is_builtin: bool

    @property
    def is_operational(self) -> bool:
        """Whether only Posthorn itself publishes such events."""
        return is_operational(self.name)


def built_in_types(organization_id: str, now: datetime) -> tuple[DescribedType, ...]:
    """The built-in types, with sample events of this organization that happened at ``now``."""
    return tuple(
        DescribedType(
            name,
            (REGISTRY.get(name) or OPERATIONAL[name]).description,
            schema_of(name),
            sample_of(name, organization_id, now),
            is_builtin=True,
        )
        for name in BUILT_IN
    )


def sample_of(event_type: str, organization_id: str, now: datetime) -> Schema:
    """A sample envelope of a built-in type."""
    sample: Schema = msgspec.json.decode(sample_json(event_type, organization_id, now))
    return sample


def sample_json(event_type: str, organization_id: str, now: datetime, data: str | None = None) -> bytes:
    """A sample envelope of a built-in type; of an own type with ``data``, its sample."""
    event_id = f"evt_sample_{event_type.replace('.', '_')}"[:EVENT_ID_LENGTH_MAX]
    return sample_event(event_type, organization_id, event_id=event_id, number=_SAMPLE_NUMBER, now=now, data=data)


def schema_of(event_type: str) -> Schema:
    """The JSON Schema (2020-12) of the ``data`` of a built-in type. It has no external references."""
    if event_type in OPERATIONAL:
        return _plain(_STRUCTS[OPERATIONAL[event_type].data.__name__])
    kind = REGISTRY[event_type]
    schema = _plain(_STRUCTS[Data.__name__])
    for path in kind.required:
        _require(schema, path)
    for path, values in kind.values.items():
        _require(schema, path)["enum"] = list(values)
    if kind.any_of:
        schema["anyOf"] = [_with_content(schema, path) for path in kind.any_of]
    return schema


def envelope_schema(event_type: str | None = None, *, is_published: bool = False) -> Schema:
    """The JSON Schema of an envelope of a built-in type (None: of any type), as delivered or as published.

    A published event may leave out its ``id``, which the broker's message can carry instead, or the Idempotency-Key
    stand for, and its ``organization_id``, which the API key determines.
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
                "description": "The organization that the event belongs to.",
            },
            "test": {"type": "boolean", "description": "True only for test sends."},
            "data": {"type": "object"} if event_type is None else schema_of(event_type),
        },
        "additionalProperties": True,
    }


def cloudevent_schema() -> Schema:
    """The JSON Schema of a published event as a CloudEvent (1.0, structured mode)."""
    published = envelope_schema(is_published=True)["properties"]
    names = {"timestamp": "time", "organization_id": "organizationid"}
    return {
        "type": "object",
        "description": "An event as a CloudEvent. It is delivered as an envelope, with its other attributes in it.",
        "required": ["specversion", "type", "time", "data"],
        "properties": {
            "specversion": {"const": "1.0", "description": "Not delivered, as `datacontenttype` and `dataschema`."},
            "source": {"type": "string", "description": "Where it happened; delivered as it is."},
            **{names.get(name, name): each for name, each in published.items()},
            "datacontenttype": {"const": "application/json"},
            "dataschema": {"type": "string"},
        },
    }


def _plain(schema: Mapping[str, Any]) -> Schema:
    """A copy with each reference replaced by its target; the structs are small and do not refer to themselves."""
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
    if plain.get("type") == "object":
        plain.setdefault("additionalProperties", True)  # some readers of schemas take silence for a no
    return plain


def _require(schema: Schema, path: str) -> Schema:
    """Tighten ``schema`` so that it requires a value at ``path``; returns the schema of that value."""
    for name in path.split("."):
        required = schema.setdefault("required", [])
        if name not in required:
            required.append(name)
        found = schema["properties"][name]
        choices = _but_null(found)
        schema["properties"][name] = schema = choices[0] if len(choices) == 1 else {"anyOf": choices}
    if schema.get("type") == "string" or "anyOf" in schema:
        schema["minLength"] = 1  # has no effect on numbers
    return schema


def _with_content(schema: Schema, path: str) -> Schema:
    """A schema that requires a non-empty string or list at ``path`` of ``schema``."""
    names = path.split(".")
    found = schema
    for name in names:
        (found,) = _but_null(found["properties"][name])
    inner: Schema = {**found, "minItems" if found["type"] == "array" else "minLength": 1}
    for name in reversed(names):
        inner = {"type": "object", "required": [name], "properties": {name: inner}, "additionalProperties": True}
    return inner


def _but_null(schema: Schema) -> list[Schema]:
    """The alternatives of a schema without null."""
    return [each for each in schema.get("anyOf", [schema]) if each != {"type": "null"}]
