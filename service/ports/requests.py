"""What the API stores about requests: keys, counts for rate limits, and answers by Idempotency-Key."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Protocol

from service.core.budget import Budget
from service.core.keys.api_key import StoredKey


class KeyRing(Protocol):
    """The API keys that were issued."""

    async def find(self, key_id: str) -> StoredKey | None:
        """The key with this id, even if expired or revoked. May raise ``UnavailableError``."""

    async def recent(self, count_max: int) -> Mapping[str, bytes]:
        """The digests, by key id, of the valid keys that were made or used last; the very last comes first.

        May raise ``UnavailableError``.
        """


KEYS_EXPIRING_WITHIN_DAYS: Final = 14
"""How long before its expiry a key is told of."""


@dataclass(frozen=True, slots=True)
class ExpiringKey:
    """A valid key that is about to expire, and that no other one has followed."""

    organization_id: str
    key_id: str
    expires_at: datetime
    last_used_at: datetime | None


class ExpiringKeyStore(Protocol):
    """The keys by when they expire."""

    async def expiring(self, within: timedelta, named_max: int) -> tuple[int, Sequence[ExpiringKey]]:
        """How many keys expire within that time, and the first of them. May raise ``UnavailableError``."""


@dataclass(frozen=True, slots=True)
class Taken:
    """A bucket at ``at``, after a request was asked of it: how much of its budget is used, and whether that passed."""

    used: float
    is_refused: bool
    at: datetime


class RateBuckets(Protocol):
    """Counts requests by bucket, for all processes."""

    async def take(self, bucket: str, budget: Budget, key_id: str) -> Taken:
        """Ask for one request; a refused one is not counted. May raise ``UnavailableError``."""


@dataclass(frozen=True, slots=True)
class NamedRequest:
    """A request with an Idempotency-Key. ``digest`` covers everything that must be the same when it is repeated."""

    organization_id: str
    method: str
    path: str
    key: str
    digest: bytes


@dataclass(frozen=True, slots=True)
class Begun:
    """This process may run the request until this time on the database's clock, which is also the fencing token."""

    runs_until: datetime


@dataclass(frozen=True, slots=True)
class Running:
    """Another process is running the request."""


@dataclass(frozen=True, slots=True)
class Reused:
    """The key was used for a different request."""


@dataclass(frozen=True, slots=True)
class Answered:
    """The request was answered before; ``sealed`` is the encrypted answer."""

    sealed: str


class AnswerStore(Protocol):
    """Answers by Idempotency-Key, kept for 24 hours. Every verb may raise ``UnavailableError``."""

    async def begin(self, request: NamedRequest) -> Begun | Running | Reused | Answered:
        """Start the request, unless it is running or was answered."""

    async def keep(self, request: NamedRequest, begun: Begun, status: int, sealed: str) -> None:
        """Store the answer, if this process still holds the request."""

    async def free(self, request: NamedRequest, begun: Begun) -> None:
        """Forget the request, if this process still holds it, so that it may be retried at once."""
