"""Database access for the commands, and the messages for when it fails."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from sqlalchemy.ext.asyncio import AsyncEngine

from service.adapters.postgres.endpoints.store import EndpointStore
from service.adapters.postgres.engine import connect
from service.adapters.secret_box import AesSecretBox
from service.cli.terminal import BAD_USAGE, CommandError
from service.ports.errors import (
    NotMigratedError,
    RefusedError,
    SecretUnopenableError,
    UnavailableError,
    UrlKeyUnopenableError,
)
from service.settings import Settings
from service.settings.values import masked

NO_DATABASE_URL = """\
DATABASE_URL is not set. It names the PostgreSQL database; only 'posthorn demo' starts its own.
Set it, for example: export DATABASE_URL=postgresql://posthorn:PASSWORD@127.0.0.1:5432/posthorn
(or DATABASE_URL_FILE, the path of a file that contains it)"""
NO_SECRET_KEYS = """\
SECRET_KEYS is not set. Set the value that the running service uses.
Only for a new database, make one: export SECRET_KEYS="k1:$(openssl rand -base64 32)"
Keep it: without it, the secrets in the database are lost.
(or SECRET_KEYS_FILE, the path of a file that contains it)"""  # noqa: S105 - says how to make one
NOT_MIGRATED = (
    "The database schema does not match this release: run 'posthorn migrate' (safe to repeat), then try again."
)


class NoSecretBox:
    """Implements ``SecretBox`` for commands that use no secret, so that they need no SECRET_KEYS."""

    def seal(self, secret: str, **row: str) -> str:  # noqa: ARG002
        """Raise ``CommandError``."""
        raise CommandError(NO_SECRET_KEYS, BAD_USAGE)

    def open(self, sealed: str, **row: str) -> str:  # noqa: ARG002
        """Raise ``SecretUnopenableError``."""
        raise SecretUnopenableError("SECRET_KEYS is not set")


def database_url_of(settings: Settings) -> str:
    """Return the database's URL. Raises ``CommandError`` if DATABASE_URL is not set."""
    if settings.database_url is None:
        raise CommandError(NO_DATABASE_URL, BAD_USAGE)
    return settings.database_url


def require_secret_keys(settings: Settings) -> None:
    """Raise ``CommandError`` if SECRET_KEYS is not set."""
    if not settings.secret_keys:
        raise CommandError(NO_SECRET_KEYS, BAD_USAGE)


def endpoint_store(engine: AsyncEngine, settings: Settings) -> EndpointStore:
    """The store of endpoints, with the service's own rules."""
    keys = settings.secret_keys
    return EndpointStore(engine, AesSecretBox(keys) if keys else NoSecretBox(), settings.endpoint_rules)


@contextmanager
def explained(settings: Settings) -> Iterator[None]:
    """Turn database errors into ``CommandError`` that names what to check."""
    try:
        yield
    except NotMigratedError as error:
        raise CommandError(NOT_MIGRATED) from error
    except UrlKeyUnopenableError as error:
        raise CommandError(f"SECRET_KEYS: {error}. Put it back; 'posthorn doctor' names it.") from error
    except UnavailableError as error:
        raise CommandError(f"{unreachable(settings)}: {error}.") from error
    except RefusedError as error:
        raise CommandError(f"The database at {masked(settings.database_url or '')} refused: {error}") from error


def unreachable(settings: Settings) -> str:
    """Say which database cannot be used."""
    return f"DATABASE_URL: {masked(settings.database_url or '')} cannot be used"


@asynccontextmanager
async def connected(settings: Settings) -> AsyncIterator[AsyncEngine]:
    """An engine for one command; every database error inside becomes a ``CommandError``."""
    engine = connect(database_url_of(settings), pool_size=2)
    try:
        with explained(settings):
            yield engine
    finally:
        await engine.dispose()
