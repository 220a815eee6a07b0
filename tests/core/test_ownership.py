"""Ownership of a URL: what is asked, and which answers prove it."""

import json
from datetime import UTC, datetime

import pytest

from service.core.deliveries.ownership import HOOK_SECRET, challenge_request, complaint_about
from service.core.deliveries.request import Fault, Reply
from service.core.endpoints.settings import EndpointSettings
from service.core.reason import Reason
from webhook_signature import Webhook
from webhook_signature.styles import STYLES

CHALLENGE = "a-challenge_of-24-bytes"
NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
SECRETS = ["whsec_" + "A" * 43 + "=", "whsec_" + "C" * 42 + "A="]


@pytest.mark.parametrize("style", STYLES)
def test_the_challenge_is_signed_as_webhooks_are(style: str) -> None:
    settings = EndpointSettings(
        "https://e.org/", ("*",), signature_style=style, headers={"X-Pass": "p", "x-hook-secret": "own"}
    )
    secrets = ["whsk_" + each.removeprefix("whsec_") if STYLES[style].has_key_pair else each for each in SECRETS]
    request = challenge_request(settings, secrets, CHALLENGE, "msg_1", NOW)
    assert json.loads(request.body)["challenge"] == request.headers[HOOK_SECRET] == CHALLENGE
    assert request.headers["X-Pass"] == "p"
    assert [name.lower() for name in request.headers].count("x-hook-secret") == 1
    webhook = Webhook(secrets, style=style, now=NOW.timestamp)
    assert webhook.verify(request.body, request.headers).body == request.body


@pytest.mark.parametrize(
    "answer",
    [
        Reply(200, 1, hook_secret=(CHALLENGE,)),
        Reply(204, 1, hook_secret=("another", CHALLENGE)),
        Reply(200, 1, CHALLENGE.encode()),
        Reply(200, 1, f" {CHALLENGE}\r\n".encode()),
        Reply(201, 1, json.dumps({"challenge": CHALLENGE, "more": 1}).encode()),
        Reply(200, 1, json.dumps(CHALLENGE).encode()),
    ],
)
def test_who_sends_it_back_has_proved_it(answer: Reply) -> None:
    assert complaint_about(answer, CHALLENGE) is None


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (Reply(200, 1), "it answered 200 without the challenge; send its challenge back with a 2xx status"),
        (Reply(200, 1, hook_secret=(CHALLENGE[:-1],)), "without the challenge"),
        (Reply(200, 1, b"[" * 16_000), "without the challenge"),
        (Reply(200, 1, b"\xff\xfe"), "without the challenge"),
        (Reply(200, 1, b'{"challenge": ["a"]}'), "without the challenge"),
        (Reply(200, 1, b'{"challenge": "\\ud800"}'), "without the challenge"),
        (Reply(200, 1, f"<p>{CHALLENGE}</p>".encode()), "without the challenge"),
        (Reply(302, 1, hook_secret=(CHALLENGE,)), "it answered 302"),
        (Reply(500, 1, CHALLENGE.encode()), "it answered 500"),
        (Fault(Reason.TIMEOUT, 1, "10.0.0.1"), "it did not answer within 3 seconds"),
        (Fault(Reason.BLOCKED_DESTINATION, 1, "10.0.0.1"), "this address is not allowed"),
        (Fault(Reason.INTERNAL, 1, "10.0.0.1"), "the request could not be made"),
        *((Fault(reason, 1, "10.0.0.1"), "the URL was not verified: ") for reason in Reason),
    ],
)
def test_what_is_wrong_is_told_and_no_address(answer: Reply | Fault, why: str) -> None:
    told = complaint_about(answer, CHALLENGE)
    assert told is not None
    assert why in told
    assert "10.0.0.1" not in told
