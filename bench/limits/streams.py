"""Hundreds of open streams, and one whose client takes nothing, beside full load: what they cost each delivery.

The same number of events is published again and again, with streams and without, each first every other time. The API
is a process of its own, so that the road's CPU can be told from that of the streams. In two more rounds the API is
started anew in the middle, once asked to end and once killed: an oracle names what each stream must have been told.
"""

import argparse
import asyncio
import statistics
from collections.abc import Awaitable, Callable, Sequence
from operator import itemgetter
from typing import Any

import psutil

from bench.figures import Processes
from bench.limits.listening import Listeners, of_attempt, of_event
from bench.limits.stage import Stage
from bench.limits.tenants import Organization
from bench.limits.traffic import Stream
from bench.limits.worker import Worker

FIRST = 1_000_000
OF_KEY_MAX = 5
SLOW = "org_slow"
SLOW_SHARE = 4
"""Every so many events one is of the organization whose listener takes nothing: more than may wait for it."""
WARM_UP_EVENTS = 2_000
POLL_SECONDS = 0.2

BACKENDS = """
SELECT pid, split_part(application_name, ' ', 2) AS role FROM pg_stat_activity
 WHERE datname = current_database() AND application_name LIKE 'posthorn %'
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """What may be chosen."""
    parser.add_argument("--streams", type=int, default=200, help="beside the slow one")
    parser.add_argument("--pairs", type=int, default=5, help="of rounds, with streams and without")
    parser.add_argument("--events", type=int, default=20_000, help="of each round")
    parser.add_argument("--rate", type=float, default=0, help="events per second; 0: full load")


async def measure(stage: Stage, options: argparse.Namespace) -> dict[str, Any]:
    """The pairs, then the rounds with a restart."""
    scene = Rounds(stage, options)
    await scene.open()
    rounds: list[dict[str, Any]] = []
    for pair in range(options.pairs):
        first_with = bool(pair % 2)
        rounds += [{"pair": pair, **await scene.round(is_with=is_with)} for is_with in (first_with, not first_with)]
    api_peak_mib = scene.api.peak_mib()
    return {
        **compared(rounds),
        "api_peak_mib": api_peak_mib,
        "stream_gaps": await scene.gaps(),
        "rounds": rounds,
        "restarted": await scene.restart(Worker.end),
        "killed": await scene.restart(Worker.kill),
        "attempts_by_reason": await stage.attempts_by_reason(),
        **await scene.worker.state([]),
    }


class Rounds:
    """The same traffic again and again, with what was published and told so far."""

    def __init__(self, stage: Stage, options: argparse.Namespace) -> None:
        self._stage = stage
        self._options = options
        count = max(1, -(-options.streams // OF_KEY_MAX))
        self._names = [f"org_{number}" for number in range(count)]
        self._first = FIRST

    async def open(self) -> None:
        """Start a worker, and the API in a process of its own; have the worker know every endpoint."""
        stage, names = self._stage, [*self._names, SLOW]
        await stage.add([Organization(name, [stage.receiver.url("ok", name)]) for name in names])
        self._keys = dict(zip(names, await asyncio.gather(*map(stage.key_of, names)), strict=True))
        self.worker = await stage.start_worker("--role", "worker")
        self.api = await stage.start_worker("--role", "api")
        self._processes = Processes(self.worker.process.pid, stage.receiver.process_id, stage.name)
        await self._deliver(self._next(WARM_UP_EVENTS, 0))

    async def round(self, *, is_with: bool) -> dict[str, Any]:
        """Publish once, with streams that are told of everything or without; what it cost, and what was told."""
        load = self._next(self._options.events, self._options.rate)
        if not is_with:
            return {"with": False, **await self._costs(load)}
        listeners = await self._come()
        costs = await self._costs(load, listeners)
        told = {**listeners.state(), "missing": listeners.missing(expected(load))}
        await listeners.leave()
        return {"with": True, **costs, **told}

    async def restart(self, end: Callable[[Worker], Awaitable[None]]) -> dict[str, Any]:
        """Publish once, and start the API anew when half is delivered; what the streams that came back were told."""
        load = self._next(self._options.events, self._options.rate)
        listeners = await self._come()
        publishing = await self._stage.publish(load)
        await self._arrived(load, len(load.numbers) // 2)
        loop = asyncio.get_running_loop()
        gone_at = loop.time()
        await end(self.api)
        self.api = await self._stage.start_worker("--role", "api")
        listeners.ports.http = self.api.http_port
        away_seconds = round(loop.time() - gone_at, 1)
        await self._arrived(load, len(load.numbers))
        await publishing.sent()
        await self._settled()
        await listeners.back(2, self._stage.patience_seconds)
        told: dict[str, Any] = {"away_seconds": away_seconds}
        told |= {"told_seconds": await self._told(listeners, load), **listeners.state()}
        told |= {"missing": listeners.missing(expected(load)), "gaps_by_reason": await self.gaps()}
        await listeners.leave()
        return {**told, "api_peak_mib": self.api.peak_mib()}

    async def gaps(self) -> dict[str, int]:
        """The gaps that this API process told of, the slow listener's among them, by their reason."""
        metrics = await self.api.metrics()
        name = "posthorn_stream_gaps_total"
        return {sample.split('"')[1]: int(value) for sample, value in metrics.items() if sample.startswith(f"{name}{{")}

    async def _come(self) -> Listeners:
        keys = {name: self._keys[name] for name in self._names}
        listeners = Listeners(self.api.http_port, keys, OF_KEY_MAX, (SLOW, self._keys[SLOW]))
        await listeners.come()
        return listeners

    def _next(self, count: int, rate: float) -> Stream:
        """Events that were not published yet."""
        mixed: list[str] = []
        for at, name in enumerate(self._names):
            mixed += [name, SLOW] if at % (SLOW_SHARE - 1) == SLOW_SHARE - 2 else [name]
        stream = Stream(self._first, count, mixed, rate)
        self._first += count
        return stream

    async def _deliver(self, load: Stream) -> None:
        publishing = await self._stage.publish(load)
        await self._arrived(load, len(load.numbers))
        await publishing.sent()

    async def _arrived(self, load: Stream, count: int) -> None:
        """Wait until so many of the load's events have arrived, or for as long as patience lasts."""
        receiver = self._stage.receiver
        await receiver.until_count(load.first - FIRST + count, 2 * self._stage.patience_seconds)

    async def _costs(self, load: Stream, listeners: Listeners | None = None) -> dict[str, Any]:
        """Publish, wait until all has arrived, is settled and told, and say what it cost."""
        before = await self._cpu()
        await self._deliver(load)
        await self._settled()
        told = {} if listeners is None else {"told_seconds": await self._told(listeners, load)}
        cpu = {name: seconds - before.get(name, 0.0) for name, seconds in (await self._cpu()).items()}
        at = sorted(each for number in load.numbers for each in self._stage.receiver.by_number.get(number, ()))
        seconds = (at[-1] - at[0]) / 1e9
        return {
            "arrived": len(at),
            "deliveries_per_second": round(len(at) / seconds, 1),
            "cpu_us_per_delivery": {name: round(each / len(at) * 1e6, 1) for name, each in cpu.items()},
            "api_mib": self.api.resident_mib(),
            **told,
        }

    async def _cpu(self) -> dict[str, float]:
        """CPU seconds so far, by process; of PostgreSQL's also those of the worker's connections and of the API's."""
        cpu = self._processes.cpu() | {"api": self.api.cpu_seconds()}
        for row in await self._stage.rows(BACKENDS):
            times = psutil.Process(row["pid"]).cpu_times()
            name = f"postgres_for_{row['role']}"
            cpu[name] = cpu.get(name, 0.0) + times.user + times.system
        return cpu

    async def _settled(self) -> None:
        """Wait until no delivery is open, or for as long as patience lasts."""
        loop = asyncio.get_running_loop()
        ends_at = loop.time() + self._stage.patience_seconds
        while await self._stage.rows("SELECT 1 FROM open_deliveries LIMIT 1") and loop.time() < ends_at:  # noqa: ASYNC110
            await asyncio.sleep(POLL_SECONDS)

    async def _told(self, listeners: Listeners, load: Stream) -> float:
        """Wait until every listener was told of everything; returns for how long, in seconds."""
        loop = asyncio.get_running_loop()
        started, wanted = loop.time(), expected(load)
        while listeners.missing(wanted) and loop.time() < started + self._stage.patience_seconds:  # noqa: ASYNC110
            await asyncio.sleep(POLL_SECONDS)
        return round(loop.time() - started, 1)


