"""Health and metrics for a private port, without authentication."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, Protocol

from aiohttp import web

CHECKS_SECONDS_MAX: Final = 5.0

Checks = Callable[[], Awaitable[Mapping[str, tuple[bool, str]]]]
"""Checks what the service needs; maps each name to whether it is well, and a short detail."""


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
        is_ready = all(is_well for is_well, _ in found.values())
        body = {
            "status": "ready" if is_ready else "not ready",
            "checks": {name: {"ok": is_well, "detail": detail} for name, (is_well, detail) in found.items()},
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


async def _run(checks: Checks) -> Mapping[str, tuple[bool, str]]:
    try:
        async with asyncio.timeout(CHECKS_SECONDS_MAX):
            return await checks()
    except TimeoutError:
        return {"checks": (False, f"no answer within {CHECKS_SECONDS_MAX:g} s")}
    except Exception as error:  # noqa: BLE001 - any failure means not ready
        return {"checks": (False, type(error).__name__)}
