"""Everything that is stored sealed, in one list, for whoever counts it, opens it or seals it anew.

A table is read in the order of its key, some rows at a time, and each row is sealed anew by a statement of its own, if
it still holds what was read. So whatever writes it meanwhile is not overwritten, no lock is held for longer than one
row takes, and whoever is killed has nothing half done: the next run passes what is done already.
"""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Final

import asyncpg
from sqlalchemy.ext.asyncio import AsyncEngine

from service.adapters.postgres.audit.log import audit
from service.adapters.postgres.endpoints.version import lock_directory
from service.adapters.postgres.engine import driver
from service.core.audit.actor import Actor
from service.core.endpoints.endpoint import SEALED_AUTH_ID, SEALED_HEADERS_ID
from service.core.endpoints.url import SEALED_URL_ID, SEALED_URL_KEY_ID
from service.ports.errors import SecretUnopenableError
from service.ports.secrets import RewrappingBox, SecretBox

BATCH_ROWS_MAX: Final = 200
SAMPLE_ROWS_MAX: Final = 1_000
"""Rows that a start looks at in each table, some milliseconds' worth."""


@dataclass(frozen=True, slots=True)
class SealedColumn:
    """A column of sealed text. Its SQL may name the table as ``t``.

    ``one`` and ``many`` are what people call its values. ``key`` is the primary key. ``bound_to`` are the organization,
    the endpoint and the secret id that a value is bound to. ``in_use`` is false for what nobody opens any more.
    ``is_lasting`` is false for what is deleted within a day.
    """

    one: str
    many: str
    table: str
    column: str
    key: tuple[str, ...]
    bound_to: tuple[str, str, str]
    in_use: str
    is_lasting: bool = True


def _of_endpoint(one: str, many: str, column: str, secret_id: str) -> SealedColumn:
    bound_to = ("t.organization_id", "t.id", f"'{secret_id}'")
    return SealedColumn(one, many, "endpoints", column, key=("id",), bound_to=bound_to, in_use="t.removed_at IS NULL")


SEALED: Final = (
    SealedColumn(
        "signing secret",
        "signing secrets",
        "endpoint_secrets",
        "sealed",
        key=("id",),
        bound_to=("t.organization_id", "t.endpoint_id", "t.id"),
        in_use="coalesce(t.expires_at > now(), true) "
        "AND EXISTS (SELECT FROM endpoints e WHERE e.id = t.endpoint_id AND e.removed_at IS NULL)",
    ),
    _of_endpoint("endpoint's headers", "endpoints' headers", "sealed_headers", SEALED_HEADERS_ID),
    _of_endpoint("endpoint's auth", "endpoints' auth", "sealed_auth", SEALED_AUTH_ID),
    _of_endpoint("endpoint's URL", "endpoints' URLs", "sealed_url", SEALED_URL_ID),
    SealedColumn(
        "key of an organization's URLs",
        "keys of organizations' URLs",
        "organizations",
        "sealed_url_key",
        key=("id",),
        bound_to=("t.id", "''", f"'{SEALED_URL_KEY_ID}'"),
        in_use="true",
    ),
    SealedColumn(
        "kept answer",
        "kept answers",
        "idempotency_keys",
        "sealed_answer",
        key=("organization_id", "method", "path", "key"),
        bound_to=(
            "t.organization_id",
            "'idempotency'",
            "concat_ws(' ', t.method, t.path, encode(t.request_digest, 'hex'), t.key)",
        ),
        in_use="t.created_at > now() - interval '24 hours'",
        is_lasting=False,
    ),
)
"""What a column that is missing here holds is lost with the key that sealed it. A test compares this to the schema."""


@dataclass(frozen=True, slots=True)
class SealedValue:
    """A sealed value, and what it is bound to."""

    sealed: str
    organization_id: str
    endpoint_id: str
    secret_id: str

    @property
    def key_id(self) -> str:
        """The id of the key that sealed it."""
        return self.sealed.split(":", 2)[1]

    def open(self, box: SecretBox) -> str:
        """Decrypt. Raises ``SecretUnopenableError``."""
        return box.open(self.sealed, **self._row)

    def sealed_anew(self, box: SecretBox) -> str:
        """The same, sealed with the box's first key. Raises ``SecretUnopenableError``."""
        return box.seal(self.open(box), **self._row)

    @property
    def _row(self) -> dict[str, str]:
        return {
            "organization_id": self.organization_id,
            "endpoint_id": self.endpoint_id,
            "secret_id": self.secret_id,
        }


@dataclass(frozen=True, slots=True)
class SealedGroup:
    """What one key sealed in one column and is in use: how many there are, and one of them."""

    column: SealedColumn
    key_id: str
    count: int
    example: SealedValue


@dataclass(frozen=True, slots=True)
class RewrapStep:
    """What a batch came to: rows read, values sealed anew, and why some URLs stay in clear, in words."""

    rows_read: int
    rewrapped_count: int
    left: Sequence[str] = ()


