"""The short verifiers for other languages, each run by its own interpreter against the published vectors.

A verifier whose language is missing on this machine is skipped, and says so.
"""

from __future__ import annotations

import base64
import hmac
import os
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from service.api.documents.receivers import VERIFIERS
from tests.receiver.test_vectors import VECTORS

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "service/api/documents/verifiers"
BUILD_SECONDS_MAX = 240

# Each program reads a line for every request: secrets, now, then id, timestamp, signatures and body in base64, "-" for
# a header that is absent. It prints 1 for a request that was verified, else 0.
NODE = """
import { readFileSync } from "node:fs";
import { verifyWebhook } from "./verify.mjs";
for (const line of readFileSync(0, "utf8").trim().split("\\n")) {
  const [secrets, now, ...rest] = line.split(" ");
  const [id, time, signatures, body] = rest.map((each) => (each === "-" ? undefined : Buffer.from(each, "base64")));
  const headers = {};
  for (const [name, value] of Object.entries({ id, timestamp: time, signature: signatures }))
    if (value !== undefined) headers[`webhook-${name}`] = value.toString("latin1");
  console.log(Number(verifyWebhook(secrets.split(","), headers, body, Number(now))));
}
"""
GO = """
package main

import (
	"bufio"
	"encoding/base64"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"example/webhook"
)

func main() {
	lines := bufio.NewReaderSize(os.Stdin, 1<<20)
	for {
		line, err := lines.ReadString('\\n')
		if err != nil {
			return
		}
		fields := strings.Split(strings.TrimSuffix(line, "\\n"), " ")
		seconds, _ := strconv.ParseInt(fields[1], 10, 64)
		places := map[string]int{"webhook-id": 2, "webhook-timestamp": 3, "webhook-signature": 4}
		header := func(name string) string {
			value, _ := base64.StdEncoding.DecodeString(fields[places[name]])
			return string(value)
		}
		body, _ := base64.StdEncoding.DecodeString(fields[5])
		if webhook.Verify(strings.Split(fields[0], ","), header, body, time.Unix(seconds, 0)) {
			fmt.Println(1)
		} else {
			fmt.Println(0)
		}
	}
}
"""
PHP = """<?php
error_reporting(E_ALL);
set_error_handler(function ($n, $text) { throw new ErrorException($text); });
require 'verify.php';
while (($line = fgets(STDIN)) !== false) {
    [$secrets, $now, $id, $time, $signatures, $body] = explode(' ', rtrim($line, "\\n"));
    $headers = [];
    foreach (['Webhook-Id' => $id, 'Webhook-Timestamp' => $time, 'Webhook-Signature' => $signatures] as $name => $value) {
        if ($value !== '-') { $headers[$name] = base64_decode($value); }
    }
    echo (int) verify_webhook(explode(',', $secrets), $headers, base64_decode($body), (int) $now), "\\n";
}
"""
RUBY = """
require_relative "verify"
$stdin.each_line(chomp: true) do |line|
  secrets, now, id, time, signatures, body = line.split(" ", -1)
  given = { "webhook-id" => id, "webhook-timestamp" => time, "webhook-signature" => signatures }
  headers = given.reject { |_, value| value == "-" }.transform_values { |value| value.unpack1("m") }
  puts verify_webhook(secrets.split(","), headers, body.to_s.unpack1("m"), now.to_i) ? 1 : 0
end
"""
JAVA = """
import java.nio.charset.StandardCharsets;
import java.util.*;

class Run {
    public static void main(String[] arguments) {
        Scanner lines = new Scanner(System.in);
        while (lines.hasNextLine()) {
            String[] fields = lines.nextLine().split(" ", -1);
            Map<String, String> headers = new HashMap<>();
            String[] names = {"webhook-id", "webhook-timestamp", "webhook-signature"};
            for (int number = 0; number < 3; number++)
                if (!fields[number + 2].equals("-"))
                    headers.put(names[number], new String(decoded(fields[number + 2]), StandardCharsets.ISO_8859_1));
            List<String> secrets = List.of(fields[0].split(","));
            boolean told = WebhookVerifier.verify(secrets, headers::get, decoded(fields[5]), Long.parseLong(fields[1]));
            System.out.println(told ? 1 : 0);
        }
    }

    static byte[] decoded(String text) { return Base64.getDecoder().decode(text); }
}
"""


def _node(folder: Path) -> list[str]:
    (folder / "run.mjs").write_text(NODE)
    return ["node", "run.mjs"]


def _go(folder: Path) -> list[str]:
    (folder / "go.mod").write_text("module example\n\ngo 1.18\n")
    (folder / "webhook").mkdir()
    (folder / "verify.go").rename(folder / "webhook/verify.go")
    (folder / "main.go").write_text(GO)
    _must(["go", "vet", "./..."], folder)
    _must(["go", "build", "-o", "run", "."], folder)
    return ["./run"]


def _php(folder: Path) -> list[str]:
    (folder / "run.php").write_text(PHP)
    return ["php", "run.php"]


def _ruby(folder: Path) -> list[str]:
    (folder / "run.rb").write_text(RUBY)
    return ["ruby", "-w", "run.rb"]


def _java(folder: Path) -> list[str]:
    (folder / "Run.java").write_text(JAVA)
    _must(["javac", "-encoding", "UTF-8", "-Xlint:all", "-Werror", "Run.java", "WebhookVerifier.java"], folder)
    return ["java", "-Xshare:auto", "Run"]


PROGRAMS: dict[str, tuple[str, Callable[[Path], list[str]]]] = {
    "verify.mjs": ("node", _node),
    "verify.go": ("go", _go),
    "verify.php": ("php", _php),
    "verify.rb": ("ruby", _ruby),
    "WebhookVerifier.java": ("javac", _java),
}

