"""Sealed signing secrets of an endpoint, written inside the caller's transaction, which has locked the directory."""

import hmac
import secrets
from base64 import b64encode
from collections.abc import Sequence
from datetime import datetime, timedelta

import asyncpg

from service.adapters.postgres.endpoints.ids import new_id
from service.core.endpoints.signing.signing import Signing
from service.core.endpoints.view import NewSecret
from service.ports.errors import SecretUnopenableError
from service.ports.secrets import SecretBox
from webhook_signature.ed25519 import PRIVATE_PREFIX, decode_key
from webhook_signature.sign import SECRET_PREFIX
from webhook_signature.styles import STYLES


def new_secret(style: str) -> str:
    """A new signing secret: 32 random bytes in base64 after ``whsec_``, or as the private one of a pair of keys."""
    prefix = PRIVATE_PREFIX if STYLES[style].has_key_pair else SECRET_PREFIX
    return prefix + b64encode(secrets.token_bytes(32)).decode()


async def insert_secret(
    connection: asyncpg.Connection,
    secret_box: SecretBox,
    organization_id: str,
    endpoint_id: str,
    style: str,
    secret: str | None,
) -> NewSecret:
    """Add a secret to the endpoint, which signs in this style (None: a random one). Returns what may be shown."""
    text = secret or new_secret(style)
    public_key = decode_key(text).public_text if STYLES[style].has_key_pair else None
    secret_id = new_id("sec")
    sealed = secret_box.seal(text, organization_id=organization_id, endpoint_id=endpoint_id, secret_id=secret_id)
    await connection.execute(
        """INSERT INTO endpoint_secrets (id, organization_id, endpoint_id, sealed, hint, public_key, created_at)
           VALUES ($1, $2, $3, $4, $5, $6, clock_timestamp())""",
        secret_id,
        organization_id,
        endpoint_id,
        sealed,
        (public_key or text)[-4:],
        public_key,
    )
    return NewSecret(text) if public_key is None else NewSecret(None, public_key)


async def keep_style(connection: asyncpg.Connection, organization_id: str, endpoint_id: str, signing: Signing) -> None:
    """The endpoint leaves this style, but the secrets that sign in it do not."""
    await connection.execute(
        """UPDATE endpoint_secrets SET signature_style = $3, signature_header = $4
            WHERE organization_id = $1 AND endpoint_id = $2 AND signature_style IS NULL""",
        organization_id,
        endpoint_id,
        signing.style,
        signing.header,
    )


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


async def end_overlap(connection: asyncpg.Connection, organization_id: str, endpoint_id: str) -> None:
    """Delete the endpoint's secrets that were to expire: what signs alone now has no end."""
    await connection.execute(
        "DELETE FROM endpoint_secrets WHERE organization_id = $1 AND endpoint_id = $2 AND expires_at IS NOT NULL",
        organization_id,
        endpoint_id,
    )


async def leave_style(
    connection: asyncpg.Connection,
    secret_box: SecretBox,
    organization_id: str,
    endpoint_id: str,
    left: Signing,
    into: str,
    overlap: timedelta,
) -> NewSecret:
    """Add a secret in the style ``into``; the others sign in the one that is left, for ``overlap``."""
    await keep_style(connection, organization_id, endpoint_id, left)
    await end_secrets(connection, organization_id, endpoint_id, overlap)
    return await insert_secret(connection, secret_box, organization_id, endpoint_id, into, None)


async def open_secrets(
    connection: asyncpg.Connection, secret_box: SecretBox, organization_id: str, endpoint_id: str, *, are_former: bool
) -> Sequence[str | None]:
    """The secrets that the endpoint signs with now, newest first; None for each that cannot be unsealed.

    ``are_former``: those that keep a style which the endpoint has left, or all others.
    """
    rows = await connection.fetch(
        """SELECT id, sealed FROM endpoint_secrets
            WHERE organization_id = $1 AND endpoint_id = $2 AND coalesce(expires_at > now(), true)
              AND (signature_style IS NOT NULL) = $3
            ORDER BY created_at DESC, id""",
        organization_id,
        endpoint_id,
        are_former,
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


async def has_secret(
    connection: asyncpg.Connection,
    secret_box: SecretBox,
    organization_id: str,
    endpoint_id: str,
    secret: str,
    *,
    is_former: bool,
) -> bool:
    """Whether the endpoint signs with this secret, in its own style, or in one that it has left (``is_former``)."""
    return is_among(
        secret, await open_secrets(connection, secret_box, organization_id, endpoint_id, are_former=is_former)
    )


def is_among(secret: str, known: Sequence[str | None]) -> bool:
    """Whether it is one of these; None is one that could not be unsealed."""
    return any(each is not None and hmac.compare_digest(each.encode(), secret.encode()) for each in known)
