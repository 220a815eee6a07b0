"""A RabbitMQ node of a test's own: on the loopback interface only, with everything it keeps in one directory."""

import asyncio
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Self

import aiormq
from aiormq.exceptions import AMQPError

from tests.end_to_end.waiting import SECONDS_MAX, until

LOG_CHARACTERS_MAX = 4_000
GREETING_SECONDS_MAX = 5.0


def missing_program() -> str:
    """What of RabbitMQ is not installed here; nothing where all of it is."""
    return next((name for name in ("rabbitmq-server", "epmd") if shutil.which(name) is None), "")


class OwnRabbitMQ:
    """``async with OwnRabbitMQ(directory, ports) as node:``, then ``stop`` and ``start`` on the same data.

    ``ports`` are three free ones: for AMQP, for Erlang's distribution, and for the name server of Erlang's nodes,
    which is our own too: one that a node starts by itself would outlive it.
    """

    def __init__(self, directory: Path, ports: Sequence[int]) -> None:
        self._port, distribution_port, self._names_port = ports
        self._log = directory / "node.log"
        self._started: list[subprocess.Popen[bytes]] = []
        self._node: subprocess.Popen[bytes] | None = None
        own = {name: directory / name for name in ("rabbitmq.conf", "environment.conf", "enabled_plugins")}
        for path in own.values():  # as files of ours, or those of the machine's node would be read
            path.write_text("[]." if path.name == "enabled_plugins" else "")
        self._environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(directory),  # the Erlang cookie's place
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "ERL_EPMD_PORT": str(self._names_port),
            "RABBITMQ_NODENAME": f"posthorn_test_{os.getpid()}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(self._port),
            "RABBITMQ_DIST_PORT": str(distribution_port),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
            "RABBITMQ_MNESIA_BASE": str(directory / "data"),
            "RABBITMQ_LOG_BASE": str(directory / "log"),
            "RABBITMQ_LOGS": "-",
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(own["enabled_plugins"]),
            "RABBITMQ_CONFIG_FILE": str(own["rabbitmq.conf"]),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(directory / "advanced.config"),
            "RABBITMQ_CONF_ENV_FILE": str(own["environment.conf"]),
        }

    @property
    def url(self) -> str:
        return f"amqp://guest:guest@127.0.0.1:{self._port}/"

    async def start(self) -> None:
        node = self._node = self._run(_server_program())
        await until(lambda: node.poll() is not None or lets_us_in(self.url), "RabbitMQ lets us in", told=self.said)
        assert node.poll() is None, self.said()

    async def stop(self) -> None:
        """In good order, as a service manager does it; returns when it is gone."""
        node, self._node = self._node, None
        assert node is not None
        node.terminate()
        await until(lambda: node.poll() is not None, "RabbitMQ stops", told=self.said)

    async def crash(self) -> None:
        """As a power cut would; returns when it is gone."""
        node, self._node = self._node, None
        assert node is not None
        os.killpg(node.pid, signal.SIGKILL)
        await until(lambda: node.poll() is not None, "RabbitMQ is gone", told=self.said)

    def said(self) -> str:
        return self._log.read_text(encoding="utf-8", errors="replace")[-LOG_CHARACTERS_MAX:]

    def _run(self, program: str) -> subprocess.Popen[bytes]:
        with self._log.open("ab") as log:
            process = subprocess.Popen(
                [program],
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # the program is a script: what it starts is ended with it
            )
        self._started.append(process)
        return process

    async def __aenter__(self) -> Self:
        try:
            self._run("epmd")
            await until(lambda: _is_open(self._names_port), "epmd takes connections", told=self.said)
            await self.start()
        except BaseException:
            self._kill()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        try:
            if self._node is not None:
                await self.stop()
        finally:
            self._kill()

    def _kill(self) -> None:
        for process in reversed(self._started):
            with suppress(ProcessLookupError):
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)
            process.wait(timeout=SECONDS_MAX)


def _server_program() -> str:
    """The one that runs as we are. Debian's, of the same name, is a wrapper beside it, for a user of the machine's."""
    return str(Path(shutil.which("rabbitmq-server") or "").resolve().with_name("rabbitmq-server"))


def _is_open(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


async def lets_us_in(url: str) -> bool:
    """Whether a client gets a connection. A node that boots has an open port before it, and drops whoever comes."""
    try:
        async with asyncio.timeout(GREETING_SECONDS_MAX):
            await (await aiormq.connect(url)).close()
    except (AMQPError, OSError):
        return False
    return True
