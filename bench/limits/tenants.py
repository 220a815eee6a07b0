"""Organizations in bulk: thousands of endpoints in a few statements, stored as the service stores them."""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass

import asyncpg

from bench.publisher import EVENT_TYPE
from service.ports.secrets import SecretBox


@dataclass(frozen=True, slots=True)
class Organization:
    """An organization, and the URLs of its endpoints."""

    id: str
    urls: Sequence[str]


async def add_organizations(
    database_url: str, secret_box: SecretBox, organizations: Sequence[Organization], event_type: str = EVENT_TYPE
) -> None:
    """Store organizations with their endpoints, each with a secret and a subscription to the event type."""
    endpoints, keys, subscriptions = [], [], []
    for organization in organizations:
        for url in organization.urls:
            endpoint_id, secret_id = f"ep_{secrets.token_hex(8)}", f"sec_{secrets.token_hex(8)}"
            row = {"organization_id": organization.id, "endpoint_id": endpoint_id, "secret_id": secret_id}
            endpoints.append((endpoint_id, organization.id, url))
            keys.append((secret_id, organization.id, endpoint_id, secret_box.seal(_secret(), **row), "aaaa"))
            subscriptions.append((organization.id, endpoint_id, event_type, url))
    connection = await asyncpg.connect(database_url)
    try:
        async with connection.transaction():
            added = "INSERT INTO organizations (id) SELECT unnest($1::text[]) ON CONFLICT DO NOTHING"
            await connection.execute(added, [each.id for each in organizations])
            for table, columns, rows in (
                ("endpoints", ("id", "organization_id", "url"), endpoints),
                ("endpoint_secrets", ("id", "organization_id", "endpoint_id", "sealed", "hint"), keys),
                ("subscriptions", ("organization_id", "endpoint_id", "event_type", "target_url"), subscriptions),
            ):
                await connection.copy_records_to_table(table, columns=columns, records=rows)
        await connection.execute("ANALYZE organizations, endpoints, endpoint_secrets, subscriptions")
    finally:
        await connection.close()


def _secret() -> str:
    return "whsec_" + "A" * 43 + "="
