"""Logs: one line per happening on stderr, for machines (JSON) or people (console).

A line never contains a secret, a payload, a header or a URL's query: errors are cut after their first line (SQLAlchemy
puts statements and parameters into the rest), and URLs lose their credentials and queries.
"""

import logging
import re
import sys
import traceback
from collections.abc import MutableMapping
from typing import Any, Final, Literal, TextIO

import structlog
from structlog.typing import FilteringBoundLogger, Processor

from service.core.deliveries.outcome import OutcomeKind
from service.core.deliveries.settlement import Settled
from service.core.endpoints.gates.failing import Stage
from service.core.replays.job import ENDED
from service.core.timestamp import format_timestamp
from service.ports.errors import UnavailableError
from service.ports.observer import (
    AddressBlocked,
    AttemptSettled,
    DeliveriesExpired,
    EndpointAges,
    EndpointExpires,
    EndpointJudged,
    EndpointRecovers,
    Hears,
    KeyExpires,
    KeyLeaked,
    LeasesRescued,
    MessageParked,
    ReplaysMade,
    Trouble,
)

SAMPLE_EVERY: Final = 100
ERROR_CHARACTERS_MAX: Final = 300
FRAMES_MAX: Final = 8

LogFormat = Literal["auto", "json", "console"]
LogAttempts = Literal["failures", "all", "sampled"]

_URL = re.compile(r"(?P<scheme>\b[a-z][a-z0-9+.-]*://)(?:[^\s?#'\"]*@)?(?P<place>[^\s?#'\"]*)(?P<query>[?#][^\s'\"]*)?")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def configure_logs(log_format: LogFormat = "auto", log_level: str = "info", stream: TextIO | None = None) -> None:
    """Set up structlog, and format the standard library's log records (from WARNING up) in the same way."""
    target = sys.stderr if stream is None else stream
    level = logging.getLevelNamesMapping()[log_level.upper()]
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="timestamp"),
        _tell_exception,
    ]
    is_console = log_format == "console" or (log_format == "auto" and target.isatty())
    last: list[Processor] = [structlog.processors.JSONRenderer()]
    if is_console:
        last = [_escape, structlog.dev.ConsoleRenderer(colors=target.isatty())]
    structlog.configure(
        processors=[*shared, *last],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(target),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(target)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *shared],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(max(level, logging.WARNING))


def safe_text(text: str) -> str:
    """The first line, truncated, with credentials and queries removed from its URLs."""
    first_line = text.strip().partition("\n")[0][:ERROR_CHARACTERS_MAX]
    return _URL.sub(lambda url: url["scheme"] + url["place"] + ("?…" if url["query"] else ""), first_line)


def describe(error: BaseException, *, with_frames: bool = True) -> dict[str, str]:
    """An error as log fields: its type, its sanitised text, and where it was raised, innermost frame first."""
    fields = {"error_type": type(error).__name__, "error": safe_text(str(error))}
    if with_frames and error.__traceback__ is not None:
        frames = traceback.extract_tb(error.__traceback__)[-FRAMES_MAX:]
        fields["raised_at"] = " < ".join(
            f"{frame.filename.rpartition('/')[2]}:{frame.lineno} {frame.name}" for frame in reversed(frames)
        )
    return fields


