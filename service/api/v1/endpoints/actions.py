"""What can be done with an endpoint: rotate its secret, try it, count its deliveries."""

from collections.abc import Awaitable, Callable, Collection
from datetime import datetime, timedelta

from service.adapters.postgres.deliveries.reader import DeliveryReader
from service.adapters.postgres.endpoints.health import EndpointHealth
from service.adapters.postgres.endpoints.rows import new_id
from service.adapters.postgres.endpoints.store import EndpointStore
from service.api.errors import invalid
from service.api.operation import WITH_BODY_POSSIBLE, Answer, Call, Operation
from service.api.v1.deliveries import DeliveryItem
from service.api.v1.endpoints.answers import EndpointStats, RotatedSecret
from service.api.v1.endpoints.bodies import Rotation, StatsQuery, TestRequest
from service.api.v1.endpoints.paths import on_endpoint, translated
from service.api.v1.endpoints.reading import secret_problem
from service.core.deliveries.delivery import DeliveryKey
from service.core.endpoints.endpoint import EndpointSettings
from service.core.endpoints.refusals import NoEndpointError
from service.core.events.event import Event, Rejected, parse_event
from service.core.events.registry import REGISTRY, is_subscribable
from service.core.events.sample import sample_event
from webhook_signature.sign import KEYS_MAX

SendTest = Callable[[Event, str], Awaitable[DeliveryKey | None]]
"""Records an event with one delivery, to the endpoint with this id; ``flow.intake.Intake.send_test`` is one."""


class EndpointActions:
    """The work behind ``/v1/endpoints/{id}/…``. ``now`` is an aware UTC instant."""

    def __init__(
        self,
        store: EndpointStore,
        health: EndpointHealth,
        deliveries: DeliveryReader,
        send_test: SendTest,
        now: Callable[[], datetime],
    ) -> None:
        self._store = store
        self._health = health
        self._deliveries = deliveries
        self._send_test = send_test
        self._now = now

    async def rotate_secret(self, call: Call) -> Answer:
        """Give the endpoint a new secret."""
        body: Rotation = call.body

        def given(settings: EndpointSettings) -> str | None:
            if body.secret is not None and (why := secret_problem(body.secret, settings.signature_style)):
                raise invalid("the request is not valid", {"secret": [why]})
            return body.secret

        with translated(call) as endpoint_id:
            secret, overlap_ends_at = await self._store.rotate_secret(
                call.organization_id, endpoint_id, given, timedelta(seconds=body.overlap_seconds)
            )
        return Answer(200, RotatedSecret(id=endpoint_id, secret=secret, overlap_ends_at=overlap_ends_at))

    async def test(self, call: Call) -> Answer:
        """Send the endpoint a sample."""
        body: TestRequest = call.body
        organization_id = call.organization_id
        own = await self._store.own_event_types(organization_id)
        if body.event_type is not None and ("*" in body.event_type or not is_subscribable(body.event_type, own)):
            why = "is no event type; GET /v1/event-types lists them"
            raise invalid("the request is not valid", {"event_type": [why]})
        with translated(call) as endpoint_id:
            endpoint = await self._store.find_active(organization_id, endpoint_id)
            event = self._sample(body.event_type or _first_of(endpoint.settings.event_types, own), organization_id)
            key = await self._send_test(event, endpoint_id)
            found = await self._deliveries.show(key, organization_id) if key is not None else None
            if found is None:  # it ended between two of these lines
                raise NoEndpointError(endpoint_id)
        return Answer(202, DeliveryItem.model_validate(found.delivery, from_attributes=True))

    async def stats(self, call: Call) -> Answer:
        """Count the endpoint's deliveries."""
        query: StatsQuery = call.query
        with translated(call) as endpoint_id:
            await self._store.find(call.organization_id, endpoint_id)
        since = self._now() - timedelta(hours=query.hours)
        stats = await self._health.stats(call.organization_id, endpoint_id, since)
        return Answer(200, EndpointStats.of(query.hours, stats))

    def _sample(self, event_type: str, organization_id: str) -> Event:
        now = self._now()
        body = sample_event(
            event_type,
            organization_id,
            event_id=new_id("evt"),
            number=int(now.timestamp()) % 10_000,
            now=now,
            is_test=True,
        )
        event = parse_event(body, now)
        if isinstance(event, Rejected):
            raise TypeError(f"our own sample of {event_type} is no event: {event.detail}")
        return event

    def operations(self) -> tuple[Operation, ...]:
        """How all this is reached."""
        return (
            on_endpoint(
                "POST",
                "/rotate-secret",
                "rotate_endpoint_secret",
                "Rotate the signing secret",
                self.rotate_secret,
                f"With an overlap, `standard` and `t-v1` carry a signature of each secret, at most {KEYS_MAX}; "
                "one more is refused with 409. `sha256-body` has room for one: the oldest secret's, until the overlap "
                "ends.",
                answers={200: RotatedSecret},
                body=Rotation,
                problems=WITH_BODY_POSSIBLE | {404, 409},
                example={"overlap_seconds": 3600},
            ),
            on_endpoint(
                "POST",
                "/test",
                "test_endpoint",
                "Send a test webhook",
                self.test,
                "A sample, flagged `test: true`, goes to this endpoint alone, whatever its filter and event types; "
                "to a paused one when it is resumed. An event type of your own gets a general sample, which does not "
                "follow its schema.",
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


def _first_of(patterns: tuple[str, ...], own_event_types: Collection[str]) -> str:
    """The first event type that the first of these patterns stands for."""
    names = (*REGISTRY, *own_event_types)
    if patterns[0] in names:
        return patterns[0]
    return next(name for name in names if name.startswith(patterns[0].removesuffix("*")))
