"""Faults of the database: restarted, without a free connection, read-only, its disk full."""

import asyncio
import os
import signal
import time

import asyncpg

from bench.soak.blows import Blow
from bench.soak.servers import CONNECTIONS_MAX
from bench.soak.site import Site

FAULT_SECONDS = 5.0
AT_ONCE = 10
AGAIN_SECONDS = 0.2

END_SERVICE = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'posthorn%'"


async def restart(site: Site, blow: Blow) -> None:
    """Stop or kill the server, and start it again."""
    server, is_killed = site.database.server, site.chance.random() < 0.5  # noqa: PLR2004
    blow.detail = "killed" if is_killed else "in good order"
    if is_killed:
        assert server.process_id is not None
        os.kill(server.process_id, signal.SIGKILL)
    await server.__aexit__(None, None, None)
    await server.__aenter__()


async def exhaust_connections(site: Site, blow: Blow) -> None:
    """Take every connection the server has for ordinary users, those of the service too, and keep them."""
    taken: list[asyncpg.Connection] = []
    ends_at = time.monotonic() + FAULT_SECONDS
    admin = await asyncpg.connect(site.database.admin_url)
    try:
        while time.monotonic() < ends_at:
            asked = [asyncpg.connect(site.town.database_url, timeout=FAULT_SECONDS) for _ in range(AT_ONCE)]
            answers = await asyncio.gather(*asked, return_exceptions=True)
            taken += [answer for answer in answers if isinstance(answer, asyncpg.Connection)]
            if any(isinstance(answer, asyncpg.TooManyConnectionsError) for answer in answers):
                await admin.execute(END_SERVICE)
                await asyncio.sleep(AGAIN_SECONDS)
        blow.detail = f"{len(taken)} of {CONNECTIONS_MAX} taken"
    finally:
        for connection in (admin, *taken):
            connection.terminate()


async def refuse_writes(site: Site, blow: Blow) -> None:
    """Make every transaction read-only, those of connections that are open too, as an operator would."""
    blow.detail = "default_transaction_read_only"
    reload = "SELECT pg_reload_conf()"
    await site.database.admin("ALTER SYSTEM SET default_transaction_read_only = on", reload)
    try:
        await asyncio.sleep(FAULT_SECONDS)
    finally:
        await site.database.admin("ALTER SYSTEM RESET default_transaction_read_only", reload)


async def fill_disk(site: Site, blow: Blow) -> None:
    """Leave no room on the disk of the database's tables; the log of the server is elsewhere."""
    blow.detail = "the tables' disk"
    await asyncio.to_thread(site.database.disk.fill)
    try:
        await asyncio.sleep(FAULT_SECONDS)
    finally:
        site.database.disk.clear()
