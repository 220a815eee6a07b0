"""Pairs of keys, and changes of style: what is shown, what is stored, and what a worker signs with."""

from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime
from typing import Any

import pytest

from service.adapters.postgres.endpoints.directory import PostgresSubscriptionStore
from service.flow.directory.directory import Directory
from tests.api.endpoints_rig import SECRET_BOX, URL, Town, town_on
from tests.api.entrance_rig import sql
from webhook_signature import VerificationError, Webhook

pytestmark = pytest.mark.clock

TEXT = "the secret of a receiver that has one already"


@pytest.fixture
async def town(database_url: str) -> AsyncIterator[Town]:
    async with town_on(database_url) as town:
        yield town


async def signed(town: Town, endpoint_id: str) -> Mapping[str, str]:
    """What a worker signs ``{}`` with now."""
    directory = Directory(PostgresSubscriptionStore(town.engine), SECRET_BOX)
    (subscription, *_) = await directory.subscriptions_of("org_1", endpoint_id)
    assert subscription.endpoint.problem is None
    headers = subscription.endpoint.signed("evt_1", b"{}", datetime.now(UTC))
    assert headers is not None
    return headers


def verifies(secret: str, headers: Mapping[str, str], style: str = "standard", **options: Any) -> bool:
    try:
        return Webhook(secret, style=style, **options).verify(b"{}", dict(headers)).key_index == 0
    except VerificationError:
        return False


async def change(town: Town, endpoint_id: str, **fields: Any) -> dict[str, Any]:
    told = await town.ask("PATCH", f"/v1/endpoints/{endpoint_id}", fields)
    assert told.status == 200, told.body
    changed: dict[str, Any] = told.json
    return changed


# --------------------------------------------------------------------------- a pair of keys


async def test_a_pair_of_keys_is_made_and_only_the_public_one_is_shown(town: Town) -> None:
    made = await town.create(signature_style="ed25519")
    assert (made["secret"], made["public_key"][:5]) == (None, "whpk_")
    (shown,) = (await town.get(made["id"]))["secrets"]
    assert (shown["public_key"], shown["signature_style"]) == (made["public_key"], "ed25519")
    assert shown["hint"] == made["public_key"][-4:]
    assert verifies(made["public_key"], await signed(town, made["id"]), "ed25519")
    row = await sql(town.engine, "SELECT endpoint_secrets::text FROM endpoint_secrets")
    assert "whsk_" not in row
    told = await town.ask("GET", "/v1/endpoints")
    assert b"whsk_" not in told.body


async def test_an_own_key_is_refused_and_a_shared_secret_has_no_public_one(town: Town) -> None:
    for secret in ("whsk_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=", TEXT):
        body = {"url": URL, "event_types": ["*"], "signature_style": "ed25519", "secret": secret}
        assert list(await town.refused("POST", "/v1/endpoints", body)) == ["secret"]
    made = await town.create()
    assert made["public_key"] is None
    assert made["secrets"][0]["public_key"] is None


async def test_a_pair_is_rotated_with_an_overlap(town: Town) -> None:
    made = await town.create(signature_style="ed25519")
    path = f"/v1/endpoints/{made['id']}/rotate-secret"
    assert list(await town.refused("POST", path, {"secret": TEXT})) == ["secret"]
    rotated = (await town.ask("POST", path)).json
    assert rotated["secret"] is None
    headers = await signed(town, made["id"])
    for each in (made, rotated):
        assert verifies(each["public_key"], headers, "ed25519")
    last = (await town.ask("POST", path, {"overlap_seconds": 0})).json
    headers = await signed(town, made["id"])
    assert [verifies(each["public_key"], headers, "ed25519") for each in (made, rotated, last)] == [False, False, True]


# --------------------------------------------------------------------------- changes of style


async def test_a_change_to_a_pair_of_keys_lets_the_shared_secret_sign_on(town: Town) -> None:
    made = await town.create()
    changed = await change(town, made["id"], signature_style="ed25519", overlap_seconds=3600)
    assert (changed["secret"], changed["signature_style"]) == (None, "ed25519")
    newest, older = changed["secrets"]
    assert (newest["signature_style"], newest["expires_at"]) == ("ed25519", None)
    assert (older["signature_style"], older["expires_at"] is None) == ("standard", False)
    headers = await signed(town, made["id"])
    assert verifies(changed["public_key"], headers, "ed25519")
    assert verifies(made["secret"], headers)
    await sql(town.engine, "UPDATE endpoint_secrets SET expires_at = now() WHERE expires_at IS NOT NULL RETURNING 1")
    headers = await signed(town, made["id"])
    assert (verifies(changed["public_key"], headers, "ed25519"), verifies(made["secret"], headers)) == (True, False)


