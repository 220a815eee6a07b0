"""One delivery, one attempt: the page this program is about."""

from dataclasses import dataclass

from service.core.deliveries.allowance import PROMPT_SECONDS
from service.core.deliveries.attempt import AttemptStarted
from service.core.deliveries.delivery import Lease
from service.core.deliveries.request import Request, build_request
from service.core.deliveries.settlement import Settled, conclude
from service.core.endpoints.retry_schedule import RetrySchedule
from service.flow.surroundings import Surroundings
from service.ports.exit import Sender


@dataclass(frozen=True, slots=True)
class Deliver:
    """Makes attempts. It judges nothing itself: the core reads the reply and says what follows.

    ``schedule`` and ``timeout_seconds`` serve endpoints that ask for none of their own.
    """

    sender: Sender
    schedule: RetrySchedule
    around: Surroundings
    timeout_seconds: float
    margin_seconds: float

    async def __call__(self, lease: Lease) -> Settled | None:
        """Attempt the delivery; what to settle, or None when it is too late to begin with this lease."""
        now = self.around.clock.monotonic()
        left_seconds = lease.expires_at_monotonic - now - self.margin_seconds
        if left_seconds < self.timeout_seconds:
            return None  # we were stopped or stalled: by the time a reply came, another worker might own it
        if (
            lease.grant is not None
            and lease.grant.must_begin_promptly
            and now > lease.granted_at_monotonic + PROMPT_SECONDS
        ):
            return None  # what was held up would be sent together with what the endpoint's rate lets through now
        endpoint, at = lease.endpoint, self.around.clock.now()
        if endpoint.has_expired(at):
            return None  # it may have been given more time since: the next claim knows, and cancels if not
        timeout_seconds = min(endpoint.timeout_seconds or self.timeout_seconds, left_seconds)
        target_url = endpoint.stored_url or endpoint.url
        started = AttemptStarted(lease.delivery, lease.claim_number, target_url, at)
        self.around.observer.tell(started)
        request = build_request(lease, started.at, timeout_seconds, left_seconds)
        reply = await self.sender.send(request) if isinstance(request, Request) else request
        # Dying on this line sends the event twice: the receiver has it, and we have not said so. The copy carries
        # the same webhook-id and the same bytes; "at least once" is what we promise.
        schedule = endpoint.schedule or self.schedule
        return conclude(started, reply, schedule, self.around.clock.now(), self.around.draw(), request)
