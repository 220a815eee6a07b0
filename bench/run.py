"""The delivery benchmark: publisher -> RabbitMQ -> worker processes -> local receivers, PostgreSQL durable.

``python -m bench.run --help`` tells the options. Everything shares this machine; CPU per delivery is the steadier
figure. The database ``posthorn_bench`` is made anew for each run, and dropped at the end with the bench's queues.
"""

import argparse
import asyncio
import base64
import json
import os
import signal
import socket
import statistics
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiormq
import asyncpg
import psutil

from service.adapters.postgres import Administration, connect, migrate
from service.adapters.rabbitmq import EventPublisher, Publication, Topology, declare_topology
from service.adapters.secret_box import AesSecretBox, parse_secret_keys
from service.core.sample import sample_event

DATABASE = "posthorn_bench"
TOPOLOGY = Topology(prefix="posthorn_bench")
IDLE_SECONDS_MAX = 30  # nothing arrives for this long: what is missing is lost


@dataclass(frozen=True, slots=True)
class Result:
    """The figures of one run."""

    deliveries: int
    seconds: float
    deliveries_per_second: float
    cpu_us_per_delivery: float
    cpu_us_by_process: dict[str, float]
    commits_per_delivery: float
    p50_ms: float
    p99_ms: float
    lost: int
    duplicates: int


class Cpu:
    """CPU seconds by kind of process, from the operating system's own accounts."""

    def __init__(self, workers: Sequence[int], receiver: int) -> None:
        self._groups = {"worker": list(workers), "receiver": [receiver], "publisher": [os.getpid()]}
        self._groups["rabbitmq"] = [p.pid for p in psutil.process_iter(["name"]) if "beam" in p.info["name"]]

    def read(self) -> dict[str, float]:
        """Seconds used so far."""
        backends = [p.pid for p in psutil.process_iter(["name"]) if p.info["name"] == "postgres"]  # they come and go
        return {name: sum(map(self._seconds, pids)) for name, pids in {**self._groups, "postgres": backends}.items()}

    @staticmethod
    def _seconds(pid: int) -> float:
        try:
            times = psutil.Process(pid).cpu_times()
        except psutil.NoSuchProcess:
            return 0.0
        return float(times.user + times.system)


