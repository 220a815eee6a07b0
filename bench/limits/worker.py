"""The service under test, seen from outside: whether it is ready, its metrics and memory, how long its loop is held."""

import asyncio
import json
import socket
import time
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

from bench.limits.latency import summary

PULSE_SECONDS = 0.1
METRICS_SECONDS_MAX = 10.0


class Worker:
    """A process of the service, and those it started."""

    def __init__(self, process: asyncio.subprocess.Process, ops_port: int, http_port: int) -> None:
        self.process = process
        self.ops_port = ops_port
        self.http_port = http_port

    async def is_ready(self, seconds: float) -> bool:
        """Wait until it is ready, but no longer than that. Whether it is.

        That includes the broker. One that serves the API, too, is ready without, but it is the service that declares
        the exchange: for a message to one that is not there RabbitMQ closes the publisher's channel.
        """
        ends_at = time.monotonic() + seconds
        while time.monotonic() < ends_at and self.process.returncode is None:
            status, checks = await self._checks()
            if status == 200 and all(checks.values()):  # noqa: PLR2004 - the status is the question
                return True
            await asyncio.sleep(0.05)
        return False

    async def _checks(self) -> tuple[int, dict[str, bool]]:
        """The status of /readyz, and whether each of its checks is well; 0 if there is no answer in time."""
        try:
            async with asyncio.timeout(5):
                status, text = await get(self.ops_port, "/readyz")
        except (OSError, TimeoutError, asyncio.IncompleteReadError):
            return 0, {}
        return status, {name: bool(each["ok"]) for name, each in json.loads(text)["checks"].items()}

    async def end(self) -> None:
        """End it, and wait until it is gone."""
        self.process.terminate()
        await self.process.wait()

    async def kill(self) -> None:
        """End it without a word, and wait until it is gone."""
        self.process.kill()
        await self.process.wait()

    async def answers(self, path: str, seconds: float = 5) -> int:
        """The status that the ops port answers; 0 if there is no answer in time."""
        try:
            async with asyncio.timeout(seconds):
                return (await get(self.ops_port, path))[0]
        except (OSError, TimeoutError, asyncio.IncompleteReadError):
            return 0

    async def metrics(self) -> dict[str, float]:
        """Every sample, by its name and labels as they are written; none if there is no answer for long."""
        text, ends_at = b"", time.monotonic() + METRICS_SECONDS_MAX
        while not text and time.monotonic() < ends_at:
            with suppress(OSError, asyncio.IncompleteReadError):
                _, text = await get(self.ops_port, "/metrics")
        lines = (line.rpartition(" ") for line in text.decode().splitlines() if line and not line.startswith("#"))
        return {name: float(value) for name, _, value in lines}

    async def state(self, loop_ms: Collection[float]) -> dict[str, Any]:
        """What a measurement tells of the worker at its end."""
        metrics = await self.metrics()
        return {
            "loop_held": summary(loop_ms),
            "leases_rescued": _total(metrics, "posthorn_leases_rescued_total"),
            "late_settlements": _total(metrics, "posthorn_late_settlements_total"),
            "in_flight": _total(metrics, "posthorn_in_flight"),
            "redeliveries": _total(metrics, "posthorn_broker_redeliveries_total"),
            "troubles": _by_label(metrics, "posthorn_troubles_total"),
            "peak_mib": self.peak_mib(),
        }

    def peak_mib(self) -> float:
        """The most memory that was ever resident, of the process that had the most."""
        return round(max(self._status("VmHWM")) / 1024, 1)

    def resident_mib(self) -> float:
        """The resident memory now, of the largest process."""
        return round(max(self._status("VmRSS")) / 1024, 1)

    def cpu_seconds(self) -> float:
        """The CPU used so far."""
        times = [process.cpu_times() for process in self._processes()]
        return float(sum(each.user + each.system for each in times))

    @asynccontextmanager
    async def pulse(self) -> AsyncIterator[list[float]]:
        """Ask /livez again and again: it needs nothing but the loop, so the answer takes as long as the loop is held.

        Gives the times in milliseconds, a list that grows until the end.
        """
        times: list[float] = []
        asking = asyncio.create_task(self._ask(times))
        try:
            yield times
        finally:
            asking.cancel()
            with suppress(asyncio.CancelledError):
                await asking

    async def _ask(self, times: list[float]) -> None:
        while True:
            started = time.perf_counter()
            with suppress(OSError, asyncio.IncompleteReadError):
                await get(self.ops_port, "/livez")
            times.append((time.perf_counter() - started) * 1e3)
            await asyncio.sleep(PULSE_SECONDS)

    def _processes(self) -> list[psutil.Process]:
        tree = psutil.Process(self.process.pid)
        return [tree, *tree.children(recursive=True)]

    def _status(self, name: str) -> list[int]:
        """A line of /proc/<pid>/status for each process, in kB."""
        found = []
        for process in self._processes():
            lines = Path(f"/proc/{process.pid}/status").read_text(encoding="ascii").splitlines()
            found += [int(line.split()[1]) for line in lines if line.startswith(f"{name}:")]
        return found


def _total(metrics: Mapping[str, float], name: str) -> int:
    """The sum over a metric's samples, whatever their labels."""
    return int(sum(value for sample, value in metrics.items() if sample.partition("{")[0] == name))


def _by_label(metrics: Mapping[str, float], name: str) -> dict[str, int]:
    """A metric's samples that are not zero, by the value of their label."""
    return {
        sample.partition('"')[2].partition('"')[0]: int(value)
        for sample, value in metrics.items()
        if value and sample.partition("{")[0] == name
    }


async def get(port: int, path: str) -> tuple[int, bytes]:
    """GET on a connection of its own; the status and the body."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        head = await reader.readuntil(b"\r\n\r\n")
        return int(head.split(b" ", 2)[1]), await reader.read()
    finally:
        writer.close()


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
