"""What settings an endpoint may have: validated here only, whichever interface the request came through."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final

from service.core.endpoints.auth import (
    HIDDEN,
    AuthRefused,
    CertificateReader,
    ClientCertificate,
    OAuth2,
    read_auth,
)
from service.core.endpoints.caps import NO_CAPS, Caps
from service.core.endpoints.custom_headers import canonical_name, judge_headers, judge_signature_header
from service.core.endpoints.filter.filter import FilterRefused, parse_filter
from service.core.endpoints.filter.path import read_path
from service.core.endpoints.order import ORDER_WAIT_SECONDS_MAX, ORDER_WAIT_SECONDS_MIN
from service.core.endpoints.refusals import InvalidWish
from service.core.endpoints.retry_schedule import RetrySchedule, read_retry
from service.core.endpoints.settings import (
    STYLE_WITH_HEADER,
    EndpointSettings,
    EndpointWish,
    GrantedWish,
    merged,
    signing_of,
    with_whole_objects,
)
from service.core.endpoints.signing.secret import secret_problem
from service.core.endpoints.signing.signing import Signing, clash, is_of_key_pairs, overlap_problem
from service.core.endpoints.target_policy import EgressPolicy, TargetRefused, coded
from service.core.endpoints.url import is_masked, masked_url
from service.core.events.registry import BUILT_IN, is_subscribable
from service.core.field_code import FieldCode, FieldSentence
from service.core.suggestion import did_you_mean

EVENT_TYPES_MAX: Final = 100
DESCRIPTION_CHARACTERS_MAX: Final = 500
METADATA_MAX: Final = 50
METADATA_NAME_CHARACTERS_MAX: Final = 64
METADATA_VALUE_CHARACTERS_MAX: Final = 512
RATE_LIMIT_PER_SECOND_MIN: Final = 0.001
RATE_LIMIT_PER_SECOND_MAX: Final = 1_000
MAX_IN_FLIGHT_MAX: Final = 1_000

Problem = tuple[str, str]
"""The path of a field, such as ``event_types[2]``, and a sentence about it."""


@dataclass(frozen=True, slots=True)
class EndpointRules:
    """What the service allows any endpoint.

    ``schedule`` is the service's own. Its age limit bounds an endpoint's schedule, as ``timeout_seconds_max`` bounds
    its timeout. ``caps`` are for all endpoints of an organization together, and looked at when they are written.
    """

    egress_policy: EgressPolicy
    schedule: RetrySchedule
    timeout_seconds_max: float
    read_certificate: CertificateReader
    caps: Caps = NO_CAPS

    def judge(
        self,
        wish: EndpointWish,
        before: EndpointSettings,
        own_event_types: Collection[str],
        former: Collection[Signing] | None = None,
        *,
        now: datetime,
    ) -> GrantedWish | InvalidWish:
        """``before`` with the wish applied, or every problem with it, by the path of the field.

        ``former`` is how older secrets sign that keep a style which the endpoint has left; None: it is a new endpoint.
        ``now`` is the database's clock, by which endpoints expire.
        """
        if _keeps_url(wish.given, before):
            wish = replace(wish, given={name: value for name, value in wish.given.items() if name != "url"})
        wish = with_whole_objects(wish, before)
        problems = {path: list(sentences) for path, sentences in wish.unreadable.items()}
        for path, sentence in self._problems(wish.given, before, own_event_types):
            problems.setdefault(path, []).append(sentence)
        if former is not None and not problems.keys() & {"signature_style", "signature_header", "overlap_seconds"}:
            for path, sentence in _style_problems(wish.given, before, former):
                problems.setdefault(path, []).append(sentence)
        valid_until = wish.given.get("valid_until")
        if valid_until is not None and valid_until <= now and valid_until != before.valid_until:
            problems.setdefault("valid_until", []).append(_beyond("must be in the future"))
        auth = None
        if wish.given.get("auth") is not None:
            auth = read_auth(wish.given["auth"], before.auth, self.egress_policy, self.read_certificate)
            if isinstance(auth, AuthRefused):
                for path, sentence in auth.problems.items():
                    problems.setdefault(f"auth.{path}" if path else "auth", []).append(sentence)
        after = auth if "auth" in wish.given else before.auth
        url = wish.given.get("url", before.url)
        if isinstance(after, ClientCertificate) and not url.lower().startswith("https://"):
            path = "auth" if "auth" in wish.given else "url"
            problems.setdefault(path, []).append(_refused("a client certificate needs a URL that starts with https://"))
        if problems:
            return InvalidWish(problems)
        settings = {name: value for name, value in wish.given.items() if name not in {"secret", "overlap_seconds"}}
        if auth is not None:
            settings["auth"] = auth
        overlap_seconds = wish.given.get("overlap_seconds")
        overlap = None if overlap_seconds is None else timedelta(seconds=overlap_seconds)
        return GrantedWish(merged(settings, before), wish.given.get("secret"), overlap)

    def _problems(
        self, given: Mapping[str, Any], before: EndpointSettings, own_event_types: Collection[str]
    ) -> Iterator[Problem]:
        if "url" in given:
            judged = self.egress_policy.judge_url(given["url"])
            if isinstance(judged, TargetRefused):
                yield "url", coded(judged)
        if "event_types" in given:
            yield from _event_type_problems(given["event_types"], own_event_types)
        if len(given.get("description") or "") > DESCRIPTION_CHARACTERS_MAX:
            yield "description", _beyond(f"must be at most {DESCRIPTION_CHARACTERS_MAX} characters long")
        yield from _metadata_problems(given.get("metadata") or {})
        yield from _header_problems(given, before)
        yield from _signature_problems(given, before)
        yield from _authorization_problems(given, before)
        if given.get("filter") is not None:
            parsed = parse_filter(given["filter"])
            if isinstance(parsed, FilterRefused):
                yield from ((f"filter.{path}" if path else "filter", why) for path, why in parsed.problems.items())
        if given.get("retry") is not None:
            schedule = read_retry(given["retry"], self.schedule)
            if isinstance(schedule, str):
                yield "retry", FieldSentence(schedule, FieldCode.OUT_OF_RANGE)
        timeout_seconds = given.get("timeout_seconds")
        if timeout_seconds is not None and not 0 < timeout_seconds <= self.timeout_seconds_max:
            limits = f"must be above 0 and at most {self.timeout_seconds_max:g}, the service's limit"
            yield "timeout_seconds", _beyond(limits)
        yield from _limit_problems(given)
        yield from _order_problems(given)
        if given.get("secret") is not None:
            style = given.get("signature_style") or before.signature_style
            if why := secret_problem(given["secret"], style):
                yield "secret", FieldSentence(why, FieldCode.WRONG_FORM)


def _keeps_url(given: Mapping[str, Any], before: EndpointSettings) -> bool:
    """Whether the URL is given as lists show it, so that a caller can send back what it was shown."""
    return is_masked(given.get("url", "")) and given["url"] == masked_url(before.url)


def _beyond(sentence: str) -> FieldSentence:
    return FieldSentence(sentence, FieldCode.OUT_OF_RANGE)


def _twice(sentence: str) -> FieldSentence:
    return FieldSentence(sentence, FieldCode.REPEATED)


def _missing(sentence: str) -> FieldSentence:
    return FieldSentence(sentence, FieldCode.REQUIRED)


def _refused(sentence: str) -> FieldSentence:
    return FieldSentence(sentence, FieldCode.NOT_ALLOWED)


def _event_type_problems(event_types: Sequence[str], own_event_types: Collection[str]) -> Iterator[Problem]:
    if not 1 <= len(event_types) <= EVENT_TYPES_MAX:
        yield "event_types", _beyond(f"must name 1 to {EVENT_TYPES_MAX} event types")
        return
    unknown = [index for index, each in enumerate(event_types) if not is_subscribable(each, own_event_types)]
    for index in unknown:
        # Finding a suggestion is slow, so only the first unknown name gets one.
        hint = did_you_mean(event_types[index], {*BUILT_IN, *own_event_types}) if index == unknown[0] else ""
        sentence = f"{event_types[index][:80]!r} matches no event type{hint}"
        yield f"event_types[{index}]", FieldSentence(sentence, FieldCode.UNKNOWN_VALUE)


def _metadata_problems(metadata: Mapping[str, str]) -> Iterator[Problem]:
    if len(metadata) > METADATA_MAX:
        yield "metadata", _beyond(f"must have at most {METADATA_MAX} entries")
        return
    for name, value in metadata.items():
        if not 1 <= len(name) <= METADATA_NAME_CHARACTERS_MAX:
            yield f"metadata.{name}", _beyond(f"the name must be 1 to {METADATA_NAME_CHARACTERS_MAX} characters long")
        if len(value) > METADATA_VALUE_CHARACTERS_MAX:
            yield f"metadata.{name}", _beyond(f"must be at most {METADATA_VALUE_CHARACTERS_MAX} characters long")


def _limit_problems(given: Mapping[str, Any]) -> Iterator[Problem]:
    rate = given.get("rate_limit_per_second")
    if rate is not None and not RATE_LIMIT_PER_SECOND_MIN <= rate <= RATE_LIMIT_PER_SECOND_MAX:
        limits = f"must be {RATE_LIMIT_PER_SECOND_MIN:g} to {RATE_LIMIT_PER_SECOND_MAX:g}"
        yield "rate_limit_per_second", _beyond(limits)
    max_in_flight = given.get("max_in_flight")
    if max_in_flight is not None and not 1 <= max_in_flight <= MAX_IN_FLIGHT_MAX:
        yield "max_in_flight", _beyond(f"must be 1 to {MAX_IN_FLIGHT_MAX}")


def _order_problems(given: Mapping[str, Any]) -> Iterator[Problem]:
    order_by = given.get("order_by")
    if order_by is not None and isinstance(path := read_path(order_by), str):
        yield "order_by", FieldSentence(path, FieldCode.WRONG_FORM)
    wait_seconds = given.get("order_wait_seconds")
    if wait_seconds is not None and not ORDER_WAIT_SECONDS_MIN <= wait_seconds <= ORDER_WAIT_SECONDS_MAX:
        yield "order_wait_seconds", _beyond(f"must be {ORDER_WAIT_SECONDS_MIN} to {ORDER_WAIT_SECONDS_MAX}")


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
            yield f"headers.{name}", _missing("the stored headers cannot be decrypted; send every value again")
        else:
            yield f"headers.{name}", _missing(f"{HIDDEN} keeps a stored value, but this header has none; send one")


def _signature_problems(given: Mapping[str, Any], before: EndpointSettings) -> Iterator[Problem]:
    after = merged({name: given[name] for name in ("signature_style", "headers") if name in given}, before)
    asked = given.get("signature_header")
    if asked is not None:
        if after.signature_style != STYLE_WITH_HEADER:
            yield "signature_header", _refused(f"is only allowed with the signature_style {STYLE_WITH_HEADER!r}")
        if why := judge_signature_header(asked):
            yield "signature_header", why
    signed_in = asked or after.signature_header
    for name in after.headers or ():
        if signed_in and canonical_name(name) == canonical_name(signed_in):
            yield (
                ("signature_header" if asked else f"headers.{name}"),
                _twice("the signature and a custom header cannot have the same name"),
            )


def _style_problems(
    given: Mapping[str, Any], before: EndpointSettings, former: Collection[Signing]
) -> Iterator[Problem]:
    asked = {name: given[name] for name in ("signature_style", "signature_header") if name in given}
    after = signing_of(merged(asked, before))
    overlap_seconds, was = given.get("overlap_seconds"), signing_of(before)
    if after.style == was.style:
        if overlap_seconds is not None:
            sentence = "is for a change of signature_style; rotate-secret gives a new secret without one"
            yield "overlap_seconds", _refused(sentence)
    elif overlap_seconds:
        if why := overlap_problem(was, after):
            yield "overlap_seconds", _refused(why)
    elif overlap_seconds is None and (is_of_key_pairs(was) or is_of_key_pairs(after)):
        yield "overlap_seconds", _missing(_needed_between(was.style, after.style))
    if overlap_seconds == 0:
        return  # the older secrets end
    for each in former:
        if after != was and (why := clash(after, each)):
            field = "signature_header" if "signature_header" in given else "signature_style"
            yield field, _refused(f"{why} as long as an older secret does")


def _needed_between(was: str, after: str) -> str:
    return (
        f"{was!r} and {after!r} cannot share a secret: say for how many seconds the older ones also sign beside the "
        "new one (0: they end at once)"
    )


def _authorization_problems(given: Mapping[str, Any], before: EndpointSettings) -> Iterator[Problem]:
    headers = given.get("headers", before.headers)
    has_token = given["auth"] is not None if "auth" in given else isinstance(before.auth, OAuth2)
    if has_token and any(canonical_name(name) == "authorization" for name in headers or ()):
        yield (
            ("auth" if "auth" in given else "headers.Authorization"),
            _twice("the token is sent as Authorization, which cannot be a custom header, too"),
        )
