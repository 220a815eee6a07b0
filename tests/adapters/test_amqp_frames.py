"""Messages are taken out of what the broker sends, wherever the network divides it; aiormq gets the rest, unchanged."""

import asyncio
import struct
import tracemalloc
from contextlib import suppress

import pytest
from aiormq.exceptions import ProtocolSyntaxError
from hypothesis import given
from hypothesis import strategies as st
from pamqp import frame
from pamqp.commands import Basic, Queue
from pamqp.heartbeat import Heartbeat

from service.adapters.rabbitmq import frames
from service.adapters.rabbitmq.delivery import Delivery, Messages
from service.adapters.rabbitmq.frames import HEARTBEAT, FrameReader
from service.core.events.event import BODY_BYTES_MAX
from service.core.reason import ParkReason
from tests.contract.raw_producer import BODY, HEADER, METHOD, raw_frame

OTHERS = (
    Heartbeat.marshal(),
    frame.marshal(Queue.DeclareOk("q", 1, 1), 1),
    frame.marshal(Basic.Ack(3), 2),
    frame.marshal(Basic.Cancel("tag", nowait=True), 1),
)


def deliver(tag: int, routing_key: bytes = b"k") -> bytes:
    names = (b"", bytes([len(routing_key)]) + routing_key)
    return struct.pack(">HHBQB", 60, 60, 0, tag, 0) + b"\x00" + b"".join(names)


def message(
    tag: int, body: bytes, *, properties: bytes = b"\x00\x00", size: int | None = None, piece: int = 700
) -> bytes:
    header = struct.pack(">HHQ", 60, 0, len(body) if size is None else size) + properties
    pieces = [raw_frame(BODY, body[at : at + piece]) for at in range(0, len(body), piece)]
    return raw_frame(METHOD, deliver(tag)) + raw_frame(HEADER, header) + b"".join(pieces)


class Conversation:
    """A FrameReader that is fed by hand."""

    def __init__(self) -> None:
        self.stream = asyncio.StreamReader()
        self.taken: list[Delivery] = []
        self.returned_count = 0
        self.reader = FrameReader(self.stream, Messages(self.taken.append, self._returned))

    def _returned(self) -> None:
        self.returned_count += 1

    async def all_passed(self) -> bytes:
        """Everything that aiormq gets, until the end."""
        passed = b""
        while True:
            try:
                passed += await self.reader.readexactly(1)
            except asyncio.IncompleteReadError:
                assert self.reader.at_eof()
                return passed

    async def hear(self, *chunks: bytes) -> bytes:
        for chunk in chunks:
            self.stream.feed_data(chunk)
        self.stream.feed_eof()
        return await self.all_passed()


@given(st.data())
def test_wherever_the_stream_is_cut_messages_are_whole_and_other_frames_untouched(data: st.DataObject) -> None:
    bodies = data.draw(st.lists(st.binary(max_size=2000), max_size=4))
    stream, others = b"", b""
    for tag, body in enumerate(bodies, 1):
        before = data.draw(st.sampled_from((b"", *OTHERS)))
        whole = message(tag, body)
        heartbeat_at = data.draw(st.sampled_from((0, len(raw_frame(METHOD, deliver(tag))))))  # between its frames, too
        heartbeat = data.draw(st.sampled_from((b"", Heartbeat.marshal())))
        stream += before + whole[:heartbeat_at] + heartbeat + whole[heartbeat_at:]
        others += before + heartbeat
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=12)))
    chunks = [stream[start:end] for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)]

    async def talk() -> None:
        conversation = Conversation()
        passed = b""
        for chunk in chunks:  # fed one by one, so that the reader meets every cut
            conversation.stream.feed_data(chunk)
            while len(passed) < len(others) and chunk is not chunks[-1]:
                try:
                    async with asyncio.timeout(0):
                        passed += await conversation.reader.readexactly(1)
                except TimeoutError:
                    break
        conversation.stream.feed_eof()
        passed += await conversation.all_passed()
        assert passed.replace(HEARTBEAT, b"") == others.replace(HEARTBEAT, b"")
        assert [(each.tag, each.body, each.fault) for each in conversation.taken] == [
            (number, body, None) for number, body in enumerate(bodies, 1)
        ]

    asyncio.run(talk())


