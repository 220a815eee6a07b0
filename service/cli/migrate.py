"""``migrate``: upgrade the database schema to this release."""

import asyncio

from service.adapters.postgres.engine import translated
from service.adapters.postgres.schema import migrate_schema
from service.cli.database import database_url_of, explained
from service.cli.hints import suggest
from service.cli.terminal import tell
from service.settings import load_settings


def migrate() -> None:
    """Upgrade the database schema to this release. Safe to repeat."""
    settings = load_settings()
    url = database_url_of(settings)
    with explained(settings), translated():
        asyncio.run(migrate_schema(url))
    tell("The database schema matches this release.")
    suggest("keys create --organization org_a")
