"""dashboard: a link that a browser can follow."""

import re

import pytest

from tests.cli.command import Run


@pytest.mark.parametrize(
    ("host", "named"),
    [("0.0.0.0", "127.0.0.1"), ("::", "127.0.0.1"), ("::1", "[::1]"), ("localhost", "localhost")],  # noqa: S104
)
async def test_without_a_public_url_the_link_is_for_this_machine(posthorn: Run, host: str, named: str) -> None:
    told = await posthorn("dashboard", POSTHORN_HTTP_HOST=host, POSTHORN_HTTP_PORT="8080")
    assert re.fullmatch(rf"http://{re.escape(named)}:8080/dashboard/enter/\S+\n", told.out), told
    assert "PUBLIC_URL is not set, so the link is for this machine." in told.err


async def test_with_a_public_url_it_leads_there(posthorn: Run) -> None:
    told = await posthorn("dashboard", POSTHORN_HTTP_HOST="0.0.0.0", PUBLIC_URL="https://hooks.example.com/p")  # noqa: S104
    assert told.out.startswith("https://hooks.example.com/p/dashboard/enter/")
    assert "PUBLIC_URL" not in told.err
