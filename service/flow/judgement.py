"""Judging events by their organization: whether it exists, knows the type, and allows the data."""

import asyncio
from collections.abc import Sequence

from service.core.endpoints.directory import OrganizationDirectory
from service.core.events.event import Event, Rejected
from service.core.events.judged import Judged
from service.core.events.registry import REGISTRY, unknown_type
from service.core.reason import ParkReason
from service.flow.directory import Directory


async def judge(events: Sequence[Event], directory: Directory) -> Sequence[Judged | Rejected]:
    """Each event, in order, as one that may be recorded, or why it may not. Raises ``UnavailableError``.

    Types and schemas are never changed or removed, so what is known of a type holds whatever version it was read at.
    """
    directories = await directory.of({event.organization_id for event in events})
    doubtful = {
        event.organization_id
        for event in events
        if event.organization_id in directories and not _is_known(event, directories[event.organization_id])
    }
    if doubtful:  # the type may have been registered after our copy was made, and before the event was published
        directory.forget(doubtful)
        kept = {each: known for each, known in directories.items() if each not in doubtful}
        directories = {**kept, **await directory.of(doubtful)}
    judged = []
    for event in events:
        judged.append(_judged(event, directories.get(event.organization_id)))
        if event.type not in REGISTRY:
            await asyncio.sleep(0)  # a schema may take its time: the others on this loop have their turn
    return judged


def unknown_organization(event: Event) -> Rejected:
    """There is no such organization."""
    detail = f"no organization {event.organization_id!r}; make it with: posthorn keys create --organization ID"
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
