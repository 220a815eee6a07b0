"""A run of every operation of ``/v1`` on a service that delivers, and what was answered, as /docs shows it.

Each operation is asked as the OpenAPI document shows it: its example is sent, with the URL of a receiver that is there.
"""

import json
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus
from typing import Any, Final

import aiohttp
from aiohttp import web

from service.api.documents.page.entries import query_example
from service.api.documents.page.references import example_of, json_content, operations_of, resolved
from tests.api.entrance_rig import make_key
from tests.cli.live.rig import App, Town, app
from tests.end_to_end.waiting import until
from webhook_signature import VerificationError, Webhook

ORGANIZATION: Final = "org_8Zq1"
ITEMS_MAX: Final = 3
"""Longer lists of things are cut, also where the answer says that there is no more: a page shows what items look like."""
FEWER: Final = {"list_event_types": 1}
"""The same for those whose items are long."""
NOT_JSON: Final = {"stream"}

_SECRET: Final = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
_HOOK: Final = "https://example.com/hooks"
_OTHER_HOOK: Final = "https://example.com/other"
_USUAL: Final = {
    "endpoint": "ep_7k2m9x4c1v8b3n6h",
    "replay": "rpl_7k2m9x4c1v8b3n6h",
    "delivery": "dlv_0193ab6e7c5d7a10b3f24c9d8e7f6a5b_17",
    "key": "0f1e2d3c4b5a6978",
}
_NOBODY: Final = {
    "/v1/endpoints": "ep_0000000000000000",
    "/.well-known/webhook-keys": "ep_0000000000000000",
    "/v1/event-types": "order.unknown",
    "/v1/events": "evt_unknown",
    "/v1/messages": "msg_unknown",
    "/v1/deliveries": "dlv_00000000000000000000000000000000_1",
    "/v1/replays": "rpl_0000000000000000",
    "/v1/keys": "0000000000000000",
}
_OLD_VERSION: Final = '"1-0000000000000000"'
_WHOLE_KEY: Final = re.compile(r"(ph_live_[0-9a-f]{16}_)[\w-]{30,}")


@dataclass
class Recording:
    """What was answered so far: by operation and status."""

    url: str
    key: str
    openapi: Mapping[str, Any]
    session: aiohttp.ClientSession
    answers: dict[str, dict[str, Any]] = field(default_factory=dict)
    spelled: dict[str, str] = field(default_factory=dict)
    """What stands in answers of this run alone, and what the documents have instead."""

    def __post_init__(self) -> None:
        self.operations = {
            each["operationId"]: (path, method, each)
            for path, method, each in operations_of(self.openapi)
            if path.startswith(("/v1/", "/.well-known/")) and each["operationId"] not in NOT_JSON
        }

    def example(self, name: str) -> Any:
        """The body that the documents show."""
        content = json_content(resolved(self.operations[name][2].get("requestBody", {}), self.openapi))
        return example_of(content, self.openapi)

    async def ask(
        self,
        operation_name: str,
        part: str = "",
        /,
        *,
        query: Mapping[str, Any] | None = None,
        key: str | None = None,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        **changes: Any,
    ) -> Any:
        """Ask for an operation as it is documented, with some of the body changed; ``part`` is that of the path."""
        path, method, operation = self.operations[operation_name]
        shown = self.example(operation_name) if body is None else body
        if isinstance(shown, dict):
            shown = {name: each for name, each in {**shown, **changes}.items() if each is not ...}
        asked = query_example(operation["parameters"], self.openapi) if query is None else query
        async with self.session.request(
            method,
            self.url + re.sub(r"{\w+}", part, path),
            params={each: str(value) for each, value in asked.items()},
            json=shown,
            headers={"Authorization": f"Bearer {key or self.key}", **(headers or {})},
        ) as reply:
            answer = await reply.json(content_type=None) if reply.status != HTTPStatus.NO_CONTENT else None
            if str(reply.status) in operation["responses"] and answer is not None:
                self.answers.setdefault(operation_name, {}).setdefault(str(reply.status), answer)
            return answer

    def as_kept(self) -> dict[str, dict[str, Any]]:
        """The answers, with the documents' names and no key or secret that was valid."""
        text = json.dumps(self.answers)
        for own, usual in sorted(self.spelled.items(), key=lambda each: -len(each[0])):
            text = text.replace(own, usual)
        text = _WHOLE_KEY.sub(lambda found: f"{found[1]}\\u2026", text)
        return {name: _cut(each, FEWER.get(name, ITEMS_MAX)) for name, each in json.loads(text).items()}


