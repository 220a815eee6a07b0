"""The statement behind a list of deliveries, built so that each set of filters is answered from an index.

Open and final deliveries are two tables; one statement reads both, so that a delivery that ends meanwhile is seen once.
Final deliveries have one partition per day, and every index ends with the event's uid, which starts with the time. So
if all columns before it are fixed, PostgreSQL reads partition after partition, newest first, and stops at the limit.
A column that the filters do not fix to one value is enumerated: "any type" and "one of these types" ask for the newest
of each type and merge them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final
from uuid import UUID

from service.core.deliveries.delivery import FINAL_STATES, OPEN_STATES, DeliveryKey, State
from service.core.deliveries.view import DeliveryFilter
from service.core.events.uid import day_of, first_uid_from
from service.core.reason import Reason
from service.core.walk import Walk

IN_INDEX_ORDER: Final = "SET LOCAL enable_sort = off; SET LOCAL enable_bitmapscan = off"
"""Set in the transaction of a list. The planner assumes an average endpoint, for which it would rather fetch and sort
all rows than walk an index; for the one endpoint with a large backlog that takes seconds."""

OF_EACH_TYPE: Final = "event_type = each.event_type AND event_type BETWEEN each.event_type AND each.event_type"
"""The condition of a list that merges the newest of each type. The second half says nothing new, but the planner takes
it for rare. Of the first alone it assumes an average type, and would rather walk all events by their uids than the
index of types: for a type that few events have, to the end of what is stored."""

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
_OF_STATUS: Final = " AND last_status <> 200 AND last_status = each.last_status"
_FAILED_STATES: Final = frozenset({State.DEAD, State.CANCELLED})
_FINAL: Final = "final_deliveries"


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
    wanted: DeliveryFilter, walk: Walk[DeliveryKey], *, event_uids: Sequence[UUID] | None = None
) -> Statement:
    """The deliveries of a page. ``event_uids`` are those of ``wanted.event_id`` and ``wanted.message_id``."""
    return _List(wanted, walk, event_uids).statement()


def candidates_statement(wanted: DeliveryFilter, walk: Walk[DeliveryKey], event_uids: Sequence[UUID]) -> Statement:
    """The first ``walk.limit`` deliveries of these events, each with ``is_wanted``."""
    return _List(wanted, walk, None).candidates(event_uids)


def are_only_failures(wanted: DeliveryFilter) -> bool:
    """Whether none of the wanted deliveries was delivered, and all have ended."""
    return _is_none_delivered(wanted) and set(wanted.states or FINAL_STATES) <= FINAL_STATES


def _is_none_delivered(wanted: DeliveryFilter) -> bool:
    is_refusal = wanted.statuses and all(low >= _STATUS_REFUSED_MIN for low, _ in wanted.statuses)
    return bool((wanted.states and State.DELIVERED not in wanted.states) or wanted.reasons or is_refusal)


class _List:
    """Builds one statement."""

    def __init__(self, wanted: DeliveryFilter, walk: Walk[DeliveryKey], event_uids: Sequence[UUID] | None) -> None:
        # The rows of each endpoint, type and reason are looked for: what is named twice would be found twice.
        self._wanted = replace(
            wanted,
            endpoint_ids=list(dict.fromkeys(wanted.endpoint_ids)),
            event_types=list(dict.fromkeys(wanted.event_types)),
            reasons=list(dict.fromkeys(wanted.reasons)),
        )
        self._walk = walk
        self._event_uids = event_uids
        self._bind = _Arguments()
        self._order = _NEWEST_FIRST if walk.is_descending else _NEWEST_FIRST.replace(" DESC", " ASC")
        self._limit = self._bind(walk.limit, "::int")
        since, until = wanted.since, wanted.until
        self._first = first_uid_from(since) if since is not None else None
        self._until = first_uid_from(until) if until is not None else None

    def statement(self) -> Statement:
        """The whole statement."""
        states = self._wanted.states
        conditions = self._conditions()
        parts = []
        if not states or OPEN_STATES.intersection(states):
            parts.append(self._open(conditions))
        if not states or FINAL_STATES.intersection(states):
            parts.append(self._final(conditions))
        either = "\nUNION ALL\n".join(f"({part})" for part in parts)
        # Only constants of this module are formatted in; values are bound.
        text = f"SELECT * FROM ({either}) AS d {self._order} LIMIT {self._limit}"  # noqa: S608
        return Statement(text, tuple(self._bind.values))

    def candidates(self, event_uids: Sequence[UUID]) -> Statement:
        """The first deliveries of these events."""
        wanted, bind = self._wanted, self._bind
        is_wanted = " AND ".join(self._properties()) or "true"
        if wanted.endpoint_ids:
            is_wanted += f" AND endpoint_id = ANY ({bind(list(wanted.endpoint_ids), '::text[]')})"
        of_event = " AND ".join(["event_uid = each.uid", *self._places()])
        parts = " UNION ALL ".join(
            f"(SELECT {_COLUMNS}, {more} FROM {table} WHERE {of_event} {self._order} LIMIT {self._limit})"  # noqa: S608
            for table, more in (("open_deliveries", _OPEN_COLUMNS), (_FINAL, _FINAL_COLUMNS))
        )
        # Each event's deliveries are read when the ones before were too few: the outer order is that of the events.
        direction = "DESC" if self._walk.is_descending else "ASC"
        events = f"SELECT unnest({bind(list(event_uids), '::uuid[]')}) AS uid ORDER BY uid {direction}"
        of_all = self._order.replace("event_uid", "each.uid").replace("subscription_id", "one.subscription_id")
        # Only constants of this module are formatted in; values are bound.
        text = f"""SELECT *, {is_wanted} AS is_wanted FROM (
            SELECT one.* FROM ({events}) AS each, LATERAL ({parts} {self._order} LIMIT {self._limit}) AS one
            {of_all} LIMIT {self._limit}) AS candidates"""  # noqa: S608
        return Statement(text, tuple(bind.values))

    def _conditions(self) -> str:
        """All that is wanted but the endpoints: which index is walked follows from them, so they are added there."""
        found = self._properties()
        if self._event_uids is not None:
            found.append(f"event_uid = ANY ({self._bind(list(self._event_uids), '::uuid[]')})")
        return " AND ".join([*found, *self._places()]) or "true"

    def _properties(self) -> list[str]:
        """What is wanted of a delivery itself, but its endpoint."""
        wanted, bind = self._wanted, self._bind
        found = [
            f"{name} = {bind(values[0])}" if len(values) == 1 else f"{name} = ANY ({bind(list(values), '::text[]')})"
            for name, values in (
                ("organization_id", [wanted.organization_id] if wanted.organization_id is not None else []),
                ("event_type", wanted.event_types),
                ("state", wanted.states),
                ("reason", wanted.reasons),
            )
            if values
        ]
        if wanted.statuses:
            ranges = (f"last_status BETWEEN {bind(low)} AND {bind(high)}" for low, high in wanted.statuses)
            found.append(f"({' OR '.join(ranges)})")
        return found

    def _places(self) -> list[str]:
        """Where in the list the page lies."""
        bind = self._bind
        found = []
        if self._first is not None:
            found.append(f"event_uid >= {bind(self._first, '::uuid')}")
        if self._until is not None:
            found.append(f"event_uid < {bind(self._until, '::uuid')}")
        beside = self._walk.beside
        if beside is not None:
            uid, sign = bind(beside.event_uid, "::uuid"), "<" if self._walk.is_descending else ">"
            # The first condition follows from the second, but it is what excludes the partitions of other days.
            found.append(f"event_uid {sign}= {uid}")
            last = f"({uid}, {bind(beside.subscription_id, '::bigint')}, {bind(beside.replay_number, '::int')})"
            found.append(f"(event_uid, subscription_id, replay_number) {sign} {last}")
        return found

    def _next(self, table: str, more_columns: str, conditions: str) -> str:
        return f"""SELECT {_COLUMNS}, {more_columns}
      FROM {table} WHERE {conditions} {self._order} LIMIT {self._limit}"""  # noqa: S608 - constants

    def _open(self, conditions: str) -> str:
        wanted, bind = self._wanted, self._bind
        if wanted.endpoint_ids:
            endpoints = f"SELECT unnest({bind(list(wanted.endpoint_ids), '::text[]')}) AS id"
        elif wanted.organization_id is not None and self._event_uids is None:
            endpoints = f"SELECT id FROM endpoints WHERE organization_id = {bind(wanted.organization_id)}"  # noqa: S608
        else:
            return self._next("open_deliveries", _OPEN_COLUMNS, conditions)
        return _for_each(
            endpoints, self._next("open_deliveries", _OPEN_COLUMNS, f"{conditions} AND endpoint_id = each.id")
        )

    def _final(self, conditions: str) -> str:
        wanted = self._wanted

        def following(more: str) -> str:
            return self._next(_FINAL, _FINAL_COLUMNS, conditions + more)

        if self._event_uids is not None:
            if not wanted.endpoint_ids:
                return following("")
            return following(f" AND endpoint_id = ANY ({self._bind(list(wanted.endpoint_ids), '::text[]')})")
        if wanted.organization_id is not None and not wanted.endpoint_ids:
            if wanted.statuses and not any(low <= _ORDINARY_STATUS <= high for low, high in wanted.statuses):
                return _for_each(self._statuses(), following(_OF_STATUS))
            if wanted.reasons or (wanted.states and set(wanted.states) <= _FAILED_STATES):
                return _for_each(self._pairs(), following(_OF_PAIR))
        return " UNION ALL ".join(f"({self._of_types(following, half)})" for half in self._halves())

    def _of_types(self, following: Callable[[str], str], half: str) -> str:
        """The final deliveries in one half of the endpoints', or of the organization's: for each type, merged.

        Endpoints are rows that drive one plan: twenty plans, for all days, take longer to make than to run.
        """
        wanted = self._wanted
        has_one_type = len(wanted.event_types) == 1
        if not wanted.endpoint_ids and (has_one_type or wanted.organization_id is None):
            return following(half)
        types = (
            f"SELECT unnest({self._bind(list(wanted.event_types), '::text[]')}) AS event_type"
            if wanted.event_types
            else self._types(" AND endpoint_id = owner.id" if wanted.endpoint_ids else "", half)
        )
        if not wanted.endpoint_ids:
            return _for_each(types, following(f"{half} AND {OF_EACH_TYPE}"))
        owners = f"SELECT unnest({self._bind(list(wanted.endpoint_ids), '::text[]')}) AS id"
        pairs = f"SELECT owner.id, event_type FROM ({owners}) AS owner, LATERAL ({types}) AS types"  # noqa: S608
        return _for_each(pairs, following(f" AND endpoint_id = each.id{half} AND {OF_EACH_TYPE}"))

    def _halves(self) -> Sequence[str]:
        """Two indexes hold an endpoint's deliveries: one those that were delivered, the other the rest."""
        wanted = self._wanted
        if not wanted.endpoint_ids:
            return [""]
        if set(wanted.states) == {State.DELIVERED}:
            return [_DELIVERED]
        if _is_none_delivered(wanted):
            return [_NOT_DELIVERED]
        return [_DELIVERED, _NOT_DELIVERED]

    def _pairs(self) -> str:
        states = [state for state in _FAILED_STATES if not self._wanted.states or state in self._wanted.states]
        pairs = [(state, reason) for state in states for reason in self._wanted.reasons or Reason]
        of_states = self._bind([state.value for state, _ in pairs], "::text[]")
        of_reasons = self._bind([reason.value for _, reason in pairs], "::text[]")
        return f"SELECT * FROM unnest({of_states}, {of_reasons}) AS pair (state, reason)"  # noqa: S608 - constants

    def _statuses(self) -> str:
        """The wanted statuses other than 200 that occur; of each range, found one after the other in the index."""
        bind, owner = self._bind, f"organization_id = {self._bind(self._wanted.organization_id)}"
        parts = [
            f"SELECT last_status FROM ({_walk_distinct('last_status', _FINAL, conditions)}) AS of_range"  # noqa: S608
            for low, high in self._wanted.statuses
            for conditions in [
                [owner, "last_status <> 200", f"last_status >= {bind(low)}", f"last_status <= {bind(high)}"]
            ]
        ]
        return " UNION ".join(parts)

    def _types(self, owner: str, half: str) -> str:
        """The event types that occur: one index probe for each, however many rows it has."""
        conditions = [owner, half]
        if self._wanted.organization_id is not None:
            conditions.append(f" AND organization_id = {self._bind(self._wanted.organization_id)}")
        first, last = self._first, self._until
        if self._walk.beside is not None:
            if self._walk.is_descending:
                last = self._walk.beside.event_uid
            else:
                first = self._walk.beside.event_uid
        found = [each.removeprefix(" AND ") for each in conditions if each]
        return walk_types(_FINAL, [*found, *_whole_days(self._bind, first, last)])


