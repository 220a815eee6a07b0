"""A Postman collection (format 2.1) made from the OpenAPI document: one request for each operation, ready to send.

It can be run from top to bottom, in Postman or by newman: a request that makes something keeps its id for those that
follow, each checks its status, and what removes things comes last.
"""

import re
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from typing import Any, Final

from pydantic_core import to_json

from service.api.documents.sharing import operations_of

Document = Mapping[str, Any]

SCHEMA_URL: Final = "https://schema.getpostman.com/json/collection/v2.1.0/collection.json"

_PATH_PARAMETER: Final = re.compile(r"\{(\w+)\}")
_LAST: Final = "clean up"
_ENDLESS: Final = "text/event-stream"

_VARIABLES: Final = {"receiver_url": "https://example.com/hooks", "message_id": "msg_7f8a9b0c"}
"""Those of the collection that nothing sets, with their values."""
_KEEPS: Final = {
    "create_endpoint": ("endpoint_id", "id"),
    "create_key": ("key_id", "id"),
    "create_replay": ("replay_id", "id"),
    "create_resthook_subscriber": ("subscriber_id", "id"),
    "publish_events": ("event_id", "data[0].id"),
    "register_event_type": ("event_type", "name"),
    "test_endpoint": ("delivery_id", "id"),
}
"""By operation: the variable that it sets, and from where in its answer."""
_NAMED_BY: Final = {
    "/.well-known/webhook-keys/{id}": "endpoint_id",
    "/api/v2/resthook_subscribers/{id}": "subscriber_id",
    "/v1/deliveries/{id}": "delivery_id",
    "/v1/endpoints/{id}": "endpoint_id",
    "/v1/event-types/{name}": "event_type",
    "/v1/events/{event_id}": "event_id",
    "/v1/keys/{id}": "key_id",
    "/v1/messages/{message_id}": "message_id",
    "/v1/replays/{id}": "replay_id",
}
"""By how paths begin: the variable that their parameter is."""
_BODIES: Final[Mapping[str, Mapping[str, Any]]] = {
    "create_endpoint": {"url": "{{receiver_url}}", "signature_style": "ed25519"},  # a style with public keys to fetch
    "put_endpoint": {"signature_style": "ed25519"},
    "create_replay": {"states": ["delivered"], "dry_run": False},
    "create_resthook_subscriber": {"resthook": "link.clicked", "target_url": "{{receiver_url}}"},
    "publish_events": {"id": "evt_{{$guid}}", "timestamp": "{{$isoTimestamp}}"},
}
"""By operation: what differs from its example."""
_QUERIES: Final = {
    ("delete_resthook_subscriber_by_query", "id"): "{{subscriber_id}}",
    ("put_endpoint", "url"): "{{receiver_url}}",
}
_MAY_ANSWER: Final = {
    "cancel_replay": 409,
    "delete_resthook_subscriber_by_query": 404,
    "pause_replay": 409,
    "resume_replay": 409,
}
"""By operation: what else is fine, as the replay may have ended, and the subscription be gone by the request before."""
_REPEATED: Final = {
    "get_delivery": (
        "// The next request makes the delivery again, which needs it to have ended: ask until it has.",
        'const tries = Number(pm.collectionVariables.get("tries") || 0);',
        'if (tries < 60 && ["pending", "leased"].includes(pm.response.json().state)) {',
        '    pm.collectionVariables.set("tries", tries + 1);',
        "    setTimeout(() => pm.execution.setNextRequest(pm.info.requestName), 500);",
        "}",
    )
}


