"""Why a request about an endpoint is refused: values that each interface reports in its own form."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from service.core.endpoints.caps import Capped
from service.core.endpoints.gates.gate import Gate
from service.core.timestamp import format_timestamp
from service.core.wording import count_of
from webhook_signature.sign import KEYS_MAX


@dataclass(frozen=True, slots=True)
class InvalidWish:
    """What is wrong with the request: sentences by the path of the field, such as ``event_types[2]``."""

    problems: Mapping[str, Sequence[str]]
    sentence = "the request is not valid"


@dataclass(frozen=True, slots=True)
class NoSuchOrganization:
    """The organization does not exist."""

    organization_id: str

    @property
    def sentence(self) -> str:
        """For people."""
        return f"no organization {self.organization_id[:64]!r}"


@dataclass(frozen=True, slots=True)
class NoSuchEndpoint:
    """The organization never had this endpoint, or has removed it."""

    endpoint_id: str

    @property
    def sentence(self) -> str:
        """For people."""
        return f"no endpoint {self.endpoint_id[:64]!r}"


@dataclass(frozen=True, slots=True)
class EndpointGone:
    """The receiver answered 410, so the endpoint can no longer be changed."""

    sentence = "this endpoint is gone: its receiver answered 410"


@dataclass(frozen=True, slots=True)
class EndpointExpired:
    """The endpoint's ``valid_until`` has come, so it can no longer be changed."""

    valid_until: datetime | None

    @property
    def sentence(self) -> str:
        """For people."""
        at = f": its valid_until was {format_timestamp(self.valid_until)}" if self.valid_until else ""
        return f"this endpoint has expired{at}"


Ended = EndpointGone | EndpointExpired
"""Why nothing can be done any more to an endpoint that has ended by itself."""


@dataclass(frozen=True, slots=True)
class EndpointGated:
    """What was asked would wait behind these gates."""

    gates: tuple[Gate, ...]

    @property
    def sentence(self) -> str:
        """For people."""
        return f"nothing is sent to this endpoint now: {'; '.join(each.sentence for each in self.gates)}"


@dataclass(frozen=True, slots=True)
class UrlTaken:
    """Another endpoint of the organization has the URL. ``differing``: the settings in which a new one would differ."""

    endpoint_id: str
    differing: Sequence[str] = ()

    @property
    def sentence(self) -> str:
        """For people."""
        if not self.differing:
            return "another endpoint has this URL"
        return f"endpoint {self.endpoint_id} has this URL, and differs in {', '.join(self.differing)}"


@dataclass(frozen=True, slots=True)
class OtherVersion:
    """The endpoint has changed: it no longer has a version that the change was meant for."""

    sentence = "the endpoint has changed since you read it; read it again"


@dataclass(frozen=True, slots=True)
class SecretMisfit:
    """A stored secret cannot sign in the requested style."""

    style: str

    @property
    def sentence(self) -> str:
        """For people."""
        return f"a secret of this endpoint cannot sign in the style {self.style!r}; give overlap_seconds for a new one"


@dataclass(frozen=True, slots=True)
class TooManySecrets:
    """The endpoint has the maximum number of active secrets; the first of them expires at ``first_expires_at``."""

    first_expires_at: datetime

    @property
    def sentence(self) -> str:
        """For people."""
        until = format_timestamp(self.first_expires_at)
        return (
            f"limit of {KEYS_MAX} active secrets reached; the first expires at {until}. "
            "Try after that, or now with overlap_seconds 0, which ends the older ones at once"
        )


@dataclass(frozen=True, slots=True)
class CapReached:
    """The organization has as many as it may have, ``cap``, or would have more with what was asked for."""

    what: Capped
    cap: int

    @property
    def field(self) -> str:
        """The field that asks for more."""
        return {"endpoints": "url", "subscriptions": "event_types", "event types": "name", "secrets": "secret"}[
            self.what
        ]

    @property
    def sentence(self) -> str:
        """For people."""
        which = "register no more" if self.what == "event types" else "remove some"
        most = count_of(self.cap, self.what.removesuffix("s"))
        return f"an organization can have {most} at most: {which}, or ask the operator for more"


@dataclass(frozen=True, slots=True)
class ChangedTooOften:
    """Every time the request was judged, another change to the organization's endpoints was committed first."""

    sentence = "too many concurrent changes to this organization's endpoints; try again"


@dataclass(frozen=True, slots=True)
class OtherSecret:
    """The URL already has an endpoint, and it signs with a different secret."""

    sentence = "this URL already has an endpoint, which signs with another secret"


EndpointRefusal = (
    InvalidWish
    | NoSuchOrganization
    | NoSuchEndpoint
    | EndpointGone
    | EndpointExpired
    | EndpointGated
    | UrlTaken
    | OtherVersion
    | SecretMisfit
    | TooManySecrets
    | CapReached
    | ChangedTooOften
    | OtherSecret
)