def _for_each(drivers: str, newest: str) -> str:
    """The newest rows of each driver; the caller merges and sorts them."""
    return f"SELECT newest.* FROM ({drivers}) AS each, LATERAL ({newest}) AS newest"  # noqa: S608 - constants


def walk_types(table: str, conditions: Sequence[str]) -> str:
    """SQL that finds the distinct ``event_type``s of a table by skipping through an index from type to type."""
    return _walk_distinct("event_type", table, conditions)


def _walk_distinct(column: str, table: str, conditions: Sequence[str]) -> str:
    first = f"SELECT min({column}) FROM {table} WHERE {' AND '.join(conditions)}"  # noqa: S608 - constants
    return f"""
    WITH RECURSIVE walk ({column}) AS (
        ({first}) UNION ALL
        SELECT ({first} AND {column} > walk.{column}) FROM walk WHERE walk.{column} IS NOT NULL
    ) SELECT {column} FROM walk WHERE {column} IS NOT NULL"""  # noqa: S608 - constants


def _whole_days(bind: _Arguments, since: UUID | None, until: UUID | None) -> list[str]:
    """Conditions that exclude whole days only: within a day, the walk would have to read the unwanted rows."""
    first, last = day_of(since) if since else None, day_of(until) if until else None
    found = [f"event_uid >= {bind(first[0], '::uuid')}"] if first else []
    return [*found, f"event_uid <= {bind(last[1], '::uuid')}"] if last else found
