"""Examples for what has none of its own: made from the schema, so that they are always what it describes."""

from collections.abc import Mapping
from typing import Any, Final

from service.api.problem import Code, Problem, code_anchor
from service.core.field_code import FieldCode

Schema = Mapping[str, Any]

_AT: Final = "2026-11-20T18:25:35.123456Z"
# By the name of a field or header, where it fits the schema.
_BY_NAME: Final[Mapping[str, Any]] = {
    "attempts_made": 1,
    "auth": None,
    "auth_expires_at": None,
    "by_reason": {"attempts_exhausted": 2},
    "by_state": {"delivered": 118, "dead": 2, "cancelled": 0, "pending": 0, "leased": 0},
    "created_by": "0f1e2d3c4b5a6978",
    "cursor": "WzE3OTUxOTk5OTksImVwXzdrMm05eDRjMXY4YjNuNmgiXQ",
    "delivery_id": "dlv_0193ab6e7c5d7a10b3f24c9d8e7f6a5b_17",
    "description": "",
    "duration_ms": 84,
    "endpoint_id": "ep_7k2m9x4c1v8b3n6h",
    "ended_at": None,
    "expires_at": None,
    "error": None,
    "event_id": "evt_01JD5Z7Q8M3V9K2B4N6P8R0T1W",
    "event_type": "message.sent",
    "event_types": ["message.sent", "message.failed"],
    "failed_at": None,
    "filter": None,
    "filter_clause": None,
    "findings": {"delivered": 1},
    "gates": [],
    "has_more": False,
    "headers": {},
    "hint": "LaSw",
    "key": "ph_live_0f1e2d3c4b5a6978_…",
    "key_id": "0f1e2d3c4b5a6978",
    "last_failure_at": None,
    "last_failure_reason": None,
    "last_failure_status": None,
    "last_status": 200,
    "max_in_flight": None,
    "message_id": "msg_7f8a9b0c",
    "metadata": {"team": "crm"},
    "next_attempt_at": None,
    "next_cursor": None,
    "order_by": None,
    "order_wait_seconds": None,
    "public_key": None,
    "rate_limit_per_hour": None,
    "rate_limit_per_second": None,
    "reason": None,
    "reached_everyone": True,
    "removed_at": None,
    "replaced_by": None,
    "reply": "ok",
    "retry": None,
    "revoked_at": None,
    "secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
    "sentence": "delivered on the first attempt",
    "shadowed_by": None,
    "signature_header": None,
    "state": None,
    "status": None,
    "target_url": "https://example.com/hooks",
    "timeout_seconds": None,
    "url": "https://example.com/hooks",
    "verified_at": None,
    "waits_for": None,
    "Deprecation": "@1795132800",
    "RateLimit": '"requests";r=2499;t=2',
    "RateLimit-Policy": '"requests";q=2500;w=3600',
    "Retry-After": 1,
    "Sunset": "Sun, 22 Aug 2027 00:00:00 GMT",
    "X-RateLimit-Limit": 2500,
    "X-RateLimit-Remaining": 2499,
    "X-RateLimit-Reset": 1795201200,
    "X-Request-ID": "req_7f8a9b0c1d2e3f40",
}
_PROBLEMS: Final = {
    400: (Code.VALIDATION_ERROR, "the request is not valid", {"url": ["must begin with https://"]}),
    401: (Code.INVALID_API_KEY, "the API key is not valid", None),
    403: (Code.PERMISSION_DENIED, "this API key lacks the scope 'write'", None),
    404: (Code.NOT_FOUND, "no endpoint 'ep_7k2m9x4c1v8b3n6h'", None),
    408: (Code.REQUEST_TIMEOUT, "the request body did not arrive within 30 s", None),
    409: (Code.CONFLICT, "another endpoint has this URL", {"url": ["belongs to endpoint ep_7k2m9x4c1v8b3n6h"]}),
    412: (Code.PRECONDITION_FAILED, "the endpoint has changed since you read it; read it again", None),
    413: (Code.PAYLOAD_TOO_LARGE, "the request body exceeds the limit of 65536 bytes", None),
    415: (Code.UNSUPPORTED_MEDIA_TYPE, "the Content-Type must be application/json", None),
    422: (Code.IDEMPOTENCY_KEY_REUSED, "this Idempotency-Key was used with another request", None),
    429: (Code.RATE_LIMIT_EXCEEDED, "limit of 2500 requests per hour reached; try again in 1 second", None),
    500: (Code.INTERNAL_ERROR, "something went wrong on our side", None),
    503: (Code.UNAVAILABLE, "the service cannot reach its database now; try again", None),
}
_PYTHON_TYPES: Final[Mapping[str, set[type]]] = {
    "null": {type(None)},
    "string": {str},
    "integer": {int},
    "number": {int, float},
    "boolean": {bool},
    "array": {list},
    "object": {dict},
}
_OF_TYPE: Final = {"string": "text", "boolean": False, "number": 1.5, "null": None}
_WITHIN: Final[Mapping[str, Mapping[str, Any]]] = {
    "Attempt": {"status": 200, "is_counted": True, "detail": "", "outcome": "accepted"},
    "AttemptRequest": {"body_bytes": 901, "is_recorded": True},
    "ChangedEndpoint": {"secret": None, "public_key": None},
    "CreatedEndpoint": {"public_key": None},
    "Delivery": {"state": "delivered", "replay_number": 0, "subscription_id": 17, "ended_at": _AT},
    "DeliveryWithAttempts": {"state": "delivered", "replay_number": 0, "subscription_id": 17, "ended_at": _AT},
    "EndpointHealth": {"consecutive_failures": 0},
    "EndpointStats": {"hours": 24, "success_rate": 0.9833, "oldest_pending_age_seconds": None},
    "EventType": {
        "name": "order.placed",
        "description": "A customer placed an order.",
        "schema": {"type": "object", "required": ["order"], "properties": {"order": {"type": "object"}}},
        "created_at": _AT,
    },
    "ExplainedDelivery": {
        "id": "dlv_0193ab6e7c5d7a10b3f24c9d8e7f6a5b_17",
        "replay_number": 0,
        "state": "delivered",
    },
    "ExplainedSubscription": {"subscription_id": 17},
    "KeyInUse": {"expires_at": None},
    "Message": {
        "status": "delivered",
        "read_at": None,
        "received_at": None,
        "replies": [],
        "reactions": [],
        "clicks": {"count": 0, "last_clicked_at": None, "bot_count": 0},
        "events": ["evt_01JD5Z7Q8M3V9K2B4N6P8R0T1W"],
        "is_complete": True,
    },
    "Percentiles": {"p50": 84.2, "p95": 310.7},
    "PublicKey": {
        "kid": "R4bQhZ0zq2kT3m0oB9T0V3w8n1l5YVd7pQy2s6u9cXE",
        "x": "1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4",
    },
    "Published": {"id": "evt_01JD5Z7Q8M3V9K2B4N6P8R0T1W"},
    "Replay": {
        "states": ["dead"],
        "rate": 10,
        "ids_count": 0,
        "total_count": 0,
        "created_count": 0,
        "open_count": 0,
        "started_at": None,
    },
    "ReplayCounted": {"total_count": 120, "replayable_count": 118, "is_complete": True},
    "ReplaySkipped": {"superseded": 2, "subscription_removed": 0, "event_dropped": 0},
    "RotatedSecret": {"id": "ep_7k2m9x4c1v8b3n6h", "public_key": None},
    "SigningSecret": {"public_key": None},
}
"""By the component's name, what its fields are in an example: before all else, where there is such a field."""
_FORMATS: Final = {"date-time": _AT, "uri": "https://example.com/hooks"}


