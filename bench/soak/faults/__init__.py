"""Every kind of fault, and the order in which they come."""

from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from random import Random

from bench.soak.blows import Blow, Repeats
from bench.soak.faults import broker, database, links, workers
from bench.soak.site import Site

Strike = Callable[[Site, Blow], Awaitable[None]]
"""Cause a fault, let it last, and lift it; says in the blow's ``detail`` what was hit, and how."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of fault. ``missing`` says what is not there to cause it; empty if all is."""

    name: str
    strike: Strike
    repeats: Repeats
    missing: Callable[[Site], str] = lambda _: ""


KINDS: Sequence[Kind] = (
    Kind("worker killed", workers.kill, Repeats.HELD),
    Kind("worker stopped past its lease", workers.stop, Repeats.HELD),
    Kind("worker terminated", workers.terminate, Repeats.NOTHING),
    Kind("clock shifted", workers.shift_clock, Repeats.NOTHING, lambda site: site.why_no_clock),
    Kind("descriptors exhausted", workers.exhaust_descriptors, Repeats.ANYTHING),
    Kind("broker restarted", broker.restart, Repeats.NOTHING, lambda site: site.broker.why_no_node),
    Kind("queue deleted", broker.delete_queue, Repeats.NOTHING),
    Kind("database restarted", database.restart, Repeats.ANYTHING),
    Kind("connections exhausted", database.exhaust_connections, Repeats.ANYTHING),
    Kind("database read-only", database.refuse_writes, Repeats.ANYTHING),
    Kind("disk of the database full", database.fill_disk, Repeats.ANYTHING, lambda site: site.database.disk.why_not),
    Kind("delay", links.delay, Repeats.NOTHING),
    Kind("reset", links.reset, Repeats.ANYTHING),
    Kind("black hole", links.black_hole, Repeats.ANYTHING),
)


def deck(kinds: Sequence[Kind], chance: Random) -> Iterator[Kind]:
    """All kinds in a random order, again and again in another: none is forgotten, however short the soak."""
    while True:
        yield from chance.sample(kinds, len(kinds))
