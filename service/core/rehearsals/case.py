"""The cases of a rehearsal, one value each: what a receiver is sent, and what it should answer.

Every event says that it is a test (``test: true``), and its id begins with ``evt_rehearsal_``.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from msgspec import structs

from service.core.deliveries.headers import described, own_beside
from service.core.deliveries.request import USER_AGENT, Request
from service.core.endpoints.endpoint import Endpoint, Secret
from service.core.events.event import BODY_BYTES_MAX
from service.core.events.sample import sample_event
from webhook_signature.ed25519 import Ed25519Key
from webhook_signature.sign import KEYS_MAX
from webhook_signature.styles import Key, Style

EVENT_ID_PREFIX: Final = "evt_rehearsal_"
UNKNOWN_TYPE: Final = "rehearsal.unknown"
AT_ONCE_MAX: Final = 8
AWAY: Final = timedelta(hours=1)
"""How far the wrong timestamps are away from now; receivers should accept 5 minutes."""
PAUSE_SECONDS: Final = 1.5
"""How long the slow sender waits in the middle of the body."""


class CaseName(StrEnum):
    """The cases, in the order in which they are sent."""

    VALID = "valid"
    SPELLINGS = "spellings"
    UNSIGNED = "unsigned"
    WRONG_SECRET = "wrong_secret"  # noqa: S105 - a name
    TAMPERED = "tampered"
    OLD = "old"
    FUTURE = "future"
    SEVERAL_SIGNATURES = "several_signatures"
    DUPLICATE = "duplicate"
    UNKNOWN_TYPE = "unknown_type"
    LARGE = "large"
    SLOW = "slow"
    AT_ONCE = "at_once"
    KEPT_ALIVE = "kept_alive"


class Wanted(StrEnum):
    """What the receiver should answer."""

    ACCEPTED = "2xx"
    REFUSED = "4xx, but not 410"


@dataclass(frozen=True, slots=True)
class Stage:
    """Who is rehearsed, and with what. ``name`` is of this rehearsal alone, and part of every event id.

    ``stranger`` is a key that the receiver cannot know. ``at_once`` is how many requests may be sent together.
    ``data`` is the sample of an own type, as JSON; None for a built-in type.
    """

    endpoint: Endpoint
    event_type: str
    name: str
    stranger: Key
    began_at: datetime
    timeout_seconds: float
    at_once: int = AT_ONCE_MAX
    data: str | None = None

    def event_id(self, case: CaseName, number: int = 0) -> str:
        """The id of an event of this rehearsal."""
        return f"{EVENT_ID_PREFIX}{self.name}_{case}" + (f"_{number}" if number else "")

    def body(self, event_id: str, event_type: str = "") -> bytes:
        """An event of the endpoint's type, or of another one."""
        return sample_event(
            event_type or self.event_type,
            self.endpoint.organization_id,
            event_id=event_id,
            number=1,
            now=self.began_at,
            is_test=True,
            data=None if event_type else self.data,
        )

    def request(
        self,
        event_id: str,
        body: bytes,
        now: datetime,
        *,
        by: Endpoint | None = None,
        event_type: str = "",
        pause_seconds: float = 0.0,
    ) -> Request:
        """The POST of ``body``, signed as for this endpoint, or as ``by`` would be. Raises ValueError if it cannot."""
        signature = (by or self.endpoint).signed(event_id, body, now)
        if signature is None:
            raise ValueError("a signing secret of this endpoint cannot be decrypted; check SECRET_KEYS")
        return self.unsigned(event_id, body, signature=signature, event_type=event_type, pause_seconds=pause_seconds)

    def unsigned(
        self,
        event_id: str,
        body: bytes,
        *,
        signature: Mapping[str, str] | None = None,
        event_type: str = "",
        pause_seconds: float = 0.0,
    ) -> Request:
        """The POST of ``body`` with these signature headers, the only one on its connection."""
        headers = {
            "User-Agent": USER_AGENT,
            "Connection": "close",  # what a refusal leaves behind on a connection is a case of its own
            **(signature or {}),
            **described(event_id, event_type or self.event_type, attempt_number=1),
        }
        return Request(
            self.endpoint.url,
            headers | own_beside(headers, self.endpoint.headers),
            body,
            self.timeout_seconds,
            endpoint_id=self.endpoint.id,
            auth=self.endpoint.auth,
            pause_seconds=pause_seconds,
        )


