"""Whose a thing is that was named by its id alone: beside the database, where no key says it."""

from typing import TYPE_CHECKING, Final

from service.cli.calls.calling import Whose
from service.cli.terminal import BAD_USAGE, CommandError
from service.core.deliveries.delivery import DeliveryKey

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

NO_SUCH_KEY: Final = "No such key; 'posthorn keys list --organization ID' lists the ids."
"""The id is not quoted: it may be a mistyped key."""


def owner_of_delivery(delivery_id: str) -> Whose:
    """Find the organization whose delivery this is. Raises ``CommandError`` at once for what cannot be an id."""
    key = DeliveryKey.parse(delivery_id)
    if key is None:
        form = "an id looks like dlv_<32 hexadecimal digits>_<number>; 'posthorn deliveries list' shows them"
        raise CommandError(f"{delivery_id!r} is not a delivery's id: {form}.", BAD_USAGE)

    async def find(engine: "AsyncEngine") -> str:
        from service.adapters.postgres.deliveries.reader import owner_of
        from service.adapters.postgres.engine import driver

        async with driver(engine) as connection:
            found = await owner_of(connection, key)
        if found is None:
            gone = "it may be older than POSTHORN_RETENTION_DAYS"
            raise CommandError(f"There is no delivery {delivery_id}; {gone}.")
        return found

    return find


def owner_of_replay(job_id: str) -> Whose:
    """Find the organization whose job this is."""

    async def find(engine: "AsyncEngine") -> str:
        from service.adapters.postgres.replays.jobs import ReplayJobs

        found = await ReplayJobs(engine).owner_of(job_id)
        if found is None:
            lists = "'posthorn replays list --organization …' lists an organization's"
            raise CommandError(f"There is no replay {job_id!r}: {lists}.")
        return found

    return find


def owner_of_key(key_id: str) -> Whose:
    """Find the organization whose key this is."""

    async def find(engine: "AsyncEngine") -> str:
        from service.adapters.postgres.requests.keys import KeyStore

        found = await KeyStore(engine).find(key_id)
        if found is None:
            raise CommandError(NO_SUCH_KEY)
        return found.organization_id

    return find
