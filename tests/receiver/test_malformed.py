"""Whatever arrives: one typed error, in the documented order, that gives nothing away."""

from __future__ import annotations

import pickle
from email.message import Message
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from webhook_signature import REASONS, VerificationError, Webhook
from webhook_signature.styles import STYLES

if TYPE_CHECKING:
    from collections.abc import Iterator

SECRET = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
PRIVATE = "whsk_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
NOW = 1_700_000_000
BODY = b'{"a":1}'
WEBHOOK = Webhook([SECRET], now=lambda: NOW)
GOOD = WEBHOOK.sign("msg_a", NOW, BODY)
# A busy machine is no reason to fail: the limit on time is the whole test's.
FUZZ = settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def reason_of(body: Any, headers: Any, webhook: Webhook = WEBHOOK) -> str:
    with pytest.raises(VerificationError) as caught:
        webhook.verify(body, headers)
    return caught.value.reason


def webhook_of(style: str) -> Webhook:
    return Webhook([PRIVATE if STYLES[style].has_key_pair else SECRET], style=style, now=lambda: NOW)


class RaisingMapping:
    def items(self) -> Iterator[tuple[str, str]]:
        yield "webhook-id", "msg_a"
        raise ConnectionResetError


def _message() -> Message:
    message = Message()
    for name, value in GOOD.items():
        message[name] = value
    return message


@pytest.mark.parametrize(
    "headers",
    [
        GOOD,
        MappingProxyType(GOOD),
        {name.upper(): value for name, value in GOOD.items()},
        list(GOOD.items()),
        tuple([name, value] for name, value in GOOD.items()),
        iter(GOOD.items()),
        [(name.title().encode(), value.encode()) for name, value in GOOD.items()],
        {
            "REQUEST_METHOD": "POST",
            "wsgi.version": (1, 0),
            "wsgi.errors": object(),
            **{"HTTP_" + name.upper().replace("-", "_"): value for name, value in GOOD.items()},
        },
        _message(),
    ],
    ids=["mapping", "proxy", "upper case", "pairs", "lists", "iterator", "asgi", "wsgi", "http.server"],
)
def test_headers_in_every_form(headers: Any) -> None:
    assert WEBHOOK.verify(BODY, headers).id == "msg_a"


@pytest.mark.parametrize(
    ("headers", "reason"),
    [
        (None, "bad_header"),
        (7, "bad_header"),
        (GOOD["webhook-id"], "bad_header"),
        ([("webhook-id",)], "bad_header"),
        ([None], "bad_header"),
        (RaisingMapping(), "bad_header"),
        ({**GOOD, "webhook-id": ["msg_a"]}, "bad_header"),
        ({**GOOD, "webhook-id": 7}, "bad_header"),
        ({**GOOD, "WEBHOOK-ID": "msg_a"}, "bad_header"),
        ({**GOOD, "HTTP_WEBHOOK_ID": "msg_a"}, "bad_header"),
        ([*GOOD.items(), (b"webhook-signature", b"v1,")], "bad_header"),
        ({**GOOD, "webhook-id": b"msg_\xff"}, "bad_header"),
        ({**GOOD, "webhook-id": "msg_\udcff"}, "bad_header"),
        ({**GOOD, "webhook-timestamp": b"\xff"}, "bad_timestamp"),
        ({**GOOD, "webhook-id": None}, "missing_header"),
        ({}, "missing_header"),
        ("", "missing_header"),
        ({name.replace("k", "\N{KELVIN SIGN}"): value for name, value in GOOD.items()}, "missing_header"),
        ({"http_" + name.replace("-", "_"): value for name, value in GOOD.items()}, "missing_header"),
        ({7: "x", None: "y", (): "z"}, "missing_header"),
    ],
)
def test_headers_that_are_none(headers: Any, reason: str) -> None:
    assert reason_of(BODY, headers) == reason


@pytest.mark.parametrize("body", [BODY.decode(), bytearray(BODY), memoryview(BODY), {"a": 1}, None])
def test_a_body_that_is_not_bytes_is_the_callers_mistake(body: Any) -> None:
    with pytest.raises(TypeError, match="pass the raw body"):
        WEBHOOK.verify(body, GOOD)


