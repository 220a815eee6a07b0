"""The event type that an endpoint is tested or rehearsed with, and its sample."""

from collections.abc import Collection

from service.api.errors import invalid
from service.core.events.registry import BUILT_IN, is_subscribable
from service.core.field_code import FieldCode, FieldSentence
from service.core.suggestion import did_you_mean
from service.ports.desk import EventTypeDesk


def require_type(event_type: str | None, own: Collection[str]) -> None:
    """Raise ``ApiError`` (400) if this type is given, and is neither built in nor one of the organization's own."""
    if event_type is not None and ("*" in event_type or not is_subscribable(event_type, own)):
        hint = did_you_mean(event_type, {*BUILT_IN, *own})
        why = f"no such event type{hint or '; GET /v1/event-types lists them'}"
        raise invalid("the request is not valid", {"event_type": [FieldSentence(why, FieldCode.UNKNOWN_VALUE)]})


def first_of(patterns: tuple[str, ...], own: Collection[str]) -> str:
    """Return the first event type that the first pattern covers."""
    names = (*BUILT_IN, *own)
    if patterns[0] in names:
        return patterns[0]
    return next(name for name in names if name.startswith(patterns[0].removesuffix("*")))


async def sample_data(types: EventTypeDesk, organization_id: str, event_type: str) -> str | None:
    """The sample of an own type's ``data``, as JSON; None for a built-in type, of which one is made.

    Raises ``ApiError`` (400) for an own type that has none.
    """
    if event_type in BUILT_IN:
        return None
    own = await types.find(organization_id, event_type)
    if own is None or own.sample is None:
        why = f"{event_type} has no sample, and its schema yields none; register it again, and give it a `sample`"
        raise invalid("the request is not valid", {"event_type": [why]})
    return own.sample
