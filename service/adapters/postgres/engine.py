"""Connections to PostgreSQL: one pool per process, and errors classified by whether a retry can help."""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from datetime import datetime

import asyncpg
from sqlalchemy import PoolProxiedConnection, event, make_url
from sqlalchemy.dialects.postgresql.asyncpg import AsyncAdapt_asyncpg_dbapi
from sqlalchemy.exc import DisconnectionError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.util import await_only, greenlet_spawn

from service.ports.errors import NotMigratedError, RefusedError, UnavailableError
from service.ports.surroundings import Clock

# Errors caused by the rows themselves. For all others (network, login, missing table, lost race) the rows wait until
# the cause is fixed, however long that takes.
_REFUSALS = (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError, UnicodeError, OverflowError)
_ABSENCES = (
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # a connection used after its end was announced and before it was closed
    OSError,
    TimeoutError,
    asyncio.IncompleteReadError,
    SQLAlchemyError,
    AsyncAdapt_asyncpg_dbapi.Error,  # raised by the pool before SQLAlchemy's connection wraps it
)

# After these a connection is replaced. The second: after a failover it may lead to a server that is only read from.
_USELESS = (asyncpg.InternalClientError, asyncpg.ReadOnlySQLTransactionError)


# A generic plan made while a table is empty is a sequential scan, which gets slower as the table grows, so plans are
# made for the actual values. For a batch of a few rows, planning costs more than running: there the plan is made once,
# and only index lookups in nested loops are allowed, which are right at any table size.
_PLANNED_EACH_TIME = {"plan_cache_mode": "force_custom_plan"}
_PLANNED_ONCE = {
    "plan_cache_mode": "force_generic_plan",
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
}


_NO_DAY_FOR_EVENT = 'no partition of relation "events"'


class NoDayError(UnavailableError):
    """An event's day has no partition."""


IDLE_IN_TRANSACTION_MAX = "60s"
"""A process that hangs with a transaction open loses it: until it ends vacuum stands still, and counting waits for it.

Between two statements of ours come milliseconds; a statement that takes long is not idle.
"""

CANCEL_SECONDS_MAX = 1.0
"""For PostgreSQL to say that a statement is cancelled, which takes milliseconds; then the connection counts as dead."""

SMALL_BATCHES_SIZE_MAX = 4
"""Connections for small batches: the intake and the settlement flushers never use more at a time."""


PROGRAM = "posthorn"
PROCESS_PREFIX = f"{PROGRAM} "
"""Before the role and the name of a process of the service, in the names of its connections."""
_NAME_BYTES_MAX = 63


def connection_name(role: str, process_name: str) -> str:
    """What PostgreSQL lists a process's connections by. Of a long name the end is kept: it tells processes apart."""
    head = f"{PROCESS_PREFIX}{role} "
    return head + process_name[-(_NAME_BYTES_MAX - len(head)) :]


