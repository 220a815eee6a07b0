"""Requests that match no operation: whoever shows a valid key is counted all the same, and told where it stands."""

from contextlib import suppress

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from service.api.entrance.entrance import Entrance
from service.api.errors import ApiError
from service.api.patience import Patience
from service.ports.errors import UnavailableError


def count_strays(entrance: Entrance) -> Middleware:
    """Count requests for a path that does not exist (404, or 308), or with a method that its path does not know (405).

    They keep their answer, unless their key has no room (429). Without a valid key, or a database to ask, they are not
    counted.
    """

    @web.middleware
    async def count(request: web.Request, handler: Handler) -> web.StreamResponse:
        is_ours = request.match_info.apps[-1] is request.app  # a surface counts its own, and refuses in its own words
        if is_ours and request.match_info.http_exception is not None:
            with suppress(UnavailableError):
                await Patience().wait(_enter(request, entrance))
        return await handler(request)

    return count


async def _enter(request: web.Request, entrance: Entrance) -> None:
    try:
        key = await entrance.authenticate(request)
    except ApiError:
        return  # what is wrong with a key is told where one is needed
    standing = await entrance.count(request, key)
    standing.admit()
