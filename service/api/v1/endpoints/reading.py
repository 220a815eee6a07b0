"""What a caller asks of an endpoint, read and judged: every error at once, whichever part of the core finds it."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import fields, replace
from typing import Any, Final

from pydantic import BaseModel
from pydantic_core import from_json

from service.api.errors import ApiError, invalid
from service.api.v1.endpoints.bodies import HIDDEN
from service.api.validation import parse_body
from service.core.endpoints.custom_headers import judge_headers, judge_signature_header
from service.core.endpoints.endpoint import EndpointSettings
from service.core.endpoints.filter import FilterRefused, parse_filter
from service.core.endpoints.retry_schedule import RetrySchedule, read_retry
from service.core.endpoints.target_policy import EgressPolicy, TargetRefused
from service.core.events.registry import is_subscribable
from webhook_signature import VerificationError
from webhook_signature.styles import style_named

NOTHING_ASKED: Final = EndpointSettings(url="", event_types=())
"""What a new endpoint starts from."""

# Their engine comes with a later release. Until then nobody shall believe that they hold.
_NOT_SUPPORTED: Final = ("rate_limit_per_second", "max_in_flight")
_WITH_HEADER: Final = "t-v1"
SECRET_CHARACTERS_MIN: Final = 16

Problem = tuple[str, str]
"""The path of a field, and a sentence about it."""


class SettingsReader:
    """Reads the bodies that make and change endpoints. ``timeout_seconds_max`` is the service's limit of an attempt."""

    def __init__(
        self, egress_policy: EgressPolicy, service_schedule: RetrySchedule, *, timeout_seconds_max: float
    ) -> None:
        self._egress_policy = egress_policy
        self._service_schedule = service_schedule
        self._timeout_seconds_max = timeout_seconds_max

    def read(
        self, model: type[BaseModel], body: bytes, before: EndpointSettings, own_event_types: Collection[str]
    ) -> tuple[EndpointSettings, str | None]:
        """``before`` with what the body asks for, and the secret it brings. Raises ``ApiError`` (400)."""
        given, errors = _parse(model, body)
        broken = {path.partition(".")[0].partition("[")[0] for path in errors}
        whole = {name: value for name, value in given.items() if name not in broken}
        for path, sentence in self._problems(whole, before, own_event_types):
            errors.setdefault(path, []).append(sentence)
        if errors:
            raise invalid("the request is not valid", errors)
        secret = whole.pop("secret", None)
        return _merged(whole, before), secret

    def _problems(
        self, given: Mapping[str, Any], before: EndpointSettings, own_event_types: Collection[str]
    ) -> Iterator[Problem]:
        if "url" in given:
            judged = self._egress_policy.judge_url(given["url"])
            if isinstance(judged, TargetRefused):
                yield "url", judged.sentence
        for index, event_type in enumerate(given.get("event_types", ())):
            if not is_subscribable(event_type, own_event_types):
                yield f"event_types[{index}]", "is no event type; GET /v1/event-types lists them, and `*` is all"
        yield from _header_problems(given, before)
        yield from _signature_problems(given, before)
        if given.get("filter") is not None:
            parsed = parse_filter(given["filter"])
            if isinstance(parsed, FilterRefused):
                yield from ((f"filter.{path}" if path else "filter", why) for path, why in parsed.problems.items())
        if given.get("retry") is not None:
            schedule = read_retry(given["retry"], self._service_schedule)
            if isinstance(schedule, str):
                yield "retry", schedule
        if (given.get("timeout_seconds") or 0) > self._timeout_seconds_max:
            yield "timeout_seconds", f"must be at most {self._timeout_seconds_max:g}, the service's limit"
        if given.get("secret") is not None:
            style = given.get("signature_style") or before.signature_style
            if why := secret_problem(given["secret"], style):
                yield "secret", why


def secret_problem(secret: str, style: str) -> str | None:
    """Why ``secret`` cannot sign in this style; None when it can."""
    try:
        style_named(style).decode_secret(secret)
    except VerificationError as error:
        return error.detail
    if len(secret) < SECRET_CHARACTERS_MIN:  # its last four characters are shown, to tell it from others
        return f"a secret has at least {SECRET_CHARACTERS_MIN} characters"
    return None


def _parse(model: type[BaseModel], body: bytes) -> tuple[dict[str, Any], dict[str, list[str]]]:
    """The body as it was written, and what the model finds wrong. Raises ``ApiError`` for what is no object at all."""
    errors: dict[str, list[str]] = {}
    try:
        parse_body(model, body)
    except ApiError as refused:
        if not refused.errors:
            raise
        errors = {path: list(sentences) for path, sentences in refused.errors.items()}
    for name in _NOT_SUPPORTED:
        if name in errors:
            errors[name] = ["is not supported by this release"]
    return from_json(body or b"{}"), errors


def _header_problems(given: Mapping[str, Any], before: EndpointSettings) -> Iterator[Problem]:
    headers = given.get("headers")
    if not headers:
        return
    for name, why in judge_headers(headers).items():
        yield f"headers.{name}" if name else "headers", why
    known = {name.lower() for name in before.headers or ()}
    for name, value in headers.items():
        if value != HIDDEN or name.lower() in known:
            continue
        if before.headers is None:
            yield f"headers.{name}", "the stored headers cannot be decrypted: send every value again"
        else:
            yield f"headers.{name}", f"{HIDDEN} keeps the value of a header that is stored; this one is not: send it"


def _signature_problems(given: Mapping[str, Any], before: EndpointSettings) -> Iterator[Problem]:
    after = _merged({name: given[name] for name in ("signature_style", "headers") if name in given}, before)
    asked = given.get("signature_header")
    if asked is not None:
        if after.signature_style != _WITH_HEADER:
            yield "signature_header", f"has a meaning only with the signature_style {_WITH_HEADER!r}"
        if why := judge_signature_header(asked):
            yield "signature_header", why
    signed_in = asked or after.signature_header
    for name in after.headers or ():
        if signed_in and name.lower() == signed_in.lower():
            yield (
                ("signature_header" if asked else f"headers.{name}"),
                "the signature and an extra header need two names",
            )


def _merged(given: Mapping[str, Any], before: EndpointSettings) -> EndpointSettings:
    """``before`` with what is given; null is the default, and ``***`` the value that a header has."""
    changes = {name: _DEFAULTS[name] if value is None else value for name, value in given.items()}
    if "event_types" in changes:
        changes["event_types"] = tuple(dict.fromkeys(changes["event_types"]))
    if "headers" in changes:
        kept = {name.lower(): value for name, value in (before.headers or {}).items()}
        changes["headers"] = {
            name: kept.get(name.lower(), value) if value == HIDDEN else value
            for name, value in changes["headers"].items()
        }
    after = replace(before, **changes)
    return after if after.signature_style == _WITH_HEADER else replace(after, signature_header=None)


_DEFAULTS: Final = {each.name: getattr(NOTHING_ASKED, each.name) for each in fields(EndpointSettings)}
