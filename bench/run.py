"""The delivery benchmark: publisher -> RabbitMQ -> worker processes -> local receivers, PostgreSQL durable.

``python -m bench.run --help`` lists the options. Everything shares one machine, so CPU per delivery is the steadier
figure. The database ``posthorn_bench`` is created for each run, and dropped at the end with the benchmark's queues.
"""

import argparse
import asyncio
import json
import statistics
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from bench.figures import Processes, Result, compare
from bench.scene import DATABASE, Publishing, Scene

IDLE_SECONDS_MAX = 30  # if nothing arrives for this long, the missing deliveries count as lost
WARM_UP_SECONDS = 2.0  # when latency is measured
LADDER_SECONDS = 20  # length of each step
LADDER_RATES = (50.0, 1_000.0)


class Run:
    """One run in its scene."""

    def __init__(self, scene: Scene, kind: "Kind") -> None:
        self._scene = scene
        self._kind = kind
        self._resident: list[dict[str, float]] = []

    async def measure(self) -> Result:
        """Publish, wait for the deliveries, and compare."""
        scene, kind = self._scene, self._kind
        publishing = await scene.start_publisher(events=kind.events, rate=kind.rate, seconds=kind.seconds)
        if kind.is_prefilled:
            publishing.go()
            await publishing.ledger()
        supervisor = await scene.start_workers()
        if not kind.is_prefilled:
            await scene.ready()
        while kind.is_prefilled and await scene.count() == 0:  # noqa: ASYNC110 - another process's count
            await asyncio.sleep(0.01)
        processes = Processes(supervisor.pid, scene.receiver.pid, DATABASE)
        commits, skipped, cpu, from_ns = await scene.commits(), await scene.count(), processes.cpu(), time.time_ns()
        if not kind.is_prefilled:
            publishing.go()
        await self._watch(processes, publishing)
        ledger = await publishing.ledger()
        expected = ledger.events * scene.options.fan_out
        counted = await self._until_arrived(expected) - skipped
        used = {name: seconds - cpu[name] for name, seconds in processes.cpu().items()}
        by_process = {name: round(seconds * 1e6 / counted, 1) for name, seconds in used.items()}
        await scene.until_settled(expected)
        warm_up = 0 if kind.is_prefilled else WARM_UP_SECONDS
        found = compare(ledger, await scene.arrivals(), fan_out=scene.options.fan_out, warm_up_seconds=warm_up)
        seconds = (found.last_ns - from_ns) / 1e9
        return Result(
            run=kind.name,
            deliveries=counted,
            seconds=round(seconds, 3),
            deliveries_per_second=round(counted / seconds, 1),
            cpu_us_per_delivery=round(sum(by_process.values()), 1),
            cpu_us_by_process=by_process | {"publisher": round(ledger.cpu_seconds * 1e6 / ledger.events, 1)},
            commits_per_delivery=round((await scene.commits() - commits) / expected, 4),
            p50_ms=found.p50_ms,
            p99_ms=found.p99_ms,
            publisher_late_p99_ms=ledger.late_p99_ms,
            lost=found.lost,
            duplicates=found.duplicates,
            resident_mib=self._resident,
        )

    async def _watch(self, processes: Processes, publishing: Publishing) -> None:
        """Record the memory at the end of each minute while publishing."""
        minute_ends_at = time.monotonic() + 60
        while not publishing.is_over:
            await asyncio.sleep(0.1)
            if time.monotonic() >= minute_ends_at:
                minute_ends_at += 60
                self._resident.append(processes.resident())
                print(f"minute {len(self._resident)}, MiB: {json.dumps(self._resident[-1])}", flush=True)

    async def _until_arrived(self, expected: int) -> int:
        last, idle_since = -1, time.monotonic()
        while (count := await self._scene.count()) < expected and time.monotonic() - idle_since < IDLE_SECONDS_MAX:
            if count != last:
                last, idle_since = count, time.monotonic()
            await asyncio.sleep(0.05)
        return count


