"""Target URLs in the database: their queries are sealed (``core/endpoints/url.py`` says how).

An organization from before revision 0023 keeps them in clear until ``posthorn secrets rewrap`` has been run, which an
operator does once no process of an earlier release runs any more: such a process cannot read sealed ones.
"""

import secrets
from base64 import b64decode, b64encode
from collections.abc import Sequence
from typing import Final

import asyncpg

from service.core.endpoints.url import (
    SEALED_URL_ID,
    SEALED_URL_KEY_ID,
    URL_KEY_BYTES,
    has_query,
    is_sealed,
    masked_url,
    stored_url,
)
from service.ports.errors import SecretUnopenableError, UrlKeyUnopenableError
from service.ports.secrets import SecretBox

HAS_CLEAR_QUERY: Final = "{column} LIKE '%?_%' AND {column} NOT LIKE '%?#%'"
"""SQL: whether a stored URL has a query in clear."""


async def forms_of(
    connection: asyncpg.Connection, secret_box: SecretBox, organization_id: str, url: str
) -> Sequence[str]:
    """How the organization may have stored this URL: in clear, or sealed. Raises ``UrlKeyUnopenableError``."""
    if not has_query(url):
        return [url]
    sealed = await connection.fetchval("SELECT sealed_url_key FROM organizations WHERE id = $1", organization_id)
    return [url] if sealed is None else [url, stored_url(url, _open_key(secret_box, organization_id, sealed))]


async def find_by_url(
    connection: asyncpg.Connection, secret_box: SecretBox, organization_id: str, url: str
) -> str | None:
    """The id of the organization's endpoint with this URL; one that has expired is none.

    Raises ``UrlKeyUnopenableError``.
    """
    found: str | None = await connection.fetchval(
        """SELECT id FROM endpoints WHERE organization_id = $1 AND url = ANY ($2) AND removed_at IS NULL
              AND coalesce(valid_until > now(), true)""",
        organization_id,
        await forms_of(connection, secret_box, organization_id, url),
    )
    return found


async def url_to_store(
    connection: asyncpg.Connection, secret_box: SecretBox, organization_id: str, endpoint_id: str, url: str
) -> tuple[str, str | None]:
    """An endpoint's ``url`` and ``sealed_url``. The caller has locked the directory.

    Raises ``UrlKeyUnopenableError``.
    """
    key = await _key_to_store_with(connection, secret_box, organization_id) if has_query(url) else None
    if key is None:
        return url, None
    sealed = secret_box.seal(url, organization_id=organization_id, endpoint_id=endpoint_id, secret_id=SEALED_URL_ID)
    return stored_url(url, key), sealed


def shown_url(secret_box: SecretBox, organization_id: str, endpoint_id: str, stored: str, sealed: str | None) -> str:
    """The whole URL of an endpoint; masked if it cannot be decrypted."""
    if not is_sealed(stored):
        return stored
    try:
        return secret_box.open(
            sealed or "", organization_id=organization_id, endpoint_id=endpoint_id, secret_id=SEALED_URL_ID
        )
    except SecretUnopenableError:
        return masked_url(stored)


async def _key_to_store_with(
    connection: asyncpg.Connection, secret_box: SecretBox, organization_id: str
) -> bytes | None:
    """The key of the organization's digests, made when it is first needed; None as long as URLs stay in clear."""
    sealed, seals_urls = await connection.fetchrow(
        "SELECT sealed_url_key, seals_urls FROM organizations WHERE id = $1", organization_id
    )
    if not seals_urls:
        return None
    if sealed is not None:
        return _open_key(secret_box, organization_id, sealed)
    key = secrets.token_bytes(URL_KEY_BYTES)
    await connection.execute(
        "UPDATE organizations SET sealed_url_key = $2 WHERE id = $1",
        organization_id,
        secret_box.seal(b64encode(key).decode(), **_key_row(organization_id)),
    )
    return key


def _open_key(secret_box: SecretBox, organization_id: str, sealed: str) -> bytes:
    try:
        return b64decode(secret_box.open(sealed, **_key_row(organization_id)))
    except SecretUnopenableError as error:
        raise UrlKeyUnopenableError(f"the key of the URLs of {organization_id} cannot be decrypted: {error}") from None


def _key_row(organization_id: str) -> dict[str, str]:
    return {"organization_id": organization_id, "endpoint_id": "", "secret_id": SEALED_URL_KEY_ID}
