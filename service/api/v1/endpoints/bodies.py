"""Request models of endpoints."""

from typing import Annotated, Any, Final

from pydantic import AfterValidator, Field, WithJsonSchema

from service.api.page import PageQuery
from service.api.validation import BodyModel, QueryModel
from service.core.endpoints.custom_headers import HEADERS_MAX, NAME_PATTERN, VALUE_PATTERN
from service.core.endpoints.retry_schedule import PRESETS
from service.core.endpoints.settings import (
    DESCRIPTION_CHARACTERS_MAX,
    EVENT_TYPES_MAX,
    METADATA_MAX,
    METADATA_NAME_CHARACTERS_MAX,
    METADATA_VALUE_CHARACTERS_MAX,
)
from service.core.endpoints.target_policy import URL_MAX_CHARACTERS
from service.core.endpoints.view import EndpointState
from service.core.events.registry import REGISTRY
from webhook_signature.styles import STYLES

OVERLAP_SECONDS_MAX: Final = 30 * 86_400


def _known_style(name: str) -> str:
    if name not in STYLES:
        raise ValueError(f"must be one of {', '.join(map(repr, STYLES))}")
    return name


Style = Annotated[str, AfterValidator(_known_style), WithJsonSchema({"type": "string", "enum": list(STYLES)})]
State = Annotated[EndpointState, WithJsonSchema({"type": "string", "enum": [each.value for each in EndpointState]})]
"""Enum inlined: query parameters have no definitions to refer to."""

_FILTER_EXAMPLE: Final = {
    "scope": {"campaign_id": ["camp_A"]},
    "match": {"data.message.protocol": {"in": ["sms", "mms"]}, "data.message.segments": {"gte": 2}},
}
_HEADERS_SCHEMA: Final = {
    "type": "object",
    "maxProperties": HEADERS_MAX,
    "propertyNames": {"pattern": f"^{NAME_PATTERN}$"},
    "additionalProperties": {"type": "string", "pattern": f"^{VALUE_PATTERN}$"},
}
_FILTER_SCHEMA: Final = {
    "type": "object",
    "properties": {"scope": {"type": "object"}, "match": {"type": "object"}},
    "additionalProperties": False,
    "examples": [_FILTER_EXAMPLE],
}
_RETRY_SCHEMA: Final = {
    "oneOf": [
        {"type": "string", "enum": list(PRESETS)},
        {"type": "array", "minItems": 1, "items": {"type": "number", "exclusiveMinimum": 0}},
    ]
}

Headers = Annotated[dict[str, str], WithJsonSchema(_HEADERS_SCHEMA)]
Filter = Annotated[Any, WithJsonSchema(_FILTER_SCHEMA)]  # validated by the core's filter parser
Retry = Annotated[Any, WithJsonSchema(_RETRY_SCHEMA)]
Url = Annotated[
    str,
    Field(
        description="The URL to POST to, https://…. Registering it sends no request.",
        examples=["https://example.com/hooks"],
        json_schema_extra={"minLength": 1, "maxLength": URL_MAX_CHARACTERS},
    ),
]
EventTypes = Annotated[
    list[str],
    Field(
        json_schema_extra={"minItems": 1, "maxItems": EVENT_TYPES_MAX},
        description="The events to send: names, `message.*` for all with this prefix, or `*` for all.",
        examples=[["message.sent", "link.*"], ["*"], list(REGISTRY)],
    ),
]
_METADATA_SCHEMA: Final = {
    "type": "object",
    "maxProperties": METADATA_MAX,
    "propertyNames": {"minLength": 1, "maxLength": METADATA_NAME_CHARACTERS_MAX},
    "additionalProperties": {"type": "string", "maxLength": METADATA_VALUE_CHARACTERS_MAX},
}
Metadata = Annotated[dict[str, str], WithJsonSchema(_METADATA_SCHEMA)]

_SECRET: Final = Field(
    default=None,
    description="Your own signing secret: `whsec_` and 24 to 64 bytes in base64; with a `signature_style` "
    "other than `standard`, any text of at least 16 characters. Default: generated.",
    json_schema_extra={"writeOnly": True},
)


class _Settings(BodyModel):
    """Settings of an endpoint; null selects the default. Limits are documented here and checked by the core."""

    description: Annotated[str, Field(json_schema_extra={"maxLength": DESCRIPTION_CHARACTERS_MAX})] | None = Field(
        default=None, examples=["CRM"]
    )
    headers: Headers | None = Field(
        default=None,
        description="Extra headers sent with every webhook. Values are stored encrypted and never shown.",
        examples=[{"X-Api-Key": "value"}],
    )
    signature_style: Style | None = Field(
        default=None,
        description="How webhooks are signed; default: `standard`. The key of `standard` is the base64-decoded part of "
        "the secret after `whsec_`; the others use the whole secret as text. While secrets overlap, `standard` and "
        "`t-v1` send a signature for each, and `sha256-body` that of the oldest.",
    )
    signature_header: Annotated[str, Field(json_schema_extra={"pattern": f"^{NAME_PATTERN}$"})] | None = Field(
        default=None,
        description="The header of the signature, for `t-v1` only; null: `X-Webhook-Signature`.",
        examples=["X-Blooio-Signature"],
    )
    filter: Filter | None = Field(
        default=None, description="Which events of these types to send, in `scope` and `match`; null: all."
    )
    retry: Retry | None = Field(
        default=None,
        description="A preset's name, or up to 20 delays between attempts, in seconds, of at most 86400: n delays "
        "make n + 1 attempts. `politicalcomms` is `[4, 16, 64]`; null: the service's default.",
        examples=["politicalcomms", [4, 16, 64]],
    )
    timeout_seconds: Annotated[float, Field(json_schema_extra={"exclusiveMinimum": 0})] | None = Field(
        default=None, description="Time limit of an attempt; null: the service's default.", examples=[10]
    )
    metadata: Metadata | None = Field(
        default=None,
        description="Your own texts by name, stored and shown, not interpreted.",
        examples=[{"team": "crm"}],
    )


class NewEndpoint(_Settings):
    """A new endpoint."""

    url: Url
    event_types: EventTypes
    secret: str | None = _SECRET


class EndpointPatch(_Settings):
    """Changes to an endpoint: omitted fields stay, null restores the default."""

    # A factory, because a default would show in the documents: these two can be omitted, but not null.
    url: Url = Field(default_factory=str)
    event_types: EventTypes = Field(default_factory=list)


class Rotation(BodyModel):
    """How to rotate the signing secret."""

    overlap_seconds: int = Field(
        default=86_400,
        ge=0,
        le=OVERLAP_SECONDS_MAX,
        description="How long older secrets also sign; 0: they end at once, "
        "except for deliveries that a worker has already claimed.",
    )
    secret: str | None = _SECRET


class TestRequest(BodyModel):
    """Which test event to send."""

    __test__ = False  # pytest would take it for a test

    event_type: str | None = Field(
        default=None,
        description="The sample's type; default: the endpoint's first, or the first that its pattern covers.",
        examples=["message.sent"],
    )


class EndpointsQuery(PageQuery):
    """Which endpoints to list."""

    url: str | None = Field(default=None, description="Only the endpoint with exactly this URL.")
    state: State | None = Field(default=None, description="Only endpoints in this state.")


class StatsQuery(QueryModel):
    """The period to count."""

    hours: int = Field(
        default=24, ge=1, le=168, description="How many hours back to count, by when the event was received."
    )
