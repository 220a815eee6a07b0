"""The proof that an event was judged, so that nobody judges it twice: an own schema may take its time."""

from msgspec import Struct

from service.core.events.event import Event


class Judged(Struct, frozen=True, gc=False):
    """An event that its organization allows: it knows the type, and the data passes. ``flow.judgement`` makes it.

    It stays true: types and schemas are never changed or removed.
    """

    event: Event
