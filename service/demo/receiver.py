"""A receiver for trying things out: it verifies every request and answers as its subscriber decides.

``python -m service.demo.receiver --secret whsec_...`` runs one that prints a line for each verified event.
"""

import argparse
import os
import sys
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager

from aiohttp import web

from service.demo.subscribers import DemoSubscriber
from webhook_signature import VerificationError, Verified, Webhook

BODY_BYTES_MAX = 1024 * 1024


@asynccontextmanager
async def demo_receiver(subscribers: Iterable[DemoSubscriber]) -> AsyncIterator[str]:
    """Listen on a free port of 127.0.0.1; yields the base URL; a subscriber's URL appends ``/<name>``."""
    by_name = {subscriber.name: subscriber for subscriber in subscribers}

    async def receive(request: web.Request) -> web.Response:
        subscriber = by_name.get(request.match_info["name"])
        if subscriber is None:
            return web.Response(status=404)
        return web.Response(status=await subscriber.receive(await request.read(), request.headers))

    application = web.Application(client_max_size=BODY_BYTES_MAX)
    application.router.add_post("/{name}", receive)
    # At the end, do not wait for requests that the slow subscriber still holds.
    runner = web.AppRunner(application, access_log=None, handle_signals=False, shutdown_timeout=0.5)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host, port = runner.addresses[0][:2]
        yield f"http://{host}:{port}"
    finally:
        await runner.cleanup()


def printing_receiver(webhook: Webhook) -> web.Application:
    """A receiver on every path that prints verified requests and answers 401 to all others."""

    async def receive(request: web.Request) -> web.Response:
        try:
            verified = webhook.verify(await request.read(), request.headers)
        except VerificationError as error:
            print(f"refused {request.path}: {error}", file=sys.stderr, flush=True)  # noqa: T201 - what it is for
            return web.Response(status=401, text=f"{error.reason}\n")
        what = f"{_event_type(verified)} {verified.id} {len(verified.body)} bytes"
        print(f"verified {request.path} {what}", flush=True)  # noqa: T201
        return web.Response(status=204)

    async def greet(_: web.Request) -> web.Response:
        return web.Response(text="POST signed webhooks here.\n")

    application = web.Application(client_max_size=BODY_BYTES_MAX)
    application.router.add_post("/{path:.*}", receive)
    application.router.add_get("/{path:.*}", greet)
    return application


def _event_type(verified: Verified) -> str:
    try:
        event = verified.json()
    except ValueError:
        return "(not JSON)"
    return str(event.get("type")) if isinstance(event, dict) else "(not an object)"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run until SIGTERM or Ctrl-C."""
    program = "python -m service.demo.receiver"
    parser = argparse.ArgumentParser(prog=program, description=printing_receiver.__doc__)
    parser.add_argument("--host", default="127.0.0.1", help="where to listen (default: %(default)s)")
    parser.add_argument("--port", type=int, default=8000, help="(default: %(default)s)")
    parser.add_argument(
        "--secret",
        action="append",
        metavar="whsec_...",
        help="the endpoint's secret; repeat it during a rotation (default: WEBHOOK_SECRET, hidden from process lists)",
    )
    options = parser.parse_args(arguments)
    secrets = options.secret or os.environ.get("WEBHOOK_SECRET", "").split()
    try:
        webhook = Webhook(secrets)
    except VerificationError as error:
        parser.error(f"--secret: {error}")
    print(f"listening on http://{options.host}:{options.port}/", flush=True)  # noqa: T201
    web.run_app(printing_receiver(webhook), host=options.host, port=options.port, print=None, access_log=None)
    return 0


if __name__ == "__main__":
    sys.exit(main())
