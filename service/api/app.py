"""The API's application: what holds for every request, and the surfaces under it.

A surface with another error shape is a sub-application with an error middleware of its own: the inner one answers.
"""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Final

from aiohttp import web

from service.api.auth import KeyRing
from service.api.errors import error_middleware
from service.api.gate import Gate
from service.api.operation import Operation, bind
from service.api.request_id import NewRequestId, random_request_id, request_id_middleware, show_request_id
from service.api.v1.publishing import BATCH_BYTES_MAX, Publish, PublishEvents
from service.ports import Observer

_HEADERS: Final = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


def _utc_now() -> datetime:
    return datetime.now(UTC)


def make_api(
    publish: Publish,
    keys: KeyRing,
    observer: Observer,
    *,
    now: Callable[[], datetime] = _utc_now,
    new_request_id: NewRequestId = random_request_id,
) -> web.Application:
    """Build the application. ``publish`` returns only after COMMIT (``flow.intake.Intake.take_in``)."""
    app = web.Application(
        middlewares=[request_id_middleware(new_request_id), error_middleware(observer)],
        client_max_size=BATCH_BYTES_MAX,
    )
    app.on_response_prepare.append(show_request_id)
    app.on_response_prepare.append(_add_headers)
    gate = Gate(keys, now)
    for operation in v1_operations(publish, now):
        app.router.add_route(operation.method, operation.path, bind(operation, gate))
    return app


def v1_operations(publish: Publish, now: Callable[[], datetime]) -> Sequence[Operation]:
    """Every operation of the native API."""
    return (PublishEvents(publish, now).operation(),)


async def _add_headers(_: web.Request, response: web.StreamResponse) -> None:
    for name, value in _HEADERS.items():
        response.headers.setdefault(name, value)
