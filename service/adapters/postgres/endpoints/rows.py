"""Rows of an endpoint and its subscriptions, read and written inside the caller's transaction.

Writers lock the directory first (``version.lock_directory``), so the writers of one organization run one after the
other, and none of them has to expect a race.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import fields

import asyncpg

from service.adapters.postgres.both_ways import both_ways
from service.adapters.postgres.endpoints.gates.breakers import forget_breakers
from service.adapters.postgres.endpoints.gates.gates import GATES_OF_E, gates_of
from service.adapters.postgres.endpoints.ids import new_id
from service.adapters.postgres.endpoints.urls import shown_url, url_to_store
from service.core.endpoints.auth import EndpointAuth, UnreadableAuth, expiry_of, stored_auth, write_auth
from service.core.endpoints.endpoint import SEALED_AUTH_ID, SEALED_HEADERS_ID
from service.core.endpoints.gates.gate import GateKind
from service.core.endpoints.settings import EndpointSettings
from service.core.endpoints.signing.signing import Signing
from service.core.endpoints.view import EndpointState, EndpointView, SecretHint, Subscriber, state_of
from service.ports.errors import SecretUnopenableError
from service.ports.secrets import SecretBox

_NOT_COLUMNS = frozenset({"url", "event_types", "headers", "auth"})
COLUMNS = tuple(each.name for each in fields(EndpointSettings) if each.name not in _NOT_COLUMNS)
"""The columns named after their setting: event types are stored as subscriptions; headers, auth and URLs are sealed."""
_JSON_COLUMNS = frozenset({"filter", "metadata", "retry"})
_ASSIGNMENTS = ", ".join(f"{name} = ${number}" for number, name in enumerate(COLUMNS, start=8))
_WRITE = f"""UPDATE endpoints
                SET updated_at = now(), sealed_headers = CASE WHEN $3 THEN sealed_headers ELSE $4 END,
                    sealed_auth = CASE WHEN $5 THEN sealed_auth ELSE $6 END,
                    auth_expires_at = CASE WHEN $5 THEN auth_expires_at ELSE $7 END, {_ASSIGNMENTS}
              WHERE organization_id = $1 AND id = $2"""  # noqa: S608 - constants only

# Subscriptions that ended with an endpoint have the same removed_at, as one transaction wrote both. For an active
# endpoint, whose removed_at is null, the same condition finds its active subscriptions. What has expired counts as
# ended, whether or not upkeep has ended it by now. Null: it goes on, or was deleted.
_ENDED = """CASE WHEN e.removed_at IS NOT NULL THEN (
                SELECT s.removed_because FROM subscriptions s
                 WHERE s.organization_id = e.organization_id AND s.endpoint_id = e.id
                   AND s.removed_at = e.removed_at AND s.removed_because <> 'deleted' LIMIT 1)
            WHEN e.valid_until <= now() THEN 'expired' END"""
SELECT_ENDPOINTS = f"""SELECT e.*, {_ENDED} AS ended,
           (SELECT array_agg(s.event_type ORDER BY s.id) FROM subscriptions s
             WHERE s.organization_id = e.organization_id AND s.endpoint_id = e.id
               AND s.removed_at IS NOT DISTINCT FROM e.removed_at) AS event_types,
           (SELECT array_agg((k.hint, k.created_at, k.expires_at, k.public_key, k.signature_style, k.signature_header)
                             ORDER BY k.created_at DESC, k.id)
              FROM endpoint_secrets k
             WHERE k.endpoint_id = e.id AND coalesce(k.expires_at > now(), true)) AS secrets,
           {GATES_OF_E} AS gates,
           CASE WHEN e.verified_url_digest = sha256(convert_to(e.url, 'UTF8')) THEN e.verified_at END AS owned_since
      FROM endpoints e"""  # noqa: S608 - constants only
_READ = f"""SELECT * FROM ({SELECT_ENDPOINTS}
     WHERE e.organization_id = $1 AND e.id = $2) AS e WHERE removed_at IS NULL OR ended IS NOT NULL"""  # noqa: S608 - constants only
# $1 organization, $2 the forms of a URL or null, $3 states, $4, $5 the endpoint shown last, $6 the limit,
# $7 a text to look for or null, $8 whether the newest attempt failed, or null.
_OF_LIST = f"""
     WHERE e.organization_id = $1 AND ($2::text[] IS NULL OR e.url = ANY ($2))
       AND (e.removed_at IS NULL OR $3::text[] && '{{gone,expired}}')
       AND CASE WHEN e.removed_at IS NOT NULL OR e.valid_until <= now() THEN {_ENDED} ELSE coalesce((
                SELECT min(kind) FROM gates g
                 WHERE g.endpoint_id = e.id AND g.kind IN ('disabled', 'paused')), 'active') END = ANY ($3::text[])
       AND ($7::text IS NULL OR e.id = $7 OR strpos(lower(e.description), lower($7)) > 0
            OR strpos(lower(split_part(e.url, '?', 1)), lower($7)) > 0)
       AND ($8::bool IS NULL OR $8 = EXISTS (
                SELECT FROM breakers b WHERE b.endpoint_id = e.id AND b.failing_since IS NOT NULL))
       AND ($4::timestamptz IS NULL OR (e.created_at, e.id) < ($4, $5))
     ORDER BY e.created_at DESC, e.id DESC LIMIT $6"""  # noqa: S608 - constants only
LIST_ENDPOINTS = both_ways(_OF_LIST, head=SELECT_ENDPOINTS)
LIST_URLS = both_ways(_OF_LIST, head="SELECT e.id, e.url, e.created_at FROM endpoints e")


def endpoint_of(row: asyncpg.Record, secret_box: SecretBox) -> EndpointView:
    """A row of ``SELECT_ENDPOINTS``."""
    settings = EndpointSettings(
        **{name: row[name] for name in COLUMNS},
        url=shown_url(secret_box, row["organization_id"], row["id"], row["url"], row["sealed_url"]),
        event_types=tuple(row["event_types"] or ()),
        headers=_headers(row, secret_box),
        auth=_auth(row, secret_box),
    )
    gates = gates_of(row["gates"])
    return EndpointView(
        row["id"],
        settings,
        tuple(
            SecretHint(hint, created_at, expires_at, public_key, Signing(style, header) if style is not None else None)
            for hint, created_at, expires_at, public_key, style, header in row["secrets"] or ()
        ),
        state_of(gates, EndpointState(row["ended"]) if row["ended"] else None),
        gates,
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        verified_at=row["owned_since"],
        version=row["version"],
    )


async def read_own_event_types(connection: asyncpg.Connection, organization_id: str) -> Sequence[str]:
    """The names of the event types that the organization registered."""
    rows = await connection.fetch("SELECT name FROM event_types WHERE organization_id = $1", organization_id)
    return [row["name"] for row in rows]


async def read_endpoint(
    connection: asyncpg.Connection, secret_box: SecretBox, organization_id: str, endpoint_id: str
) -> EndpointView | None:
    """The organization's endpoint with this id, even if it has ended; None if it does not exist or was removed."""
    row = await connection.fetchrow(_READ, organization_id, endpoint_id)
    return endpoint_of(row, secret_box) if row is not None else None


