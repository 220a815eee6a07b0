"""What receivers get, as the ``webhooks`` of the OpenAPI document: a schema and the headers of each event type."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from service.api.documents.schemas import Schema, reference
from service.api.documents.sharing import camel
from service.core.deliveries.request import USER_AGENT
from service.core.events.schema import DescribedType, envelope_schema
from webhook_signature.sign import (
    HEADER_ID,
    HEADER_SIGNATURE,
    HEADER_TIMESTAMP,
    HEADER_UNSIGNED_TIMESTAMP,
    OTHER_HEADER_SIGNATURE,
)

_OPERATIONAL: Final = "\n\nAn operational event: Posthorn itself publishes it, and `*` does not cover it."
_STANDARD_ONLY: Final = "In the styles `standard` and `ed25519`: "

_DIGITS: Final = {"type": "string", "pattern": "^[0-9]+$"}


@dataclass(frozen=True, slots=True)
class _Header:
    description: str
    example: str
    schema: Schema = field(default_factory=lambda: {"type": "string"})
    is_always_there: bool = False


_HEADERS: Final[dict[str, _Header]] = {
    HEADER_ID: _Header(
        f"{_STANDARD_ONLY}the event's id, the same on every attempt and replay; keep it to recognise duplicates.",
        "evt_01JD5Z7Q8M3V9K2B4N6P8R0T1W",
    ),
    HEADER_TIMESTAMP: _Header(
        f"{_STANDARD_ONLY}when this attempt was signed, in Unix seconds; refuse what is older than five minutes.",
        "1795199135",
        _DIGITS,
    ),
    HEADER_SIGNATURE: _Header(
        f"{_STANDARD_ONLY}signatures of `id.timestamp.body`, separated by spaces: `v1,` and an HMAC-SHA256 in base64, "
        "or `v1a,` and an Ed25519 signature. Accept the request if one of them is right.",
        "v1,K5oZfzN95Z9UVu1EsfQmfVNQhnkZ2pj9o9NDN/H/pI4=",
    ),
    OTHER_HEADER_SIGNATURE: _Header(
        "In the style `t-v1`, under this name or the endpoint's `signature_header`: `t=` and Unix seconds, and `v1=` "
        "with an HMAC-SHA256 of `timestamp.body` in hex for each secret. In the style `sha256-body`: `sha256=` and an "
        "HMAC-SHA256 of the body in hex.",
        "t=1795199135,v1=5257a869e7ecebeda32affa62cdca3fa51cad7e77a0e56ff536d0ce8e108d8bd",
    ),
    HEADER_UNSIGNED_TIMESTAMP: _Header(
        "In the style `sha256-body`: when this attempt was signed, in Unix seconds. The signature does not cover it.",
        "1795199135",
        _DIGITS,
    ),
    "webhook-attempt": _Header(
        "The number of the attempt, from 1, by what counts towards the limit. Not signed.",
        "1",
        {"type": "string", "pattern": "^[1-9][0-9]*$"},
        is_always_there=True,
    ),
    "webhook-replay": _Header("Only on a replay: the delivery's id.", "dlv_0193ab6e7c5d7a10b3f24c9d8e7f6a5b_17"),
    "X-Event-Type": _Header("The event's `type`.", "message.sent", is_always_there=True),
    "X-Event-ID": _Header("The event's `id`.", "evt_01JD5Z7Q8M3V9K2B4N6P8R0T1W", is_always_there=True),
    "User-Agent": _Header("The sender and its version.", USER_AGENT, is_always_there=True),
}


def webhook_parameters() -> dict[str, Schema]:
    """The headers of every webhook, as shared parameters."""
    return {
        camel(name): {
            "name": name,
            "in": "header",
            "required": each.is_always_there,
            "description": each.description,
            "schema": each.schema,
            "example": each.example,
        }
        for name, each in _HEADERS.items()
    }


def webhook_schemas(types: Sequence[DescribedType]) -> dict[str, Schema]:
    """A component for the envelope of each type."""
    return {camel(each.name.replace(".", " ")): envelope_schema(each.name) for each in types}


def webhook(kind: DescribedType) -> dict[str, Any]:
    """What an endpoint is sent; the schema of its ``data`` is that of the event type."""
    content: dict[str, Any] = {"schema": reference(camel(kind.name.replace(".", " ")))}
    return {
        "operationId": f"on_{kind.name.replace('.', '_')}",
        "summary": kind.description,
        "description": "A signed POST to every endpoint subscribed to it."
        + (_OPERATIONAL if kind.is_operational else ""),
        "tags": ["webhooks"],
        "security": [],
        "parameters": [{"$ref": f"#/components/parameters/{camel(name)}"} for name in _HEADERS],
        "requestBody": {"required": True, "content": {"application/json": content | {"example": kind.sample}}},
        "responses": {
            "2XX": {"description": "Delivered."},
            "410": {"description": "Ends the subscription."},
            "default": {"description": "Tried again later."},
        },
    }
