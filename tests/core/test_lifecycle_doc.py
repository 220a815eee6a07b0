"""docs/lifecycle.md says what the table of steps says."""

import runpy
from pathlib import Path

from service.core.deliveries.delivery import STEPS, State

DOCS = Path(__file__).parents[2] / "docs"


def test_the_page_is_up_to_date() -> None:
    page: str = runpy.run_path(str(DOCS / "generate_lifecycle.py"))["page"]()
    assert (DOCS / "lifecycle.md").read_text(encoding="utf-8") == page, "run: python docs/generate_lifecycle.py"


def test_the_page_names_every_step() -> None:
    page = (DOCS / "lifecycle.md").read_text(encoding="utf-8")
    for state, steps in STEPS.items():
        for step, to in steps.items():
            assert f"{state} --> {to}: {step}\n" in page
    assert all(f"| `{state}` | " in page for state in State)