def example_of(schema: Schema, components: Mapping[str, Schema], name: str = "") -> Any:  # noqa: ANN401 - any JSON
    """A value that the schema describes. ``name`` is the field's."""
    own = _own_example(schema)
    if own is not None:
        return own[0]
    if name in _BY_NAME and _fits(_BY_NAME[name], schema, components):
        return _BY_NAME[name]
    if "$ref" in schema:
        target = str(schema["$ref"]).rpartition("/")[2]
        found = example_of(components[target], components, name)
        is_object = isinstance(found, dict) and "example" not in components[target]
        return {each: _WITHIN.get(target, {}).get(each, value) for each, value in found.items()} if is_object else found
    choices = schema.get("oneOf") or schema.get("anyOf")
    return example_of(choices[0], components, name) if choices else _of_type(schema, components, name)


def _own_example(schema: Schema) -> tuple[Any] | None:
    """What the schema itself gives; None if that is nothing."""
    if schema.get("examples"):
        return (schema["examples"][0],)
    found = [schema[key] for key in ("example", "const", "default") if key in schema]
    return (found[0],) if found else None


def problem_example(status: int) -> dict[str, Any]:
    """An error with this status, as it is answered."""
    code, sentence, errors = _PROBLEMS[status]
    problem = Problem(
        error=sentence,
        code=code,
        statusCode=status,
        doc_url=f"https://hooks.example.com/docs#{code_anchor(code)}",
        errors=dict(errors) if errors else None,
        codes=dict.fromkeys(errors, FieldCode.WRONG_FORM) if errors else None,
    )
    return problem.model_dump(mode="json", exclude_none=True)


def _of_type(schema: Schema, components: Mapping[str, Schema], name: str) -> Any:  # noqa: ANN401 - any JSON
    kind = schema.get("type")
    match kind[0] if isinstance(kind, list) else kind:
        case _ if "enum" in schema:
            return schema["enum"][0]
        case "object":
            return {each: example_of(inner, components, each) for each, inner in schema.get("properties", {}).items()}
        case "array":
            return [example_of(schema.get("items", {}), components, name)]
        case "integer":
            return max(1, schema.get("minimum", 1))
        case "string" if "format" in schema:
            return _FORMATS[schema["format"]]
        case kind:
            return _OF_TYPE.get(str(kind))


def _fits(value: object, schema: Schema, components: Mapping[str, Schema]) -> bool:
    """Whether a value of this name's is of this schema's type; a name may mean several things."""
    if "$ref" in schema:
        return _fits(value, components[schema["$ref"].rpartition("/")[2]], components)
    choices = schema.get("anyOf") or schema.get("oneOf")
    if choices:
        return any(_fits(value, each, components) for each in choices)
    is_free = not schema.keys() & {"enum", "format", "properties"}
    return is_free and type(value) in _PYTHON_TYPES.get(str(schema.get("type")), set())
