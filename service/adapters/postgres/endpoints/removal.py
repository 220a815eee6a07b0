"""Ending subscriptions, whether on request, because of a receiver's 410, or as their endpoint has expired."""

from collections.abc import Sequence

import asyncpg

from service.adapters.postgres.audit.log import audit
from service.adapters.postgres.deliveries.lines import shake_lines
from service.adapters.postgres.endpoints.gates.breakers import forget_breakers
from service.adapters.postgres.endpoints.version import bump_directory
from service.core.audit.actor import POSTHORN
from service.core.endpoints.gates.gate import OPENED_BY_PEOPLE
from service.core.endpoints.view import EndpointState, RemovalReason
from service.core.reason import Reason

CANCELLED_MAX = 10_000


async def remove_subscriptions(
    connection: asyncpg.Connection,
    subscription_ids: Sequence[int],
    *,
    because: RemovalReason,
    leading_to: Sequence[str | None] | None = None,
) -> Sequence[int]:
    """End these subscriptions, and the endpoints that have none left; returns the ids that were still active.

    ``leading_to`` has a URL, as stored, for each (None: any): a subscription whose URL has changed stays.
    """
    owners = await connection.fetch(
        "SELECT DISTINCT organization_id FROM subscriptions WHERE id = ANY ($1) AND removed_at IS NULL ORDER BY 1",
        subscription_ids,
    )
    for owner in owners:  # before anything else, and in order: adding to one of these endpoints takes the same lock
        await bump_directory(connection, [owner["organization_id"]])
    rows = await connection.fetch(
        """UPDATE subscriptions s SET removed_at = now(), removed_because = $2
            WHERE id = ANY ($1) AND removed_at IS NULL AND EXISTS (
                SELECT FROM unnest($1::bigint[], $3::text[]) AS wanted (id, url)
                 WHERE wanted.id = s.id AND coalesce(wanted.url = s.target_url, true))
           RETURNING id, organization_id, endpoint_id""",
        subscription_ids,
        because,
        leading_to or [None] * len(subscription_ids),
    )
    if rows:
        await _end_endpoints(connection, sorted({row["endpoint_id"] for row in rows}))
    return [row["id"] for row in rows]


async def _end_endpoints(connection: asyncpg.Connection, endpoint_ids: Sequence[str]) -> None:
    """End those of these endpoints that have no subscription left.

    A gate left behind would keep the remaining deliveries from being claimed, which is when they are cancelled; a limit
    left behind would slow that down.
    """
    rows = await connection.fetch(
        """UPDATE endpoints SET removed_at = now()
            WHERE id = ANY ($1) AND removed_at IS NULL AND NOT EXISTS (
                SELECT FROM subscriptions s WHERE s.endpoint_id = endpoints.id AND s.removed_at IS NULL)
           RETURNING id""",
        endpoint_ids,
    )
    ended = [row["id"] for row in rows]
    if ended:
        await forget_breakers(connection, ended)
        await connection.execute(
            "DELETE FROM gates WHERE endpoint_id = ANY ($1) AND kind = ANY ($2)", ended, list(OPENED_BY_PEOPLE)
        )
        await connection.execute("DELETE FROM endpoint_limits WHERE endpoint_id = ANY ($1)", ended)


async def end_subscriptions(
    connection: asyncpg.Connection, organization_id: str, endpoint_id: str, *, but_for: Sequence[str] = ()
) -> None:
    """End the endpoint's subscriptions and cancel their pending deliveries."""
    unwanted = await connection.fetch(
        """SELECT id FROM subscriptions WHERE organization_id = $1 AND endpoint_id = $2
              AND removed_at IS NULL AND event_type <> ALL ($3) ORDER BY id""",
        organization_id,
        endpoint_id,
        list(but_for),
    )
    removed = await remove_subscriptions(connection, [row["id"] for row in unwanted], because=RemovalReason.DELETED)
    await cancel_pending(connection, removed, Reason.SUBSCRIPTION_DELETED)


async def delete_ended(connection: asyncpg.Connection, organization_id: str, endpoint_id: str) -> None:
    """Turn an endpoint that has ended by itself, if it has, into one that was deleted: it is listed no longer."""
    await connection.execute(
        """UPDATE subscriptions s SET removed_because = $3 FROM endpoints e
            WHERE e.organization_id = $1 AND e.id = $2 AND s.organization_id = $1 AND s.endpoint_id = $2
              AND s.removed_at = e.removed_at AND s.removed_because <> $3""",
        organization_id,
        endpoint_id,
        RemovalReason.DELETED,
    )


async def audit_gone(connection: asyncpg.Connection, subscription_ids: Sequence[int]) -> None:
    """Enter in the audit log that these subscriptions have just ended because of a 410."""
    rows = await connection.fetch(
        """SELECT e.organization_id, e.id, e.removed_at IS NOT NULL AS has_ended,
                  array_agg(s.event_type ORDER BY s.id) AS event_types
             FROM subscriptions s JOIN endpoints e ON e.id = s.endpoint_id
            WHERE s.id = ANY ($1) GROUP BY e.id ORDER BY e.id""",
        subscription_ids,
    )
    for row in rows:
        state = EndpointState.GONE if row["has_ended"] else EndpointState.ACTIVE
        after = {"state": state, "ended_event_types": row["event_types"]}
        await audit(connection, POSTHORN, "endpoint.gone", row["organization_id"], row["id"], after=after)


async def cancel_pending(connection: asyncpg.Connection, subscription_ids: Sequence[int], reason: Reason) -> None:
    """Cancel the pending deliveries of these subscriptions, at most ``CANCELLED_MAX``.

    The rest, and those leased now, are cancelled when next claimed, so that no transaction grows with a backlog.
    """
    await connection.execute(
        """WITH ended AS (
               DELETE FROM open_deliveries WHERE ctid = ANY (ARRAY(
                   SELECT ctid FROM open_deliveries
                    WHERE state = 'pending' AND subscription_id = ANY ($1)
                      AND endpoint_id IN (SELECT endpoint_id FROM subscriptions WHERE id = ANY ($1))
                    LIMIT $3 FOR UPDATE SKIP LOCKED))
               RETURNING *
           ), gone AS (
               DELETE FROM ordered_deliveries s USING ended
                WHERE s.event_uid = ended.event_uid AND s.subscription_id = ended.subscription_id
                  AND s.replay_number = ended.replay_number)
           INSERT INTO final_deliveries (event_uid, subscription_id, replay_number, organization_id, endpoint_id,
                                         event_id, event_type, state, reason, last_status, created_at, claims_made,
                                         attempts_made)
           SELECT event_uid, subscription_id, replay_number, organization_id, endpoint_id,
                  event_id, event_type, 'cancelled', $2, last_status, created_at, claims_made, attempts_made
             FROM ended""",
        subscription_ids,
        reason.value,
        CANCELLED_MAX,
    )
    owners = "SELECT DISTINCT endpoint_id FROM subscriptions WHERE id = ANY ($1)"
    await shake_lines(connection, [row["endpoint_id"] for row in await connection.fetch(owners, subscription_ids)])
