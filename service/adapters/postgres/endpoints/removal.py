"""Ending subscriptions, whether because of a receiver's 410 or on request."""

from collections.abc import Sequence

import asyncpg

from service.adapters.postgres.endpoints.version import bump_directory
from service.core.endpoints.view import RemovalReason
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

    ``leading_to`` has a URL for each (None: any): a subscription whose URL has changed stays.
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
        # A gate left behind would keep the remaining deliveries from being claimed, which is when they are cancelled.
        await connection.execute(
            """WITH ended AS (
                   UPDATE endpoints SET removed_at = now()
                    WHERE id = ANY ($1) AND removed_at IS NULL AND NOT EXISTS (
                        SELECT FROM subscriptions s WHERE s.endpoint_id = endpoints.id AND s.removed_at IS NULL)
                   RETURNING id)
               DELETE FROM gates WHERE kind = 'paused' AND endpoint_id IN (SELECT id FROM ended)""",
            [row["endpoint_id"] for row in rows],
        )
    return [row["id"] for row in rows]


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
               RETURNING *)
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
