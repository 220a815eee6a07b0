"""Effects in PostgreSQL: what settling does beyond the deliveries themselves."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import assert_never

import asyncpg

from service.adapters.postgres.deliveries import statements
from service.adapters.postgres.deliveries.limits import free_places
from service.adapters.postgres.deliveries.lines import advance_lines
from service.adapters.postgres.deliveries.rows import columns
from service.adapters.postgres.endpoints.gates.breakers import count_outcomes, lock_breakers
from service.adapters.postgres.endpoints.removal import audit_gone, cancel_pending, remove_subscriptions
from service.adapters.postgres.endpoints.version import lock_directory
from service.adapters.postgres.events.announcements import announce
from service.core.deliveries.effect import (
    AdvanceLine,
    Announce,
    BringForward,
    CountFailure,
    Effect,
    EndSubscription,
    FreePlace,
    ShutGate,
)
from service.core.deliveries.settlement import Accept, Settled
from service.core.endpoints.gates.breaker import BreakerLimits
from service.core.endpoints.view import RemovalReason
from service.core.events.event import Event
from service.core.reason import Reason


@dataclass(slots=True)
class _Sorted:
    """The effects of a batch, by kind."""

    ended: list[EndSubscription] = field(default_factory=list)
    shut: list[tuple[str, str, float]] = field(default_factory=list)
    forward: Counter[str] = field(default_factory=Counter)
    freed: list[FreePlace] = field(default_factory=list)
    announced: list[Event] = field(default_factory=list)
    advanced: list[AdvanceLine] = field(default_factory=list)


async def obey(
    connection: asyncpg.Connection, batch: Sequence[Settled], moved: Sequence[bool], breaker: BreakerLimits
) -> None:
    """Apply the effects, in the transaction that settles. ``moved``: which of the deliveries it has moved.

    Changes made by people lock an organization, then the breaker of an endpoint, then its gates, then its limits. One
    order of locks prevents deadlocks, so subscriptions come first: ending one locks its organization. Lines come last:
    claims leave them alone meanwhile.
    """
    wanted = _sort(batch, moved)
    outcomes = _outcomes(batch, moved)
    locked = await _lock(connection, batch, wanted, outcomes)
    if wanted.ended:
        wanted.announced += await _end(connection, wanted.ended)
    if locked:
        await count_outcomes(connection, outcomes, locked, breaker)
    if wanted.shut:
        await connection.execute(statements.SHUT_GATES, *columns(wanted.shut, 3))
    if wanted.forward:
        await connection.execute(statements.BRING_FORWARD, list(wanted.forward), list(wanted.forward.values()))
    if wanted.freed:
        await free_places(connection, wanted.freed)
    if wanted.announced:
        await announce(connection, wanted.announced)
    if wanted.advanced:
        await advance_lines(connection, wanted.advanced)


def _sort(batch: Sequence[Settled], moved: Sequence[bool]) -> _Sorted:
    wanted = _Sorted()
    for effect, has_moved in _effects(batch, moved):
        match effect:
            case EndSubscription():
                wanted.ended.append(effect)
            case CountFailure():
                pass  # with the successes, in order: ``_outcomes``
            case ShutGate():
                wanted.shut.append((effect.endpoint_id, effect.kind.value, effect.seconds))
            case BringForward():
                wanted.forward[effect.endpoint_id] += effect.count
            case FreePlace():
                wanted.freed.append(effect)
            case Announce():
                wanted.announced += [effect.event] * has_moved
            case AdvanceLine():
                wanted.advanced.append(effect)
            case _:
                assert_never(effect)
    return wanted


def _outcomes(batch: Sequence[Settled], moved: Sequence[bool]) -> Mapping[str, Sequence[CountFailure | None]]:
    """For each endpoint that failed in this batch: its failures in order, and None for each success among them."""
    found: dict[str, list[CountFailure | None]] = {
        effect.endpoint_id: [] for effect, _ in _effects(batch, moved) if isinstance(effect, CountFailure)
    }
    for each, has_moved in zip(batch, moved, strict=True):
        outcomes = found.get(each.delivery.endpoint_id)
        if outcomes is not None:
            outcomes += [effect for effect in each.effects if isinstance(effect, CountFailure)]
            if has_moved and isinstance(each.settlement, Accept):
                outcomes.append(None)
    return found


async def _lock(
    connection: asyncpg.Connection,
    batch: Sequence[Settled],
    wanted: _Sorted,
    outcomes: Mapping[str, Sequence[CountFailure | None]],
) -> Mapping[str, asyncpg.Record]:
    """Lock all that failures need, each kind in one sorted statement; returns the breakers.

    What an effect would lock later, out of order, is locked here: the organizations and breakers of endpoints that may
    end, and the rows of limits.
    """
    if not outcomes:
        return {}
    ending = [each.delivery for each in batch if any(isinstance(one, EndSubscription) for one in each.effects)]
    for organization_id in sorted({each.organization_id for each in ending}):
        await lock_directory(connection, organization_id)
    locked = await lock_breakers(connection, {*outcomes, *(each.endpoint_id for each in ending)})
    limited = {*locked, *(each.endpoint_id for each in wanted.freed)}
    await connection.execute(
        "SELECT FROM endpoint_limits WHERE endpoint_id = ANY ($1) ORDER BY endpoint_id FOR UPDATE", list(limited)
    )
    return locked


def _effects(batch: Sequence[Settled], moved: Sequence[bool]) -> Iterator[tuple[Effect, bool]]:
    return ((effect, has_moved) for each, has_moved in zip(batch, moved, strict=True) for effect in each.effects)


async def _end(connection: asyncpg.Connection, ended: Sequence[EndSubscription]) -> Iterable[Event]:
    """End subscriptions; what there is to announce of those that have ended by this."""
    ids = [each.subscription_id for each in ended]
    urls = [each.leading_to for each in ended]
    removed = await remove_subscriptions(connection, ids, because=RemovalReason.GONE, leading_to=urls)
    await cancel_pending(connection, removed, Reason.GONE)
    if removed:
        await audit_gone(connection, removed)
    told = {each.subscription_id: each.announced for each in ended}  # one each, however many were answered with 410
    return [event for each in removed if (event := told[each]) is not None]
