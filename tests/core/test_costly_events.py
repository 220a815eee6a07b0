"""What an event costs grows with its size and no faster, however it is made to be costly."""

import time

import pytest

from service.core.events.event import BODY_BYTES_MAX, Event, Rejected, parse_event
from service.core.reason import ParkReason
from tests.fakes.clock import START as NOW
from tests.fakes.events import body_of

CPU_SECONDS_MAX = 1.0
"""Each takes at most some 30 ms; with work that grows with the square of the size, more than two seconds."""


def _with(members: str) -> bytes:
    return body_of()[:-1] + f",{members}}}".encode()


KEYS = ",".join(f'"k{number}":1' for number in range(20_000))
COSTLY = {
    "many keys": (_with(KEYS), None),
    "many keys, and the last one twice": (_with(f'{KEYS},"k19999":1'), ParkReason.DUPLICATE_KEY),
    "many keys, each twice": (_with(",".join(['"a":1,"b":1'] * 20_000)), ParkReason.DUPLICATE_KEY),
    "many keys in a key that is not ours": (_with(f'"extra":{{{KEYS}}}'), None),
    "brackets to count": (b'{"a":' + b"[" * 250_000, ParkReason.TOO_DEEP),
    "brackets in a text": (_with(f'"extra":"{"{" * 250_000}"'), None),
    "texts to search for NUL": (_with(f'"extra":["\\\\u0000"{",1" * 120_000}]'), None),
    "a whole number": (body_of().replace(b'"evt_1"', b"1" * 250_000), ParkReason.BAD_JSON),
    "a timestamp": (body_of(timestamp="Mon, 20 Nov 2026 " + ":" * 250_000), ParkReason.BAD_TIMESTAMP),
}


@pytest.mark.parametrize("name", COSTLY)
def test_no_event_holds_the_loop_up(name: str) -> None:
    body, reason = COSTLY[name]
    assert len(body) <= BODY_BYTES_MAX
    started = time.process_time()
    parsed = parse_event(body, NOW)
    took_seconds = time.process_time() - started
    assert isinstance(parsed, Event if reason is None else Rejected)
    assert getattr(parsed, "reason", None) is reason
    assert took_seconds < CPU_SECONDS_MAX


def test_of_several_keys_that_appear_twice_the_first_is_named() -> None:
    parsed = parse_event(_with('"b":1,"a":1,"a":2,"b":2'), NOW)
    assert isinstance(parsed, Rejected)
    assert parsed.field == "b"
