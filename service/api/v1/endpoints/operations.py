"""``/v1/endpoints``: create, list, change and delete endpoints. A change is in effect before it is answered."""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from service.api.operation import WITH_BODY_POSSIBLE, Answer, Call, Limit, Operation
from service.api.page import Page, page_by_time, time_keyset_of
from service.api.v1.endpoints.answers import ChangedEndpoint, CreatedEndpoint, EndpointShown, shown_fields
from service.api.v1.endpoints.bodies import EndpointPatch, EndpointsQuery, NewEndpoint
from service.api.v1.endpoints.ownership import Ownership
from service.api.v1.endpoints.paths import PATH, TAG, endpoint_id_of, granted, on_endpoint
from service.api.v1.endpoints.wish import read_wish
from service.core.endpoints.gate import HEEDED_WITHIN_SECONDS
from service.core.endpoints.view import EndpointView, NewSecret
from service.ports.desk import EndpointDesk, HealthDesk

_HEALTH_WINDOW: Final = timedelta(hours=24)
_EXAMPLE: Final = {"url": "https://example.com/hooks", "event_types": ["message.sent", "message.failed"]}
_ALL_AT_ONCE: Final = "All field errors are reported at once."


class EndpointOperations:
    """Handlers of ``/v1/endpoints``, pause and resume; ``EndpointActions`` has the other actions.

    ``now`` returns an aware UTC datetime.
    """

    def __init__(
        self, desk: EndpointDesk, health: HealthDesk, ownership: Ownership, now: Callable[[], datetime]
    ) -> None:
        self._desk = desk
        self._health = health
        self._ownership = ownership
        self._now = now

    async def create(self, call: Call) -> Answer:
        """Create an endpoint, or return the one with this URL."""
        async with self._ownership.asked(call, read_wish(NewEndpoint, call.body_bytes)) as (wish, check):
            made = granted(await self._desk.create(call.organization_id, wish, check, by=call.actor))
        (fields,) = await self._fields(call, [made.endpoint])
        if made.new_secret is None:
            return Answer(200, EndpointShown(**fields))
        return Answer(201, CreatedEndpoint(**fields, **_shown_once(made.new_secret)))

    async def list(self, call: Call) -> Answer:
        """List a page of endpoints, newest first."""
        query: EndpointsQuery = call.query
        found = await self._desk.list(
            call.organization_id, url=query.url, state=query.state, limit=query.limit + 1, after=time_keyset_of(query)
        )
        shown, cursor = page_by_time(found, query.limit, lambda endpoint: (endpoint.created_at, endpoint.id))
        data = [EndpointShown(**fields) for fields in await self._fields(call, shown)]
        return Answer(200, Page[EndpointShown](data=data, has_more=cursor is not None, next_cursor=cursor))

    async def get(self, call: Call) -> Answer:
        """Show one endpoint."""
        return await self._shown(call, granted(await self._desk.find(call.organization_id, endpoint_id_of(call))))

    async def patch(self, call: Call) -> Answer:
        """Change the given fields."""
        endpoint_id = endpoint_id_of(call)
        async with self._ownership.asked(call, read_wish(EndpointPatch, call.body_bytes)) as (wish, check):
            changed = granted(await self._desk.change(call.organization_id, endpoint_id, wish, check, by=call.actor))
        (fields,) = await self._fields(call, [changed.endpoint])
        return Answer(200, ChangedEndpoint(**fields, **_shown_once(changed.new_secret)))

    async def delete(self, call: Call) -> Answer:
        """Delete the endpoint."""
        granted(await self._desk.remove(call.organization_id, endpoint_id_of(call), by=call.actor))
        return Answer(204)

    async def pause(self, call: Call) -> Answer:
        """Pause the endpoint."""
        return await self._set_paused(call, is_paused=True)

    async def resume(self, call: Call) -> Answer:
        """Resume the endpoint."""
        return await self._set_paused(call, is_paused=False)

    async def _set_paused(self, call: Call, *, is_paused: bool) -> Answer:
        endpoint_id = endpoint_id_of(call)
        changed = await self._desk.set_paused(call.organization_id, endpoint_id, is_paused=is_paused, by=call.actor)
        return await self._shown(call, granted(changed))

    async def _shown(self, call: Call, endpoint: EndpointView) -> Answer:
        (fields,) = await self._fields(call, [endpoint])
        return Answer(200, EndpointShown(**fields))

    async def _fields(self, call: Call, endpoints: Sequence[EndpointView]) -> Sequence[dict[str, Any]]:
        ids = [each.id for each in endpoints]
        health = await self._health.of(call.organization_id, ids, self._now() - _HEALTH_WINDOW) if ids else {}
        return [shown_fields(each, health[each.id]) for each in endpoints]

    def operations(self) -> tuple[Operation, ...]:
        """Return the operations."""
        return (
            Operation(
                "POST",
                PATH,
                name="create_endpoint",
                summary="Create an endpoint",
                description="The secret is shown only once. If the organization already has this URL, the answer is "
                "200 with the existing endpoint, unchanged and without its secret; the rest of the body is ignored. "
                + _ALL_AT_ONCE,
                scope="write",
                handler=self.create,
                answers={201: CreatedEndpoint, 200: EndpointShown},
                tag=TAG,
                body_schema=NewEndpoint,
                problems=WITH_BODY_POSSIBLE,
                example=_EXAMPLE,
            ),
            Operation(
                "GET",
                PATH,
                name="list_endpoints",
                summary="List endpoints",
                description="Newest first. Deleted endpoints are not listed. Endpoints whose receiver answered 410 are "
                "listed as `gone` until they are deleted.",
                scope="read",
                handler=self.list,
                answers={200: Page[EndpointShown]},
                tag=TAG,
                query=EndpointsQuery,
            ),
            *self._operations_on_one(),
        )

    def _operations_on_one(self) -> tuple[Operation, ...]:
        return (
            on_endpoint("GET", "", "get_endpoint", "Get an endpoint", self.get, scope="read"),
            on_endpoint(
                "PATCH",
                "",
                "update_endpoint",
                "Change an endpoint",
                self.patch,
                "Only the given fields change; each is replaced as a whole, and null restores its default. In "
                "`headers`, `***` keeps the stored value. Removing an event type from `event_types` ends its "
                "subscription and cancels its pending deliveries. Changing `url` keeps id and secrets. Changing "
                "`signature_style` with `overlap_seconds` makes a new secret, which this answer shows once, and lets "
                "the older ones sign on in the old style; without, it keeps the secrets, but uses them differently: "
                "`standard` as bytes, `t-v1` and `sha256-body` as text. " + _ALL_AT_ONCE,
                answers={200: ChangedEndpoint},
                body_schema=EndpointPatch,
                limit=Limit.NONE,  # it could subscribe to more, or send it elsewhere
                problems=WITH_BODY_POSSIBLE | {404, 409},
                example={"event_types": ["message.*"], "timeout_seconds": 10},
            ),
            on_endpoint(
                "DELETE",
                "",
                "delete_endpoint",
                "Delete an endpoint",
                self.delete,
                "Pending deliveries are cancelled; past ones stay on record. Deleting it again answers 204, too.",
                limit=Limit.NONE,
                answers={204: None},
            ),
            on_endpoint(
                "POST",
                "/pause",
                "pause_endpoint",
                "Pause an endpoint",
                self.pause,
                "Deliveries wait and use no attempts. No request begins more than "
                f"{HEEDED_WITHIN_SECONDS:g} seconds after the answer (`in_effect_at` of the gate); one that is being "
                "sent then is finished. Pausing again changes nothing.",
                problems=frozenset({404, 409}),
            ),
            on_endpoint(
                "POST",
                "/resume",
                "resume_endpoint",
                "Resume an endpoint",
                self.resume,
                "Ends `paused` and `disabled`: waiting deliveries become due, and what failed before is forgotten. An "
                "open `breaker` tries one of them now. `retry_after`, which the receiver asked for, ends by itself. "
                "Resuming again changes nothing.",
                problems=frozenset({404, 409}),
            ),
        )


def _shown_once(secret: NewSecret | None) -> dict[str, Any]:
    return {"secret": secret.text, "public_key": secret.public_key} if secret else {"secret": None, "public_key": None}
