"""Which secrets sign a request together: styles that an endpoint is leaving, and those that cannot be left slowly."""

from dataclasses import replace
from datetime import timedelta
from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.core.endpoints.endpoint import Endpoint, FormerStyle, Secret
from service.core.endpoints.refusals import InvalidWish
from service.core.endpoints.settings import NOTHING_ASKED, EndpointWish, GrantedWish
from service.core.endpoints.signing.signing import Signing, clash, overlap_problem
from tests.fakes.administration import LOOPBACK_ALLOWED
from tests.fakes.clock import START
from webhook_signature import VerificationError, Webhook
from webhook_signature.styles import STYLES, style_named

SECRETS = ("whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
PAIRS = ("whsk_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=", "whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbc=")
SIGNINGS = (*map(Signing, STYLES), Signing("t-v1", "X-Blooio-Signature"))
STANDARD, PAIR, BODY, TIMED, BLOOIO = SIGNINGS
LATER = START + timedelta(hours=1)


def _text(signing: Signing, number: int) -> str:
    return (PAIRS if STYLES[signing.style].has_key_pair else SECRETS)[number]


def _secret(signing: Signing, number: int, **options: Any) -> Secret:
    style = style_named(signing.style, signing.header)
    return Secret(style.decode_secret(_text(signing, number)), **options)


def _changing(before: Signing, after: Signing) -> Endpoint:
    former = FormerStyle(style_named(before.style, before.header), (_secret(before, 1, expires_at=LATER),))
    style = style_named(after.style, after.header)
    return Endpoint("ep_1", "org_1", "https://a.example/", (_secret(after, 0),), style=style, former_styles=(former,))


def _verifies(signing: Signing, number: int, headers: dict[str, str]) -> bool:
    options = {"style": signing.style, "signature_header": signing.header}
    webhook = Webhook(_text(signing, number), now=START.timestamp, **options)  # type: ignore[arg-type]
    try:
        return webhook.verify(b"{}", headers).key_index == 0
    except VerificationError:
        return False


@pytest.mark.parametrize(("before", "after"), [*product(SIGNINGS, SIGNINGS)])
def test_a_change_with_an_overlap_satisfies_old_and_new_receivers_or_is_refused(
    before: Signing, after: Signing
) -> None:
    if before.style == after.style:
        return
    headers = _changing(before, after).signed("evt_1", b"{}", START)
    assert headers is not None
    assert _verifies(after, 0, headers)
    if overlap_problem(before, after) is None:
        assert _verifies(before, 1, headers)
    else:
        assert after == BODY or (before, after) == (BODY, TIMED)


@pytest.mark.parametrize(("before", "after"), [(PAIR, STANDARD), (STANDARD, BLOOIO), (BODY, STANDARD)])
def test_a_style_that_was_left_signs_until_its_secrets_expire(before: Signing, after: Signing) -> None:
    endpoint = _changing(before, after)
    alone = replace(endpoint, former_styles=())
    assert endpoint.signed("evt_1", b"{}", LATER) == alone.signed("evt_1", b"{}", LATER)
    assert endpoint.signed("evt_1", b"{}", START) != alone.signed("evt_1", b"{}", START)


def test_an_older_secret_that_does_not_open_stops_the_endpoint_until_it_expires() -> None:
    former = FormerStyle(STYLES["standard"], (Secret(None, LATER),))
    endpoint = replace(_changing(STANDARD, PAIR), former_styles=(former,))
    assert endpoint.signed("evt_1", b"{}", START) is None
    assert endpoint.signed("evt_1", b"{}", LATER) is not None


def test_the_newer_signature_comes_first() -> None:
    headers = _changing(STANDARD, PAIR).signed("evt_1", b"{}", START)
    assert headers is not None
    assert [each.partition(",")[0] for each in headers["webhook-signature"].split(" ")] == ["v1a", "v1"]


@given(st.sampled_from(SIGNINGS), st.sampled_from(SIGNINGS))
def test_a_clash_is_mutual(one: Signing, other: Signing) -> None:
    assert (clash(one, other) is None) == (clash(other, one) is None)
    assert clash(one, one) is None


# --------------------------------------------------------------------------- what a wish may ask


def _judged(before: Signing, *former: Signing, **given: Any) -> GrantedWish | dict[str, Any]:
    settings = replace(
        NOTHING_ASKED, url="https://a.example/", signature_style=before.style, signature_header=before.header
    )
    judged = LOOPBACK_ALLOWED.judge(EndpointWish(given), settings, (), former, now=START)
    return dict(judged.problems) if isinstance(judged, InvalidWish) else judged


@pytest.mark.parametrize(
    ("before", "asked", "field", "part"),
    [
        (STANDARD, {"signature_style": "ed25519"}, "overlap_seconds", "cannot share a secret"),
        (PAIR, {"signature_style": None}, "overlap_seconds", "cannot share a secret"),
        (STANDARD, {"overlap_seconds": 60}, "overlap_seconds", "is for a change of signature_style"),
        (STANDARD, {"signature_style": "standard", "overlap_seconds": 0}, "overlap_seconds", "is for a change"),
        (STANDARD, {"signature_style": "sha256-body", "overlap_seconds": 60}, "overlap_seconds", "signs no time"),
        (BLOOIO, {"signature_style": "sha256-body", "overlap_seconds": 60}, "overlap_seconds", "signs no time"),
        (BODY, {"signature_style": "t-v1", "overlap_seconds": 60}, "overlap_seconds", "would both sign in the header"),
    ],
)
def test_what_cannot_overlap_is_refused(before: Signing, asked: dict[str, Any], field: str, part: str) -> None:
    problems = _judged(before, **asked)
    assert isinstance(problems, dict)
    assert list(problems) == [field]
    assert part in problems[field][0]


@pytest.mark.parametrize(
    ("before", "asked"),
    [
        (STANDARD, {"signature_style": "ed25519", "overlap_seconds": 0}),
        (STANDARD, {"signature_style": "ed25519", "overlap_seconds": 60}),
        (PAIR, {"signature_style": "standard", "overlap_seconds": 60}),
        (STANDARD, {"signature_style": "sha256-body", "overlap_seconds": 0}),
        (BODY, {"signature_style": "standard", "overlap_seconds": 60}),
        (BODY, {"signature_style": "t-v1", "signature_header": "X-Blooio-Signature", "overlap_seconds": 60}),
        (BODY, {"signature_style": "t-v1", "overlap_seconds": 0}),
    ],
)
def test_what_can_is_granted_with_its_overlap(before: Signing, asked: dict[str, Any]) -> None:
    granted = _judged(before, **asked)
    assert isinstance(granted, GrantedWish)
    assert granted.overlap == timedelta(seconds=asked["overlap_seconds"])


def test_without_an_overlap_shared_secrets_stay() -> None:
    granted = _judged(STANDARD, signature_style="t-v1")
    assert isinstance(granted, GrantedWish)
    assert granted.overlap is None


@pytest.mark.parametrize(
    ("before", "asked", "field"),
    [
        (STANDARD, {"signature_style": "t-v1"}, "signature_style"),
        (STANDARD, {"signature_style": "t-v1", "overlap_seconds": 60}, "signature_style"),
        (BLOOIO, {"signature_header": None}, "signature_header"),
    ],
)
def test_the_header_of_a_style_that_was_left_stays_taken(before: Signing, asked: dict[str, Any], field: str) -> None:
    problems = _judged(before, BODY, **asked)
    assert isinstance(problems, dict)
    assert list(problems) == [field]
    assert "as long as an older secret does" in problems[field][0]
    assert isinstance(_judged(before, **asked), GrantedWish)
