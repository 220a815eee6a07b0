"""A delivery: the promise to get one event to one subscription, and the only steps it can take."""

import re
from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from math import inf
from typing import Self
from uuid import UUID

from msgspec import Struct

from service.core.deliveries.allowance import Grant
from service.core.endpoints.endpoint import Endpoint
from service.core.endpoints.subscription import Subscription


class State(StrEnum):
    """Where a delivery stands. Each line says who moves it next, and what happens if that process dies."""

    PENDING = "pending"  # A worker's claim moves it once it is due. It lies in PostgreSQL: nobody's death matters.
    LEASED = "leased"  # The lease's holder settles it. If the holder dies, the lease expires and upkeep rescues it.
    DELIVERED = "delivered"  # Final: the receiver answered 2xx.
    DEAD = "dead"  # Final: attempts, age or retention ran out. A replay makes a new delivery; this one never moves.
    CANCELLED = "cancelled"  # Final: the subscription was deleted or expired, or the receiver answered 410.


class Step(StrEnum):
    """What can happen to a delivery."""

    CLAIM = "claim"  # a worker takes the right to make one attempt
    ACCEPT = "accept"  # the receiver answered 2xx; a late one counts too: a 2xx is a fact
    RETRY = "retry"  # the attempt failed, was lost with its worker, or failed through our own fault
    RELEASE = "release"  # the lease is given back, the POST not begun
    BURY = "bury"  # the attempt failed and no other follows
    CANCEL = "cancel"  # nobody wants it any more
    EXPIRE = "expire"  # its event is about to be deleted: the day is past retention


STEPS: Mapping[State, Mapping[Step, State]] = {
    State.PENDING: {
        Step.CLAIM: State.LEASED,
        Step.ACCEPT: State.DELIVERED,
        Step.CANCEL: State.CANCELLED,
        Step.EXPIRE: State.DEAD,
    },
    State.LEASED: {
        Step.ACCEPT: State.DELIVERED,
        Step.RETRY: State.PENDING,
        Step.RELEASE: State.PENDING,
        Step.BURY: State.DEAD,
        Step.CANCEL: State.CANCELLED,
    },
    State.DELIVERED: {},
    State.DEAD: {},
    State.CANCELLED: {},
}

OPEN_STATES = frozenset(state for state, steps in STEPS.items() if steps)
FINAL_STATES = frozenset(State) - OPEN_STATES

CRASHES_MAX = 3
"""POSTs in a row that may begin and be lost with their worker. The loss that made the delivery suspect is not one."""

_DELIVERY_ID = re.compile(r"dlv_([0-9a-f]{32})_([1-9][0-9]{0,17})(?:_([1-9][0-9]{0,8}))?")


class DeliveryKey(Struct, frozen=True, gc=False):
    """The natural key: which event, to which subscription, and which replay of it (0 = the first delivery).

    The API's id spells the key out, so looking a delivery up touches one partition and needs no further index.
    """

    event_uid: UUID
    subscription_id: int
    replay_number: int = 0

    def __str__(self) -> str:
        suffix = f"_{self.replay_number}" if self.replay_number else ""
        return f"dlv_{self.event_uid.hex}_{self.subscription_id}{suffix}"

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """The key that ``str(key)`` wrote, or None if ``text`` is not a delivery id."""
        found = _DELIVERY_ID.fullmatch(text)
        return cls(UUID(found[1]), int(found[2]), int(found[3] or 0)) if found else None


class Delivery(Struct, frozen=True, gc=False):
    """What a worker knows of a delivery while it holds the lease.

    ``body`` is the event's envelope, serialised once at intake: the bytes signed, stored and sent.
    ``attempts_made`` counts against the limit; ``attempts_recorded`` numbers the rows, also those not counted.
    ``lost_in_a_row`` counts the leases lost since a reply last came, unless it is known that no POST had begun.
    """

    key: DeliveryKey
    organization_id: str
    event_id: str
    event_type: str
    body: bytes
    endpoint_id: str
    created_at: datetime
    attempts_made: int = 0
    attempts_recorded: int = 0
    lost_in_a_row: int = 0

    @property
    def is_suspect(self) -> bool:
        """Whether this delivery's last worker was lost, so that it may be what crashes workers.

        Before a suspect is POSTed, that is written down. So its next loss counts only if the POST had begun.
        """
        return self.lost_in_a_row > 0

    @property
    def has_last_chance(self) -> bool:
        """Whether one more loss after the POST began ends this delivery.

        A worker makes one such attempt at a time. So what crashes it ends, and what was in flight beside it does not.
        """
        return self.lost_in_a_row >= CRASHES_MAX


class Lease(Struct, frozen=True, gc=False):
    """The expiring right to make one attempt.

    ``claim_number`` only grows, and fences off a holder who lost the lease. ``expires_at_monotonic`` (seconds of the
    worker's own monotonic clock) counts from ``granted_at_monotonic``, which is before the claim was sent, so it is
    early rather than late. What the database knew then, the lease respects: the gates, and the endpoint as it was at
    ``directory_version``. A lease that is older than ``HEEDED_WITHIN_SECONDS`` is asked about before its POST. ``line``
    is the line that the delivery heads.
    """

    delivery: Delivery
    endpoint: Endpoint
    claim_number: int
    expires_at_monotonic: float
    grant: Grant | None = None
    granted_at_monotonic: float = inf
    directory_version: int = 0
    line: UUID | None = None


class NewDelivery(Struct, frozen=True, gc=False):
    """A delivery about to be recorded. Born leased where its lane has room (and no gate is shut), else pending.

    ``line`` is where it queues, if its endpoint asks for order and the event has a key.
    """

    delivery: Delivery
    endpoint: Endpoint
    wants_lease: bool
    line: UUID | None = None


def fan_out(
    event_uid: UUID, event_id: str, event_type: str, body: bytes, created_at: datetime, to: tuple[Subscription, ...]
) -> tuple[Delivery, ...]:
    """One delivery per matching subscription. Fan-out is frozen here: a redelivered event adds no later subscriber."""
    return tuple(
        Delivery(
            key=DeliveryKey(event_uid, subscription.id),
            organization_id=subscription.endpoint.organization_id,
            event_id=event_id,
            event_type=event_type,
            body=body,
            endpoint_id=subscription.endpoint.id,
            created_at=created_at,
        )
        for subscription in to
    )
