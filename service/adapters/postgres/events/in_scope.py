"""Which events belong to a brand, a campaign or a project."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

import asyncpg

from service.adapters.postgres.both_ways import both_ways
from service.adapters.postgres.deliveries.list import OF_EACH_TYPE, walk_types
from service.core.events.registry import REGISTRY
from service.core.events.scope import ScopeName, ScopeWanted
from service.core.events.uid import day_of, first_uid_from
from service.core.walk import Stretch, Walk

CUT_MIN: Final = 10
"""At least so many uids are read of each brand, campaign or project, and each type."""

# $6 the ids; $7 the types, or $7 and $8 the first and last uid of the days in which the types are looked for.
_EACH: Final = "SELECT wanted.id, event_type FROM unnest($6::text[]) AS wanted (id), LATERAL ({types}) AS types"
_GIVEN: Final = "SELECT unnest($7::text[]) AS event_type"


def drivers_of(name: ScopeName, *, has_types: bool) -> str:
    """SQL for each brand, campaign or project in $6 with each event type: those in $7, or those that occur."""
    occurring = walk_types("events", ["organization_id = $1", f"{name} = wanted.id", "uid >= $7", "uid <= $8"])
    return _EACH.format(types=_GIVEN if has_types else occurring)


def in_scope(name: ScopeName) -> str:
    """The condition that an event is of one of ``drivers_of``, which is ``each``."""
    return f"{name} = each.id AND {OF_EACH_TYPE}"


def arguments_of(scope: ScopeWanted, types: Sequence[str], first: UUID, last: UUID) -> Sequence[object]:
    """The values of ``drivers_of``, from $6 on."""
    return [list(scope.ids), list(types)] if types else [list(scope.ids), day_of(first)[0], day_of(last)[1]]


# $1 organization, $2 and $3 the first and last uid, $4 the limit, $5 how many are read of each. The last one that was
# read of each is marked: whether what follows it is the next, only reading on would tell.
_UIDS: Final = {
    (name, has_types): both_ways(
        f"""SELECT uid, is_cut FROM ({drivers_of(name, has_types=has_types)}) AS each, LATERAL (
       SELECT uid, row_number() OVER () = $5::int AS is_cut FROM (
           SELECT uid FROM events WHERE organization_id = $1 AND {in_scope(name)} AND uid >= $2 AND uid <= $3
            ORDER BY uid DESC LIMIT $5::int) AS newest) AS of_each
 ORDER BY uid DESC LIMIT $4::int"""  # noqa: S608 - constants only
    )
    for name in ScopeName
    for has_types in (True, False)
}
_INSIDE: Final[Mapping[ScopeName, str]] = {
    name: f"SELECT uid FROM events WHERE uid = ANY ($1::uuid[]) AND {name} = ANY ($2::text[])"  # noqa: S608 - constants
    for name in ScopeName
}

_LAST_UID: Final = 2**128 - 1


async def uids_in_scope(
    connection: asyncpg.Connection,
    organization_id: str,
    scope: ScopeWanted,
    types: Sequence[str],
    times: tuple[datetime | None, datetime | None],
    walk: Walk[UUID],
) -> Stretch[UUID, UUID]:
    """The uids of a page of the scope's events, of these types (none: of any)."""
    first, last = bounds_of(*times, walk)
    # Of each as many as its share, so that many of them cost no more than one.
    share = max(CUT_MIN, 2 * walk.limit // (len(scope.ids) * len(types or REGISTRY)))
    rows = await connection.fetch(
        _UIDS[scope.name, bool(types)][walk.is_descending],
        *(organization_id, first, last, walk.limit, min(share, walk.limit)),
        *arguments_of(scope, types, first, last),
    )
    cut = next((index for index, row in enumerate(rows) if row["is_cut"]), None)
    uids = [row["uid"] for row in rows][: None if cut is None else cut + 1]
    return Stretch(uids, uids[-1] if cut is not None or len(uids) == walk.limit else None)


async def are_in_scope(connection: asyncpg.Connection, scope: ScopeWanted, uids: Collection[UUID]) -> frozenset[UUID]:
    """Those of the events that belong to the scope."""
    rows = await connection.fetch(_INSIDE[scope.name], list(uids), list(scope.ids))
    return frozenset(row["uid"] for row in rows)


def bounds_of(since: datetime | None, until: datetime | None, walk: Walk[UUID]) -> tuple[UUID, UUID]:
    """The first and the last uid of a page."""
    first = first_uid_from(since).int if since is not None else 0
    last = first_uid_from(until).int - 1 if until is not None else _LAST_UID
    if walk.beside is not None:
        if walk.is_descending:
            last = min(last, walk.beside.int - 1)
        else:
            first = max(first, walk.beside.int + 1)
    return UUID(int=min(first, _LAST_UID)), UUID(int=max(0, last))