def connect_pools(
    url: str, *, connections_max: int, command_timeout_seconds: float, name: str = PROGRAM
) -> tuple[AsyncEngine, AsyncEngine]:
    """The engine of a process and the one for small batches, which share ``connections_max`` (at least 3)."""
    small_size = min(SMALL_BATCHES_SIZE_MAX, connections_max // 3)
    return (
        connect(
            url, pool_size=connections_max - small_size, command_timeout_seconds=command_timeout_seconds, name=name
        ),
        connect(
            url,
            pool_size=small_size,
            command_timeout_seconds=command_timeout_seconds,
            for_small_batches=True,
            name=name,
        ),
    )


def connect(
    url: str,
    *,
    pool_size: int = 8,
    command_timeout_seconds: float = 30.0,
    for_small_batches: bool = False,
    name: str = PROGRAM,
) -> AsyncEngine:
    """An engine for ``url`` (``postgres://``, ``postgresql://``); connections are opened when first needed.

    ``name`` is what PostgreSQL lists the connections by.
    """
    engine = create_async_engine(
        make_url(url).set(drivername="postgresql+asyncpg"),
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=10,
        connect_args={
            "timeout": 5,
            "command_timeout": command_timeout_seconds,
            "server_settings": {
                "application_name": name,
                **(_PLANNED_ONCE if for_small_batches else _PLANNED_EACH_TIME),
                "jit": "off",
                "timezone": "UTC",
                "idle_in_transaction_session_timeout": IDLE_IN_TRANSACTION_MAX,
            },
        },
    )
    event.listen(engine.sync_engine, "checkout", _refuse_dead)
    return engine


def _refuse_dead(lent: PoolProxiedConnection, _: object, __: object) -> None:
    """Make the pool replace a dead connection: after PostgreSQL restarts, all pooled connections are closed.

    After a failover they may die without a word. What was cancelled on one goes back to the pool while asyncpg waits
    for PostgreSQL to say so; without an end of that wait, whoever got the connection next would wait in vain.

    One that is in a transaction is replaced, too. Its BEGIN was given up, and reached PostgreSQL all the same: what is
    written there is never committed, while every answer says that all is well.
    """
    native = lent.driver_connection
    if native is None:
        return
    protocol = native._protocol  # noqa: SLF001 - asyncpg itself waits without end, and nothing public asks it
    if not native.is_closed() and protocol._is_cancelling():  # noqa: SLF001 - a closed one may have no protocol
        with suppress(TimeoutError):  # asyncpg has closed it then
            await_only(protocol._wait_for_cancellation(CANCEL_SECONDS_MAX))  # noqa: SLF001
    if native.is_closed() or native.is_in_transaction():
        raise DisconnectionError


@contextmanager
def translated() -> Iterator[None]:
    """Raise ``RefusedError`` for errors caused by the rows, ``UnavailableError`` if a retry may succeed."""
    try:
        yield
    except _REFUSALS as error:
        # An event whose partition does not exist waits until it does. A settlement without a partition came after its
        # event was dropped and would wait forever; so would a row that violates any other CHECK.
        is_early = isinstance(error, asyncpg.CheckViolationError) and str(error).startswith(_NO_DAY_FOR_EVENT)
        raise (NoDayError if is_early else RefusedError)(_sentence(error)) from error
    except _ABSENCES as error:
        raise (NotMigratedError if _is_about_schema(error) else UnavailableError)(_sentence(error)) from error


@asynccontextmanager
async def driver(engine: AsyncEngine) -> AsyncIterator[asyncpg.Connection]:
    """A pooled connection, as asyncpg's own: the hot statements pass arrays, which asyncpg binds fastest.

    Errors are ``translated``. It bypasses SQLAlchemy's connection and uses the pool directly: SQLAlchemy's connection
    costs a third of the CPU time of a small commit. SQLAlchemy opens no transaction on it, so giving it back awaits
    nothing and cannot be cancelled halfway.
    """
    with translated():
        lent = await engine.raw_connection()
        try:
            native: asyncpg.Connection = lent.driver_connection
            try:
                yield native
            except BaseException as error:
                is_broken = native.is_closed() or isinstance(error, _USELESS)
                if is_broken or native.is_in_transaction():  # otherwise the pool would hand it out again
                    await greenlet_spawn(lent.invalidate, error)
                raise
        finally:
            lent.close()


def _is_about_schema(error: BaseException | None) -> bool:
    """Whether a table or column is missing; SQLAlchemy wraps asyncpg's error twice."""
    while error is not None:
        if isinstance(error, (asyncpg.UndefinedTableError, asyncpg.UndefinedColumnError)):
            return True
        error = error.__cause__
    return False


def _sentence(error: BaseException) -> str:  # noqa: PLR0911 - a table of causes
    """What PostgreSQL reported, or why it could not be reached, and what to do about it if that is known."""
    cause = _innermost(error)
    match cause:
        case socket.gaierror():
            return "the host name cannot be resolved; check the host in DATABASE_URL"
        case ConnectionRefusedError():
            return "connection refused; start PostgreSQL, or check host and port in DATABASE_URL"
        case TimeoutError():
            return "it did not answer in time; check the network, and host and port in DATABASE_URL"
        case asyncpg.InvalidCatalogNameError():
            return f"{_first_line(cause)}; create it (createdb), or correct the database name in DATABASE_URL"
        case asyncpg.InvalidPasswordError() | asyncpg.InvalidAuthorizationSpecificationError():
            return f"{_first_line(cause)}; check user and password in DATABASE_URL (they must be percent-encoded)"
        case asyncpg.InsufficientPrivilegeError():
            return f"{_first_line(cause)}; its owner grants it with 'posthorn migrate --grant-to ROLE'"
        case asyncpg.PostgresError():
            return _first_line(cause)
        case _:
            return f"{_first_line(cause)} ({type(cause).__name__})"


def _innermost(error: BaseException) -> BaseException:
    """The error that SQLAlchemy wrapped, once or twice; SQLAlchemy's own text quotes the statement."""
    while isinstance(error, (SQLAlchemyError, AsyncAdapt_asyncpg_dbapi.Error)) and error.__cause__ is not None:
        error = error.__cause__
    return error


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).splitlines()), "no detail")


def in_use(engine: AsyncEngine) -> int:
    """How many of the pool's connections are in use."""
    return int(engine.pool.checkedout())  # type: ignore[attr-defined]  # an async engine's pool is a QueuePool


async def takes_writes(engine: AsyncEngine) -> bool:
    """Whether the server takes writes; a standby does not, nor one made read-only. Raises ``UnavailableError``."""
    async with driver(engine) as connection:
        return bool(await connection.fetchval("SELECT current_setting('transaction_read_only') = 'off'"))


async def database_now(connection: asyncpg.Connection) -> datetime:
    """The database's clock."""
    now: datetime = await connection.fetchval("SELECT clock_timestamp()")
    return now


async def clock_skew_seconds(engine: AsyncEngine, clock: Clock) -> float:
    """How far this machine's clock is ahead of the database's. Raises ``UnavailableError``."""
    async with driver(engine) as connection:
        before = clock.now()
        theirs = await database_now(connection)
        middle = before + (clock.now() - before) / 2
    return float((middle - theirs).total_seconds())
