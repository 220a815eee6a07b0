"""One timer for many deadlines, with the manners of asyncio.timeout."""

import asyncio
from time import monotonic

import pytest

from service.adapters.exit.deadlines import TICK_SECONDS, Deadlines


async def test_it_strikes_never_early_and_at_most_a_tick_late() -> None:
    deadlines = Deadlines()

    async def wait(seconds: float) -> None:
        """On a busy machine all is late; what counts is that a timer for a tick later goes off later."""
        is_late = asyncio.Event()
        asyncio.get_running_loop().call_later(seconds + 2 * TICK_SECONDS, is_late.set)
        ended: list[str] = []

        async def struck() -> None:
            began_at = monotonic()
            with pytest.raises(TimeoutError), deadlines.within(seconds):
                await asyncio.Event().wait()
            assert monotonic() - began_at >= seconds
            ended.append("struck")

        async def late() -> None:
            await is_late.wait()
            ended.append("late")

        await asyncio.gather(late(), struck())
        assert ended == ["struck", "late"]

    await asyncio.gather(*(wait(seconds) for seconds in (0.0, 0.01, 0.06, 0.1)))


async def test_what_ends_in_time_is_left_alone() -> None:
    deadlines = Deadlines()
    with deadlines.within(0.01):
        await asyncio.sleep(0)
    with pytest.raises(TimeoutError), deadlines.within(0.1):  # the first bucket has struck meanwhile
        await asyncio.Event().wait()
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_an_error_comes_out_as_it_is() -> None:
    with pytest.raises(KeyError), Deadlines().within(1.0):
        raise KeyError


async def test_a_cancellation_from_outside_goes_first() -> None:
    deadlines = Deadlines()
    started = asyncio.Event()

    async def work() -> None:
        with deadlines.within(0.01):
            started.set()
            await asyncio.Event().wait()

    alone = asyncio.create_task(work())
    await started.wait()
    alone.cancel()
    with pytest.raises(asyncio.CancelledError):
        await alone

    async def cancelled_twice() -> None:
        task = asyncio.current_task()
        assert task is not None
        with deadlines.within(0.01) as deadline:
            deadline.strike()
            task.cancel()
            await asyncio.Event().wait()

    with pytest.raises(asyncio.CancelledError):
        await asyncio.create_task(cancelled_twice())
