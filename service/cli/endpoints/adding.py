"""``endpoints add``: subscribes a URL, which may be registered already."""

import asyncio
from collections.abc import Mapping
from typing import Any

from service.cli.calls.calling import Calls, calling
from service.cli.calls.running import is_remote
from service.cli.remote.target import ApiOptions
from service.cli.terminal import BAD_USAGE, CommandError
from service.core.endpoints.target_policy import TargetRefused, Verdict
from service.settings import load_settings

Endpoint = Mapping[str, Any]


def add(api: ApiOptions, organization_id: str | None, body: Mapping[str, Any]) -> Endpoint:
    """The new endpoint; or that of the URL, with the event types added. Raises ``CommandError``."""

    async def run() -> Endpoint:
        async with calling(api, organization_id) as calls:
            try:
                return await _subscribe(calls, body)
            except CommandError as refused:
                if is_remote(api) or refused.exit_code != BAD_USAGE:
                    raise
                raise CommandError(f"{refused}{_permission(body['url'])}", BAD_USAGE) from None

    return asyncio.run(run())


async def _subscribe(calls: Calls, body: Mapping[str, Any]) -> Endpoint:
    known = (await calls.call("list_endpoints", query={"url": body["url"]}))["data"]
    if not known or body["secret"] is not None:  # of one that is registered, the operation says if it is the same
        asked = {name: value for name, value in body.items() if value is not None}
        made: Endpoint = await calls.call("create_endpoint", body=asked)
        return made
    event_types = [*dict.fromkeys([*known[0]["event_types"], *body["event_types"]])]
    path = {"id": known[0]["id"]}
    changed: Endpoint = await calls.call("update_endpoint", path=path, body={"event_types": event_types})
    return changed


def _permission(url: str) -> str:
    """The setting that would allow a refused URL, for who runs the service."""
    settings = load_settings()
    target = settings.egress_policy.judge_url(url) if settings.database_url else None
    if not isinstance(target, TargetRefused) or not target.is_policy:
        return ""
    match target.verdict:
        case None:
            return "\nPOSTHORN_ALLOW_HTTP=true allows http:// too."
        case Verdict.DENIED_BY_OPERATOR:
            return "\nPOSTHORN_EGRESS_DENY forbids it."
        case _:
            return "\nPOSTHORN_EGRESS_ALLOW can allow it."
