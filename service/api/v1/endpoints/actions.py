"""Actions on an endpoint: rotate its secret, send a test, count its deliveries."""

import uuid
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta

from service.api.operation import WITH_BODY_POSSIBLE, Answer, Call, Operation
from service.api.v1.deliveries import DeliveryItem
from service.api.v1.endpoints.answers import EndedOverlap, EndpointStats, RotatedSecret
from service.api.v1.endpoints.bodies import Rotation, TestRequest
from service.api.v1.endpoints.paths import endpoint_id_of, granted, on_endpoint, problem_of
from service.api.v1.endpoints.queries import StatsQuery
from service.api.v1.endpoints.sampled import first_of, require_type, sample_data
from service.core.deliveries.delivery import DeliveryKey
from service.core.endpoints.gates.gate import HEEDED_WITHIN_SECONDS, that_hold
from service.core.endpoints.refusals import EndpointGated, NoSuchEndpoint
from service.core.events.event import Event, Rejected, parse_event
from service.core.events.sample import sample_event
from service.ports.desk import DeliveryDesk, EndpointDesk, EventTypeDesk, HealthDesk
from webhook_signature.sign import KEYS_MAX

SendTest = Callable[[Event, str], Awaitable[DeliveryKey | None]]
"""Records an event with one delivery, to the endpoint with this id. Implemented by ``Intake.send_test``."""


class EndpointActions:
    """Handlers of ``/v1/endpoints/{id}/…``. ``now`` returns an aware UTC datetime."""

    def __init__(
        self,
        desk: EndpointDesk,
        health: HealthDesk,
        deliveries: DeliveryDesk,
        types: EventTypeDesk,
        send_test: SendTest,
        now: Callable[[], datetime],
    ) -> None:
        self._desk = desk
        self._health = health
        self._deliveries = deliveries
        self._types = types
        self._send_test = send_test
        self._now = now

    async def rotate_secret(self, call: Call) -> Answer:
        """Give the endpoint a new secret."""
        body: Rotation = call.body
        endpoint_id, overlap = endpoint_id_of(call), timedelta(seconds=body.overlap_seconds)
        rotated = granted(
            await self._desk.rotate_secret(call.organization_id, endpoint_id, body.secret, overlap, by=call.actor)
        )
        shown = RotatedSecret(
            id=endpoint_id,
            secret=rotated.new_secret.text,
            public_key=rotated.new_secret.public_key,
            overlap_ends_at=rotated.overlap_ends_at,
            in_effect_at=self._heeded_at(),
        )
        return Answer(200, shown)

    async def end_overlap(self, call: Call) -> Answer:
        """End the older secrets of a rotation."""
        endpoint_id = endpoint_id_of(call)
        ended_count = granted(await self._desk.end_overlap(call.organization_id, endpoint_id, by=call.actor))
        return Answer(200, EndedOverlap(id=endpoint_id, ended_count=ended_count, in_effect_at=self._heeded_at()))

    def _heeded_at(self) -> datetime:
        """When what workers have prepared in memory follows a change of secrets."""
        return self._now() + timedelta(seconds=HEEDED_WITHIN_SECONDS)

    async def test(self, call: Call) -> Answer:
        """Send the endpoint a sample event."""
        body: TestRequest = call.body
        organization_id = call.organization_id
        own = await self._desk.own_event_types(organization_id)
        require_type(body.event_type, own)
        endpoint = granted(await self._desk.find(organization_id, endpoint_id_of(call)))
        if refused := endpoint.ended:
            raise problem_of(refused)
        if waiting := that_hold(endpoint.gates):
            raise problem_of(EndpointGated(waiting))
        event = await self._sample(body.event_type or first_of(endpoint.settings.event_types, own), organization_id)
        key = await self._send_test(event, endpoint.id)
        found = await self._deliveries.show(key, organization_id) if key is not None else None
        if found is None:  # it was deleted concurrently
            raise problem_of(NoSuchEndpoint(endpoint.id))
        return Answer(202, DeliveryItem.model_validate(found.delivery, from_attributes=True))

    async def stats(self, call: Call) -> Answer:
        """Count the endpoint's deliveries."""
        query: StatsQuery = call.query
        endpoint = granted(await self._desk.find(call.organization_id, endpoint_id_of(call)))
        since = self._now() - timedelta(hours=query.hours)
        stats = await self._health.stats(call.organization_id, endpoint.id, since)
        return Answer(200, EndpointStats.of(query.hours, stats))

    async def _sample(self, event_type: str, organization_id: str) -> Event:
        """A sample event. Raises ``ApiError`` (400) for an own type that has none."""
        now, data = self._now(), await sample_data(self._types, organization_id, event_type)
        body = sample_event(
            event_type,
            organization_id,
            event_id=f"evt_{uuid.uuid4().hex}",
            number=int(now.timestamp()) % 10_000,
            now=now,
            is_test=True,
            data=data,
        )
        event = parse_event(body, now)
        if isinstance(event, Rejected):
            raise TypeError(f"the sample of {event_type} is not a valid event: {event.detail}")
        return event

    def operations(self) -> tuple[Operation, ...]:
        """Return the operations."""
        return (
            on_endpoint(
                "POST",
                "/rotate-secret",
                "rotate_endpoint_secret",
                "Rotate the signing secret",
                self.rotate_secret,
                "During the overlap, each style sends a signature for each secret, but for `sha256-body`, which sends "
                f"the oldest secret's. Requests that workers have prepared in memory follow within "
                f"{HEEDED_WITHIN_SECONDS:g} seconds (`in_effect_at`). "
                f"An endpoint can have {KEYS_MAX} secrets at most; one more is refused with 409.",
                answers={200: RotatedSecret},
                body=Rotation,
                problems=WITH_BODY_POSSIBLE | {404, 409},
                example={"overlap_seconds": 3600},
            ),
            on_endpoint(
                "POST",
                "/end-overlap",
                "end_secret_overlap",
                "End the overlap of a rotation",
                self.end_overlap,
                "The older secrets sign no more: do this when the receiver verifies with the new one, or at once if an "
                f"older one has leaked. Workers follow within {HEEDED_WITHIN_SECONDS:g} seconds (`in_effect_at`). "
                "Repeating this changes nothing.",
                answers={200: EndedOverlap},
                problems=frozenset({404, 409}),
            ),
            on_endpoint(
                "POST",
                "/test",
                "test_endpoint",
                "Send a test webhook",
                self.test,
                "Sends a sample with `test: true` to this endpoint only, whatever its filter and event types. While "
                "a gate is shut (`paused`, `disabled`, `retry_after`, an open `breaker`) nothing is sent or queued: "
                "the answer is 409, `ENDPOINT_GATED`, and says why and until when. An event type of your own needs a "
                "`sample`, given or made from its schema when it was registered.",
                answers={202: DeliveryItem},
                body=TestRequest,
                problems=WITH_BODY_POSSIBLE | {404, 409},
                example={"event_type": "message.sent"},
            ),
            on_endpoint(
                "GET",
                "/stats",
                "get_endpoint_stats",
                "Count an endpoint's deliveries",
                self.stats,
                scope="read",
                answers={200: EndpointStats},
                query=StatsQuery,
            ),
        )
