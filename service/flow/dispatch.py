"""Dispatch: puts leases into lanes, sends from the lanes, and claims the deliveries that are due in PostgreSQL."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import assert_never

from service.core.deliveries.delivery import Lease
from service.core.deliveries.effect import Effect, EndSubscription, ShutGate
from service.core.deliveries.lane import Lanes
from service.core.deliveries.settlement import Cancel, Settled
from service.core.reason import Reason
from service.flow.deliver import Deliver
from service.flow.directory import Directory
from service.flow.settle import Settle
from service.flow.surroundings import Surroundings
from service.ports.observer import LoadMeasured, Trouble
from service.ports.store import Claimed, DeliveryStore


@dataclass(frozen=True, slots=True)
class ClaimLimits:
    """How much to claim at a time, and how often to poll."""

    batch_max: int = 500
    per_endpoint_max: int = 100
    poll_seconds: float = 0.25
    poll_idle_seconds: float = 0.5


class Dispatch:
    """Keeps the slots of one worker busy, taking endpoints in turn."""

    def __init__(
        self,
        store: DeliveryStore,
        directory: Directory,
        deliver: Deliver,
        settle: Settle,
        lanes: Lanes,
        around: Surroundings,
        *,
        claim_limits: ClaimLimits,
        lease_seconds: float,
    ) -> None:
        self._around = around
        self._lanes = lanes
        self._store = store
        self._directory = directory
        self._deliver = deliver
        self._settle = settle
        self._claim_limits = claim_limits
        self._lease_seconds = lease_seconds
        self._slots: set[asyncio.Task[None]] = set()
        self._has_room = asyncio.Event()
        self._is_reserving = True
        self._is_stopping = False

    def reserve(self, endpoint_id: str) -> bool:
        """Reserve room for one lease. False means: the delivery stays pending."""
        return self._is_reserving and self._lanes.reserve(endpoint_id, self._around.clock.monotonic())

    def cancel(self, endpoint_id: str) -> None:
        """Give a reservation back: the delivery was not leased to this worker after all."""
        self._lanes.cancel(endpoint_id)

    def reserve_no_more(self) -> None:
        """From now on, record new deliveries as pending: this worker is draining."""
        self._is_reserving = False

    def put(self, lease: Lease) -> None:
        """Queue a lease whose room was reserved, and start a slot if one is free."""
        self._lanes.put(lease)
        first = self._lanes.take(self._around.clock.monotonic())
        if first is not None:
            slot = asyncio.create_task(self._slot(first))
            self._slots.add(slot)
            slot.add_done_callback(self._slots.discard)

    async def room(self) -> None:
        """Wait until this worker can hold more."""
        while self._lanes.is_full:
            self._has_room.clear()
            await self._has_room.wait()

    async def _slot(self, lease: Lease | None) -> None:
        """Attempt one lease after another until none is ready, so that under load attempts share a task."""
        while lease is not None:
            try:
                settled = await self._deliver(lease)
                if settled is None:
                    await self._release([lease])
                else:
                    evicted = self._obey(settled.effects)
                    await self._settle.put(settled)
                    if evicted:
                        await self._release(evicted)
            except Exception as error:  # noqa: BLE001 - the task must not end: the lease expires and is rescued
                self._around.observer.tell(Trouble("deliver", error, {"delivery_id": str(lease.delivery.key)}))
            finally:
                self._lanes.done(lease)
                if self._lanes.has_ample_room:
                    self._has_room.set()
            lease = self._lanes.take(self._around.clock.monotonic())

    def _obey(self, effects: Sequence[Effect]) -> Sequence[Lease]:
        """Apply in memory what the store applies in the database; returns the leases to release."""
        evicted: list[Lease] = []
        for effect in effects:
            match effect:
                case ShutGate():  # at once, not with the next claim, so that no further attempt is wasted
                    evicted += self._lanes.gate(effect.endpoint_id, self._around.clock.monotonic() + effect.seconds)
                case EndSubscription():
                    pass  # the directory's new version tells this worker, as it tells all others
                case _:
                    assert_never(effect)
        return evicted

    # ------------------------------------------------------------------ claiming from PostgreSQL

    async def run(self) -> None:
        """Claim what is due, until ``stop``. It polls, so nothing depends on a notification arriving."""
        while not self._is_stopping:
            await self._give_back()
            claimed = 0 if self._lanes.is_full else await self._around.keep_trying("claim", self._claim)
            self._observe_load()
            if not claimed:  # otherwise there may be more: claim again at once
                limits = self._claim_limits
                seconds = limits.poll_seconds if self._lanes.held else limits.poll_idle_seconds
                await self._around.rest(seconds)

    def stop(self) -> None:
        """Claim nothing more. ``run`` finishes its current claim first, so that no claimed lease is left behind."""
        self._is_stopping = True

    async def drain(self, seconds: float) -> None:
        """Release the leases not yet started, and wait at most ``seconds`` for the attempts in flight."""
        await self._give_back(everything=True)
        if self._slots:
            with suppress(TimeoutError):
                await self._around.within("finishing the attempts in flight", seconds, self._finished())
        await self.abandon()
        await self._settle.drained()

    async def abandon(self) -> None:
        """Cancel the attempts in flight: their leases expire, and another worker attempts them again."""
        slots = tuple(self._slots)
        for slot in slots:
            slot.cancel()
        await asyncio.gather(*slots, return_exceptions=True)

    async def _finished(self) -> None:
        while self._slots:
            await asyncio.wait(self._slots)

    async def _give_back(self, *, everything: bool = False) -> None:
        evicted = self._lanes.evict(self._around.clock.monotonic(), everything=everything)
        if evicted:
            await self._release(evicted)
        if self._lanes.has_ample_room:
            self._has_room.set()

    async def _release(self, leases: Sequence[Lease]) -> None:
        await self._around.keep_trying("release", lambda: self._store.release(leases))

    async def _claim(self) -> int:
        now = self._around.clock.monotonic()
        expires_at = now + self._lease_seconds
        limit = min(self._claim_limits.batch_max, self._lanes.limits.held_max - self._lanes.held)
        claims = await self._store.claim_due(
            limit,
            per_endpoint_limit=self._claim_limits.per_endpoint_max,
            room=self._lanes.room(now),
        )
        if claims:
            await self._take_on(claims, expires_at)
        return len(claims)

    async def _take_on(self, claims: Sequence[Claimed], expires_at: float) -> None:
        versions = {claim.delivery.organization_id: claim.directory_version for claim in claims}
        directories = await self._around.keep_trying("directory", lambda: self._directory.at(versions))
        unwanted: list[Lease] = []
        for claim in claims:
            delivery = claim.delivery
            directory = directories.get(delivery.organization_id)
            subscription = directory.subscriptions.get(delivery.key.subscription_id) if directory else None
            if subscription is None:
                await self._settle.put(Settled(delivery, claim.claim_number, Cancel(Reason.SUBSCRIPTION_DELETED), None))
                continue
            lease = Lease(delivery, subscription.endpoint, claim.claim_number, expires_at)
            if self._lanes.reserve(delivery.endpoint_id, self._around.clock.monotonic()):
                self.put(lease)
            else:
                unwanted.append(lease)
        if unwanted:  # the lane filled up during the claim
            await self._release(unwanted)

    def _observe_load(self) -> None:
        now = self._around.clock.monotonic()
        self._around.observer.tell(LoadMeasured(self._lanes.in_flight, self._lanes.held, self._lanes.states(now)))
