"""The guide for receivers as a page: all of the file is on it, and its links lead somewhere."""

import html
import re
from pathlib import Path

import pytest

from service.api.documents.page.guide import anchor_of, sections_of
from tests.api.entrance_rig import ask
from tests.api.whole_rig import whole_on

SOURCE = (Path(__file__).parents[3] / "docs" / "receiving.md").read_text("utf-8")


@pytest.fixture
async def page(database_url: str) -> str:
    async with whole_on(database_url) as whole:
        told = await ask(whole.client, "GET", "/docs/receiving")
    assert (told.status, told.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert "script-src 'self'" in told.headers["Content-Security-Policy"]
    return told.body.decode()


def test_every_line_of_the_file_is_on_the_page(page: str) -> None:
    shown = " ".join(html.unescape(re.sub(r"<[^>]+>", "", page)).split())
    fences = re.findall(r"^( *)```[^\n]*\n(.*?)^ *```$", SOURCE, re.DOTALL | re.MULTILINE)
    assert len(fences) > 30
    for indent, code in fences:
        assert " ".join(re.sub(f"^{indent}", "", code, flags=re.MULTILINE).split()) in shown
    for title in re.findall(
        r"^#+ (.+)$", re.sub(r"^ *```.*?^ *```$", "", SOURCE, flags=re.DOTALL | re.MULTILINE), re.MULTILINE
    ):
        assert title in shown


def test_its_links_lead_to_parts_of_it_or_to_other_sites(page: str) -> None:
    ids = re.findall(r'\sid="([^"]+)"', page)
    assert sorted(set(ids)) == sorted(ids)
    main = page.partition("<main")[2]
    links = re.findall(r'href="([^"]+)"', main)
    assert {each for each in links if not each.startswith(("https://", "#"))} == set()
    assert {each[1:] for each in re.findall(r'href="(#[^"]+)"', page)} <= set(ids)


def test_html_in_a_guide_is_text() -> None:
    _, sections = sections_of("# A\n\n<script>alert(1)</script>\n\n[x](javascript:alert(1))\n")
    shown = sections[0].rows[0].text
    assert "<script" not in shown
    assert "href" not in shown


def test_code_right_below_a_heading_has_the_text_that_follows_beside_it() -> None:
    _, sections = sections_of("# A\n\nfirst\n\n## B b\n\n```sh\none\n```\n\ntwo\n\nthree\n\n```json\n1\n```\n\nfour\n")
    assert (sections[1].anchor, anchor_of("What? It's `so`")) == ("b-b", "what-its-so")
    [row] = sections[1].rows
    assert [each.label for each in row.codes] == ["Shell", "JSON"]
    with pytest.raises(ValueError, match="title"):
        sections_of("no title")
