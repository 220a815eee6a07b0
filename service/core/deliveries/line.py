"""A line: the open deliveries of one endpoint whose events have the same order key. Who is first goes first.

The head is the delivery that has begun: it was claimed, and has not ended. A line has one head or none. The others
wait, those with the earliest event first. A head that failed holds the others up for a while, then it gives way: it
leaves the line and is tried again like any delivery without a key.
"""

from typing import Final

from msgspec import Struct


class Head(Struct, frozen=True, gc=False):
    """A line's head as the database has it. ``failed_seconds`` is how long ago it failed first; None if it has not."""

    is_open: bool
    is_leased: bool = False
    is_due: bool = False
    failed_seconds: float | None = None


class Wait(Struct, frozen=True, gc=False):
    """Nobody of the line may be sent. The head gives way in ``seconds``; None: when it ends, or its lease does."""

    seconds: float | None = None


class Again(Struct, frozen=True, gc=False):
    """The head is to be sent; the others wait."""


class Next(Struct, frozen=True, gc=False):
    """The first of those that wait is the new head. ``gives_way``: the old one is still open, and leaves the line."""

    gives_way: bool = False


Turn = Wait | Again | Next

AGAIN: Final = Again()
NEXT: Final = Next()


def whose_turn(head: Head | None, wait_seconds: float) -> Turn:
    """Who of a line may be sent now.

    A head that is due goes before it gives way. So a pause of the endpoint, however long, costs no order.
    """
    if head is None or not head.is_open:
        return NEXT
    if head.is_leased:
        return Wait()
    if head.is_due or head.failed_seconds is None:
        return AGAIN
    left_seconds = wait_seconds - head.failed_seconds
    return Wait(left_seconds) if left_seconds > 0 else Next(gives_way=True)
