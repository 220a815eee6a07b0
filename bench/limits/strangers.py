"""More than a thousand connections to the API's port that never finish their request, while events are delivered.

The service may open 1,024 files unless it asks for more, which is the usual limit.
"""

import argparse
import asyncio
from contextlib import suppress
from typing import Any

from bench.limits.stage import Stage
from bench.limits.tenants import Organization
from bench.limits.traffic import Stream
from bench.limits.worker import Worker

IDLE_FIRST, BESIDE_FIRST = 10_000_000, 20_000_000
UNFINISHED = b"POST /v1/events HTTP/1.1\r\nHost: localhost\r\nX-Never-"


def add_options(parser: argparse.ArgumentParser) -> None:
    """What may be chosen."""
    parser.add_argument("--connections", type=int, default=1_100)
    parser.add_argument("--descriptors", type=int, default=1_024, help="files that the service may open unless it asks")
    parser.add_argument("--endpoints", type=int, default=100, help="each of an organization of its own")
    parser.add_argument("--rate", type=float, default=50, help="events per second")
    parser.add_argument("--seconds", type=float, default=10, help="how long it is measured, alone and beside")


async def measure(stage: Stage, options: argparse.Namespace) -> dict[str, Any]:
    """Alone first, then beside the strangers, who arrive before the first event does."""
    names = [f"org_{number}" for number in range(options.endpoints)]
    await stage.add([Organization(name, [stage.receiver.url("close", name)]) for name in names])
    worker = await stage.start_worker("--role", "all", descriptors=options.descriptors)
    count = int(options.rate * options.seconds)
    idle = await stage.lateness(Stream(IDLE_FIRST, count, names, options.rate))
    strangers = Strangers(worker.http_port)
    await strangers.come(options.connections)
    readiness = asyncio.create_task(_readiness(worker))
    beside = await stage.lateness(Stream(BESIDE_FIRST, count, names, options.rate))
    readiness.cancel()
    answers = await readiness
    found = {
        "idle": idle,
        "beside": beside,
        "connected": strangers.connected,
        "ready_answers": {str(status): answers.count(status) for status in sorted(set(answers))},
        "attempts_by_reason": await stage.attempts_by_reason(),
    }
    strangers.leave()
    return {**found, **await worker.state([])}


class Strangers:
    """Connections that say half a request, and nothing more."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._writers: list[asyncio.StreamWriter] = []

    @property
    def connected(self) -> int:
        """How many there are."""
        return len(self._writers)

    async def come(self, count: int) -> None:
        """Connect as often, one after the other."""
        for _ in range(count):
            with suppress(OSError, TimeoutError):
                async with asyncio.timeout(1):
                    _, writer = await asyncio.open_connection("127.0.0.1", self._port)
                writer.write(UNFINISHED)
                self._writers.append(writer)

    def leave(self) -> None:
        """Close all connections."""
        for writer in self._writers:
            writer.close()


async def _readiness(worker: Worker) -> list[int]:
    """The status that /readyz answers, twice a second, until this is cancelled; 0 for no answer."""
    answers: list[int] = []
    with suppress(asyncio.CancelledError):
        while True:
            answers.append(await worker.answers("/readyz", seconds=2))
            await asyncio.sleep(0.5)
    return answers
