"""The metrics page that Prometheus scrapes, for one process or for several together.

With several processes, the supervisor sets PROMETHEUS_MULTIPROC_DIR before prometheus_client is first imported. Then
every process writes there, and ``render`` combines them.
"""

import os
from typing import Final

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

MULTIPROCESS_VARIABLE: Final = "PROMETHEUS_MULTIPROC_DIR"


def is_multiprocess() -> bool:
    """Whether several processes share one set of metrics."""
    return bool(os.environ.get(MULTIPROCESS_VARIABLE))


def render(registry: CollectorRegistry, accept: str = "") -> tuple[bytes, str]:
    """The metrics in the format that the Accept header requests, and its content type."""
    source = registry
    if is_multiprocess():
        source = CollectorRegistry()
        MultiProcessCollector(source)  # type: ignore[no-untyped-call]
    encode, content_type = choose_encoder(accept)
    return encode(source), content_type


def process_ended(pid: int) -> None:
    """Drop the gauges of a process that has ended; its counters stay."""
    mark_process_dead(pid)  # type: ignore[no-untyped-call]
