"""API keys: ``ph_live_<id>_<secret>``. The id finds the row; only the key's holder knows the secret."""

import base64
import hashlib
import re
from dataclasses import dataclass
from datetime import datetime
from typing import Final, NamedTuple

KEY_ID_BYTES: Final = 8
SECRET_BYTES: Final = 32
RANDOM_BYTES: Final = KEY_ID_BYTES + SECRET_BYTES
PREFIX: Final = "ph_live_"

SCOPES: Final = frozenset({"read", "write", "publish", "admin"})

_KEY = re.compile(rf"{PREFIX}(?P<id>[0-9a-f]{{{2 * KEY_ID_BYTES}}})_[A-Za-z0-9_-]{{43}}")


class NewKey(NamedTuple):
    """A new key. ``text`` is shown once and never stored; only ``digest`` is stored."""

    key_id: str
    text: str
    digest: bytes


@dataclass(frozen=True, slots=True)
class StoredKey:
    """An API key as stored. A key whose ``rate_limit_per_hour`` is None shares its organization's limit."""

    key_id: str
    organization_id: str
    digest: bytes
    scopes: frozenset[str]
    expires_at: datetime | None
    revoked_at: datetime | None
    name: str
    rate_limit_per_hour: int | None


@dataclass(frozen=True, slots=True)
class ListedKey:
    """A key as lists show it, without its digest. ``last_used_at`` is accurate to about a minute."""

    key_id: str
    name: str
    scopes: tuple[str, ...]
    rate_limit_per_hour: int | None
    created_at: datetime
    last_used_at: datetime | None
    expires_at: datetime | None
    revoked_at: datetime | None


def generate_key(random_bytes: bytes) -> NewKey:
    """Make a key from 40 random bytes. Raises ValueError if there are more or fewer."""
    if len(random_bytes) != RANDOM_BYTES:
        raise ValueError(f"a key needs {RANDOM_BYTES} random bytes, not {len(random_bytes)}")
    key_id = random_bytes[:KEY_ID_BYTES].hex()
    secret = base64.urlsafe_b64encode(random_bytes[KEY_ID_BYTES:]).rstrip(b"=").decode()
    text = f"{PREFIX}{key_id}_{secret}"
    return NewKey(key_id, text, digest_of(text))


def parse_key(text: str) -> str | None:
    """The id in a key's text, or None when the text does not have the form of a key."""
    found = _KEY.fullmatch(text)
    return found["id"] if found else None


def digest_of(text: str) -> bytes:
    """SHA-256 of the whole key. A slow hash would add nothing: nobody guesses 256 random bits."""
    return hashlib.sha256(text.encode()).digest()
