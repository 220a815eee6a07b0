"""Publish at a steady rate while one fault after another strikes, and account for every id: ``python -m bench.soak``.

It starts everything itself, on the loopback interface: a PostgreSQL, a RabbitMQ node (where it is installed, else the
embedded AMQP endpoint), workers, a receiver; all of it ends with the command. It exits with 1 if an event was lost, is
unknown, was delivered again without a fault that explains it, or if a worker ended by itself.
"""

import argparse
import asyncio
import json
import logging
import os
import platform
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from random import Random
from typing import Any

import aiormq

from bench.soak import report
from bench.soak.blows import BEFORE_SECONDS, Blow, NotStruckError
from bench.soak.faults import KINDS, Kind, deck
from bench.soak.memory import Memory
from bench.soak.site import SETTINGS, STEADY_PATH, WORKERS, Site, open_site
from bench.soak.verdict import Verdict, judge_all

CALM_SECONDS = 3.0
"""Before the first fault, so that there is something to hit."""

PAUSE_SECONDS = (0.5, 2.5)
PATIENCE_SECONDS = 120.0
"""How long to wait, after the last fault, while no further delivery ends."""

BY_ITSELF_SECONDS = 20.0
POLL_SECONDS = 0.5


class Soak:
    """One run: the faults and who waits for their end."""

    def __init__(self, site: Site, seconds: float) -> None:
        self._site = site
        self._seconds = seconds
        self.began_at = time.monotonic()
        self.blows: list[Blow] = []
        self.not_struck: dict[str, str] = {}
        self.failures: list[str] = []
        self._catching_up: set[asyncio.Task[None]] = set()

    async def run(self, kinds: Sequence[Kind]) -> None:
        """Strike until the time is over, and wait until every event is confirmed and every delivery has ended."""
        traffic = asyncio.create_task(self._site.traffic.run(self._seconds))
        try:
            await asyncio.sleep(CALM_SECONDS)
            try:
                await self._strike_all(kinds)
            except (AssertionError, OSError, SystemExit) as error:  # what is known by now is judged all the same
                self.failures.append(f"the faults came to an end: {type(error).__name__}: {error}")
                self.blows[-1].end(time.monotonic())
            await traffic
            await self._all_ended()
        finally:
            for task in (traffic, *self._catching_up):
                task.cancel()
            await asyncio.gather(traffic, *self._catching_up, return_exceptions=True)

    async def _strike_all(self, kinds: Sequence[Kind]) -> None:
        for kind in deck(kinds, self._site.chance):
            if time.monotonic() > self.began_at + self._seconds:
                return
            await self._strike(kind)
            await asyncio.sleep(self._site.chance.uniform(*PAUSE_SECONDS))

    async def _all_ended(self) -> None:
        """Wait for every delivery, as long as some end; the verdict names those that do not.

        After a while retries are brought forward, as those of ``internal`` are minutes off.
        """
        town, ended = self._site.town, -1
        ended_at = time.monotonic()
        hurries_at = ended_at + BY_ITSELF_SECONDS
        while not (is_over := await town.have_all_ended()) and time.monotonic() < ended_at + PATIENCE_SECONDS:
            await asyncio.sleep(POLL_SECONDS)
            if time.monotonic() > hurries_at:
                await town.hurry()
            if (count := await town.final_count()) != ended:
                ended, ended_at = count, time.monotonic()
        if is_over:
            await asyncio.gather(*self._catching_up)

    async def _strike(self, kind: Kind) -> None:
        site = self._site
        site.troubles()
        first = max(0, len(site.traffic.confirmed) - int(BEFORE_SECONDS * site.traffic.rate))
        blow = Blow(len(self.blows) + 1, kind.name, kind.repeats, time.monotonic())
        self.blows.append(blow)
        try:
            await kind.strike(site, blow)
        except NotStruckError as error:
            self.blows.remove(blow)
            self.not_struck[kind.name] = str(error)
            return
        blow.lifted_at = time.monotonic()
        task = asyncio.create_task(self._catch_up(blow, first))
        self._catching_up.add(task)
        task.add_done_callback(self._catching_up.discard)
        await site.all_ready()
        blow.ready_at = time.monotonic()
        blow.seen = dict(site.troubles())
        print(
            f"{blow.began_at - self.began_at:7.1f} s  {blow.kind}: {blow.detail}; "
            f"{blow.lifted_at - blow.began_at:.1f} s, ready {blow.ready_at - blow.lifted_at:.1f} s later; "
            f"{len(site.traffic.confirmed)} confirmed of {site.traffic.made_count}",
            file=sys.stderr,
            flush=True,
        )

    async def _catch_up(self, blow: Blow, first: int) -> None:
        """Wait until the receiver has what was published just before the fault and until its end, and what was held."""
        held = (event_id for event_id, path in blow.held if path == STEADY_PATH)
        await self._site.accepted({*self._site.traffic.confirmed[first:], *held})
        blow.caught_up_at = time.monotonic()


