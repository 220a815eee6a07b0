"""One timer for many deadlines, with the manners of asyncio.timeout."""

import asyncio
from math import inf
from time import monotonic

import pytest

from service.adapters.exit.deadlines import TICK_SECONDS, Deadlines, HeldUpError

Hanging = asyncio.Task[type[BaseException]]


async def _struck(
    deadlines: Deadlines, seconds: float, limit_seconds: float = inf, begun: asyncio.Event | None = None
) -> type[BaseException]:
    """Hang until the deadline strikes; how it struck. ``begun`` is set when it is being waited for."""
    try:
        with deadlines.within(seconds, limit_seconds=limit_seconds):
            if begun is not None:
                begun.set()
            await asyncio.Event().wait()
    except (TimeoutError, HeldUpError) as error:
        return type(error)
    raise AssertionError


async def _hanging(deadlines: Deadlines, seconds: float, limit_seconds: float = inf) -> Hanging:
    begun = asyncio.Event()
    hanging = asyncio.create_task(_struck(deadlines, seconds, limit_seconds, begun))
    await begun.wait()
    return hanging


async def test_it_strikes_never_early() -> None:
    deadlines = Deadlines()

    async def wait(seconds: float) -> None:
        began_at = monotonic()
        assert await _struck(deadlines, seconds) is TimeoutError
        assert monotonic() - began_at >= seconds

    await asyncio.gather(*(wait(seconds) for seconds in (0.0, 0.01, 0.06, 0.1)))


async def test_it_strikes_at_most_a_tick_late_while_the_loop_runs_on_time() -> None:
    """Ticks are called by hand: on a busy machine the timer is late, and that would be granted."""
    deadlines = Deadlines()
    task = await _hanging(deadlines, 100.0)
    now = monotonic()
    deadlines.strike(now + 99.0, now + 99.0)
    assert not task.cancelling()
    deadlines.strike(now + 100.0 + TICK_SECONDS, now + 100.0 + TICK_SECONDS)
    assert await task is TimeoutError


async def test_time_that_we_lost_is_given_back() -> None:
    deadlines = Deadlines()
    task = await _hanging(deadlines, 100.0, 500.0)
    now = monotonic()
    deadlines.strike(now + 150.0, now + 90.0)  # the loop was held up for a minute
    assert not task.cancelling()
    deadlines.strike(now + 159.0, now + 159.0)
    assert not task.cancelling()
    deadlines.strike(now + 161.0, now + 161.0)
    assert await task is TimeoutError


async def test_many_small_delays_count_as_well() -> None:
    deadlines = Deadlines()
    task = await _hanging(deadlines, 100.0)
    now = monotonic()
    for number in range(1, 101):
        deadlines.strike(now + number, now + number - 0.04)
    deadlines.strike(now + 103.0, now + 103.0)
    assert not task.cancelling()
    deadlines.strike(now + 104.1, now + 104.1)
    assert await task is TimeoutError


async def test_a_deadline_set_after_the_delay_is_not_extended() -> None:
    deadlines = Deadlines()
    task = await _hanging(deadlines, 100.0)
    now = monotonic()
    deadlines.strike(now + 1.0, now - 600.0)
    deadlines.strike(now + 101.5, now + 101.5)
    assert await task is TimeoutError


async def test_beyond_the_limit_the_fault_is_ours() -> None:
    deadlines = Deadlines()
    short, long = [await _hanging(deadlines, 100.0, limit) for limit in (120.0, 500.0)]
    now = monotonic()
    deadlines.strike(now + 121.0, now + 60.0)
    assert await short is HeldUpError
    assert not long.cancelling()
    long.cancel()
    with pytest.raises(asyncio.CancelledError):
        await long


async def test_what_ends_in_time_is_left_alone() -> None:
    deadlines = Deadlines()
    with deadlines.within(0.01):
        pass
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