@given(st.binary(max_size=400))
def test_no_bytes_of_the_broker_raise_anything_but_a_broken_protocol(stream: bytes) -> None:
    async def talk() -> None:
        with suppress(ProtocolSyntaxError):
            await Conversation().hear(message(1, b"x")[:30], stream)

    asyncio.run(talk())


@given(st.binary(max_size=300), st.binary(max_size=40))
def test_no_bytes_of_a_producer_stop_the_stream(properties: bytes, routing_key: bytes) -> None:
    async def talk() -> None:
        conversation = Conversation()
        header = raw_frame(HEADER, struct.pack(">HHQ", 60, 0, 0) + properties)
        await conversation.hear(raw_frame(METHOD, deliver(1, routing_key)) + header, message(2, b"good"))
        first, second = conversation.taken
        assert first.fault is None or first.fault.reason is ParkReason.BAD_PROPERTIES
        assert (second.body, second.fault) == (b"good", None)

    asyncio.run(talk())


@pytest.mark.parametrize(
    "stream",
    [
        message(1, b"abc", size=2),  # more than it said
        message(1, b"abc", size=4) + message(2, b"x"),  # less than it said
        raw_frame(METHOD, deliver(1)) + raw_frame(BODY, b"x"),  # without a header
        raw_frame(METHOD, deliver(1)) + raw_frame(HEADER, b"\x00\x3c"),
        raw_frame(METHOD, deliver(1)[:12]) + raw_frame(HEADER, struct.pack(">HHQH", 60, 0, 0, 0)),
        raw_frame(METHOD, deliver(1)) + raw_frame(METHOD, deliver(2), channel=2),
        raw_frame(METHOD, b"x" * (frames.ODD_FRAME_BYTES_MAX + 1)),
        OTHERS[1][:-1] + b"\x00",
    ],
)
async def test_a_broker_that_breaks_the_protocol_is_left(stream: bytes) -> None:
    with pytest.raises(ProtocolSyntaxError):
        await Conversation().hear(stream)


async def test_a_frame_to_which_the_broker_has_added_a_header_is_read() -> None:
    """What filled its frame when it was published does not fit any more when RabbitMQ sends it again."""
    conversation = Conversation()
    headers = b"\x01h" + b"S" + struct.pack(">I", frames.FRAME_BYTES_MAX) + b"x" * frames.FRAME_BYTES_MAX
    properties = struct.pack(">HI", 0x2000, len(headers)) + headers
    await conversation.hear(message(1, b"body", properties=properties) + message(2, b"next"))
    assert [each.body for each in conversation.taken] == [b"body", b"next"]


async def test_what_is_too_large_is_never_held() -> None:
    conversation = Conversation()
    size = 15 * 1024 * 1024
    body_frame = raw_frame(BODY, bytes(128_000))
    conversation.stream.feed_data(
        raw_frame(METHOD, deliver(1)) + raw_frame(HEADER, struct.pack(">HHQH", 60, 0, size, 0))
    )
    reading = asyncio.create_task(conversation.all_passed())
    tracemalloc.start()
    try:
        for _ in range(size // 128_000):
            conversation.stream.feed_data(body_frame)
            await asyncio.sleep(0)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    conversation.stream.feed_data(
        raw_frame(BODY, bytes(size % 128_000)) + message(2, bytes(BODY_BYTES_MAX), piece=130_000)
    )
    conversation.stream.feed_eof()
    await reading
    large, largest = conversation.taken
    assert (large.body, large.body_size, large.is_too_large) == (b"", size, True)
    assert large.fault is not None
    assert large.fault.reason is ParkReason.TOO_LARGE
    assert (len(largest.body), largest.fault) == (BODY_BYTES_MAX, None)
    assert peak_bytes < 2 * 1024 * 1024


async def test_a_returned_message_is_counted_and_left_out() -> None:
    conversation = Conversation()
    returned = struct.pack(">HHHB", 60, 50, 312, 0) + b"\x00\x01k"
    header = struct.pack(">HHQ", 60, 0, 3) + b"\x00\x80\x01\xff"
    stream = raw_frame(METHOD, returned) + raw_frame(HEADER, header) + raw_frame(BODY, b"abc") + OTHERS[2]
    assert await conversation.hear(stream) == OTHERS[2]
    assert (conversation.returned_count, conversation.taken) == (1, [])


async def test_aiormq_gets_a_sign_of_life_while_nothing_but_messages_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frames, "SIGN_OF_LIFE_SECONDS", -1.0)
    assert await Conversation().hear(message(1, b"x")) == HEARTBEAT
