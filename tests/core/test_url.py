"""The three forms of a target URL."""

import pytest

from service.core.endpoints.target_policy import URL_MAX_CHARACTERS, EgressPolicy, TargetRefused
from service.core.endpoints.url import is_masked, is_sealed, masked_url, stored_url

KEY, OTHER_KEY = b"k" * 32, b"o" * 32
URL = "https://a.example/hook?token=t0p"


@pytest.mark.parametrize(
    ("url", "masked"),
    [
        ("https://a.example/hook", "https://a.example/hook"),
        ("https://a.example/hook?token=t0p&x=1", "https://a.example/hook?***"),
        ("https://a.example/hook?t0p", "https://a.example/hook?***"),
        ("https://a.example/hook?dDBw=", "https://a.example/hook?***"),
        ("https://a.example?t0p", "https://a.example?***"),
        ("https://a.example/hook?", "https://a.example/hook?"),
        ("https://a.example/?a=b?c=d", "https://a.example/?***"),
    ],
)
def test_a_masked_url_shows_nothing_of_its_query(url: str, masked: str) -> None:
    assert masked_url(url) == masked
    assert masked_url(stored_url(url, KEY)) == masked
    assert is_masked(masked) == (masked != url)


def test_a_stored_url_is_the_same_for_the_same_url_and_key_only() -> None:
    stored = stored_url(URL, KEY)
    assert stored.startswith("https://a.example/hook?#")
    assert stored == stored_url(URL, KEY)
    others = [stored_url(URL, OTHER_KEY), *(stored_url(f"{URL}{more}", KEY) for more in ("x", "&", "?"))]
    assert len({stored, *others}) == 1 + len(others)
    assert "t0p" not in stored


def test_what_has_no_query_is_stored_as_it_is() -> None:
    assert stored_url("https://a.example/hook", KEY) == "https://a.example/hook"
    assert (is_sealed(stored_url(URL, KEY)), is_sealed(URL), is_sealed("https://a.example/hook")) == (
        True,
        False,
        False,
    )


def test_the_longest_url_fits_its_column() -> None:
    assert len(stored_url(f"https://a.example/{'a' * (URL_MAX_CHARACTERS - 20)}?t", KEY)) <= 2_100


@pytest.mark.parametrize("url", [stored_url(URL, KEY), masked_url(URL)])
def test_neither_other_form_is_a_url_that_anything_is_sent_to(url: str) -> None:
    assert isinstance(EgressPolicy().judge_url(url), TargetRefused)
