"""Request models of endpoints."""

from typing import Annotated, Any, Final

from pydantic import ConfigDict, FailFast, Field, WithJsonSchema

from service.api.component import named
from service.api.v1.endpoints.style import Style
from service.api.v1.event_queries import GivenInstant
from service.api.validation import BodyModel, QueryModel
from service.core.deliveries.ownership import CHALLENGE_SECONDS_MAX, CHALLENGE_TYPE, HOOK_SECRET
from service.core.endpoints.auth import (
    CERTIFICATE_MAX,
    CLIENT_ID_PATTERN,
    CLIENT_SECRET_PATTERN,
    PRIVATE_KEY_MAX,
    SCOPE_PATTERN,
)
from service.core.endpoints.custom_headers import HEADERS_MAX, NAME_PATTERN, VALUE_PATTERN
from service.core.endpoints.filter.path import PATH_CHARACTERS_MAX
from service.core.endpoints.order import ORDER_WAIT_SECONDS, ORDER_WAIT_SECONDS_MAX, ORDER_WAIT_SECONDS_MIN
from service.core.endpoints.retry_schedule import PRESETS
from service.core.endpoints.rules import (
    DESCRIPTION_CHARACTERS_MAX,
    EVENT_TYPES_MAX,
    MAX_IN_FLIGHT_MAX,
    METADATA_MAX,
    METADATA_NAME_CHARACTERS_MAX,
    METADATA_VALUE_CHARACTERS_MAX,
    RATE_LIMIT_PER_SECOND_MAX,
    RATE_LIMIT_PER_SECOND_MIN,
)
from service.core.endpoints.signing.signing import OVERLAP_SECONDS_MAX
from service.core.endpoints.target_policy import URL_MAX_CHARACTERS
from service.core.events.registry import REGISTRY

_FILTER_EXAMPLE: Final = {
    "scope": {"campaign_id": ["camp_A"]},
    "match": {"data.message.protocol": {"in": ["sms", "mms"]}, "data.message.segments": {"gte": 2}},
}
_HEADERS_SCHEMA: Final = named(
    "CustomHeaders",
    {
        "type": "object",
        "maxProperties": HEADERS_MAX,
        "propertyNames": {"pattern": f"^{NAME_PATTERN}$"},
        "additionalProperties": {"type": "string", "pattern": f"^{VALUE_PATTERN}$"},
    },
)
_FILTER_SCHEMA: Final = named(
    "Filter",
    {
        "type": "object",
        "properties": {
            "scope": {"type": "object", "description": "Texts by the name of an id: one of them must be the event's."},
            "match": {
                "type": "object",
                "description": "Conditions by the path of a value in the event; all must hold.",
            },
        },
        "additionalProperties": False,
        "examples": [_FILTER_EXAMPLE],
    },
)
_RETRY_SCHEMA: Final = named(
    "Retry",
    {
        "oneOf": [
            named("RetryPreset", {"type": "string", "enum": list(PRESETS)}),
            {"type": "array", "minItems": 1, "items": {"type": "number", "exclusiveMinimum": 0}},
        ],
    },
)

_OAUTH2_SCHEMA: Final = named(
    "OAuth2",
    {
        "type": "object",
        "description": "A token of the client credentials grant, sent as `Authorization: Bearer`.",
        "properties": {
            "type": {"const": "oauth2"},
            "token_url": {"type": "string", "minLength": 1, "maxLength": URL_MAX_CHARACTERS},
            "client_id": {"type": "string", "pattern": f"^{CLIENT_ID_PATTERN}$"},
            "client_secret": {"type": "string", "pattern": f"^{CLIENT_SECRET_PATTERN}$", "writeOnly": True},
            "scope": {"type": ["string", "null"], "pattern": f"^{SCOPE_PATTERN}$"},
        },
        "required": ["type", "token_url", "client_id", "client_secret"],
        "additionalProperties": False,
    },
)
_MTLS_SCHEMA: Final = named(
    "MutualTLS",
    {
        "type": "object",
        "description": "A client certificate for receivers that ask for one.",
        "properties": {
            "type": {"const": "mtls"},
            "certificate": {"type": "string", "minLength": 1, "maxLength": CERTIFICATE_MAX},
            "private_key": {"type": "string", "minLength": 1, "maxLength": PRIVATE_KEY_MAX, "writeOnly": True},
        },
        "required": ["type", "certificate", "private_key"],
        "additionalProperties": False,
    },
)

