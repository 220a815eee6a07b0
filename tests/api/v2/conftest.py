"""A surface of its own for each test."""

from collections.abc import AsyncIterator

import pytest

from tests.api.v2.surface_rig import Surface, serving


@pytest.fixture
async def surface(database_url: str) -> AsyncIterator[Surface]:
    async with serving(database_url) as surface:
        yield surface
