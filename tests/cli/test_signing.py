"""sign and verify: the two ends of a signature, by hand."""

from pathlib import Path

import pytest

from tests.cli.command import CommandServer

pytestmark = pytest.mark.clock

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
OTHER = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
BODY = b'{"id":"evt_1"}'


async def test_what_was_signed_verifies(
    commands: CommandServer, bare_environment: dict[str, str], tmp_path: Path
) -> None:
    body, headers = tmp_path / "body.json", tmp_path / "headers.txt"
    body.write_bytes(BODY)
    signed = await commands.run(bare_environment, "sign", "--secret", SECRET, "--id", "evt_1", "-", stdin=BODY)
    assert signed.code == 0
    names = [line.partition(": ")[0] for line in signed.out.splitlines()]
    assert names == ["webhook-id", "webhook-timestamp", "webhook-signature"]
    headers.write_text("POST /hook HTTP/1.1\nHost: example.org\n" + signed.out)
    check = ("verify", "--headers", str(headers), str(body), "--secret")
    assert (await commands.run(bare_environment, *check, SECRET)).out == "ok\n"
    wrong = await commands.run(bare_environment, *check, OTHER, "--json")
    assert (wrong.code, wrong.json["ok"], wrong.json["reason"]) == (1, False, "no_match")
    both = await commands.run(bare_environment, *check, OTHER, "--secret", SECRET, "--json")
    assert (both.code, both.json["key_index"]) == (0, 1)


async def test_the_reason_is_told(commands: CommandServer, bare_environment: dict[str, str], tmp_path: Path) -> None:
    headers = tmp_path / "headers.txt"
    sign = ("sign", "--secret", SECRET, "--id", "evt_1", "--timestamp", "1700000000", "-")
    headers.write_text((await commands.run(bare_environment, *sign, stdin=BODY)).out)
    verify = ("verify", "--secret", SECRET, "--headers", str(headers), "-")
    old = await commands.run(bare_environment, *verify, stdin=BODY)
    assert (old.code, old.out) == (1, "")
    assert old.err.startswith("too_old: ")
    headers.write_text("")
    assert (await commands.run(bare_environment, *verify, stdin=BODY)).err.startswith("missing_header: ")


async def test_the_other_styles(commands: CommandServer, bare_environment: dict[str, str], tmp_path: Path) -> None:
    headers = tmp_path / "headers.txt"
    options = ("--secret", "any text", "--style", "t-v1", "--signature-header", "X-Blooio-Signature")
    headers.write_text((await commands.run(bare_environment, "sign", *options, "-", stdin=BODY)).out)
    assert headers.read_text().startswith("X-Blooio-Signature: t=")
    verify = ("verify", "--headers", str(headers), "-")
    assert (await commands.run(bare_environment, *verify, *options, stdin=BODY)).out == "ok\n"
    wrong = await commands.run(bare_environment, *verify, "--secret", "any text", "--style", "sha256-body", stdin=BODY)
    assert wrong.err.startswith("missing_header: ")
    unknown = await commands.run(bare_environment, *verify, "--secret", "any text", "--style", "sha1", stdin=BODY)
    assert unknown.code == 2
    assert all(style in unknown.err for style in ("standard", "sha256-body", "t-v1"))
    misplaced = await commands.run(bare_environment, *verify, "--secret", SECRET, *options[4:], stdin=BODY)
    assert (misplaced.code, misplaced.out) == (2, "")


async def test_a_pair_of_keys(commands: CommandServer, bare_environment: dict[str, str], tmp_path: Path) -> None:
    private, public = "whsk_" + OTHER[6:], "whpk_A6EHv/POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg="
    headers = tmp_path / "headers.txt"
    style = ("--style", "ed25519")
    signed = await commands.run(bare_environment, "sign", *style, "--secret", private, "--id", "evt_1", "-", stdin=BODY)
    headers.write_text(signed.out)
    verify = ("verify", *style, "--headers", str(headers), "-", "--secret")
    assert (await commands.run(bare_environment, *verify, public, stdin=BODY)).out == "ok\n"
    shared = await commands.run(bare_environment, *verify, OTHER, stdin=BODY)
    assert (shared.code, shared.err.startswith("--secret: an ed25519 key must be text")) == (2, True)
    told = await commands.run(bare_environment, "sign", *style, "--secret", public, "--id", "evt_1", "-", stdin=BODY)
    assert (told.code, "sign with a private key" in told.err) == (2, True)


async def test_wrong_usage_is_told_without_the_secret(
    commands: CommandServer, bare_environment: dict[str, str]
) -> None:
    told = await commands.run(bare_environment, "sign", "--secret", "whsec_hunter2", "--id", "evt_1", "-")
    assert (told.code, told.out) == (2, "")
    assert "hunter2" not in told.err
    dotted = await commands.run(bare_environment, "sign", "--secret", SECRET, "--id", "evt.1", "-")
    assert dotted.code == 2
    missing = await commands.run(bare_environment, "sign", "--secret", SECRET, "--id", "evt_1", "/nowhere")
    assert missing.code == 2
    assert "/nowhere cannot be read" in missing.err
