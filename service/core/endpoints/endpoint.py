"""An endpoint: a target URL that an organization registered, with what is needed to send to it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from service.core.endpoints.auth import EndpointAuth
from service.core.endpoints.filter.filter import Filter
from service.core.endpoints.retry_schedule import RetrySchedule
from webhook_signature.sign import KEYS_MAX
from webhook_signature.styles import STYLES, Key, Style, joined

SEALED_AUTH_ID: Final = "auth"
SEALED_HEADERS_ID: Final = "headers"
"""The ids under which an endpoint's auth and its custom headers are sealed, where a secret has its own id."""


@dataclass(frozen=True, slots=True)
class Secret:
    """A signing key of an endpoint.

    ``key`` is None when it could not be unsealed: that stops deliveries to this endpoint only, and its attempts do
    not count.
    """

    key: Key | None
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class FormerStyle:
    """A style in which an endpoint signed before, with the secrets that still do."""

    style: Style
    secrets: tuple[Secret, ...]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A target URL an organization registered, with what is needed to send to it.

    ``is_limited``: it asks for a rate, a number of requests in flight or an order, so only a claim may grant a lease
    for it. ``order_by`` is the path of the value that puts its events into lines; None: it wants no order.
    ``former_styles`` sign beside ``style`` as long as secrets of theirs are valid. ``headers`` are sent in addition to
    Posthorn's. ``schedule`` and ``timeout_seconds`` are None for the service's defaults. ``auth`` is what it asks
    Posthorn to prove itself with. ``problem`` is the internal fault, such as an unreadable setting, that keeps Posthorn
    from sending: it stops deliveries to this endpoint only, and its attempts do not count. ``stored_url`` is what its
    URL is compared by, if it is stored otherwise (``core/endpoints/url.py``).
    """

    id: str
    organization_id: str
    url: str
    secrets: tuple[Secret, ...]
    is_paused: bool = False
    is_limited: bool = False
    order_by: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    style: Style = STYLES["standard"]
    former_styles: tuple[FormerStyle, ...] = ()
    filter: Filter | None = None
    schedule: RetrySchedule | None = None
    timeout_seconds: float | None = None
    auth: EndpointAuth | None = None
    problem: str | None = None
    stored_url: str | None = None
    valid_until: datetime | None = None

    def has_expired(self, now: datetime) -> bool:
        """Whether its ``valid_until`` has come: it gets nothing more, whether or not it is known to have ended."""
        return self.valid_until is not None and self.valid_until <= now

    def keys_at(self, now: datetime) -> tuple[Key, ...] | None:
        """The keys valid at ``now``, newest first, at most three; None if there is none or one cannot be unsealed."""
        return _keys_at(self.secrets, now) or None

    def signed(self, event_id: str, body: bytes, now: datetime) -> dict[str, str] | None:
        """The headers that sign ``body`` at ``now``; None if there is no valid key or one cannot be unsealed."""
        keys = self.keys_at(now)
        if keys is None:
            return None
        seconds = int(now.timestamp())
        headers = self.style.write(keys, event_id, seconds, body)
        for former in self.former_styles:
            keys = _keys_at(former.secrets, now)
            if keys is None:
                return None
            if keys:
                headers = joined(headers, former.style.write(keys, event_id, seconds, body))
        return headers


def _keys_at(secrets: Iterable[Secret], now: datetime) -> tuple[Key, ...] | None:
    keys: list[Key] = []
    for secret in secrets:
        if secret.expires_at is not None and secret.expires_at <= now:
            continue
        if secret.key is None:
            return None
        keys.append(secret.key)
    return tuple(keys[:KEYS_MAX])


@dataclass(frozen=True, slots=True)
class StoredSecret:
    """A signing secret as stored in the database: sealed. ``style`` is None as long as it signs in the endpoint's."""

    id: str
    sealed: str
    expires_at: datetime | None = None
    style: str | None = None
    header: str | None = None


@dataclass(frozen=True, slots=True)
class StoredEndpoint:
    """An endpoint as stored in the database, with its active subscriptions as (id, event type).

    ``sealed_headers`` and ``sealed_auth`` are sealed JSON objects; ``filter`` and ``retry`` are decoded JSON, not yet
    validated. If ``url`` has a digest, the whole one is ``sealed_url``.
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
    rate_limit_per_second: float | None = None
    max_in_flight: int | None = None
    order_by: str | None = None
    sealed_auth: str | None = None
    sealed_url: str | None = None
    valid_until: datetime | None = None

    @property
    def is_limited(self) -> bool:
        """Whether it asks for a limit of its own, or for an order."""
        asked = (self.rate_limit_per_second, self.max_in_flight, self.order_by)
        return any(each is not None for each in asked)
