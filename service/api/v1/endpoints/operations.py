"""``/v1/endpoints``: create, list, change and delete endpoints. A change is in effect before it is answered."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from service.api.cursor import write_cursor
from service.api.operation import WITH_BODY_POSSIBLE, Answer, Call, Operation
from service.api.page import Page, bad_cursor, keyset_of
from service.api.v1.endpoints.answers import CreatedEndpoint, EndpointShown, shown_fields
from service.api.v1.endpoints.bodies import EndpointPatch, EndpointsQuery, NewEndpoint
from service.api.v1.endpoints.paths import PATH, TAG, endpoint_id_of, granted, on_endpoint
from service.api.v1.endpoints.wish import read_wish
from service.core.endpoints.view import EndpointView
from service.ports.desk import EndpointDesk, EndpointKeyset, HealthDesk

_HEALTH_WINDOW: Final = timedelta(hours=24)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_EXAMPLE: Final = {"url": "https://example.com/hooks", "event_types": ["message.sent", "message.failed"]}
_ALL_AT_ONCE: Final = (
    "All field errors are reported at once. "
    "`rate_limit_per_second` and `max_in_flight` are not supported by this release."
)


class EndpointOperations:
    """Handlers of ``/v1/endpoints``, pause and resume; ``EndpointActions`` has the other actions.

    ``now`` returns an aware UTC datetime.
    """

    def __init__(self, desk: EndpointDesk, health: HealthDesk, now: Callable[[], datetime]) -> None:
        self._desk = desk
        self._health = health
        self._now = now

    async def create(self, call: Call) -> Answer:
        """Create an endpoint, or return the one with this URL."""
        wish = read_wish(NewEndpoint, call.body_bytes)
        made = granted(await self._desk.create(call.organization_id, wish))
        (fields,) = await self._fields(call, [made.endpoint])
        if made.secret is None:
            return Answer(200, EndpointShown(**fields))
        return Answer(201, CreatedEndpoint(**fields, secret=made.secret))

    async def list(self, call: Call) -> Answer:
        """List a page of endpoints, newest first."""
        query: EndpointsQuery = call.query
        found = await self._desk.list(
            call.organization_id, url=query.url, state=query.state, limit=query.limit + 1, after=_read_keyset(query)
        )
        shown = found[: query.limit]
        has_more = len(found) > len(shown)
        data = [EndpointShown(**fields) for fields in await self._fields(call, shown)]
        cursor = _write_keyset(shown[-1]) if has_more else None
        return Answer(200, Page[EndpointShown](data=data, has_more=has_more, next_cursor=cursor))

    async def get(self, call: Call) -> Answer:
        """Show one endpoint."""
        return await self._shown(call, granted(await self._desk.find(call.organization_id, endpoint_id_of(call))))

    async def patch(self, call: Call) -> Answer:
        """Change the given fields."""
        endpoint_id, wish = endpoint_id_of(call), read_wish(EndpointPatch, call.body_bytes)
        return await self._shown(call, granted(await self._desk.change(call.organization_id, endpoint_id, wish)))

    async def delete(self, call: Call) -> Answer:
        """Delete the endpoint."""
        granted(await self._desk.remove(call.organization_id, endpoint_id_of(call)))
        return Answer(204)

    async def pause(self, call: Call) -> Answer:
        """Pause the endpoint."""
        return await self._set_paused(call, is_paused=True)

    async def resume(self, call: Call) -> Answer:
        """Resume the endpoint."""
        return await self._set_paused(call, is_paused=False)

    async def _set_paused(self, call: Call, *, is_paused: bool) -> Answer:
        endpoint_id = endpoint_id_of(call)
        endpoint = granted(await self._desk.set_paused(call.organization_id, endpoint_id, is_paused=is_paused))
        return await self._shown(call, endpoint)

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
                body_schema=NewEndpoint.model_json_schema(),
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
                "`signature_style` keeps the secrets, but uses them differently: `standard` as bytes, the others as "
                "text. " + _ALL_AT_ONCE,
                body_schema=_patch_schema(),
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
                answers={204: None},
            ),
            on_endpoint(
                "POST",
                "/pause",
                "pause_endpoint",
                "Pause an endpoint",
                self.pause,
                "Deliveries wait and use no attempts. Deliveries that a worker has already claimed are still sent. "
                "Pausing again changes nothing.",
                problems=frozenset({404, 409}),
            ),
            on_endpoint(
                "POST",
                "/resume",
                "resume_endpoint",
                "Resume an endpoint",
                self.resume,
                "Waiting deliveries become due. Resuming again changes nothing.",
                problems=frozenset({404, 409}),
            ),
        )


def _patch_schema() -> dict[str, Any]:
    """Return the schema without defaults: a client that sent them would reset the fields it meant to omit."""
    schema = EndpointPatch.model_json_schema()
    for each in schema["properties"].values():
        each.pop("default", None)
    return schema


def _write_keyset(endpoint: EndpointView) -> str:
    return write_cursor((endpoint.created_at - _EPOCH) // _MICROSECOND, endpoint.id)


def _read_keyset(query: EndpointsQuery) -> EndpointKeyset | None:
    parts = keyset_of(query, int, str)
    if parts is None:
        return None
    try:
        return _EPOCH + parts[0] * _MICROSECOND, parts[1]
    except OverflowError:
        raise bad_cursor() from None
