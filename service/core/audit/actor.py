"""Who makes a change. Every verb that changes something takes an ``Actor``, so that none can be forgotten."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

ACTOR_ID_BYTES_MAX: Final = 256
ADDRESS_BYTES_MAX: Final = 64


class ActorKind(StrEnum):
    """Where a change comes from."""

    API_KEY = "api_key"
    CLI = "cli"
    LINK = "link"
    POSTHORN = "posthorn"


@dataclass(frozen=True, slots=True)
class Actor:
    """Who makes a change.

    ``id`` is an API key's id, or ``user@host`` of whoever ran a command; of a link to the pages, that of who made it.
    ``address`` is the client's, as the API sees it; None if no request led to the change.
    """

    kind: ActorKind
    id: str
    address: str | None = None


POSTHORN: Final = Actor(ActorKind.POSTHORN, "posthorn")
"""The service itself: it changed something, and nobody asked it to."""
