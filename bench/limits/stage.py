"""The scene of a measurement: its own database and queues, organizations in bulk, a receiver, workers, publishers.

Everything is dropped, and every process ended by its id, when the stage is left.
"""

import asyncio
import base64
import os
import secrets
import signal
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack, closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import aiormq
import asyncpg
import msgspec
from sqlalchemy import make_url

from bench.limits.arrivals import Arrivals
from bench.limits.latency import by_second, lateness
from bench.limits.messages import parked_reasons
from bench.limits.receiver import limit_descriptors, raise_descriptor_limit
from bench.limits.tenants import Organization, add_organizations
from bench.limits.traffic import Orders, Sent, Stream
from bench.limits.worker import Worker, free_port
from bench.publisher import EVENT_TYPE, Wire
from service.adapters.secret_box import AesSecretBox, parse_secret_keys
from service.ports.source import Topology

ROOT = Path(__file__).parents[2]
LOG_CHARACTERS_MAX = 4_000


@dataclass(frozen=True, slots=True)
class Servers:
    """What a measurement needs: a PostgreSQL where databases may be made, a broker, and the service to measure."""

    database_url: str
    amqp_url: str
    service: Path = ROOT
    python: str = sys.executable
    patience_seconds: float = 40.0
    """How long to wait for what has not arrived: it counts as missing then."""


