"""The OpenAPI 3.1 document: ``/v1`` from the operations and the models that validate them, ``/api/v2`` and webhooks."""

import re
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final

from pydantic import BaseModel

from service.api.documents.answers import recorded
from service.api.documents.examples import example_of, problem_example
from service.api.documents.rapidpro import (
    RAPIDPRO_SECURITY,
    RAPIDPRO_TAG,
    rapidpro_paths,
    rapidpro_responses,
    rapidpro_schemas,
)
from service.api.documents.schemas import Schemas, reference
from service.api.documents.sharing import camel, prune, share_parameters
from service.api.documents.webhooks import webhook, webhook_parameters, webhook_schemas
from service.api.operation import Limit, Operation
from service.core.events.schema import DescribedType

Document = Mapping[str, Any]

_PATH_PARAMETER: Final = re.compile(r"\{(\w+)\}")

ETAG_EXAMPLE: Final = '"12-6f1d0c5a9b3e7f24"'
_TEXT: Final = {"type": "string"}
_RESPONSE_HEADERS: Final[Mapping[str, tuple[str, Document]]] = {
    "X-Request-ID": ("The request's ID; quote it when you report a problem.", {"type": "string"}),
    "X-RateLimit-Limit": ("How many requests the budget holds.", {"type": "integer"}),
    "X-RateLimit-Remaining": ("How many more may be made at once.", {"type": "integer"}),
    "X-RateLimit-Reset": ("When there will be one more, in Unix seconds.", {"type": "integer"}),
    "RateLimit-Policy": ('The budget, and in how many seconds it fills again: `"requests";q=2500;w=3600`.', _TEXT),
    "RateLimit": ('What is left of it, and when there will be one more: `"requests";r=2499;t=2`.', _TEXT),
    "Retry-After": ("Seconds to wait before the next try.", {"type": "integer", "minimum": 1}),
    "Deprecation": ("Since when it is deprecated: `@` and Unix seconds (RFC 9745).", {"type": "string"}),
    "Sunset": ("When it will be removed, as an HTTP date (RFC 8594); absent while that is open.", {"type": "string"}),
    "ETag": (
        "Names this answer for `If-None-Match`, and a version for `If-Match`.",
        {"type": "string", "examples": [ETAG_EXAMPLE]},
    ),
    "Location": ("Where the new one is.", {"type": "string", "examples": ["/v1/endpoints/ep_7k2m9x4c1v8b3n6h"]}),
    "Idempotency-Replayed": ("`true` if this is a stored answer.", {"type": "string", "const": "true"}),
}
_ENDING_HEADERS: Final = ("Deprecation", "Sunset")
_ON_EVERY_RESPONSE: Final = ("X-Request-ID",)
_RATE_HEADERS: Final = (
    *("X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset"),
    *("RateLimit-Policy", "RateLimit"),
)
_RETRY_STATUSES: Final = {409, 429, 503}

_PROBLEMS: Final = {
    400: "The request is not valid; `errors` names the invalid fields.",
    401: "The API key is missing, not valid, expired or revoked.",
    403: "The key lacks the required scope, or would give more than it has.",
    404: "It does not exist, or it belongs to another organization.",
    408: "The body did not arrive in time.",
    409: "The request conflicts with the current state, or the same request is still running.",
    412: "A condition of the request does not hold: it has changed since (`If-Match`), or is there already.",
    413: "The body is too large.",
    415: "The Content-Type is not supported.",
    422: "The Idempotency-Key was used with a different request.",
    429: "Too many requests; `Retry-After` says when the next one fits.",
    500: "Internal error.",
    503: "The database cannot be reached at the moment.",
}

SECURITY_SCHEMES: Final = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "`Authorization: Bearer ph_live_…`"},
    "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
    "basic": {"type": "http", "scheme": "basic", "description": "Any user name; the key is the password."},
}

_LIMITED: Final = {
    Limit.NONE: "",
    Limit.ENDPOINT: ", or the same limited to this endpoint, such as `read:ep_1`",
    Limit.EVENT_TYPE: ", or the same limited to the type of each event, such as `publish:message.*`",
}

_IDEMPOTENCY_KEY: Final = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "Repeating the request with the same key returns the stored answer. Kept for 24 hours.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[ -~]+$"},
    "example": "0193ab6e-7c5d-7a10-b3f2-4c9d8e7f6a5b",
}
_IF_MATCH: Final = {
    "name": "If-Match",
    "in": "header",
    "required": False,
    "description": "The `ETag` of an answer: nothing is done if it has been changed since. `*`: if it exists.",
    "schema": {"type": "string"},
    "example": ETAG_EXAMPLE,
}
_IF_NONE_MATCH: Final = {
    "name": "If-None-Match",
    "in": "header",
    "required": False,
    "description": "The `ETag` of an answer that you have: 304 if it still holds. With PUT, `*`: only create.",
    "schema": {"type": "string"},
    "example": ETAG_EXAMPLE,
}
_CONDITIONS: Final = {
    "GET": [_IF_NONE_MATCH],
    "PUT": [_IF_MATCH, _IF_NONE_MATCH],
    "PATCH": [_IF_MATCH],
    "DELETE": [_IF_MATCH],
}

