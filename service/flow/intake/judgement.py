"""Judging events: whether the organization exists, knows the event type, and the data is valid."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

from service.core.endpoints.directory import OrganizationDirectory
from service.core.events.event import Event, Rejected
from service.core.events.judged import Judged
from service.core.events.own_types.bounded_validator import TooMuchWorkError
from service.core.events.own_types.own_type import OwnEventType
from service.core.events.registry import REGISTRY, Complaint, unknown_type
from service.core.events.types.operational import is_operational
from service.core.reason import ParkReason
from service.core.suggestion import SUGGESTIONS_MAX
from service.flow.directory.directory import Directory
from service.flow.intake.turns import Turns

JudgeData = Callable[[OwnEventType, Event], Awaitable[Sequence[Complaint]]]
"""What is wrong with an event's data. Raises ``TooMuchWorkError`` if that takes too long to say now."""


async def judge(
    events: Sequence[Event], directory: Directory, judge_data: JudgeData
) -> Sequence[Judged | Rejected | None]:
    """For each event, in order: Judged if it may be recorded, else why not; None if it takes too long to say now.

    Raises ``UnavailableError``.

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
    judged: list[Judged | Rejected | None] = []
    strangers_count = 0
    for event in events:
        known = directories.get(event.organization_id)
        try:
            judged.append(await _judged(event, known, judge_data, suggests=strangers_count < SUGGESTIONS_MAX))
            strangers_count += isinstance(judged[-1], Rejected)
        except TooMuchWorkError:
            judged.append(None)
        if event.type not in REGISTRY:
            await asyncio.sleep(0)  # a schema takes its time: let the other tasks run
    return judged


def is_at_hand(event: Event, directory: Directory) -> bool:
    """Whether the event can be judged, and fanned out, without reading its organization's directory first."""
    known = directory.at_hand(event.organization_id)
    return known is not None and _is_known(event, known)


def unknown_organization(event: Event) -> Rejected:
    """The rejection of an event whose organization does not exist."""
    detail = f"no organization {event.organization_id!r}; create it with: posthorn keys create --organization ID"
    return Rejected(ParkReason.UNKNOWN_ORGANIZATION, detail, "organization_id")


def _is_known(event: Event, directory: OrganizationDirectory) -> bool:
    return event.type in REGISTRY or event.type in directory.event_types or is_operational(event.type)


async def _judged(
    event: Event, directory: OrganizationDirectory | None, judge_data: JudgeData, *, suggests: bool
) -> Judged | Rejected:
    if directory is None:
        return unknown_organization(event)
    if event.type in REGISTRY:
        return Judged(event)
    if is_operational(event.type):
        detail = f"only Posthorn itself publishes {event.type!r}; types of yours need another prefix"
        return Rejected(ParkReason.RESERVED_TYPE, detail, "type")
    own_type = directory.event_types.get(event.type)
    if own_type is None:
        return Rejected(ParkReason.UNKNOWN_TYPE, unknown_type(event.type, suggests=suggests), "type")
    first, *others = await judge_data(own_type, event) or (None,)
    if first is None:
        return Judged(event)
    return Rejected(ParkReason.BAD_DATA, first.detail, first.field, tuple(others), first.code)


def patiently(turns: Turns) -> JudgeData:
    """Judges at once if that is short, else off the event loop, which goes on meanwhile.

    What takes long waits for its turn: each organization has its own.
    """

    async def judge_data(own_type: OwnEventType, event: Event) -> Sequence[Complaint]:
        try:
            return own_type.judge_at_once(event.body)
        except TooMuchWorkError:
            return await turns.run(event.organization_id, partial(own_type.judge, event.body))

    return judge_data
