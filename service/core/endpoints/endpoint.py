"""An endpoint: a target URL that an organization registered, with what is needed to send to it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from service.core.endpoints.filter import Filter
from service.core.endpoints.retry_schedule import RetrySchedule
from webhook_signature.sign import KEYS_MAX
from webhook_signature.styles import STYLES, Style

SEALED_HEADERS_ID: Final = "headers"
"""The id under which an endpoint's custom headers are sealed, where a secret has its own id."""


@dataclass(frozen=True, slots=True)
class Secret:
    """A signing key of an endpoint.

    ``key`` is None when it could not be unsealed: that stops deliveries to this endpoint only, and its attempts do
    not count.
    """

    key: bytes | None
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A target URL an organization registered, with what is needed to send to it.

    ``headers`` are sent in addition to Posthorn's. ``schedule`` and ``timeout_seconds`` are None for the service's
    defaults. ``problem`` is the internal fault, such as an unreadable setting, that keeps Posthorn from sending: it
    stops deliveries to this endpoint only, and its attempts do not count.
    """

    id: str
    organization_id: str
    url: str
    secrets: tuple[Secret, ...]
    is_paused: bool = False
    headers: Mapping[str, str] = field(default_factory=dict)
    style: Style = STYLES["standard"]
    filter: Filter | None = None
    schedule: RetrySchedule | None = None
    timeout_seconds: float | None = None
    problem: str | None = None

    def keys_at(self, now: datetime) -> tuple[bytes, ...] | None:
        """The keys valid at ``now``, newest first, at most three; None if there is none or one cannot be unsealed."""
        keys: list[bytes] = []
        for secret in self.secrets:
            if secret.expires_at is not None and secret.expires_at <= now:
                continue
            if secret.key is None:
                return None
            keys.append(secret.key)
        return tuple(keys[:KEYS_MAX]) or None


@dataclass(frozen=True, slots=True)
class StoredSecret:
    """A signing secret as stored in the database: sealed."""

    id: str
    sealed: str
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class StoredEndpoint:
    """An endpoint as stored in the database, with its active subscriptions as (id, event type).

    ``sealed_headers`` is a sealed JSON object; ``filter`` and ``retry`` are decoded JSON, not yet validated.
    """

    id: str
    url: str
    is_paused: bool
    secrets: tuple[StoredSecret, ...]
    subscriptions: tuple[tuple[int, str], ...]
    sealed_headers: str | None = None
    signature_style: str = "standard"
    signature_header: str | None = None
    filter: Any = None
    retry: Any = None
    timeout_seconds: float | None = None
