"""``tail``: attempts as they are settled."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack, aclosing
from functools import partial
from typing import Any

from rich.text import Text

from service.cli.live.ending import ended, first_of
from service.cli.live.keyboard import Keyboard
from service.cli.live.lines import Lines
from service.cli.live.screen import Screen
from service.cli.live.stream import Gap, Lost, Opened, Skipped, Stream, Told
from service.cli.remote.client import ApiClient
from service.cli.remote.target import ApiTarget
from service.core.deliveries.outcome import OutcomeKind
from service.core.endpoints.subscription import covers


def tail(
    target: ApiTarget, types: Sequence[str], endpoint_ids: Sequence[str], *, has_failed: bool, as_json: bool
) -> None:
    """Print until somebody ends it. Raises ``CommandError``."""
    screen = Screen(as_json=as_json)
    names = None if any("*" in each for each in types) else types or None  # patterns are ours to judge
    query = {"what": "attempts", "event_type": names, "endpoint_id": endpoint_ids or None}

    def is_wanted(attempt: Mapping[str, Any]) -> bool:
        has_type = not types or any(covers(each, attempt["event_type"]) for each in types)
        return has_type and (not has_failed or attempt["outcome"] != OutcomeKind.ACCEPTED)

    async def run() -> None:
        async with AsyncExitStack() as stack:
            end = await stack.enter_async_context(ended())
            client = await stack.enter_async_context(ApiClient(target, on_wait=screen.notice))
            works: list[Coroutine[Any, Any, object]] = [_print(screen, Stream(client, query), is_wanted), end.wait()]
            if screen.has_status:
                works.append(_quit(await stack.enter_async_context(Keyboard(screen.redraw))))
            await first_of(*works)

    asyncio.run(run())


async def _quit(keyboard: Keyboard) -> None:
    async for _ in keyboard.until_quit():
        pass


async def _print(screen: Screen, stream: Stream, is_wanted: Callable[[Mapping[str, Any]], bool]) -> None:
    async with aclosing(stream.news()) as news:
        async for each in news:
            match each:
                case Told(data=attempt):
                    if is_wanted(attempt):
                        screen.result({"kind": "attempt", **attempt}, partial(Lines.of_attempt, attempt=attempt))
                case Opened(after_seconds=None):
                    keys = "q or Ctrl-C" if screen.has_status else "Ctrl-C"
                    screen.heading([Text(f"Attempts, as they are settled. {keys} ends this.", "dim")], each.record)
                case Gap(deliveries=str(deliveries)):
                    screen.news(each.record, f"{each.sentence}; what was left out: GET {deliveries}")
                case Opened() | Lost() | Gap() | Skipped():
                    screen.news(each.record, each.sentence)
