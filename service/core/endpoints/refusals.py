"""Why a wish about an endpoint is not granted: values that each face puts into its own shape."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from service.core.timestamp import format_timestamp
from webhook_signature.sign import KEYS_MAX


@dataclass(frozen=True, slots=True)
class InvalidWish:
    """What is wrong with it: sentences by the path of the field, such as ``event_types[2]``."""

    problems: Mapping[str, Sequence[str]]
    sentence = "the request is not valid"


@dataclass(frozen=True, slots=True)
class NoSuchOrganization:
    """Nobody made the organization."""

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
    """Its receiver answered 410, so it takes no changes any more."""

    sentence = "this endpoint is gone: its receiver answered 410"


@dataclass(frozen=True, slots=True)
class UrlTaken:
    """Another endpoint of the organization has the URL."""

    endpoint_id: str
    sentence = "another endpoint has this URL"


@dataclass(frozen=True, slots=True)
class SecretMisfit:
    """A stored secret cannot sign in the style that is asked for."""

    style: str

    @property
    def sentence(self) -> str:
        """For people."""
        return f"a secret of this endpoint cannot sign in the style {self.style!r}; rotate the secret first"


@dataclass(frozen=True, slots=True)
class TooManySecrets:
    """As many secrets sign as may; the first of them expires at ``first_expires_at``."""

    first_expires_at: datetime

    @property
    def sentence(self) -> str:
        """For people."""
        until = format_timestamp(self.first_expires_at)
        return (
            f"{KEYS_MAX} secrets sign already, the first until {until}; "
            "rotate after that, or with overlap_seconds 0, which ends the older ones at once"
        )


@dataclass(frozen=True, slots=True)
class OtherSecret:
    """The URL has an endpoint, which signs with another secret than the one given."""

    sentence = "this URL already has an endpoint, which signs with another secret"


EndpointRefusal = (
    InvalidWish
    | NoSuchOrganization
    | NoSuchEndpoint
    | EndpointGone
    | UrlTaken
    | SecretMisfit
    | TooManySecrets
    | OtherSecret
)
