"""Rows of an endpoint: the endpoint itself, its secrets, its subscriptions. Written inside the caller's transaction.

The caller has called ``removal.bump_directory`` before anything here: its row lock puts the writers of one
organization in line, so none of them needs to expect a race.
"""

import secrets
from base64 import b64encode
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta

import asyncpg

from service.core.endpoints.refusals import SecretMisfitError
from service.ports.errors import SecretUnopenableError
from service.ports.secrets import SecretBox
from webhook_signature import VerificationError
from webhook_signature.styles import style_named

# Crockford's alphabet in lower case: no letter that can be mistaken for a digit.
_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"


def new_id(prefix: str) -> str:
    """A random id such as ``ep_7k2m9x4c1v8b3n6h`` (80 bits)."""
    return f"{prefix}_{''.join(secrets.choice(_ALPHABET) for _ in range(16))}"


def new_secret() -> str:
    """A fresh signing secret: ``whsec_`` and 32 random bytes in base64."""
    return "whsec_" + b64encode(secrets.token_bytes(32)).decode()


async def find_or_insert_endpoint(
    connection: asyncpg.Connection, secret_box: SecretBox, organization_id: str, url: str, secret: str | None
) -> tuple[str, str | None]:
    """The id of the organization's endpoint with this URL, made if there is none; and the secret of one just made.

    ``secret`` is what a new endpoint signs with (None: a random one). An endpoint that exists keeps its own, and None
    is told of it.
    """
    found = await connection.fetchval(
        "SELECT id FROM endpoints WHERE organization_id = $1 AND url = $2 AND removed_at IS NULL", organization_id, url
    )
    if found is not None:
        return found, None
    endpoint_id = new_id("ep")
    await connection.execute(
        "INSERT INTO endpoints (id, organization_id, url) VALUES ($1, $2, $3)", endpoint_id, organization_id, url
    )
    return endpoint_id, await insert_secret(connection, secret_box, organization_id, endpoint_id, secret)


async def insert_secret(
    connection: asyncpg.Connection, secret_box: SecretBox, organization_id: str, endpoint_id: str, secret: str | None
) -> str:
    """Give the endpoint one more secret (None: a random one); its text, which is told this once."""
    text = secret or new_secret()
    secret_id = new_id("sec")
    sealed = secret_box.seal(text, organization_id=organization_id, endpoint_id=endpoint_id, secret_id=secret_id)
    await connection.execute(
        """INSERT INTO endpoint_secrets (id, organization_id, endpoint_id, sealed, hint, created_at)
           VALUES ($1, $2, $3, $4, $5, clock_timestamp())""",
        secret_id,
        organization_id,
        endpoint_id,
        sealed,
        text[-4:],
    )
    return text


async def end_secrets(
    connection: asyncpg.Connection, organization_id: str, endpoint_id: str, overlap: timedelta
) -> datetime | None:
    """End the endpoint's secrets after ``overlap``, or sooner where that was said before; when the last of them ends.

    Without an overlap they are deleted, as are those that have ended: a sealed text nobody needs is only a risk.
    """
    await connection.execute(
        """DELETE FROM endpoint_secrets
            WHERE organization_id = $1 AND endpoint_id = $2 AND ($3 OR expires_at <= now())""",
        organization_id,
        endpoint_id,
        not overlap,
    )
    ending = await connection.fetch(
        """UPDATE endpoint_secrets SET expires_at = least(expires_at, clock_timestamp() + $3)
            WHERE organization_id = $1 AND endpoint_id = $2 RETURNING expires_at""",
        organization_id,
        endpoint_id,
        overlap,
    )
    return max((row["expires_at"] for row in ending), default=None)


async def require_fitting_secrets(
    connection: asyncpg.Connection, secret_box: SecretBox, organization_id: str, endpoint_id: str, style: str
) -> None:
    """See that the endpoint's secrets can sign in ``style``. Raises ``SecretMisfitError``."""
    for text in await open_secrets(connection, secret_box, organization_id, endpoint_id):
        try:
            style_named(style).decode_secret(text or "")
        except VerificationError:
            raise SecretMisfitError(style) from None


async def open_secrets(
    connection: asyncpg.Connection, secret_box: SecretBox, organization_id: str, endpoint_id: str
) -> Sequence[str | None]:
    """The secrets that the endpoint signs with now; None for one that cannot be opened."""
    rows = await connection.fetch(
        """SELECT id, sealed FROM endpoint_secrets
            WHERE organization_id = $1 AND endpoint_id = $2 AND coalesce(expires_at > now(), true)""",
        organization_id,
        endpoint_id,
    )
    opened: list[str | None] = []
    for secret_id, sealed in rows:
        try:
            text = secret_box.open(
                sealed, organization_id=organization_id, endpoint_id=endpoint_id, secret_id=secret_id
            )
        except SecretUnopenableError:
            opened.append(None)
        else:
            opened.append(text)
    return opened


async def insert_subscriptions(
    connection: asyncpg.Connection, organization_id: str, endpoint_id: str, url: str, event_types: Collection[str]
) -> None:
    """Subscribe the endpoint, whose URL is ``url``, to these event types; those it has already stay as they are."""
    await connection.execute(
        """INSERT INTO subscriptions (organization_id, endpoint_id, event_type, target_url)
           SELECT $1, $2, event_type, $3 FROM unnest($4::text[]) AS event_type
               ON CONFLICT (organization_id, event_type, target_url) WHERE removed_at IS NULL DO NOTHING""",
        organization_id,
        endpoint_id,
        url,
        list(event_types),
    )


async def set_paused(
    connection: asyncpg.Connection, organization_id: str, endpoint_id: str, *, is_paused: bool
) -> bool:
    """Shut or open the endpoint's gate; what is so already stays. False when there is no such endpoint."""
    found = await connection.fetchval(
        """UPDATE endpoints SET is_paused = $3, updated_at = now()
            WHERE organization_id = $1 AND id = $2 AND removed_at IS NULL RETURNING true""",
        organization_id,
        endpoint_id,
        is_paused,
    )
    if not found:
        return False
    if is_paused:
        await connection.execute(
            "INSERT INTO gates (endpoint_id, kind, until) VALUES ($1, 'paused', 'infinity') ON CONFLICT DO NOTHING",
            endpoint_id,
        )
    else:
        await connection.execute("DELETE FROM gates WHERE endpoint_id = $1 AND kind = 'paused'", endpoint_id)
    return True
