"""``migrate``: bring the database to this release."""

import asyncio

from service.adapters.postgres.engine import translated
from service.adapters.postgres.schema import migrate as migrate_database
from service.cli.database import database_url_of, explained
from service.cli.hints import suggest
from service.cli.terminal import tell
from service.settings import load_settings


def migrate() -> None:
    """Bring the database's schema to this release; a second time changes nothing."""
    settings = load_settings()
    url = database_url_of(settings)
    with explained(settings), translated():
        asyncio.run(migrate_database(url))
    tell("The database is at this release's schema.")
    suggest("keys create --organization org_a")
