"""Faults of one worker: killed, stopped, terminated, with a wrong clock, without descriptors."""

import asyncio
import resource
import signal

from bench.soak.blows import Blow
from bench.soak.site import LEASE_SECONDS, READY_SECONDS_MAX, Site, Slot

SHIFTS_SECONDS = (-3_600, -200, 200, 3_600)
"""Receivers allow five minutes; beyond them they refuse what the worker signs."""

SHIFTED_SECONDS = 5.0
STOPPED_SECONDS = LEASE_SECONDS + 2
WITHOUT_DESCRIPTORS_SECONDS = 4.0
DESCRIPTORS_LEFT = 3
"""Fewer than every process has open: whatever it opens now is one too many."""


async def kill(site: Site, blow: Blow) -> None:
    """SIGKILL, and another worker in its place."""
    slot = site.mortal_slot()
    blow.detail = f"worker {slot.number}"
    slot.process.kill()
    blow.held = await site.held_by(slot)
    await site.start(slot)


async def stop(site: Site, blow: Blow) -> None:
    """SIGSTOP until its leases have expired and others have rescued them; then SIGCONT."""
    slot = site.any_slot()
    blow.detail = f"worker {slot.number}"
    slot.process.process.send_signal(signal.SIGSTOP)
    try:
        blow.held = await site.held_by(slot)
        await asyncio.sleep(STOPPED_SECONDS)
    finally:
        slot.process.process.send_signal(signal.SIGCONT)


async def terminate(site: Site, blow: Blow) -> None:
    """SIGTERM: it drains, exits with 0, and is replaced."""
    slot = site.mortal_slot()
    blow.detail = f"worker {slot.number}"
    await _drain(site, slot)
    await site.start(slot)


async def shift_clock(site: Site, blow: Blow) -> None:
    """Replace a worker by one whose clock is wrong, for a while."""
    slot, seconds = site.mortal_slot(), site.chance.choice(SHIFTS_SECONDS)
    blow.detail = f"worker {slot.number} by {seconds:+} s"
    await _drain(site, slot)
    await site.start(slot, LD_PRELOAD=str(site.shifted_clock), CLOCK_SHIFT_SECONDS=str(seconds))
    await asyncio.sleep(SHIFTED_SECONDS)
    await _drain(site, slot)
    await site.start(slot)


async def exhaust_descriptors(site: Site, blow: Blow) -> None:
    """Let a worker open nothing more, and take a connection that it needs."""
    slot = site.any_slot()
    name, link = site.chance.choice(
        [("database", slot.database), ("broker", slot.broker), ("receivers", site.receivers)]
    )
    blow.detail = f"worker {slot.number}, its connections to the {name} cut"
    process_id = slot.process.process.pid
    before = resource.prlimit(process_id, resource.RLIMIT_NOFILE)
    resource.prlimit(process_id, resource.RLIMIT_NOFILE, (DESCRIPTORS_LEFT, before[1]))
    try:
        link.cut()
        await asyncio.sleep(WITHOUT_DESCRIPTORS_SECONDS)
    finally:
        resource.prlimit(process_id, resource.RLIMIT_NOFILE, before)


async def _drain(site: Site, slot: Slot) -> None:
    slot.process.terminate()
    async with asyncio.timeout(READY_SECONDS_MAX):
        code = await slot.process.ended()
    if code != 0:
        site.ended.append(
            f"the worker of slot {slot.number} was terminated and ended with {code}: {slot.process.said()}"
        )
