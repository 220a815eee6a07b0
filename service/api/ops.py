"""Health and metrics for a private port, without authentication."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, NamedTuple, Protocol

from aiohttp import web

CHECKS_SECONDS_MAX: Final = 5.0


class Check(NamedTuple):
    """Whether something is well, with a short detail. What is not needed is shown, and decides nothing."""

    is_well: bool
    detail: str
    is_needed: bool = True


Checks = Callable[[], Awaitable[Mapping[str, Check]]]
"""Checks what the service uses, by name."""


class Metrics(Protocol):
    """A source of Prometheus metrics."""

    def render(self, accept: str) -> tuple[bytes, str]:
        """The metrics in the format an Accept header asks for, and its content type."""


_NO_STORE: Final = {"Cache-Control": "no-store"}


def make_ops(checks: Checks, metrics: Metrics) -> web.Application:
    """Build the application with /livez, /readyz and /metrics."""

    async def livez(_: web.Request) -> web.Response:
        return web.json_response({"status": "alive"}, headers=_NO_STORE)  # answering at all is the check

    async def readyz(_: web.Request) -> web.Response:
        found = await _run(checks)
        is_ready = all(check.is_well or not check.is_needed for check in found.values())
        body = {
            "status": "ready" if is_ready else "not ready",
            "checks": {
                name: {"ok": check.is_well, "needed": check.is_needed, "detail": check.detail}
                for name, check in found.items()
            },
        }
        return web.json_response(body, status=200 if is_ready else 503, headers=_NO_STORE)

    async def show_metrics(request: web.Request) -> web.Response:
        body, content_type = metrics.render(",".join(request.headers.getall("Accept", [])))
        return web.Response(body=body, headers={"Content-Type": content_type, **_NO_STORE})

    app = web.Application()
    app.router.add_get("/livez", livez)
    app.router.add_get("/readyz", readyz)
    app.router.add_get("/metrics", show_metrics)
    return app


async def _run(checks: Checks) -> Mapping[str, Check]:
    try:
        async with asyncio.timeout(CHECKS_SECONDS_MAX):
            return await checks()
    except TimeoutError:
        return {"checks": Check(is_well=False, detail=f"no answer within {CHECKS_SECONDS_MAX:g} s")}
    except Exception as error:  # noqa: BLE001 - any failure means not ready
        return {"checks": Check(is_well=False, detail=type(error).__name__)}
