"""Sealed signing secrets of an endpoint, written inside the caller's transaction, which has locked the directory."""

import secrets
from base64 import b64encode
from collections.abc import Sequence
from datetime import datetime, timedelta

import asyncpg

from service.adapters.postgres.endpoints.ids import new_id
from service.ports.errors import SecretUnopenableError
from service.ports.secrets import SecretBox


def new_secret() -> str:
    """A new signing secret: ``whsec_`` and 32 random bytes in base64."""
    return "whsec_" + b64encode(secrets.token_bytes(32)).decode()


async def insert_secret(
    connection: asyncpg.Connection, secret_box: SecretBox, organization_id: str, endpoint_id: str, secret: str | None
) -> str:
    """Add a secret to the endpoint (None: a random one). Returns its text, to be shown once."""
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
    """Expire the endpoint's secrets after ``overlap``, unless they expire earlier; returns when the last one expires.

    Without an overlap they are deleted, as are expired ones: a sealed secret that is not needed is only a risk.
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


async def open_secrets(
    connection: asyncpg.Connection, secret_box: SecretBox, organization_id: str, endpoint_id: str
) -> Sequence[str | None]:
    """The secrets that the endpoint signs with now; None for each that cannot be unsealed."""
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
