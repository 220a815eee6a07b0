"""Servers of the soak's own, so that restarting them harms nobody: PostgreSQL, and RabbitMQ where it is installed."""

import secrets
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import asyncpg
from sqlalchemy import make_url

from service.adapters.postgres.schema import migrate_schema
from service.embedded.amqp import LoopbackBroker
from service.embedded.postgres import EmbeddedPostgres
from tests.end_to_end.own_rabbitmq import OwnRabbitMQ, missing_program
from tests.end_to_end.processes import free_port

ROLE = "soak"
CONNECTIONS_MAX = 60
DISK_MIB = 6_144
POSTGRES = {"max_connections": str(CONNECTIONS_MAX), "shared_buffers": "128MB"}


class Disk:
    """A file system of the database's own, of memory, which can be made as small as what is on it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.why_not = ""
        """Why there is none; empty if there is."""

    def mount(self) -> None:
        """Make it, if this process may."""
        self.directory.mkdir(parents=True, exist_ok=True)
        self.why_not = _said("mount", "-t", "tmpfs", "-o", f"size={DISK_MIB}m,mode=700", "tmpfs", str(self.directory))

    def unmount(self) -> None:
        """Let go of it, whoever still uses it."""
        if not self.why_not:
            _said("umount", "--lazy", str(self.directory))

    def fill(self) -> None:
        """Leave no free page on it."""
        said = ""
        for _ in range(20):  # it may have grown since its size was read
            used_kib = -(-shutil.disk_usage(self.directory).used // 1024)
            if not (said := self._resize(f"{used_kib}k")):
                return
        raise SystemExit(f"the disk could not be made small: {said}")

    def clear(self) -> None:
        """Give it its room back."""
        if said := self._resize(f"{DISK_MIB}m"):
            raise SystemExit(f"the disk could not be made large again: {said}")

    def _resize(self, size: str) -> str:
        return _said("mount", "-o", f"remount,size={size}", str(self.directory))


def _said(*command: str) -> str:
    """What a command complained of; empty if it did what it should."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own words
    except OSError as error:
        return str(error)
    return "" if done.returncode == 0 else (done.stderr.strip() or f"{command[0]} failed")


@dataclass(frozen=True, slots=True)
class Database:
    """``url`` is the service's, who is no superuser; ``admin_url`` the operator's, in the same database."""

    server: EmbeddedPostgres
    disk: Disk
    url: str
    admin_url: str

    async def admin(self, *statements: str) -> None:
        """Run what an operator would, on a connection of its own."""
        connection = await asyncpg.connect(self.admin_url)
        try:
            for statement in statements:
                await connection.execute(statement)
        finally:
            await connection.close()


@asynccontextmanager
async def own_database(directory: Path) -> AsyncIterator[Database]:
    """A server with a migrated database, on a disk of its own where that can be had."""
    disk = Disk(directory / "postgres" / "disk")
    disk.mount()
    try:
        async with EmbeddedPostgres(directory / "postgres", POSTGRES, port=free_port()) as server:
            password = secrets.token_hex(16)
            place = f"LOCATION '{disk.directory}'"
            connection = await asyncpg.connect(server.url)
            try:
                await connection.execute(f"CREATE ROLE {ROLE} LOGIN PASSWORD '{password}'")
                if not disk.why_not:
                    await connection.execute(f"CREATE TABLESPACE disk OWNER {ROLE} {place}")
                where = "" if disk.why_not else "TABLESPACE disk"
                await connection.execute(f"CREATE DATABASE {ROLE} OWNER {ROLE} {where}")
            finally:
                await connection.close()
            admin_url = make_url(server.url).set(database=ROLE)
            url = admin_url.set(username=ROLE, password=password)
            found = [each.render_as_string(hide_password=False) for each in (url, admin_url)]
            await migrate_schema(found[0])
            yield Database(server, disk, *found)
    finally:
        disk.unmount()


@dataclass(frozen=True, slots=True)
class Broker:
    """``node`` is None where RabbitMQ is not installed; the embedded endpoint serves then, and cannot be restarted."""

    url: str
    node: OwnRabbitMQ | None

    @property
    def why_no_node(self) -> str:
        """Why it cannot be restarted."""
        return "" if self.node else f"{missing_program()} is not installed; the embedded AMQP endpoint was used"


@asynccontextmanager
async def own_broker(directory: Path) -> AsyncIterator[Broker]:
    """A RabbitMQ node, else the embedded endpoint."""
    if missing_program():
        async with LoopbackBroker() as embedded:
            yield Broker(embedded.url, None)
        return
    home = directory / "rabbitmq"
    home.mkdir()
    async with OwnRabbitMQ(home, [free_port() for _ in range(3)]) as node:
        yield Broker(node.url, node)


def build_shifted_clock(root: Path, directory: Path) -> tuple[Path, str]:
    """The library that shifts a process's clock, and why there is none (empty if there is)."""
    library = directory / "shifted_clock.so"
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        return library, "there is no C compiler"
    with suppress(OSError):
        return library, _said(
            compiler, "-shared", "-fPIC", "-O2", "-o", str(library), str(root / "tests" / "shifted_clock.c"), "-ldl"
        )
    return library, "it could not be compiled"
