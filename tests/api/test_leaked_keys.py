"""Keys that leaked: known by their form, and ended by whoever has them."""

import re
import secrets
import zlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from service.adapters.postgres.requests.keys import KeyStore
from service.api.entrance import guesses
from service.core.keys.api_key import RANDOM_BYTES, NewKey, StoredKey, digest_of, generate_key
from service.core.keys.grant import KeyWish
from service.ports.observer import KeyLeaked
from tests.api.entrance_rig import Told, ask, bearing, make_key
from tests.api.whole_rig import OWNER, Whole, whole_on
from tests.fakes.actor import SOMEBODY

pytestmark = pytest.mark.clock

SECURITY = (Path(__file__).parents[2] / "SECURITY.md").read_text("utf-8")
REVOKE = "/v1/keys/revoke-leaked"


@pytest.fixture
async def whole(database_url: str) -> AsyncIterator[Whole]:
    async with whole_on(database_url) as whole:
        yield whole
        assert not whole.troubles.heard


def new_key() -> NewKey:
    return generate_key(secrets.token_bytes(RANDOM_BYTES))


async def leaked(whole: Whole, text: object) -> Told:
    """Asked by nobody: without a key in any header."""
    return await ask(whole.client, "POST", REVOKE, json={"key": text})


async def test_a_scanner_finds_keys_by_what_security_says_of_them() -> None:
    (pattern,) = re.findall(r"^\\bph_live_.*$", SECURITY, re.MULTILINE)
    digits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
    for _ in range(200):
        key = new_key()
        (found,) = re.findall(pattern, f'API_KEY="{key.text}"\n')
        assert found == key.text
        number = 0
        for digit in key.text[-6:]:
            number = 62 * number + digits.index(digit)
        assert number == zlib.crc32(key.text[:68].encode())


async def test_whoever_has_a_key_can_end_it_at_once_and_learns_nothing(whole: Whole) -> None:
    key, never_made = await make_key(whole.engine, OWNER), new_key()
    assert (await ask(whole.client, "GET", "/v1/me", headers=bearing(key))).status == 200
    mistyped = key.text[:-1] + ("0" if key.text[-1] != "0" else "1")
    other_secret = key.text[:25] + never_made.text[25:68]  # of an id that exists; in the form from before the checksum
    told = [await leaked(whole, each) for each in (never_made.text, mistyped, other_secret, key.text, key.text)]
    assert [each.status for each in told] == [200] * 5
    assert {tuple(each.json) for each in told} == {("in_effect_at",)}
    assert len({tuple(sorted(name for name in each.headers if name != "Date")) for each in told}) == 1
    assert whole.troubles.leaked == [KeyLeaked(OWNER, key.key_id)]  # once
    ended = await ask(whole.client, "GET", "/v1/me", headers=bearing(key))
    assert (ended.status, ended.json["error"]) == (401, "the API key was revoked")
    assert (await whole.ask("GET", "/v1/me")).status == 200


async def test_a_key_without_a_checksum_can_be_ended_too(whole: Whole) -> None:
    key = new_key()
    old = NewKey(key.key_id, key.text[:-6], digest_of(key.text[:-6]))
    await KeyStore(whole.engine).create_key(OWNER, old, KeyWish(frozenset({"read"})), by=SOMEBODY)
    assert (await ask(whole.client, "GET", "/v1/me", headers=bearing(old))).status == 200
    assert (await leaked(whole, old.text)).status == 200
    assert (await ask(whole.client, "GET", "/v1/me", headers=bearing(old))).status == 401


async def test_a_key_is_refused_by_every_process_from_the_answer_on(whole: Whole, database_url: str) -> None:
    key = await make_key(whole.engine, OWNER)
    async with whole_on(database_url) as other:
        assert (await ask(other.client, "GET", "/v1/me", headers=bearing(key))).status == 200
        assert (await leaked(whole, key.text)).status == 200
        assert (await ask(other.client, "GET", "/v1/me", headers=bearing(key))).status == 401


@pytest.mark.parametrize("text", ["", "nonsense", "ph_live_mistyped", 7, None, "x" * 3_000, "ph_live_\u0000"])
async def test_what_has_not_the_form_of_a_key_is_refused_and_not_quoted(whole: Whole, text: object) -> None:
    told = await leaked(whole, text)
    assert (told.status, [*told.json["errors"]]) == (400, ["key"])
    assert "mistyped" not in told.body.decode()
    assert (await ask(whole.client, "POST", REVOKE, data=b"x" * 5_000)).status == 413


async def test_guesses_are_few_whether_the_id_exists_or_not(whole: Whole, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guesses, "GUESSES_PER_SECOND", 0.001)
    monkeypatch.setattr(guesses, "GUESSES_BURST", 5)
    found: list[str] = []
    find = KeyStore.find

    async def counted(self: KeyStore, key_id: str) -> StoredKey | None:
        found.append(key_id)
        return await find(self, key_id)

    monkeypatch.setattr(KeyStore, "find", counted)
    key = await make_key(whole.engine, OWNER)
    wrong = [key.text[:25] + new_key().text[25:68] for _ in range(4)] + [new_key().text for _ in range(4)]
    told = [await leaked(whole, each) for each in wrong]
    assert [each.status for each in told] == [200] * 5 + [429] * 3
    assert int(told[-1].headers["Retry-After"]) >= 1
    assert len(found) == 5
    assert (await leaked(whole, key.text)).status == 200  # a right key always passes
    assert whole.troubles.leaked == [KeyLeaked(OWNER, key.key_id)]
