"""keys: made once and shown once, listed without their secret, revoked."""

import hashlib
from datetime import datetime, timedelta

import asyncpg
import pytest

from tests.cli.command import Run

pytestmark = pytest.mark.clock


async def test_a_key_is_shown_once_and_kept_as_a_digest(posthorn: Run, database_url: str) -> None:
    made = await posthorn("keys", "create", "--organization", "org_a", "--scopes", "read,publish", "--json")
    assert (made.code, made.err) == (0, "")
    assert made.json.keys() == {"organization_id", "key_id", "key"}
    connection = await asyncpg.connect(database_url)
    row = await connection.fetchrow("SELECT * FROM api_keys WHERE id = $1", made.json["key_id"])
    await connection.close()
    assert row["organization_id"] == made.json["organization_id"] == "org_a"
    assert row["digest"] == hashlib.sha256(made.json["key"].encode()).digest()
    assert row["scopes"] == ["publish", "read"]
    assert (row["name"], row["expires_at"], row["rate_limit_per_hour"]) == ("", None, None)


async def test_keys_want_a_sound_organization_and_known_scopes(posthorn: Run) -> None:
    bad_id = await posthorn("keys", "create", "--organization", "org a")
    assert (bad_id.code, bad_id.out) == (2, "")
    assert "'org a' is not a valid organization id" in bad_id.err
    bad_scope = await posthorn("keys", "create", "--organization", "org_a", "--scopes", "read,wrte")
    assert bad_scope.code == 2
    assert "did you mean 'write'?" in bad_scope.err


async def test_scopes_can_be_limited(posthorn: Run) -> None:
    options = ("keys", "create", "--organization", "org_a", "--scopes")
    assert (await posthorn(*options, "publish:message.*,publish:link.clicked")).code == 0
    for scopes, code, word in (
        ("publish:message", 2, "must be an event type"),
        ("read:ep_nobody", 1, "no endpoint 'ep_nobody' of org_a"),
    ):
        refused = await posthorn(*options, scopes)
        assert (refused.code, refused.out) == (code, "")
        assert word in refused.err
    added = await posthorn(
        *("endpoints", "add", "--organization", "org_a", "--json"),
        *("--url", "https://hooks.example/", "--event-types", "message.sent"),
    )
    assert (await posthorn(*options, f"read:{added.json['id']}")).code == 0


@pytest.mark.parametrize(
    "option",
    [
        ("--name", "a\nb"),
        ("--name", "x" * 201),
        ("--expires-in-days", "0"),
        ("--expires-in-days", "36501"),
        ("--rate-limit-per-hour", "0"),
        ("--rate-limit-per-hour", "99999999999"),
    ],
)
async def test_what_a_key_cannot_be(posthorn: Run, option: tuple[str, str]) -> None:
    refused = await posthorn("keys", "create", "--organization", "org_a", *option)
    assert (refused.code, refused.out) == (2, "")
    assert option[0] in refused.err


async def test_keys_are_listed_with_what_they_may_and_revoked_once(posthorn: Run) -> None:
    options = ("--name", "zapier", "--expires-in-days", "30", "--rate-limit-per-hour", "100000", "--scopes", "read")
    made = (await posthorn("keys", "create", "--organization", "org_a", *options, "--json")).json
    plain = (await posthorn("keys", "create", "--organization", "org_a", "--json")).json
    await posthorn("keys", "create", "--organization", "org_b")
    listed = (await posthorn("keys", "list", "--organization", "org_a", "--json")).json["data"]
    assert [each["id"] for each in listed] == [made["key_id"], plain["key_id"]]
    first = listed[0]
    assert listed[1]["scopes"] == ["read", "write"]  # who publishes could forge events: that is asked for
    assert (first["name"], first["scopes"], first["rate_limit_per_hour"]) == ("zapier", ["read"], 100_000)
    assert (first["last_used_at"], first["revoked_at"]) == (None, None)
    lives = datetime.fromisoformat(first["expires_at"]) - datetime.fromisoformat(first["created_at"])
    assert lives == timedelta(days=30)
    shown = await posthorn("keys", "list", "--organization", "org_a")
    assert "zapier" in shown.out
    assert made["key"] not in shown.out

    revoked = await posthorn("keys", "revoke", made["key_id"], "--json")
    assert (revoked.code, revoked.json) == (0, {"key_id": made["key_id"], "revoked": True})
    assert (await posthorn("keys", "revoke", made["key"], "--json")).json == revoked.json  # the whole key, once more
    assert (await posthorn("keys", "revoke", made["key_id"])).err == f"Revoked {made['key_id']}.\n"
    assert (await posthorn("keys", "list", "--organization", "org_a", "--json")).json["data"][0]["revoked_at"]


async def test_a_key_is_followed_by_another_one(posthorn: Run) -> None:
    options = ("--name", "crm", "--expires-in-days", "30", "--scopes", "read", "--rate-limit-per-hour", "7")
    old = (await posthorn("keys", "create", "--organization", "org_a", *options, "--json")).json
    rotated = await posthorn("keys", "rotate", old["key"], "--overlap-seconds", "3600", "--json")
    assert (rotated.code, rotated.json["replaces"]) == (0, old["key_id"])
    listed = (await posthorn("keys", "list", "--organization", "org_a", "--json")).json["data"]
    assert [each["id"] for each in listed] == [old["key_id"], rotated.json["id"]]
    assert [each["replaced_by"] for each in listed] == [rotated.json["id"], None]
    assert [each["hint"][-4:] for each in listed] == [old["key"][-4:], rotated.json["key"][-4:]]
    assert listed[0]["expires_at"] == rotated.json["overlap_ends_at"]
    made = listed[1]
    assert (made["name"], made["scopes"], made["rate_limit_per_hour"]) == ("crm", ["read"], 7)
    table = (await posthorn("keys", "list", "--organization", "org_a")).out
    assert f"ph_live_{old['key_id']}_…{old['key'][-4:]}" in table
    at_once = await posthorn("keys", "rotate", made["id"], "--overlap-seconds", "0", "--expires-in-days", "9")
    assert (at_once.code, at_once.out.count("ph_live_")) == (0, 1)
    last = (await posthorn("keys", "list", "--organization", "org_a", "--json")).json["data"][-1]
    again = await posthorn("keys", "rotate", made["id"])
    assert (again.code, again.out) == (1, "")
    assert f"was rotated already; rotate {last['id']}, which follows it" in again.err
    await posthorn("keys", "revoke", last["id"])
    ended = await posthorn("keys", "rotate", last["id"])
    assert (ended.code, ended.out) == (1, "")
    assert "no longer valid" in ended.err
    unknown = await posthorn("keys", "rotate", "ph_live_mistyped_secret")
    assert (unknown.code, unknown.out) == (1, "")
    assert "No such key" in unknown.err
    assert "mistyped" not in unknown.err


async def test_keys_that_are_not_there(posthorn: Run) -> None:
    unknown = await posthorn("keys", "revoke", "ph_live_mistyped_secret")
    assert (unknown.code, unknown.out) == (1, "")
    assert "No such key" in unknown.err
    assert "mistyped" not in unknown.err
    nobody = await posthorn("keys", "list", "--organization", "org_a")
    assert (nobody.code, nobody.out) == (1, "")
    assert "no organization 'org_a'" in nobody.err
