"""The OpenAPI 3.1 document of ``/v1``, generated from the operations and the models that validate them."""

import re
from collections.abc import Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final

from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaMode, models_json_schema

from service.api.errors import Problem
from service.api.operation import Limit, Operation
from service.core.events.schema import DescribedType, envelope_schema

Document = Mapping[str, Any]

_REFERENCE: Final = "#/components/schemas/{model}"
_PATH_PARAMETER: Final = re.compile(r"\{(\w+)\}")

_TEXT: Final = {"type": "string"}
_RESPONSE_HEADERS: Final = {
    "X-Request-ID": ("The request's ID; quote it when you report a problem.", {"type": "string"}),
    "X-RateLimit-Limit": ("How many requests the budget holds.", {"type": "integer"}),
    "X-RateLimit-Remaining": ("How many more may be made at once.", {"type": "integer"}),
    "X-RateLimit-Reset": ("When there will be one more, in Unix seconds.", {"type": "integer"}),
    "RateLimit-Policy": ('The budget, and in how many seconds it fills again: `"requests";q=2500;w=3600`.', _TEXT),
    "RateLimit": ('What is left of it, and when there will be one more: `"requests";r=2499;t=2`.', _TEXT),
    "Retry-After": ("Seconds to wait before the next try.", {"type": "integer", "minimum": 1}),
    "Idempotency-Replayed": ("`true` if this is a stored answer.", {"type": "string", "const": "true"}),
}
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
}


def openapi_document(
    operations: Sequence[Operation], *, version: str, envelope_schemas: Document, types: Sequence[DescribedType] = ()
) -> dict[str, Any]:
    """Build the document, without the server's address.

    ``envelope_schemas`` are components that describe events; one of them is named Envelope. ``types`` are what an
    endpoint can subscribe to.
    """
    schemas = _Schemas(operations)
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _operation(operation, schemas)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Posthorn",
            "version": version,
            "summary": "Webhooks for messaging events: register endpoints, and see what became of every event.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "jsonSchemaDialect": "https://json-schema.org/draft/2020-12/schema",
        "security": [{name: []} for name in SECURITY_SCHEMES],
        "tags": [{"name": name} for name in dict.fromkeys(each.tag for each in operations)],
        "paths": paths,
        "webhooks": {each.name: {"post": _webhook(each)} for each in types},
        "components": {
            "securitySchemes": SECURITY_SCHEMES,
            "headers": {
                name: {"description": description, "schema": schema}
                for name, (description, schema) in _RESPONSE_HEADERS.items()
            },
            "schemas": {**schemas.components, **envelope_schemas},
        },
    }


def _webhook(kind: DescribedType) -> dict[str, Any]:
    """What an endpoint is sent; the schema of its ``data`` is that of the event type."""
    operational = "\n\nAn operational event: Posthorn itself publishes it, and `*` does not cover it."
    content: dict[str, Any] = {"schema": envelope_schema(kind.name)}
    return {
        "operationId": f"on_{kind.name.replace('.', '_')}",
        "summary": kind.description,
        "description": "A signed POST to every endpoint subscribed to it."
        + (operational if kind.is_operational else ""),
        "security": [],
        "requestBody": {"required": True, "content": {"application/json": content | {"example": kind.sample}}},
        "responses": {
            "2XX": {"description": "Delivered."},
            "410": {"description": "Ends the subscription."},
            "default": {"description": "Tried again later."},
        },
    }


