"""Judging events: whether the organization exists, knows the event type, and the data is valid."""

import asyncio
from collections.abc import Sequence

from service.core.endpoints.directory import OrganizationDirectory
from service.core.events.event import Event, Rejected
from service.core.events.judged import Judged
from service.core.events.registry import REGISTRY, unknown_type
from service.core.reason import ParkReason
from service.flow.directory import Directory


async def judge(events: Sequence[Event], directory: Directory) -> Sequence[Judged | Rejected]:
    """For each event, in order: Judged if it may be recorded, else why not. Raises ``UnavailableError``.

    Types and schemas are never changed or removed, so a cached type is valid whatever the directory's version.
    """
    directories = await directory.of({event.organization_id for event in events})
    doubtful = {
        event.organization_id
        for event in events
        if event.organization_id in directories and not _is_known(event, directories[event.organization_id])
    }
    if doubtful:  # the type may have been registered after the copy was cached and before the event was published
        directory.forget(doubtful)
        kept = {each: known for each, known in directories.items() if each not in doubtful}
        directories = {**kept, **await directory.of(doubtful)}
    judged = []
    for event in events:
        judged.append(_judged(event, directories.get(event.organization_id)))
        if event.type not in REGISTRY:
            await asyncio.sleep(0)  # a schema can be slow: let the other tasks run
    return judged


def unknown_organization(event: Event) -> Rejected:
    """The rejection of an event whose organization does not exist."""
    detail = f"no organization {event.organization_id!r}; create it with: posthorn keys create --organization ID"
    return Rejected(ParkReason.UNKNOWN_ORGANIZATION, detail, "organization_id")


def _is_known(event: Event, directory: OrganizationDirectory) -> bool:
    return event.type in REGISTRY or event.type in directory.event_types


def _judged(event: Event, directory: OrganizationDirectory | None) -> Judged | Rejected:
    if directory is None:
        return unknown_organization(event)
    if event.type in REGISTRY:
        return Judged(event)
    own_type = directory.event_types.get(event.type)
    if own_type is None:
        return Rejected(ParkReason.UNKNOWN_TYPE, unknown_type(event.type), "type")
    complaint = own_type.judge(event.body)
    return Rejected(ParkReason.BAD_DATA, complaint.detail, complaint.field) if complaint else Judged(event)
