"""A report as a document, the same for every face."""

from collections.abc import Mapping
from typing import Any, Final

from service.core.deliveries.request import Reply
from service.core.endpoints.url import masked_url
from service.core.rehearsals.report import Report
from service.core.rehearsals.result import CaseResult, Sent

TEXT_BYTES_MAX: Final = 300
"""Of what a receiver answered; enough for its error message."""


def shown_report(report: Report) -> Mapping[str, Any]:
    """The report as a JSON object; times are datetimes still."""
    return {
        "url": masked_url(report.url),
        "event_type": report.event_type,
        "began_at": report.began_at,
        "duration_ms": report.duration_ms,
        "conclusion": report.conclusion.value,
        "sentence": report.sentence,
        "findings": [
            {
                "code": each.code.value,
                "level": each.level.value,
                "sentence": each.sentence,
                "remedy": each.remedy,
                "cases": [name.value for name in each.cases],
            }
            for each in report.findings
        ],
        "cases": [_shown_case(each) for each in report.results],
    }


def _shown_case(result: CaseResult) -> Mapping[str, Any]:
    return {
        "case": result.case.name.value,
        "what": result.case.what,
        "verdict": result.verdict.value,
        "why_not": result.why_not or None,
        "requests": [_shown_request(each) for each in result.sent],
    }


def _shown_request(sent: Sent) -> Mapping[str, Any]:
    answer = sent.answer
    reply, fault = (answer, None) if isinstance(answer, Reply) else (None, answer)
    text = reply.body[:TEXT_BYTES_MAX].decode("utf-8", "replace") if reply else ""
    return {
        "event_id": sent.event_id,
        "body_bytes": sent.body_bytes,
        "wanted": sent.wanted.value,
        "is_fit": sent.is_fit,
        "status": sent.status,
        "duration_ms": answer.duration_ms,
        "reason": fault.reason.value if fault else None,
        "detail": fault.detail if fault else None,
        "text": text.replace("\0", "\ufffd"),
        "is_kept_connection": reply is not None and reply.is_kept_connection,
    }
