"""How many connections the API may have: what deliveries, the database and the ops port need is never given away."""

import asyncio
import resource
import sys

import pytest

from service.app.descriptors import API_CONNECTIONS_MAX, TooFewDescriptorsError, api_connections_max
from service.settings import load_settings
from tests.cli.command import COMMAND_SECONDS_MAX

UNLIMITED = resource.RLIM_INFINITY
PROGRAM = (
    "import resource, sys; resource.setrlimit(resource.RLIMIT_NOFILE, (60, 100))\n"
    "from service.__main__ import main; sys.argv[1:] = ['serve']; main()"
)


class Limits:
    """The limits of a process, soft and hard; raising the soft one above the hard one fails, as it does for real."""

    def __init__(self, soft: int, hard: int) -> None:
        self.soft, self.hard = soft, hard

    def getrlimit(self, _: int) -> tuple[int, int]:
        return self.soft, self.hard

    def setrlimit(self, _: int, limits: tuple[int, int]) -> None:
        soft, hard = limits
        if hard != self.hard or (hard != UNLIMITED and soft > hard):
            raise ValueError("current limit exceeds maximum limit")
        self.soft = soft


@pytest.fixture
def limits(monkeypatch: pytest.MonkeyPatch) -> Limits:
    limits = Limits(1_024, 1_024)
    monkeypatch.setattr(resource, "getrlimit", limits.getrlimit)
    monkeypatch.setattr(resource, "setrlimit", limits.setrlimit)
    return limits


@pytest.mark.parametrize(
    ("soft", "hard", "delivers", "expected"),
    [
        (1_024, 524_288, True, API_CONNECTIONS_MAX),
        (256, UNLIMITED, True, API_CONNECTIONS_MAX),
        (UNLIMITED, UNLIMITED, True, API_CONNECTIONS_MAX),
        (1_024, 2_048, True, 2_048 - 512 * 13 // 4 - 12 - 4 - 32 - 224),
        (1_024, 1_024, False, 1_024 - 12 - 32 - 224),
    ],
)
def test_what_is_reserved_is_not_given_to_the_api(
    limits: Limits, soft: int, hard: int, expected: int, *, delivers: bool
) -> None:
    limits.soft, limits.hard = soft, hard
    assert api_connections_max(load_settings({}), delivers=delivers) == expected


def test_more_deliveries_in_flight_raise_the_limit_further(limits: Limits) -> None:
    limits.hard = 524_288
    settings = load_settings({"POSTHORN_IN_FLIGHT_MAX": "100000"})
    assert api_connections_max(settings, delivers=True) == API_CONNECTIONS_MAX
    assert limits.soft > 300_000


def test_too_low_a_limit_is_refused(limits: Limits) -> None:
    settings = load_settings({"POSTHORN_IN_FLIGHT_MAX": "1000"})
    assert api_connections_max(settings, delivers=False)
    with pytest.raises(TooFewDescriptorsError, match=r"1024 files.*3586.*POSTHORN_IN_FLIGHT_MAX"):
        api_connections_max(settings, delivers=True)
    limits.soft = limits.hard = 200
    with pytest.raises(TooFewDescriptorsError, match=r"lower POSTHORN_DATABASE_CONNECTIONS_MAX\.$"):
        api_connections_max(settings, delivers=False)


async def test_serve_says_so_before_it_starts() -> None:
    environ = {"DATABASE_URL": "postgresql://u@127.0.0.1:9/d", "SECRET_KEYS": f"k1:{'A' * 43}="}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", PROGRAM), env=environ, stderr=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(COMMAND_SECONDS_MAX):
        _, said = await process.communicate()
    assert process.returncode == 2
    assert b"A process may open 100 files" in said
    assert b"Traceback" not in said