Make = Callable[[Stage, datetime], Sequence[Request]]
"""The requests of a case, signed at this moment."""


def _always(_: Style) -> str:
    return ""


@dataclass(frozen=True, slots=True)
class Case:
    """One case. ``what`` is sent; each of its requests should be answered with the ``wanted`` status of the same place.

    ``unfit`` says why the case makes no sense for a signature style; "" if it does.
    """

    name: CaseName
    what: str
    make: Make
    wanted: tuple[Wanted, ...] = (Wanted.ACCEPTED,)
    is_at_once: bool = False
    unfit: Callable[[Style], str] = field(default=_always)

    def wanted_of(self, number: int) -> Wanted:
        """What its request ``number`` (from 0) should be answered with."""
        return self.wanted[min(number, len(self.wanted) - 1)]


def _plain(stage: Stage, now: datetime) -> Sequence[Request]:
    event_id = stage.event_id(CaseName.VALID)
    return [stage.request(event_id, stage.body(event_id), now)]


def _spellings(stage: Stage, now: datetime) -> Sequence[Request]:
    """Other bytes for the same JSON; whoever parses it and writes it again comes to one spelling at most."""
    requests = []
    for number, indent in enumerate((None, 2), 1):
        event_id = stage.event_id(CaseName.SPELLINGS, number)
        body = json.dumps(json.loads(stage.body(event_id)), indent=indent).encode()
        requests.append(stage.request(event_id, body, now))
    return requests


def _unsigned(stage: Stage, _: datetime) -> Sequence[Request]:
    event_id = stage.event_id(CaseName.UNSIGNED)
    return [stage.unsigned(event_id, stage.body(event_id))]


def _by_stranger(stage: Stage, now: datetime) -> Sequence[Request]:
    event_id = stage.event_id(CaseName.WRONG_SECRET)
    return [stage.request(event_id, stage.body(event_id), now, by=_stranger(stage))]


def _tampered(stage: Stage, now: datetime, case: CaseName = CaseName.TAMPERED) -> Sequence[Request]:
    """The id in the body is another one than was signed; all else is right."""
    event_id = stage.event_id(case)
    body = stage.body(event_id)
    changed = body.replace(event_id.encode(), f"{event_id[:-1]}_".encode())
    signature = stage.endpoint.signed(event_id, body, now)
    return [stage.unsigned(event_id, changed, signature=signature)]


def _old(stage: Stage, now: datetime) -> Sequence[Request]:
    event_id = stage.event_id(CaseName.OLD)
    return [stage.request(event_id, stage.body(event_id), now - AWAY)]


def _future(stage: Stage, now: datetime) -> Sequence[Request]:
    event_id = stage.event_id(CaseName.FUTURE)
    return [stage.request(event_id, stage.body(event_id), now + AWAY)]


def _several(stage: Stage, now: datetime) -> Sequence[Request]:
    """Where rotations fill the header there is no room for a stranger's: the receiver may know any of the secrets."""
    event_id = stage.event_id(CaseName.SEVERAL_SIGNATURES)
    own = stage.endpoint.secrets
    secrets = (Secret(stage.stranger), *own) if len(own) < KEYS_MAX else own
    return [stage.request(event_id, stage.body(event_id), now, by=replace(stage.endpoint, secrets=secrets))]


def _unknown_type(stage: Stage, now: datetime) -> Sequence[Request]:
    event_id = stage.event_id(CaseName.UNKNOWN_TYPE)
    return [stage.request(event_id, stage.body(event_id, UNKNOWN_TYPE), now, event_type=UNKNOWN_TYPE)]


