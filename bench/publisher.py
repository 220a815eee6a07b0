"""A cheap and fair publisher: a fixed schedule, pipelined confirms, a ledger of what the broker confirmed.

It runs in its own process, controlled by ``Orders`` as JSON. It speaks AMQP over a plain socket with one loop: due
events are sent in one write, and confirms are counted by delivery tag as they arrive. It prints ``ready``, waits for a
line, publishes, and writes a ``Ledger`` to a file.
"""

import select
import socket
import struct
import sys
import time
from array import array
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import msgspec
from pamqp import body, commands, frame, header

from service.core.events.sample import sample_event

EVENT_TYPE = "message.sent"
UNCONFIRMED_MAX = 1_000
CHUNK_MAX = 100  # events in one write
DEPTH_SECONDS = 0.05  # how often the queue's depth is read, to keep it filled
PERSISTENT = 2
_CONFIRM = struct.Struct(">BHIHHQBB")  # a whole frame: type, channel, size, class 60, method 80, tag, multiple, end
_IS_ACK = (1, 1, 13, 60, 80)


class Orders(msgspec.Struct, frozen=True):
    """What to publish. ``rate`` or ``seconds`` may be given; with neither, everything is published at once."""

    amqp_url: str
    exchange: str
    queue: str
    ledger: str  # a path
    organizations: list[str]
    events: int = 0
    rate: float = 0  # events per second
    seconds: float = 0  # how long to keep ``depth`` messages in the queue
    depth: int = 0


class Ledger(msgspec.Struct, frozen=True):
    """What was published. An event's number is its index in ``sent_ns``."""

    sent_ns: bytes  # int64 each: wall clock just before the write; a ledger exists only if all were confirmed
    cpu_seconds: float  # for publishing only
    late_p99_ms: float  # how far behind the schedule the writes were

    @property
    def events(self) -> int:
        """How many events were published."""
        return len(self.sent_ns) // 8


def event_id(number: int) -> str:
    """The id of event ``number``; the receiver extracts the number from it."""
    return f"evt_bench_{number:010d}"


