"""What a run measures: deliveries, latency, CPU and memory by kind of process."""

from array import array
from collections import Counter
from dataclasses import dataclass

import psutil

from bench.publisher import Ledger

MEBIBYTE = 1 << 20


@dataclass(frozen=True, slots=True)
class Result:
    """The figures of one run."""

    run: str
    deliveries: int
    seconds: float
    deliveries_per_second: float
    cpu_us_per_delivery: float
    cpu_us_by_process: dict[str, float]
    commits_per_delivery: float
    p50_ms: float
    p99_ms: float
    publisher_late_p99_ms: float
    lost: int
    duplicates: int
    resident_mib: list[dict[str, float]]  # at the end of each minute, by process; only with --minutes


class Processes:
    """CPU seconds and resident memory by kind of process, as the operating system reports them."""

    def __init__(self, supervisor: int, receiver: int, database: str) -> None:
        self._database = database
        tree = psutil.Process(supervisor)
        workers = [p.pid for p in (tree, *tree.children(recursive=True))]
        self._groups = {"worker": workers, "receiver": [receiver]}
        self._groups["rabbitmq"] = [p.pid for p in psutil.process_iter(["name"]) if "beam" in p.info["name"]]

    def cpu(self) -> dict[str, float]:
        """CPU seconds used so far."""
        return {name: sum(map(_cpu, pids)) for name, pids in {**self._groups, "postgres": self._postgres()}.items()}

    def resident(self) -> dict[str, float]:
        """Resident MiB now. PostgreSQL's backends share most of their memory, so only private memory is summed."""
        found = {}
        for name in ("worker", "receiver", "rabbitmq"):
            for number, pid in enumerate(self._groups[name]):
                numbered = f"{name}-{number}" if len(self._groups[name]) > 1 else name
                found[numbered] = round(_memory(pid, is_shared_counted=True), 1)
        backends = sum(_memory(pid, is_shared_counted=False) for pid in self._postgres())
        return found | {"postgres": round(backends, 1)}

    def _postgres(self) -> list[int]:
        """The server's own processes and the backends of the benchmark's database; other backends are ignored."""
        servers, found = set(), []
        for process in psutil.process_iter(["name", "cmdline", "ppid"]):
            if process.info["name"] == "postgres":
                title = " ".join(process.info["cmdline"] or ())
                found.append((process.pid, process.info["ppid"], title))
                if f" {self._database} " in title:
                    servers.add(process.info["ppid"])
        return [
            pid
            for pid, parent, title in found
            if pid in servers or (parent in servers and (f" {self._database} " in title or "(" not in title))
        ]


def _cpu(pid: int) -> float:
    try:
        times = psutil.Process(pid).cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    return float(times.user + times.system)


def _memory(pid: int, *, is_shared_counted: bool) -> float:
    try:
        memory = psutil.Process(pid).memory_info()
    except psutil.NoSuchProcess:
        return 0.0
    return float(memory.rss - (0 if is_shared_counted else memory.shared)) / MEBIBYTE


@dataclass(frozen=True, slots=True)
class Compared:
    """What was published compared with what arrived."""

    p50_ms: float
    p99_ms: float
    lost: int
    duplicates: int
    last_ns: int  # when the last one arrived


def compare(ledger: Ledger, arrivals: bytes, *, fan_out: int, warm_up_seconds: float) -> Compared:
    """Latencies of events published after the warm-up, which creates connections, plans and directories."""
    sent_ns, arrived = array("q", ledger.sent_ns), array("q", arrivals)
    copies = Counter(arrived[::2])
    from_ns = sent_ns[0] + warm_up_seconds * 1e9
    latencies = sorted(
        (at - sent_ns[number]) / 1e6
        for number, at in zip(arrived[::2], arrived[1::2], strict=True)
        if sent_ns[number] >= from_ns
    )
    return Compared(
        p50_ms=round(latencies[len(latencies) // 2], 2),
        p99_ms=round(latencies[int(len(latencies) * 0.99)], 2),
        lost=sum(max(0, fan_out - copies[number]) for number in range(len(sent_ns))),
        duplicates=sum(max(0, n - fan_out) for n in copies.values()),
        last_ns=max(arrived[1::2]),
    )
