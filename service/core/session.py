"""Sessions of the pages, and the links that open one: each is known by a token, of which only a digest is stored."""

import base64
import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, NamedTuple

TOKEN_BYTES: Final = 32
IDLE_MAX: Final = timedelta(hours=12)
"""A session ends when nobody has used it for so long,"""
SESSION_MAX: Final = timedelta(days=7)
"""and in any case after this time."""
LINK_MAX: Final = timedelta(minutes=10)
"""A link opens one session, within this time."""

_TOKEN_CHARACTERS: Final = 43


class NewToken(NamedTuple):
    """A new token. ``text`` is handed out once; only ``digest`` is stored."""

    text: str
    digest: bytes


@dataclass(frozen=True, slots=True)
class Guest:
    """Who may come in, and what they may do.

    ``organization_id`` None is the operator, who sees every organization. A session ends with the key of ``key_id``:
    the one that signed in, or that made the link. ``made_by`` is ``user@host`` of whoever ran a command.
    """

    organization_id: str | None
    scopes: frozenset[str]
    key_id: str | None = None
    made_by: str | None = None
    is_by_link: bool = False

    @property
    def is_operator(self) -> bool:
        """Whether every organization, and the service itself, may be seen."""
        return self.organization_id is None


@dataclass(frozen=True, slots=True)
class Session:
    """An open session. ``name`` and what follows ``ends_at`` are its key's: a session can do no more than that.

    ``key_hint`` is how the key ends; "" for one that was made before hints were kept.
    """

    digest: bytes
    guest: Guest
    name: str
    ends_at: datetime
    key_expires_at: datetime | None = None
    rate_limit_per_hour: int | None = None
    counted_as: str | None = None
    key_hint: str = ""

    @property
    def who(self) -> str:
        """Whose it is, in words that they recognize."""
        if self.guest.is_operator:
            return "operator"
        if self.guest.is_by_link:
            return "portal link"
        return self.name or f"key \N{HORIZONTAL ELLIPSIS}{self.key_hint or self.guest.key_id}"


def new_token(random_bytes: bytes) -> NewToken:
    """Make a token from 32 random bytes. Raises ValueError if there are more or fewer."""
    if len(random_bytes) != TOKEN_BYTES:
        raise ValueError(f"a token needs {TOKEN_BYTES} random bytes, not {len(random_bytes)}")
    text = base64.urlsafe_b64encode(random_bytes).rstrip(b"=").decode()
    return NewToken(text, digest_of(text))


def digest_of(text: str) -> bytes:
    """SHA-256 of a token. A slow hash would add nothing: nobody guesses 256 random bits."""
    return hashlib.sha256(text.encode()).digest()


def is_token(text: str) -> bool:
    """Whether the text has the length of a token; what has not is not looked up."""
    return len(text) == _TOKEN_CHARACTERS and text.isascii()
