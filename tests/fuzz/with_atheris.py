"""``python -m tests.fuzz.with_atheris TARGET [libFuzzer's options]``: look for bytes that raise what is not declared.

It follows the branches that inputs take. What it finds is written into the corpus, where the tests try it ever after.
It needs atheris, which is not a dependency: where there is a wheel for this Python, ``pip install atheris``.
"""

import shutil
import sys
import tempfile

import atheris

with atheris.instrument_imports(include=["service", "webhook_signature"]):
    from tests.fuzz.targets import CORPUS, TARGETS, kept_inputs

if __name__ == "__main__":
    name = sys.argv.pop(1) if len(sys.argv) > 1 else ""
    if name not in TARGETS:
        raise SystemExit(f"Name a target: {', '.join(TARGETS)}")
    # It adds whatever takes a new branch to the folder of its seeds, and ends the process itself, so the folder stays.
    seeds = tempfile.mkdtemp(prefix="posthorn-fuzz-")
    for path in kept_inputs(name):
        shutil.copy(path, seeds)
    atheris.Setup([*sys.argv, f"-artifact_prefix={CORPUS}/{name}.", seeds], TARGETS[name].try_on)
    atheris.Fuzz()