_PATH_PARAMETERS: Final = {
    "/v1/endpoints/{id}": ("EndpointId", "The endpoint's id.", "ep_7k2m9x4c1v8b3n6h"),
    "/.well-known/webhook-keys/{id}": ("KeysOfEndpointId", "The endpoint's id.", "ep_7k2m9x4c1v8b3n6h"),
    "/v1/events/{event_id}": ("EventId", "The event's id.", "evt_01JD5Z7Q8M3V9K2B4N6P8R0T1W"),
    "/v1/event-types/{name}": ("EventTypeName", "The event type's name.", "message.sent"),
    "/v1/messages/{message_id}": ("MessageId", "The message's id, `data.message.id` in its events.", "msg_7f8a9b0c"),
    "/v1/deliveries/{id}": ("DeliveryId", "The delivery's id.", "dlv_0193ab6e7c5d7a10b3f24c9d8e7f6a5b_17"),
    "/v1/replays/{id}": ("ReplayId", "The replay job's id.", "rpl_7k2m9x4c1v8b3n6h"),
    "/v1/keys/{id}": ("KeyId", "The key's id, the middle part of its text.", "0f1e2d3c4b5a6978"),
}
"""By how paths begin: the component's name, what it says, and an example."""

_TAGS: Final = {
    "keys": "API keys: who may do what, until when.",
    "endpoints": "URLs that webhooks go to, with their settings, secrets and health.",
    "event types": "What can happen, as JSON Schemas; an organization's own ones, too.",
    "events": "What happened, and what became of it.",
    "messages": "What is known of a message from its events.",
    "deliveries": "An event's way to an endpoint, with every attempt.",
    "replays": "Deliveries made again, many at a time.",
    "stream": "What happens, as it happens.",
    "stats": "Deliveries over time, what waits and why, and which endpoints fail.",
    "audit": "Who changed what.",
    RAPIDPRO_TAG: "RapidPro's contract for resthooks, so that clients written for it work unchanged.",
    "webhooks": "What receivers get.",
}

_DESCRIPTION: Final = """Times are in UTC with six fractional digits. Lists are read page by page: pass `next_cursor` as
`cursor`. What may be added without notice: operations, optional fields of requests, fields of answers, event types,
headers, and values of `reason`, `finding`, `kind` and `code`. Ignore what you do not know.

What is deprecated says so with the headers `Deprecation` and `Sunset`, at least 180 days before it ends."""


def openapi_document(
    operations: Sequence[Operation], *, version: str, envelope_schemas: Document, types: Sequence[DescribedType] = ()
) -> dict[str, Any]:
    """Build the document, without the server's address.

    ``envelope_schemas`` are components that describe events. ``types`` are what an endpoint can subscribe to.
    """
    schemas = Schemas(operations, {**envelope_schemas, **webhook_schemas(types), **rapidpro_schemas()})
    examples = _Examples(schemas.components, types)
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _operation(operation, schemas, examples)
    tags = [*dict.fromkeys(each.tag for each in operations), RAPIDPRO_TAG, *(["webhooks"] if types else [])]
    document: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {
            "title": "Posthorn",
            "version": version,
            "summary": "Webhooks for messaging events: register endpoints, and see what became of every event.",
            "description": _DESCRIPTION,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "jsonSchemaDialect": "https://json-schema.org/draft/2020-12/schema",
        "security": [{name: []} for name in SECURITY_SCHEMES],
        "tags": [{"name": name, "description": _TAGS[name]} for name in tags],
        "paths": paths | rapidpro_paths(),
        "webhooks": {each.name: {"post": webhook(each)} for each in types},
        "components": {
            "securitySchemes": SECURITY_SCHEMES | RAPIDPRO_SECURITY,
            "headers": {
                name: {"description": description, "schema": schema, "example": example_of(schema, {}, name)}
                for name, (description, schema) in _RESPONSE_HEADERS.items()
            },
            "parameters": _path_parameters() | webhook_parameters(),
            "responses": _problem_responses() | rapidpro_responses(),
            "schemas": schemas.components,
        },
    }
    share_parameters(document)
    prune(document)
    return document


