"""What an API key may give to another one: never more than it has."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from service.core.field_code import FieldCode, FieldSentence
from service.core.keys.api_key import StoredKey
from service.core.keys.scope import includes
from service.core.timestamp import format_timestamp

KEYS_MAX: Final = 1_000
"""Of one organization, that are neither revoked nor expired."""
NAME_CHARACTERS_MAX: Final = 200
EXPIRES_IN_DAYS_MAX: Final = 36_500
OVERLAP_SECONDS_MAX: Final = 30 * 86_400


@dataclass(frozen=True, slots=True)
class KeyWish:
    """What a new key may do. ``expires_in`` counts from its creation; None means never.

    ``counted_as`` is the key in whose rate limit it goes on; None: it begins its own, or shares its organization's.
    """

    scopes: frozenset[str]
    name: str = ""
    expires_in: timedelta | None = None
    rate_limit_per_hour: int | None = None
    counted_as: str | None = None


@dataclass(frozen=True, slots=True)
class TooManyKeys:
    """The organization has as many valid keys as it may."""

    sentence = f"limit of {KEYS_MAX} valid API keys reached; revoke those that are not used"


@dataclass(frozen=True, slots=True)
class KeyReplaced:
    """The key was rotated before, so the next rotation is that of the key that follows it."""

    replaced_by: str

    @property
    def sentence(self) -> str:
        """Which one to rotate instead."""
        return f"this API key was rotated already; rotate {self.replaced_by}, which follows it"


@dataclass(frozen=True, slots=True)
class KeyEnded:
    """The key was revoked or has expired, so nothing can follow it."""

    sentence = "this API key is no longer valid; create a new one"


def excess(giver: StoredKey, scopes: frozenset[str], expires_at: datetime | None) -> Mapping[str, Sequence[str]]:
    """What a key of these scopes, valid until then, would have beyond ``giver``: sentences by field."""
    problems: dict[str, Sequence[str]] = {}
    if lacking := sorted(each for each in scopes if not includes(giver.scopes, each)):
        why = f"this API key cannot give what it does not have: {', '.join(lacking)}"
        problems["scopes"] = [FieldSentence(why, FieldCode.NOT_ALLOWED)]
    if giver.expires_at is not None and (expires_at is None or expires_at > giver.expires_at):
        why = f"must end by {format_timestamp(giver.expires_at)}, when this API key expires"
        problems["expires_in_days"] = [FieldSentence(why, FieldCode.OUT_OF_RANGE)]
    return problems


def limited_as(giver: StoredKey, wish: KeyWish) -> KeyWish:
    """The wish, in the rate limit of ``giver``, if it has its own: whoever makes keys gains no requests."""
    if giver.rate_limit_per_hour is None:
        return wish
    return replace(wish, rate_limit_per_hour=giver.rate_limit_per_hour, counted_as=giver.counted_as or giver.key_id)