def _cut(value: Any, items_max: int) -> Any:
    match value:
        case dict():
            return {name: _cut(each, items_max) for name, each in value.items()}
        case [dict(), *_]:
            return [_cut(each, items_max) for each in value[:items_max]]
        case _:
            return value


@asynccontextmanager
async def recorded(town: Town) -> AsyncIterator[Recording]:
    """Ask for everything, once; the recording has all answers."""
    made = await make_key(town.engine, ORGANIZATION, name="crm")
    async with app() as receiver, aiohttp.ClientSession() as session:
        async with session.get(f"{town.url}/openapi.json") as reply:
            openapi = await reply.json()
        recording = Recording(town.url, made.text, openapi, session)
        recording.spelled |= {town.url: "https://hooks.example.com", "127.0.0.1": "203.0.113.7"}
        await _ask_for_all(recording, town, receiver)
        await _be_refused(recording, town)
        yield recording


async def _ask_for_all(run: Recording, town: Town, receiver: App) -> None:
    other = receiver.url.replace("/hooks", "/other")
    run.spelled |= {receiver.url: _HOOK, other: _OTHER_HOOK}
    await run.ask("get_me")
    await _keys(run)
    for _ in range(2):
        await run.ask("register_event_type")
    await run.ask("get_event_type", run.example("register_event_type")["name"])
    await run.ask("list_event_types")
    await run.ask("list_event_type_names")
    endpoint = await _endpoint(run, receiver)
    wanted: dict[str, Any] = {"url": other, "signature_style": "ed25519", "event_types": ["message.failed"]}
    await run.ask("put_endpoint", query={"url": other}, **wanted)
    another = await run.ask("put_endpoint", query={"url": other}, **wanted)
    await run.ask("get_public_keys", another["id"])
    delivery = await _events(run, town, endpoint)
    await run.ask("get_stats")
    await run.ask("get_endpoint_stats", endpoint)
    await run.ask("list_endpoint_stats", query={"endpoint_id": endpoint})
    await run.ask("replay_delivery", delivery)
    await run.ask("rehearse_endpoint", endpoint)
    await run.ask("rehearse_endpoint", endpoint)  # 429: one in 30 seconds
    await _replays(run, endpoint)
    await run.ask("end_secret_overlap", endpoint)
    await run.ask("create_portal_link")
    await run.ask("list_audit")
    await run.ask("update_endpoint", endpoint, body={"url": other})  # 409: another endpoint has it
    await run.ask("delete_endpoint", endpoint, headers={"If-Match": _OLD_VERSION})
    await run.ask("update_endpoint", endpoint, headers={"If-Match": _OLD_VERSION})
    await run.ask("put_endpoint", query={"url": other}, url=other, headers={"If-Match": _OLD_VERSION})


async def _keys(run: Recording) -> None:
    key = await run.ask("create_key")
    run.spelled[key["id"]] = _USUAL["key"]
    await run.ask("get_key", key["id"])
    await run.ask("list_keys")
    await run.ask("rotate_key", key["id"])
    await run.ask("rotate_key", key["id"])  # 409: it was replaced
    leaked = await run.ask("create_key", name="leaked")
    await run.ask("revoke_leaked_key", key=leaked["key"], body={"key": leaked["key"]})
    await run.ask("revoke_key", leaked["id"])


async def _endpoint(run: Recording, receiver: App) -> str:
    made = await run.ask("create_endpoint", url=receiver.url, event_types=["message.*", "link.clicked"])
    run.spelled |= {made["id"]: _USUAL["endpoint"], made["secret"]: _SECRET}
    run.spelled[f'"hint": "{made["secret"][-4:]}"'] = f'"hint": "{_SECRET[-4:]}"'
    secrets = [made["secret"]]

    async def verify(request: web.Request, body: bytes) -> web.Response:
        try:
            Webhook(secrets).verify(body, dict(request.headers))
        except VerificationError as error:
            return web.Response(status=400, text=error.reason)
        return web.Response(text="ok")

    receiver.judge = verify
    endpoint: str = made["id"]
    await run.ask("create_endpoint", url=receiver.url, event_types=["message.*", "link.clicked"])
    await run.ask("check_endpoint", url="https://example.org/hooks")
    await run.ask("update_endpoint", endpoint)
    await run.ask("update_endpoint", endpoint, body={"event_types": ["message.*", "link.clicked"]})
    await run.ask("get_endpoint", endpoint)
    await run.ask("list_endpoints")
    await run.ask("list_endpoint_urls")
    await run.ask("pause_endpoint", endpoint)
    await run.ask("test_endpoint", endpoint)  # 409: it is paused
    await run.ask("resume_endpoint", endpoint)
    rotated = await run.ask("rotate_endpoint_secret", endpoint)
    secrets.insert(0, rotated["secret"])
    run.spelled[rotated["secret"]] = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"
    return endpoint


