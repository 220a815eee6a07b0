"""``rehearse``: send a receiver what it will get one day, and say what its answers are worth."""

import asyncio
import secrets
import sys
from typing import Final

import typer

from service.adapters.exit.sender import HttpSender
from service.adapters.system import SystemClock
from service.cli.own_machine import OWN_MACHINE, require_allowed
from service.cli.tables import Column, print_table
from service.cli.terminal import BAD_USAGE, FAILED, CommandError, print_json, print_line
from service.core.endpoints.endpoint import Endpoint, Secret
from service.core.events.registry import REGISTRY
from service.core.rehearsals.findings import Level
from service.core.rehearsals.report import Conclusion, Report
from service.core.rehearsals.result import CaseResult, Verdict
from service.core.rehearsals.shown import shown_report
from service.core.suggestion import did_you_mean
from service.flow.rehearse import rehearse as rehearse_endpoint
from webhook_signature import VerificationError
from webhook_signature.styles import StyleName, style_named

ORGANIZATION_ID: Final = "org_rehearsal"


def rehearse(
    url: str,
    secret: list[str] | None,
    event_type: str,
    header: list[str] | None,
    *,
    style: StyleName,
    signature_header: str | None,
    as_json: bool,
) -> None:
    """Do it and print the report. Raises ``typer.Exit`` if events would be lost or forged."""
    if event_type not in REGISTRY:
        raise CommandError(
            f"--event-type: no such type{did_you_mean(event_type, REGISTRY) or '.'} Known: {', '.join(REGISTRY)}",
            BAD_USAGE,
        )
    require_allowed(url, "URL")
    texts = secret or [_ask_for_secret()]
    endpoint = _endpoint(url, texts, style, signature_header, _headers(header or []))

    async def run() -> Report | str:
        async with HttpSender(OWN_MACHINE) as sender:
            return await rehearse_endpoint(endpoint, event_type, sender, SystemClock(), secrets.token_bytes)

    report = asyncio.run(run())
    if isinstance(report, str):
        raise CommandError(report)
    if as_json:
        print_json(shown_report(report))
    else:
        _print(report)
    if report.conclusion in {Conclusion.FAILED, Conclusion.INCOMPLETE}:
        raise typer.Exit(FAILED)


def _ask_for_secret() -> str:
    if sys.stdin.isatty():
        text: str = typer.prompt("Secret", hide_input=True, err=True)
    else:
        text = sys.stdin.readline().strip()
    if not text:
        raise CommandError("give the endpoint's secret with --secret, or on standard input", BAD_USAGE)
    return text


def _endpoint(
    url: str, texts: list[str], style_name: str, signature_header: str | None, headers: dict[str, str]
) -> Endpoint:
    try:
        style = style_named(style_name, signature_header)
        keys = tuple(Secret(style.decode_secret(text)) for text in texts)
        endpoint = Endpoint("", ORGANIZATION_ID, url, keys, headers=headers, style=style)
        style.write([each.key for each in keys], "evt_1", 0, b"")  # refuses public keys, and too many
    except VerificationError as error:
        raise CommandError(f"--secret: {error.detail}", BAD_USAGE) from None
    except ValueError as error:
        raise CommandError(str(error), BAD_USAGE) from None
    return endpoint


def _headers(lines: list[str]) -> dict[str, str]:
    headers = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or not name.strip() or not line.isprintable() or not line.isascii():
            raise CommandError(f"--header: write it as 'Name: value', not {line!r}", BAD_USAGE)
        headers[name.strip()] = value.strip()
    return headers


_SIGNS: Final = {Verdict.PASSED: "ok", Verdict.FAILED: "WRONG", Verdict.NOT_RUN: "-"}


def _print(report: Report) -> None:
    columns = (Column("case"), Column(""), Column("should be"), Column("was"), Column("sent", moves=True))
    rows = [
        (each.case.name, _SIGNS[each.verdict], _wanted(each), _was(each), each.case.what) for each in report.results
    ]
    print_table(columns, rows, nothing="")
    print_line("")
    for why_not in dict.fromkeys(each.why_not for each in report.results if each.why_not and not each.is_unfit):
        print_line(f"Not tried: {why_not}.")
    for finding in report.findings:
        print_line(f"{'MUST' if finding.level is Level.MUST else 'should'}  {finding.code}: it {finding.sentence}.")
        print_line(f"      {finding.remedy}")
        print_line(f"      Seen in: {', '.join(finding.cases)}.")
    print_line(f"{report.conclusion}: {report.sentence}, in {report.duration_ms / 1000:.1f} s.")


def _wanted(result: CaseResult) -> str:
    return ", then ".join(result.case.wanted)


def _was(result: CaseResult) -> str:
    if result.why_not:
        return result.why_not if result.is_unfit or result.sent else "not tried"
    told = [each.told for each in result.sent]
    counted = [f"{told.count(each)} x {each}" if told.count(each) > 1 else each for each in dict.fromkeys(told)]
    slowest = max(each.answer.duration_ms for each in result.sent)
    return f"{', '.join(counted)} in {slowest} ms"
