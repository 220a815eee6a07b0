"""The settings of an endpoint as a form: its fields have the names of the API's, and keep what was typed."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from service.web.page import Form
from service.web.pages.endpoints.auth import UNREADABLE, AuthForm
from service.web.pages.endpoints.clauses import OPERATORS, Row, filter_of, rows_of

HIDDEN: Final = "***"
ROWS_MAX: Final = 50
CUSTOM: Final = "custom"
"""The choice of a list of delays, instead of a preset."""

_NUMBERS: Final = (
    "timeout_seconds",
    "rate_limit_per_second",
    "max_in_flight",
    "order_wait_seconds",
)
_FIELD: Final = re.compile(r"([^.\[]*)[.]?(.*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class EndpointForm:
    """What is, or was, typed. Texts are as they stand in their fields; "" is a field left empty."""

    url: str = ""
    description: str = ""
    event_types: frozenset[str] = frozenset()
    signature_style: str = "standard"
    signature_header: str = ""
    overlap_seconds: str = ""
    rows: Sequence[Row] | None = ()
    filter_json: str = ""
    """The filter as JSON, where ``rows`` is None."""
    retry: str = ""
    delays: str = ""
    headers: Sequence[tuple[str, str]] | None = ()
    numbers: Mapping[str, str] = field(default_factory=lambda: dict.fromkeys(_NUMBERS, ""))
    order_by: str = ""
    valid_until: str = ""
    """A time in UTC, as a browser's field has it."""
    auth: AuthForm = field(default_factory=AuthForm)
    metadata: Sequence[tuple[str, str]] = ()

    @classmethod
    def of_endpoint(cls, shown: Mapping[str, Any], *, as_json: bool = False) -> "EndpointForm":
        """What an endpoint has."""
        rows = None if as_json else rows_of(shown["filter"])
        retry, headers = shown["retry"], shown["headers"]
        return cls(
            url=shown["url"],
            description=shown["description"],
            event_types=frozenset(shown["event_types"]),
            signature_style=shown["signature_style"],
            signature_header=shown["signature_header"] or "",
            rows=rows,
            filter_json=json.dumps(shown["filter"], indent=2, ensure_ascii=False) if shown["filter"] else "",
            retry=CUSTOM if isinstance(retry, list) else retry or "",
            delays=", ".join(f"{each:g}" for each in retry) if isinstance(retry, list) else "",
            headers=None if headers is None else tuple(headers.items()),
            numbers={name: "" if shown[name] is None else f"{shown[name]:g}" for name in _NUMBERS},
            order_by=shown["order_by"] or "",
            valid_until=(shown["valid_until"] or "")[:16],
            auth=AuthForm.of_shown(shown["auth"]),
            metadata=tuple(shown["metadata"].items()),
        )

    @classmethod
    def of_form(cls, form: Form) -> "EndpointForm":
        """What was typed."""
        columns = zip(form.all("path"), form.all("operator"), form.all("values"), strict=False)
        rows = tuple(Row(path.strip(), operator, values.strip()) for path, operator, values in columns)
        return cls(
            url=form.get("url"),
            description=form.get("description"),
            event_types=frozenset(form.all("event_types")),
            signature_style=form.get("signature_style") or "standard",
            signature_header=form.get("signature_header"),
            overlap_seconds=form.get("overlap_seconds"),
            rows=None if "filter_json" in form else _typed(rows),
            filter_json=form.get("filter_json"),
            retry=form.get("retry"),
            delays=form.get("delays"),
            headers=_pairs(form, "header"),
            numbers={name: form.get(name) for name in _NUMBERS},
            order_by=form.get("order_by"),
            valid_until=form.get("valid_until"),
            auth=AuthForm.of_form(form),
            metadata=_pairs(form, "metadata"),
        )

    def body(self, known: Mapping[str, Any] | None = None) -> tuple[dict[str, Any], dict[str, list[str]]]:
        """The request's body, and what is wrong with what was typed, by field.

        With what is ``known`` of an endpoint, its filter is left as it is if no row was touched, and headers that
        cannot be decrypted stay.
        """
        errors = dict[str, list[str]]()
        found: dict[str, Any] = {
            "url": self.url,
            "description": self.description,
            "event_types": sorted(self.event_types),
            "signature_style": self.signature_style,
            "signature_header": self.signature_header or None,
            "retry": self._retry(),
            "headers": dict(self.headers or ()),
            "order_by": self.order_by or None,
            "auth": self.auth.body(),
            "metadata": self._metadata(known),
            **{name: _number(text) if text else None for name, text in self.numbers.items()},
        }
        if known is None or self.rows is None or self.rows != rows_of(known["filter"]):
            wanted = self._filter()
            if isinstance(wanted, str):
                errors["filter"] = [wanted]
            else:
                found["filter"] = wanted
        if known is None or self.valid_until != (known["valid_until"] or "")[:16]:  # to the minute, which loses seconds
            found["valid_until"] = in_utc(self.valid_until) or None
        if known is not None and known["headers"] is None and not self.headers:
            del found["headers"]
        if known is not None and self.auth.type == UNREADABLE:
            del found["auth"]  # it stays as it is
        if known is not None and self.overlap_seconds and self.signature_style != known["signature_style"]:
            found["overlap_seconds"] = _number(self.overlap_seconds)
        return found, errors

    def _metadata(self, known: Mapping[str, Any] | None) -> Mapping[str, str | None]:
        """A change merges key by key, so that null says which are to go."""
        given = dict(self.metadata)
        return {**dict.fromkeys(known["metadata"].keys() - given.keys() if known else ()), **given}

    def _retry(self) -> object:
        if self.retry != CUSTOM:
            return self.retry or None
        return [_number(each.strip()) for each in self.delays.split(",") if each.strip()]

    def _filter(self) -> Mapping[str, Any] | str | None:
        if self.rows is not None:
            return filter_of(self.rows)
        if not self.filter_json:
            return None
        try:
            read = json.loads(self.filter_json)
        except (ValueError, RecursionError):
            return "this is not JSON"
        return read if isinstance(read, dict) else "must be an object with 'scope' and 'match'"