@dataclass(frozen=True, slots=True)
class Kind:
    """How a run publishes: ``events`` beforehand, ``events`` at a ``rate``, or as many as keep the queue filled."""

    name: str
    events: int = 0
    rate: float = 0
    seconds: float = 0

    @property
    def is_prefilled(self) -> bool:
        """Whether everything is published before the workers start."""
        return not self.rate and not self.seconds

    @classmethod
    def at(cls, rate: float) -> Self:
        """A step of the ladder."""
        return cls(f"{rate:g}/s", int(rate * LADDER_SECONDS), rate)


def kinds_of(options: argparse.Namespace) -> list[Kind]:
    """The kinds of run that the options ask for, except half load, which is derived from the full load."""
    if options.minutes:
        return [Kind(f"{options.minutes:g} minutes", seconds=60 * options.minutes + 2)]
    if options.ladder:
        full = Kind("full", options.events)
        return [full, Kind("full, queue kept", seconds=LADDER_SECONDS), *map(Kind.at, LADDER_RATES)]
    return [Kind(f"{options.rate:g}/s" if options.rate else "full", options.events, options.rate)]


async def run_once(options: argparse.Namespace, kind: Kind, number: int) -> dict[str, Any]:
    """One run in its own scene."""
    async with Scene(options) as scene:
        result = asdict(await Run(scene, kind).measure())
    print(f"{kind.name}, run {number + 1}: {json.dumps(result)}", flush=True)
    return result


def run_all(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Run every kind as often as the options say."""
    kinds, runs = kinds_of(options), []
    for kind in kinds:
        runs += [asyncio.run(run_once(options, kind, number)) for number in range(options.runs)]
    if options.ladder:
        half = statistics.median(run["deliveries_per_second"] for run in runs if run["run"] == "full") / 2
        kind = Kind("half", int(half * LADDER_SECONDS), round(half))
        runs += [asyncio.run(run_once(options, kind, number)) for number in range(options.runs)]
    return runs


def show(runs: list[dict[str, Any]]) -> None:
    """Print the tables: median, minimum and maximum of each figure, and the memory by the minute."""
    for kind in dict.fromkeys(run["run"] for run in runs):
        of_kind = [run for run in runs if run["run"] == kind]
        print(f"\n{kind:24}{'median':>12}{'min':>12}{'max':>12}")
        for name, value in of_kind[0].items():
            if isinstance(value, int | float):
                values = [run[name] for run in of_kind]
                print(f"{name:24}{statistics.median(values):>12.6g}{min(values):>12.6g}{max(values):>12.6g}")
        for run in of_kind:
            for minute, resident in enumerate(run["resident_mib"], start=1):
                if minute == 1:
                    print(f"\n{'minute':>6}" + "".join(f"{name:>14}" for name in resident) + "   resident MiB")
                print(f"{minute:>6}" + "".join(f"{mebibytes:>14.1f}" for mebibytes in resident.values()))


def main() -> None:
    """Run, and print tables and JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--database-url", default="postgresql://postgres@127.0.0.1:5432/postgres")
    parser.add_argument("--amqp-url", default="amqp://guest:guest@127.0.0.1:5672/")
    parser.add_argument("--workers", type=int, default=1, help="worker processes")
    parser.add_argument("--events", type=int, default=30_000)
    parser.add_argument("--endpoints", type=int, default=10, help="organizations, with --fan-out endpoints each")
    parser.add_argument("--fan-out", type=int, default=1)
    parser.add_argument("--order-by", help="the endpoints' order_by: data.message.id, or organization_id for one line")
    parser.add_argument("--rate", type=float, default=0, help="events per second; 0: fill the queue first")
    parser.add_argument("--ladder", action="store_true", help="full load, 50/s, 1,000/s and half load, in turn")
    parser.add_argument(
        "--minutes", type=float, default=0, help="keep the queue filled this long, and record the memory"
    )
    parser.add_argument("--depth", type=int, default=2_000, help="messages kept waiting in the queue with --minutes")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--json", help="also write the runs to this file")
    options = parser.parse_args()
    runs = run_all(options)
    show(runs)
    if options.json:
        Path(options.json).write_text(json.dumps({"options": vars(options), "runs": runs}, indent=1) + "\n")


if __name__ == "__main__":
    main()