Headers = Annotated[dict[str, str], WithJsonSchema(_HEADERS_SCHEMA)]
Filter = Annotated[Any, WithJsonSchema(_FILTER_SCHEMA)]  # validated by the core's filter parser
Retry = Annotated[Any, WithJsonSchema(_RETRY_SCHEMA)]
_AUTH_SCHEMA: Final = named(
    "NewAuth",
    {
        "oneOf": [_OAUTH2_SCHEMA, _MTLS_SCHEMA],
        "discriminator": {
            "propertyName": "type",
            "mapping": {"oauth2": "#/components/schemas/OAuth2", "mtls": "#/components/schemas/MutualTLS"},
        },
    },
)
Auth = Annotated[Any, WithJsonSchema(_AUTH_SCHEMA)]
Url = Annotated[
    str,
    Field(
        description="The URL to POST to, https://…. Registering it sends no request, but with `verify`.",
        examples=["https://example.com/hooks"],
        json_schema_extra={"minLength": 1, "maxLength": URL_MAX_CHARACTERS},
    ),
]
EventTypes = Annotated[
    list[str],
    FailFast(),  # a body has room for 30,000 that are no texts
    Field(
        json_schema_extra={"minItems": 1, "maxItems": EVENT_TYPES_MAX},
        description="The events to send: names, `message.*` for all with this prefix, or `*` for all "
        "but operational events (`endpoint.*`, `delivery.*`).",
        examples=[["message.sent", "link.*"], ["*"], list(REGISTRY)],
    ),
]
_METADATA_SCHEMA: Final = named(
    "Metadata",
    {
        "type": "object",
        "maxProperties": METADATA_MAX,
        "propertyNames": {"minLength": 1, "maxLength": METADATA_NAME_CHARACTERS_MAX},
        "additionalProperties": {"type": "string", "maxLength": METADATA_VALUE_CHARACTERS_MAX},
    },
)
Metadata = Annotated[dict[str, str], WithJsonSchema(_METADATA_SCHEMA)]
_METADATA_PATCH_SCHEMA: Final = named(
    "MetadataPatch",
    {
        "type": "object",
        "maxProperties": METADATA_MAX,
        "propertyNames": {"minLength": 1, "maxLength": METADATA_NAME_CHARACTERS_MAX},
        "additionalProperties": {"type": ["string", "null"], "maxLength": METADATA_VALUE_CHARACTERS_MAX},
    },
)
MetadataPatch = Annotated[dict[str, str | None], WithJsonSchema(_METADATA_PATCH_SCHEMA)]

