"""Made-up values that a JSON Schema allows, for bodies and answers to which the document gives no example."""

from collections.abc import Mapping
from typing import Any, Final

from service.api.documents.page.references import Document, resolved

_DEPTH_MAX: Final = 6

_BY_NAME: Final[Mapping[str, Any]] = {
    "url": "https://example.org/hooks/posthorn",
    "target_url": "https://example.org/hooks/posthorn",
    "organization_id": "org_8Zq1",
    "event_type": "message.sent",
    "event_types": "message.*",
    "endpoint_id": "ep_7k2m9x4c1v8b3n6h",
    "event_id": "evt_01JD5Z7Q8M3V9K2B4N6P8R0T1W",
    "delivery_id": "dlv_0193ab6e7c5d7a10b3f24c9d8e7f0c12_17",
    "message_id": "msg_7f8a9b0c",
    "status_code": 200,
    "hint": "LaSw",
    "has_more": False,
    "next_cursor": None,
    "description": "",
    "dry_run": False,
}
_BY_FORMAT: Final = {
    "date-time": "2026-11-21T14:40:12.081220Z",
    "date": "2026-11-21",
    "uri": "https://example.org/hooks/posthorn",
    "uuid": "0193ab6e-7c5d-7a10-b3f2-4c9d8e7f0c12",
}


def sample_of(schema: Document, openapi: Document, name: str = "", depth: int = 0) -> object:
    """A value that is most likely allowed: the document's own example, else the field's usual one, else by its type."""
    found = resolved(schema, openapi)
    for key in ("example", "const"):
        if key in found:
            return found[key]
    if found.get("examples"):
        return found["examples"][0]
    choices = found.get("anyOf") or found.get("oneOf")
    if choices:
        return _one_of(choices, openapi, name, depth)
    if "allOf" in found:
        parts = [sample_of(each, openapi, name, depth) for each in found["allOf"]]
        return {key: value for part in parts if isinstance(part, dict) for key, value in part.items()}
    if "enum" in found:
        return found["enum"][0]
    return _by_type(found, openapi, name, depth)


def _one_of(choices: list[Document], openapi: Document, name: str, depth: int) -> object:
    """Null where it is allowed, as it mostly is null in real answers, unless there is an example."""
    whole = [resolved(each, openapi) for each in choices]
    shown = next((each for each in whole if each.get("examples") or "example" in each), None)
    if shown is not None:
        return sample_of(shown, openapi, name, depth)
    if any(each.get("type") == "null" for each in whole):
        return None
    return sample_of(choices[0], openapi, name, depth)


def _by_type(schema: Document, openapi: Document, name: str, depth: int) -> object:
    kinds = schema.get("type", "object" if "properties" in schema else "null")
    kind = kinds if isinstance(kinds, str) else "null" if "null" in kinds else kinds[0]
    if kind == "object":
        return _object(schema, openapi, depth)
    if kind == "array":
        return [sample_of(schema["items"], openapi, name, depth + 1)] if _is_worth(schema, depth) else []
    if name in _BY_NAME:
        return _BY_NAME[name]
    if kind == "string":
        return _BY_FORMAT.get(schema.get("format", ""), name or "text")
    return {"integer": schema.get("minimum", 0), "number": schema.get("minimum", 0), "boolean": False}.get(kind)


def _is_worth(schema: Document, depth: int) -> bool:
    return "items" in schema and depth < _DEPTH_MAX


def _object(schema: Document, openapi: Document, depth: int) -> dict[str, Any]:
    if depth >= _DEPTH_MAX:
        return {}
    properties: Mapping[str, Document] = schema.get("properties", {})
    return {name: sample_of(each, openapi, name, depth + 1) for name, each in properties.items()}
