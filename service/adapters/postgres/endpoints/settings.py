"""Endpoints as rows show them, and back: what an organization asked for, and what came of it."""

import json
from collections.abc import Mapping

import asyncpg

from service.core.endpoints.endpoint import EndpointRow, EndpointSettings, SecretHint
from service.ports.errors import SecretUnopenableError
from service.ports.secrets import SecretBox

HEADERS_SECRET_ID = "headers"  # noqa: S105 - the place of the extra headers among an endpoint's sealed texts


# What ended with an endpoint has its removal's instant: one transaction wrote both. So with an active endpoint, whose
# removed_at is null, the same condition finds its active subscriptions.
IS_GONE = """EXISTS (SELECT FROM subscriptions s WHERE s.organization_id = e.organization_id AND s.endpoint_id = e.id
                        AND s.removed_at = e.removed_at AND s.removed_because = 'gone')"""
SELECT_ENDPOINTS = f"""SELECT e.*, e.removed_at IS NOT NULL AND {IS_GONE} AS is_gone,
           (SELECT array_agg(s.event_type ORDER BY s.id) FROM subscriptions s
             WHERE s.organization_id = e.organization_id AND s.endpoint_id = e.id
               AND s.removed_at IS NOT DISTINCT FROM e.removed_at) AS event_types,
           (SELECT array_agg((k.hint, k.created_at, k.expires_at) ORDER BY k.created_at DESC, k.id)
              FROM endpoint_secrets k
             WHERE k.endpoint_id = e.id AND coalesce(k.expires_at > now(), true)) AS secrets
      FROM endpoints e"""  # noqa: S608 - constants only


def endpoint_of(row: asyncpg.Record, secret_box: SecretBox) -> EndpointRow:
    """A row of ``SELECT_ENDPOINTS``."""
    settings = EndpointSettings(
        url=row["url"],
        event_types=tuple(row["event_types"] or ()),
        description=row["description"],
        headers=_opened(row, secret_box),
        signature_style=row["signature_style"],
        signature_header=row["signature_header"],
        filter=row["filter"],
        retry=row["retry"],
        timeout_seconds=row["timeout_seconds"],
        metadata=row["metadata"],
    )
    return EndpointRow(
        row["id"],
        settings,
        tuple(SecretHint(*secret) for secret in row["secrets"] or ()),
        is_paused=row["is_paused"],
        is_gone=row["is_gone"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
    )


async def write_settings(
    connection: asyncpg.Connection,
    secret_box: SecretBox,
    organization_id: str,
    endpoint_id: str,
    settings: EndpointSettings,
) -> None:
    """Store all of ``settings`` but the event types. Headers that are None stay as they are."""
    sealed = None
    if settings.headers:
        sealed = secret_box.seal(
            json.dumps(dict(settings.headers)),
            organization_id=organization_id,
            endpoint_id=endpoint_id,
            secret_id=HEADERS_SECRET_ID,
        )
    await connection.execute(
        """UPDATE endpoints
              SET updated_at = now(), url = $3, description = $4, metadata = $5, signature_style = $6,
                  signature_header = $7, filter = $8, retry = $9, timeout_seconds = $10,
                  sealed_headers = CASE WHEN $11 THEN sealed_headers ELSE $12 END
            WHERE organization_id = $1 AND id = $2""",
        organization_id,
        endpoint_id,
        settings.url,
        settings.description,
        json.dumps(dict(settings.metadata)),
        settings.signature_style,
        settings.signature_header,
        _encoded(settings.filter),
        _encoded(settings.retry),
        settings.timeout_seconds,
        settings.headers is None,
        sealed,
    )


def _opened(row: asyncpg.Record, secret_box: SecretBox) -> Mapping[str, str] | None:
    if row["sealed_headers"] is None:
        return {}
    try:
        text = secret_box.open(
            row["sealed_headers"],
            organization_id=row["organization_id"],
            endpoint_id=row["id"],
            secret_id=HEADERS_SECRET_ID,
        )
    except SecretUnopenableError:
        return None
    headers: Mapping[str, str] = json.loads(text)
    return headers


def _encoded(value: object) -> str | None:  # SQLAlchemy's codec for jsonb decodes, but takes text
    return None if value is None else json.dumps(value)