class _Examples:
    """Examples of bodies and answers. Of events and their types, they are the samples."""

    def __init__(self, components: Mapping[str, Any], types: Sequence[DescribedType]) -> None:
        self._components = dict(components)
        if types:
            event: dict[str, Any] = {**(types[0].sample or {}), "received_at": "2026-11-20T18:25:35.321000Z"}
            self._components["Event"] = {**self._components.get("Event", {}), "example": event}

    def of(self, schema: Document) -> Any:  # noqa: ANN401 - any JSON
        """An example of what the schema describes."""
        return example_of(schema, self._components)


def _operation(operation: Operation, schemas: Schemas, examples: _Examples) -> dict[str, Any]:
    parameters: list[Any] = [
        {"$ref": f"#/components/parameters/{_path_parameter(operation.path)}"}
        for _ in _PATH_PARAMETER.findall(operation.path)
    ]
    if operation.query is not None:
        parameters += [
            {"example": example_of(each["schema"], schemas.components, each["name"])} | each
            for each in schemas.parameters(operation.query)
        ]
    if operation.changes:
        parameters.append(_IDEMPOTENCY_KEY)
    if operation.has_etag:
        parameters += _CONDITIONS.get(operation.method, [])
    document: dict[str, Any] = {
        "operationId": operation.name,
        "summary": operation.summary,
        "description": _description(operation),
        "tags": [operation.tag],
        "parameters": parameters,
        "responses": _responses(operation, schemas, examples),
    }
    if not operation.needs_key:
        document["security"] = []
    if operation.deprecation is not None:
        document["deprecated"] = True
    if operation.reads_body:
        content: dict[str, Any] = {"schema": schemas.body(operation)}
        if operation.example is not None:
            content["example"] = operation.example
        document["requestBody"] = {
            "required": operation.body_schema is not None or bool(operation.body and _requires(operation.body)),
            "content": {
                **dict.fromkeys(operation.media_types, content),
                **{
                    name: {"schema": schemas.plain(each.schema), "example": each.example}
                    for name, each in operation.other_bodies.items()
                },
            },
        }
    return document


def _requires(model: type[BaseModel]) -> bool:
    return any(each.is_required() for each in model.model_fields.values())


def _description(operation: Operation) -> str:
    if not operation.needs_key:
        return f"{operation.description}\n\nNo API key is needed.".strip()
    needed = f"Scope: `{operation.scope}`{_LIMITED[operation.limit]}." if operation.scope else "Any valid key."
    return f"{operation.description}\n\n{needed}".strip()


def _responses(operation: Operation, schemas: Schemas, examples: _Examples) -> dict[str, Any]:
    responses: dict[str, Any] = {}
    for status, model in operation.answers.items():
        content = None
        if model is not None:
            schema = schemas.answer(model)
            given = recorded(operation.name, str(status))
            example = examples.of(schema) if given is None else given
            content = {operation.answer_type: {"schema": schema, "example": example}}
        rate = _RATE_HEADERS if operation.needs_key else ()
        ending = _ENDING_HEADERS if operation.deprecation is not None else ()
        names = [*_ON_EVERY_RESPONSE, *rate, *(("Idempotency-Replayed",) if operation.changes else ()), *ending]
        names += ["ETag"] if operation.has_etag and status != HTTPStatus.NO_CONTENT else []
        names += ["Location"] if status == HTTPStatus.CREATED else []
        responses[str(status)] = _response(HTTPStatus(status).phrase, names, content)
    for status in sorted(operation.possible_problems):
        responses[str(status)] = {"$ref": f"#/components/responses/{_problem_name(status)}"}
    return responses


def _problem_responses() -> dict[str, Any]:
    """Every error, once for all operations."""
    found: dict[str, Any] = {}
    for status, description in _PROBLEMS.items():
        rate = _RATE_HEADERS if status != HTTPStatus.UNAUTHORIZED else ()
        names = [*_ON_EVERY_RESPONSE, *rate, *(("Retry-After",) if status in _RETRY_STATUSES else ())]
        content = {"application/json": {"schema": reference("Problem"), "example": problem_example(status)}}
        found[_problem_name(status)] = _response(description, names, content)
    return found


def _problem_name(status: int) -> str:
    return camel(HTTPStatus(status).phrase)


def _response(description: str, header_names: Sequence[str], content: Document | None) -> dict[str, Any]:
    headers = {name: {"$ref": f"#/components/headers/{name}"} for name in header_names}
    return {"description": description, "headers": headers} | ({"content": content} if content else {})


def _path_parameter(path: str) -> str:
    """The name of the component that describes the parameter of this path."""
    (found,) = (name for start, (name, *_) in _PATH_PARAMETERS.items() if path.startswith(start))
    return found


def _path_parameters() -> dict[str, Any]:
    found = {}
    for start, (name, description, example) in _PATH_PARAMETERS.items():
        (parameter,) = _PATH_PARAMETER.findall(start)
        schema = {"type": "string"}
        each = {"name": parameter, "in": "path", "required": True, "description": description, "schema": schema}
        found[name] = each | {"example": example}
    return found
