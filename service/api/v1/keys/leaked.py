"""``POST /v1/keys/revoke-leaked``: whoever finds an API key can end it, with nothing but the key."""

from collections.abc import Callable
from datetime import datetime
from typing import Annotated

from pydantic import Field

from service.api.entrance.auth import recognise
from service.api.entrance.caller import actor_of
from service.api.entrance.guesses import Guesses
from service.api.instant import Instant
from service.api.operation import WITH_BODY_POSSIBLE, Answer, Call, Operation
from service.api.v1.keys.operations import PATH, TAG
from service.api.validation import AnswerModel, BodyModel
from service.core.keys.api_key import KEY_PATTERN, RANDOM_BYTES, generate_key
from service.ports.desk import KeyDesk
from service.ports.observer import KeyLeaked, Observer
from service.ports.requests import KeyRing

BODY_BYTES_MAX = 4_096


class LeakedKey(BodyModel):
    """An API key that somebody found."""

    key: Annotated[
        str,
        Field(pattern=f"^{KEY_PATTERN}$", description="The whole key.", json_schema_extra={"writeOnly": True}),
    ]


class LeakedKeyRevoked(AnswerModel):
    """The answer, whether there is such a key or not."""

    in_effect_at: Annotated[
        Instant,
        Field(
            description="Every request with the key that begins later is refused, by every process. One that had begun "
            "may still be answered."
        ),
    ]


class LeakedKeys:
    """The handler. ``now`` returns an aware UTC datetime."""

    def __init__(self, ring: KeyRing, desk: KeyDesk, observer: Observer, now: Callable[[], datetime]) -> None:
        self._ring = ring
        self._guesses = Guesses(ring)
        self._desk = desk
        self._observer = observer
        self._now = now

    async def revoke(self, call: Call) -> Answer:
        """Revoke the key, if it is one; the answer does not tell."""
        body: LeakedKey = call.body
        key = await recognise(call.request.remote, body.key, self._ring, self._guesses)
        if key is not None and key.revoked_at is None:
            await self._desk.revoke(key.key_id, by=actor_of(call.request.remote, key))  # more is not known of them
            self._observer.tell(KeyLeaked(key.organization_id, key.key_id))
        return Answer(200, LeakedKeyRevoked(in_effect_at=self._now()))

    def operation(self) -> Operation:
        """Return the operation."""
        return Operation(
            "POST",
            f"{PATH}/revoke-leaked",
            name="revoke_leaked_key",
            summary="Revoke an API key that leaked",
            description="For whoever finds one: its owner, a colleague, a scanner. The answer is the same for a key "
            "that does not exist, or that was revoked before.",
            tag=TAG,
            scope=None,
            handler=self.revoke,
            answers={200: LeakedKeyRevoked},
            body=LeakedKey,
            body_bytes_max=BODY_BYTES_MAX,
            problems=WITH_BODY_POSSIBLE,
            example={"key": generate_key(bytes(RANDOM_BYTES)).text},
            needs_key=False,
        )
