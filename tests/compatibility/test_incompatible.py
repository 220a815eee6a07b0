"""The comparison of two documents: what breaks a client is found, and what does not is let pass."""

from copy import deepcopy
from typing import Any

import pytest

from tests.compatibility.incompatible import incompatibilities

THING = {
    "type": "object",
    "required": ["id", "state"],
    "properties": {
        "id": {"type": "string"},
        "state": {"type": "string", "enum": ["on", "off"]},
        "at": {"anyOf": [{"type": "string", "format": "date-time"}, {"type": "null"}]},
        "parts": {"type": "array", "items": {"$ref": "#/components/schemas/Thing"}},
        "size": {"type": "integer"},
    },
}
NEW = {
    "type": "object",
    "required": ["name"],
    "additionalProperties": False,
    "properties": {
        "name": {"type": "string", "maxLength": 100},
        "size": {"type": "number", "minimum": 1},
        "kind": {"type": "string", "enum": ["a", "b"]},
        "retry": {"oneOf": [{"type": "string"}, {"type": "array", "items": {"type": "number"}}]},
    },
}
BODY = {"required": True, "content": {"application/json": {"schema": {"$ref": "#/components/schemas/NewThing"}}}}
ANSWER = {
    "description": "",
    "headers": {"X-Request-ID": {}},
    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Thing"}}},
}
HEADER = {"name": "webhook-id", "in": "header", "required": True, "schema": {"type": "string"}}
BASE: dict[str, Any] = {
    "security": [{"bearer": []}, {"basic": []}],
    "paths": {
        "/things": {
            "get": {
                "operationId": "list",
                "parameters": [{"name": "limit", "in": "query", "schema": {"type": "integer", "maximum": 200}}],
                "responses": {"200": {"$ref": "#/components/responses/Thing"}},
            },
            "post": {"operationId": "make", "requestBody": BODY, "responses": {"201": ANSWER, "409": {}}},
        }
    },
    "webhooks": {
        "made": {
            "post": {
                "operationId": "on_made",
                "security": [],
                "parameters": [HEADER],
                "requestBody": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Thing"}}}},
                "responses": {"2XX": {}},
            }
        }
    },
    "components": {"responses": {"Thing": ANSWER}, "schemas": {"Thing": THING, "NewThing": NEW}},
}
GET, POST, WEBHOOK = "paths./things.get", "paths./things.post", "webhooks.made.post"
SHOWN, SENT = "components.schemas.Thing", "components.schemas.NewThing"
GONE = object()


def changed(place: str, value: object) -> dict[str, Any]:
    """The base with another value at a place; ``GONE`` takes it out."""
    document = deepcopy(BASE)
    *way, name = place.split(".")
    target: Any = document
    for each in way:
        target = target[each] if isinstance(target, dict) else target[int(each)]
    last: Any = name if isinstance(target, dict) else int(name)
    if value is GONE:
        del target[last]
    else:
        target[last] = value
    return document


def test_a_document_is_compatible_with_itself() -> None:
    assert incompatibilities(BASE, deepcopy(BASE)) == []


