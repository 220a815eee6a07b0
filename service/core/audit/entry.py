"""An entry of the audit log: what was done, to what, and how that looked before and after, masked and bounded."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal, get_args

from service.core.timestamp import format_timestamp

FIELD_BYTES_MAX: Final = 1_024
"""Of a field's value, as JSON; of a longer one the entry only says how long it was."""
STATE_BYTES_MAX: Final = 16_384
"""Of all fields before, or after, a change."""

KEPT_DAYS: Final = 30
"""The table's trigger lets nobody delete a younger entry."""

State = Mapping[str, object]
"""An object's fields by name; a value that must not be kept is ``Masked``."""


AuditOperation = Literal[
    "organization.create",
    "key.create",
    "key.rotate",
    "key.revoke",
    "endpoint.create",
    "endpoint.update",
    "endpoint.delete",
    "endpoint.subscribe",
    "endpoint.unsubscribe",
    "endpoint.pause",
    "endpoint.resume",
    "endpoint.rotate_secret",
    "endpoint.end_overlap",
    "endpoint.rehearse",
    "endpoint.disable",
    "endpoint.gone",
    "endpoint.expire",
    "event_type.register",
    "portal_link.create",
    "secrets.rewrap",  # sealed with another key of SECRET_KEYS, whose id it has
    "delivery.replay",
    "replay.create",
    "replay.pause",
    "replay.resume",
    "replay.cancel",
    "parked.republish",  # ordered: the broker's queue and the log cannot change together
    "parked.discard",
]
"""What can be done. The first part is the kind of the object whose id the entry has."""
OPERATIONS: Final[tuple[AuditOperation, ...]] = get_args(AuditOperation)


@dataclass(frozen=True, slots=True, repr=False)
class Masked:
    """A value that no entry keeps: ``value`` is only compared, ``shown`` is written."""

    value: object
    shown: object


def changed(before: State | None, after: State | None) -> tuple[State | None, State | None]:
    """Of two states, the fields that differ; one that stands alone is kept whole."""
    if before is None or after is None:
        return before, after
    names = [name for name in {**before, **after} if before.get(name) != after.get(name)]
    return {name: before.get(name) for name in names}, {name: after.get(name) for name in names}


def written(state: State | None) -> str | None:
    """The state as JSON, with what is masked hidden, and what is too long left out."""
    if state is None:
        return None
    text = _json({name: _bounded(value) for name, value in state.items()})
    return text if len(text) <= STATE_BYTES_MAX else _json(_left_out(text))


def _bounded(value: object) -> object:
    text = _json(value)
    return _left_out(text) if len(text) > FIELD_BYTES_MAX else json.loads(text)


def _left_out(text: str) -> dict[str, int]:
    return {"omitted_bytes": len(text)}


def _json(value: object) -> str:
    return json.dumps(value, default=_plain)  # ASCII: its characters are its bytes


def _plain(value: Any) -> object:  # noqa: ANN401 - whatever JSON has no form for
    if isinstance(value, Masked):
        return value.shown
    if isinstance(value, datetime):
        return format_timestamp(value)
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, frozenset):
        return sorted(value)
    raise TypeError(f"an entry cannot hold a {type(value).__name__}")


@dataclass(frozen=True, slots=True)
class EntryView:
    """An entry as it is read. Kinds and operations are text: a newer release may know more of them."""

    id: str
    at: datetime
    organization_id: str | None
    actor_kind: str
    actor_id: str
    address: str | None
    operation: str
    object_id: str
    before: Mapping[str, Any] | None
    after: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True)
class EntryFilter:
    """Which entries to list; all that is given must hold. ``since`` is inclusive, ``until`` exclusive.

    Without an organization: of all of them, and what concerns none.
    """

    organization_id: str | None = None
    operation: AuditOperation | None = None
    object_id: str | None = None
    actor_id: str | None = None
    since: datetime | None = None
    until: datetime | None = None
