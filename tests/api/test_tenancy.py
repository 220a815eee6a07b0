"""Another organization's id is a 404, on every route of both surfaces, and nothing of it is in any other answer."""

import re

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from tests.api.conftest import KEY, OTHER_KEY
from tests.api.tenancy import Territory, check_tenancy, path_of, routes_of
from tests.api.whole_bench import OTHER_PARTS, SUBSCRIBERS, Things, Whole, make_things, whole_on

URL = "https://mine.example/hook"
OTHER_URL = "https://other.example/hook"


async def test_everything_is_its_organizations_own(database_url: str) -> None:
    async with whole_on(database_url) as whole:
        things = await make_things(whole, url=URL)
        owned = await _read_all(whole, things)
        territory = Territory(
            owned=things.by_template,
            shared=OTHER_PARTS,
            bodies={
                ("POST", "/v1/endpoints"): {"url": OTHER_URL, "event_types": ["message.sent"]},
                ("PATCH", "/v1/endpoints/{id}"): {"description": "taken over"},
                ("POST", "/v1/endpoints/{id}/test"): {"event_type": "message.sent"},
                ("POST", "/v1/events"): {"id": "evt_theirs", "type": "message.sent"},
                ("POST", "/v1/event-types"): {"name": "theirs.alone", "schema": {"type": "object"}},
            },
            asides=_asides(things, *await _cursors(whole)),
            marks=[*things.by_template.values(), URL, "private-note", "private-pass", "org_a", *_secrets(owned)],
        )
        # Its number is in other texts by chance; that it is not reached, its status and its URL tell.
        territory = _without_mark(territory, things.subscriber_id)
        await check_tenancy(whole.application, whole.client, territory, whole.keys["org_a"], whole.keys["org_b"])
        assert not whole.troubles.heard
