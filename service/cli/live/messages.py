"""Server-sent events, read as they come: https://html.spec.whatwg.org/multipage/server-sent-events.html."""

from collections.abc import Iterator
from typing import Final, NamedTuple

MESSAGE_BYTES_MAX: Final = 8 * 1024 * 1024
"""More than any event's; whoever sends more is no stream of ours."""

COMMENT: Final = ""
"""The kind of a message that only shows that the stream lives."""


class Message(NamedTuple):
    """One message. ``cursor`` is the last id that was sent, with it or before."""

    kind: str
    data: bytes
    cursor: str


class MessageReader:
    """Turns the bytes of one stream into messages. A stream that ends within a message has not sent it."""

    def __init__(self, cursor: str = "") -> None:
        self.cursor = cursor
        self._rest = bytearray()
        self._kind = COMMENT
        self._data: list[bytes] = []

    def feed(self, chunk: bytes) -> Iterator[Message]:
        """The messages that end in the chunk. Raises ValueError for one without end."""
        self._rest += chunk
        begin = 0
        while (end := self._rest.find(b"\n", begin)) >= 0:
            line = bytes(self._rest[begin:end]).removesuffix(b"\r")
            begin = end + 1
            if message := self._take(line):
                yield message
        del self._rest[:begin]
        if len(self._rest) + sum(map(len, self._data)) > MESSAGE_BYTES_MAX:
            raise ValueError(f"a message of more than {MESSAGE_BYTES_MAX} bytes")

    def _take(self, line: bytes) -> Message | None:
        if not line:
            message = Message(self._kind if self._data else COMMENT, b"\n".join(self._data), self.cursor)
            self._kind, self._data = COMMENT, []
            return message
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        match name:
            case b"event":
                self._kind = value.decode(errors="replace")
            case b"data":
                self._data.append(value)
            case b"id" if b"\0" not in value:
                self.cursor = value.decode(errors="replace")
        return None
