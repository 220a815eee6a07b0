"""What receivers verify with, for whoever knows an endpoint's id; and what strangers can make of that."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
from aiohttp.test_utils import make_mocked_request

from service.api.errors import ApiError
from service.api.operation import Answer, Call
from service.api.v1.endpoints import public_keys as room
from service.api.v1.endpoints.public_keys import MAX_AGE_SECONDS, PATH, PublicKeyDocuments
from service.core.audit.actor import POSTHORN
from service.core.endpoints.signing.public_key import json_web_key
from service.core.keys.api_key import NOBODY
from tests.api.entrance_rig import Told, ask, sql
from tests.api.whole_rig import Whole, whole_on
from webhook_signature import public_keys

pytestmark = pytest.mark.clock

KEY = "whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4="


@pytest.fixture
async def whole(database_url: str) -> AsyncIterator[Whole]:
    async with whole_on(database_url) as whole:
        yield whole


async def create(whole: Whole, **fields: Any) -> Any:
    wanted = {"url": "https://mine.example/hook", "event_types": ["*"], "signature_style": "ed25519"}
    return await whole.made("POST", "/v1/endpoints", wanted | fields)


async def keys_of(whole: Whole, endpoint_id: str, **headers: str) -> Told:
    """Asked without an API key."""
    return await ask(whole.client, "GET", f"{PATH}/{endpoint_id}", headers=headers)


def test_a_key_is_named_by_its_thumbprint() -> None:
    """RFC 8037, appendix A.3."""
    key = json_web_key("whpk_11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=")
    assert key.x == "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"
    assert key.kid == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"


async def test_whoever_knows_the_id_gets_the_keys_and_may_keep_them(whole: Whole) -> None:
    made = await create(whole)
    told = await keys_of(whole, made["id"])
    assert told.status == 200
    (key,) = told.json["keys"]
    assert key.keys() == {"kid", "x", "kty", "crv", "alg", "use"}
    assert public_keys(told.body) == [made["public_key"]]
    assert told.headers["Cache-Control"] == f"public, max-age={MAX_AGE_SECONDS}"
    assert not any(name.startswith("X-RateLimit") for name in told.headers)
    for tag in (told.headers["ETag"], "*", f'"other", {told.headers["ETag"]}', f"W/{told.headers['ETag']}"):
        again = await keys_of(whole, made["id"], **{"If-None-Match": tag})
        assert (again.status, again.body, again.headers["ETag"]) == (304, b"", told.headers["ETag"])
    for tag in ('"other"', "nonsense", "", '"' * 999):
        assert (await keys_of(whole, made["id"], **{"If-None-Match": tag})).status == 200


async def test_during_an_overlap_both_are_listed_and_a_key_keeps_its_name(
    whole: Whole, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "FRESH_SECONDS", 0.0)
    made = await create(whole)
    before = await keys_of(whole, made["id"])
    rotated = await whole.made("POST", f"/v1/endpoints/{made['id']}/rotate-secret", {"overlap_seconds": 3600})
    during = await keys_of(whole, made["id"])
    assert public_keys(during.body) == [rotated["public_key"], made["public_key"]]
    assert during.json["keys"][1] == before.json["keys"][0]
    assert during.headers["ETag"] != before.headers["ETag"]
    await sql(whole.engine, "UPDATE endpoint_secrets SET expires_at = now() WHERE expires_at IS NOT NULL RETURNING 1")
    assert public_keys((await keys_of(whole, made["id"])).body) == [rotated["public_key"]]


async def test_a_style_that_is_being_left_still_has_its_key(whole: Whole, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "FRESH_SECONDS", 0.0)
    made = await create(whole)
    path = f"/v1/endpoints/{made['id']}"
    await whole.made("PATCH", path, {"signature_style": "standard", "overlap_seconds": 3600})
    assert public_keys((await keys_of(whole, made["id"])).body) == [made["public_key"]]
    await whole.ask("DELETE", path)
    assert (await keys_of(whole, made["id"])).status == 404


async def test_an_endpoint_without_such_keys_and_none_read_the_same(whole: Whole) -> None:
    shared = await create(whole, signature_style="standard")
    removed = await create(whole, url="https://mine.example/removed")
    await whole.ask("DELETE", f"/v1/endpoints/{removed['id']}")
    told = [await keys_of(whole, each) for each in (shared["id"], removed["id"], "ep_0000000000000000")]
    assert {(each.status, each.json["error"], each.headers["Cache-Control"]) for each in told} == {
        (404, told[0].json["error"], "no-store")
    }
    for path in (PATH, f"{PATH}/", f"{PATH}/org_mine", f"{PATH}/%00", f"{PATH}/..%2f", f"{PATH}/ep_" + "a" * 5_000):
        assert (await ask(whole.client, "GET", path)).status in {308, 404}
    assert not whole.troubles.heard


# --------------------------------------------------------------------------- what strangers cost


class Desk:
    """The PublicKeyDesk port: what was asked of it, and what it answers."""

    def __init__(self, *known: str) -> None:
        self.keys = dict.fromkeys(known, (KEY,))
        self.asked: list[str] = []

    async def of(self, endpoint_id: str) -> Sequence[str]:
        self.asked.append(endpoint_id)
        await asyncio.sleep(0)
        return self.keys.get(endpoint_id, ())


class Watched:
    """The documents on a desk, with a clock."""

    def __init__(self, *known: str) -> None:
        self.now = 1_000.0
        self.desk = Desk(*known)
        self.documents = PublicKeyDocuments(self.desk, lambda: self.now)

    async def ask(self, endpoint_id: str) -> Answer | int:
        """The answer, or the status of the refusal."""
        request = make_mocked_request("GET", f"{PATH}/{endpoint_id}", match_info={"id": endpoint_id})
        try:
            return await self.documents.show(Call(request, NOBODY, POSTHORN))
        except ApiError as refused:
            return refused.status


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "LOOK_UPS_PER_SECOND", 8.0)
    monkeypatch.setattr(room, "LOOK_UPS_BURST", 20)
    monkeypatch.setattr(room, "KNOWN_MAX", 5)


async def test_a_document_is_looked_up_once_however_often_it_is_asked_for() -> None:
    watched = Watched("ep_1")
    for _ in range(3):
        await asyncio.gather(*(watched.ask("ep_1") for _ in range(10)) if watched.desk.asked else [watched.ask("ep_1")])
        assert watched.desk.asked == ["ep_1"]
    watched.now += 31
    await asyncio.gather(*(watched.ask("ep_1") for _ in range(10)))
    assert watched.desk.asked == ["ep_1"] * 2


async def test_who_asks_for_many_is_told_to_wait_and_a_known_document_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "FRESH_SECONDS", 0.0)
    watched = Watched("ep_1")
    assert isinstance(await watched.ask("ep_1"), Answer)
    told = [await watched.ask(f"ep_x{number}") for number in range(30)]
    assert told == [404] * 19 + [429] * 11
    assert len(watched.desk.asked) == 20
    watched.now += 0.125
    assert [await watched.ask("ep_y"), await watched.ask("ep_z")] == [404, 429]
    assert isinstance(await watched.ask("ep_1"), Answer)
    assert watched.desk.asked[-1] == "ep_1", "it was looked up again, though nobody else may"


async def test_memory_is_bounded_and_what_ended_leaves_it() -> None:
    watched = Watched(*(f"ep_{number}" for number in range(9)))
    for number in range(9):
        await watched.ask(f"ep_{number}")
    assert list(watched.documents._known) == [f"ep_{number}" for number in range(4, 9)]
    watched.desk.keys.clear()
    assert isinstance(await watched.ask("ep_8"), Answer)
    watched.now += 31
    assert await watched.ask("ep_8") == 404
    assert "ep_8" not in watched.documents._known
