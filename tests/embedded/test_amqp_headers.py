"""The broker's own headers on messages whose properties no library can read, and what a full queue answers."""

import struct

import aiormq
import pytest
from aiormq.exceptions import DeliveryError
from pamqp import encode
from pamqp.common import FieldTable

from service.embedded.amqp import LoopbackBroker
from service.embedded.amqp.headers import decoded, with_headers
from service.embedded.amqp.queues import Message

COUNT = encode.field_table({"x-delivery-count": 2})[4:]
BAD_ENTRY = b"\x01\xffV"


def properties(flags: int, *values: bytes) -> bytes:
    return struct.pack(">H", flags) + b"".join(values)


def test_readable_properties_get_a_header_beside_theirs() -> None:
    changed = decoded(with_headers(properties(0x8080, b"\x01t", b"\x01i"), {"x-delivery-count": 2}))
    assert changed is not None
    assert (changed.content_type, changed.message_id, changed.headers) == ("t", "i", {"x-delivery-count": 2})


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (properties(0x0080, b"\x01\xff"), properties(0x2080, struct.pack(">I", len(COUNT)), COUNT, b"\x01\xff")),
        (
            properties(0xE000, b"\x01\xff", b"\x00", struct.pack(">I", 3), BAD_ENTRY),
            properties(0xE000, b"\x01\xff", b"\x00", struct.pack(">I", len(COUNT) + 3), COUNT, BAD_ENTRY),
        ),
        (b"", b""),
        (b"\x80\x00", b"\x80\x00"),
    ],
)
def test_unreadable_properties_keep_their_bytes_around_it(before: bytes, after: bytes) -> None:
    assert decoded(before) is None
    assert with_headers(before, {"x-delivery-count": 2}) == after
    message = Message("x", "k", before, b"body", 2)
    assert message.delivered_properties() == after
    assert b"x-death" in message.dead_lettered("q", "rejected").properties or before == after


async def test_a_full_queue_refuses_what_is_published(broker: LoopbackBroker) -> None:
    async with aiormq.connect(broker.url) as connection:
        channel = await connection.channel()
        limits: FieldTable = {"x-max-length": 1, "x-overflow": "reject-publish"}
        await channel.queue_declare("q", durable=True, arguments=limits)
        await channel.basic_publish(b"1", routing_key="q")
        with pytest.raises(DeliveryError):
            await channel.basic_publish(b"2", routing_key="q")
        assert (await channel.basic_get("q", no_ack=True)).body == b"1"
        await channel.basic_publish(b"3", routing_key="q")
