"""What a caller may send about endpoints."""

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
"""Spelled out where it stands: the parameters of a query have no definitions to refer to."""

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
Filter = Annotated[Any, WithJsonSchema(_FILTER_SCHEMA)]  # judged by core.filter, in its own words
Retry = Annotated[Any, WithJsonSchema(_RETRY_SCHEMA)]
Url = Annotated[
    str,
    Field(
        description="Where to POST, https://…. Registering it makes no request.",
        examples=["https://example.com/hooks"],
        json_schema_extra={"minLength": 1, "maxLength": URL_MAX_CHARACTERS},
    ),
]
EventTypes = Annotated[
    list[str],
    Field(
        json_schema_extra={"minItems": 1, "maxItems": EVENT_TYPES_MAX},
        description="Which events to send: names, `message.*` for all that begin so, or `*` for all.",
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
    description="A signing secret of your own: `whsec_` and 24 to 64 bytes in base64, or with a `signature_style` "
    "other than `standard` any text of at least 16 characters. One is made otherwise.",
    json_schema_extra={"writeOnly": True},
)


class _Settings(BodyModel):
    """What may be asked of an endpoint; null is the default of each. Limits are told here, and judged by the core."""

    description: Annotated[str, Field(json_schema_extra={"maxLength": DESCRIPTION_CHARACTERS_MAX})] | None = Field(
        default=None, examples=["CRM"]
    )
    headers: Headers | None = Field(
        default=None,
        description="Sent with every webhook: values by name. Stored encrypted, never shown again.",
        examples=[{"X-Api-Key": "value"}],
    )
    signature_style: Style | None = Field(
        default=None,
        description="How webhooks are signed; `standard` by default. `standard` uses the bytes that the part of the "
        "secret after `whsec_` encodes; the others use the whole secret as text. While secrets overlap, `standard` and "
        "`t-v1` send a signature of each, and `sha256-body` that of the oldest.",
    )
    signature_header: Annotated[str, Field(json_schema_extra={"pattern": f"^{NAME_PATTERN}$"})] | None = Field(
        default=None,
        description="The signature's header; with `t-v1` only; null: `X-Webhook-Signature`.",
        examples=["X-Blooio-Signature"],
    )
    filter: Filter | None = Field(
        default=None, description="Which events of these types to send, in `scope` and `match`; null: all."
    )
    retry: Retry | None = Field(
        default=None,
        description="A preset's name, or the delays between attempts in seconds, at most 20 of up to 86400: n delays "
        "are n + 1 attempts. `politicalcomms` is `[4, 16, 64]`; null: the service's own.",
        examples=["politicalcomms", [4, 16, 64]],
    )
    timeout_seconds: Annotated[float, Field(json_schema_extra={"exclusiveMinimum": 0})] | None = Field(
        default=None, description="How long an attempt may take; null: the service's own limit.", examples=[10]
    )
    metadata: Metadata | None = Field(
        default=None, description="Yours: texts by name, kept and shown, never read.", examples=[{"team": "crm"}]
    )


class NewEndpoint(_Settings):
    """An endpoint to make."""

    url: Url
    event_types: EventTypes
    secret: str | None = _SECRET


class EndpointPatch(_Settings):
    """What to change of an endpoint; what is left out stays, null is the default."""

    # A factory, as a default would show in the documents: these two are either given or left alone, never null.
    url: Url = Field(default_factory=str)
    event_types: EventTypes = Field(default_factory=list)


class Rotation(BodyModel):
    """How to rotate the signing secret."""

    overlap_seconds: int = Field(
        default=86_400,
        ge=0,
        le=OVERLAP_SECONDS_MAX,
        description="For how long older secrets sign too; 0: they end at once, "
        "but for what a worker has taken up already.",
    )
    secret: str | None = _SECRET


class TestRequest(BodyModel):
    """Which event to try."""

    __test__ = False  # pytest would take it for a test

    event_type: str | None = Field(
        default=None,
        description="The sample's type; by default the endpoint's first, or the first that its pattern covers.",
        examples=["message.sent"],
    )


class EndpointsQuery(PageQuery):
    """Which endpoints to list."""

    url: str | None = Field(default=None, description="The one with exactly this URL.")
    state: State | None = Field(default=None, description="Those in this state.")


class StatsQuery(QueryModel):
    """The time to count over."""

    hours: int = Field(default=24, ge=1, le=168, description="Events received in the last so many hours.")
