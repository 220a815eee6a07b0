"""How far somebody has been told of what was committed.

Transactions do not commit in the order in which they begin, so neither a number nor a time can say it: one that is
still running may commit rows that are older than what was told. A snapshot of PostgreSQL can: it names the transactions
that had ended. What a snapshot sees and an older one does not see is what was committed between them: all of it, once.
"""

import binascii
from base64 import urlsafe_b64decode, urlsafe_b64encode
from datetime import UTC, datetime
from typing import Annotated, Final, Self
from uuid import UUID

import msgspec
from msgspec import Meta, Struct

CURSOR_LENGTH_MAX: Final = 4096
"""A cursor names each transaction that was running, twice at most: a few bytes for each of some hundreds."""

_Natural = Annotated[int, Meta(ge=0, le=2**63 - 1)]
_Number = Annotated[int, Meta(ge=0, le=2**31 - 1)]
_Server = Annotated[str, Meta(max_length=64)]


class Snapshot(Struct, frozen=True, array_like=True):
    """Which transactions had ended: those below ``end`` that were not ``running``."""

    end: _Natural
    running: tuple[_Natural, ...] = ()

    def sees(self, transaction: int) -> bool:
        """Whether the transaction had ended."""
        return transaction < self.end and transaction not in self.running

    @classmethod
    def read(cls, text: str) -> Self:
        """Read PostgreSQL's notation, ``first:end:running,…``."""
        _, end, running = text.split(":")
        return cls(int(end), tuple(map(int, running.split(","))) if running else ())

    def __str__(self) -> str:
        return f"{min((self.end, *self.running))}:{self.end}:{','.join(map(str, self.running))}"


class Place(Struct, frozen=True, array_like=True, order=True):
    """A row's place: by the transaction that recorded it, then events before attempts, then by their keys.

    An event's transaction has ended before one of its attempts can begin, so each event comes before its attempts.
    """

    transaction: _Natural
    kind: _Number
    event_uid: UUID
    subscription_id: _Natural = 0
    replay_number: _Number = 0
    number: _Number = 0


OF_EVENT: Final = 1
OF_ATTEMPT: Final = 2
_AFTER_ALL: Final = 3
_NO_UID: Final = UUID(int=0)


def end_of(transaction: int) -> Place:
    """The place after all rows that the transaction recorded."""
    return Place(transaction, _AFTER_ALL, _NO_UID)


class Position(Struct, frozen=True, array_like=True):
    """What was told: all that ``seen`` sees, and of what ``until`` sees beside that, the rows up to ``after``.

    ``server`` is which one gave out the transactions' ids: after a failover another may give out the same ones again.
    It is "" in a cursor that an earlier release made, which can be resumed nowhere.
    """

    seen: Snapshot
    until: Snapshot | None = None
    after: Place | None = None
    server: _Server = ""

    @property
    def since(self) -> int:
        """The first transaction of which, and of all after it, there may be more to tell."""
        if self.after is None:
            return self.seen.end
        return max(self.seen.end, self.after.transaction + (self.after.kind == _AFTER_ALL))

    @property
    def late(self) -> list[int]:
        """The transactions before ``since`` of which there may be more to tell."""
        return [each for each in self.seen.running if self.after is None or each >= self.after.transaction]


class Cursor(Struct, frozen=True, array_like=True):
    """A position at a time, in seconds since 1970: what a listener gives back to read on from there."""

    seconds: Annotated[int, Meta(ge=0, le=2**33)]
    position: Position

    @classmethod
    def at(cls, at: datetime, position: Position) -> Self:
        """The cursor of a position, at a time of the database's clock."""
        return cls(int(at.timestamp()), position)

    @property
    def time(self) -> datetime:
        """When the listener had been told so much, to the second."""
        return datetime.fromtimestamp(self.seconds, UTC)

    def __str__(self) -> str:
        return urlsafe_b64encode(_encode(self)).rstrip(b"=").decode()

    @classmethod
    def read(cls, text: str) -> "Cursor | None":
        """Read a cursor's text; None for anything else."""
        if len(text) > CURSOR_LENGTH_MAX:
            return None
        try:
            found = _decode(urlsafe_b64decode(text.encode("ascii") + b"=" * (-len(text) % 4)))
        except (ValueError, binascii.Error, msgspec.DecodeError):
            return None
        return found if _is_whole(found.position) else None


def _is_whole(position: Position) -> bool:
    snapshots = [position.seen, *([position.until] if position.until is not None else [])]
    return (position.until is None) == (position.after is None) and all(
        list(each.running) == sorted(set(each.running)) and all(running < each.end for running in each.running)
        for each in snapshots
    )


_encode: Final = msgspec.msgpack.Encoder(uuid_format="bytes").encode
_decode: Final = msgspec.msgpack.Decoder(Cursor).decode
