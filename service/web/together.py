"""What a page asks for at once."""

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any


async def together(*asked: Coroutine[Any, Any, Any]) -> Sequence[Any]:
    """What each comes to. The first that fails is raised, and ends the others: nothing goes on after the page."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(each) for each in asked]
    except BaseExceptionGroup as failed:
        raise failed.exceptions[0] from None
    return [each.result() for each in tasks]