async def sealed_groups(engine: AsyncEngine) -> Sequence[SealedGroup]:
    """What is in use, by column and key. Reads all of it."""
    groups = []
    for each in SEALED:
        async with driver(engine) as connection:
            rows = await connection.fetch(
                f"""SELECT DISTINCT ON (key_id) key_id, count(*) OVER (PARTITION BY key_id), value, o, e, s
                      FROM (SELECT split_part({each.column}, ':', 2) AS key_id, {_value_of(each)}
                              FROM {each.table} t WHERE {each.column} IS NOT NULL AND {each.in_use})
                           AS used (key_id, value, o, e, s)
                     ORDER BY key_id"""  # noqa: S608 - constants only
            )
        groups += [SealedGroup(each, key_id, count, SealedValue(*value)) for key_id, count, *value in rows]
    return groups


async def sealed_sample(engine: AsyncEngine) -> Sequence[tuple[SealedColumn, SealedValue]]:
    """Some of what lasts and is in use, in a bounded time: the first rows of each table.

    Ids are random, so the first of them are any.
    """
    sample = []
    for each in SEALED:
        if each.is_lasting:
            async with driver(engine) as connection:
                rows = await _read(connection, each, None, SAMPLE_ROWS_MAX)
            sample += [(each, row.value) for row in rows if row.value is not None and row.is_used]
    return sample


async def count_rows(engine: AsyncEngine) -> int:
    """The rows that ``rewrap`` has to read."""
    async with driver(engine) as connection:
        return sum([await connection.fetchval(f"SELECT count(*) FROM {each.table}") for each in SEALED])  # noqa: S608


async def rewrap(
    engine: AsyncEngine, box: RewrappingBox, *, by: Actor, batch_rows_max: int = BATCH_ROWS_MAX
) -> AsyncIterator[RewrapStep]:
    """Seal everything anew that another key than the first one sealed, batch by batch.

    What no key opens stays as it is. May be stopped anywhere, and run beside itself. The first value that is sealed
    anew enters the run in the audit log.
    """
    is_entered = False
    for column in SEALED:
        after: Sequence[str] | None = None
        while True:
            async with driver(engine) as connection:
                rows = await _read(connection, column, after, batch_rows_max)
                rewrapped_count = 0
                for row in rows:
                    if row.value is not None and box.needs_rewrap(row.value.sealed):
                        async with connection.transaction():
                            has_changed = await _rewrap_row(connection, column, row.key, row.value, box)
                            if has_changed and not is_entered:
                                await audit(connection, by, "secrets.rewrap", None, box.sealing_key_id)
                                is_entered = True
                        rewrapped_count += has_changed
            if rows:
                yield RewrapStep(len(rows), rewrapped_count)
            if len(rows) < batch_rows_max:
                break
            after = rows[-1].key


async def _rewrap_row(
    connection: asyncpg.Connection, column: SealedColumn, key: Sequence[str], value: SealedValue, box: RewrappingBox
) -> bool:
    try:
        anew = value.sealed_anew(box)
    except SecretUnopenableError:
        return False
    names = ", ".join(f"${number}" for number in range(3, 3 + len(key)))
    if column.table == "endpoint_secrets":
        # A trigger locks a secret's endpoint, too. Some writers lock those two in that order and some in the other, so
        # all of them lock the directory first; and since it is one organization's, a transaction has one row only.
        await lock_directory(connection, value.organization_id)
    done: str = await connection.execute(
        f"""UPDATE {column.table} SET {column.column} = $1
             WHERE {column.column} = $2 AND ({", ".join(column.key)}) = ({names})""",  # noqa: S608 - constants only
        anew,
        value.sealed,
        *key,
    )
    return done.endswith(" 1")


@dataclass(frozen=True, slots=True)
class _Row:
    key: Sequence[str]
    is_used: bool
    value: SealedValue | None


async def _read(
    connection: asyncpg.Connection, column: SealedColumn, after: Sequence[str] | None, limit: int
) -> Sequence[_Row]:
    """Rows after that key, in its order."""
    key = ", ".join(f"t.{name}" for name in column.key)
    is_after = "true" if after is None else f"({key}) > ({', '.join(f'${n}' for n, _ in enumerate(after, start=2))})"
    rows = await connection.fetch(
        f"""SELECT {column.in_use}, {_value_of(column)}, {key} FROM {column.table} t
             WHERE {is_after} ORDER BY {key} LIMIT $1""",  # noqa: S608 - constants only
        limit,
        *(after or ()),
    )
    return [
        _Row(key, is_used, None if sealed is None else SealedValue(sealed, organization_id, endpoint_id, secret_id))
        for is_used, sealed, organization_id, endpoint_id, secret_id, *key in rows
    ]


def _value_of(column: SealedColumn) -> str:
    return ", ".join((f"t.{column.column}", *column.bound_to))