_SECRET: Final = Field(
    default=None,
    description="Your own signing secret: `whsec_` and 24 to 64 bytes in base64; with the `signature_style` `t-v1` or "
    "`sha256-body`, any text of at least 16 characters. Default: generated, as the keys of `ed25519` always are.",
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
    auth: Auth | None = Field(
        default=None,
        description="How Posthorn proves itself to your receiver, beside the signature; null: it does not. `oauth2`: a "
        "token of the client credentials grant from `token_url`, sent as `Authorization: Bearer`. `mtls`: a client "
        "certificate, in PEM with its intermediate ones, and its private key without a password. Stored encrypted; "
        "what is secret is shown as `***`, which keeps the stored value when it is sent back.",
        examples=[
            {
                "type": "oauth2",
                "token_url": "https://auth.example.com/token",
                "client_id": "posthorn",
                "client_secret": "value",
                "scope": "hooks",
            }
        ],
    )
    signature_style: Style | None = Field(
        default=None,
        description="How webhooks are signed; default: `standard`. The key of `standard` is the base64-decoded part of "
        "the secret after `whsec_`; `t-v1` and `sha256-body` use the whole secret as text; `ed25519` signs with a "
        "private key that only Posthorn has, and you verify with the public one. While secrets overlap, `sha256-body` "
        "sends the signature of the oldest, and each other style one for each.",
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
    rate_limit_per_second: (
        Annotated[
            float,
            Field(json_schema_extra={"minimum": RATE_LIMIT_PER_SECOND_MIN, "maximum": RATE_LIMIT_PER_SECOND_MAX}),
        ]
        | None
    ) = Field(
        default=None,
        description="How many requests a second your receiver takes; the other deliveries wait. It holds across all "
        "workers, retries and replays included: in any w seconds at most w + 3/4 seconds' worth of requests begin, and "
        "one; null: no limit.",
        examples=[30],
    )
    max_in_flight: Annotated[int, Field(json_schema_extra={"minimum": 1, "maximum": MAX_IN_FLIGHT_MAX})] | None = Field(
        default=None,
        description="How many requests may be in flight at once, across all workers; the other deliveries wait. With 1 "
        "your receiver gets one request after the other, in no certain order unless `order_by` asks for one; "
        "null: no limit.",
        examples=[1],
    )
    order_by: Annotated[str, Field(json_schema_extra={"minLength": 1, "maxLength": PATH_CHARACTERS_MAX})] | None = (
        Field(
            default=None,
            description="The path of a value in the event, as in `filter`. Events with the same text or number there "
            "come one after the other, those with the earlier `timestamp` first: the next is sent when the one before "
            "has ended, whichever workers send, retries and replays included. An event without such a value waits for "
            "none. It holds for events recorded from now on; null: no order.",
            examples=["data.message.id", "data.contact.id"],
        )
    )
    order_wait_seconds: (
        Annotated[
            float, Field(json_schema_extra={"minimum": ORDER_WAIT_SECONDS_MIN, "maximum": ORDER_WAIT_SECONDS_MAX})
        ]
        | None
    ) = Field(
        default=None,
        description="How long a delivery that failed holds up the others with the same value at `order_by`, from its "
        "first failure on. Then they go on, and it is tried again in no order; "
        f"null: {ORDER_WAIT_SECONDS:g}.",
        examples=[60],
    )
    metadata: Metadata | None = Field(
        default=None,
        description="Your own texts by name, stored and shown, not interpreted.",
        examples=[{"team": "crm"}],
    )
    valid_until: GivenInstant | None = Field(
        default=None,
        strict=False,
        description="The instant from which on your receiver gets nothing more, in the future; null: never. Then the "
        "endpoint expires: what is still open is cancelled, and its URL can be registered anew. Until then a change "
        "may move it; an endpoint that has expired stays so.",
        examples=["2027-01-31T12:00:00Z"],
    )


_VERIFY: Final = Field(
    default=None,
    description=f"Ask the URL first. It gets a signed POST of the type `{CHALLENGE_TYPE}`, and must answer within "
    f"{CHALLENGE_SECONDS_MAX:g} seconds with a 2xx status and its `challenge`, as the header `{HOOK_SECRET}` or in the "
    "body; else the request is refused with 400 and nothing changes. Default: no request is sent.",
    examples=[False],
)


class NewEndpoint(_Settings):
    """A new endpoint."""

    url: Url
    event_types: EventTypes
    secret: str | None = _SECRET
    verify: bool | None = _VERIFY


SHOWN_ONLY: Final = frozenset(
    {
        *(
            "id",
            "auth_expires_at",
            "state",
            "schedule",
            "gates",
            "health",
            "secrets",
            "verified_at",
            "created_at",
            "updated_at",
        ),
        *("secret", "public_key"),
    }
)
"""The fields of an answer that no request sets; they may be sent back."""


def _sent_back(schema: dict[str, Any]) -> None:
    """Add what may be sent back to the schema of a body."""
    for name in sorted(SHOWN_ONLY - schema["properties"].keys()):
        schema["properties"][name] = {"readOnly": True, "description": "As an answer shows it."}


class EndpointPatch(_Settings):
    """Changes to an endpoint: omitted fields stay, null restores the default. An answer may be sent back."""

    model_config = ConfigDict(json_schema_extra=_sent_back)

    # A factory, because a default would show in the documents: these two can be omitted, but not null.
    url: Url = Field(default_factory=str)
    event_types: EventTypes = Field(default_factory=list)
    overlap_seconds: Annotated[int, Field(ge=0, le=OVERLAP_SECONDS_MAX)] | None = Field(
        default=None,
        description="With a change of `signature_style`: make a new secret, and let the older ones sign in the old "
        "style for so long, in the same requests; 0: they end at once. To and from `ed25519` it is required. Not "
        "possible, but for 0: to `sha256-body`, and between styles that sign in the same header.",
        examples=[86_400],
    )
    metadata: MetadataPatch | None = Field(  # type: ignore[assignment]  # null removes a key
        default=None,
        description="Your own texts by name: the given ones change, null removes one, and the others stay.",
        examples=[{"team": "crm", "former-team": None}],
    )
    verify: bool | None = _VERIFY


class EndpointMergePatch(EndpointPatch):
    """The same as a JSON Merge Patch, in which null removes a header."""

    headers: dict[str, str | None] | None = None  # type: ignore[assignment]


class EndpointPut(_Settings):
    """What the endpoint of a URL is to be: what is omitted has its default. An answer may be sent back."""

    model_config = ConfigDict(json_schema_extra=_sent_back)

    # A factory, because a default would show in the documents: it can be omitted, but not null.
    url: Url = Field(default_factory=str)
    event_types: EventTypes
    secret: str | None = _SECRET
    verify: bool | None = _VERIFY


class EndpointCheck(_Settings):
    """Settings to look at; only those given."""

    # A factory, because a default would show in the documents: these two can be omitted, but not null.
    url: Url = Field(default_factory=str)
    event_types: EventTypes = Field(default_factory=list)


class EndpointAtUrl(QueryModel):
    """Which endpoint."""

    url: str | None = Field(
        default=None, description="Its URL; or give it in the body.", examples=["https://example.com/hooks"]
    )


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
