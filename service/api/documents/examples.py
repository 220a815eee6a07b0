"""Examples of parameters, headers and errors: made from the schema, so that they are always what it describes."""

from collections.abc import Mapping
from typing import Any, Final

from service.api.problem import Code, Problem, code_anchor
from service.core.field_code import FieldCode

Schema = Mapping[str, Any]

_AT: Final = "2026-11-20T18:25:35.123456Z"
# By the name of a field or header, where it fits the schema.
_BY_NAME: Final[Mapping[str, Any]] = {
    "cursor": "WzE3OTUxOTk5OTksImVwXzdrMm05eDRjMXY4YjNuNmgiXQ",
    "endpoint_id": "ep_7k2m9x4c1v8b3n6h",
    "event_id": "evt_01JD5Z7Q8M3V9K2B4N6P8R0T1W",
    "event_type": "message.sent",
    "message_id": "msg_7f8a9b0c",
    "url": "https://example.com/hooks",
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
        return example_of(components[target], components, name)
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