class Wire:
    """A connection with one channel in confirm mode."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._socket = socket.create_connection((parts.hostname or "127.0.0.1", parts.port or 5672))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._received = b""
        self._is_confirmed = bytearray(1)  # by delivery tag, which starts at 1
        self._floor = 0  # all tags up to here are confirmed
        self.confirmed = 0
        login = f"\0{unquote(parts.username or 'guest')}\0{unquote(parts.password or 'guest')}"
        self._socket.sendall(header.ProtocolHeader().marshal())
        self._answer()
        self._ask(commands.Connection.StartOk({}, "PLAIN", login, "en_US"), channel=0)
        self._socket.sendall(frame.marshal(commands.Connection.TuneOk(1, 131_072, 0), 0))
        self._ask(commands.Connection.Open(unquote(parts.path[1:]) or "/"), channel=0)
        self._ask(commands.Channel.Open())
        self._ask(commands.Confirm.Select())

    @property
    def unconfirmed(self) -> int:
        """How many events were sent but not yet confirmed."""
        return len(self._is_confirmed) - 1 - self.confirmed

    def send(self, publications: list[bytes]) -> None:
        """Send complete publications in one write."""
        self._is_confirmed.extend(bytes(len(publications)))
        self._socket.sendall(b"".join(publications))

    def take_confirms(self, seconds: float) -> None:
        """Count the confirms that have arrived; wait at most ``seconds`` for the first one."""
        if not select.select([self._socket], [], [], seconds)[0]:
            return
        self._receive()
        while len(self._received) >= _CONFIRM.size:
            kind, channel, size, family, method, tag, multiple, _ = _CONFIRM.unpack_from(self._received)
            if (kind, channel, size, family, method) != _IS_ACK:  # a return, a nack, or the channel was closed
                raise SystemExit(f"not confirmed: {frame.unmarshal(self._received)[2]!r}")
            self._received = self._received[_CONFIRM.size :]
            self._confirm(tag, is_multiple=bool(multiple))

    def depth(self, queue: str) -> int:
        """How many messages wait in ``queue``."""
        found = self._ask(commands.Queue.Declare(queue=queue, passive=True))
        while isinstance(found, commands.Basic.Ack):
            self._confirm(found.delivery_tag or 0, is_multiple=bool(found.multiple))
            found = self._answer()
        if not isinstance(found, commands.Queue.DeclareOk):
            raise SystemExit(f"unexpected answer from the broker: {found!r}")
        return found.message_count or 0

    def _confirm(self, tag: int, *, is_multiple: bool) -> None:
        first = self._floor + 1 if is_multiple else tag
        self.confirmed += self._is_confirmed.count(0, first, tag + 1)
        self._is_confirmed[first : tag + 1] = b"\1" * (tag + 1 - first)
        if is_multiple or tag == self._floor + 1:
            self._floor = tag

    def close(self) -> None:
        """Close the connection, without a word."""
        self._socket.close()

    def ask_for_frame(self, command: Any) -> bytes:  # noqa: ANN401 - any of pamqp's commands
        """Send a command; returns the frame that answers it, as it is."""
        self._socket.sendall(frame.marshal(command, 1))
        return self.next_frame()

    def next_frame(self) -> bytes:
        """Wait for a frame; returns it as it is."""
        while True:  # a frame: 7 bytes, the last 4 of which are a size; that many bytes; 1 more
            if len(self._received) >= 7:  # noqa: PLR2004
                size = int.from_bytes(self._received[3:7]) + 8
                if len(self._received) >= size:
                    found, self._received = self._received[:size], self._received[size:]
                    return found
            self._receive()

    def _ask(self, command: Any, channel: int = 1) -> Any:  # noqa: ANN401
        self._socket.sendall(frame.marshal(command, channel))
        return self._answer()

    def _answer(self) -> Any:  # noqa: ANN401
        return frame.unmarshal(self.next_frame())[2]

    def _receive(self) -> None:
        data = self._socket.recv(262_144)
        if not data:
            raise SystemExit("the broker closed the publisher's connection")
        self._received += data


class Publisher:
    """Carries out ``Orders``, in the order of the events' numbers."""

    def __init__(self, orders: Orders) -> None:
        self._orders = orders
        self._wire = Wire(orders.amqp_url)
        self._method = frame.marshal(
            commands.Basic.Publish(exchange=orders.exchange, routing_key=EVENT_TYPE, mandatory=True), 1
        )
        self._headers: dict[int, bytes] = {}  # by the body's size: only the message id differs
        self._sent_ns = array("q")
        self._late_ms = array("d")

    def publication(self, number: int) -> bytes:
        """The three frames of one event."""
        names, name = self._orders.organizations, event_id(number)
        event = sample_event(
            EVENT_TYPE, names[number % len(names)], event_id=name, number=number, now=datetime.now(UTC)
        )
        head = self._headers.get(len(event)) or self._headers.setdefault(len(event), self._header(len(event)))
        head = head.replace(event_id(0).encode(), name.encode())
        return b"".join((self._method, head, frame.marshal(body.ContentBody(event), 1)))

    @staticmethod
    def _header(size: int) -> bytes:
        properties = commands.Basic.Properties(
            content_type="application/json",
            delivery_mode=PERSISTENT,
            message_id=event_id(0),
            message_type=EVENT_TYPE,
            app_id="bench",
        )
        return frame.marshal(header.ContentHeader(0, size, properties), 1)

    def publish(self) -> Ledger:
        """Publish everything ordered, and wait until it is confirmed."""
        if self._orders.rate:
            made = [self.publication(number) for number in range(self._orders.events)]
            self._say_ready()
            began = time.process_time()
            self._on_schedule(made)
        else:
            self._say_ready()
            began = time.process_time()
            self._keep_filled() if self._orders.seconds else self._send_new(self._orders.events)
        while self._wire.unconfirmed:
            self._wire.take_confirms(10)
        late = sorted(self._late_ms) or [0.0]
        return Ledger(self._sent_ns.tobytes(), time.process_time() - began, round(late[int(len(late) * 0.99)], 2))

    @staticmethod
    def _say_ready() -> None:
        print("ready", flush=True)
        sys.stdin.readline()

    def _on_schedule(self, made: list[bytes]) -> None:
        """Publish event n at n / rate seconds after the start; late events are sent together, at once."""
        every = 1 / self._orders.rate
        started = time.monotonic()
        sent = 0
        while sent < len(made):
            ahead = started + sent * every - time.monotonic()
            if ahead > 0:
                time.sleep(ahead)
            self._wire.take_confirms(0)
            due = min(len(made), int((time.monotonic() - started) / every) + 1, sent + UNCONFIRMED_MAX)
            for number in range(sent, due):
                self._late_ms.append((time.monotonic() - started - number * every) * 1e3)
            self._send(made[sent:due])
            sent = due

    def _keep_filled(self) -> None:
        """Keep refilling the queue to its depth."""
        ends_at = time.monotonic() + self._orders.seconds
        while time.monotonic() < ends_at:
            missing = self._orders.depth - self._wire.depth(self._orders.queue)
            if missing > 0:
                self._send_new(missing)
            time.sleep(DEPTH_SECONDS)

    def _send_new(self, count: int) -> None:
        first = len(self._sent_ns)
        for start in range(first, first + count, CHUNK_MAX):
            self._send([self.publication(number) for number in range(start, min(start + CHUNK_MAX, first + count))])
            self._wire.take_confirms(0)

    def _send(self, publications: list[bytes]) -> None:
        while self._wire.unconfirmed >= UNCONFIRMED_MAX:
            self._wire.take_confirms(10)
        self._sent_ns.extend([time.time_ns()] * len(publications))
        self._wire.send(publications)


def main() -> None:
    """Carry out the ``Orders`` in the argument."""
    orders = msgspec.json.decode(sys.argv[1], type=Orders)
    ledger = Publisher(orders).publish()
    Path(orders.ledger).write_bytes(msgspec.msgpack.encode(ledger))


if __name__ == "__main__":
    main()
