"""What the API remembers of its requests: keys, how many came, and answers to those that named themselves."""

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from service.core.api_key import StoredKey


class KeyRing(Protocol):
    """The keys that were given out."""

    async def find(self, key_id: str) -> StoredKey | None:
        """The key with this id, also when it is expired or revoked. May raise ``UnavailableError``."""


@dataclass(frozen=True, slots=True)
class RateWindow:
    """A bucket's window, with the request just counted. A ``used`` beyond the limit says that it was refused."""

    used: int
    resets_at: datetime
    resets_in_seconds: float


class RateWindows(Protocol):
    """Counts requests by bucket."""

    async def count(self, bucket: str, limit: int, key_id: str) -> RateWindow:
        """Count one request; ``used`` stands still at ``limit + 1``. May raise ``UnavailableError``."""


@dataclass(frozen=True, slots=True)
class NamedRequest:
    """A request under an Idempotency-Key. ``digest`` is of all that must be the same when it is sent again."""

    organization_id: str
    method: str
    path: str
    key: str
    digest: bytes


@dataclass(frozen=True, slots=True)
class Begun:
    """The request is ours to run, until this instant on the database's clock. The instant is also the fencing token."""

    runs_until: datetime


@dataclass(frozen=True, slots=True)
class Running:
    """Another process is running it."""


@dataclass(frozen=True, slots=True)
class Reused:
    """Another request was made under this key."""


@dataclass(frozen=True, slots=True)
class Answered:
    """It was answered; ``sealed`` is the answer."""

    sealed: str


class AnswerStore(Protocol):
    """Answers by Idempotency-Key, kept for 24 hours. Every verb may raise ``UnavailableError``."""

    async def begin(self, request: NamedRequest) -> Begun | Running | Reused | Answered:
        """Take the request on, unless it runs or was answered."""

    async def keep(self, request: NamedRequest, begun: Begun, status: int, sealed: str) -> None:
        """Keep the answer, if the request is still ours."""

    async def free(self, request: NamedRequest, begun: Begun) -> None:
        """Forget the request, if it is still ours: it may be tried again at once."""
