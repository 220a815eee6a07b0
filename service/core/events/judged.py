"""Marks an event as validated, so that it is validated only once: a custom schema can be slow."""

from msgspec import Struct

from service.core.events.event import Event


class Judged(Struct, frozen=True, gc=False):
    """An event whose type its organization knows and whose data is valid; created by ``flow.judgement``.

    The judgement stays true, because types and schemas are never changed or removed.
    """

    event: Event
