"""The whole API on a socket, for commands that talk to it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from service.cli.remote.target import ApiTarget
from tests.api.whole_rig import OWNER, Whole, whole_on


@dataclass(frozen=True)
class Api:
    """An API that serves, and a key that may do anything."""

    whole: Whole
    url: str

    @property
    def key(self) -> str:
        return self.whole.keys[OWNER].text

    @property
    def target(self) -> ApiTarget:
        return ApiTarget(self.url, self.key, "--api-url")


@asynccontextmanager
async def api_on(database_url: str) -> AsyncIterator[Api]:
    async with whole_on(database_url) as whole:
        yield Api(whole, str(whole.client.make_url("/")).rstrip("/"))