class _Schemas:
    """The JSON Schemas of all models, as components."""

    def __init__(self, operations: Iterable[Operation]) -> None:
        wanted: list[tuple[type[BaseModel], JsonSchemaMode]] = [(Problem, "serialization")]
        for each in operations:
            wanted += [(model, "validation") for model in (each.body, each.query) if model is not None]
            wanted += [(model, "serialization") for model in each.answers.values() if model is not None]
        self._by_model, definitions = models_json_schema(list(dict.fromkeys(wanted)), ref_template=_REFERENCE)
        self.components: dict[str, Any] = definitions.get("$defs", {})
        for model, mode in wanted:  # a query's model is shown as parameters, not as an object
            if any(model is each.query for each in operations):
                self.components.pop(self.name(model, mode), None)
        self._queries = {each.query: each.query.model_json_schema() for each in operations if each.query is not None}

    def name(self, model: type[BaseModel], mode: JsonSchemaMode) -> str:
        return str(self._by_model[model, mode]["$ref"]).rpartition("/")[2]

    def reference(self, model: type[BaseModel], mode: JsonSchemaMode) -> Mapping[str, Any]:
        found: Mapping[str, Any] = self._by_model[model, mode]
        return found

    def parameters(self, query: type[BaseModel]) -> list[dict[str, Any]]:
        schema = self._queries[query]
        required = schema.get("required", ())
        found = []
        for name, whole in schema.get("properties", {}).items():
            plain = {key: value for key, value in whole.items() if key not in {"title", "description"}}
            parameter = {"name": name, "in": "query", "required": name in required, "schema": _without_null(plain)}
            found.append(parameter | ({"description": whole["description"]} if "description" in whole else {}))
        return found


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    """Drop the null alternative: an omitted parameter is None in the model, but a query string cannot carry null."""
    choices: list[dict[str, Any]] = [each for each in schema.get("anyOf", ()) if each != {"type": "null"}]
    if len(choices) != 1:
        return schema
    kept = {key: value for key, value in schema.items() if key != "anyOf" and not (key == "default" and value is None)}
    return kept | choices[0]


def _operation(operation: Operation, schemas: _Schemas) -> dict[str, Any]:
    parameters: list[Any] = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in _PATH_PARAMETER.findall(operation.path)
    ]
    if operation.query is not None:
        parameters += schemas.parameters(operation.query)
    if operation.changes:
        parameters.append(_IDEMPOTENCY_KEY)
    document: dict[str, Any] = {
        "operationId": operation.name,
        "summary": operation.summary,
        "description": _description(operation),
        "tags": [operation.tag],
        "parameters": parameters,
        "responses": _responses(operation, schemas),
    }
    if not operation.needs_key:
        document["security"] = []
    if operation.reads_body:
        content: dict[str, Any] = {
            "schema": schemas.reference(operation.body, "validation") if operation.body else operation.body_schema
        }
        if operation.example is not None:
            content["example"] = operation.example
        document["requestBody"] = {
            "required": operation.body_schema is not None or bool(operation.body and _requires(operation.body)),
            "content": dict.fromkeys(operation.media_types, content),
        }
    return document


def _requires(model: type[BaseModel]) -> bool:
    return any(each.is_required() for each in model.model_fields.values())


def _description(operation: Operation) -> str:
    if not operation.needs_key:
        return f"{operation.description}\n\nNo API key is needed.".strip()
    needed = f"Scope: `{operation.scope}`{_LIMITED[operation.limit]}." if operation.scope else "Any valid key."
    return f"{operation.description}\n\n{needed}".strip()


def _responses(operation: Operation, schemas: _Schemas) -> dict[str, Any]:
    responses: dict[str, Any] = {}
    for status, model in operation.answers.items():
        content = {"application/json": {"schema": schemas.reference(model, "serialization")}} if model else None
        rate = _RATE_HEADERS if operation.needs_key else ()
        names = [*_ON_EVERY_RESPONSE, *rate, *(("Idempotency-Replayed",) if operation.changes else ())]
        responses[str(status)] = _response(HTTPStatus(status).phrase, names, content)
    problem = {"application/json": {"schema": schemas.reference(Problem, "serialization")}}
    for status in sorted(operation.possible_problems):
        names = [*_ON_EVERY_RESPONSE, *(("Retry-After",) if status in _RETRY_STATUSES else ())]
        responses[str(status)] = _response(_PROBLEMS[status], names, problem)
    return responses


def _response(description: str, header_names: Sequence[str], content: Document | None) -> dict[str, Any]:
    headers = {name: {"$ref": f"#/components/headers/{name}"} for name in header_names}
    return {"description": description, "headers": headers} | ({"content": content} if content else {})
