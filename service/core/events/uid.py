"""The internal id of an event, a UUIDv7: it starts with the time at which the event was received, in milliseconds."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_DAY_MILLISECONDS = 86_400_000
_RANDOM_BITS = 80
_LAST = UUID(int=2**128 - 1)


def received_at(uid: UUID) -> datetime:
    """When the event with this uid was received, to the millisecond."""
    return _EPOCH + (uid.int >> _RANDOM_BITS) * _MILLISECOND


def first_uid_from(at: datetime) -> UUID:
    """The smallest uid of an event received at ``at`` or later, so a range of times is a range of uids."""
    milliseconds = -((_EPOCH - at) // _MILLISECOND)  # rounded up
    return UUID(int=max(0, milliseconds) << _RANDOM_BITS)


def day_of(uid: UUID) -> tuple[UUID, UUID]:
    """The first and the last uid of the same day."""
    milliseconds = uid.int >> _RANDOM_BITS
    first = milliseconds - milliseconds % _DAY_MILLISECONDS
    last = (first + _DAY_MILLISECONDS << _RANDOM_BITS) - 1
    return UUID(int=first << _RANDOM_BITS), UUID(int=min(last, _LAST.int))