LENIENT = {
    "webhook-signature twice": "what is joined by a comma is read up to it",
    "a space before the signature": "an empty part is passed over",
    "a space after the signature": "the same",
    "two spaces between signatures": "the same",
    "a tab between signatures": "decoders pass over white space",
    "a newline after the signature": "the same",
    "signatures joined by a comma, as some servers join repeated headers": "read up to the comma",
    "a malformed part beside a good one": "the good one counts",
    "base64url instead of base64": "another spelling of the right bytes",
    "base64 without padding": "the same",
    "base64 with bits left over": "the same",
    "a value beyond ASCII": "passed over by decoders",
    "a signature header of more than 4096 characters": "servers bound their headers",
    "21 signatures": "the first twenty are looked at",
    "ed25519: the signature twice": "what is joined by a comma is read up to it",
    "ed25519: four signatures": "the first twenty are looked at",
    "ed25519: base64 without padding": "another spelling of the right bytes",
    "ed25519: base64 with bits left over": "the same",
    "ed25519: base64url": "the same",
}
"""Requests that ``webhook_signature`` refuses for their form, and that these may accept: each has a right signature."""


def _must(command: Sequence[str], folder: Path) -> None:
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, check=False, timeout=BUILD_SECONDS_MAX, env=_environment()
    )
    assert done.returncode == 0, done.stdout + done.stderr


def _environment() -> dict[str, str]:
    """Nothing is fetched from anywhere, and what is compiled stays out of the home directory."""
    return os.environ | {"GOPROXY": "off", "GOFLAGS": "-mod=mod", "GOTOOLCHAIN": "local"}


def _line(vector: dict[str, Any]) -> str:
    fields = [",".join(vector["secrets"]), str(vector["now_seconds"])]
    for name in ("webhook-id", "webhook-timestamp", "webhook-signature"):
        # As servers join a header that occurs twice (RFC 9110, 5.3).
        values = [value for each, value in vector["headers"] if each.lower() == name]
        fields.append(base64.b64encode(", ".join(values).encode()).decode() if values else "-")
    return " ".join([*fields, vector["body_base64"]])


def _is_for_all(vector: dict[str, Any]) -> bool:
    """Whether it is about what every verifier does: their tolerance is fixed, and servers bound the body."""
    is_plain = not {"tolerance_seconds", "body_bytes_max", "signature_header"} & vector.keys()
    has_private_key = any(each.startswith("whsk_") for each in vector["secrets"])
    return is_plain and vector.get("style", "standard") in {"standard", "ed25519"} and not has_private_key


PUBLIC = "A6EHv/POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg="


def _forged(name: str, secret: str, key: bytes) -> dict[str, Any]:
    """A request that anybody could have signed: ``key`` is what a careless verifier makes of the secret."""
    digest = hmac.digest(key, b"msg_a.1700000000.{}", "sha256")
    headers = {"id": "msg_a", "timestamp": "1700000000", "signature": f"v1,{base64.b64encode(digest).decode()}"}
    return {
        "name": name,
        "secrets": [secret],
        "now_seconds": 1_700_000_000,
        "headers": [(f"webhook-{part}", value) for part, value in headers.items()],
        "body_base64": base64.b64encode(b"{}").decode(),
        "expect": {"reason": "no_match"},
    }


FORGED = [
    _forged("a public key as if it were a shared secret", f"whpk_{PUBLIC}", base64.b64decode(PUBLIC)),
    _forged("an empty key", "whsec_", b""),
    _forged("a short key", "whsec_Z3Vlc3M=", b"guess"),
    _forged("a placeholder, read leniently", "whsec_new…", base64.b64decode("new=")),
    _forged("no base64 at all", "whsec_…", b""),
]
REQUESTS = [*(each for each in VECTORS["requests"] if _is_for_all(each)), *FORGED]


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_verifier_decides_as_ours_does(name: str, tmp_path: Path) -> None:
    program, make = PROGRAMS[name]
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed, so {name} was NOT tested")
    shutil.copy(FOLDER / name, tmp_path)
    command = make(tmp_path)
    lines = "".join(f"{_line(each)}\n" for each in REQUESTS)

    done = subprocess.run(
        command, cwd=tmp_path, input=lines, capture_output=True, text=True, check=False, timeout=BUILD_SECONDS_MAX
    )

    assert (done.returncode, done.stderr) == (0, "")
    told = done.stdout.split()
    assert len(told) == len(REQUESTS)
    wrong = [
        each["name"]
        for each, answer in zip(REQUESTS, told, strict=True)
        if (answer == "1") != ("key_index" in each["expect"])
    ]
    assert [each for each in wrong if each not in LENIENT] == []


def test_what_may_be_accepted_is_refused_for_its_form_only() -> None:
    """None of the exceptions is about the time or a signature that does not match."""
    known = {each["name"]: each["expect"] for each in REQUESTS}
    assert {known[name].get("reason") for name in LENIENT} == {"bad_header"}


def test_every_verifier_is_tested_and_shown_in_the_guide() -> None:
    assert {each.name for each in FOLDER.iterdir()} == PROGRAMS.keys() == set(VERIFIERS)
    page = (ROOT / "docs/receiving.md").read_text("utf-8")
    assert [name for name in PROGRAMS if (FOLDER / name).read_text("utf-8").rstrip() not in page] == []


def test_they_are_short_and_lines_fit() -> None:
    for name in PROGRAMS:
        lines = (FOLDER / name).read_text("utf-8").splitlines()
        assert max(map(len, lines)) <= 120, name
