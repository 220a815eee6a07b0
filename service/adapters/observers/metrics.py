"""The metrics. Labels come from closed sets: never an id, never a URL."""

import math
import platform
import time
from typing import Final, Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, disable_created_metrics

from service import __version__
from service.adapters.observers.exposition import is_multiprocess, render
from service.core.deliveries.delivery import FINAL_STATES, State
from service.core.deliveries.fairness.lane import LaneState
from service.core.deliveries.outcome import OutcomeKind
from service.core.deliveries.settlement import Settled
from service.core.reason import ParkReason, Reason
from service.core.stream.told import GapReason
from service.ports.observer import (
    AddressBlocked,
    AgesMeasured,
    AttemptSettled,
    BacklogMeasured,
    BatchRecorded,
    BatchSettled,
    DaysMade,
    DeliveriesCounted,
    DeliveriesExpired,
    EventTaken,
    FannedOut,
    Hears,
    KeysMeasured,
    LeasesRescued,
    LoadMeasured,
    MessageParked,
    MessageRedelivered,
    ReplaysMade,
    StreamGap,
    StreamsOpen,
    Trouble,
)
from service.ports.requests import KEYS_EXPIRING_WITHIN_DAYS
from service.ports.store import Disposition

NAMESPACE: Final = "posthorn"
NO_REASON: Final = "none"
PARKED: Final = "parked"

_ATTEMPT_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 15.0, 30.0, 60.0)
_LATENCY_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 15, 60, 300, 900, 3_600, 14_400, 86_400, 259_200)
_COMMIT_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
_LAG_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0)
_BATCH_SIZES = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000)

GaugeMode = Literal["livesum", "livemin", "livemax", "livemostrecent"]

# They double the number of series and add nothing to process_start_time_seconds.
disable_created_metrics()  # type: ignore[no-untyped-call]