async def insert_endpoint(connection: asyncpg.Connection, secret_box: SecretBox, organization_id: str, url: str) -> str:
    """Insert an endpoint with default settings; returns its id."""
    endpoint_id = new_id("ep")
    await connection.execute(
        "INSERT INTO endpoints (id, organization_id, url, sealed_url) VALUES ($1, $2, $3, $4)",
        endpoint_id,
        organization_id,
        *await url_to_store(connection, secret_box, organization_id, endpoint_id, url),
    )
    return endpoint_id


async def write_settings(
    connection: asyncpg.Connection,
    secret_box: SecretBox,
    organization_id: str,
    endpoint_id: str,
    settings: EndpointSettings,
) -> None:
    """Store all of ``settings`` but the URL and the event types.

    Headers and auth that cannot be decrypted stay unchanged.
    """

    def sealed(text: str, secret_id: str) -> str:
        return secret_box.seal(text, organization_id=organization_id, endpoint_id=endpoint_id, secret_id=secret_id)

    headers, auth = settings.headers, settings.auth
    await connection.execute(
        _WRITE,
        organization_id,
        endpoint_id,
        headers is None,
        sealed(json.dumps(dict(headers)), SEALED_HEADERS_ID) if headers else None,
        isinstance(auth, UnreadableAuth),
        None if auth is None or isinstance(auth, UnreadableAuth) else sealed(write_auth(auth), SEALED_AUTH_ID),
        expiry_of(auth),
        *(_encoded(name, getattr(settings, name)) for name in COLUMNS),
    )
    await _write_limits(connection, endpoint_id, settings)


