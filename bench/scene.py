"""The environment of a run: its own database and queues, and the processes that take part."""

import argparse
import asyncio
import base64
import os
import signal
import socket
import sys
import tempfile
import urllib.request
from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiormq
import asyncpg
import msgspec

from bench.publisher import Ledger, Orders
from service.adapters.postgres.endpoints.organizations import OrganizationStore
from service.adapters.postgres.endpoints.store import EndpointStore
from service.adapters.postgres.engine import connect
from service.adapters.postgres.schema import migrate_schema
from service.adapters.rabbitmq.topology import declare_topology
from service.adapters.secret_box import AesSecretBox, parse_secret_keys
from service.adapters.system import command_actor
from service.core.endpoints.settings import EndpointWish
from service.ports.source import Topology
from service.settings import load_settings

DATABASE = "posthorn_bench"
TOPOLOGY = Topology(prefix="posthorn_bench")


class Scene:
    """Everything created for a run; all of it is dropped with the scene."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.database_url = options.database_url.rpartition("/")[0] + "/" + DATABASE
        self._organizations = [f"org_bench_{number}" for number in range(options.endpoints)]
        self._environ = {
            **{k: v for k, v in os.environ.items() if not k.startswith("POSTHORN_")},
            "DATABASE_URL": self.database_url,
            "AMQP_URL": options.amqp_url,
            "SECRET_KEYS": "bench:" + base64.b64encode(os.urandom(32)).decode(),
            "POSTHORN_AMQP_PREFIX": TOPOLOGY.prefix,
            "POSTHORN_ALLOW_HTTP": "true",
            "POSTHORN_EGRESS_ALLOW": "127.0.0.0/8",
            "POSTHORN_LOG_LEVEL": "warning",
        }
        self._stack = AsyncExitStack()
        self._port = 0

    async def __aenter__(self) -> Self:
        await self._stack.__aenter__()
        await self._fresh_database()
        self._stack.push_async_callback(self._drop_queues)
        await self._drop_queues()
        await declare_topology(self.options.amqp_url, TOPOLOGY, "active")
        self.receiver = await self._start("bench.receiver", "0", stdout=asyncio.subprocess.PIPE)
        assert self.receiver.stdout is not None
        self._port = int(await self.receiver.stdout.readline())
        await self._subscribe()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._stack.__aexit__(kind, error, traceback)

    # ------------------------------------------------------------------ processes

    async def start_publisher(self, *, events: int = 0, rate: float = 0, seconds: float = 0) -> "Publishing":
        """Start a publisher that is ready but has published nothing yet."""
        ledger = Path(self._stack.enter_context(tempfile.TemporaryDirectory())) / "ledger"
        orders = Orders(
            amqp_url=self.options.amqp_url,
            exchange=TOPOLOGY.events_exchange,
            queue=TOPOLOGY.intake_queue,
            ledger=str(ledger),
            organizations=self._organizations,
            events=events,
            rate=rate,
            seconds=seconds,
            depth=self.options.depth,
        )
        pipe = asyncio.subprocess.PIPE
        process = await self._start("bench.publisher", msgspec.json.encode(orders).decode(), stdout=pipe, stdin=pipe)
        assert process.stdout is not None
        await process.stdout.readline()
        return Publishing(process, ledger)

    async def start_workers(self) -> asyncio.subprocess.Process:
        """Start the service; returns its supervisor's process."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._ops_port = int(probe.getsockname()[1])
        arguments = ("serve", "--role", "worker", "--processes", str(self.options.workers))
        return await self._start("service", *arguments, environ={"POSTHORN_OPS_PORT": str(self._ops_port)})

    async def ready(self) -> None:
        """Wait until the workers are ready."""
        for _ in range(300):
            try:
                await asyncio.to_thread(urllib.request.urlopen, f"http://127.0.0.1:{self._ops_port}/readyz", timeout=5)
            except OSError:
                await asyncio.sleep(0.1)
            else:
                return
        raise SystemExit("the workers did not become ready")

    async def _start(
        self,
        *arguments: str,
        stdin: int | None = None,
        stdout: int | None = None,
        environ: Mapping[str, str] | None = None,
    ) -> asyncio.subprocess.Process:
        environ = {**self._environ, **(environ or {})}
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", *arguments, env=environ, stdin=stdin, stdout=stdout
        )

        async def end() -> None:
            if process.returncode is None:
                process.send_signal(signal.SIGTERM)
            await process.wait()

        self._stack.push_async_callback(end)
        return process

    # ------------------------------------------------------------------ queries

    async def count(self) -> int:
        """How many POSTs have arrived."""
        return int(await self._get("/count"))

    async def arrivals(self) -> bytes:
        """The receiver's ledger."""
        return await self._get("/ledger")

    async def _get(self, path: str) -> bytes:
        def get() -> bytes:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._port}{path}", timeout=60) as reply:
                return bytes(reply.read())

        return await asyncio.to_thread(get)

    async def commits(self) -> int:
        """How many transactions the run's database has committed."""
        return int(await self._fetch("SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()"))

    async def until_settled(self, expected: int) -> None:
        """Wait, up to a limit, until the outcomes are recorded and PostgreSQL has counted their commits."""
        for _ in range(200):
            if await self._fetch("SELECT count(*) FROM final_deliveries") >= expected:
                break
            await asyncio.sleep(0.05)
        await asyncio.sleep(1.1)  # PostgreSQL publishes its counters once a second

    async def _fetch(self, query: str) -> Any:  # noqa: ANN401 - one value
        connection = await asyncpg.connect(self.database_url)
        try:
            return await connection.fetchval(query)
        finally:
            await connection.close()

    # ------------------------------------------------------------------ setup

    async def _fresh_database(self) -> None:
        admin = await asyncpg.connect(self.options.database_url)
        self._stack.push_async_callback(admin.close)
        for name in ("fsync", "synchronous_commit"):
            if await admin.fetchval(f"SHOW {name}") != "on":
                raise SystemExit(f"the benchmark needs PostgreSQL with {name}=on")
        drop = f"DROP DATABASE IF EXISTS {DATABASE} WITH (FORCE)"
        await admin.execute(drop)
        await admin.execute(f"CREATE DATABASE {DATABASE}")
        self._stack.push_async_callback(admin.execute, drop)
        await migrate_schema(self.database_url)

    async def _subscribe(self) -> None:
        engine = connect(self.database_url, pool_size=1)
        secret_box = AesSecretBox(parse_secret_keys(self._environ["SECRET_KEYS"]))
        endpoints = EndpointStore(engine, secret_box, load_settings(self._environ).endpoint_rules)
        for number, organization in enumerate(self._organizations):
            await OrganizationStore(engine).create(organization, by=command_actor())
            for copy in range(self.options.fan_out):
                url = f"http://127.0.0.1:{self._port}/{number}/{copy}"
                given = {"url": url, "event_types": ["message.sent"], "order_by": self.options.order_by}
                await endpoints.create(organization, EndpointWish(given), by=command_actor())
        await engine.dispose()

    async def _drop_queues(self) -> None:
        connection = await aiormq.connect(self.options.amqp_url)
        channel = await connection.channel()
        for name in ("intake", "parked"):
            await channel.queue_delete(f"{TOPOLOGY.prefix}.{name}")
        for name in ("events", "parked"):
            await channel.exchange_delete(f"{TOPOLOGY.prefix}.{name}")
        await connection.close()


class Publishing:
    """A running publisher."""

    def __init__(self, process: asyncio.subprocess.Process, ledger: Path) -> None:
        self.pid = process.pid
        self._process = process
        self._ledger = ledger

    def go(self) -> None:
        """Start publishing."""
        assert self._process.stdin is not None
        self._process.stdin.write(b"go\n")

    @property
    def is_over(self) -> bool:
        """Whether everything is published and confirmed."""
        return self._process.returncode is not None

    async def ledger(self) -> Ledger:
        """Wait until it is finished; returns what was published, and when."""
        if await self._process.wait():
            raise SystemExit("the publisher failed")
        return msgspec.msgpack.decode(self._ledger.read_bytes(), type=Ledger)