def by_field(errors: Mapping[str, Iterable[str]]) -> dict[str, list[str]]:
    """The API's sentences by the form's fields: what is about a part of one names the part first."""
    found = dict[str, list[str]]()
    for path, sentences in errors.items():
        matched = _FIELD.fullmatch(path)
        name, part = (matched[1], matched[2].removesuffix("]")) if matched else (path, "")
        is_of_type = name == "event_types"  # its number says nothing, and the sentence names the type
        found.setdefault(name, []).extend(f"{part}: {each}" if part and not is_of_type else each for each in sentences)
    return found


def _pairs(form: Form, what: str) -> Sequence[tuple[str, str]]:
    """The rows of names and values; one without a name is not there."""
    rows = zip(form.all(f"{what}_name"), form.all(f"{what}_value"), strict=False)
    return tuple((name.strip(), value.strip()) for name, value in rows if name.strip())


def _typed(rows: Iterable[Row]) -> Sequence[Row]:
    """Without the rows that are offered empty."""
    return tuple(each for each in rows if each.operator in OPERATORS and (each.path or each.values))


def in_utc(text: str) -> str:
    """What a browser's field for a time has, which names no offset, as an instant; what is none stays as it is."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return text  # the API says what is wrong with it
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).isoformat()


def _number(text: str) -> int | float | str:
    """The number; what is none stays text, of which the API says what is wrong."""
    for read in (int, float):
        try:
            value = read(text)
        except ValueError:
            continue
        if abs(value) < 1e15:  # noqa: PLR2004 - beyond any limit, and an infinity has no JSON
            return value
    return text
