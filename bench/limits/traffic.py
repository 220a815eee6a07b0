"""Publishes several streams of events at once, each on a schedule of its own.

It runs in its own process, controlled by ``Orders`` in a file. It prints ``ready``, waits for a line, publishes, and
writes a ``Sent`` to a file. The wire is the benchmark's.
"""

import heapq
import sys
import time
from array import array
from collections.abc import Iterator
from itertools import starmap
from pathlib import Path

import msgspec

from bench.limits.messages import event_message
from bench.publisher import UNCONFIRMED_MAX, Wire

CHUNK_MAX = 100  # events in one write
CHUNK_BYTES_MAX = 4 << 20


class Stream(msgspec.Struct, frozen=True):
    """Events of some organizations, in turn: ``count`` of them at ``rate`` per second, or at once if that is 0.

    They begin ``after_seconds``, are numbered from ``first``, and each is at least ``size_bytes`` large.
    """

    first: int
    count: int
    organizations: list[str]
    rate: float = 0
    after_seconds: float = 0
    size_bytes: int = 0
    poison: str = ""  # what is wrong with their messages, if anything

    @property
    def numbers(self) -> range:
        """The numbers of its events."""
        return range(self.first, self.first + self.count)


class Orders(msgspec.Struct, frozen=True):
    """What to publish, and where."""

    amqp_url: str
    exchange: str
    sent: str  # a path
    streams: list[Stream]


class Sent(msgspec.Struct, frozen=True):
    """What was published: int64 each. It exists only if the broker confirmed everything."""

    numbers: bytes
    at_ns: bytes  # wall clock just before the write
    late_p99_ms: float  # how far behind the schedule the writes were

    def by_number(self) -> dict[int, int]:
        """When each event was published, in nanoseconds."""
        return dict(zip(array("q", self.numbers), array("q", self.at_ns), strict=True))


class Publisher:
    """Carries out ``Orders``."""

    def __init__(self, orders: Orders) -> None:
        self._orders = orders
        self._wire = Wire(orders.amqp_url)
        self._numbers, self._at_ns, self._late_ms = array("q"), array("q"), array("d")

    def publish(self) -> Sent:
        """Publish everything on time, and wait until it is confirmed."""
        waiting: list[tuple[int, bytes]] = []
        waiting_bytes = 0
        started = time.monotonic()
        for due_seconds, stream, number in heapq.merge(*starmap(_schedule, enumerate(self._orders.streams))):
            ahead = started + due_seconds - time.monotonic()
            if waiting and (ahead > 0 or len(waiting) == CHUNK_MAX or waiting_bytes > CHUNK_BYTES_MAX):
                self._send(waiting)
                waiting, waiting_bytes = [], 0
                ahead = started + due_seconds - time.monotonic()
            while ahead > 0:
                self._wire.take_confirms(ahead)
                ahead = started + due_seconds - time.monotonic()
            self._late_ms.append(-ahead * 1e3)
            waiting.append((number, self._made(self._orders.streams[stream], number)))
            waiting_bytes += len(waiting[-1][1])
        self._send(waiting)
        while self._wire.unconfirmed:
            self._wire.take_confirms(10)
        late = sorted(self._late_ms) or [0.0]
        return Sent(self._numbers.tobytes(), self._at_ns.tobytes(), round(late[int(len(late) * 0.99)], 2))

    def _made(self, stream: Stream, number: int) -> bytes:
        organization = stream.organizations[number % len(stream.organizations)]
        return event_message(
            self._orders.exchange, number, organization, size_bytes=stream.size_bytes, poison=stream.poison
        )

    def _send(self, made: list[tuple[int, bytes]]) -> None:
        while self._wire.unconfirmed >= UNCONFIRMED_MAX:
            self._wire.take_confirms(10)
        self._numbers.extend(number for number, _ in made)
        self._at_ns.extend([time.time_ns()] * len(made))
        self._wire.send([frames for _, frames in made])
        self._wire.take_confirms(0)


def _schedule(index: int, stream: Stream) -> Iterator[tuple[float, int, int]]:
    """When each event is due, in seconds from the start; the stream's index; the event's number."""
    for position, number in enumerate(stream.numbers):
        yield stream.after_seconds + (position / stream.rate if stream.rate else 0), index, number


def main() -> None:
    """Carry out the ``Orders`` in the file that the argument names."""
    orders = msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=Orders)
    publisher = Publisher(orders)
    print("ready", flush=True)
    sys.stdin.readline()
    Path(orders.sent).write_bytes(msgspec.msgpack.encode(publisher.publish()))


if __name__ == "__main__":
    main()
