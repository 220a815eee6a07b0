"""Find the signature headers in whatever form a framework provides headers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Protocol, Union, runtime_checkable

from webhook_signature.errors import VerificationError

if TYPE_CHECKING:
    from collections.abc import Sequence


@runtime_checkable
class HasItems(Protocol):
    """A mapping, or a multi-mapping: ``items()`` yields each name with a value, repeated headers repeatedly."""

    def items(self) -> Iterable[tuple[object, object]]:
        """Return the (name, value) pairs."""
        ...


Headers = Union[HasItems, Iterable[tuple[object, object]]]
"""A mapping, a list of pairs, ASGI's byte pairs, or a WSGI environ (``HTTP_WEBHOOK_ID``); names in any case."""


def pick(headers: Headers, names: Sequence[str]) -> dict[str, str]:
    """Return the value of each header in ``names`` (lower case), all of which must occur exactly once.

    Raises VerificationError: missing_header, or bad_header when one occurs twice or is not text.
    """
    found = _collect(headers, names)
    return {name: _only(name, found[name]) for name in names}


def _collect(headers: Headers, names: Sequence[str]) -> dict[str, list[object]]:
    spellings = {name: name for name in names}
    # WSGI servers join a repeated header with a comma, which every check of a value rejects.
    spellings.update({"HTTP_" + name.upper().replace("-", "_"): name for name in names})
    found: dict[str, list[object]] = {name: [] for name in names}
    try:
        for name, value in headers.items() if isinstance(headers, HasItems) else headers:
            text = _text(name)
            # ASCII only: str.lower() maps a few other letters to ASCII (the Kelvin sign becomes "k").
            if text is None or not text.isascii():
                continue
            known = spellings.get(text) or spellings.get(text.lower())
            if known is not None and value is not None:  # None comes from a failed .get()
                found[known].append(value)
    except Exception as error:
        # Only one error type may be raised, whatever a caller or a lazy mapping passes in.
        raise VerificationError("bad_header", "the headers cannot be read as name and value pairs") from error
    return found


def _only(name: str, values: Sequence[object]) -> str:
    if not values:
        raise VerificationError("missing_header", f"the {name} header is missing")
    if len(values) > 1:
        raise VerificationError("bad_header", f"the {name} header appears more than once")
    text = _text(values[0])
    if text is None:
        raise VerificationError("bad_header", f"the {name} header is not text")
    return text


def _text(value: object) -> str | None:
    if isinstance(value, str):
        return value
    if isinstance(value, bytes):
        return value.decode("latin-1")  # how HTTP defines header bytes; it never fails
    return None
