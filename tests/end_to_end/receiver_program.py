"""A receiver as a customer runs one: the standard library, and the installed ``webhook_signature``.

It verifies every request and writes a line of its ledger before it answers, so that whatever was answered is in the
ledger. The first part of the path says how it answers: /ok/…, /fail-twice/…, /gone/…, and /hang/…, which answers while
the last line of standard input was "answer"; /down/… answers 503 until then. A path with /slow/ in it takes a while. It
ends when standard input does: it cannot outlive whoever started it.
"""

import base64
import hashlib
import importlib.util
import json
import os
import sys
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import webhook_signature
from webhook_signature import VerificationError, Webhook

SLOW_SECONDS = 0.3
FAILS_FIRST = 2


def secret_of(path: str) -> str:
    """Each endpoint's own secret, so that a request to the wrong one does not verify."""
    return "whsec_" + base64.b64encode(hashlib.sha256(path.encode()).digest()).decode()


class Ledger:
    """One JSON line for every request, each in a single write: it outlives the process, whatever ends it."""

    def __init__(self, path: str) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        self._lock = threading.Lock()
        self._requests: Counter[tuple[str, str]] = Counter()
        self._at_once: Counter[str] = Counter()

    def enter(self, path: str, headers: dict[str, str], body: bytes, at: float, *, is_down: bool) -> int:
        """Verify, decide on the status, write it all down. ``leave`` must follow."""
        try:
            event_id, complaint = Webhook(secret_of(path)).verify(body, headers).id, None
        except VerificationError as error:
            event_id, complaint = headers.get("webhook-id", ""), error.reason
        with self._lock:
            self._requests[path, event_id] += 1
            self._at_once[path] += 1
            is_down = is_down and path.startswith("/down/")
            status = 401 if complaint else 503 if is_down else self._status(path, event_id)
            line = {
                "id": event_id,
                "path": path,
                "complaint": complaint,
                "sha256": hashlib.sha256(body).hexdigest(),
                "attempt": headers.get("webhook-attempt"),
                "replay": headers.get("webhook-replay"),
                "status": status,
                "at": at,
                "at_once": self._at_once[path],
            }
            os.write(self._file, json.dumps(line).encode() + b"\n")
        return status

    def leave(self, path: str) -> None:
        """The request has been answered, or nobody waits for the answer any more."""
        with self._lock:
            self._at_once[path] -= 1

    def _status(self, path: str, event_id: str) -> int:
        conduct = path.split("/")[1]
        if conduct == "gone":
            return 410
        return 500 if conduct == "fail-twice" and self._requests[path, event_id] <= FAILS_FIRST else 204


class Receiver(ThreadingHTTPServer):
    """Listens on a free port of this machine alone."""

    daemon_threads = True
    request_queue_size = 256

    def __init__(self, ledger: Ledger) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.ledger = ledger
        self.answers = threading.Event()


class Handler(BaseHTTPRequestHandler):
    """Connections stay open between requests."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Receiver

    def do_POST(self) -> None:
        at = time.monotonic()
        body = self.rfile.read(int(self.headers["Content-Length"]))
        headers = {k.lower(): v for k, v in self.headers.items()}
        is_down = not self.server.answers.is_set()
        status = self.server.ledger.enter(self.path, headers, body, at, is_down=is_down)
        if self.path.startswith("/hang/"):
            self.server.answers.wait()
        if "/slow/" in self.path:
            threading.Event().wait(SLOW_SECONDS)
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.server.ledger.leave(self.path)  # before the answer is written: who has it may send the next
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def handle(self) -> None:
        try:
            super().handle()
        except OSError:  # whoever called was killed, or hung up: its right
            self.close_connection = True


def main() -> None:
    receiver = Receiver(Ledger(sys.argv[1]))
    threading.Thread(target=receiver.serve_forever, daemon=True).start()
    about = {
        "port": receiver.server_port,
        "helper": webhook_signature.__file__,
        "sees_the_service": importlib.util.find_spec("service") is not None,
    }
    print(json.dumps(about), flush=True)  # noqa: T201 - whoever started it reads this
    for line in sys.stdin:
        if line == "answer\n":
            receiver.answers.set()
        else:
            receiver.answers.clear()
        print("done", flush=True)  # noqa: T201 - whoever wrote the line waits for this


if __name__ == "__main__":
    main()