@pytest.mark.parametrize(
    ("place", "value", "sentence"),
    [
        (POST, GONE, "POST /things: is gone"),
        (WEBHOOK, GONE, "made: is gone"),
        (f"{POST}.operationId", "create", "POST /things: was called make"),
        (f"{POST}.security", [{"bearer": []}], "POST /things: cannot be asked with basic any more"),
        (f"{GET}.parameters", [], "GET /things, query limit: is gone"),
        (f"{GET}.parameters.0.required", True, "GET /things, query limit: is required"),
        (f"{GET}.parameters.0.schema.maximum", 100, "GET /things, query limit: maximum is 100, it was 200"),
        (f"{GET}.parameters.0.schema.minimum", 1, "GET /things, query limit: minimum is 1"),
        (f"{GET}.parameters.0.schema.type", "boolean", "GET /things, query limit: cannot be integer"),
        (
            f"{GET}.parameters.0.schema",
            {"type": "array", "items": {"type": "boolean"}},
            "GET /things, query limit: cannot be integer",
        ),
        (f"{POST}.responses", {"202": ANSWER}, "POST /things: never answers 201"),
        (f"{POST}.responses", {"201": ANSWER, "202": ANSWER}, "POST /things: may answer 202"),
        (f"{POST}.responses.201", {**ANSWER, "headers": {}}, "POST /things, 201: the header X-Request-ID is gone"),
        (f"{POST}.responses.201", {**ANSWER, "content": {}}, "POST /things, 201: is not application/json any more"),
        (f"{SENT}.required", ["name", "size"], "POST /things, body.size: is required"),
        (f"{SENT}.properties.size", GONE, "POST /things, body.size: is gone"),
        (f"{SENT}.properties.size.type", "integer", "POST /things, body.size: cannot be number"),
        (f"{SENT}.properties.kind.enum", ["a"], "POST /things, body.kind: b is refused"),
        (f"{SENT}.properties.name.enum", ["x"], "POST /things, body.name: only x is taken"),
        (f"{SENT}.properties.name.pattern", "^x", "POST /things, body.name: must match ^x"),
        (f"{SENT}.properties.name.maxLength", 50, "POST /things, body.name: maxLength is 50, it was 100"),
        (f"{SENT}.properties.retry.oneOf", [{"type": "string"}], "POST /things, body.retry: cannot be array"),
        (f"{SHOWN}.properties.size", GONE, "POST /things, 201.size: is gone"),
        (f"{SHOWN}.required", ["id"], "POST /things, 201.state: may be missing"),
        (f"{SHOWN}.properties.size.type", ["integer", "null"], "POST /things, 201.size: may be null"),
        (f"{SHOWN}.properties.state.enum", ["on"], "POST /things, 201.state: off never comes"),
        (f"{SHOWN}.properties.at.anyOf.0", {"type": "string"}, "POST /things, 201.at: is no date-time"),
        (f"{SHOWN}.properties.parts.items", {"type": "string"}, "POST /things, 201.parts[]: may be string"),
        (SHOWN.replace("Thing", "NewThing"), GONE, None),
        (f"{WEBHOOK}.parameters", [], "made, header webhook-id: is gone"),
        (f"{WEBHOOK}.parameters.0.required", False, "made, header webhook-id: may be missing"),
    ],
)
def test_what_breaks_a_client_is_found(place: str, value: object, sentence: str | None) -> None:
    document = changed(place, value)
    if sentence is None:  # another name for the same: only generated code breaks
        document["components"]["schemas"]["MadeThing"] = NEW
        renamed = {"$ref": "#/components/schemas/MadeThing"}
        document["paths"]["/things"]["post"]["requestBody"]["content"]["application/json"]["schema"] = renamed
        assert incompatibilities(BASE, document) == ["the type NewThing: is gone, or has another name"]
    else:
        assert sentence in incompatibilities(BASE, document)


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("paths./others", {"get": {"operationId": "others"}}),
        ("webhooks.unmade", {"post": {"operationId": "on_unmade"}}),
        (f"{POST}.security", []),
        (f"{POST}.responses.418", {}),
        (f"{POST}.parameters", [{"name": "dry", "in": "query", "schema": {"type": "boolean"}}]),
        (f"{GET}.parameters.0.schema.maximum", 500),
        (f"{GET}.parameters.0.schema.type", "number"),
        (f"{GET}.parameters.0.schema", {"type": "array", "items": {"type": "integer"}}),
        (f"{GET}.parameters.0.schema", {"type": "array", "items": {"type": "string"}}),
        (f"{SENT}.required", []),
        (f"{SENT}.properties.more", {"type": "string"}),
        (f"{SENT}.properties.size.type", ["number", "null"]),
        (f"{SENT}.properties.kind.enum", ["a", "b", "c"]),
        (f"{SENT}.properties.name.maxLength", GONE),
        (f"{SENT}.additionalProperties", True),
        (f"{SHOWN}.properties.more", {"type": "string"}),
        (f"{SHOWN}.required", ["id", "state", "size"]),
        (f"{SHOWN}.properties.state.enum", ["on", "off", "unknown"]),
        (f"{SHOWN}.properties.at", {"type": "string", "format": "date-time"}),
        (f"{WEBHOOK}.requestBody.required", True),
    ],
)
def test_what_breaks_nobody_is_let_pass(place: str, value: object) -> None:
    assert incompatibilities(BASE, changed(place, value)) == []
    if value is not GONE:
        assert changed(place, value) != BASE
