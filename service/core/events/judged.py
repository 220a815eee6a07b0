"""The proof that an event was judged, so that nobody judges it twice: an own schema may take its time."""

from dataclasses import dataclass

from service.core.events.event import Event


@dataclass(frozen=True, slots=True)
class Judged:
    """An event that its organization allows: it knows the type, and the data passes. ``flow.judgement`` makes it.

    It stays true: types and schemas are never changed or removed.
    """

    event: Event
