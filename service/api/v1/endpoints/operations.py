"""``/v1/endpoints``: create, list, change and delete endpoints. A change is in effect before it is answered."""

from functools import partial
from typing import Final

from service.api.errors import invalid
from service.api.lists.keyset import Keyset
from service.api.lists.page import Page, by_time, read_page
from service.api.operation import WITH_BODY_POSSIBLE, Answer, Call, Operation
from service.api.v1.endpoints.answers import CreatedEndpoint, EndpointShown, EndpointUrlShown
from service.api.v1.endpoints.bodies import NewEndpoint
from service.api.v1.endpoints.changes import ALL_AT_ONCE, EndpointChanges
from service.api.v1.endpoints.etag import unless_known
from service.api.v1.endpoints.ownership import Ownership
from service.api.v1.endpoints.paths import PATH, TAG, endpoint_id_of, granted, on_endpoint
from service.api.v1.endpoints.queries import EndpointsQuery, EndpointUrlsQuery
from service.api.v1.endpoints.showing import Showing
from service.api.v1.endpoints.wish import read_wish
from service.core.endpoints.gates.gate import HEEDED_WITHIN_SECONDS
from service.core.endpoints.url import has_query
from service.core.endpoints.view import EndpointUrl, EndpointView
from service.core.keys.scope import includes
from service.ports.desk import EndpointDesk, TimeKeyset

_BY_TIME: Final[Keyset[EndpointView, TimeKeyset]] = by_time(lambda endpoint: (endpoint.created_at, endpoint.id))
_URLS_BY_TIME: Final[Keyset[EndpointUrl, TimeKeyset]] = by_time(lambda endpoint: (endpoint.created_at, endpoint.id))
_EXAMPLE: Final = {"url": "https://example.com/hooks", "event_types": ["message.sent", "message.failed"]}


class EndpointOperations:
    """Handlers of ``/v1/endpoints``, pause and resume; ``EndpointActions`` has the other actions."""

    def __init__(self, desk: EndpointDesk, ownership: Ownership, showing: Showing) -> None:
        self._desk = desk
        self._ownership = ownership
        self._showing = showing
        self._changes = EndpointChanges(desk, ownership, showing)

    async def create(self, call: Call) -> Answer:
        """Create an endpoint, or return the one with this URL."""
        async with self._ownership.asked(call, read_wish(NewEndpoint, call.body_bytes)) as (wish, check):
            made = granted(await self._desk.create(call.organization_id, wish, check, by=call.actor))
        if made.new_secret is None:
            return await self._showing.one(call, made.endpoint)
        return await self._showing.created(call, made.endpoint, made.new_secret)

    async def list(self, call: Call) -> Answer:
        """List a page of endpoints."""
        query: EndpointsQuery = call.query
        if query.url is not None and has_query(query.url) and not includes(call.key.scopes, "write"):
            why = "must have no query: only a key with the scope 'write' may look for one, as no other is shown it"
            raise invalid("the request is not valid", {"url": [why]})  # else a token in it could be guessed
        fetch = partial(self._desk.list, call.organization_id, wanted=query.wanted(query.url))
        page = await read_page(query, _BY_TIME, fetch)
        data = [*await self._showing.list(call, page.rows)]
        return Answer(200, Page[EndpointShown](data=data, **page.links))

    async def list_urls(self, call: Call) -> Answer:
        """List a page of endpoints, with nothing but their ids and URLs."""
        query: EndpointUrlsQuery = call.query
        fetch = partial(self._desk.list_urls, call.organization_id, wanted=query.wanted())
        page = await read_page(query, _URLS_BY_TIME, fetch)
        data = [EndpointUrlShown(id=each.id, url=each.url) for each in page.rows]
        return Answer(200, Page[EndpointUrlShown](data=data, **page.links))

    async def get(self, call: Call) -> Answer:
        """Show one endpoint."""
        endpoint = granted(await self._desk.find(call.organization_id, endpoint_id_of(call)))
        return unless_known(call.request, await self._showing.one(call, endpoint))

    async def pause(self, call: Call) -> Answer:
        """Pause the endpoint."""
        return await self._set_paused(call, is_paused=True)

    async def resume(self, call: Call) -> Answer:
        """Resume the endpoint."""
        return await self._set_paused(call, is_paused=False)

    async def _set_paused(self, call: Call, *, is_paused: bool) -> Answer:
        endpoint_id = endpoint_id_of(call)
        changed = await self._desk.set_paused(call.organization_id, endpoint_id, is_paused=is_paused, by=call.actor)
        return await self._showing.one(call, granted(changed))

    def operations(self) -> tuple[Operation, ...]:
        """Return the operations."""
        return (
            Operation(
                "POST",
                PATH,
                name="create_endpoint",
                summary="Create an endpoint",
                description="The secret is shown only once. If the organization already has just such an endpoint, the "
                "answer is 200 with that, and without its secret. If its endpoint of this URL has other settings, the "
                "answer is 409, and says which endpoint and which settings; PUT replaces them. " + ALL_AT_ONCE,
                scope="write",
                handler=self.create,
                answers={201: CreatedEndpoint, 200: EndpointShown},
                tag=TAG,
                body_schema=NewEndpoint,
                problems=WITH_BODY_POSSIBLE | {409},
                example=_EXAMPLE,
                has_etag=True,
            ),
            Operation(
                "GET",
                PATH,
                name="list_endpoints",
                summary="List endpoints",
                description="Newest first. Deleted endpoints are not listed. Endpoints whose receiver answered 410 are "
                "listed with `state=gone`, those past their `valid_until` with `state=expired`, until they are "
                "deleted.",
                scope="read",
                handler=self.list,
                answers={200: Page[EndpointShown]},
                tag=TAG,
                query=EndpointsQuery,
            ),
            Operation(
                "GET",
                f"{PATH}/urls",
                name="list_endpoint_urls",
                summary="List the URLs of endpoints",
                description="The same list with nothing but ids and URLs, for whoever shows something else that names "
                "endpoints: it takes a fraction of the time.",
                scope="read",
                handler=self.list_urls,
                answers={200: Page[EndpointUrlShown]},
                tag=TAG,
                query=EndpointUrlsQuery,
            ),
            *self._operations_on_one(),
        )

    def _operations_on_one(self) -> tuple[Operation, ...]:
        return (
            on_endpoint(
                "GET",
                "",
                "get_endpoint",
                "Get an endpoint",
                self.get,
                "With `If-None-Match` and the `ETag` of an answer: 304 if all of it still holds.",
                scope="read",
                answers={200: EndpointShown, 304: None},
                has_etag=True,
            ),
            *self._changes.operations(),
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
