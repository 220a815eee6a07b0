"""Subscribing a URL to a resthook, and ending it."""

from functools import partial
from typing import Final

from aiohttp import web

from service.adapters.postgres.endpoints.resthooks import (
    AlreadySubscribedError,
    OtherSecretError,
    ResthookStore,
    Subscriber,
)
from service.api.v2.bodies import parse_fields
from service.api.v2.refusal import RefusalError, json_response, refusal
from service.api.v2.resource import Call
from service.api.v2.subscribing import read_subscriber
from service.core.endpoints.target_policy import EgressPolicy
from service.core.timestamp import format_timestamp

NO_ID: Final = "URL must contain one of the following parameters: id"
NO_MATCH: Final = "No ResthookSubscriber matches the given query."
NO_UPDATES: Final = "Subscribers cannot be updated: a POST without an id creates one."
ALREADY_SUBSCRIBED: Final = "URL is already subscribed to this event."
OTHER_SECRET: Final = "This URL has an endpoint already, and it signs with another secret."  # noqa: S105 - a sentence


class Subscribers:
    """Makes and ends subscriptions in one store. ``policy`` says which URLs may be targets."""

    def __init__(self, store: ResthookStore, policy: EgressPolicy) -> None:
        self._store = store
        self._policy = policy

    async def create(self, call: Call) -> web.Response:
        """Subscribe a URL; the secret is shown when its endpoint was made for it. No request is made to the URL."""
        if "id" in call.request.query:
            raise refusal(400, NO_UPDATES)
        fields = await parse_fields(call.request, call.body)
        has_resthook = partial(self._store.has_resthook, call.organization_id)
        wanted = await read_subscriber(fields, has_resthook, self._policy)
        try:
            made = await self._store.subscribe(call.organization_id, wanted.resthook, wanted.target_url, wanted.secret)
        except AlreadySubscribedError:
            raise RefusalError(400, {"non_field_errors": [ALREADY_SUBSCRIBED]}) from None
        except OtherSecretError:
            raise RefusalError(400, {"secret": [OTHER_SECRET]}) from None
        shown = {} if made.secret is None else {"secret": made.secret}
        return json_response(as_object(made) | shown, 201)

    async def delete(self, call: Call) -> web.Response:
        """End the subscription that the path or ``?id=`` names."""
        subscriber_id = call.id()
        if subscriber_id is None:
            raise refusal(400, NO_ID)
        if not await self._store.unsubscribe(call.organization_id, subscriber_id):
            raise refusal(404, NO_MATCH)
        return web.Response(status=204)


def as_object(row: Subscriber) -> dict[str, object]:
    """A subscriber as it is listed."""
    return {
        "id": row.id,
        "resthook": row.resthook,
        "target_url": row.target_url,
        "created_on": format_timestamp(row.created_at),
    }