class Bench:
    """One run: a database, a receiver, workers, events."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.database_url = options.database_url.rpartition("/")[0] + "/" + DATABASE
        self.environ = {
            **{k: v for k, v in os.environ.items() if not k.startswith("POSTHORN_")},
            "DATABASE_URL": self.database_url,
            "AMQP_URL": options.amqp_url,
            "SECRET_KEYS": "bench:" + base64.b64encode(os.urandom(32)).decode(),
            "POSTHORN_AMQP_PREFIX": TOPOLOGY.prefix,
            "POSTHORN_ALLOW_HTTP": "true",
            "POSTHORN_EGRESS_ALLOW": "127.0.0.0/8",
            "POSTHORN_LOG_LEVEL": "warning",
        }
        self.published_ns: dict[str, int] = {}
        self.port = 0

    async def run(self) -> Result:
        """Set up, measure, tear down."""
        async with AsyncExitStack() as stack:
            await self._fresh_database(stack)
            stack.push_async_callback(self._drop_queues)
            await self._drop_queues()
            await declare_topology(self.options.amqp_url, TOPOLOGY, "active")
            receiver = await self._start(stack, "bench.receiver", "0", stdout=asyncio.subprocess.PIPE)
            assert receiver.stdout is not None
            self.port = int(await receiver.stdout.readline())
            await self._subscribe()
            publisher = await stack.enter_async_context(EventPublisher(self.options.amqp_url, TOPOLOGY, app_id="bench"))
            if self.options.rate == 0:
                await publisher.publish_many(self._publications(self.options.events))
            arguments = ("service", "serve", "--role", "worker", "--processes", str(self.options.workers))
            ops = self._free_port()
            self.environ["POSTHORN_OPS_PORT"] = str(ops)
            supervisor = await self._start(stack, *arguments)
            if self.options.rate:
                await self._ready(ops)
            return await self._measure(supervisor, receiver.pid, publisher)

    async def _measure(
        self, supervisor: asyncio.subprocess.Process, receiver: int, publisher: EventPublisher
    ) -> Result:
        expected = self.options.events * self.options.fan_out
        while self.options.rate == 0 and await self._count() == 0:  # noqa: ASYNC110 - another process's count
            await asyncio.sleep(0.01)
        tree = psutil.Process(supervisor.pid)
        cpu = Cpu([p.pid for p in (tree, *tree.children(recursive=True))], receiver)
        commits_before, cpu_before, skipped = await self._commits(), cpu.read(), await self._count()
        started = time.monotonic()
        if self.options.rate:
            await self._publish_at_rate(publisher)
        last, idle_since = -1, time.monotonic()
        while (count := await self._count()) < expected and time.monotonic() - idle_since < IDLE_SECONDS_MAX:
            if count != last:
                last, idle_since = count, time.monotonic()
            await asyncio.sleep(0.02)
        seconds = time.monotonic() - started
        cpu_after = cpu.read()
        await self._until_settled(expected)
        commits = await self._commits() - commits_before
        return self._result(expected, count - skipped, seconds, cpu_before, cpu_after, commits, await self._ledger())

    def _result(
        self,
        expected: int,
        counted: int,
        seconds: float,
        before: dict[str, float],
        after: dict[str, float],
        commits: int,
        ledger: list[tuple[str, int]],
    ) -> Result:
        by_process = {name: round((after[name] - before[name]) * 1e6 / counted, 1) for name in after}
        copies = Counter(event_id for event_id, _ in ledger)
        # At a rate, the first second is warm-up: connections, plans and directories are made then.
        from_ns = min(self.published_ns.values()) + (1_000_000_000 if self.options.rate else 0)
        latencies = sorted(
            (at - published_ns) / 1e6
            for event_id, at in ledger
            if (published_ns := self.published_ns[event_id]) >= from_ns
        )
        return Result(
            deliveries=counted,
            seconds=round(seconds, 3),
            deliveries_per_second=round(counted / seconds, 1),
            cpu_us_per_delivery=round(sum(v for k, v in by_process.items() if k != "publisher"), 1),
            cpu_us_by_process=by_process,
            commits_per_delivery=round(commits / expected, 4),
            p50_ms=round(latencies[len(latencies) // 2], 2),
            p99_ms=round(latencies[int(len(latencies) * 0.99)], 2),
            lost=sum(max(0, self.options.fan_out - copies[event_id]) for event_id in self.published_ns),
            duplicates=sum(max(0, n - self.options.fan_out) for n in copies.values()),
        )

    # ------------------------------------------------------------------ the parts

    async def _fresh_database(self, stack: AsyncExitStack) -> None:
        admin = await asyncpg.connect(self.options.database_url)
        stack.push_async_callback(admin.close)
        for name in ("fsync", "synchronous_commit"):
            if await admin.fetchval(f"SHOW {name}") != "on":
                raise SystemExit(f"the benchmark needs PostgreSQL with {name}=on")
        drop = f"DROP DATABASE IF EXISTS {DATABASE} WITH (FORCE)"
        await admin.execute(drop)
        await admin.execute(f"CREATE DATABASE {DATABASE}")
        stack.push_async_callback(admin.execute, drop)
        await migrate(self.database_url)

    async def _subscribe(self) -> None:
        engine = connect(self.database_url, pool_size=1)
        administration = Administration(engine, AesSecretBox(parse_secret_keys(self.environ["SECRET_KEYS"])))
        for number in range(self.options.endpoints):
            organization = self._organization(number)
            await administration.create_organization(organization)
            for copy in range(self.options.fan_out):
                url = f"http://127.0.0.1:{self.port}/{number}/{copy}"
                await administration.add_endpoint(organization, url, ["message.sent"])
        await engine.dispose()

    @staticmethod
    def _organization(number: int) -> str:
        return f"org_bench_{number}"

    def _publications(self, count: int, first: int = 0) -> Any:  # noqa: ANN401 - a generator of publications
        for number in range(first, first + count):
            event_id = f"evt_bench_{number:08d}"
            organization = self._organization(number % self.options.endpoints)
            body = sample_event("message.sent", organization, event_id=event_id, number=number, now=datetime.now(UTC))
            self.published_ns[event_id] = time.time_ns()
            yield Publication(body, "message.sent", message_id=event_id)

    async def _publish_at_rate(self, publisher: EventPublisher) -> None:
        """Publish singly at an even pace, each confirmed by itself as a platform would."""
        started, sending = time.monotonic(), set()
        for number, publication in enumerate(self._publications(self.options.events)):
            ahead = started + number / self.options.rate - time.monotonic()
            if ahead > 0:
                await asyncio.sleep(ahead)
            self.published_ns[str(publication.message_id)] = time.time_ns()
            task = asyncio.create_task(publisher.publish(publication))
            sending.add(task)
            task.add_done_callback(sending.discard)
        await asyncio.gather(*sending)

    async def _start(
        self, stack: AsyncExitStack, *arguments: str, stdout: int | None = None
    ) -> asyncio.subprocess.Process:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", *arguments, env=self.environ, stdout=stdout
        )

        async def end() -> None:
            if process.returncode is None:
                process.send_signal(signal.SIGTERM)
            await process.wait()

        stack.push_async_callback(end)
        return process

    async def _get(self, path: str) -> bytes:
        url = f"http://127.0.0.1:{self.port}{path}"
        return await asyncio.to_thread(lambda: urllib.request.urlopen(url, timeout=30).read())

    async def _count(self) -> int:
        return int(await self._get("/count"))

    async def _ledger(self) -> list[tuple[str, int]]:
        rows = (line.split() for line in (await self._get("/ledger")).decode().splitlines())
        return [(event_id, int(at)) for event_id, at in rows]

    async def _commits(self) -> int:
        connection = await asyncpg.connect(self.database_url)
        try:
            return int(
                await connection.fetchval("SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()")
            )
        finally:
            await connection.close()

    async def _until_settled(self, expected: int) -> None:
        connection = await asyncpg.connect(self.database_url)
        try:
            for _ in range(200):
                if await connection.fetchval("SELECT count(*) FROM final_deliveries") >= expected:
                    break
                await asyncio.sleep(0.05)
            await asyncio.sleep(1.1)  # PostgreSQL publishes its counters once a second
        finally:
            await connection.close()

    async def _ready(self, port: int) -> None:
        for _ in range(300):
            try:
                await asyncio.to_thread(urllib.request.urlopen, f"http://127.0.0.1:{port}/readyz", timeout=5)
            except OSError:
                await asyncio.sleep(0.1)
            else:
                return
        raise SystemExit("the workers did not become ready")

    @staticmethod
    def _free_port() -> int:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            return int(probe.getsockname()[1])

    async def _drop_queues(self) -> None:
        connection = await aiormq.connect(self.options.amqp_url)
        channel = await connection.channel()
        for name in ("intake", "parked"):
            await channel.queue_delete(f"{TOPOLOGY.prefix}.{name}")
        for name in ("events", "parked"):
            await channel.exchange_delete(f"{TOPOLOGY.prefix}.{name}")
        await connection.close()


def main() -> None:
    """Run, and print a table and JSON: the median of each figure, with its least and greatest."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--database-url", default="postgresql://postgres@127.0.0.1:5432/postgres")
    parser.add_argument("--amqp-url", default="amqp://guest:guest@127.0.0.1:5672/")
    parser.add_argument("--workers", type=int, default=1, help="worker processes")
    parser.add_argument("--events", type=int, default=30_000)
    parser.add_argument("--endpoints", type=int, default=10, help="organizations, with --fan-out endpoints each")
    parser.add_argument("--fan-out", type=int, default=1)
    parser.add_argument("--rate", type=float, default=0, help="publish so many a second; 0: the queue is filled first")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--json", help="also write the runs to this file")
    options = parser.parse_args()
    runs = []
    for number in range(options.runs):
        result = asyncio.run(Bench(options).run())
        runs.append(asdict(result))
        print(f"run {number + 1}: {json.dumps(runs[-1])}", flush=True)
    print(f"\n{'figure':24}{'median':>12}{'min':>12}{'max':>12}")
    for name in runs[0]:
        if name != "cpu_us_by_process":
            values = [run[name] for run in runs]
            print(f"{name:24}{statistics.median(values):>12}{min(values):>12}{max(values):>12}")
    if options.json:
        Path(options.json).write_text(json.dumps({"options": vars(options), "runs": runs}, indent=1) + "\n")


if __name__ == "__main__":
    main()
