"""The statement behind a list of deliveries, built so that each set of filters is answered from an index.

Open and final deliveries are two tables; one statement reads both, so that a delivery that ends meanwhile is seen once.
Final deliveries have one partition per day, and every index ends with the event's uid, which starts with the time. So
if all columns before it are fixed, PostgreSQL reads partition after partition, newest first, and stops at the limit.
A column that the filters do not fix is enumerated: "any type" asks for the newest of each type and merges them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from service.core.deliveries.delivery import FINAL_STATES, OPEN_STATES, DeliveryKey, State
from service.core.deliveries.view import DeliveryFilter
from service.core.events.uid import day_of, first_uid_from
from service.core.reason import Reason

IN_INDEX_ORDER: Final = "SET LOCAL enable_sort = off; SET LOCAL enable_bitmapscan = off"
"""Set in the transaction of a list. The planner assumes an average endpoint, for which it would rather fetch and sort
all rows than walk an index; for the one endpoint with a large backlog that takes seconds."""

_NEWEST_FIRST: Final = "ORDER BY event_uid DESC, subscription_id DESC, replay_number DESC"
_COLUMNS: Final = """event_uid, subscription_id, replay_number, organization_id, endpoint_id, event_id, event_type,
       state, reason, last_status, created_at, attempts_made"""
_OPEN_COLUMNS: Final = """CASE WHEN state = 'pending' THEN nullif(next_attempt_at, 'infinity') END AS next_attempt_at,
       NULL::timestamptz AS ended_at"""
_FINAL_COLUMNS: Final = "NULL::timestamptz AS next_attempt_at, ended_at"
_ORDINARY_STATUS: Final = 200
"""Nearly every delivery has this status, so the index of statuses leaves it out."""
_STATUS_REFUSED_MIN: Final = 300
"""The lowest status that a delivered delivery cannot have."""
# The first condition follows from the second, but the planner needs it to match the partial index.
_OF_PAIR: Final = " AND state <> 'delivered' AND state = each.state AND reason = each.reason"
# Must match the conditions of the partial indexes word for word.
_DELIVERED: Final = " AND state = 'delivered'"
_NOT_DELIVERED: Final = " AND state <> 'delivered'"
_FAILED_STATES: Final = (State.DEAD.value, State.CANCELLED.value)


@dataclass(frozen=True, slots=True)
class Statement:
    """SQL and its bound values."""

    text: str
    arguments: tuple[object, ...]


class _Arguments:
    """Collects the values to bind and returns their placeholders."""

    def __init__(self) -> None:
        self.values: list[object] = []

    def __call__(self, value: object, cast: str = "") -> str:
        self.values.append(value)
        return f"${len(self.values)}{cast}"


def list_statement(
    wanted: DeliveryFilter, *, limit: int, before: DeliveryKey | None, event_uids: Sequence[UUID] | None
) -> Statement:
    """The newest ``limit`` deliveries older than ``before``. ``event_uids`` are those of ``wanted.event_id``."""
    bind = _Arguments()
    conditions = _conditions(wanted, bind, before, event_uids)
    asked_limit = bind(limit, "::int")
    parts = []
    if wanted.state is None or wanted.state in OPEN_STATES:
        parts.append(_open(wanted, bind, conditions, asked_limit))
    if wanted.state is None or wanted.state in FINAL_STATES:
        parts.append(_final(wanted, bind, conditions, asked_limit, before))
    either = "\nUNION ALL\n".join(f"({part})" for part in parts)
    # Only constants of this module are formatted in; values are bound.
    text = f"SELECT * FROM ({either}) AS d {_NEWEST_FIRST} LIMIT {asked_limit}"  # noqa: S608
    return Statement(text, tuple(bind.values))


def _conditions(
    wanted: DeliveryFilter, bind: _Arguments, before: DeliveryKey | None, event_uids: Sequence[UUID] | None
) -> str:
    columns = {
        "organization_id": wanted.organization_id,
        "endpoint_id": wanted.endpoint_id,
        "event_type": wanted.event_type,
        "state": wanted.state,
        "reason": wanted.reason,
        "last_status": wanted.status_code,
    }
    found = [f"{name} = {bind(value)}" for name, value in columns.items() if value is not None]
    if event_uids is not None:
        found.append(f"event_uid = ANY ({bind(list(event_uids), '::uuid[]')})")
    if wanted.since is not None:
        found.append(f"event_uid >= {bind(first_uid_from(wanted.since), '::uuid')}")
    if wanted.until is not None:
        found.append(f"event_uid < {bind(first_uid_from(wanted.until), '::uuid')}")
    if before is not None:
        uid = bind(before.event_uid, "::uuid")
        # The first condition follows from the second, but it is what excludes the partitions of later days.
        found.append(f"event_uid <= {uid}")
        last = f"({uid}, {bind(before.subscription_id, '::bigint')}, {bind(before.replay_number, '::int')})"
        found.append(f"(event_uid, subscription_id, replay_number) < {last}")
    return " AND ".join(found) or "true"


def _newest(table: str, more_columns: str, conditions: str, asked_limit: str) -> str:
    return f"""SELECT {_COLUMNS}, {more_columns}
      FROM {table} WHERE {conditions} {_NEWEST_FIRST} LIMIT {asked_limit}"""  # noqa: S608 - constants


def _open(wanted: DeliveryFilter, bind: _Arguments, conditions: str, asked_limit: str) -> str:
    def newest(more: str) -> str:
        return _newest("open_deliveries", _OPEN_COLUMNS, conditions + more, asked_limit)

    if wanted.organization_id is None or wanted.endpoint_id is not None or wanted.event_id is not None:
        return newest("")
    endpoints = f"SELECT id FROM endpoints WHERE organization_id = {bind(wanted.organization_id)}"  # noqa: S608
    return _for_each(endpoints, newest(" AND endpoint_id = each.id"))


def _final(
    wanted: DeliveryFilter, bind: _Arguments, conditions: str, asked_limit: str, before: DeliveryKey | None
) -> str:
    def newest(more: str) -> str:
        return _newest("final_deliveries", _FINAL_COLUMNS, conditions + more, asked_limit)

    if wanted.event_id is not None:
        return newest("")
    is_owned = wanted.organization_id is not None
    is_whole = is_owned and wanted.endpoint_id is None
    if is_whole and wanted.status_code not in {None, _ORDINARY_STATUS}:
        return newest("")  # by organization and status
    if is_whole and (wanted.state in _FAILED_STATES or wanted.reason is not None):
        return _for_each(_pairs(wanted, bind), newest(_OF_PAIR))
    if wanted.event_type is None and not (is_owned or wanted.endpoint_id is not None):
        return newest("")
    parts = []
    for half in _halves(wanted):
        if wanted.event_type is not None:
            parts.append(newest(half))
        else:
            types = _types(wanted, bind, before, half)
            parts.append(_for_each(types, newest(f"{half} AND event_type = each.event_type")))
    return " UNION ALL ".join(f"({part})" for part in parts)


def _halves(wanted: DeliveryFilter) -> Sequence[str]:
    """Two indexes hold an endpoint's deliveries: one those that were delivered, the other the rest."""
    if wanted.endpoint_id is None:
        return [""]
    if wanted.state == State.DELIVERED:
        return [_DELIVERED]
    is_refusal = wanted.status_code is not None and wanted.status_code >= _STATUS_REFUSED_MIN
    if wanted.state is not None or wanted.reason is not None or is_refusal:
        return [_NOT_DELIVERED]
    return [_DELIVERED, _NOT_DELIVERED]


