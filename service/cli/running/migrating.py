"""``migrate``: upgrade the database schema to this release."""

import asyncio

from service.adapters.postgres.engine import translated
from service.adapters.postgres.schema import migrate_schema
from service.cli.database import database_url_of, explained
from service.cli.hints import suggest
from service.cli.terminal import tell
from service.settings import load_settings


def migrate(grant_to: str) -> None:
    """Upgrade, and give the role ``grant_to`` what the service needs, if one is named."""
    settings = load_settings()
    url = database_url_of(settings)
    with explained(settings), translated():
        asyncio.run(migrate_schema(url, service_role=grant_to))
    tell("The database schema matches this release.")
    if grant_to:
        tell(f"The role {grant_to} has what the service needs.")
    suggest("keys create --organization org_a")
