"""JSON from producers, written where a line break would end a message or a row."""

from typing import Final

_BREAKS_TO_SPACES: Final = bytes.maketrans(b"\r\n", b"  ")


def on_one_line(json: bytes) -> bytes:
    """The same JSON without line breaks: in valid JSON they stand between tokens only, never inside a string."""
    return json.translate(_BREAKS_TO_SPACES)
