"""Secrets at rest: bound to their row, openable with old keys, and silent about key material."""

import base64
from collections.abc import Callable

import pytest

from service.adapters.secret_box import AesSecretBox, SecretKey, parse_secret_keys
from service.ports.errors import SecretUnopenableError

OLD = SecretKey("k1", bytes(range(32)))
NEW = SecretKey("k2", bytes(range(32, 64)))
ROW = {"organization_id": "org_1", "endpoint_id": "ep_1", "secret_id": "sec_1"}
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def _encoded(key: SecretKey) -> str:
    return base64.b64encode(key.key).decode()


def test_a_secret_opens_again_and_never_seals_alike() -> None:
    box = AesSecretBox([OLD])
    sealed = box.seal(SECRET, **ROW)
    assert sealed.startswith("v1:k1:")
    assert SECRET not in sealed
    assert box.open(sealed, **ROW) == SECRET
    assert box.seal(SECRET, **ROW) != sealed


@pytest.mark.parametrize("field", ROW)
def test_a_sealed_secret_moved_to_another_row_does_not_open(field: str) -> None:
    box = AesSecretBox([OLD])
    with pytest.raises(SecretUnopenableError):
        box.open(box.seal(SECRET, **ROW), **(ROW | {field: "other"}))


def test_rows_whose_ids_run_together_are_different_rows() -> None:
    box = AesSecretBox([OLD])
    sealed = box.seal(SECRET, organization_id="a", endpoint_id="b|c", secret_id="d")
    for ids in (("a|b", "c", "d"), ("a", "b", "c|d"), ("ab", "|c", "d")):
        with pytest.raises(SecretUnopenableError):
            box.open(sealed, organization_id=ids[0], endpoint_id=ids[1], secret_id=ids[2])


def test_the_first_key_seals_and_all_keys_open() -> None:
    sealed = AesSecretBox([OLD]).seal(SECRET, **ROW)
    rotated = AesSecretBox([NEW, OLD])
    assert rotated.open(sealed, **ROW) == SECRET
    assert rotated.needs_rewrap(sealed)
    rewrapped = rotated.seal(rotated.open(sealed, **ROW), **ROW)
    assert rewrapped.startswith("v1:k2:")
    assert not rotated.needs_rewrap(rewrapped)
    with pytest.raises(SecretUnopenableError, match="not in SECRET_KEYS"):
        AesSecretBox([OLD]).open(rewrapped, **ROW)


@pytest.mark.parametrize(
    "damage",
    [
        lambda _: "",
        lambda _: "plain text",
        lambda sealed: "v2" + sealed[2:],
        lambda sealed: sealed[:-8],
        lambda _: "v1:k1:",
        lambda _: "v1:k1:AAAA",
        lambda _: "v1:k1:***",
        lambda _: "v1:k1:\u00e9",
        lambda sealed: sealed[:10] + ("A" if sealed[10] != "A" else "B") + sealed[11:],
    ],
)
def test_a_damaged_secret_raises_one_error_without_the_secret(damage: Callable[[str], str]) -> None:
    box = AesSecretBox([OLD])
    with pytest.raises(SecretUnopenableError) as caught:
        box.open(damage(box.seal(SECRET, **ROW)), **ROW)
    assert SECRET not in str(caught.value)


def test_keys_are_read_in_order() -> None:
    assert parse_secret_keys(f"k2:{_encoded(NEW)}, k1:{_encoded(OLD)}") == (NEW, OLD)


@pytest.mark.parametrize(
    "text",
    [
        "",
        ",",
        "k1",
        "k1:",
        _encoded(OLD),
        f":{_encoded(OLD)}",
        f"{_encoded(OLD)}:k1",
        f"k 1:{_encoded(OLD)}",
        f"k1:{_encoded(OLD)[:-4]}",
        f"k1:{_encoded(OLD)}!",
        f"k1:{_encoded(OLD)},k1:{_encoded(NEW)}",
        f"k1:{_encoded(OLD)},",
        f"k1:{_encoded(OLD)}\u00e9",
    ],
)
def test_bad_keys_are_refused_without_being_echoed(text: str) -> None:
    with pytest.raises(ValueError, match="SECRET_KEYS, entry") as caught:
        parse_secret_keys(text)
    assert _encoded(OLD)[:12] not in str(caught.value)


def test_keys_do_not_show_in_a_repr_and_no_key_is_no_box() -> None:
    assert repr(OLD) == "SecretKey(id='k1')"
    with pytest.raises(ValueError, match="empty"):
        AesSecretBox([])
