"""The whole composed application, as the service serves it, on a real PostgreSQL."""

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from socket import AF_UNSPEC, AddressFamily
from typing import Any

from aiohttp import web
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.test_utils import TestClient, TestServer
from sqlalchemy.ext.asyncio import AsyncEngine

from service.adapters.exit.dialer import GuardedResolver
from service.adapters.exit.sender import HttpSender
from service.adapters.postgres.engine import connect
from service.app.http import Parts, api_of
from service.core.events.sample import sample_event
from service.core.keys.api_key import NewKey
from service.settings import load_settings
from tests.api.conftest import Client, Troubles
from tests.api.endpoints_rig import SECRET_BOX, intake_on
from tests.api.entrance_rig import Told, ask, bearing, make_key

SETTINGS = {"POSTHORN_RATE_LIMIT_PER_HOUR": "1000000"}
OWNER, STRANGER = "org_mine", "org_other"
SUBSCRIBERS = "/api/v2/resthook_subscribers"


class NoNames(AbstractResolver):
    """A DNS without a name, so that nothing asks the machine's."""

    async def resolve(self, host: str, port: int = 0, family: AddressFamily = AF_UNSPEC) -> list[ResolveResult]:
        del port, family
        raise OSError(None, f"{host} was not found")

    async def close(self) -> None:
        """Nothing is open."""


@dataclass(frozen=True)
class Whole:
    """The application on a socket; the organizations ``OWNER`` and ``STRANGER`` may do anything."""

    engine: AsyncEngine
    application: web.Application
    client: Client
    keys: Mapping[str, NewKey]
    troubles: Troubles

    async def ask(self, method: str, path: str, *, by: str = OWNER, **options: Any) -> Told:
        headers = bearing(self.keys[by], **options.pop("headers", {}))
        return await ask(self.client, method, path, headers=headers, **options)

    async def made(self, method: str, path: str, body: object, *, by: str = OWNER, **headers: str) -> Any:
        """What a request that must succeed comes to."""
        told = await self.ask(method, path, json=body, by=by, headers=headers)
        assert told.status < web.HTTPBadRequest.status_code, (told.body, self.troubles.heard)
        return told.json if told.body else None


@dataclass(frozen=True)
class Things:
    """What ``make_things`` made, by what each is called in paths."""

    endpoint_id: str
    event_id: str
    message_id: str
    delivery_id: str
    event_type: str
    subscriber_id: str
    replay_id: str
    key_id: str

    @property
    def by_template(self) -> dict[str, str]:
        """From each path's template, up to and with its part in braces, to the part's value."""
        return {
            "/v1/endpoints/{id}": self.endpoint_id,
            "/v1/events/{event_id}": self.event_id,
            "/v1/messages/{message_id}": self.message_id,
            "/v1/deliveries/{id}": self.delivery_id,
            "/v1/event-types/{name}": self.event_type,
            f"{SUBSCRIBERS}/{{id}}": self.subscriber_id,
            "/v1/replays/{id}": self.replay_id,
            "/v1/keys/{id}": self.key_id,
        }


OTHER_PARTS = {
    **{f"/api/v2/{each}{{suffix}}": ".json" for each in ("resthooks", "resthook_subscribers", "resthook_events")},
    f"{SUBSCRIBERS}/{{id}}{{suffix}}": ".json",
    "/api/v2/static/{name}": "explorer.js",
    "/.well-known/webhook-keys/{id}": "ep_0",  # public keys are for everybody
    "/docs/verifiers/{name}": "verify.mjs",
}
"""The parts of paths that name no thing, with a value each."""


async def make_things(
    whole: Whole, *, by: str = OWNER, url: str = "https://mine.example/hook", number: int = 8_214
) -> Things:
    """One of each thing that has an id. The subscriber is the endpoint's."""
    event_type, event_id = f"mine.alone{number}", f"evt_mine{number}"
    await whole.made("POST", "/v1/event-types", {"name": event_type, "schema": {"type": "object"}}, by=by)
    asked = {"url": url, "event_types": ["message.sent", event_type], "metadata": {"note": "private-note"}}
    endpoint = await whole.made("POST", "/v1/endpoints", {**asked, "headers": {"X-Pass": "private-pass"}}, by=by)
    body = sample_event("message.sent", by, event_id=event_id, number=number, now=datetime.now(UTC))
    await whole.made("POST", "/v1/events", json.loads(body), by=by)
    delivery = (await whole.made("GET", "/v1/deliveries", None, by=by))["data"][0]
    subscriber = (await whole.made("GET", f"{SUBSCRIBERS}.json", None, by=by))["results"][0]
    replay = await whole.made("POST", "/v1/replays", {"endpoint_id": endpoint["id"]}, by=by)
    key = await whole.made("POST", "/v1/keys", {"scopes": ["read"], "name": "private-key"}, by=by)
    message_id = json.loads(body)["data"]["message"]["id"]
    return Things(
        *(endpoint["id"], event_id, message_id, delivery["id"], event_type, str(subscriber["id"])),
        *(replay["id"], key["id"]),
    )


@asynccontextmanager
async def whole_on(
    database_url: str, engine: AsyncEngine | None = None, settings: Mapping[str, str] = SETTINGS
) -> AsyncIterator[Whole]:
    """Serve on the database; the application through ``engine`` where one is given, the test's own ways without it."""
    own = connect(database_url)
    troubles = Troubles()
    through = engine or own
    loaded = load_settings(settings)
    policy = loaded.egress_policy
    sender = HttpSender(policy, idle_max=8, resolver=GuardedResolver(policy, resolver=NoNames()))
    parts = Parts(
        loaded,
        through,
        SECRET_BOX,
        intake_on(through),
        troubles,  # the API tells of nothing else
        lambda: datetime.now(UTC),
        sender,
    )
    application = api_of(parts)
    try:
        keys = {name: await make_key(own, name) for name in (OWNER, STRANGER)}
        async with TestClient(TestServer(application)) as client:
            yield Whole(own, application, client, keys, troubles)
    finally:
        await sender.close()
        await own.dispose()