def test_checks_run_in_the_documented_order() -> None:
    """Each step mends the check that failed; the reason moves on to the next."""
    webhook = Webhook([SECRET], body_bytes_max=len(BODY), now=lambda: NOW)
    forged = Webhook(["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"]).sign("msg_a", NOW, BODY)["webhook-signature"]
    broken = {"webhook-id": "msg.a", "webhook-timestamp": "soon"}

    assert reason_of(BODY + b" ", broken, webhook) == "too_large"
    assert reason_of(BODY, broken, webhook) == "missing_header"
    broken["webhook-signature"] = "nonsense"
    assert reason_of(BODY, broken, webhook) == "bad_header"
    broken["webhook-id"] = "msg_a"
    assert reason_of(BODY, broken, webhook) == "bad_timestamp"
    broken["webhook-timestamp"] = "1"
    assert reason_of(BODY, broken, webhook) == "too_old"
    broken["webhook-timestamp"] = str(NOW)
    assert reason_of(BODY, broken, webhook) == "bad_header"
    broken["webhook-signature"] = forged
    assert reason_of(BODY, broken, webhook) == "no_match"
    broken["webhook-signature"] = GOOD["webhook-signature"]
    assert webhook.verify(BODY, broken).id == "msg_a"


def test_the_error_tells_nothing_of_the_signature_and_survives_pickling() -> None:
    """An error that crosses processes (a pool, a task queue) keeps its reason."""
    with pytest.raises(VerificationError) as caught:
        WEBHOOK.verify(b"{}", GOOD)
    error = pickle.loads(pickle.dumps(caught.value))  # noqa: S301 - our own bytes

    expected = WEBHOOK.sign("msg_a", NOW, b"{}")["webhook-signature"].removeprefix("v1,")
    assert expected not in f"{error!r} {error} {error.detail}"
    assert str(error).startswith("no_match: ")
    assert error.reason == "no_match"


def test_an_event_keeps_its_body_out_of_its_repr_and_parses_it_only_when_asked() -> None:
    deep = b"[" * 200_000
    assert WEBHOOK.verify(BODY, GOOD).json() == {"a": 1}
    assert repr(BODY) not in repr(WEBHOOK.verify(BODY, GOOD))

    for body in (b"", b"\xff", b"{", deep):
        with pytest.raises(ValueError):  # noqa: PT011 - the type is the promise, the text is Python's
            WEBHOOK.verify(body, WEBHOOK.sign("msg_a", NOW, body)).json()


def test_a_fractional_clock_does_not_narrow_the_tolerance() -> None:
    late = Webhook([SECRET], now=lambda: NOW + 300.999)

    assert late.verify(BODY, GOOD).timestamp == NOW


texts = st.text(max_size=80)
scalars = st.one_of(st.none(), st.integers(), st.floats(), texts, st.binary(max_size=80))
names = st.one_of(st.sampled_from([*GOOD, *(name.title().encode() for name in GOOD), "HTTP_WEBHOOK_ID"]), scalars)
values = st.one_of(st.sampled_from(list(GOOD.values())), scalars, st.lists(scalars, max_size=3))
pairs = st.lists(st.one_of(st.tuples(names, values), st.lists(values, max_size=3), scalars), max_size=8)
styles = st.sampled_from(list(STYLES))
anything = st.one_of(scalars, pairs, st.dictionaries(names, values, max_size=6))


@FUZZ
@given(body=st.binary(max_size=200), headers=anything)
def test_no_headers_whatever_raise_anything_else(body: bytes, headers: Any) -> None:
    assert reason_of(body, headers) in REASONS


@FUZZ
@given(body=st.binary(max_size=200), value=st.one_of(scalars, st.text("tv01a=, sh256", max_size=200)), style=styles)
def test_no_signature_whatever_raises_anything_else(body: bytes, value: Any, style: str) -> None:
    webhook = webhook_of(style)
    good = {name.lower(): text for name, text in webhook.sign("msg_a", NOW, BODY).items()}
    assert reason_of(body, {**good, STYLES[style].headers[-1]: value}, webhook) in REASONS


@FUZZ
@given(data=st.data())
def test_a_header_edited_at_one_place_is_refused(data: st.DataObject) -> None:
    webhook = webhook_of(data.draw(styles))
    good = webhook.sign("msg_a", NOW, BODY)
    good.pop("X-Timestamp", None)  # not signed, never read
    name = data.draw(st.sampled_from(sorted(good)))
    value = good[name]
    start = data.draw(st.integers(0, len(value)))
    end = data.draw(st.integers(start, min(start + 3, len(value))))
    replacement = data.draw(st.one_of(st.text(max_size=3), st.sampled_from([" ", ",", "\n", "=", ".", "0", "v1,"])))
    edited = value[:start] + replacement + value[end:]

    if edited == value or _adds_a_part(edited, value):
        webhook.verify(BODY, {**good, name: edited})
    else:
        assert reason_of(BODY, {**good, name: edited}, webhook) in REASONS


def _adds_a_part(edited: str, value: str) -> bool:
    """In the style t-v1, parts that nobody knows are passed over: they change nothing that is signed."""
    known = {part for part in edited.split(",") if part.startswith(("t=", "v1="))}
    return (
        value.startswith("t=")
        and known == set(value.split(","))
        and all(name and equals and text for name, equals, text in (part.partition("=") for part in edited.split(",")))
    )
