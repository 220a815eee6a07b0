"""What holds for every request: a name, one error shape, and a key in any of its carriers."""

import base64
from datetime import timedelta
from typing import Any

import pytest

from service.ports.errors import UnavailableError
from tests.api.conftest import KEY, NOW, OTHER_KEY, Client, Ring, envelope


def basic(user_and_password: str) -> str:
    return "Basic " + base64.b64encode(user_and_password.encode()).decode()


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": f"Token {KEY.text}"},
        {"authorization": f"bearer  {KEY.text}"},
        {"Authorization": f"TOKEN {KEY.text}"},
        {"X-API-Key": KEY.text},
        {"Authorization": basic(f"anyone:{KEY.text}")},
        {"Authorization": f"Bearer {KEY.text}", "X-API-Key": KEY.text},
    ],
)
async def test_the_carriers_of_a_key(client: Client, headers: dict[str, str]) -> None:
    async with client.post("/v1/events", json=envelope(), headers=headers) as response:
        assert response.status == 202


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer nonsense"},
        {"Authorization": f"Digest {KEY.text}"},
        {"Authorization": "Basic ***"},
        {"Authorization": basic(f"{KEY.text}:")},
        {"X-API-Key": KEY.text[:-1] + "!"},
        {"X-API-Key": KEY.text[:-1]},
        {"X-API-Key": KEY.text[:25] + OTHER_KEY.text[25:]},  # a known id, another secret
        {"X-API-Key": KEY.text.upper()},
    ],
)
async def test_no_key_or_a_wrong_one_is_a_401(client: Client, headers: dict[str, str]) -> None:
    async with client.post("/v1/events", json=envelope(), headers=headers) as response:
        body = await response.json()
        assert (response.status, body["code"], body["statusCode"]) == (401, "INVALID_API_KEY", 401)
        assert response.headers["WWW-Authenticate"].startswith("Bearer")


@pytest.mark.parametrize(
    ("change", "status", "word"),
    [
        ({"revoked_at": NOW}, 401, "revoked"),
        ({"expires_at": NOW}, 401, "expired"),
        ({"expires_at": NOW + timedelta(seconds=1)}, 202, ""),
        ({"scopes": frozenset({"read", "write", "admin"})}, 403, "publish"),
    ],
)
async def test_a_key_that_may_not(
    client: Client, ring: Ring, bearer: dict[str, str], change: dict[str, Any], status: int, word: str
) -> None:
    ring.change(**change)
    async with client.post("/v1/events", json=envelope(), headers=bearer) as response:
        assert response.status == status
        assert word in await response.text()


async def test_a_key_in_the_query_is_no_key(client: Client) -> None:
    async with client.post("/v1/events", json=envelope(), params={"api_key": KEY.text}) as response:
        assert response.status == 401


async def test_two_different_keys_are_a_400(client: Client, bearer: dict[str, str]) -> None:
    headers = {**bearer, "X-API-Key": OTHER_KEY.text}
    async with client.post("/v1/events", json=envelope(), headers=headers) as response:
        assert (response.status, (await response.json())["code"]) == (400, "VALIDATION_ERROR")


async def test_keys_out_of_reach_are_a_503(client: Client, ring: Ring, bearer: dict[str, str]) -> None:
    ring.error = UnavailableError("away")
    async with client.post("/v1/events", json=envelope(), headers=bearer) as response:
        assert (response.status, response.headers["Retry-After"]) == (503, "1")


async def test_nothing_there_is_a_404_in_the_one_shape(client: Client) -> None:
    async with client.get("/v1/nothing") as response:
        assert response.status == 404
        assert await response.json() == {
            "success": False,
            "error": "no such path; see /docs",
            "code": "NOT_FOUND",
            "statusCode": 404,
            "doc_url": f"{response.url.origin()}/docs#error-not-found",
        }
        assert response.headers["X-Request-ID"] == "req_1"
        assert response.headers["Cache-Control"] == "no-store"


async def test_a_wrong_method_is_a_405_with_allow(client: Client) -> None:
    async with client.put("/v1/events") as response:
        assert (response.status, response.headers["Allow"]) == (405, "POST")
        assert (await response.json())["code"] == "METHOD_NOT_ALLOWED"


@pytest.mark.parametrize(
    ("given", "shown"), [("abc-1", "abc-1"), ("a b", "req_1"), ("x" * 129, "req_1"), ("é", "req_1"), ("", "req_1")]
)
async def test_the_callers_name_for_a_request_is_kept_if_harmless(
    client: Client, bearer: dict[str, str], given: str, shown: str
) -> None:
    headers = {**bearer, "X-Request-ID": given}
    async with client.post("/v1/events", json=envelope(), headers=headers) as response:
        assert (response.status, response.headers["X-Request-ID"]) == (202, shown)
