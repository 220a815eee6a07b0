"""``GET /.well-known/webhook-keys/{id}``: an endpoint's public keys, for whoever knows its id.

Receivers hold no API key, so none is needed (ADR 37). A document is kept in memory for a while, and what is not there
is looked up only so often, so that strangers cannot keep the database busy.
"""

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from hashlib import sha256
from typing import Final

from pydantic import Field

from service.api.entrance.strangers import Allowance, Strangers
from service.api.errors import ApiError, Code
from service.api.operation import Answer, Call, Operation
from service.api.v1.endpoints.paths import TAG, endpoint_id_of
from service.api.validation import AnswerModel
from service.core.endpoints.signing.public_key import json_web_key
from service.ports.desk import PublicKeyDesk

PATH: Final = "/.well-known/webhook-keys"
MAX_AGE_SECONDS: Final = 300
"""For caches on the way. With ``FRESH_SECONDS`` it is how long a key may be listed that has ended."""
FRESH_SECONDS: Final = 30.0
KNOWN_MAX: Final = 3_000
"""Documents in memory, of some 700 bytes. Each is looked up once in ``FRESH_SECONDS`` at most: 100 times a second."""
LOOK_UPS_PER_SECOND: Final = 10.0
"""Of one address, for endpoints that are not in memory."""
LOOK_UPS_BURST: Final = 100
ALL_LOOK_UPS_PER_SECOND: Final = 100.0
ALL_LOOK_UPS_BURST: Final = 1_000
ADDRESSES_MAX: Final = 10_000


class PublicKey(AnswerModel):
    """An Ed25519 key as a JSON Web Key."""

    kid: str = Field(description="Its thumbprint (RFC 7638): the same key always has the same.")
    x: str = Field(description="The 32 bytes of the key, base64url without padding; `whpk_` has the same in base64.")
    kty: str = Field(examples=["OKP"])
    crv: str = Field(examples=["Ed25519"])
    alg: str = Field(examples=["EdDSA"])
    use: str = Field(examples=["sig"])


class PublicKeys(AnswerModel):
    """A JSON Web Key Set."""

    keys: list[PublicKey] = Field(description="Newest first, three at most; during an overlap the older ones, too.")


@dataclass(slots=True)
class _Known:
    body: PublicKeys
    tag: str
    read_at: float


class PublicKeyDocuments:
    """The handler. ``clock`` returns seconds from any fixed point."""

    def __init__(self, desk: PublicKeyDesk, clock: Callable[[], float] = time.monotonic) -> None:
        self._desk = desk
        self._clock = clock
        self._known: dict[str, _Known] = {}  # the one that was looked up longest ago comes first
        self._strangers = Strangers(
            lambda: Allowance(LOOK_UPS_PER_SECOND, LOOK_UPS_BURST),
            Allowance(ALL_LOOK_UPS_PER_SECOND, ALL_LOOK_UPS_BURST),
            addresses_max=ADDRESSES_MAX,
        )

    async def show(self, call: Call) -> Answer:
        """Show the keys; 304 to a client that has them."""
        known = await self._find(endpoint_id_of(call), call.request.remote)
        headers = {"Cache-Control": f"public, max-age={MAX_AGE_SECONDS}", "ETag": f'"{known.tag}"'}
        if any(each.value in {known.tag, "*"} for each in call.request.if_none_match or ()):
            return Answer(304, headers=headers)
        return Answer(200, known.body, headers)

    async def _find(self, endpoint_id: str, remote: str | None) -> _Known:
        known, now = self._known.get(endpoint_id), self._clock()
        if known is None:
            self._admit(remote, now)
        elif now < known.read_at + FRESH_SECONDS:
            return known
        else:
            known.read_at = now  # whoever asks meanwhile gets what is here
        keys = await self._desk.of(endpoint_id)
        self._known.pop(endpoint_id, None)
        if not keys:  # whether there is such an endpoint is not told
            raise ApiError(
                404, Code.NOT_FOUND, "no public keys here: no such endpoint, or it does not sign with a pair"
            )
        if len(self._known) >= KNOWN_MAX:
            self._known.pop(next(iter(self._known)))
        body = PublicKeys(keys=[PublicKey(**asdict(json_web_key(each))) for each in keys])
        tag = sha256(body.model_dump_json().encode()).hexdigest()[:32]
        self._known[endpoint_id] = _Known(body, tag, now)
        return self._known[endpoint_id]

    def _admit(self, remote: str | None, now: float) -> None:
        wait_seconds = self._strangers.wait_seconds(remote, now)
        if wait_seconds > 0:
            seconds = math.ceil(wait_seconds)
            sentence = f"too many endpoints' keys were asked for; try again in {seconds} seconds"
            raise ApiError(429, Code.RATE_LIMIT_EXCEEDED, sentence, headers={"Retry-After": str(seconds)})
        self._strangers.take(remote, now)

    def operation(self) -> Operation:
        """Return the operation."""
        return Operation(
            "GET",
            f"{PATH}/{{id}}",
            name="get_public_keys",
            summary="Get an endpoint's public keys",
            description="What webhooks in the style `ed25519` are verified with, as a JSON Web Key Set. It may be kept "
            f"for {MAX_AGE_SECONDS} seconds, and asked for again with `If-None-Match`. A key that ended at once may be "
            f"listed for {MAX_AGE_SECONDS + FRESH_SECONDS:g} seconds more.",
            tag=TAG,
            scope=None,
            handler=self.show,
            answers={200: PublicKeys, 304: None},
            problems=frozenset({404}),
            needs_key=False,
        )
