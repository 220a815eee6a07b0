"""API keys: made of given bytes, and read back strictly."""

import hashlib

import pytest

from service.core.keys.api_key import RANDOM_BYTES, generate_key, parse_key

KEY = generate_key(bytes(range(RANDOM_BYTES)))


def test_a_key_is_its_prefix_its_id_and_a_secret() -> None:
    assert KEY.key_id == "0001020304050607"
    assert KEY.text == "ph_live_0001020304050607_CAkKCwwNDg8QERITFBUWFxgZGhscHR4fICEiIyQlJic0FrbB9"
    assert KEY.digest == hashlib.sha256(KEY.text.encode()).digest()
    assert parse_key(KEY.text) == KEY.key_id


def test_underscores_in_the_secret_do_no_harm() -> None:
    key = generate_key(b"\xff" * RANDOM_BYTES)
    assert "_" in key.text.removeprefix("ph_live_ffffffffffffffff_")
    assert parse_key(key.text) == "f" * 16


def test_a_key_from_before_the_checksum_is_one_without_it() -> None:
    assert parse_key(KEY.text[:-6]) == KEY.key_id


@pytest.mark.parametrize("number", [0, 9, 24, 60, 68, 73])
def test_a_mistyped_key_is_none_and_no_database_is_asked(number: int) -> None:
    other = "1" if KEY.text[number] == "0" else "0"
    assert parse_key(KEY.text[:number] + other + KEY.text[number + 1 :]) is None


@pytest.mark.parametrize(
    "text", ["", "ph_live_", KEY.text + "x", KEY.text + "\n", KEY.text[:-1], KEY.text.upper(), "é"]
)
def test_anything_else_is_no_key(text: str) -> None:
    assert parse_key(text) is None


def test_too_little_randomness_is_refused() -> None:
    with pytest.raises(ValueError, match="40 random bytes"):
        generate_key(b"short")