def _for_each(drivers: str, newest: str) -> str:
    """The newest rows of each driver; the caller merges and sorts them."""
    return f"SELECT newest.* FROM ({drivers}) AS each, LATERAL ({newest}) AS newest"  # noqa: S608 - constants


def _pairs(wanted: DeliveryFilter, bind: _Arguments) -> str:
    states = [wanted.state] if wanted.state is not None else list(_FAILED_STATES)
    reasons = [wanted.reason] if wanted.reason is not None else [reason.value for reason in Reason]
    pairs = [(state, reason) for state in states for reason in reasons]
    of_states, of_reasons = (bind(list(column), "::text[]") for column in zip(*pairs, strict=True))
    return f"SELECT * FROM unnest({of_states}, {of_reasons}) AS pair (state, reason)"  # noqa: S608 - constants


def _types(wanted: DeliveryFilter, bind: _Arguments, before: DeliveryKey | None, half: str) -> str:
    """The event types that occur: one index probe for each, however many rows it has."""
    owners = {"organization_id": wanted.organization_id, "endpoint_id": wanted.endpoint_id}
    owner = [f"{name} = {bind(value)}" for name, value in owners.items() if value is not None]
    until = first_uid_from(wanted.until) if wanted.until is not None else None
    until = before.event_uid if before is not None else until
    since = first_uid_from(wanted.since) if wanted.since is not None else None
    conditions = [*owner, *_whole_days(bind, since, until)]
    return walk_types("final_deliveries", [*conditions, *filter(None, [half.removeprefix(" AND ")])])


def walk_types(table: str, conditions: Sequence[str]) -> str:
    """SQL that finds the distinct ``event_type``s of a table by skipping through an index from type to type."""
    first = f"SELECT min(event_type) FROM {table} WHERE {' AND '.join(conditions)}"  # noqa: S608 - constants
    return f"""
    WITH RECURSIVE walk (event_type) AS (
        ({first}) UNION ALL
        SELECT ({first} AND event_type > walk.event_type) FROM walk WHERE walk.event_type IS NOT NULL
    ) SELECT event_type FROM walk WHERE event_type IS NOT NULL"""  # noqa: S608 - constants


def _whole_days(bind: _Arguments, since: UUID | None, until: UUID | None) -> list[str]:
    """Conditions that exclude whole days only: within a day, the walk would have to read the unwanted rows."""
    first, last = day_of(since) if since else None, day_of(until) if until else None
    found = [f"event_uid >= {bind(first[0], '::uuid')}"] if first else []
    return [*found, f"event_uid <= {bind(last[1], '::uuid')}"] if last else found
