"""Deliveries read through the operations, with what the endpoints tell of those that wait."""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from typing import Any

from service.api.holding import keeper_of
from service.cli.calls.calling import Calls, calling
from service.cli.deliveries.showing import Waiting
from service.cli.options import LIMIT_MAX
from service.cli.remote.target import ApiOptions
from service.cli.terminal import CommandError
from service.core.deliveries.delivery import FINAL_STATES
from service.core.endpoints.retry_schedule import STANDARD, read_retry

Found = tuple[Mapping[str, Any], Mapping[str, Waiting]]
"""A page, and what those of its deliveries wait for that have not ended, by id."""


def read_page(api: ApiOptions, organization_id: str | None, query: Mapping[str, Any]) -> Found:
    """One page of an organization's deliveries. Raises ``CommandError``."""

    async def read() -> Found:
        async with calling(api, organization_id) as calls:
            page = await calls.call("list_deliveries", query=query)
            return page, await _waiting(calls, page["data"])

    return asyncio.run(read())


async def _waiting(calls: Calls, deliveries: Sequence[Mapping[str, Any]]) -> Mapping[str, Waiting]:
    """What a key may not read is left out: the list is there without it, too."""
    rows = [each for each in deliveries if each["state"] not in FINAL_STATES]
    endpoints = await _endpoints(calls, {each["endpoint_id"] for each in rows})
    usual = None
    if any(each["retry"] is None for each in endpoints.values()):
        with suppress(CommandError):
            usual = (await calls.call("check_endpoint", body={}))["retry"]["attempts_max"]
    found = {}
    for each in rows:
        endpoint = endpoints.get(each["endpoint_id"])
        found[each["id"]] = Waiting(keeper_of(each, endpoint), attempts_max_of(endpoint and endpoint["retry"], usual))
    return found


async def _endpoints(calls: Calls, ids: Collection[str]) -> Mapping[str, Mapping[str, Any]]:
    """Most organizations' are on one page; of the others each is asked for."""
    found: dict[str, Mapping[str, Any]] = {}
    with suppress(CommandError):
        if len(ids) > 1:
            page = await calls.call("list_endpoints", query={"limit": LIMIT_MAX})
            found = {each["id"]: each for each in page["data"]}
    for endpoint_id in sorted(ids - found.keys()):
        with suppress(CommandError):
            found[endpoint_id] = await calls.call("get_endpoint", path={"id": endpoint_id})
    return found


def attempts_max_of(retry: object, usual: int | None) -> int | None:
    """How many attempts an endpoint's own schedule allows; the service's ``usual`` number without one."""
    if retry is None:
        return usual
    schedule = read_retry(retry, STANDARD)
    return None if isinstance(schedule, str) else schedule.attempts_max