async def _write_limits(connection: asyncpg.Connection, endpoint_id: str, settings: EndpointSettings) -> None:
    """Keep the row that claims lock in step. Waits for a claim that holds it; the next one sees the change."""
    if settings.rate_limit_per_second is None and settings.max_in_flight is None:
        await connection.execute(
            """UPDATE endpoint_limits SET rate_limit_per_second = NULL, max_in_flight = NULL
                WHERE endpoint_id = $1 AND breaker_in_flight IS NOT NULL""",
            endpoint_id,
        )
        await connection.execute(
            "DELETE FROM endpoint_limits WHERE endpoint_id = $1 AND breaker_in_flight IS NULL", endpoint_id
        )
        return
    await connection.execute(
        """INSERT INTO endpoint_limits (endpoint_id, rate_limit_per_second, max_in_flight) VALUES ($1, $2, $3)
               ON CONFLICT (endpoint_id) DO UPDATE
              SET rate_limit_per_second = excluded.rate_limit_per_second, max_in_flight = excluded.max_in_flight,
                  opens_at = CASE WHEN endpoint_limits.rate_limit_per_second = excluded.rate_limit_per_second
                                  THEN endpoint_limits.opens_at ELSE now() END""",
        endpoint_id,
        settings.rate_limit_per_second,
        settings.max_in_flight,
    )


async def insert_subscriptions(
    connection: asyncpg.Connection, organization_id: str, endpoint_id: str, url: str, event_types: Collection[str]
) -> Sequence[Subscriber]:
    """Subscribe the endpoint, whose URL is ``url``, to these event types; returns the new subscriptions."""
    rows = await connection.fetch(
        """INSERT INTO subscriptions (organization_id, endpoint_id, event_type, target_url)
           SELECT e.organization_id, e.id, event_type, e.url FROM endpoints e, unnest($3::text[]) AS event_type
            WHERE e.organization_id = $1 AND e.id = $2
               ON CONFLICT (organization_id, event_type, target_url) WHERE removed_at IS NULL DO NOTHING
           RETURNING id, event_type, created_at""",
        organization_id,
        endpoint_id,
        list(event_types),
    )
    return [Subscriber(number, event_type, url, created_at) for number, event_type, created_at in rows]


async def move_endpoint(
    connection: asyncpg.Connection, secret_box: SecretBox, organization_id: str, endpoint_id: str, url: str
) -> None:
    """Give the endpoint and its subscriptions another URL."""
    stored, sealed = await url_to_store(connection, secret_box, organization_id, endpoint_id, url)
    await connection.execute(
        "UPDATE endpoints SET url = $3, sealed_url = $4 WHERE organization_id = $1 AND id = $2",
        organization_id,
        endpoint_id,
        stored,
        sealed,
    )
    await connection.execute(
        """UPDATE subscriptions SET target_url = $3
            WHERE organization_id = $1 AND endpoint_id = $2 AND removed_at IS NULL""",
        organization_id,
        endpoint_id,
        stored,
    )
    # Neither the old receiver's Retry-After nor its failures are the new one's.
    await forget_breakers(connection, [endpoint_id])
    await connection.execute(
        "DELETE FROM gates WHERE endpoint_id = $1 AND kind = $2", endpoint_id, GateKind.RETRY_AFTER
    )


def _headers(row: asyncpg.Record, secret_box: SecretBox) -> Mapping[str, str] | None:
    if row["sealed_headers"] is None:
        return {}
    text = _opened(row, "sealed_headers", SEALED_HEADERS_ID, secret_box)
    return None if text is None else json.loads(text)


def _auth(row: asyncpg.Record, secret_box: SecretBox) -> EndpointAuth | UnreadableAuth | None:
    if row["sealed_auth"] is None:
        return None
    text = _opened(row, "sealed_auth", SEALED_AUTH_ID, secret_box)
    try:
        return UnreadableAuth() if text is None else stored_auth(text)
    except ValueError:
        return UnreadableAuth()


def _opened(row: asyncpg.Record, column: str, secret_id: str, secret_box: SecretBox) -> str | None:
    try:
        return secret_box.open(
            row[column], organization_id=row["organization_id"], endpoint_id=row["id"], secret_id=secret_id
        )
    except SecretUnopenableError:
        return None


def _encoded(name: str, value: object) -> object:  # SQLAlchemy's codec for jsonb decodes, but takes text
    return json.dumps(value) if name in _JSON_COLUMNS and value is not None else value
