"""The delivery benchmark: publisher -> RabbitMQ -> worker processes -> local receivers, PostgreSQL durable.

``python -m bench.run --help`` tells the options. Everything shares this machine; CPU per delivery is the steadier
figure. The database ``posthorn_bench`` is made anew for each run, and dropped at the end with the bench's queues.
"""

import argparse
import asyncio
import json
import statistics
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import psutil

from bench.figures import Processes, Result, compare
from bench.publisher import Ledger
from bench.scene import Publishing, Scene

IDLE_SECONDS_MAX = 30  # nothing arrives for this long: what is missing is lost
WARM_UP_SECONDS = 2.0  # where the latency is the subject
LADDER_SECONDS = 20  # of each step
LADDER_RATES = (50.0, 1_000.0)


class Run:
    """One run in its scene."""

    def __init__(self, scene: Scene, *, rate: float, seconds: float) -> None:
        self._scene = scene
        self._rate = rate
        self._seconds = seconds  # for so long the queue is kept filled; 0: it is filled once, or by the rate
        self._resident: list[dict[str, float]] = []

    async def measure(self) -> Result:
        """Publish, wait for what arrives, and compare."""
        scene = self._scene
        publishing = await scene.start_publisher(
            events=0 if self._seconds else scene.options.events, rate=self._rate, seconds=self._seconds
        )
        is_prefilled = not self._rate and not self._seconds
        if is_prefilled:
            publishing.go()
            await publishing.ledger()
        supervisor = await scene.start_workers()
        if is_prefilled:
            while await scene.count() == 0:
                await asyncio.sleep(0.01)
        else:
            await scene.ready()
        tree = psutil.Process(supervisor.pid)
        workers = [p.pid for p in (tree, *tree.children(recursive=True))]
        processes = Processes(workers, scene.receiver.pid, publishing.pid)
        commits, cpu, skipped, started = await scene.commits(), processes.cpu(), await scene.count(), time.monotonic()
        if not is_prefilled:
            publishing.go()
        await self._watch(processes, publishing)
        publisher_cpu = processes.cpu()["publisher"]  # its process is gone soon
        ledger = await publishing.ledger()
        expected = len(ledger.sent_ns) // 8 * scene.options.fan_out
        counted = await self._until_arrived(expected) - skipped
        seconds, cpu_after = time.monotonic() - started, {**processes.cpu(), "publisher": publisher_cpu}
        await scene.until_settled(expected)
        by_process = {name: round((cpu_after[name] - cpu[name]) * 1e6 / counted, 1) for name in cpu}
        commits_each = (await scene.commits() - commits) / expected
        return await self._result(ledger, counted, seconds, by_process, commits_each)