def _large(stage: Stage, now: datetime) -> Sequence[Request]:
    """It grows beside ``data``, whose schema may allow nothing more: receivers pass over what they do not know."""
    event_id = stage.event_id(CaseName.LARGE)
    body = stage.body(event_id)
    opened = body[:-1] + b',"padding":"'
    return [stage.request(event_id, opened.ljust(BODY_BYTES_MAX - 2, b"x") + b'"}', now)]


def _slow(stage: Stage, now: datetime) -> Sequence[Request]:
    event_id = stage.event_id(CaseName.SLOW)
    return [stage.request(event_id, stage.body(event_id), now, pause_seconds=PAUSE_SECONDS)]


def _at_once(stage: Stage, now: datetime) -> Sequence[Request]:
    ids = [stage.event_id(CaseName.AT_ONCE, number) for number in range(1, stage.at_once + 1)]
    return [stage.request(event_id, stage.body(event_id), now) for event_id in ids]


def _kept_alive(stage: Stage, now: datetime) -> Sequence[Request]:
    """What a refusal leaves behind on a connection is in the way of whoever comes next."""
    ids = [stage.event_id(CaseName.KEPT_ALIVE, number) for number in (1, 2)]
    after = [stage.request(event_id, stage.body(event_id), now) for event_id in ids]
    return [_kept(each) for each in (*_tampered(stage, now, CaseName.KEPT_ALIVE), *after)]


def _kept(request: Request) -> Request:
    headers = {name: value for name, value in request.headers.items() if name != "Connection"}
    return structs.replace(request, headers=headers)


def _stranger(stage: Stage) -> Endpoint:
    return replace(stage.endpoint, secrets=(Secret(stage.stranger),), former_styles=())


def _signs_time(style: Style) -> str:
    return "" if style.signs_time else "this signature style signs no time"


def _signs_twice(style: Style) -> str:
    return "" if style.signs_time else "this signature style has room for one signature"


_REFUSED: Final = (Wanted.REFUSED,)

CASES: Final = (
    Case(CaseName.VALID, "a valid event", _plain),
    Case(CaseName.SPELLINGS, "valid events, the same JSON with other white space", _spellings),
    Case(CaseName.UNSIGNED, "an event without a signature", _unsigned, _REFUSED),
    Case(CaseName.WRONG_SECRET, "an event signed with another secret", _by_stranger, _REFUSED),
    Case(CaseName.TAMPERED, "a body that was changed after it was signed", _tampered, _REFUSED),
    Case(CaseName.OLD, "an event signed an hour ago", _old, _REFUSED, unfit=_signs_time),
    Case(CaseName.FUTURE, "an event signed an hour ahead", _future, _REFUSED, unfit=_signs_time),
    Case(CaseName.SEVERAL_SIGNATURES, "two signatures, yours last, as in a rotation", _several, unfit=_signs_twice),
    Case(CaseName.DUPLICATE, "the first event once more", _plain),
    Case(CaseName.UNKNOWN_TYPE, f"an event of a type it does not know ({UNKNOWN_TYPE})", _unknown_type),
    Case(CaseName.LARGE, f"an event of {BODY_BYTES_MAX // 1024} KiB, the largest there is", _large),
    Case(CaseName.SLOW, f"an event whose body pauses for {PAUSE_SECONDS:g} s", _slow),
    Case(CaseName.AT_ONCE, "many events at once", _at_once, is_at_once=True),
    Case(
        CaseName.KEPT_ALIVE,
        "a changed body and two valid events, one after the other",
        _kept_alive,
        (Wanted.REFUSED, Wanted.ACCEPTED),
    ),
)
"""All cases. The first two show whether the others can show anything."""


def stranger_key(style: Style, random: bytes) -> Key:
    """A key of this style that no receiver knows, from 32 random bytes."""
    return Ed25519Key(seed=random) if style.has_key_pair else random
