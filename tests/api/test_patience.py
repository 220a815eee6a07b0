"""What a request gave up ends before the application does, so that its connection is given back."""

import asyncio

import pytest

from service.api import patience
from service.api.patience import Patience, let_go
from service.ports.errors import UnavailableError


async def test_the_end_waits_for_what_was_given_up() -> None:
    rolled_back = asyncio.Event()

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)  # as a rollback, which takes a turn of the loop
            rolled_back.set()

    with pytest.raises(UnavailableError):
        await Patience(0.001).wait(work())
    assert not rolled_back.is_set()
    await let_go()
    assert rolled_back.is_set()


async def test_it_does_not_wait_for_a_database_that_never_lets_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "LEAVE_SECONDS_MAX", 0.01)
    ended = asyncio.Event()

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await ended.wait()

    with pytest.raises(UnavailableError):
        await Patience(0.001).wait(work())
    await let_go()
    ended.set()
    await let_go()
