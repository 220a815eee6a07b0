"""What the stream asks of the database."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum, auto
from typing import Final, Protocol

from service.core.stream.position import Cursor, Position, Snapshot
from service.core.stream.told import CloseReason, Message, Recorded, Wanted

READ_SECONDS_MAX: Final = 20.0


@dataclass(frozen=True, slots=True)
class Organizations:
    """Whose events, and whose attempts, are read."""

    of_events: Collection[str]
    of_attempts: Collection[str]


@dataclass(frozen=True, slots=True)
class Stretch:
    """What was committed after a position: some of it, up to ``position``, in order; at ``at`` of the database's clock.

    Once ``position`` has no ``after``, everything is read that was committed when its ``seen`` was taken.
    """

    rows: Sequence[Recorded]
    position: Position
    at: datetime

    @property
    def until(self) -> Snapshot:
        """What was committed when the reading of this and the next stretches began."""
        return self.position.until or self.position.seen


class StreamStore(Protocol):
    """What was committed, by snapshots. Every verb may raise ``UnavailableError``."""

    async def now(self) -> Cursor:
        """The cursor after all that is committed by now; ``UnavailableError`` also while a table lacks an index."""

    async def read(
        self, organizations: Organizations, after: Position, seconds_max: float = READ_SECONDS_MAX
    ) -> Stretch:
        """A bounded number of rows and bytes after the position. Raises ``ReadTooSlowError`` after ``seconds_max``.

        A position that is no further than a snapshot is read up to what is committed by now.
        """

    async def ended_keys(self, key_ids: Collection[str]) -> Mapping[str, CloseReason]:
        """Those of the API keys that were revoked or have expired."""


class TooManyStreams(Enum):
    """Why no other stream is opened."""

    OF_KEY = auto()
    OF_PROCESS = auto()


class OpenStream(Protocol):
    """A stream that somebody listens to. ``leave`` must be called in the end."""

    @property
    def cursor(self) -> str | None:
        """How far the listener has been told, while nothing waits for it; None while it is told of the past."""

    async def take(self) -> Sequence[Message]:
        """What comes next; waits until there is something. The last message of all is ``Closed``.

        May be cancelled: nothing is lost by it.
        """

    async def ended(self) -> None:
        """Wait until the stream is to end, whether or not anybody takes what is left."""

    def leave(self) -> None:
        """Listen no longer."""


class StreamDesk(Protocol):
    """Streams of what is committed."""

    async def open(self, wanted: Wanted, key_id: str, cursor: Cursor | None) -> OpenStream | TooManyStreams:
        """A stream from the cursor on, or from now on. May raise ``UnavailableError``.

        It is closed when the key with this id ends.
        """
