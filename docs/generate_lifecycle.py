"""Writes lifecycle.md from the table of steps: ``python docs/generate_lifecycle.py``. A test holds it up to date."""

import ast
import inspect
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path

from service.core.deliveries import delivery
from service.core.deliveries.delivery import FINAL_STATES, STEPS, State, Step

PAGE = Path(__file__).parent / "lifecycle.md"
HEAD = """\
# The life of a delivery

<!-- Generated from service/core/deliveries/delivery.py by docs/generate_lifecycle.py. Change it there. -->

A delivery is the promise to get one event to one subscription. These are all its states and all its steps; there is
no other way from one state to another, in the code or in the database.
"""


def page() -> str:
    """The whole page."""
    return "\n".join([HEAD, *_diagram(), "", "## States", "", *_states(), "", "## Steps", "", *_steps(), ""])


def _diagram() -> list[str]:
    lines = ["```mermaid", "stateDiagram-v2", f"    [*] --> {State.PENDING}: recorded"]
    lines.append(f"    [*] --> {State.LEASED}: recorded, its lane has room")
    lines += [f"    {state} --> {to}: {step}" for state, steps in STEPS.items() for step, to in steps.items()]
    lines += [f"    {state} --> [*]" for state in State if state in FINAL_STATES]
    return [*lines, "```"]


def _states() -> list[str]:
    notes = _notes(State)
    return [
        "| state | who moves it next, and what happens if that process dies |",
        "|---|---|",
        *(f"| `{state}` | {notes[state.name]} |" for state in State),
    ]


def _steps() -> list[str]:
    notes = _notes(Step)
    lines = ["| step | from | to | when |", "|---|---|---|---|"]
    for step in Step:
        origins = [state for state, steps in STEPS.items() if step in steps]
        ends = {STEPS[state][step] for state in origins}
        note = notes[step.name][0].upper() + notes[step.name][1:]
        lines.append(f"| {step} | {_listed(origins)} | {_listed(sorted(ends))} | {note} |")
    return lines


def _listed(states: list[State]) -> str:
    return ", ".join(f"`{state}`" for state in states)


def _notes(kind: type[StrEnum]) -> Mapping[str, str]:
    """The comment behind each member: the page says what the code says."""
    source = inspect.getsource(delivery)
    lines = source.splitlines()
    (found,) = (
        node for node in ast.parse(source).body if isinstance(node, ast.ClassDef) and node.name == kind.__name__
    )
    return {
        node.targets[0].id: lines[node.lineno - 1].partition("# ")[2]
        for node in found.body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
    }


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
