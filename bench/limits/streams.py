"""Hundreds of open streams, and one whose client takes nothing, beside full load: what they cost each delivery.

The same events are published four times: with no stream, with streams that ask for a type which never comes, with
streams that are told of everything, and with no stream again. CPU is that of the service, and of PostgreSQL.
"""

import argparse
import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from bench.figures import Processes
from bench.limits.stage import Stage
from bench.limits.tenants import Organization
from bench.limits.traffic import Stream
from bench.limits.worker import Worker

FIRST = 10_000_000
OF_KEY_MAX = 5
NEVER_COMES = "link.clicked"
PIECE_BYTES = 1 << 16


def add_options(parser: argparse.ArgumentParser) -> None:
    """What may be chosen."""
    parser.add_argument("--streams", type=int, default=200)
    parser.add_argument("--events", type=int, default=20_000, help="of each of the four times")
    parser.add_argument("--organizations", type=int, default=50)


async def measure(stage: Stage, options: argparse.Namespace) -> dict[str, Any]:
    """Four times the same, one after the other."""
    names = [f"org_{number}" for number in range(options.organizations)]
    await stage.add([Organization(name, [stage.receiver.url("ok", name)]) for name in names])
    worker = await stage.start_worker("--role", "all")
    keys = [await stage.key_of(names[each % len(names)]) for each in range(-(-options.streams // OF_KEY_MAX))]
    processes = Processes(worker.process.pid, stage.receiver.process_id, stage.name)
    found: dict[str, Any] = {}
    for index, (name, query) in enumerate(
        (("none", None), ("quiet", f"?event_type={NEVER_COMES}"), ("told", ""), ("none_again", None))
    ):
        listeners = Listeners(worker.http_port)
        if query is not None:
            await listeners.come(keys, options.streams, query)
        load = Stream(FIRST * (index + 1), options.events, names)
        found[name] = await _costs(stage, worker, processes, load, options.events * (index + 1))
        found[name] |= {"open": listeners.open, "received_mib": round(listeners.received_bytes / 2**20, 1)}
        listeners.leave()
    metrics = await worker.metrics()
    gaps = sum(value for sample, value in metrics.items() if sample.startswith("posthorn_stream_gaps_total"))
    return {**found, "gaps": int(gaps), **await worker.state([])}


async def _costs(
    stage: Stage, worker: Worker, processes: Processes, load: Stream, arrived_count: int
) -> dict[str, Any]:
    """Publish, wait until all has arrived, and say what it cost."""
    before = processes.cpu()
    publishing = await stage.publish(load)
    is_complete = await stage.receiver.until_count(arrived_count, 2 * stage.patience_seconds)
    await publishing.sent()
    cpu = {name: seconds - before.get(name, 0.0) for name, seconds in processes.cpu().items()}
    at = sorted(each for number in load.numbers for each in stage.receiver.by_number.get(number, ()))
    seconds = (at[-1] - at[0]) / 1e9 if len(at) > 1 else 0.0
    return {
        "is_complete": is_complete,
        "deliveries_per_second": round(len(at) / seconds, 1) if seconds else None,
        "cpu_us_per_delivery": {name: round(each / max(1, len(at)) * 1e6, 1) for name, each in cpu.items()},
        "resident_mib": worker.resident_mib(),
    }


class Listeners:
    """Clients of the stream, in this process. The last of them takes nothing."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._writers: list[asyncio.StreamWriter] = []
        self._reading: list[asyncio.Task[None]] = []
        self.received_bytes = 0
        self.open = 0

    async def come(self, keys: Sequence[str], count: int, query: str) -> None:
        """Open so many streams."""
        for number in range(count):
            reader, writer = await asyncio.open_connection("127.0.0.1", self._port, limit=PIECE_BYTES)
            self._writers.append(writer)
            asked = (
                f"GET /v1/stream{query} HTTP/1.1\r\nHost: localhost\r\nX-API-Key: {keys[number // OF_KEY_MAX]}\r\n\r\n"
            )
            writer.write(asked.encode())
            head = await reader.readuntil(b"\r\n\r\n")
            self.open += b" 200 " in head.partition(b"\r\n")[0]
            if number < count - 1:
                self._reading.append(asyncio.create_task(self._take(reader)))

    async def _take(self, reader: asyncio.StreamReader) -> None:
        with suppress(OSError):
            while piece := await reader.read(PIECE_BYTES):
                self.received_bytes += len(piece)

    def leave(self) -> None:
        """Close all."""
        for task in self._reading:
            task.cancel()
        for writer in self._writers:
            writer.close()
