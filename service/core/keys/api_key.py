"""API keys: ``ph_live_<id>_<secret><checksum>``. The id finds the row; only the key's holder knows the secret.

Prefix and checksum are for those who look for leaked keys in code and logs: what has both is one of ours, and no
database needs to be asked. Keys that were made before the checksum are valid without it.
"""

import base64
import hashlib
import re
import zlib
from dataclasses import dataclass
from datetime import datetime
from typing import Final, NamedTuple

from service.core.keys.scope import includes

KEY_ID_BYTES: Final = 8
SECRET_BYTES: Final = 32
RANDOM_BYTES: Final = KEY_ID_BYTES + SECRET_BYTES
PREFIX: Final = "ph_live_"
HINT_CHARACTERS: Final = 4

_ID = re.compile(rf"[0-9a-f]{{{2 * KEY_ID_BYTES}}}")
KEY_PATTERN: Final = rf"{PREFIX}{_ID.pattern}_[A-Za-z0-9_-]{{43}}([0-9A-Za-z]{{6}})?"
"""The form of a key, for scanners too. SECURITY.md has it, with the checksum."""

_KEY = re.compile(rf"(?P<checked>{PREFIX}(?P<id>{_ID.pattern})_[A-Za-z0-9_-]{{43}})(?P<checksum>[0-9A-Za-z]{{6}})?")
_CHECKSUM_CHARACTERS = 6
_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


class NewKey(NamedTuple):
    """A new key. ``text`` is shown once and never stored; only ``digest`` is stored."""

    key_id: str
    text: str
    digest: bytes

    @property
    def hint(self) -> str:
        """How the key ends: enough to tell which one it is, and of no use to whoever guesses."""
        return self.text[-HINT_CHARACTERS:]


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
    counted_as: str | None = None
    """The key that it followed or was made by, through any number of them: it goes on in that one's rate limit."""

    def may(self, scope: str, limit: str | None = None) -> bool:
        """Whether it has the scope, or has it for what ``limit`` names: an event type, or an endpoint's id."""
        return includes(self.scopes, scope if limit is None else f"{scope}:{limit}")

    def may_somewhere(self, scope: str) -> bool:
        """Whether it has the scope for anything at all."""
        return any(each.partition(":")[0] == scope for each in self.scopes)


NOBODY: Final = StoredKey("", "", b"", frozenset(), None, None, "", None)
"""Stands for whoever needs no key: nothing is theirs, and they may do nothing."""


@dataclass(frozen=True, slots=True)
class ListedKey:
    """A key as lists show it, without its digest. ``last_used_at`` is accurate to about a minute.

    ``hint`` is how the key ends; "" for one that was made before hints were kept. ``replaced_by`` is the key that
    followed it in a rotation.
    """

    key_id: str
    name: str
    scopes: tuple[str, ...]
    rate_limit_per_hour: int | None
    created_at: datetime
    last_used_at: datetime | None
    expires_at: datetime | None
    revoked_at: datetime | None
    hint: str
    replaced_by: str | None

    @property
    def shown(self) -> str:
        """What can be shown of the key's text."""
        return f"{PREFIX}{self.key_id}_…{self.hint}"


def generate_key(random_bytes: bytes) -> NewKey:
    """Make a key from 40 random bytes. Raises ValueError if there are more or fewer."""
    if len(random_bytes) != RANDOM_BYTES:
        raise ValueError(f"a key needs {RANDOM_BYTES} random bytes, not {len(random_bytes)}")
    key_id = random_bytes[:KEY_ID_BYTES].hex()
    secret = base64.urlsafe_b64encode(random_bytes[KEY_ID_BYTES:]).rstrip(b"=").decode()
    checked = f"{PREFIX}{key_id}_{secret}"
    text = checked + checksum_of(checked)
    return NewKey(key_id, text, digest_of(text))


def parse_key(text: str) -> str | None:
    """The id in a key's text, or None when the text does not have the form of a key, or not its checksum."""
    found = _KEY.fullmatch(text)
    if found is None or found["checksum"] not in {None, checksum_of(found["checked"])}:
        return None
    return found["id"]


def checksum_of(checked: str) -> str:
    """CRC-32 of what comes before the checksum, in base 62, most significant digit first, in six digits."""
    rest, digits = zlib.crc32(checked.encode()), ""
    for _ in range(_CHECKSUM_CHARACTERS):
        rest, digit = divmod(rest, len(_DIGITS))
        digits = _DIGITS[digit] + digits
    return digits


def is_key_id(text: str) -> bool:
    """Whether the text has the form of a key's id."""
    return _ID.fullmatch(text) is not None


def digest_of(text: str) -> bytes:
    """SHA-256 of the whole key. A slow hash would add nothing: nobody guesses 256 random bits."""
    return hashlib.sha256(text.encode()).digest()
