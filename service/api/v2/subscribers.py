"""Subscribe a URL to a resthook, and end the subscription."""

from typing import Final, assert_never

from aiohttp import web

from service.api.v2.bodies import parse_fields
from service.api.v2.refusal import PERMISSION_DENIED, RefusalError, json_response, refusal
from service.api.v2.resource import ResourceCall
from service.api.v2.subscribing import problems_here, read_subscriber
from service.core.endpoints.refusals import CapReached, InvalidWish, NoSuchOrganization, OtherSecret
from service.core.endpoints.url import masked_url
from service.core.endpoints.view import Registered, Subscriber
from service.core.timestamp import format_timestamp
from service.ports.desk import EndpointDesk

NO_ID: Final = "URL must contain one of the following parameters: id"
NO_MATCH: Final = "No ResthookSubscriber matches the given query."
NO_UPDATES: Final = "Subscribers cannot be updated: a POST without an id creates one."
ALREADY_SUBSCRIBED: Final = "URL is already subscribed to this event."
OTHER_SECRET: Final = "This URL already has an endpoint, which signs with another secret."  # noqa: S105 - a sentence


class Subscribers:
    """Creates and ends subscriptions."""

    def __init__(self, desk: EndpointDesk) -> None:
        self._desk = desk

    async def create(self, call: ResourceCall) -> web.Response:
        """Subscribe a URL; the secret is shown if a new endpoint was created. No request is sent to the URL."""
        if "id" in call.request.query:
            raise refusal(400, NO_UPDATES)
        wish = read_subscriber(await parse_fields(call.request, call.body))
        match await self._desk.subscribe(call.organization_id, wish, by=call.actor):
            case Registered(_, new_secret, (made,)):
                shown = {} if new_secret is None else {"secret": new_secret.text}
                return json_response(as_object(made, shows_query=True) | shown, 201)
            case Registered():
                raise RefusalError(400, {"non_field_errors": [ALREADY_SUBSCRIBED]})
            case InvalidWish(problems):
                raise RefusalError(400, problems_here(problems, wish))
            case OtherSecret():
                raise RefusalError(400, {"secret": [OTHER_SECRET]})
            case CapReached() as capped:
                raise refusal(409, f"Cannot create object: {capped.sentence}.")
            case NoSuchOrganization():
                raise refusal(403, PERMISSION_DENIED)
            case other:
                assert_never(other)

    async def delete(self, call: ResourceCall) -> web.Response:
        """End the subscription that the path or ``?id=`` names."""
        subscriber_id = call.id()
        if subscriber_id is None:
            raise refusal(400, NO_ID)
        if not await self._desk.unsubscribe(call.organization_id, subscriber_id, by=call.actor):
            raise refusal(404, NO_MATCH)
        return web.Response(status=204)


def as_object(row: Subscriber, *, shows_query: bool) -> dict[str, object]:
    """Return the JSON object of a subscriber."""
    return {
        "id": row.id,
        "resthook": row.resthook,
        "target_url": row.target_url if shows_query else masked_url(row.target_url),
        "created_on": format_timestamp(row.created_at),
    }
