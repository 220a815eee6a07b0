"""Numbers in sentences."""


def count_of(count: int, noun: str, plural: str | None = None) -> str:
    """``1 endpoint``, ``2 endpoints``. Pass ``plural`` where adding an s is not enough."""
    return f"{count} {noun}" if count == 1 else f"{count} {plural or noun + 's'}"


def signed_seconds(seconds: float) -> str:
    """``+0.012 s``, to the millisecond; ``0.000 s``, without a sign, when it rounds to zero."""
    rounded = round(seconds, 3)
    return f"{rounded:+.3f} s" if rounded else "0.000 s"