async def test_a_change_back_takes_another_secret_and_both_older_ones_sign_on(town: Town) -> None:
    made = await town.create()
    pair = await change(town, made["id"], signature_style="ed25519", overlap_seconds=3600)
    back = await change(town, made["id"], signature_style="standard", overlap_seconds=3600)
    assert back["secret"] not in {None, made["secret"]}
    headers = await signed(town, made["id"])
    assert all(verifies(each["secret"], headers) for each in (made, back))
    assert verifies(pair["public_key"], headers, "ed25519")
    told = await town.ask("PATCH", f"/v1/endpoints/{made['id']}", {"signature_style": "t-v1", "overlap_seconds": 60})
    assert (told.status, "limit of 3 active secrets" in told.json["error"]) == (409, True)
    at_once = await change(town, made["id"], signature_style="t-v1", overlap_seconds=0)
    assert len(at_once["secrets"]) == 1


async def test_a_change_between_headers_sends_both_and_never_under_one_secret(town: Town) -> None:
    made = await town.create(signature_style="sha256-body", secret=TEXT)
    changed = await change(
        *(town, made["id"]), signature_style="t-v1", signature_header="X-Blooio-Signature", overlap_seconds=3600
    )
    headers = await signed(town, made["id"])
    blooio: dict[str, Any] = {"style": "t-v1", "signature_header": "X-Blooio-Signature"}
    assert verifies(TEXT, headers, "sha256-body")
    assert verifies(changed["secret"], headers, **blooio)
    assert not verifies(TEXT, headers, **blooio)
    path = f"/v1/endpoints/{made['id']}/rotate-secret"
    assert "two styles must not share one" in (await town.refused("POST", path, {"secret": TEXT}))["secret"][0]
    refused = await town.refused("PATCH", f"/v1/endpoints/{made['id']}", {"signature_header": None})
    assert list(refused) == ["signature_header"]


async def test_the_header_of_the_old_style_stays_the_old_one(town: Town) -> None:
    made = await town.create(signature_style="t-v1", signature_header="X-Blooio-Signature")
    changed = await change(town, made["id"], signature_style="standard", overlap_seconds=3600)
    headers = await signed(town, made["id"])
    assert verifies(made["secret"], headers, "t-v1", signature_header="X-Blooio-Signature")
    assert verifies(changed["secret"], headers)


async def test_a_change_that_cannot_overlap_is_refused_and_changes_nothing(town: Town) -> None:
    made = await town.create()
    path = f"/v1/endpoints/{made['id']}"
    for fields in (
        {"signature_style": "ed25519"},
        {"signature_style": "ed25519", "overlap_seconds": None},
        {"signature_style": "ed25519", "overlap_seconds": -1},
        {"signature_style": "ed25519", "overlap_seconds": 2_592_001},
        {"signature_style": "ed25519", "overlap_seconds": "1"},
        {"signature_style": "sha256-body", "overlap_seconds": 60},
        {"overlap_seconds": 60},
    ):
        assert list(await town.refused("PATCH", path, fields)) == ["overlap_seconds"]
    assert verifies(made["secret"], await signed(town, made["id"]))
    created = await town.refused("POST", "/v1/endpoints", {"url": URL, "event_types": ["*"], "overlap_seconds": 60})
    assert list(created) == ["overlap_seconds"]


async def test_without_an_overlap_the_secrets_stay_and_those_of_a_style_left_before_too(town: Town) -> None:
    made = await town.create()
    changed = await change(town, made["id"], signature_style="t-v1", overlap_seconds=3600)
    again = await change(town, made["id"], signature_style="standard")
    assert (again["secret"], again["public_key"]) == (None, None)
    headers = await signed(town, made["id"])
    assert all(verifies(each["secret"], headers) for each in (made, changed))
    assert "X-Webhook-Signature" not in headers


async def test_a_repeated_change_with_its_key_shows_the_same_secret(town: Town) -> None:
    made = await town.create()
    asked = {"signature_style": "t-v1", "overlap_seconds": 3600}
    answers = [
        await town.ask("PATCH", f"/v1/endpoints/{made['id']}", asked, **{"Idempotency-Key": "once"}) for _ in range(2)
    ]
    assert answers[0].json == answers[1].json
    assert len((await town.get(made["id"]))["secrets"]) == 2
