"""Numbers in sentences."""


def count_of(count: int, noun: str, plural: str | None = None) -> str:
    """``1 endpoint``, ``2 endpoints``. Pass ``plural`` where adding an s is not enough."""
    return f"{count} {noun}" if count == 1 else f"{count} {plural or noun + 's'}"


def signed_seconds(seconds: float) -> str:
    """``+0.012 s``, to the millisecond; ``0.000 s``, without a sign, when it rounds to zero."""
    rounded = round(seconds, 3)
    return f"{rounded:+.3f} s" if rounded else "0.000 s"


def duration(milliseconds: float | None) -> str:
    """How long something took: "96 ms", "15.0 s", "2 min 15", "3 h 05", "2 d 4 h"; "" for None."""
    if milliseconds is None:
        return ""
    if round(milliseconds) < 1000:  # noqa: PLR2004 - milliseconds in a second
        return f"{milliseconds:.0f} ms"
    seconds = milliseconds / 1000
    if round(seconds, 1) < 60:  # noqa: PLR2004 - of a minute
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:  # noqa: PLR2004 - of an hour
        return f"{minutes} min {rest:02d}" if rest else f"{minutes} min"
    hours, minutes = divmod(round(seconds / 60), 60)
    if hours < 48:  # noqa: PLR2004 - where an hour more or less is still of interest
        return f"{hours} h {minutes:02d}"
    days, hours = divmod(round(seconds / 3600), 24)
    return f"{days} d {hours} h"