class MetricsObserver:
    """Counts what happens. All label children are created at the start: the hot path looks up a dict and adds one."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.registry = registry or CollectorRegistry()
        self._make_intake_metrics()
        self._make_delivery_metrics()
        self._make_gauges()
        if registry is None and not is_multiprocess():
            ProcessCollector(registry=self.registry)

    def _make_intake_metrics(self) -> None:
        self._received = self._counter("events_received", "Events received, by outcome.", "source", "outcome")
        parked = self._counter("events_parked", "Broker messages parked, by reason.", "reason")
        self._parked = {reason: parked.labels(reason) for reason in ParkReason}
        self._duplicates = self._counter("events_duplicate", "Events that were recorded already.")
        self._redeliveries = self._counter("broker_redeliveries", "Messages that the broker sent again.")
        self._recorded = self._counter("deliveries_recorded", "Deliveries recorded.")
        self._intake_sizes = self._histogram("intake_batch_size", "Events in one intake transaction.", _BATCH_SIZES)
        self._commits = self._histogram("commit_duration_seconds", "Duration of a commit.", _COMMIT_SECONDS, "kind")
        self._intake_commits = self._commits.labels("intake")
        self._received_by: dict[tuple[str, str], Counter] = {}

    def _make_delivery_metrics(self) -> None:
        attempts = self._counter("attempts", "Attempts whose outcome is committed.", "outcome", "reason")
        self._attempts: dict[tuple[OutcomeKind, Reason | None], Counter] = {
            (OutcomeKind.ACCEPTED, None): attempts.labels(OutcomeKind.ACCEPTED, NO_REASON)
        }
        for outcome in (OutcomeKind.FAILED, OutcomeKind.GONE):
            for reason in _ATTEMPT_REASONS if outcome is OutcomeKind.FAILED else (Reason.GONE,):
                self._attempts[outcome, reason] = attempts.labels(outcome, reason)
        self._all_attempts = attempts
        self._all_finished = self._counter("deliveries_finished", "Deliveries that ended.", "state", "reason")
        self._finished: dict[tuple[State, Reason | None], Counter] = {
            (state, reason): self._all_finished.labels(state, reason or NO_REASON) for state, reason in _ENDS
        }
        self._durations = self._histogram("attempt_duration_seconds", "Duration of an attempt.", _ATTEMPT_SECONDS)
        self._latencies = self._histogram("delivery_latency_seconds", "Time from intake to the 2xx.", _LATENCY_SECONDS)
        self._settle_sizes = self._histogram("settle_batch_size", "Settlements in one transaction.", _BATCH_SIZES)
        self._settle_commits = self._commits.labels("settle")
        self._rescued = self._counter("leases_rescued", "Leases that expired and were taken over.")
        self._late = self._counter("late_settlements", "Settlements of deliveries that had moved on already.")
        self._egress_blocked = self._counter("egress_blocked", "Connections blocked by the egress policy.", "reason")
        gaps = self._counter("stream_gaps", "Gaps that listeners were told of, by reason.", "reason")
        self._stream_gaps = {reason: gaps.labels(reason) for reason in GapReason}
        self._troubles = self._counter("troubles", "Failed steps that were tried again.", "where")

    def _make_gauges(self) -> None:
        everyone: GaugeMode = "livesum"  # each process has its own share
        latest: GaugeMode = "livemostrecent"  # each process measures the same thing
        self._in_flight = self._gauge("in_flight", "Attempts in flight.", everyone)
        self._held = self._gauge("leases_held", "Leases held, in flight or waiting in a lane.", everyone)
        lanes = self._gauge("lanes", "Lanes by state.", everyone, "state")
        self._lanes = {state: lanes.labels(state) for state in LaneState}
        self._due = self._gauge("due_backlog", "Deliveries due and not leased.", latest)
        self._due_age = self._gauge("oldest_due_age_seconds", "Time since the oldest fell due.", latest)
        self._gated = self._gauge("gated_backlog", "Deliveries due but held back by a gate.", latest)
        self._gated_age = self._gauge("oldest_gated_age_seconds", "Time since the oldest fell due.", latest)
        self._fan_outs = self._gauge("fan_outs_waiting", "Events whose deliveries are not all made.", latest)
        self._gates = self._gauge("gates", "Shut gates by kind.", latest, "kind")
        self._gate_kinds: set[str] = set()
        self._days_ahead = self._gauge("days_ahead", "Days after today that have their partitions.", latest)
        self._days_ahead.set(math.nan)  # until it is measured, and where it never is: 0 would be an alarm
        self._oldest_ratio = self._gauge(
            "oldest_open_retention_ratio", "Age of the oldest open delivery's event, by the retention.", latest
        )
        self._keys_expiring = self._gauge(
            "keys_expiring", f"API keys that expire within {KEYS_EXPIRING_WITHIN_DAYS} days.", latest
        )
        self._streams_open = self._gauge("streams_open", "Open streams.", everyone)
        self._counted_until = self._gauge(
            "counted_until_timestamp_seconds", "Up to when deliveries that ended are counted, in Unix seconds.", latest
        )
        self._counted_until.set(math.nan)  # until something is counted
        self._broker_connected = self._gauge("broker_connected", "1 while messages can arrive.", "livemin")
        self.database_pool_in_use = self._gauge("database_pool_in_use", "Database connections in use.", everyone)
        self.clock_skew_seconds = self._gauge("clock_skew_seconds", "Local clock minus the database's.", latest)
        self.loop_lag_seconds = self._histogram(
            "loop_lag_seconds", "How late the event loop came to what was due.", _LAG_SECONDS
        )
        build = self._gauge("build_info", "The running version.", "livemax", "version", "python")
        build.labels(__version__, platform.python_version()).set(1)

    def _counter(self, name: str, help_text: str, *labels: str) -> Counter:
        return Counter(name, help_text, labels, namespace=NAMESPACE, registry=self.registry)

    def _histogram(self, name: str, help_text: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
        return Histogram(name, help_text, labels, namespace=NAMESPACE, registry=self.registry, buckets=buckets)

    def _gauge(self, name: str, help_text: str, mode: GaugeMode, *labels: str) -> Gauge:
        return Gauge(name, help_text, labels, namespace=NAMESPACE, registry=self.registry, multiprocess_mode=mode)

    # ------------------------------------------------------------------ happenings of the flow

    @property
    def hears(self) -> Hears:
        """The happenings that are counted."""
        return {
            EventTaken: self._event_taken,
            MessageParked: self._message_parked,
            MessageRedelivered: lambda _: self._redeliveries.inc(),
            BatchRecorded: self._batch_recorded,
            FannedOut: lambda fanned_out: self._recorded.inc(fanned_out.delivery_count),
            ReplaysMade: lambda made: self._recorded.inc(made.made_count),
            AttemptSettled: self._attempt_settled,
            BatchSettled: self._batch_settled,
            LeasesRescued: lambda rescued: self._rescued.inc(rescued.count),
            BacklogMeasured: self._backlog_measured,
            DaysMade: lambda made: self._days_ahead.set(made.ahead_count),
            DeliveriesExpired: self._deliveries_expired,
            AgesMeasured: lambda measured: self._oldest_ratio.set(measured.ages.ratio),
            DeliveriesCounted: lambda counted: self._counted_until.set(time.time() - counted.lag_seconds),
            KeysMeasured: lambda measured: self._keys_expiring.set(measured.expiring_count),
            LoadMeasured: self._load_measured,
            AddressBlocked: lambda blocked: self._egress_blocked.labels(blocked.verdict or NO_REASON).inc(),
            StreamsOpen: lambda streams: self._streams_open.set(streams.count),
            StreamGap: lambda gap: self._stream_gaps[gap.reason].inc(),
            Trouble: lambda trouble: self._troubles.labels(trouble.where).inc(),
        }

    def _event_taken(self, taken: EventTaken) -> None:
        self._count_received(taken.source, taken.disposition)
        if taken.disposition is Disposition.DUPLICATE:
            self._duplicates.inc()

    def _message_parked(self, parked: MessageParked) -> None:
        self._count_received(parked.source, PARKED)
        self._parked[parked.reason].inc()

    def _count_received(self, source: str, outcome: str) -> None:
        child = self._received_by.get((source, outcome))
        if child is None:
            child = self._received_by[source, outcome] = self._received.labels(source, outcome)
        child.inc()

    def _batch_recorded(self, recorded: BatchRecorded) -> None:
        self._recorded.inc(recorded.delivery_count)
        self._intake_sizes.observe(recorded.event_count)
        self._intake_commits.observe(recorded.seconds)

    def _attempt_settled(self, happening: AttemptSettled) -> None:
        """Count an attempt, and its delivery if it ended."""
        settled = happening.settled
        attempt = settled.attempt
        if attempt is not None:
            key = (attempt.outcome, attempt.reason)
            child = self._attempts.get(key)
            if child is None:
                child = self._attempts[key] = self._all_attempts.labels(attempt.outcome, attempt.reason or NO_REASON)
            child.inc()
            self._durations.observe(attempt.duration_ms / 1000)
        if not happening.has_moved:
            self._late.inc()
        elif settled.settlement.state in FINAL_STATES:
            self._finish(settled)

    def _finish(self, settled: Settled) -> None:
        state, reason, attempt = settled.settlement.state, settled.settlement.reason, settled.attempt
        child = self._finished.get((state, reason))
        if child is None:
            child = self._finished[state, reason] = self._all_finished.labels(state, reason or NO_REASON)
        child.inc()
        if state is State.DELIVERED and attempt is not None:
            waited_seconds = (attempt.started_at - settled.delivery.created_at).total_seconds()
            self._latencies.observe(max(0.0, waited_seconds) + attempt.duration_ms / 1000)

    def _batch_settled(self, batch: BatchSettled) -> None:
        self._settle_sizes.observe(batch.count)
        self._settle_commits.observe(batch.seconds)

    def _backlog_measured(self, measured: BacklogMeasured) -> None:
        """Set the backlog gauges. A kind of gate that is no longer shut anywhere returns to 0."""
        backlog = measured.backlog
        self._due.set(backlog.due_count)
        self._due_age.set(backlog.oldest_due_age_seconds)
        self._gated.set(backlog.gated_count)
        self._fan_outs.set(backlog.fan_out_count)
        self._gated_age.set(backlog.oldest_gated_age_seconds)
        self._gate_kinds |= backlog.gates.keys()
        for kind in self._gate_kinds:
            self._gates.labels(kind).set(backlog.gates.get(kind, 0))

    def _deliveries_expired(self, happening: DeliveriesExpired) -> None:
        self._finished[State.DEAD, Reason.PAST_RETENTION].inc(happening.expired.delivery_count)

    def _load_measured(self, load: LoadMeasured) -> None:
        self._in_flight.set(load.in_flight)
        self._held.set(load.held)
        for state, child in self._lanes.items():
            child.set(load.lane_states.get(state, 0))

    # ------------------------------------------------------------------ measurements of the process

    def broker_connected(self, connected: bool) -> None:  # noqa: FBT001 - it is the measurement
        """Show whether messages can arrive."""
        self._broker_connected.set(connected)

    def render(self, accept: str = "") -> tuple[bytes, str]:
        """The metrics in the format that the Accept header requests, and its content type."""
        return render(self.registry, accept)


_ENDS: Final = (
    (State.DELIVERED, None),
    (State.DEAD, Reason.ATTEMPTS_EXHAUSTED),
    (State.DEAD, Reason.AGE_EXCEEDED),
    (State.DEAD, Reason.CRASHES_WORKER),
    (State.DEAD, Reason.PAST_RETENTION),
    (State.DEAD, Reason.PAYLOAD_TOO_LARGE),
    (State.DEAD, Reason.INTERNAL),
    (State.DEAD, Reason.EGRESS_PROXY),
    (State.DEAD, Reason.AUTH_REFUSED),
    (State.DEAD, Reason.AUTH_UNAVAILABLE),
    (State.CANCELLED, Reason.GONE),
    (State.CANCELLED, Reason.SUBSCRIPTION_DELETED),
)
_FINAL_REASONS: Final = {
    Reason.ATTEMPTS_EXHAUSTED,
    Reason.AGE_EXCEEDED,
    Reason.CRASHES_WORKER,
    Reason.PAST_RETENTION,
}
_ATTEMPT_REASONS: Final = tuple(
    reason for reason in Reason if reason not in _FINAL_REASONS | {Reason.GONE, Reason.SUBSCRIPTION_DELETED}
)
