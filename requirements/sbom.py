"""``python requirements/sbom.py [runtime|test|build]``: what is locked, as a CycloneDX 1.6 document on stdout.

It is made from the lock and from ``licences.toml`` alone, so it is the same on every machine and at any time.
"""

import json
import re
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from uuid import NAMESPACE_URL, uuid5

HERE: Final = Path(__file__).resolve().parent
OURS: Final = "posthorn (pyproject.toml)"


@dataclass(frozen=True, slots=True)
class Locked:
    """One pinned package of a lock. ``marker`` says where it is installed: everywhere, if empty."""

    name: str
    version: str
    marker: str
    sha256s: tuple[str, ...]
    needed_by: tuple[str, ...]

    @property
    def purl(self) -> str:
        """Its package URL."""
        return f"pkg:pypi/{self.name}@{self.version}"


def read_lock(name: str) -> list[Locked]:
    """Every package of ``requirements/NAME.txt``. Raises ``ValueError`` for a line that it cannot read."""
    found = []
    for block in re.split(r"^(?=[a-z0-9])", (HERE / f"{name}.txt").read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]:
        head, _, comment = block.partition("    # via")
        pinned = re.match(r"([a-z0-9._-]+)==(\S+)(?: ; ([^\\]+?))? \\\n", head)
        if pinned is None:
            raise ValueError(f"requirements/{name}.txt: {block.splitlines()[0]!r} pins nothing")
        needed_by = (line.strip(" #") for line in comment.splitlines())
        found.append(
            Locked(
                *(pinned[1], pinned[2], pinned[3] or ""),
                sha256s=tuple(re.findall(r"--hash=sha256:([0-9a-f]{64})", head)),
                needed_by=tuple(filter(None, needed_by)) or (OURS,),
            )
        )
    return found


def read_licences() -> dict[str, str]:
    """Each locked package's licence, as an SPDX expression."""
    licences: dict[str, str] = tomllib.loads((HERE / "licences.toml").read_text(encoding="utf-8"))["licences"]
    return licences


def bill_of_materials(name: str) -> dict[str, Any]:
    """The document about one lock. Raises ``KeyError`` for a package whose licence is not listed."""
    project = tomllib.loads((HERE.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    locked, licences = read_lock(name), read_licences()
    ours = f"pkg:generic/{project['name']}@{project['version']}"
    document = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "lifecycles": [{"phase": "pre-build"}],
            "component": {
                "type": "application",
                "bom-ref": ours,
                "name": project["name"],
                "version": project["version"],
                "licenses": [{"expression": project["license"]}],
                "purl": ours,
            },
        },
        "components": [_component(each, licences[each.name]) for each in locked],
        "dependencies": [
            _needs(ours, OURS, locked),
            *(_needs(each.purl, each.name, locked) for each in locked),
        ],
    }
    serial = uuid5(NAMESPACE_URL, json.dumps(document, sort_keys=True))
    return {**document, "serialNumber": f"urn:uuid:{serial}"}


def _component(package: Locked, licence: str) -> dict[str, Any]:
    marker = [{"name": "python:marker", "value": package.marker}] if package.marker else []
    return {
        "type": "library",
        "bom-ref": package.purl,
        "name": package.name,
        "version": package.version,
        "scope": "optional" if marker else "required",
        "hashes": [{"alg": "SHA-256", "content": each} for each in package.sha256s],
        "licenses": [{"expression": licence}],
        "purl": package.purl,
        "properties": marker,
    }


def _needs(ref: str, name: str, locked: list[Locked]) -> dict[str, Any]:
    return {"ref": ref, "dependsOn": [each.purl for each in locked if name in each.needed_by]}


if __name__ == "__main__":
    chosen = sys.argv[1] if len(sys.argv) > 1 else "runtime"
    sys.stdout.write(json.dumps(bill_of_materials(chosen), indent=2) + "\n")