async def _events(run: Recording, town: Town, endpoint: str) -> str:
    """Publish, and look at what became of it; the id of a delivery that has ended."""
    published = await run.ask("publish_events")
    event = published["data"][0]["id"] if "data" in published else published["id"]
    tested = await run.ask("test_endpoint", endpoint)
    run.spelled[tested["id"]] = _USUAL["delivery"]
    watcher = (await make_key(town.engine, ORGANIZATION, ["read"], rate_limit_per_hour=1_000_000)).text
    for each in (event, tested["event_id"]):
        await until(partial(_is_delivered, run, watcher, each), f"{each} is delivered")
    await until(partial(_is_counted, run, watcher), "what has ended is counted")
    await run.ask("get_delivery", tested["id"])
    await run.ask("list_deliveries")
    await run.ask("list_events")
    shown = await run.ask("get_event", event)
    await run.ask("get_event_body", event)
    await run.ask("explain_event", event)
    await run.ask("get_message", shown["data"]["message"]["id"])
    delivery: str = tested["id"]
    return delivery


async def _is_delivered(run: Recording, key: str, event: str) -> bool:
    found = (await _watched(run, key, f"/v1/deliveries?event_id={event}"))["data"]
    return bool(found) and all(each["state"] == "delivered" for each in found)


async def _is_counted(run: Recording, key: str) -> bool:
    """A service that has just begun has figures only from then on, and says since when."""
    return (await _watched(run, key, "/v1/stats"))["complete_since"] is None


async def _watched(run: Recording, key: str, path: str) -> Any:
    async with run.session.get(run.url + path, headers={"Authorization": f"Bearer {key}"}) as reply:
        return await reply.json()


async def _replays(run: Recording, endpoint: str) -> None:
    await run.ask("create_replay")
    await run.ask("recover_endpoint", endpoint, dry_run=True, resume=False)
    await run.ask("recover_endpoint", endpoint)
    job: dict[str, Any] = {}
    wanted = {"endpoint_id": endpoint, "states": ["delivered"], "rate": 1}
    while not {"pause_replay", "resume_replay", "cancel_replay"} <= run.answers.keys():  # it may be done before
        job = await run.ask("create_replay", body=wanted)
        run.answers["create_replay"].setdefault("202", job)
        for name in ("pause_replay", "resume_replay", "cancel_replay"):
            await run.ask(name, job["id"])
            if "200" not in run.answers[name]:
                del run.answers[name]
                break
    run.spelled[job["id"]] = _USUAL["replay"]
    await run.ask("get_replay", job["id"])
    await run.ask("list_replays", query={"limit": 1})
    for name in ("pause_replay", "resume_replay", "cancel_replay"):
        await run.ask(name, job["id"])  # 409: it was cancelled


async def _be_refused(run: Recording, town: Town) -> None:
    """What is asked for wrongly: what is not there, without the scope, and with a field that nobody knows."""
    reader = (await make_key(town.engine, ORGANIZATION, ["read"])).text
    publisher = (await make_key(town.engine, ORGANIZATION, ["publish"])).text
    for name, (path, _, operation) in run.operations.items():
        part = _NOBODY.get(path.partition("/{")[0], "")
        if "{" in path:
            await run.ask(name, part)
        if operation.get("security") != []:
            await run.ask(name, part, key=reader if "`publish`" in operation["description"] else publisher)
        body = run.example(name)
        if isinstance(body, dict) and body:
            first = next(iter(body))
            await run.ask(name, part, body={**body, first: ..., first[:-1]: body[first]})
        else:
            await run.ask(name, part, query={"nonsense": "1"})
