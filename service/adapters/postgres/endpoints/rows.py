"""Rows of an endpoint and its subscriptions, read and written inside the caller's transaction.

Writers lock the directory first (``version.lock_directory``), so the writers of one organization run one after the
other, and none of them has to expect a race.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import fields

import asyncpg

from service.adapters.postgres.endpoints.ids import new_id
from service.core.endpoints.endpoint import SEALED_HEADERS_ID
from service.core.endpoints.gate import GateKind
from service.core.endpoints.settings import EndpointSettings
from service.core.endpoints.view import EndpointState, EndpointView, SecretHint, Subscriber
from service.ports.errors import SecretUnopenableError
from service.ports.secrets import SecretBox

COLUMNS = tuple(each.name for each in fields(EndpointSettings) if each.name not in {"event_types", "headers"})
"""The columns named after their setting: event types are stored as subscriptions, and headers are sealed."""
_JSON_COLUMNS = frozenset({"filter", "metadata", "retry"})
_ASSIGNMENTS = ", ".join(f"{name} = ${number}" for number, name in enumerate(COLUMNS, start=5))
_WRITE = f"""UPDATE endpoints
                SET updated_at = now(), sealed_headers = CASE WHEN $3 THEN sealed_headers ELSE $4 END, {_ASSIGNMENTS}
              WHERE organization_id = $1 AND id = $2"""  # noqa: S608 - constants only

# Subscriptions that ended with an endpoint have the same removed_at, as one transaction wrote both. For an active
# endpoint, whose removed_at is null, the same condition finds its active subscriptions.
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


def endpoint_of(row: asyncpg.Record, secret_box: SecretBox) -> EndpointView:
    """A row of ``SELECT_ENDPOINTS``."""
    settings = EndpointSettings(
        **{name: row[name] for name in COLUMNS},
        event_types=tuple(row["event_types"] or ()),
        headers=_opened(row, secret_box),
    )
    return EndpointView(
        row["id"],
        settings,
        tuple(SecretHint(*secret) for secret in row["secrets"] or ()),
        _state_of(row),
        created_at=row["created_at"],
        updated_at=row["updated_at"],
    )


def _state_of(row: asyncpg.Record) -> EndpointState:
    if row["is_gone"]:
        return EndpointState.GONE
    return EndpointState.PAUSED if row["is_paused"] else EndpointState.ACTIVE


async def find_by_url(connection: asyncpg.Connection, organization_id: str, url: str) -> str | None:
    """The id of the organization's endpoint with this URL."""
    found: str | None = await connection.fetchval(
        "SELECT id FROM endpoints WHERE organization_id = $1 AND url = $2 AND removed_at IS NULL", organization_id, url
    )
    return found


async def insert_endpoint(connection: asyncpg.Connection, organization_id: str, url: str) -> str:
    """Insert an endpoint with default settings; returns its id."""
    endpoint_id = new_id("ep")
    await connection.execute(
        "INSERT INTO endpoints (id, organization_id, url) VALUES ($1, $2, $3)", endpoint_id, organization_id, url
    )
    return endpoint_id


async def write_settings(
    connection: asyncpg.Connection,
    secret_box: SecretBox,
    organization_id: str,
    endpoint_id: str,
    settings: EndpointSettings,
) -> None:
    """Store all of ``settings`` except the event types. Headers that are None stay unchanged."""
    sealed = None
    if settings.headers:
        sealed = secret_box.seal(
            json.dumps(dict(settings.headers)),
            organization_id=organization_id,
            endpoint_id=endpoint_id,
            secret_id=SEALED_HEADERS_ID,
        )
    await connection.execute(
        _WRITE,
        organization_id,
        endpoint_id,
        settings.headers is None,
        sealed,
        *(_encoded(name, getattr(settings, name)) for name in COLUMNS),
    )


async def insert_subscriptions(
    connection: asyncpg.Connection, organization_id: str, endpoint_id: str, url: str, event_types: Collection[str]
) -> Sequence[Subscriber]:
    """Subscribe the endpoint, whose URL is ``url``, to these event types; returns the new subscriptions."""
    rows = await connection.fetch(
        """INSERT INTO subscriptions (organization_id, endpoint_id, event_type, target_url)
           SELECT $1, $2, event_type, $3 FROM unnest($4::text[]) AS event_type
               ON CONFLICT (organization_id, event_type, target_url) WHERE removed_at IS NULL DO NOTHING
           RETURNING id, event_type, target_url, created_at""",
        organization_id,
        endpoint_id,
        url,
        list(event_types),
    )
    return [Subscriber(*row) for row in rows]


async def set_paused(
    connection: asyncpg.Connection, organization_id: str, endpoint_id: str, *, is_paused: bool
) -> None:
    """Pause or resume the endpoint, by shutting or opening its gate."""
    await connection.execute(
        "UPDATE endpoints SET is_paused = $3, updated_at = now() WHERE organization_id = $1 AND id = $2",
        organization_id,
        endpoint_id,
        is_paused,
    )
    if is_paused:
        await connection.execute(
            "INSERT INTO gates (endpoint_id, kind, until) VALUES ($1, $2, 'infinity') ON CONFLICT DO NOTHING",
            endpoint_id,
            GateKind.PAUSED,
        )
    else:
        await connection.execute("DELETE FROM gates WHERE endpoint_id = $1 AND kind = $2", endpoint_id, GateKind.PAUSED)


async def move_endpoint(connection: asyncpg.Connection, organization_id: str, endpoint_id: str, url: str) -> None:
    """Set the endpoint's subscriptions to its new ``url``."""
    await connection.execute(
        """UPDATE subscriptions SET target_url = $3
            WHERE organization_id = $1 AND endpoint_id = $2 AND removed_at IS NULL""",
        organization_id,
        endpoint_id,
        url,
    )
    # The old receiver's Retry-After does not apply to the new one.
    await connection.execute(
        "DELETE FROM gates WHERE endpoint_id = $1 AND kind = $2", endpoint_id, GateKind.RETRY_AFTER
    )


def _opened(row: asyncpg.Record, secret_box: SecretBox) -> Mapping[str, str] | None:
    if row["sealed_headers"] is None:
        return {}
    try:
        text = secret_box.open(
            row["sealed_headers"],
            organization_id=row["organization_id"],
            endpoint_id=row["id"],
            secret_id=SEALED_HEADERS_ID,
        )
    except SecretUnopenableError:
        return None
    headers: Mapping[str, str] = json.loads(text)
    return headers


def _encoded(name: str, value: object) -> object:  # SQLAlchemy's codec for jsonb decodes, but takes text
    return json.dumps(value) if name in _JSON_COLUMNS and value is not None else value