def expected(load: Stream) -> dict[str, set[int]]:
    """What listeners must be told of, by organization: each event, and the one attempt of its one delivery."""
    told: dict[str, set[int]] = {}
    for number in load.numbers:
        organization = load.organizations[number % len(load.organizations)]
        told.setdefault(organization, set()).update((of_event(number), of_attempt(number, 1)))
    return told


def compared(rounds: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The rounds without and with streams, and the ratios of the pairs: each median with the least and the greatest."""

    def of(each: dict[str, Any], name: str) -> float:
        return float(each["cpu_us_per_delivery"].get(name, 0.0) if name in processes else each[name])

    if not rounds:
        return {}
    processes = rounds[0]["cpu_us_per_delivery"]
    without = sorted((each for each in rounds if not each["with"]), key=itemgetter("pair"))
    beside = sorted((each for each in rounds if each["with"]), key=itemgetter("pair"))
    found: dict[str, Any] = {}
    for name in ("deliveries_per_second", *processes):
        ratios = [of(b, name) / of(a, name) for a, b in zip(without, beside, strict=True) if of(a, name)]
        found[name] = {
            "without": spread([of(each, name) for each in without]),
            "with": spread([of(each, name) for each in beside]),
            "ratio": spread(ratios),
        }
    return found


def spread(values: Sequence[float]) -> list[float]:
    """The median, the least and the greatest."""
    return [round(each, 2) for each in (statistics.median(values), min(values), max(values))] if values else []
