"""The demo's output: its set-up, its progress and its results."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain
from math import ceil
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from service.demo.record import Record
from service.demo.subscribers import LEAVES_AFTER, DemoSubscriber

WIDTH_WITHOUT_TERMINAL: Final = 110
LABEL_WIDTH: Final = 13
PLAIN_SECONDS: Final = 1.0
CAPTION: Final = (
    "p50, p99: milliseconds from publishing to the first arrival at the receiver. "
    "The last row leaves out flaky, slow and leaver, which misbehave on purpose."
)


class DemoDisplay:
    """Progress bars on a terminal; elsewhere a plain line every ``plain_seconds``."""

    def __init__(self, subscribers: Sequence[DemoSubscriber]) -> None:
        console = Console(highlight=False, emoji=False, soft_wrap=False)
        self._console = console if console.is_terminal else Console(width=WIDTH_WITHOUT_TERMINAL, highlight=False)
        self._subscribers = subscribers
        self._bars: Progress | None = None
        self._tasks: dict[str, TaskID] = {}
        self._began_at = self._shown_at = time.monotonic()
        self.plain_seconds = PLAIN_SECONDS

    def say(self, text: str | Text = "") -> None:
        """Print one line, without markup."""
        self._console.print(text, markup=False, soft_wrap=True)

    def link(self, label: str, url: str) -> None:
        """Print what should be opened first."""
        self.say(Text.assemble((label, "bold"), " ", (url, "blue")))

    def fact(self, label: str, text: str) -> None:
        """Print one line of the set-up."""
        self.say(Text.assemble("  ", (f"{label:<{LABEL_WIDTH}}", "dim"), text))

    @contextmanager
    def live(self) -> Iterator[None]:
        """Display progress; ``show`` updates it."""
        self._began_at = self._shown_at = time.monotonic()
        if not self._console.is_terminal:
            yield
            return
        columns = (
            TextColumn("  {task.description:<10}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}"),
        )
        with Progress(*columns, TimeElapsedColumn(), console=self._console) as self._bars:
            for name in ("published", *(subscriber.name for subscriber in self._subscribers)):
                self._tasks[name] = self._bars.add_task(name, note="", total=None)
            try:
                yield
            finally:
                self._bars.refresh()
        self._bars = None

    def show(self, published: Mapping[str, int], planned: Mapping[str, int], record: Record) -> None:
        """Show the current progress."""
        if self._bars is None:
            self._show_plainly(published, planned, record)
            return
        self._bars.update(self._tasks["published"], completed=_sum(published), total=_sum(planned))
        for subscriber in self._subscribers:
            ends = record.of(subscriber.endpoint_id)
            wanted = subscriber.wanted(planned)
            notes = {"retried": ends.retried, "cancelled": ends.cancelled}
            self._bars.update(
                self._tasks[subscriber.name],
                completed=len(subscriber.accepted),
                total=min(wanted, LEAVES_AFTER) if subscriber.is_leaver else wanted,
                note=", ".join(f"{count} {what}" for what, count in notes.items() if count),
            )

    def _show_plainly(self, published: Mapping[str, int], planned: Mapping[str, int], record: Record) -> None:
        now = time.monotonic()
        if now - self._shown_at < self.plain_seconds:
            return
        self._shown_at = now
        total, verified = record.total, sum(subscriber.verified_count for subscriber in self._subscribers)
        self.say(
            f"  {now - self._began_at:5.1f} s  published {_sum(published)}/{_sum(planned)}, verified {verified}, "
            f"delivered {total.delivered}, retried {total.retried}, cancelled {total.cancelled}, open {total.open}"
        )

    def table(self, published: Mapping[str, int], published_at: Mapping[str, float], record: Record) -> None:
        """Print the results."""
        table = Table(caption=CAPTION, caption_justify="left", show_footer=True)
        latencies = {each.name: _latencies(each, published_at) for each in self._subscribers}
        prompt = list(chain.from_iterable(latencies[each.name] for each in self._subscribers if each.is_prompt))
        total, verified = record.total, sum(each.verified_count for each in self._subscribers)
        figures = (_sum(published), total.delivered, verified, total.retried, total.cancelled)
        table.add_column("subscriber", "all")
        table.add_column("conduct", "")
        headings = ("published", "delivered", "verified", "retried", "cancelled", "p50", "p99")
        for heading, figure in zip(headings, (*map(str, figures), *_percentiles(prompt)), strict=True):
            table.add_column(heading, figure, justify="right", no_wrap=True)
        for each in self._subscribers:
            ends = record.of(each.endpoint_id)
            row = (each.wanted(published), ends.delivered, each.verified_count, ends.retried, ends.cancelled)
            table.add_row(each.name, each.conduct, *map(str, row), *_percentiles(latencies[each.name]))
        self._console.print(table)


def _latencies(subscriber: DemoSubscriber, published_at: Mapping[str, float]) -> list[float]:
    return [received_at - published_at[event_id] for event_id, received_at in subscriber.received_at.items()]


def _percentiles(seconds: list[float]) -> tuple[str, str]:
    """The nearest-rank p50 and p99, in milliseconds."""
    if not seconds:
        return "-", "-"
    ordered = sorted(seconds)
    p50, p99 = (ordered[ceil(len(ordered) * share) - 1] * 1000 for share in (0.50, 0.99))
    return f"{p50:.1f}", f"{p99:.1f}"


def _sum(counts: Mapping[str, int]) -> int:
    return sum(counts.values())