class Stage:
    """Everything made for a measurement."""

    def __init__(self, servers: Servers) -> None:
        raise_descriptor_limit()
        self._servers = servers
        self.patience_seconds = servers.patience_seconds
        self.name = f"posthorn_limits_{secrets.token_hex(4)}"
        self.topology = Topology(prefix=self.name)
        self.database_url = make_url(servers.database_url).set(database=self.name).render_as_string(hide_password=False)
        self._environ = {
            **{name: value for name, value in os.environ.items() if not name.startswith("POSTHORN_")},
            "PYTHONPATH": f"{servers.service}{os.pathsep}{servers.service / 'receiver'}",
            "DATABASE_URL": self.database_url,
            "AMQP_URL": servers.amqp_url,
            "SECRET_KEYS": "limits:" + base64.b64encode(os.urandom(32)).decode(),
            "POSTHORN_AMQP_PREFIX": self.name,
            "POSTHORN_ALLOW_HTTP": "true",
            "POSTHORN_EGRESS_ALLOW": "127.0.0.0/8",
            "POSTHORN_LOG_LEVEL": "error",
            "POSTHORN_DRAIN_SECONDS": "1",  # nobody waits at the end for what hangs
        }
        self.secret_box = AesSecretBox(parse_secret_keys(self._environ["SECRET_KEYS"]))
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        await self._stack.__aenter__()
        try:
            self.directory = Path(self._stack.enter_context(tempfile.TemporaryDirectory()))
            await self._make_database()
            self._stack.push_async_callback(self._drop_queues)
            self.receiver = await self.start_receiver()
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._stack.__aexit__(kind, error, traceback)

    # ------------------------------------------------------------------ who takes part

    async def add(self, organizations: Sequence[Organization], event_type: str = EVENT_TYPE) -> None:
        """Store organizations with their endpoints."""
        await add_organizations(self.database_url, self.secret_box, organizations, event_type)

    async def key_of(self, organization: str) -> str:
        """A new API key, from the service's command line."""
        return await self.command("keys", "create", "--organization", organization)

    async def command(self, *arguments: str) -> str:
        """What a command of the service prints."""
        with (self.directory / "service.log").open("ab") as log:
            pipe = asyncio.subprocess.PIPE
            process = await self._start(self._servers.service, "service", *arguments, stdout=pipe, stderr=log)
        text, _ = await process.communicate()
        return text.decode().strip()

    async def start_worker(
        self, *arguments: str, environ: Mapping[str, str] | None = None, descriptors: int = 0
    ) -> Worker:
        """Start the service, by default as one worker process, and wait until it is ready.

        ``descriptors``: how many files it may open unless it asks for more, if not as many as this process.
        """
        ports = {"POSTHORN_OPS_PORT": str(free_port()), "POSTHORN_HTTP_PORT": str(free_port())}
        command = ("service", "serve", *(arguments or ("--role", "worker")))
        with (self.directory / "service.log").open("ab") as log:
            process = await self._start(
                self._servers.service,
                *command,
                stdout=log,
                stderr=log,
                environ={**ports, **(environ or {})},
                descriptors=descriptors,
            )
        worker = Worker(process, int(ports["POSTHORN_OPS_PORT"]), int(ports["POSTHORN_HTTP_PORT"]))
        if not await worker.is_ready(self.patience_seconds):
            raise SystemExit(f"the service did not become ready: {self.log()}")
        return worker

    async def lateness(self, measured: Stream, *others: Stream) -> dict[str, Any]:
        """Publish, wait until the measured events have arrived, and tell how late they were."""
        publishing = await self.publish(measured, *others)
        sent = await publishing.sent()
        await self.receiver.until(measured.numbers, self.patience_seconds)
        at, arrived = sent.by_number(), await self.receiver.fetch()
        return {
            **lateness(measured.numbers, at, arrived),
            "p95_ms_by_second": by_second(measured.numbers, at, arrived),
            "publisher_late_p99_ms": sent.late_p99_ms,
        }

    async def publish(self, *streams: Stream) -> "Publishing":
        """Start publishing; returns at once."""
        sent = self.directory / f"sent-{secrets.token_hex(4)}"
        orders = Orders(self._servers.amqp_url, self.topology.events_exchange, str(sent), list(streams))
        argument = self.directory / f"orders-{secrets.token_hex(4)}"
        argument.write_bytes(msgspec.json.encode(orders))
        pipe = asyncio.subprocess.PIPE
        process = await self._start(ROOT, "bench.limits.traffic", str(argument), stdin=pipe, stdout=pipe)
        assert process.stdin is not None and process.stdout is not None  # noqa: PT018 - two pipes, one thought
        await process.stdout.readline()
        process.stdin.write(b"go\n")
        return Publishing(process, sent)

    async def start_receiver(self, *certificate: str) -> Arrivals:
        """Start a receiver; with the files of a certificate and its key it speaks TLS."""
        process = await self._start(ROOT, "bench.limits.receiver", *certificate, stdout=asyncio.subprocess.PIPE)
        assert process.stdout is not None
        ports = map(int, (await process.stdout.readline()).split())
        receiver = Arrivals(process.pid, *ports, scheme="https" if certificate else "http")
        self._stack.push_async_callback(receiver.close)
        return receiver

    async def _start(
        self,
        root: Path,
        *arguments: str,
        stdin: int | None = None,
        stdout: int | IO[bytes] | None = None,
        stderr: int | IO[bytes] | None = None,
        environ: Mapping[str, str] | None = None,
        descriptors: int = 0,
    ) -> asyncio.subprocess.Process:
        python = self._servers.python if root == self._servers.service else sys.executable
        path = {} if root == self._servers.service else {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'receiver'}"}
        process = await asyncio.create_subprocess_exec(
            python,
            "-m",
            *arguments,
            env={**self._environ, **path, **(environ or {})},
            cwd=root,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            preexec_fn=partial(limit_descriptors, descriptors) if descriptors else None,
        )
        self._stack.push_async_callback(_end, process)
        return process

    # ------------------------------------------------------------------ what happened

    async def rows(self, query: str, *values: object) -> list[Any]:
        """What a query finds."""
        connection = await asyncpg.connect(self.database_url)
        try:
            return list(await connection.fetch(query, *values))
        finally:
            await connection.close()

    async def attempts_by_reason(self) -> dict[str, int]:
        """How many attempts ended for which reason; ``accepted`` is the happy end."""
        found = await self.rows("SELECT coalesce(reason, outcome) AS reason, count(*) FROM attempts GROUP BY 1")
        return {row["reason"]: row["count"] for row in found}

    async def until_parked(self, count: int) -> int:
        """Wait until so many messages are parked and none is left, but not long; returns how many are left."""
        loop = asyncio.get_running_loop()
        ends_at = loop.time() + self.patience_seconds / 2
        while True:
            left, parked = await asyncio.to_thread(self._depths)
            if (parked >= count and not left) or loop.time() > ends_at:
                return left
            await asyncio.sleep(0.2)

    def _depths(self) -> tuple[int, int]:
        with closing(Wire(self._servers.amqp_url)) as wire:
            return wire.depth(self.topology.intake_queue), wire.depth(self.topology.parked)

    async def parked(self) -> Mapping[str, int]:
        """Why messages were parked, by our reason or the broker's, and how many."""
        return await asyncio.to_thread(parked_reasons, self._servers.amqp_url, self.topology.parked)

    def log(self) -> str:
        """What the service said last."""
        return (self.directory / "service.log").read_text(encoding="utf-8", errors="replace")[-LOG_CHARACTERS_MAX:]

    # ------------------------------------------------------------------ setup

    async def _make_database(self) -> None:
        admin = await asyncpg.connect(self._servers.database_url)
        self._stack.push_async_callback(admin.close)
        await admin.execute(f"CREATE DATABASE {self.name}")
        self._stack.push_async_callback(admin.execute, f"DROP DATABASE IF EXISTS {self.name} WITH (FORCE)")
        with (self.directory / "service.log").open("ab") as log:
            migration = await self._start(self._servers.service, "service", "migrate", stdout=log, stderr=log)
        if await migration.wait():
            raise SystemExit(f"the database could not be migrated: {self.log()}")

    async def _drop_queues(self) -> None:
        connection = await aiormq.connect(self._servers.amqp_url)
        channel = await connection.channel()
        for queue in (self.topology.intake_queue, self.topology.parked):
            await channel.queue_delete(queue)
        for exchange in (self.topology.events_exchange, self.topology.parked):
            await channel.exchange_delete(exchange)
        await connection.close()


class Publishing:
    """A running publisher."""

    def __init__(self, process: asyncio.subprocess.Process, sent: Path) -> None:
        self._process = process
        self._sent = sent

    async def sent(self) -> Sent:
        """Wait until everything is published; returns what was, and when."""
        if await self._process.wait():
            raise SystemExit("the publisher failed")
        return msgspec.msgpack.decode(self._sent.read_bytes(), type=Sent)


async def _end(process: asyncio.subprocess.Process) -> None:
    """End a process that was started here: with a word first, then without."""
    if process.returncode is not None:
        return
    process.send_signal(signal.SIGCONT)  # it may have been stopped
    process.terminate()
    try:
        await asyncio.wait_for(process.wait(), 10)
    except TimeoutError:
        process.kill()
        await process.wait()