async def soak(options: argparse.Namespace) -> dict[str, Any]:
    """Run it, and return the report."""
    chance = Random(options.seed)  # noqa: S311 - the same faults again, as far as they are ours to choose
    with ExitStack() as stack:
        directory = options.directory or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="posthorn-soak-")))
        os.makedirs(directory, exist_ok=True)  # noqa: PTH103
        os.chmod(directory, 0o755)  # noqa: PTH101, S103 - as root, PostgreSQL may run as another user
        async with open_site(directory, rate=options.rate, chance=chance) as site:
            memory = Memory(lambda: site.slots[0].process.process.pid)
            measuring = asyncio.create_task(memory.run())
            try:
                left_out = {kind.name: why for kind in KINDS if (why := kind.missing(site))}
                run = Soak(site, 60 * options.minutes)
                await run.run([kind for kind in KINDS if kind.name not in left_out])
                verdict = await judge_all(site.town, run.blows, await _parked(site))
            finally:
                measuring.cancel()
            site.troubles()
            return _report(options, site, run, verdict, memory, left_out)


async def _parked(site: Site) -> int:
    async with aiormq.connect(site.broker.url) as connection:
        channel = await connection.channel()
        declared = await channel.queue_declare(site.town.topology.parked, passive=True)
        return int(declared.message_count or 0)


def _report(
    options: argparse.Namespace, site: Site, run: Soak, verdict: Verdict, memory: Memory, left_out: dict[str, str]
) -> dict[str, Any]:
    failures = [*run.failures, *verdict.failures, *site.ended]
    return {
        "seed": options.seed,
        "minutes": options.minutes,
        "rate": options.rate,
        "workers": WORKERS,
        "settings": SETTINGS,
        "broker": "RabbitMQ" if site.broker.node else "embedded AMQP endpoint",
        "python": platform.python_version(),
        "load": round(os.getloadavg()[0], 1),
        "left_out": left_out,
        "not_struck": run.not_struck,
        "not_reached": sorted({kind.name for kind in KINDS} - {blow.kind for blow in run.blows} - set(left_out)),
        "confirmed": verdict.confirmed,
        "events_per_second": round(verdict.confirmed / (60 * options.minutes), 1),
        "publications_refused": site.traffic.refused_count,
        "wanted": verdict.wanted,
        "delivered": verdict.delivered,
        "lost": list(verdict.lost),
        "unknown": list(verdict.unknown),
        "parked": verdict.parked,
        "refused_for_their_time": verdict.refused_for_their_time,
        "failures": failures,
        "known_of_failures": verdict.known,
        "by_kind": report.by_kind(run.blows, verdict),
        "steady_worker": memory.told(),
        "errors_logged": dict(site.errors),
        "faults": report.each_blow(run.blows, verdict, run.began_at),
        "duplicates": report.each_copy(verdict, run.began_at),
    }


async def _until_asked_to_end(options: argparse.Namespace) -> dict[str, Any]:
    """Run it as a task that the first Ctrl-C or SIGTERM cancels; further ones do not keep it from ending everything."""
    soaking = asyncio.create_task(soak(options))
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, lambda: soaking.cancelling() or soaking.cancel())
    return await soaking


def main(arguments: Sequence[str] | None = None) -> None:
    """Soak, and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=2, help="how long faults strike; some two more follow")
    parser.add_argument("--seed", type=int, default=1, help="which faults, in which order")
    parser.add_argument("--rate", type=float, default=120, help="events published each second")
    parser.add_argument("--json", type=Path, help="also write the report to this file")
    parser.add_argument("--directory", type=Path, help="a new one for logs and data, which then stays")
    options = parser.parse_args(arguments)
    logging.getLogger("aiormq").setLevel(logging.CRITICAL)  # it tells of every connection that we cut
    try:
        found = asyncio.run(_until_asked_to_end(options))
    except asyncio.CancelledError:
        raise SystemExit("ended before its time; nothing was judged") from None
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(report.page(found))
    if found["failures"]:
        print(json.dumps(found["known_of_failures"], indent=1))
        raise SystemExit(1)


if __name__ == "__main__":
    main()