def _tell_exception(_: object, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    found = event.pop("exc_info", None)
    if found is True:
        found = sys.exc_info()
    error = found[1] if isinstance(found, tuple) else found
    if isinstance(error, BaseException):
        event.update(describe(error))
    event["event"] = safe_text(str(event.get("event", "")))
    return event


def _escape(_: object, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Escape control characters, which a terminal would obey, and newlines, which could forge a line."""
    for key, value in event.items():
        if isinstance(value, str):
            event[key] = _CONTROL.sub(lambda found: repr(found[0])[1:-1], value)
    return event


class LogObserver:
    """Writes the log lines. ``log_attempts`` applies to successful attempts only; all else is always logged."""

    def __init__(self, log_attempts: LogAttempts = "failures", logger: FilteringBoundLogger | None = None) -> None:
        self._logger: FilteringBoundLogger = structlog.get_logger() if logger is None else logger
        self._log_attempts = log_attempts
        self._accepted_count = 0

    @property
    def hears(self) -> Hears:
        """The happenings that are logged. Very frequent and periodic ones only appear in the metrics."""
        return {
            AttemptSettled: self._attempt_settled,
            MessageParked: self._message_parked,
            LeasesRescued: lambda rescued: self._logger.warning("leases.rescued", count=rescued.count),
            DeliveriesExpired: self._deliveries_expired,
            EndpointAges: self._endpoint_ages,
            EndpointJudged: self._endpoint_judged,
            EndpointRecovers: self._endpoint_recovers,
            EndpointExpires: self._endpoint_expires,
            KeyLeaked: self._key_leaked,
            KeyExpires: self._key_expires,
            AddressBlocked: self._address_blocked,
            ReplaysMade: self._replays_made,
            Trouble: self._trouble,
        }

    def _attempt_settled(self, happening: AttemptSettled) -> None:
        """Log an attempt with all its fields."""
        settled = happening.settled
        attempt = settled.attempt
        is_accepted = attempt is not None and attempt.outcome is OutcomeKind.ACCEPTED
        if is_accepted and not self._wants_accepted():
            return
        fields = _fields_of(settled)
        if not happening.has_moved:
            fields["is_late"] = True  # the delivery had moved on before this settlement
        if attempt is None:
            self._logger.info("delivery.cancelled", **fields)
        elif attempt.outcome is OutcomeKind.FAILED:
            self._logger.warning("delivery.attempted", **fields)
        else:
            self._logger.info("delivery.attempted", **fields)

    def _wants_accepted(self) -> bool:
        if self._log_attempts != "sampled":
            return self._log_attempts == "all"
        self._accepted_count += 1
        return self._accepted_count % SAMPLE_EVERY == 1

    def _message_parked(self, parked: MessageParked) -> None:
        """Log a parked message without the detail, which may quote it: that is in its x-posthorn-detail header."""
        message_id = parked.message_id and parked.message_id[:64]
        self._logger.warning("message.parked", reason=str(parked.reason), message_id=message_id)

    def _deliveries_expired(self, happening: DeliveriesExpired) -> None:
        """Log who lost how many deliveries to retention."""
        expired = happening.expired
        self._logger.warning(
            "deliveries.expired",
            organization_id=expired.organization_id,
            endpoint_id=expired.endpoint_id,
            count=expired.delivery_count,
        )

    def _endpoint_ages(self, happening: EndpointAges) -> None:
        """Log whose deliveries will end unless they go out soon, and which gates hold them back."""
        ageing = happening.ageing
        self._logger.warning(
            "endpoint.ageing",
            organization_id=ageing.organization_id,
            endpoint_id=ageing.endpoint_id,
            count=ageing.delivery_count,
            oldest_age_days=round(ageing.oldest_age_days, 1),
            retention_days=happening.retention_days,
            gates=list(ageing.gates),
        )

    def _endpoint_judged(self, happening: EndpointJudged) -> None:
        """Log who was warned, and who is sent nothing more."""
        reached = happening.reached
        self._logger.warning(
            "endpoint.disabled" if reached.stage is Stage.DISABLED else "endpoint.failing",
            organization_id=reached.streak.organization_id,
            endpoint_id=reached.streak.endpoint_id,
            failing_since=format_timestamp(reached.streak.failing_since),
            attempts_failed=reached.streak.attempts_failed,
        )

    def _endpoint_recovers(self, happening: EndpointRecovers) -> None:
        """Log the end of what was said of an endpoint."""
        recovery = happening.recovery
        self._logger.info(
            "endpoint.recovered",
            organization_id=recovery.organization_id,
            endpoint_id=recovery.endpoint_id,
            failing_since=format_timestamp(recovery.failing_since),
            was_disabled=recovery.was_disabled,
        )

    def _endpoint_expires(self, happening: EndpointExpires) -> None:
        """Log whose ``valid_until`` has come."""
        expiry = happening.expiry
        self._logger.info(
            "endpoint.expired",
            organization_id=expiry.organization_id,
            endpoint_id=expiry.endpoint_id,
            valid_until=format_timestamp(expiry.valid_until),
        )

    def _key_leaked(self, leaked: KeyLeaked) -> None:
        """Log whose key was revoked because it leaked."""
        self._logger.warning("key.leaked", organization_id=leaked.organization_id, key_id=leaked.key_id)

    def _key_expires(self, happening: KeyExpires) -> None:
        """Log whose key ends soon, and whether it is used."""
        key = happening.key
        self._logger.warning(
            "key.expiring",
            organization_id=key.organization_id,
            key_id=key.key_id,
            expires_at=format_timestamp(key.expires_at),
            last_used_at=key.last_used_at and format_timestamp(key.last_used_at),
        )

    def _address_blocked(self, blocked: AddressBlocked) -> None:
        """Log what the customer does not see: the address that the URL led to, and the rule that forbade it."""
        reason = blocked.verdict and str(blocked.verdict)
        host, address = safe_text(blocked.host), safe_text(blocked.address)
        self._logger.warning("address.blocked", host=host, address=address, reason=reason)

    def _replays_made(self, made: ReplaysMade) -> None:
        """Log the end of a replay job."""
        if made.state in ENDED:
            self._logger.info("replay.ended", replay_id=made.job_id, state=str(made.state), reason=made.reason)

    def _trouble(self, trouble: Trouble) -> None:
        """Log what failed: an unavailable system as a warning, anything else as an error with its frames."""
        told = {key: safe_text(str(value)) for key, value in trouble.context.items()}
        if isinstance(trouble.error, UnavailableError):
            self._logger.warning("trouble", where=trouble.where, **describe(trouble.error, with_frames=False), **told)
        else:
            self._logger.error("trouble", where=trouble.where, **describe(trouble.error), **told)


def _fields_of(settled: Settled) -> dict[str, Any]:
    delivery, settlement, attempt = settled.delivery, settled.settlement, settled.attempt
    fields: dict[str, Any] = {
        "delivery_id": str(delivery.key),
        "event_id": delivery.event_id,
        "endpoint_id": delivery.endpoint_id,
        "organization_id": delivery.organization_id,
        "type": delivery.event_type,
        "state": str(settlement.state),
        "reason": settlement.reason and str(settlement.reason),
    }
    if attempt is not None:
        fields |= {
            "attempt": attempt.number,
            "outcome": str(attempt.outcome),
            "reason": attempt.reason and str(attempt.reason),
            "status": attempt.status,
            "duration_ms": attempt.duration_ms,
        }
        if settlement.reason not in {None, attempt.reason}:
            fields["final_reason"] = str(settlement.reason)
    if settlement.delay_seconds is not None:
        fields["next_attempt_in_seconds"] = round(settlement.delay_seconds, 3)
    return fields
