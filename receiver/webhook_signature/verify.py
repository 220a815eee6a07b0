"""Decide whether a request was sent recently, unchanged, by someone who holds the secret."""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Callable

from webhook_signature.errors import VerificationError
from webhook_signature.headers import Headers, pick
from webhook_signature.sign import KEYS_MAX
from webhook_signature.styles import Key, style_named

if TYPE_CHECKING:
    from collections.abc import Sequence

    from webhook_signature.replay import ReplayStore


@dataclass(frozen=True)
class Verified:
    """A request that was signed with one of the secrets.

    ``id`` is the same on every attempt and every replay of an event: deduplicate on it. ``timestamp`` is when this
    attempt was signed, in Unix seconds. ``key_index`` says which of the secrets matched, 0 being the first: once it
    is always 0, the older secrets can be removed.

    The styles ``standard`` and ``ed25519`` sign an id: with the others ``id`` is empty, and the event's id is in the
    body. ``sha256-body`` signs no time either: ``timestamp`` is 0.
    """

    id: str
    timestamp: int
    body: bytes = field(repr=False)  # what people wrote to each other does not belong in logs
    key_index: int

    def json(self) -> Any:  # noqa: ANN401 - JSON is whatever it is
        """Return the body parsed as JSON, parsed anew on each call. Raises ValueError if it is not JSON."""
        try:
            return json.loads(self.body)
        except RecursionError:
            raise ValueError("the body is nested too deeply") from None


class Webhook:
    """Verifies the requests to one endpoint. Immutable, and safe to share between threads and tasks.

    ``secrets``: the endpoint's ``whsec_`` secrets, or with ``ed25519`` its public ``whpk_`` keys, newest first; more
    than one during a rotation.
    ``tolerance_seconds``: how far the signed timestamp may be from this clock, in either direction.
    ``style``: how the sender signs, a name in ``STYLES``. ``signature_header``: the header that
    carries the signature, for a ``t-v1`` sender that uses another name (``Stripe-Signature``).
    ``replay_store``: if given, a request that was accepted before is refused as ``replayed``.
    ``body_bytes_max``: larger bodies are refused before anything is computed.
    ``now``: returns Unix time in seconds.

    Raises VerificationError(bad_secret) for secrets that cannot be used; ValueError for an unknown style, a limit below
    1, or a replay store with ``sha256-body``, where a retry cannot be distinguished from a replay.
    """

    def __init__(  # noqa: PLR0913 - each is one documented knob
        self,
        secrets: Sequence[str] | str,
        tolerance_seconds: int = 300,
        style: str = "standard",
        replay_store: ReplayStore | None = None,
        *,
        signature_header: str | None = None,
        body_bytes_max: int = 1_048_576,
        now: Callable[[], float] = time.time,
    ) -> None:
        if tolerance_seconds < 1 or body_bytes_max < 1:
            raise ValueError("tolerance_seconds and body_bytes_max must be at least 1")
        self._style = style_named(style, signature_header)
        if replay_store is not None and not self._style.signs_time:
            raise ValueError(f"the style {style} does not sign the time, so retries look like replays")
        self._keys: tuple[Key, ...] = tuple(self._style.decode_secret(text) for text in _secret_texts(secrets))
        self._tolerance_seconds = tolerance_seconds
        self._replay_store = replay_store
        self._body_bytes_max = body_bytes_max
        self._now = now

    def verify(self, raw_body: bytes, headers: Headers) -> Verified:
        """Return the verified request, or raise VerificationError, whatever a client sent.

        ``raw_body`` is the body as it arrived: parsing and serialising it again changes the bytes, and no signature
        matches. Anything but bytes raises TypeError. Errors of ``replay_store`` are passed on unchanged: a store that
        is down does not make a request a forgery.
        """
        if not isinstance(raw_body, bytes):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError(f"pass the raw body as bytes, exactly as it arrived, not {type(raw_body).__name__}")
        if len(raw_body) > self._body_bytes_max:
            raise VerificationError("too_large", f"the body is larger than {self._body_bytes_max} bytes")
        claim = self._style.read(pick(headers, self._style.headers))
        timestamp_seconds = int(claim.timestamp or 0)
        now_seconds = int(self._now())  # whole seconds, as in the header
        if self._style.signs_time:
            self._check_age(now_seconds - timestamp_seconds)
        key_index = self._match(self._style.content(claim, raw_body), self._style.signatures(claim))
        if self._replay_store is not None:
            # Only after verification, or anyone could fill the store, or block an id before its event arrives. Id and
            # timestamp together identify what was signed: a copy is refused, while a retry, which is signed afresh, is
            # accepted if the receiver failed on the first attempt. A copy verifies for ttl seconds from now.
            ttl = timestamp_seconds + self._tolerance_seconds - now_seconds + 1
            name = claim.id or hashlib.sha256(raw_body).hexdigest()
            if self._replay_store.seen(f"{name}.{claim.timestamp}", ttl):
                raise VerificationError("replayed", "this signed request was accepted before")
        return Verified(claim.id, timestamp_seconds, raw_body, key_index)

    def sign(self, id: str, timestamp: int, body: bytes) -> dict[str, str]:  # noqa: A002 - the header's own name
        """Return the headers a sender would send, signed with every secret: for a receiver's own tests.

        ``timestamp`` is Unix seconds. Raises ValueError for an id or timestamp that no sender sends, and for a key that
        is public.
        """
        return self._style.write(self._keys, id, timestamp, body)

    def _check_age(self, age_seconds: int) -> None:
        if age_seconds > self._tolerance_seconds:
            raise VerificationError("too_old", f"signed {age_seconds} s ago; the limit is {self._tolerance_seconds} s")
        if -age_seconds > self._tolerance_seconds:
            raise VerificationError(
                "too_new", f"signed {-age_seconds} s in the future; the limit is {self._tolerance_seconds} s"
            )

    def _match(self, content: bytes, signatures: Sequence[bytes]) -> int:
        # Ask every key, so that the duration does not reveal which secret is in use.
        matches = [index for index, key in enumerate(self._keys) if self._style.matches(key, content, signatures)]
        if not matches:
            raise VerificationError("no_match", "no signature matches; check the secret, and pass the raw body")
        return matches[0]


def _secret_texts(secrets: Sequence[str] | str) -> tuple[str, ...]:
    try:
        texts = (secrets,) if isinstance(secrets, str) else tuple(secrets)
    except TypeError:  # usually None, from an environment variable that is not set
        raise VerificationError("bad_secret", "the secrets are not a list of text") from None
    if not 1 <= len(texts) <= KEYS_MAX:
        raise VerificationError("bad_secret", f"give 1 to {KEYS_MAX} secrets, not {len(texts)}")
    return texts
