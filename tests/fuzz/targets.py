"""What strangers write, and what reads it: one table for hypothesis, for atheris and for the inputs that were kept."""

import asyncio
import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from aiormq.exceptions import ProtocolSyntaxError

from service.adapters.rabbitmq.delivery import Messages
from service.adapters.rabbitmq.frames import FrameReader
from service.adapters.rabbitmq.properties import UnreadableError, split_properties
from service.api.lists.cursor import read_cursor
from service.core.deliveries.outcome import retry_after_seconds
from service.core.deliveries.request import Reply
from service.core.deliveries.token import read_token
from service.core.endpoints.custom_headers import judge_headers
from service.core.endpoints.filter.filter import Filter, parse_filter
from service.core.endpoints.target_policy import EgressPolicy, parse_cidr_rule
from service.core.events.event import parse_event
from service.core.events.own_types.own_type import OwnEventType, write_schema
from tests.fakes.clock import START
from tests.fakes.events import body_of
from webhook_signature import VerificationError, Webhook
from webhook_signature.styles import STYLES

CORPUS = Path(__file__).parent / "corpus"
NOW_SECONDS = 1_700_000_000
SHARED = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
PUBLIC = "whpk_A6EHv/POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg="
WEBHOOKS = {
    style: Webhook(PUBLIC if style == "ed25519" else SHARED, style=style, now=lambda: NOW_SECONDS) for style in STYLES
}
ENVELOPE: Mapping[str, object] = json.loads(body_of())


@dataclass(frozen=True, slots=True)
class Target:
    """``read`` may raise ``declared`` and nothing else. ``grown`` are inputs of about n bytes that cost most."""

    read: Callable[[bytes], object]
    declared: tuple[type[Exception], ...]
    grown: tuple[Callable[[int], bytes], ...]

    def try_on(self, data: bytes) -> None:
        """Read it; whatever is not declared comes out."""
        with suppress(*self.declared):
            self.read(data)


def kept_inputs(name: str) -> list[Path]:
    """What was kept for a target: seeds, and what was once found; the files whose names begin with its name."""
    return sorted(CORPUS.glob(f"{name}.*"))


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")  # lone surrogates, too


def _frames(data: bytes) -> None:
    async def hear() -> None:
        stream = asyncio.StreamReader()
        reader = FrameReader(stream, Messages(lambda _: None, lambda: None))
        stream.feed_data(data)
        stream.feed_eof()
        with suppress(asyncio.IncompleteReadError):
            await reader.readexactly(len(data) + 1)

    asyncio.run(hear())


def _pairs(data: bytes) -> list[tuple[str, str]]:
    parted = (line.partition(":") for line in _text(data).split("\n"))
    return [(name, value.strip(" ")) for name, _, value in parted]


def _filter(data: bytes) -> None:
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return
    read = parse_filter(value)
    if isinstance(read, Filter):
        read.judge(ENVELOPE)


def _token(data: bytes) -> None:
    for status in (200, 400):
        read_token(Reply(status, 1, data))


def _schema(data: bytes) -> None:
    """A schema on the first line, what it judges on the others."""
    schema_text, _, judged = data.partition(b"\n")
    try:
        schema = json.loads(schema_text)
    except (ValueError, RecursionError):
        return
    text = write_schema(schema) if isinstance(schema, dict) else None
    if isinstance(text, str):
        OwnEventType("own.type", text).judge(b'{"data":' + judged + b"}")


def _verify(data: bytes) -> None:
    """Headers, an empty line, the body."""
    head, _, body = data.partition(b"\n\n")
    refused = 0
    for webhook in WEBHOOKS.values():
        try:
            webhook.verify(body, _pairs(head))
        except VerificationError:
            refused += 1
    if refused == len(WEBHOOKS):
        raise VerificationError("no_match", "by none of the styles")


def _repeated(before: bytes, unit: bytes, after: bytes = b"") -> Callable[[int], bytes]:
    return lambda size: before + unit * (size // len(unit)) + after


TARGETS = {
    "envelope": Target(
        lambda data: parse_event(data, START),
        (),
        (
            _repeated(body_of()[:-1] + b',"extra":', b"[", b"1"),
            _repeated(body_of()[:-1], b',"k":1', b"}"),
            _repeated(body_of()[:-1] + b',"extra":"', b"\\\\u0000", b'"}'),
            _repeated(b'{"id":"', b"\\"),
        ),
    ),
    "properties": Target(
        split_properties,
        (UnreadableError,),
        (_repeated(b"\x20\x00\xff\xff\xff\xff", b"\x01aF\x00\x00\x00\x00"), _repeated(b"\xff", b"\xff\xff")),
    ),
    "frames": Target(
        _frames,
        (ProtocolSyntaxError,),
        (_repeated(b"", b"\x08\x00\x00\x00\x00\x00\x00\xce"), _repeated(b"", b"\x03\x00\x01\x00\x00\x00\x00\xce")),
    ),
    "url": Target(
        lambda data: EgressPolicy().judge_url(_text(data)),
        (),
        (
            _repeated(b"https://", b"a."),
            _repeated(b"https://", b"-"),
            _repeated(b"https://a/", b"%2f"),
            _repeated(b"https://[", b":"),
        ),
    ),
    "cidr": Target(
        lambda data: parse_cidr_rule(_text(data)),
        (ValueError,),
        (_repeated(b"", b"1."), _repeated(b"[", b":"), _repeated(b"10.0.0.0/8:", b"1")),
    ),
    "headers": Target(
        lambda data: judge_headers(dict(_pairs(data))),
        (),
        (_repeated(b"X-", b"-"), _repeated(b"X-A: ", b"\t "), _repeated(b"", b"a_:1\n")),
    ),
    "retry-after": Target(
        lambda data: retry_after_seconds(tuple(_text(data).split("\n")), START),
        (),
        (_repeated(b"", b"9"), _repeated(b"Mon, ", b" 1"), _repeated(b"", b"1\n")),
    ),
    "filter": Target(
        _filter,
        (),
        (
            _repeated(b'{"match":{"data.a":{"in":[', b'"a",', b'"a"]}}}'),
            _repeated(b'{"match":{"', b"a.", b'a":{"eq":1}}}'),
        ),
    ),
    "schema": Target(
        _schema,
        (),
        (
            _repeated(b'{"type":"object","additionalProperties":{"type":"integer"}}\n{"a":[', b"1,", b"1]}"),
            _repeated(b'{"properties":{"a":{"uniqueItems":true}}}\n{"a":[', b"1,", b"1]}"),
            _repeated(b'{"properties":{"a":{"pattern":"^(a|a)*$"}}}\n{"a":"', b"a", b'b"}'),
        ),
    ),
    "token": Target(
        _token,
        (),
        (_repeated(b'{"access_token":"a","x":', b"["), _repeated(b'{"access_token":"', b"\\u0041", b'"}')),
    ),
    "cursor": Target(
        lambda data: read_cursor(_text(data), str, int),
        (),
        (_repeated(b"", b"W1tb"), _repeated(b"", b"=")),
    ),
    "verify": Target(
        _verify,
        (VerificationError,),
        (
            _repeated(b"webhook-id: a\nwebhook-timestamp: 1700000000\nwebhook-signature:", b" v1,AAAA", b"\n\n{}"),
            _repeated(b"webhook-id: a\nwebhook-timestamp: 1700000000\nwebhook-signature:", b" v1a,AAAA", b"\n\n{}"),
            _repeated(b"", b"webhook-id: a\n"),
            _repeated(b"X-Webhook-Signature: t=1700000000", b",v1=00", b"\n\n{}"),
        ),
    ),
}
