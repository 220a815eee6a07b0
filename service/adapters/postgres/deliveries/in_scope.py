"""The list of a brand's, campaign's or project's deliveries.

Only events know what they belong to: a column and three indexes more would cost each delivery, which is written twice.
So either the scope's events are read in order, with their deliveries; or, if only failures are wanted, the
organization's failures, with what their events belong to. Either way many may be read to find a few. A page ends when
enough were read, and the list goes on from there.
"""

from dataclasses import replace
from typing import Final
from uuid import UUID

import asyncpg

from service.adapters.postgres.deliveries.list import are_only_failures, candidates_statement, list_statement
from service.adapters.postgres.deliveries.rows import key_of
from service.adapters.postgres.events.in_scope import are_in_scope, uids_in_scope
from service.core.deliveries.delivery import DeliveryKey
from service.core.deliveries.view import DeliveryFilter
from service.core.events.scope import ScopeWanted
from service.core.walk import Stretch, Walk

EVENTS_MAX: Final = 500
"""As many events are read for a page."""
CANDIDATES_MAX: Final = 1_000
"""As many of their deliveries are."""
FAILURES_MAX: Final = 500
"""As many failures are, of which each is looked for in several places."""

_LAST_UID: Final = 2**128 - 1
_LAST_SUBSCRIPTION: Final = 10**18 - 1  # as far as a delivery's id can spell it
_LAST_REPLAY: Final = 10**9 - 1


async def list_in_scope(
    connection: asyncpg.Connection, wanted: DeliveryFilter, scope: ScopeWanted, walk: Walk[DeliveryKey]
) -> Stretch[asyncpg.Record, DeliveryKey]:
    """A page of the scope's deliveries. ``wanted`` has an organization."""
    if are_only_failures(wanted):
        return await _among_failures(connection, wanted, scope, walk)
    return await _of_events(connection, wanted, scope, walk)


async def _of_events(
    connection: asyncpg.Connection, wanted: DeliveryFilter, scope: ScopeWanted, walk: Walk[DeliveryKey]
) -> Stretch[asyncpg.Record, DeliveryKey]:
    """Read the scope's events, and their deliveries."""
    events = await uids_in_scope(
        connection,
        wanted.organization_id or "",
        scope,
        wanted.event_types,
        (wanted.since, wanted.until),
        _walk_of_events(walk),
    )
    is_filtered = wanted.states or wanted.statuses or wanted.reasons or wanted.endpoint_ids
    count_max = CANDIDATES_MAX if is_filtered else walk.limit
    statement = candidates_statement(wanted, replace(walk, limit=count_max), events.rows)
    candidates = await connection.fetch(statement.text, *statement.arguments)
    found = [row for row in candidates if row["is_wanted"]][: walk.limit]
    if len(found) == walk.limit:
        return Stretch(found)
    if len(candidates) == count_max:
        return Stretch(found, key_of(candidates[-1]))
    return Stretch(found, _past(events.reached, walk) if events.reached is not None else None)


async def _among_failures(
    connection: asyncpg.Connection, wanted: DeliveryFilter, scope: ScopeWanted, walk: Walk[DeliveryKey]
) -> Stretch[asyncpg.Record, DeliveryKey]:
    """Read the organization's failures, and which of their events belong to the scope."""
    statement = list_statement(wanted, replace(walk, limit=FAILURES_MAX))
    failures = await connection.fetch(statement.text, *statement.arguments)
    inside = await are_in_scope(connection, scope, {row["event_uid"] for row in failures})
    found = [row for row in failures if row["event_uid"] in inside][: walk.limit]
    has_reached_its_end = len(found) < walk.limit and len(failures) == FAILURES_MAX
    return Stretch(found, key_of(failures[-1]) if has_reached_its_end else None)


def _walk_of_events(walk: Walk[DeliveryKey]) -> Walk[UUID]:
    """The events whose deliveries lie on the walk: that of the key beside it may have more of them."""
    if walk.beside is None:
        return Walk(EVENTS_MAX, None, walk.is_descending)
    uid = walk.beside.event_uid.int + (1 if walk.is_descending else -1)
    return Walk(EVENTS_MAX, UUID(int=min(max(uid, 0), _LAST_UID)), walk.is_descending)


def _past(uid: UUID, walk: Walk[DeliveryKey]) -> DeliveryKey:
    """The last key that a delivery of the event can have."""
    return DeliveryKey(uid, 1) if walk.is_descending else DeliveryKey(uid, _LAST_SUBSCRIPTION, _LAST_REPLAY)
