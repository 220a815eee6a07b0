"""What we are made of: every package pinned by hash, under a licence that was decided on, and listed in a document."""

import gzip
import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft7Validator, FormatChecker
from packaging.licenses import canonicalize_license_expression
from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from referencing import Registry, Resource

from requirements.sbom import Locked, bill_of_materials, read_licences, read_lock

ROOT = Path(__file__).resolve().parents[2]
SCHEMAS = Path(__file__).parent / "documents" / "cyclonedx-1.6.json.gz"
LOCKS = ("runtime", "test", "build")
LICENCES = tomllib.loads((ROOT / "requirements/licences.toml").read_text(encoding="utf-8"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
GROUPS = {"runtime": ("", "speed"), "test": ("", "speed", "embedded", "test", "lint")}

# What packages say of themselves where they do not say it as an SPDX expression.
MEANINGS = {
    "Apache Software License": {"Apache-2.0"},
    "BSD License": {"BSD-2-Clause", "BSD-3-Clause", "BSD-4-Clause"},
    "ISC License (ISCL)": {"ISC"},
    "MIT License": {"MIT"},
    "Mozilla Public License 2.0 (MPL 2.0)": {"MPL-2.0"},
    "Python Software Foundation License": {"PSF-2.0"},
    "Apache 2.0": {"Apache-2.0"},
}

# Written in two pieces, or this file would be found.
REGISTRIES = [
    f"{name}.{end}"
    for name, end in (
        *(
            ("pypi", "org"),
            ("pythonhosted", "org"),
            ("npmjs", "org"),
            ("npmjs", "com"),
            ("unpkg", "com"),
            ("jsdelivr", "net"),
        ),
        *(("docker", "io"), ("ghcr", "io"), ("quay", "io"), ("gcr", "io"), ("crates", "io"), ("rubygems", "org")),
    )
]
OF_THE_PROJECT = (
    "*.md",
    "*.toml",
    "*.yml",
    ".ci/*",
    *(
        f"{each}/**/*"
        for each in ("bench", "deploy", "docs", "migrations", "receiver", "requirements", "service", "tests")
    ),
)


# ---------------------------------------------------------------------- the bill of materials


@pytest.fixture(scope="module")
def cyclonedx() -> Draft7Validator:
    schemas: dict[str, Any] = json.loads(gzip.decompress(SCHEMAS.read_bytes()))
    resources = {name: Resource.from_contents(schema) for name, schema in schemas.items()}
    ids = {schema["$id"]: resources[name] for name, schema in schemas.items()}
    registry: Registry[Any] = Registry().with_resources([*resources.items(), *ids.items()])
    return Draft7Validator(schemas["bom-1.6.schema.json"], registry=registry, format_checker=FormatChecker())


@pytest.mark.parametrize("lock", LOCKS)
def test_the_bill_of_materials_is_cyclonedx_and_lists_what_is_locked(lock: str, cyclonedx: Draft7Validator) -> None:
    document = bill_of_materials(lock)
    assert [error.message for error in cyclonedx.iter_errors(document)] == []
    pinned = re.findall(
        r"^([a-z0-9._-]+)==([^\s;]+)", (ROOT / f"requirements/{lock}.txt").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert [(each["name"], each["version"]) for each in document["components"]] == pinned
    assert all(each["hashes"] and each["licenses"] for each in document["components"])


def test_the_bill_of_materials_leads_from_us_to_every_component() -> None:
    document = bill_of_materials("runtime")
    needs = {each["ref"]: each["dependsOn"] for each in document["dependencies"]}
    reached, left = set(), [document["metadata"]["component"]["bom-ref"]]
    while left:
        if (ref := left.pop()) not in reached:
            reached.add(ref)
            left += needs[ref]
    assert reached == set(needs)


def test_the_command_prints_the_same_bill_each_time() -> None:
    command = [sys.executable, str(ROOT / "requirements/sbom.py")]
    first, second = (subprocess.run(command, capture_output=True, check=True).stdout for _ in range(2))
    assert first == second
    assert json.loads(first) == bill_of_materials("runtime")


# ---------------------------------------------------------------------- licences


def _is_allowed(expression: str, allowed: set[str]) -> bool:
    """Whether one alternative asks for permitted licences alone. Expressions with parentheses are not."""
    return any(
        {each.strip() for each in alternative.split(" AND ")} <= allowed
        for alternative in canonicalize_license_expression(expression).split(" OR ")
    )


@pytest.mark.parametrize(
    ("expression", "is_allowed"),
    [
        ("MIT", True),
        ("mit AND Apache-2.0", True),
        ("GPL-2.0-only OR MIT", True),
        ("GPL-3.0-only", False),
        ("MIT AND GPL-2.0-or-later", False),
        ("AGPL-3.0-only OR LGPL-3.0-only", False),
        ("LicenseRef-Proprietary", False),
        ("MIT AND (GPL-2.0-only OR LGPL-2.1-only)", False),
    ],
)
def test_a_licence_that_nobody_decided_on_is_refused(expression: str, is_allowed: bool) -> None:  # noqa: FBT001
    assert _is_allowed(expression, set(LICENCES["shipped"])) is is_allowed


@pytest.mark.parametrize("lock", LOCKS)
def test_every_locked_package_has_a_licence_that_was_decided_on(lock: str) -> None:
    allowed = {*LICENCES["shipped"], *(LICENCES["tools"] if lock != "runtime" else ())}
    licences = read_licences()
    unknown = {each.name for each in read_lock(lock)} - licences.keys()
    assert not unknown, f"add them to requirements/licences.toml: {unknown}"
    forbidden = {
        each.name: licences[each.name] for each in read_lock(lock) if not _is_allowed(licences[each.name], allowed)
    }
    assert not forbidden


def test_no_licence_is_listed_of_a_package_that_is_not_locked() -> None:
    assert read_licences().keys() == {each.name for lock in LOCKS for each in read_lock(lock)}


def test_a_package_says_of_itself_what_is_listed() -> None:
    """Of those that are installed here, in the version that is locked."""
    licences, compared = read_licences(), 0
    for each in {each.name: each for lock in LOCKS for each in read_lock(lock)}.values():
        try:
            installed = distribution(each.name)
        except PackageNotFoundError:
            continue
        if installed.version != each.version:
            continue
        told = installed.metadata
        listed = canonicalize_license_expression(licences[each.name])
        if told["License-Expression"]:
            assert canonicalize_license_expression(told["License-Expression"]) == listed, each.name
        else:
            names = [
                line.rpartition(" :: ")[2] for line in told.get_all("Classifier", []) if line.startswith("License")
            ]
            names = [name for name in names if name in MEANINGS] or [(told["License"] or "").strip()]
            permitted = {licence for name in names for licence in MEANINGS.get(name, {name.removesuffix(" license")})}
            assert set(re.split(r" (?:AND|OR) ", listed)) <= permitted, (each.name, names)
        compared += 1
    assert compared > len(PROJECT["project"]["dependencies"])


# ---------------------------------------------------------------------- pins


def _wanted(lock: str) -> Iterator[Requirement]:
    for group in GROUPS[lock]:
        wanted = PROJECT["project"]["optional-dependencies"][group] if group else PROJECT["project"]["dependencies"]
        yield from map(Requirement, wanted)


def _pins_of(lock: str) -> dict[str, list[Locked]]:
    pins: dict[str, list[Locked]] = {}
    for each in read_lock(lock):
        pins.setdefault(each.name, []).append(each)
    return pins


@pytest.mark.parametrize("lock", GROUPS)
def test_the_lock_pins_what_the_project_asks_for(lock: str) -> None:
    pins = _pins_of(lock)
    for requirement in _wanted(lock):
        found = pins.get(canonicalize_name(requirement.name), [])
        assert found, f"requirements/{lock}.txt lacks {requirement.name}; CONTRIBUTING.md says how to renew it"
        for each in found:
            assert requirement.specifier.contains(each.version), (
                f"{each.name} is locked at {each.version}, not {requirement}"
            )


def test_the_build_lock_pins_what_builds_us() -> None:
    pins = _pins_of("build")
    for requirement in map(Requirement, PROJECT["build-system"]["requires"]):
        assert requirement.specifier.contains(pins[requirement.name][0].version)


def test_what_is_tested_is_what_is_shipped() -> None:
    tested = {(each.name, each.version) for each in read_lock("test")}
    assert {(each.name, each.version) for each in read_lock("runtime")} <= tested


@pytest.mark.parametrize("lock", LOCKS)
def test_every_pin_has_hashes_a_reason_and_a_marker_that_can_be_read(lock: str) -> None:
    for each in read_lock(lock):
        assert each.sha256s, each.name
        assert len(set(each.sha256s)) == len(each.sha256s), each.name
        assert each.needed_by, each.name
        if each.marker:
            Marker(each.marker)


def test_what_is_installed_is_what_the_project_asks_for_and_nothing_that_is_not_locked() -> None:
    """Versions may be newer than the lock's: .ci/run names those that are."""
    locked, seen = _pins_of("test"), set()
    left = [*_wanted("runtime"), *(each for each in _wanted("test") if _is_installed(each.name))]
    while left:
        requirement = left.pop()
        name = canonicalize_name(requirement.name)
        if (
            requirement.marker
            and not any(requirement.marker.evaluate({"extra": extra}) for extra in requirement.extras or ("",))
        ) or not _is_installed(name):
            continue
        assert requirement.specifier.contains(distribution(name).version, prereleases=True), requirement
        assert name in locked, f"{name} is installed for us, and not locked"
        if name not in seen:
            seen.add(name)
            needed = map(Requirement, distribution(name).requires or ())
            left += [each for each in needed if each.marker is None or "extra" not in str(each.marker)]
    assert len(seen) > len(PROJECT["project"]["dependencies"])


def _is_installed(name: str) -> bool:
    try:
        distribution(name)
    except PackageNotFoundError:
        return False
    return True


# ---------------------------------------------------------------------- where things come from


def test_no_file_names_a_registrys_host() -> None:
    """Where packages and images come from is for whoever builds to say; nothing here sends anybody elsewhere."""
    pattern = re.compile("|".join(rf"(?<![\w-]){re.escape(host)}(?![\w-])" for host in REGISTRIES))
    named = {}
    for path in {
        path
        for glob in OF_THE_PROJECT
        for path in ROOT.glob(glob)
        if path.is_file() and "__pycache__" not in path.parts
    }:
        if found := set(pattern.findall(path.read_text(encoding="utf-8", errors="replace"))):
            named[str(path.relative_to(ROOT))] = found
    assert not named
