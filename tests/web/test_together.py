"""What a page asks for at once ends together."""

import asyncio

import pytest

from service.web.together import together


async def test_all_that_is_asked_is_answered_in_order() -> None:
    async def said(word: str) -> str:
        return word

    assert await together(said("one"), said("two")) == ["one", "two"]


async def test_what_fails_ends_the_others_and_is_raised_itself() -> None:
    ended = asyncio.Event()

    async def refused() -> None:
        raise LookupError("no such cursor")

    async def goes_on() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    with pytest.raises(LookupError, match="no such cursor"):
        await together(goes_on(), refused())
    assert ended.is_set()
