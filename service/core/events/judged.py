"""Marks an event as validated, so that it is validated only once: a custom schema can be slow."""

from dataclasses import dataclass

from service.core.events.event import Event


@dataclass(frozen=True, slots=True)
class Judged:
    """An event whose type its organization knows and whose data is valid; created by ``flow.judgement``.

    The judgement stays true, because types and schemas are never changed or removed.
    """

    event: Event
