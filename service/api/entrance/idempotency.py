"""Idempotency-Key: a request with a key runs once; the same request with the same key gets the stored answer.

Stored answers are sealed, because they may contain a secret. Answers that a retry may change (5xx, 429, 401, 403, and
those that say when to retry) are not stored, and a request that ended without an answer may run again at once.

If the process dies during a request, the same request may run again after ``RUNS_SECONDS_MAX``, whether or not the
first run committed. So a second run must do no harm: publishing answers ``duplicate``; creating an endpoint or a
subscriber finds the existing one and does not show its secret again, so the subscriber rotates it; registering an
event type finds the existing one; changes, pauses and removals have the same result, or 412 if they name with If-Match
the version that the first run has changed; rotating rotates once more, and
the previous run's secret overlaps, but of an API key it names the key that follows; a test or a replay is delivered
twice, and a receiver is rehearsed again.
"""

import hashlib
import re
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final

import msgspec
from aiohttp import web

from service.api.errors import ApiError, Code, FieldErrors, invalid
from service.core.field_code import FieldCode, codes_of, with_codes
from service.core.keys.api_key import StoredKey
from service.ports.errors import SecretUnopenableError, UnavailableError
from service.ports.requests import Answered, AnswerStore, Begun, NamedRequest, Reused, Running
from service.ports.secrets import SecretBox

IDEMPOTENCY_KEY: Final = "Idempotency-Key"
REPLAYED: Final = "Idempotency-Replayed"
PATH_CHARS_MAX: Final = 1024
"""Longer than any real path; a longer one would not fit into the row's unique key."""

_KEY: Final = re.compile(r"[\x20-\x7e]{1,255}")
_NEVER_KEPT: Final = frozenset({401, 403, 429})
_FAULTS_FROM: Final = 500

Run = Callable[[], Awaitable[web.Response]]


class _Response(msgspec.Struct, tag="response"):
    """The handler's response, without the headers that every response gets."""

    status: int
    headers: list[tuple[str, str]]
    body: str


class _Refusal(msgspec.Struct, tag="refusal"):
    """An ``ApiError``; on replay, the surface renders it again."""

    status: int
    code: Code
    sentence: str
    errors: FieldErrors
    headers: dict[str, str]
    codes: dict[str, FieldCode] = {}  # an answer that was stored by the last release has none


_read_answer = msgspec.json.Decoder(_Response | _Refusal)


class Idempotency:
    """Runs a request once per organization, method, path and Idempotency-Key within 24 hours."""

    def __init__(self, store: AnswerStore, secret_box: SecretBox) -> None:
        self._store = store
        self._secret_box = secret_box

    async def once(self, request: web.Request, key: StoredKey, body_bytes: bytes, run: Run) -> web.Response:
        """Run, or repeat the stored answer. Raises what ``run`` raises, and ``ApiError`` (400, 404, 409, 422)."""
        named = _named(request, key.organization_id, body_bytes)
        if named is None:
            return await run()
        match await self._store.begin(named):
            case Begun() as begun:
                return await self._run(named, begun, run)
            case Answered(sealed):
                return self._replay(named, sealed)
            case Running():
                sentence = f"the request with this {IDEMPOTENCY_KEY} is still running"
                raise ApiError(409, Code.CONFLICT, sentence, headers={"Retry-After": "1"})
            case Reused():
                sentence = f"this {IDEMPOTENCY_KEY} was used with a different request; use a new one"
                raise ApiError(422, Code.IDEMPOTENCY_KEY_REUSED, sentence)

    async def _run(self, named: NamedRequest, begun: Begun, run: Run) -> web.Response:
        """Run, then store the answer or free the key. If storing fails, the caller still gets the answer."""
        answer: _Response | _Refusal | None = None
        try:
            response = await run()
            headers = [(str(name), value) for name, value in response.headers.items()]
            answer = _Response(response.status, headers, _text_of(response))
        except ApiError as error:
            errors, codes = {name: [*map(str, each)] for name, each in error.errors.items()}, codes_of(error.errors)
            answer = _Refusal(error.status, error.code, error.sentence, errors, dict(error.headers), codes)
            raise
        finally:  # after a cancellation too
            with suppress(UnavailableError):
                if answer is None or _may_change(answer):
                    await self._store.free(named, begun)
                else:
                    await self._store.keep(named, begun, answer.status, self._seal(named, answer))
        return response

    def _seal(self, named: NamedRequest, answer: _Response | _Refusal) -> str:
        return self._secret_box.seal(msgspec.json.encode(answer).decode(), **_row_of(named))

    def _replay(self, named: NamedRequest, sealed: str) -> web.Response:
        try:
            answer = _read_answer.decode(self._secret_box.open(sealed, **_row_of(named)))
        except SecretUnopenableError:
            sentence = f"the stored answer for this {IDEMPOTENCY_KEY} cannot be decrypted; use a new one"
            raise ApiError(409, Code.CONFLICT, sentence) from None
        if isinstance(answer, _Refusal):
            headers = {**answer.headers, REPLAYED: "true"}
            errors = with_codes(answer.errors, answer.codes)
            raise ApiError(answer.status, answer.code, answer.sentence, errors=errors, headers=headers)
        return web.Response(
            status=answer.status, body=answer.body.encode(), headers=[*answer.headers, (REPLAYED, "true")]
        )


def _named(request: web.Request, organization_id: str, body_bytes: bytes) -> NamedRequest | None:
    """Return what the request's Idempotency-Key identifies; None without one. Raises ``ApiError`` (400, 404)."""
    given = set(request.headers.getall(IDEMPOTENCY_KEY, []))
    if not given:
        return None
    key = given.pop()
    if given or not _KEY.fullmatch(key):
        sentence = f"the header {IDEMPOTENCY_KEY} must appear once, with 1 to 255 printable ASCII characters"
        raise invalid(sentence, {IDEMPOTENCY_KEY: ["must be 1 to 255 printable ASCII characters"]})
    path = request.rel_url.raw_path
    if len(path) > PATH_CHARS_MAX or not path.isascii():
        raise ApiError(404, Code.NOT_FOUND, "no such path; see /docs")
    digest = hashlib.sha256()
    content_type = request.headers.get("Content-Type", "")
    # A change of another version of something is another request.
    conditions = [
        _bytes(f"{name}: {each}") for name in ("If-Match", "If-None-Match") for each in request.headers.getall(name, ())
    ]
    for part in (_bytes(request.rel_url.raw_query_string), _bytes(content_type), body_bytes, *conditions):
        digest.update(len(part).to_bytes(8) + part)
    return NamedRequest(organization_id, request.method, path, key, digest.digest())


def _may_change(answer: _Response | _Refusal) -> bool:
    """Whether the same request may get another answer when it is repeated."""
    names = {name.lower() for name in dict(answer.headers)}
    return answer.status >= _FAULTS_FROM or answer.status in _NEVER_KEPT or "retry-after" in names


def _row_of(named: NamedRequest) -> dict[str, str]:
    """What the sealed answer is bound to, so that no other request can open it."""
    secret_id = f"{named.method} {named.path} {named.digest.hex()} {named.key}"
    return {"organization_id": named.organization_id, "endpoint_id": "idempotency", "secret_id": secret_id}


def _bytes(text: str) -> bytes:
    """The original bytes of text from the request's head, where aiohttp decodes invalid UTF-8 to lone surrogates."""
    return text.encode(errors="surrogateescape")


def _text_of(response: web.Response) -> str:
    return bytes(response.body).decode() if isinstance(response.body, bytes | bytearray) else ""
