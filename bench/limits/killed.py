"""Workers that are killed, or stopped until their leases expire, with hundreds of deliveries held but not yet sent.

Few requests may be in flight to each of some endpoints, so that nearly all deliveries wait in the worker's memory.
The receivers answer a few events, then nothing until the last worker has started. What ended dead, and no receiver saw,
is the fault.
"""

import argparse
import asyncio
import signal
from typing import Any

from bench.limits.stage import Stage
from bench.limits.tenants import Organization
from bench.limits.traffic import Stream
from bench.limits.worker import Worker

WARM_UP_FIRST, FIRST = 1_000_000, 10_000_000
WARM_UP = 40  # events that are answered, so that the worker knows its endpoints as well
ENDPOINTS = 4
LEASE_SECONDS = 4
ENVIRON = {
    "POSTHORN_ATTEMPT_TIMEOUT_SECONDS": "1",
    "POSTHORN_LEASE_SECONDS": str(LEASE_SECONDS),
    "POSTHORN_ENDPOINT_STALL_SECONDS": "1",
    "POSTHORN_ENDPOINT_IN_FLIGHT_MAX": "4",
    "POSTHORN_RETRY_BASE_SECONDS": "0.1",
    "POSTHORN_RETRY_CAP_SECONDS": "1",
    "POSTHORN_RETRY_ATTEMPTS_MAX": "1000",  # so that none ends because its receiver was silent for long
}
HELD_SECONDS_MAX = 5.0
POLL_SECONDS = 0.15

# $1 the process id, which is in the worker's name
HELD = """
SELECT count(*) AS held FROM open_deliveries
 WHERE state = 'leased' AND lease_expires_at > now() AND leased_by LIKE '%-' || $1::text || '-%'
"""
ENDS = "SELECT event_id, state, reason FROM final_deliveries"


def add_options(parser: argparse.ArgumentParser) -> None:
    """What may be chosen."""
    parser.add_argument("--how", choices=("kill", "stop"), default="kill", help="SIGKILL, or SIGSTOP past the lease")
    parser.add_argument("--times", type=int, default=3)
    parser.add_argument("--deliveries", type=int, default=400)


async def measure(stage: Stage, options: argparse.Namespace) -> dict[str, Any]:
    """Interrupt the worker that holds everything, as often as is wanted; then mend the receivers, and let it end."""
    names = [f"org_{number}" for number in range(ENDPOINTS)]
    await stage.add([Organization(name, [stage.receiver.url("held", name)]) for name in names])
    stream = Stream(FIRST, options.deliveries, names)
    worker = await stage.start_worker(environ=ENVIRON)
    await stage.lateness(Stream(WARM_UP_FIRST, WARM_UP, names))
    await stage.receiver.hold()
    await (await stage.publish(stream)).sent()
    held = []
    for _ in range(options.times):
        held.append(await _until_held(stage, worker, options.deliveries))
        worker = await _interrupt(stage, worker, options.how)
    await stage.receiver.mend()
    await _until_ended(stage, WARM_UP + options.deliveries)
    ends = [row for row in await stage.rows(ENDS) if _number(row["event_id"]) in stream.numbers]
    arrived = await stage.receiver.fetch()
    dead = [row for row in ends if row["state"] == "dead"]
    return {
        "held_when_interrupted": held,
        "ended": len(ends),
        "delivered": sum(row["state"] == "delivered" for row in ends),
        "dead": len(dead),
        "dead_that_no_receiver_saw": sum(_number(row["event_id"]) not in arrived for row in dead),
        "dead_by_reason": {row["reason"]: sum(each["reason"] == row["reason"] for each in dead) for row in dead},
        "attempts_by_reason": await stage.attempts_by_reason(),
        **await worker.state([]),
    }


def _number(event_id: str) -> int:
    return int(event_id.rpartition("_")[2])


async def _interrupt(stage: Stage, worker: Worker, how: str) -> Worker:
    """Returns the worker that goes on."""
    if how == "kill":
        worker.process.kill()
        await worker.process.wait()
        return await stage.start_worker(environ=ENVIRON)
    worker.process.send_signal(signal.SIGSTOP)
    await asyncio.sleep(LEASE_SECONDS + 1)
    worker.process.send_signal(signal.SIGCONT)
    return worker


async def _until_held(stage: Stage, worker: Worker, deliveries: int) -> int:
    """Wait until the worker holds everything, or for a while; returns how much it holds.

    Seen twice in a row: a rescue holds all of its leases, too, for the moment that it takes to settle them.
    """
    ends_at = asyncio.get_running_loop().time() + HELD_SECONDS_MAX
    before = held = 0
    while min(before, held) < deliveries and asyncio.get_running_loop().time() < ends_at:
        await asyncio.sleep(POLL_SECONDS)
        before, held = held, int((await stage.rows(HELD, str(worker.process.pid)))[0]["held"])
    return held


async def _until_ended(stage: Stage, deliveries: int) -> None:
    ends_at = asyncio.get_running_loop().time() + stage.patience_seconds
    while len(await stage.rows(ENDS)) < deliveries and asyncio.get_running_loop().time() < ends_at:  # noqa: ASYNC110
        await asyncio.sleep(POLL_SECONDS)
