"""The whole application, for those who look at its pages."""

from collections.abc import AsyncIterator

import pytest

from tests.api.whole_rig import Whole, whole_on


@pytest.fixture
async def whole(database_url: str) -> AsyncIterator[Whole]:
    async with whole_on(database_url) as found:
        yield found
