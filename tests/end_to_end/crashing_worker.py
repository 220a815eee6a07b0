"""A worker that dies at a named point, the n-th time it gets there: ``python -m … POINT N``.

TOWN_ROLE says what else than a worker it is. It is the service as it is, assembled by the composition root; only the methods of the ports' implementations, or the
database connection they are given, are replaced in this one process. It dies by SIGKILL: nothing is finished.
"""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from sqlalchemy.ext.asyncio import AsyncEngine

from service.adapters.exit.sender import HttpSender
from service.adapters.observers.logs import configure_logs
from service.adapters.postgres.deliveries import fan_outs, statements
from service.adapters.postgres.deliveries import store as deliveries
from service.adapters.postgres.deliveries.fan_outs import PostgresFanOutStore
from service.adapters.postgres.deliveries.store import PostgresDeliveryStore
from service.adapters.postgres.engine import driver
from service.adapters.postgres.events.announcements import ANNOUNCE
from service.adapters.postgres.replays import statements as replay_statements
from service.adapters.postgres.replays import steps as replays
from service.adapters.postgres.replays.steps import PostgresReplayStore
from service.adapters.rabbitmq.source import RabbitSource
from service.app.assembly import run_process
from service.app.role import Role
from service.cli.running.serving import worker_name
from service.core.deliveries.request import Request
from service.settings import load_settings
from tests.end_to_end.oracle import LedgerReader
from tests.end_to_end.waiting import until


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class Countdown:
    """True at the n-th call."""

    def __init__(self, count: int) -> None:
        self._left = count

    def is_over(self) -> bool:
        self._left -= 1
        return self._left == 0


def before(owner: type, name: str, countdown: Countdown) -> None:
    """Die in place of the n-th call."""
    method = getattr(owner, name)

    async def dying(*arguments: Any, **options: Any) -> Any:
        if countdown.is_over():
            die()
        return await method(*arguments, **options)

    setattr(owner, name, dying)


def after(owner: type, name: str, countdown: Countdown) -> None:
    """Die when the n-th call that returned something is over, before anybody learns what it returned."""
    method = getattr(owner, name)

    async def dying(*arguments: Any, **options: Any) -> Any:
        returned = await method(*arguments, **options)
        if returned and countdown.is_over():
            die()
        return returned

    setattr(owner, name, dying)


def inside(statement: str, countdown: Countdown, module: ModuleType = deliveries) -> None:
    """Die when the n-th run of ``statement`` by ``module`` is executed, before it is committed."""

    class Connection:
        def __init__(self, native: Any) -> None:
            self._native = native

        def __getattr__(self, name: str) -> Any:
            return getattr(self._native, name)

        async def fetchrow(self, text: str, *arguments: Any) -> Any:
            return await self._run(self._native.fetchrow, text, *arguments)

        async def fetchval(self, text: str, *arguments: Any) -> Any:
            return await self._run(self._native.fetchval, text, *arguments)

        async def execute(self, text: str, *arguments: Any) -> Any:
            return await self._run(self._native.execute, text, *arguments)

        async def fetch(self, text: str, *arguments: Any) -> Any:
            return await self._run(self._native.fetch, text, *arguments)

        async def _run(self, fetch: Callable[..., Awaitable[Any]], text: str, *arguments: Any) -> Any:
            is_last = text == statement and countdown.is_over()
            if is_last and not self._native.is_in_transaction():
                await self._native.execute("BEGIN")
            fetched = await fetch(text, *arguments)
            if is_last:
                die()
            return fetched

    @asynccontextmanager
    async def watched(engine: AsyncEngine) -> AsyncIterator[Any]:
        async with driver(engine) as native:
            yield Connection(native)

    setattr(module, "driver", watched)  # noqa: B010 - the module's own name for it


def during_the_post(countdown: Countdown) -> None:
    """Die when the receiver has the n-th request and has not answered it."""
    send = HttpSender.send
    ledger = LedgerReader(Path(os.environ["TOWN_LEDGER"]))

    async def dying(sender: HttpSender, request: Request) -> Any:
        posting = asyncio.create_task(send(sender, request))
        if countdown.is_over():
            event_id = dict(request.headers)["webhook-id"]
            await until(lambda: any(line.id == event_id for line in ledger.lines()), "the receiver has it")
            die()
        return await posting

    setattr(HttpSender, "send", dying)  # noqa: B010 - replaced for this process


def of_the_poison(_: Countdown) -> None:
    """Die whenever one event is sent: it crashes workers."""
    send = HttpSender.send

    async def dying(sender: HttpSender, request: Request) -> Any:
        if dict(request.headers)["webhook-id"] == os.environ["TOWN_POISON"]:
            die()
        return await send(sender, request)

    setattr(HttpSender, "send", dying)  # noqa: B010 - replaced for this process


POINTS: dict[str, Callable[[Countdown], None]] = {
    "before the commit": lambda countdown: inside(statements.RECORD, countdown),
    "after the commit, before anybody knows": lambda countdown: after(PostgresDeliveryStore, "record", countdown),
    "after the commit, before the ack": lambda countdown: before(RabbitSource, "ack", countdown),
    "after the claim": lambda countdown: after(PostgresDeliveryStore, "claim_due", countdown),
    "during the post": during_the_post,
    "after the reply, before the settle": lambda countdown: before(PostgresDeliveryStore, "settle", countdown),
    "in the settle": lambda countdown: inside(statements.SETTLE, countdown),
    "after the settle": lambda countdown: after(PostgresDeliveryStore, "settle", countdown),
}
ANNOUNCING = {
    "in the announcement": lambda countdown: inside(ANNOUNCE, countdown),
    "in its fan-out": lambda countdown: inside(statements.FAN_OUT, countdown, fan_outs),
    "after its fan-out": lambda countdown: after(PostgresFanOutStore, "step", countdown),
}

REPLAYING = {
    "in a step that makes deliveries": lambda countdown: inside(replay_statements.MAKE, countdown, replays),
    "after a step, before anybody knows": lambda countdown: after(PostgresReplayStore, "step", countdown),
    "in the settle of a replay": lambda countdown: inside(statements.SETTLE, countdown),
}


async def main(point: str, count: int) -> None:
    settings = load_settings()
    configure_logs(settings.log_format, settings.log_level)
    {**POINTS, **ANNOUNCING, **REPLAYING, "of the poison": of_the_poison}[point](Countdown(count))
    await run_process(settings, Role(os.environ.get("TOWN_ROLE", "worker")), asyncio.Event(), name=worker_name())


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
