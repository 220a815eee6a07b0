"""Health and metrics over HTTP."""

import asyncio
from collections.abc import Mapping

import pytest
from aiohttp.test_utils import TestClient, TestServer

from service.adapters.observers.metrics import MetricsObserver
from service.api.ops import Check, Checks, make_ops

WELL = {"database": Check(True, "reachable"), "broker": Check(True, "not configured"), "draining": Check(True, "no")}  # noqa: FBT003
AWAY = Check(is_well=False, detail="away")


def checks_that(found: Mapping[str, Check] | Exception) -> Checks:
    async def checks() -> Mapping[str, Check]:
        if isinstance(found, Exception):
            raise found
        return found

    return checks


METRICS = MetricsObserver()


async def test_alive() -> None:
    async with TestClient(TestServer(make_ops(checks_that({}), METRICS))) as client, client.get("/livez") as response:
        assert response.status == 200


@pytest.mark.parametrize(
    ("found", "status", "database"),
    [
        (WELL, 200, {"ok": True, "needed": True, "detail": "reachable"}),
        ({**WELL, "database": AWAY}, 503, {"ok": False, "needed": True, "detail": "away"}),
        (
            {**WELL, "database": AWAY._replace(is_needed=False)},
            200,
            {"ok": False, "needed": False, "detail": "away"},
        ),
    ],
)
async def test_ready_lists_each_check(found: Mapping[str, Check], status: int, database: object) -> None:
    app = make_ops(checks_that(found), METRICS)
    async with TestClient(TestServer(app)) as client, client.get("/readyz") as response:
        body = await response.json()
        assert response.status == status
    assert list(body["checks"]) == ["database", "broker", "draining"]
    assert body["checks"]["database"] == database
    assert body["checks"]["broker"] == {"ok": True, "needed": True, "detail": "not configured"}


async def test_checks_that_fail_or_hang_mean_not_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.api.ops.CHECKS_SECONDS_MAX", 0.01)

    async def hang() -> Mapping[str, Check]:
        await asyncio.Event().wait()
        return {}

    for checks in (checks_that(RuntimeError("password=hunter2")), hang):
        app = make_ops(checks, METRICS)
        async with TestClient(TestServer(app)) as client, client.get("/readyz") as response:
            assert response.status == 503
            assert "hunter2" not in await response.text()


async def test_metrics_in_the_format_asked_for() -> None:
    app = make_ops(checks_that(WELL), METRICS)
    async with TestClient(TestServer(app)) as client:
        async with client.get("/metrics") as response:
            assert response.content_type == "text/plain"
            assert "posthorn_build_info{" in await response.text()
        async with client.get("/metrics", headers={"Accept": "application/openmetrics-text"}) as response:
            assert response.content_type == "application/openmetrics-text"
            assert (await response.text()).endswith("# EOF\n")