def postman_collection(openapi: Document) -> dict[str, Any]:
    """Build the collection from a document whose parameters are in place; each tag is a folder."""
    folders: dict[str, list[dict[str, Any]]] = {}
    last: list[dict[str, Any]] = []
    for path, method, operation in operations_of(openapi):
        if any(_ENDLESS in each.get("content", {}) for each in operation["responses"].values()):
            continue
        item = _item(path, method.upper(), operation)
        if method == "delete":
            last.insert(0, item)  # what was made last goes first
        else:
            folders.setdefault(operation["tags"][0], []).append(item)
    values = {"base_url": openapi["servers"][0]["url"], "api_key": "", **_VARIABLES}
    return {
        "info": {
            "name": openapi["info"]["title"],
            "description": openapi["info"]["summary"],
            "version": openapi["info"]["version"],
            "schema": SCHEMA_URL,
        },
        "auth": {"type": "bearer", "bearer": [{"key": "token", "value": "{{api_key}}", "type": "string"}]},
        "variable": [{"key": name, "value": value, "type": "string"} for name, value in values.items()],
        "item": [{"name": name, "item": items} for name, items in {**folders, _LAST: last}.items() if items],
    }


def _item(path: str, method: str, operation: Document) -> dict[str, Any]:
    request: dict[str, Any] = {
        "method": method,
        "description": operation["description"],
        "header": list(_headers(operation)),
        "url": _url(path, operation),
    }
    if operation.get("security") == []:
        request["auth"] = {"type": "noauth"}
    content = operation.get("requestBody", {}).get("content", {}).get("application/json")
    if content is not None:
        body = content.get("example", {}) | _BODIES.get(operation["operationId"], {})
        text = to_json(body, indent=2).decode()
        request["body"] = {"mode": "raw", "raw": text, "options": {"raw": {"language": "json"}}}
    script = {"type": "text/javascript", "exec": list(_script(operation))}
    event = [{"listen": "test", "script": script}]
    return {"name": operation["summary"], "event": event, "request": request, "response": []}


def _script(operation: Document) -> Iterator[str]:
    """What is done with the answer."""
    name = operation["operationId"]
    fine = [
        int(status)
        for status in operation["responses"]
        if status.isdecimal() and int(status) < HTTPStatus.MULTIPLE_CHOICES
    ]
    fine += [_MAY_ANSWER[name]] if name in _MAY_ANSWER else []
    told = " or ".join(map(str, fine))
    yield f'pm.test("answers {told}", () => pm.expect(pm.response.code).to.be.oneOf({fine}));'
    if name in _KEEPS:
        variable, place = _KEEPS[name]
        yield f'if (pm.response.code < 300) pm.collectionVariables.set("{variable}", pm.response.json().{place});'
    yield from _REPEATED.get(name, ())


def _headers(operation: Document) -> Iterator[dict[str, Any]]:
    if "requestBody" in operation:
        yield {"key": "Content-Type", "value": "application/json"}
    for each in operation["parameters"]:
        if each["in"] == "header":
            yield {"key": each["name"], "value": "", "description": each["description"], "disabled": True}


def _url(path: str, operation: Document) -> dict[str, Any]:
    # Postman's own form of a parameter, :id, is a whole part of the path; this one may be followed by a suffix.
    plain = _PATH_PARAMETER.sub(lambda found: f"{{{{{_variable(path, found)}}}}}", path)
    query = list(_query(operation))
    asked = "&".join(f"{each['key']}={each['value']}" for each in query if not each["disabled"])
    found: dict[str, Any] = {
        "raw": "{{base_url}}" + plain + (f"?{asked}" if asked else ""),
        "host": ["{{base_url}}"],
        "path": plain.strip("/").split("/"),
    }
    return found | ({"query": query} if query else {})


def _query(operation: Document) -> Iterator[dict[str, Any]]:
    for each in operation["parameters"]:
        if each["in"] == "query":
            value = _QUERIES.get((operation["operationId"], each["name"]), _text(each.get("example", "")))
            description = each.get("description", "")
            yield {"key": each["name"], "value": value, "description": description, "disabled": not each["required"]}


def _text(value: object) -> str:
    return value if isinstance(value, str) else to_json(value).decode()


def _variable(path: str, found: re.Match[str]) -> str:
    """The variable that a parameter of a path is; its own name for a path that nobody has thought of."""
    return next((name for start, name in _NAMED_BY.items() if path.startswith(start)), found[1])
