"""Dispatch: puts leases into lanes, sends from the lanes, and claims the deliveries that are due in PostgreSQL."""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Final, assert_never

from msgspec.structs import replace

from service.core.deliveries.delivery import Lease
from service.core.deliveries.effect import (
    AdvanceLine,
    Announce,
    BringForward,
    CountFailure,
    Effect,
    EndSubscription,
    FreePlace,
    ShutGate,
)
from service.core.deliveries.fairness.fair_share import Turn
from service.core.deliveries.fairness.lanes import Lanes
from service.core.deliveries.settlement import Cancel, Settled, completed
from service.core.endpoints.endpoint import Endpoint
from service.core.endpoints.subscription import Subscription
from service.core.reason import Reason
from service.flow.attempts import Attempts
from service.flow.directory.directory import Directory
from service.flow.settle import Settle
from service.flow.surroundings import Surroundings
from service.ports.observer import LoadMeasured, Trouble
from service.ports.store import Claimed, DeliveryStore

BROUGHT_FORWARD: Final = 4
"""Retries of an endpoint that is back, for each retry that succeeds: more and more, and few if it fails again."""


OUTAGE_SECONDS: Final = 1.0
"""How long a worker sends nothing to an endpoint after the failure that should open its breaker; then it asks."""

FEW: Final = 25
"""Deliveries. A claim of fewer is followed by a short rest, a larger one by the next claim at once."""


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
        attempts: Attempts,
        settle: Settle,
        lanes: Lanes,
        around: Surroundings,
        *,
        claim_limits: ClaimLimits,
        lease_seconds: float,
    ) -> None:
        self._around = around
        self._lanes = lanes
        self._limited = settle.limited
        self._store = store
        self._directory = directory
        self._attempts = attempts
        self._settle = settle
        self._claim_limits = claim_limits
        self._lease_seconds = lease_seconds
        self._slots: set[asyncio.Task[None]] = set()
        self._has_room = asyncio.Event()
        self._is_stopping = False
        self._has_more = asyncio.Event()
        self._has_claimed_all = False

    def reserve(self, endpoint: Endpoint) -> bool:
        """Reserve room for one lease. False means: the delivery stays pending."""
        return not self._is_stopping and self._lanes.reserve(
            endpoint.id,
            self._around.clock.monotonic(),
            organization_id=endpoint.organization_id,
            url=endpoint.url,
        )

    def cancel(self, endpoint_id: str) -> None:
        """Give a reservation back: the delivery was not leased to this worker after all."""
        self._lanes.cancel(endpoint_id)

    def look_at(self, endpoint_id: str) -> None:
        """Deliveries of this limited endpoint have been recorded: claim them as soon as its limits allow."""
        self._limited.look_at(endpoint_id)

    def put(self, lease: Lease) -> None:
        """Queue a lease whose room was reserved, and start a slot if one is free."""
        if self._is_stopping:
            self.cancel(lease.delivery.endpoint_id)
            self._settle.give_back((lease,))
            return
        self._lanes.put(lease)
        self._start_slots()

    def _start_slots(self) -> None:
        while (first := self._lanes.take(self._around.clock.monotonic())) is not None:
            slot = asyncio.create_task(self._slot(first))
            self._slots.add(slot)
            slot.add_done_callback(self._slots.discard)

    @property
    def is_hungry(self) -> bool:
        """Whether this worker has taken all that is due, and half its slots are free: more would be sent at once."""
        return (
            self._has_claimed_all
            and self._lanes.held - self._lanes.unsure_held <= self._lanes.limits.in_flight_max // 2
        )

    def wake(self) -> None:
        """Deliveries have just fallen due: claim at once."""
        self._has_claimed_all = False
        self._has_more.set()

    async def room(self) -> None:
        """Wait until this worker can hold more, or is stopping: then nothing more is put into its lanes."""
        while self._lanes.is_full and not self._is_stopping:
            self._has_room.clear()
            await self._has_room.wait()

    async def _slot(self, lease: Lease | None) -> None:
        """Attempt one lease after another until none is ready, so that under load attempts share a task."""
        while lease is not None:
            try:
                settled = await self._attempts.of(lease)(lease)
                if settled is None:
                    self._settle.give_back((lease,))
                else:
                    if self._lanes.learn(lease, settled.attempt, self._around.clock.monotonic()):
                        brought = BringForward(lease.endpoint.id, BROUGHT_FORWARD)
                        settled = replace(settled, effects=(*settled.effects, brought))
                    evicted = self._obey(settled.effects)
                    await self._settle.put(completed(settled, lease.grant, lease.line))
                    self._settle.give_back(evicted)
            except Exception as error:  # noqa: BLE001 - the task must not end: the lease expires and is rescued
                self._around.observer.tell(Trouble("deliver", error, {"delivery_id": str(lease.delivery.key)}))
            finally:
                self._lanes.done(lease)
                if self._lanes.has_ample_room:
                    self._has_room.set()
            lease = self._lanes.take(self._around.clock.monotonic())
            self._start_slots()  # the endpoint's limit may have grown, or a hung request may have left its slot

    def _obey(self, effects: Sequence[Effect]) -> Sequence[Lease]:
        """Apply in memory what the store applies in the database; returns the leases to give back."""
        evicted: list[Lease] = []
        for effect in effects:
            match effect:
                case ShutGate():  # at once, not with the next claim, so that no further attempt is wasted
                    evicted += self._lanes.gate(effect.endpoint_id, self._around.clock.monotonic() + effect.seconds)
                case CountFailure():  # what is held goes back: the database knows whether the breaker is open by now
                    if self._lanes.is_out(effect.endpoint_id):
                        until = self._around.clock.monotonic() + OUTAGE_SECONDS
                        evicted += self._lanes.gate(effect.endpoint_id, until)
                case EndSubscription() | BringForward() | FreePlace() | Announce() | AdvanceLine():
                    pass  # the database tells this worker with its next read, as it tells all others
                case _:
                    assert_never(effect)
        return evicted

    # ------------------------------------------------------------------ claiming from PostgreSQL

    async def run(self) -> None:
        """Claim what is due, until ``stop``. It polls, so nothing depends on a notification arriving."""
        while not self._is_stopping:
            self._give_back()
            claimed = 0 if self._lanes.is_full else await self._around.keep_trying("claim", self._claim)
            self._observe_load()
            limits = self._claim_limits
            if not claimed:
                seconds = limits.poll_seconds if self._lanes.held else limits.poll_idle_seconds
                self._has_claimed_all = not (self._lanes.is_full or self._has_more.is_set())
                await self._around.rest_until(self._has_more, seconds)
            elif claimed < FEW:  # for more there was no room, as a rule; and every claim looks at all that is due
                await self._around.rest_until(self._has_more, limits.poll_seconds / 5)

    async def run_limited(self) -> None:
        """Claim for each limited endpoint as soon as it may be sent to again, until ``stop``."""
        while not self._is_stopping:
            endpoint_ids = await self._limited.due()
            if endpoint_ids and not self._lanes.is_full:
                await self._around.keep_trying("claim", partial(self._claim, endpoint_ids))

    def stop(self) -> None:
        """Take on nothing more, and give back at once all that has not begun; who waits for ``room`` waits no more.

        ``run`` and ``run_limited`` finish their current claim, so that no claimed lease is left behind.
        """
        self._is_stopping = True
        self._limited.stop()
        self._give_back(everything=True)
        self._has_room.set()

    async def finish(self, seconds: float) -> None:
        """Wait at most ``seconds`` for the attempts in flight, and abandon those that are left."""
        if self._slots:
            with suppress(TimeoutError):
                await self._around.within("finishing the attempts in flight", seconds, self._finished())
        await self.abandon()

    async def abandon(self) -> None:
        """Cancel the attempts in flight: their leases expire, and another worker attempts them again."""
        slots = tuple(self._slots)
        for slot in slots:
            slot.cancel()
        await asyncio.gather(*slots, return_exceptions=True)

    async def _finished(self) -> None:
        while self._slots:
            await asyncio.wait(self._slots)

    def _give_back(self, *, everything: bool = False) -> None:
        self._settle.give_back(self._lanes.evict(self._around.clock.monotonic(), everything=everything))
        if not everything:
            self._start_slots()  # requests that were found to hang have left their slots
        if self._lanes.has_ample_room:
            self._has_room.set()

    async def _claim(self, endpoint_ids: Sequence[str] | None = None) -> int:
        """Claim what is due of all endpoints, or of these limited ones; returns how many deliveries."""
        now = self._around.clock.monotonic()
        limits = self._claim_limits
        reserved: Counter[str] = Counter()

        def shares(turns: Sequence[Turn]) -> Mapping[str, int]:
            self._cancel(reserved)  # of an earlier page of turns: it was granted nothing
            reserved.update(self._lanes.share_out(turns, limits.batch_max, limits.per_endpoint_max, now))
            return reserved

        try:
            if endpoint_ids is None:
                claims = await self._store.claim_due(shares)
            else:
                limited = [Turn(each, is_limited=True) for each in endpoint_ids]
                claims = await self._store.claim_again(shares(limited))
            if claims:
                await self._take_on(claims, reserved, now)
        finally:
            self._cancel(reserved)
        return len(claims)

    def _cancel(self, reserved: Counter[str]) -> None:
        for endpoint_id in reserved.elements():
            self._lanes.cancel(endpoint_id)
        reserved.clear()

    async def _take_on(self, claims: Sequence[Claimed], reserved: Counter[str], began_at: float) -> None:
        """Queue the leases of a claim that began at ``began_at``, each in the room that was reserved for it."""
        expires_at = began_at + self._lease_seconds
        subscriptions = await self._around.keep_trying("directory", lambda: self._directory.serving(claims))
        reasons = await self._unwanted(claims, subscriptions)
        for claim, subscription in zip(claims, subscriptions, strict=True):
            delivery = claim.delivery
            reason = reasons.get(delivery.key.subscription_id)
            if subscription is None or reason is not None:
                cancel = Cancel(reason or Reason.SUBSCRIPTION_DELETED)
                unwanted = Settled(delivery, claim.claim_number, cancel, None)
                await self._settle.put(completed(unwanted, claim.grant, claim.line))
                continue
            reserved[delivery.endpoint_id] -= 1
            endpoint, number, version = subscription.endpoint, claim.claim_number, claim.directory_version
            self.put(Lease(delivery, endpoint, number, expires_at, claim.grant, began_at, version, claim.line))
            if claim.grant is not None and claim.grant.opens_in_seconds is not None:
                self._limited.look_at(delivery.endpoint_id, claim.grant.opens_in_seconds)

    async def _unwanted(
        self, claims: Sequence[Claimed], subscriptions: Sequence[Subscription | None]
    ) -> Mapping[int, Reason]:
        """Of the subscriptions that get nothing any more: why, by id. Nearly always there are none."""
        now = self._around.clock.now()
        ended: set[int] = set()
        reasons: dict[int, Reason] = {}
        for claim, subscription in zip(claims, subscriptions, strict=True):
            if subscription is None:
                ended.add(claim.delivery.key.subscription_id)
            elif subscription.endpoint.has_expired(now):
                reasons[subscription.id] = Reason.ENDPOINT_EXPIRED
        if ended:
            reasons |= await self._around.keep_trying("directory", partial(self._directory.cancelling, ended))
        return reasons

    def _observe_load(self) -> None:
        now = self._around.clock.monotonic()
        self._around.observer.tell(LoadMeasured(self._lanes.in_flight, self._lanes.held, self._lanes.states(now)))
